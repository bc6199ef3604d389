//! The table against a look at all rules and conditions.

use std::sync::Arc;

use super::*;

/// A request of six places.
struct Request {
    method: String,
    path: Vec<String>,
    id: Option<String>,
    level: Option<Level>,
    address: Option<String>,
    foreign: Vec<Truth>,
}

enum Level {
    Number(i64),
    Flag(bool),
    Text(String),
}

impl Source for Request {
    fn view(&self, slot: Slot) -> View<'_> {
        match slot {
            0 => View::Text(&self.method),
            1 => View::Texts(&self.path),
            2 => self.path.first().map_or(View::Undefined, |segment| View::Text(segment)),
            3 => self.id.as_deref().map_or(View::Undefined, View::Text),
            4 => match &self.level {
                None => View::Undefined,
                Some(Level::Number(number)) => View::Integer(*number),
                Some(Level::Flag(flag)) => View::Bool(*flag),
                Some(Level::Text(text)) => View::Text(text),
            },
            _ => self.address.as_deref().map_or(View::Undefined, View::Text),
        }
    }

    fn now(&self) -> i64 {
        1_000
    }

    fn truth(&self, condition: u32) -> Truth {
        self.foreign.get(condition as usize % self.foreign.len()).copied().unwrap()
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn text(&mut self) -> String {
        let parts = ["a", "b", "/x", "é"];
        (0..self.below(4)).map(|_| self.pick(&parts)).collect()
    }

    fn key(&mut self) -> Key {
        match self.below(5) {
            0 => Key::Integer(self.below(3) as i64),
            1 => Key::Bool(self.below(2) == 0),
            2 => Key::Texts((0..self.below(3)).map(|_| self.text().into()).collect()),
            _ => Key::Text(self.text().into()),
        }
    }

    fn condition(&mut self, wide: usize) -> Condition {
        let (text, slot) = (Arc::<str>::from(self.text()), [0, 2, 3, 4][self.below(4)]);
        let test = match self.below(15) {
            0 | 1 => Test::OneOf(self.below(5) as u32, (0..self.below(4)).map(|_| self.key()).collect()),
            2 => Test::OneOf(3, [Key::Text(format!("id-{}", self.below(wide)).into())].into()),
            3 => Test::Differs(self.below(5) as u32, self.key()),
            4 => Test::Holds(slot),
            5 => Test::Begins(slot, text),
            6 => Test::Ends(slot, text),
            7 => Test::Contains(slot, text),
            8 => Test::Matches(slot, Pattern::glob(&format!("{text}*"), &[]).unwrap()),
            9 => {
                Test::Within(5, Network::parse(self.pick(&["10.0.0.0/8", "10.1.0.0/16", "::/0", "0.0.0.0/0"])).unwrap())
            }
            10 => Test::Has(1, text),
            11..=13 => {
                let ops = [Comparison::Less, Comparison::LessEqual, Comparison::GreaterEqual, Comparison::Greater];
                let number = Number::Of(
                    Operator::Subtract,
                    Number::Now.into(),
                    Number::Of(Operator::Divide, Number::Constant(8).into(), Number::Slot(4).into()).into(),
                );
                let left = if self.below(3) == 0 { Operand::Number(number) } else { Operand::Slot(4) };
                let (op, near) = (ops[self.below(4)], [0, 990, i64::MIN, i64::MAX][self.below(4)]);
                let constant = Operand::Key(Key::Integer(near.saturating_add(self.below(5) as i64)));
                if self.below(3) == 0 { Test::Compare(op, constant, left) } else { Test::Compare(op, left, constant) }
            }
            _ => Test::Foreign,
        };
        Condition { negated: !matches!(test, Test::Foreign) && self.below(4) == 0, test }
    }

    fn request(&mut self, wide: usize) -> Request {
        let optional = |random: &mut Self, text: String| (random.below(4) > 0).then_some(text);
        let (level, text) = (self.below(8), self.text());
        let id = if self.below(2) == 0 { self.text() } else { format!("id-{}", self.below(wide)) };
        let address =
            self.pick(&["10.1.2.3", "10.9.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.1.0.9", "x"]).to_owned();
        Request {
            method: self.text(),
            path: (0..self.below(3)).map(|_| self.text()).collect(),
            id: optional(self, id),
            level: match level {
                0..=4 => Some(Level::Number(level as i64)),
                5 => Some(Level::Flag(false)),
                6 => Some(Level::Text(text)),
                _ => None,
            },
            address: optional(self, address),
            foreign: (0..7).map(|_| if self.below(2) == 0 { Truth::Met } else { Truth::Unmet }).collect(),
        }
    }
}

/// The truth of each condition by itself.
fn truth(request: &Request, number: u32, condition: &Condition) -> Truth {
    let truth = condition::Reading::new(request, u64::MAX).truth(number, &condition.test);
    match truth {
        Truth::Met if condition.negated => Truth::Unmet,
        Truth::Unmet if condition.negated => Truth::Met,
        truth => truth,
    }
}

