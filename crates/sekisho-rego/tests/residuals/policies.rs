//! Small policies of all forms over a small input, so that conditions hold often.

use std::fmt::Write;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// A module of rules `r0` to `r5`, each of which reads earlier ones only, and functions `f`, `g` and `h`.
pub(crate) fn policy(random: &mut Random) -> String {
    let mut out = String::from("package test\n\n");
    let mut writer = Writer { random, variables: 0, level: 0 };
    out.push_str(&writer.functions());
    for level in 0..6 {
        writer.level = level;
        out.push_str(&writer.document(&format!("r{level}")));
    }
    out
}

struct Writer<'a> {
    random: &'a mut Random,
    variables: usize,
    /// Rules below this number may be read.
    level: usize,
}

impl Writer<'_> {
    fn functions(&mut self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "f(x) := {} if {}", self.pick(&["true", "1", "x"]), self.body(&["x"]));
        if self.random.one_in(2) {
            let _ = writeln!(out, "default g(_) := {}", self.pick(&["false", "0"]));
        }
        let _ = writeln!(out, "g(\"x\") := {}", self.pick(&["true", "false", "1"]));
        let _ = writeln!(out, "g(x) := true if {}", self.body(&["x"]));
        let _ = writeln!(
            out,
            "h(x, [y, _]) := y if {} else := {} if {}",
            self.body(&["x", "y"]),
            self.pick(&["x", "2", "[x, y]"]),
            self.body(&["x", "y"])
        );
        out
    }

    fn document(&mut self, name: &str) -> String {
        let mut out = String::new();
        match self.random.below(10) {
            0..=3 => {
                if self.random.one_in(3) {
                    let _ = writeln!(out, "default {name} := {}", self.pick(&["false", "false", "true", "0"]));
                }
                for _ in 0..=self.random.below(3) {
                    let _ = writeln!(out, "{name} if {}", self.body(&[]));
                }
            }
            4 | 5 => {
                if self.random.one_in(3) {
                    let _ = writeln!(out, "default {name} := {}", self.pick(&["false", "1"]));
                }
                for _ in 0..=self.random.below(2) {
                    let (body, value) = self.body_and_value();
                    let _ = writeln!(out, "{name} := {value} if {body}");
                }
            }
            6 => {
                let _ = write!(out, "{name} := {} if {}", self.pick(&["1", "true", "\"x\""]), self.body(&[]));
                for _ in 0..=self.random.below(2) {
                    let (body, value) = self.body_and_value();
                    let _ = write!(out, " else := {value} if {body}");
                }
                out.push('\n');
            }
            7 | 8 => {
                for _ in 0..=self.random.below(2) {
                    let (body, value) = self.body_and_value();
                    let _ = writeln!(out, "{name} contains {value} if {body}");
                }
            }
            _ => {
                for _ in 0..=self.random.below(2) {
                    let (body, value) = self.body_and_value();
                    let _ = writeln!(out, "{name}[{}] := {} if {body}", value, self.pick(&["1", "true", "\"x\""]));
                }
            }
        }
        out
    }

    fn pick<'b>(&mut self, of: &[&'b str]) -> &'b str {
        self.random.pick(of)
    }

    fn fresh(&mut self) -> String {
        self.variables += 1;
        format!("x{}", self.variables)
    }

    fn body(&mut self, vars: &[&str]) -> String {
        let mut vars: Vec<String> = vars.iter().map(|var| (*var).to_owned()).collect();
        let count = 1 + self.random.below(3);
        let lines: Vec<String> = (0..count).map(|_| self.statement(&mut vars, 2)).collect();
        format!("{{\n\t{}\n}}", lines.join("\n\t"))
    }

    fn body_and_value(&mut self) -> (String, String) {
        let mut vars = Vec::new();
        let count = 1 + self.random.below(3);
        let lines: Vec<String> = (0..count).map(|_| self.statement(&mut vars, 2)).collect();
        let value = match self.random.below(4) {
            0 => self.pick(&["1", "true", "\"x\"", "input.a", "input.k"]).to_owned(),
            1 => format!("[{}, 1]", self.leaf(&vars)),
            _ => vars.last().cloned().unwrap_or_else(|| "1".to_owned()),
        };
        (format!("{{\n\t{}\n}}", lines.join("\n\t")), value)
    }

    fn statement(&mut self, vars: &mut Vec<String>, depth: usize) -> String {
        let x = self.fresh();
        let choice = if depth == 0 { self.random.below(9) } else { self.random.below(24) };
        match choice {
            0..=3 => {
                let op = self.pick(&["==", "==", "!=", "<", ">=", "="]);
                format!("{} {op} {}", self.place(vars), self.leaf(vars))
            }
            4 => self.place(vars),
            5 => format!("{} in {}", self.leaf(vars), self.collection(vars)),
            6 => self.call(vars),
            7 => {
                let text = format!("{x} := {}", self.place(vars));
                vars.push(x);
                text
            }
            8 => {
                let text = format!("some {x} in {}", self.collection(vars));
                vars.push(x);
                text
            }
            9 => {
                let text = format!("{x} := {} {} {}", self.place(vars), self.pick(&["+", "-", "/"]), self.place(vars));
                vars.push(x);
                text
            }
            10 | 11 => format!("not {}", self.condition(vars)),
            12 => {
                let mut inner = vars.clone();
                inner.push(x.clone());
                let body = self.statement(&mut inner, depth - 1);
                format!("every {x} in {} {{ {body} }}", self.collection(vars))
            }
            13 => {
                let mut inner = vars.clone();
                let first = format!("some {x} in {}", self.collection(vars));
                inner.push(x.clone());
                let body = self.statement(&mut inner, depth - 1);
                format!("count([{x} | {first}; {body}]) {} {}", self.pick(&[">", "=="]), self.random.below(3))
            }
            14 => {
                let mut inner = vars.clone();
                let first = format!("some {x} in {}", self.collection(vars));
                inner.push(x.clone());
                let body = self.statement(&mut inner, depth - 1);
                let y = self.fresh();
                let text = format!("{y} := {{{x}: 1 | {first}; {body}}}");
                vars.push(y);
                text
            }
            15 => {
                let value = self.leaf(vars);
                format!(
                    "{} with {} as {value}",
                    self.condition(vars),
                    self.pick(&["input.a", "input", "input.o.k", "data.d"])
                )
            }
            16 => {
                let text = format!("{x} := {}({})", self.function(), self.leaf(vars));
                vars.push(x);
                text
            }
            17 => {
                let text = format!("[{x}, 1] = {}", self.pick(&["input.xs", "[input.a, input.n]", "input.a"]));
                vars.push(x);
                text
            }
            18 => {
                let y = self.fresh();
                let text = format!("some {x}, {y} in {}", self.collection(vars));
                vars.push(x);
                vars.push(y);
                text
            }
            19 => format!("{}({})", self.function(), self.leaf(vars)),
            20 => {
                let text = format!("{x} = {}", self.pick(&["input.o[_]", "input.xs[_]", "data.d.z[_]"]));
                vars.push(x);
                text
            }
            21 => {
                format!("h({}, {}) == {}", self.leaf(vars), self.pick(&["input.xs", "[input.a, 1]"]), self.leaf(vars))
            }
            22 => {
                let text = format!("walk({}, [_, {x}])", self.pick(&["input.o", "data.d", "input.xs"]));
                vars.push(x);
                text
            }
            _ => format!("time.now_ns() == {}", self.pick(&["7", "8"])),
        }
    }

    fn function(&mut self) -> &'static str {
        if self.level == 0 && self.variables < 40 && self.random.one_in(1) {
            return self.random.pick(&["type_name", "count"]);
        }
        self.random.pick(&["f", "g", "f", "g", "type_name", "count", "lower"])
    }

    fn call(&mut self, vars: &[String]) -> String {
        let place = self.place(vars);
        match self.random.below(5) {
            0 => format!("startswith({place}, \"x\")"),
            1 => format!("is_string({place})"),
            2 => format!("lower({place}) == \"x\""),
            3 => format!("count({place}) > 0"),
            _ => format!("object.get({{\"x\": 1, \"y\": true}}, {place}, \"none\") == 1"),
        }
    }

    fn condition(&mut self, vars: &[String]) -> String {
        match self.random.below(6) {
            0 => self.call(vars),
            1 => self.place(vars),
            2 => format!("{}({})", self.function(), self.leaf(vars)),
            3 => format!("{} in {}", self.leaf(vars), self.collection(vars)),
            _ => format!("{} {} {}", self.place(vars), self.pick(&["==", "!=", ">"]), self.leaf(vars)),
        }
    }

    fn leaf(&mut self, vars: &[String]) -> String {
        match self.random.below(4) {
            0 => self.pick(&["\"x\"", "\"y\"", "null", "true", "[1, \"x\"]", "0"]).to_owned(),
            1 | 2 => self.pick(&["1", "\"x\"", "2", "\"y\""]).to_owned(),
            _ => self.place(vars),
        }
    }

    fn place(&mut self, vars: &[String]) -> String {
        if !vars.is_empty() && self.random.one_in(3) {
            return vars[self.random.below(vars.len())].clone();
        }
        if self.level > 0 && self.random.one_in(3) {
            let name = format!("r{}", self.random.below(self.level));
            return match self.random.below(5) {
                0 => format!("{name}[{}]", self.pick(&["\"x\"", "1", "input.a"])),
                1 => format!("data.test.{name}"),
                _ => name,
            };
        }
        self.pick(&[
            "input.a",
            "input.b",
            "input.n",
            "input.s",
            "input.xs[0]",
            "input.o.k",
            "input.o.x",
            "input.o[input.s]",
            "data.d.x",
            "data.d.z[input.s]",
            "data.roles[input.a]",
            "data.l[input.n]",
            "input.xs",
            "input.o",
            "data.d[input.a][0]",
            "data.other[input.s]",
            "data.other.x",
            "data.other.z",
        ])
        .to_owned()
    }

    fn collection(&mut self, vars: &[String]) -> String {
        if self.level > 0 && self.random.one_in(4) {
            return format!("r{}", self.random.below(self.level));
        }
        if !vars.is_empty() && self.random.one_in(6) {
            return vars[self.random.below(vars.len())].clone();
        }
        self.pick(&[
            "input.xs",
            "input.o",
            "data.l",
            "data.roles",
            "[1, \"x\"]",
            "{\"x\", 1}",
            "[input.a, input.b]",
            "{input.a, 1}",
            "data.roles[input.s]",
            "{\"x\": input.a, \"y\": 1}",
            "data.other",
            "data.other.y",
        ])
        .to_owned()
    }
}
