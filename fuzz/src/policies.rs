//! Policies written by a grammar: what both ways of deciding understand, and what only the engine does, side by side.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sekisho_policy::{PolicySet, Source};

use crate::random::Random;
use crate::samples::{NOW, request};

/// Requests for each policy.
const REQUESTS: usize = 48;

static COMPARED: AtomicU64 = AtomicU64::new(0);

/// How many decisions were compared with those of the engine in this process.
pub fn compared() -> u64 {
    COMPARED.load(Relaxed)
}

pub(crate) fn samples() -> Vec<Vec<u8>> {
    (0..64u64).map(|seed| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes().to_vec()).collect()
}

/// The input's bytes are a seed. What loads is decided alike: effect, rule, failed conditions, and whether it failed.
pub(crate) fn run(input: &[u8]) -> String {
    let seed = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut random = Random::new(seed);
    let text = Grammar { random: &mut random, variables: 0 }.policy();
    let set = match PolicySet::load(vec![Source { name: "fuzz.rego".to_owned(), text: text.clone() }]) {
        Ok(set) => set,
        Err(error) => return format!("refused: {error}"),
    };
    let mut seen = [false; 3];
    for _ in 0..REQUESTS {
        let choice: Vec<u8> = (0..12).map(|_| random.next() as u8).collect();
        let request = request(&choice);
        let (ours, engine) = (set.decide(&request, NOW), set.decide_by_engine(&request, NOW));
        COMPARED.fetch_add(1, Relaxed);
        let alike =
            (ours.effect, &ours.rule, ours.error.is_some()) == (engine.effect, &engine.rule, engine.error.is_some());
        assert!(alike, "{ours:?} is not {engine:?} for {request:?} in\n{text}");
        seen[usize::from(ours.effect.is_allow()) + 2 * usize::from(ours.error.is_some())] = true;
    }
    format!("deny {}, allow {}, error {}", seen[0], seen[1], seen[2])
}

/// Writes what the checker of types accepts, most of the time: where a function wants a type, it gets a constant of it
/// or a part of the input, whose type is known only when the policy runs.
struct Grammar<'a> {
    random: &'a mut Random,
    /// Variables so far, so that each has a name of its own.
    variables: usize,
}