fn rule_by_rule(request: &Request, conditions: &[Condition], rules: &[Rule]) -> Option<Found> {
    let asked: std::collections::BTreeSet<u32> =
        rules.iter().flat_map(|rule| rule.conditions.iter().copied()).collect();
    let opaque = |number: &u32| matches!(conditions[*number as usize].test, Test::Opaque);
    let truths: Vec<Truth> =
        (0..).zip(conditions).map(|(number, condition)| truth(request, number, condition)).collect();
    if asked.iter().any(|number| truths[*number as usize] == Truth::Unknown && !opaque(number)) {
        return None;
    }
    let (mut allows, mut met, mut nearest) = (false, None, None);
    for (number, rule) in (0_u32..).zip(rules) {
        let count = |of: Truth| rule.conditions.iter().filter(|number| truths[**number as usize] == of).count();
        let (unmet, unknown) = (count(Truth::Unmet), count(Truth::Unknown));
        if unmet == 0 {
            allows |= rule.decides;
            met = Some(met.map_or((unknown, number), |known: (usize, u32)| known.min((unknown, number))));
        }
        nearest = Some(nearest.map_or((unmet, number), |known: (usize, u32)| known.min((unmet, number))));
    }
    Some(Found { allows, met: met.map(|(_, rule)| rule), nearest: nearest.map(|(_, rule)| rule) })
}

#[test]
fn the_table_finds_what_each_rule_says() {
    let mut scratch = Scratch::default();
    let (mut known, mut allowed, mut bounded) = (0, 0, 0);
    for seed in 0..600 {
        let mut random = Random(seed);
        let wide = [1, 3, 50][random.below(3)];
        let count = [0, 1, 5, 60, 400][random.below(5)];
        let distinct = 1 + [3, 12, 60][random.below(3)];
        let mut conditions: Vec<Condition> = (0..distinct).map(|_| random.condition(wide)).collect();
        conditions.push(Condition { test: Test::Opaque, negated: false });
        let rules: Vec<Rule> = (0..count)
            .map(|_| {
                let of = |random: &mut Random| (random.below(distinct + 1)) as u32;
                let conditions: Vec<u32> = (0..random.below(5)).map(|_| of(&mut random)).collect();
                let clear = conditions.iter().all(|number| *number as usize != distinct);
                Rule { decides: clear && random.below(8) > 0, conditions }
            })
            .collect();
        let table = Table::new(&conditions, &rules, u64::MAX);
        bounded += table.bounds.len();
        for _ in 0..40 {
            let request = random.request(wide);
            let (found, wanted) = (table.judge(&request, &mut scratch), rule_by_rule(&request, &conditions, &rules));
            assert_eq!(found, wanted, "seed {seed}: {conditions:?} {rules:?}");
            known += usize::from(found.is_some());
            allowed += usize::from(found.is_some_and(|found| found.allows));
        }
    }
    assert!(known > 5_000 && allowed > 1_000 && bounded > 30, "{known} {allowed} {bounded}");
}

/// Distinct combinations of common conditions: each rule is a row of its own.
#[test]
fn rules_without_common_conditions_are_counted() {
    let mut random = Random(7);
    let conditions: Vec<Condition> = (0..40)
        .map(|number| Condition {
            test: Test::OneOf(3, [Key::Text(format!("id-{}", number % 8).into())].into()),
            negated: number % 5 == 0,
        })
        .chain((0..40).map(|_| Condition { test: Test::Foreign, negated: false }))
        .collect();
    let rules: Vec<Rule> = (0..3_000)
        .map(|_| Rule {
            conditions: (0..1 + random.below(9)).map(|_| random.below(80) as u32).collect(),
            decides: true,
        })
        .collect();
    let table = Table::new(&conditions, &rules, u64::MAX);
    assert!(table.rows.len() > 2_000, "{}", table.rows.len());
    let mut scratch = Scratch::default();
    for _ in 0..300 {
        let request = random.request(8);
        assert_eq!(table.judge(&request, &mut scratch), rule_by_rule(&request, &conditions, &rules));
    }
}

#[test]
fn work_beyond_the_limit_has_no_answer() {
    let begins = Condition { test: Test::Begins(0, "a".into()), negated: false };
    let contains = Condition { test: Test::Contains(0, "b".into()), negated: false };
    let rules = [Rule { conditions: vec![0, 1], decides: true }];
    let table = Table::new(&[begins, contains], &rules, 1_000);
    let mut request = Random(1).request(1);
    for (length, known) in [(100, true), (331, true), (400, false), (100_000, false)] {
        request.method = "a".repeat(length);
        let found = table.judge(&request, &mut Scratch::default());
        assert_eq!(found.is_some(), known, "{length}");
    }
}

/// A statement that stands twice in a rule counts twice, also where many rules have it.
#[test]
fn a_repeated_condition_counts_as_often() {
    let is = |text: &str| Condition { test: Test::OneOf(0, [Key::Text(text.into())].into()), negated: false };
    let conditions = [is("a"), is("b"), Condition { negated: true, ..is("c") }];
    let rule = |conditions: &[u32]| Rule { conditions: conditions.to_vec(), decides: true };
    for copies in [1, 100] {
        let mut rules = vec![rule(&[0, 0, 0]), rule(&[2, 2, 1]), rule(&[0, 1])];
        rules.extend((1..copies).flat_map(|_| rules.clone()).collect::<Vec<_>>());
        let table = Table::new(&conditions, &rules, u64::MAX);
        let mut request = Random(3).request(1);
        for (method, nearest) in [("a", 0), ("b", 1), ("c", 2), ("d", 1)] {
            request.method = method.to_owned();
            let found = table.judge(&request, &mut Scratch::default());
            assert_eq!(found, rule_by_rule(&request, &conditions, &rules));
            assert_eq!(found.unwrap().nearest, Some(nearest), "{method}");
        }
    }
}
