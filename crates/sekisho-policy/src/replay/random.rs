//! Random policies, random requests: a replay comes to the true effect, or says that it is uncertain. Many more cases
//! run with `REPLAY_CASES=1000000`.

use super::tests::{now, record, replay, request};
use super::*;
use crate::RequestInput;

const SHORT: u64 = 6_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn place(&mut self) -> &'static str {
        self.of(&[
            "input.headers.authorization",
            "input.headers[\"x-api-key\"]",
            "input.headers[\"x-note\"]",
            "input.headers[`x-note`]",
            "input.query",
            "object.get(input.headers, \"authorization\", \"ab\")",
            "key",
            "input.headers[\"x-plain\"]",
        ])
    }

    fn text(&mut self) -> String {
        let length = self.below(4);
        (0..length).map(|_| self.of(&["a", "b", "=", "é"])).collect()
    }

    fn condition(&mut self) -> String {
        let (place, text, other) = (self.place(), self.text(), self.text());
        let (count, op) = (self.below(5), self.of(&["==", "!=", "<", "<=", ">", ">="]));
        match self.below(34) {
            0 => format!("{place} == \"{text}\""),
            1 => format!("\"{text}\" != {place}"),
            2 => format!("not {place} == \"{text}\""),
            3 => format!("{place} in {{\"{text}\", \"{other}\"}}"),
            4 => format!("not {place} in [\"{text}\", \"b\"]"),
            5 => format!("{place} in known"),
            6 | 7 => format!("startswith({place}, \"{text}\")"),
            8 => format!("not endswith({place}, \"{text}\")"),
            9 => format!("contains({place}, \"{text}\")"),
            10 => format!("regex.match(`^{text}[ab]*$`, {place})"),
            11 => format!("not regex.match(`{text}.`, {place})"),
            12 | 13 => format!("count({place}) {op} {count}"),
            14 => format!("{count} {op} count({place})"),
            15 => place.to_owned(),
            16 => format!("not {place}"),
            17 => format!("lower({place}) == \"{text}\""),
            18 => format!("{place} {op} \"{text}\""),
            19 => format!("text{count} := {place}; startswith(text{count}, \"{text}\")"),
            20 => format!("some name; input.headers[name] == \"{text}\""),
            21 => format!("equals({place}, \"{text}\")"),
            22 => format!("{place} == {}", self.place()),
            23 => format!("count(input.headers) {op} {count}"),
            24 => "asks".to_owned(),
            25 => "not asks".to_owned(),
            26 => format!("\"{text}\" in {{value | some value in input.headers}}"),
            27 => format!("every letter in [\"a\", \"b\"] {{ contains({place}, letter) }}"),
            28 => format!("every start in [\"{text}\"] {{ startswith({place}, \"{other}\") }}"),
            29 => format!("asks with input.headers.authorization as \"{text}\""),
            30 => format!("{place} + 1 > 0"),
            31 => format!("input.headers == {{\"authorization\": \"{text}\"}}"),
            32 => format!("named == \"{text}\""),
            _ => format!("[x{count}, _] := [{place}, 1]; endswith(x{count}, \"{text}\")"),
        }
    }

    fn policy(&mut self) -> PolicySet {
        let mut body = format!("known := {{\"{}\", \"{}\"}}\n", self.text(), self.text());
        body += "key := input.headers[\"x-api-key\"]\nnamed := input.headers.authorization\n";
        body += &format!(
            "equals(a, b) if a == b\nasks if {}\n",
            self.condition().replace("asks", "true").replace("; ", "\n\t")
        );
        for _ in 0..=self.below(3) {
            let method = self.of(&["input.method == \"GET\"", "input.method == \"PUT\"", "true"]);
            let conditions: Vec<String> = (0..=self.below(2)).map(|_| self.condition()).collect();
            let conditions = conditions.join(self.of(&["\n\t", "; "]));
            body += &format!("allow if {{\n\t{method}\n\t{conditions}\n}}\n");
        }
        match PolicySet::load(vec![crate::Source { name: "a.rego".into(), text: text_of(&body) }]) {
            Ok(policy) => policy,
            // A name that is bound twice, for example.
            Err(_) => self.policy(),
        }
    }

    fn request(&mut self) -> RequestInput {
        let mut value = || match self.below(8) {
            0 => format!("{}{}{}", self.text(), "a".repeat(2_050), self.text()),
            _ => self.text(),
        };
        let values: Vec<String> = (0..5).map(|_| value()).collect();
        let names = ["authorization", "x-api-key", "x-note", "x-plain"];
        let headers: Vec<(&str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
        let present: Vec<(&str, &str)> = headers.into_iter().filter(|_| self.below(4) > 0).collect();
        request(&present, &values[4])
    }
}

fn text_of(body: &str) -> String {
    format!("package workload.authz\nimport rego.v1\ndefault allow := false\n{body}\n")
}

/// Cases, uncertain under another policy, under the same one by its own record.
type Counts = (u64, u64, u64);

fn run(seed: u64, cases: u64) -> Counts {
    let mut random = Random(seed);
    let (mut done, mut uncertain, mut recorded) = (0, 0, 0);
    while done < cases {
        let policies: Vec<PolicySet> = (0..12).map(|_| random.policy()).collect();
        for _ in 0..400.min(cases - done) {
            let (judge, other) = (&policies[random.below(12)], &policies[random.below(12)]);
            let request = random.request();
            let mut record = record(judge, &request);
            if random.below(6) == 0 {
                record.answers.clear();
                record.answers_to = None;
            }
            let truth = |policy: &PolicySet| policy.decide(&request, now()).effect;
            let shown = |policy: &PolicySet| {
                format!(
                    "\n{record:?}\nof {request:?}\nby\n{}judged by\n{}",
                    policy.sources()[0].text,
                    judge.sources()[0].text
                )
            };
            match replay(judge, &record, None) {
                Replayed::Decided(decision) => assert_eq!(decision.effect, truth(judge), "the same{}", shown(judge)),
                Replayed::AsRecorded => recorded += 1,
                Replayed::Uncertain { .. } => panic!("the same policy is uncertain{}", shown(judge)),
            }
            match replay(other, &record, Some(judge)) {
                Replayed::Decided(decision) => assert_eq!(decision.effect, truth(other), "another{}", shown(other)),
                Replayed::AsRecorded => assert_eq!(judge.digest(), other.digest()),
                Replayed::Uncertain { .. } => uncertain += 1,
            }
            done += 1;
        }
    }
    (done, uncertain, recorded)
}

#[test]
fn a_replay_is_true_or_uncertain() {
    let cases = std::env::var_os("REPLAY_CASES").and_then(|cases| cases.to_str()?.parse().ok()).unwrap_or(SHORT);
    let seed = std::env::var_os("REPLAY_SEED").and_then(|seed| seed.to_str()?.parse().ok()).unwrap_or(7u64);
    let (done, uncertain, recorded) = run(seed, cases);
    println!("{done} cases; {uncertain} uncertain under another policy; {recorded} by the record of the same policy");
    // A replay that is uncertain of everything would pass as well.
    assert!(uncertain * 3 < done * 2 && recorded * 3 < done * 2);
}