impl Grammar<'_> {
    fn pick<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of[self.random.below(of.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    fn policy(&mut self) -> String {
        let mut out = "package workload.authz\n".to_owned();
        if !self.one_in(3) {
            out.push_str("default allow := false\n");
        }
        out.push_str(
            "method := input.method\nlevel := input.subject.claims.level\nkinds := {\"GET\", \"v1\", \"eu\"}\n",
        );
        // A rule does not use its own value.
        let value = self.term(2).replace("value", "level").replace("other", "kinds");
        let _ = writeln!(out, "value := {value}\nother := [value, value]");
        out.push_str("helper(x) := lower(x) if x != \"PUT\"\nsteps contains s if some s in input.path\n");
        for _ in 0..=self.random.below(5) {
            let rule = self.rule();
            out.push_str(&rule);
        }
        out
    }

    fn rule(&mut self) -> String {
        let head = match self.random.below(12) {
            0 => "allow := true if",
            1 => "allow := false if",
            2 => "allow := \"yes\" if",
            _ => "allow if",
        };
        let body = self.body();
        match self.random.below(12) {
            0 => format!("{head} {body} else := false if {}\n", self.body()),
            1 => format!("{head} {body} else := true if {}\n", self.body()),
            _ => format!("{head} {body}\n"),
        }
    }

    fn body(&mut self) -> String {
        let statements: Vec<String> = (0..=self.random.below(3)).map(|_| self.statement()).collect();
        format!("{{\n\t{}\n}}", statements.join("\n\t"))
    }

    fn variable(&mut self) -> String {
        self.variables += 1;
        format!("x{}", self.variables)
    }

    fn statement(&mut self) -> String {
        let x = self.variable();
        match self.random.below(18) {
            0 => format!("some {x} in input.path; {x} == {}", self.text()),
            1 => format!("every {x} in input.path {{ {x} != {} }}", self.text()),
            2 => format!("{x} := {}; {x} == {}", self.term(1), self.place()),
            3 => format!("count([{x} | some {x} in input.path; {x} != {}]) > {}", self.text(), self.random.below(3)),
            4 => format!("helper({}) == {}", self.string(), self.text()),
            5 => format!("{} in steps", self.text()),
            6..=8 => match self.condition() {
                // A brace behind `not` begins a body.
                set if set.starts_with('{') => set,
                condition => format!("not {condition}"),
            },
            _ => self.condition(),
        }
    }

    fn condition(&mut self) -> String {
        match self.random.below(10) {
            0..=4 => self.comparison(),
            5 => format!(
                "{} in {}",
                self.term(1),
                self.pick(&["kinds", "input.path", "input.headers", "other", "[1, 2, \"eu\"]"])
            ),
            6 => self.term(2),
            _ => self.test(),
        }
    }

    /// A call that comes to a boolean.
    fn test(&mut self) -> String {
        let (one, two) = (self.string(), self.text());
        match self.random.below(11) {
            0 => format!("startswith({one}, {two})"),
            1 => format!("endswith({one}, {two})"),
            2 => format!("contains({one}, {two})"),
            3 => format!(
                "{}({one})",
                self.pick(&["is_string", "is_number", "is_boolean", "is_array", "is_object", "is_null", "is_set"])
            ),
            4 => format!("regex.match({}, {one})", self.pick(&["\"^v[0-9]\"", "\"(\"", "\"a|G\"", "input.path[0]"])),
            5 => format!("glob.match({}, [\"/\"], {one})", self.pick(&["\"v*\"", "\"**\"", "\"{a,v}?\"", "\"[\""])),
            6 => format!("strings.any_prefix_match({one}, [{two}, \"v\"])"),
            7 => format!("strings.any_suffix_match({one}, {{{two}, \"s\"}})"),
            8 => format!("net.cidr_contains({}, {one})", self.pick(&["\"10.0.0.0/8\"", "\"x\""])),
            9 => format!("net.cidr_is_valid({one})"),
            _ => format!("startswith({two}, {one})"),
        }
    }

    fn term(&mut self, depth: usize) -> String {
        if depth == 0 || self.one_in(2) {
            return match self.random.below(4) {
                0 => self.text().to_owned(),
                1 => self
                    .pick(&[
                        "0",
                        "1",
                        "-1",
                        "3",
                        "true",
                        "false",
                        "null",
                        "1.0",
                        "0.5",
                        "9223372036854775807",
                        "[]",
                        "[\"v1\"]",
                        "{1, 2}",
                    ])
                    .to_owned(),
                _ => self.place().to_owned(),
            };
        }
        let (one, two) = (self.term(depth - 1), self.term(depth - 1));
        let (string, part) = (self.string(), self.part());
        match self.random.below(16) {
            0..=2 => format!("{} {} {}", self.number(), self.pick(&["+", "-", "*", "/", "%"]), self.number()),
            3 => format!("({} + {})", self.number(), self.number()),
            4 => format!(
                "{}({part})",
                self.pick(&["lower", "upper", "trim_space", "type_name", "count", "array.reverse", "object.keys"])
            ),
            5 => format!(
                "{}({string}, {})",
                self.pick(&["trim", "trim_prefix", "trim_suffix", "split", "indexof"]),
                self.text()
            ),
            6 => format!("substring({string}, {}, {})", self.random.below(3), self.pick(&["1", "2", "-1", "level"])),
            7 => format!("concat({}, {})", self.text(), self.pick(&["input.path", "kinds", "other", "steps"])),
            8 => format!(
                "object.get({}, {}, {two})",
                self.pick(&["input.headers", "input.subject.claims", "input"]),
                self.text()
            ),
            9 => format!(
                "array.slice(input.path, {}, {})",
                self.pick(&["0", "1", "-1", "level"]),
                self.pick(&["1", "5"])
            ),
            10 => format!("[{one}, {two}]"),
            11 => format!("{{{one}, {two}}}"),
            12 => self.test(),
            _ => one,
        }
    }

    /// Of a type that is known only when the policy runs.
    fn part(&mut self) -> &'static str {
        self.pick(&[
            "input.method",
            "input.path[0]",
            "input.path[7]",
            "input.headers[\"x-region\"]",
            "input.headers.none",
            "input.subject.claims.level",
            "input.subject.claims.hw_attested",
            "input.subject.issued_at",
            "method",
            "level",
        ])
    }

    fn string(&mut self) -> &'static str {
        if self.one_in(3) { self.text() } else { self.part() }
    }

    fn number(&mut self) -> &'static str {
        if self.one_in(3) {
            self.pick(&["0", "1", "-1", "3", "1.0", "0.5", "9223372036854775807"])
        } else {
            self.part()
        }
    }

    /// Mostly of values that may be equal: what never can is refused when a policy is loaded.
    fn comparison(&mut self) -> String {
        let op = self.pick(&["==", "!=", "<", "<=", ">", ">=", "="]);
        let (left, right) = match self.random.below(7) {
            0..=2 => {
                let texts = ["input.method", "input.path[0]", "input.headers[\"x-region\"]", "method", "input.path[7]"];
                (self.pick(&texts).to_owned(), self.pick(&["\"GET\"", "\"v1\"", "\"eu\"", "\"\"", "method"]).to_owned())
            }
            3 | 4 => {
                let numbers = ["level", "input.subject.issued_at", "count(input.path)", "input.subject.claims.level"];
                (self.pick(&numbers).to_owned(), self.whole(2))
            }
            5 => (self.part().to_owned(), self.part().to_owned()),
            _ => (self.part().to_owned(), self.term(2)),
        };
        format!("{left} {op} {right}")
    }

    /// Arithmetic.
    fn whole(&mut self, depth: usize) -> String {
        if depth == 0 || self.one_in(2) {
            return self.pick(&["0", "1", "3", "time.now_ns()", "input.now", "level"]).to_owned();
        }
        let (left, right) = (self.whole(depth - 1), self.whole(depth - 1));
        format!("{left} {} {right}", self.pick(&["+", "-", "*", "/", "%"]))
    }

    fn text(&mut self) -> &'static str {
        self.pick(&[
            "\"GET\"",
            "\"v\"",
            "\"v1\"",
            "\"\"",
            "\"eu\"",
            "\"/\"",
            "\"s\"",
            "\"x-region\"",
            "\"level\"",
            "`a`",
            "method",
        ])
    }

    fn place(&mut self) -> &'static str {
        self.pick(&[
            "input.method",
            "input.path",
            "input.path[0]",
            "input.path[1]",
            "input.path[7]",
            "input.headers",
            "input.headers[\"x-region\"]",
            "input.headers[\"x-role\"]",
            "input.headers.none",
            "input.subject.claims.level",
            "input.subject.claims.hw_attested",
            "input.subject.claims",
            "input.subject.spiffe_id",
            "input.subject.issued_at",
            "input.subject",
            "input.now",
            "input.query",
            "input",
            "time.now_ns()",
            "method",
            "level",
            "kinds",
            "value",
            "other",
        ])
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn most_generated_policies_load_and_reach_every_outcome() {
        let outcomes: Vec<String> = super::samples().iter().map(|sample| super::run(sample)).collect();
        let loaded = outcomes.iter().filter(|outcome| !outcome.starts_with("refused")).count();
        assert!(loaded * 2 > outcomes.len(), "{outcomes:?}");
        for part in ["deny true", "allow true", "error true"] {
            assert!(outcomes.iter().any(|outcome| outcome.contains(part)), "{part}");
        }
    }
}
