//! Terms.

use sekisho_rego::builtins::{Signature, Type};
use sekisho_rego::syntax::ast::Version;

use crate::calls::{giving, kind_of};
use crate::constants::Kind;
use crate::texts::texts;
use crate::writer::{Form, Writer};

impl Writer<'_> {
    /// A term that may have a kind.
    pub(crate) fn term(&mut self, kind: Kind, depth: usize) -> String {
        if self.one_in(60) {
            return self.constant(Kind::Any, 1);
        }
        if depth == 0 || self.one_in(4) {
            return self.leaf(kind);
        }
        match self.random.below(12) {
            0..=3 => self.call(kind, depth),
            4 | 5 => self.composed(kind, depth),
            6 => self.use_of_function(kind, depth).unwrap_or_else(|| self.leaf(kind)),
            7 | 8 => self.reference(kind),
            9 if matches!(kind, Kind::Array | Kind::Set | Kind::Object | Kind::Any) => self.comprehension(kind, depth),
            _ => self.operator(kind, depth),
        }
    }

    fn leaf(&mut self, kind: Kind) -> String {
        match self.random.below(5) {
            0 => self.constant(kind, 1),
            1 | 2 => self.variable(kind).unwrap_or_else(|| self.place(kind)),
            3 => self.reference(kind),
            _ => self.place(kind),
        }
    }

    /// A use of an earlier rule, or of a document.
    fn reference(&mut self, kind: Kind) -> String {
        let Some(rule) = self.rule(|rule| !matches!(rule.form, Form::Function(_))) else { return self.place(kind) };
        let whole = match rule.form {
            Form::Complete => rule.kind,
            Form::Set => Kind::Set,
            _ => Kind::Object,
        };
        let name = if self.one_in(6) { format!("data.t.{}", rule.name) } else { rule.name };
        if kind == whole || self.one_in(3) {
            return name;
        }
        let key = match self.random.below(6) {
            0 | 1 => "_".to_owned(),
            2 => self.constant(Kind::String, 0),
            3 => self.constant(Kind::Number, 0),
            4 => self.variable(Kind::Any).unwrap_or_else(|| "\"a\"".to_owned()),
            _ => return format!("{name}.{}", self.pick(&["a", "b", "c"])),
        };
        format!("{name}[{key}]")
    }

    fn use_of_function(&mut self, kind: Kind, depth: usize) -> Option<String> {
        let rule = self.rule(|rule| {
            matches!(rule.form, Form::Function(_)) && (kind == Kind::Any || rule.kind == kind || rule.kind == Kind::Any)
        })?;
        let Form::Function(count) = rule.form else { return None };
        let arguments: Vec<String> = (0..count).map(|_| self.argument(depth)).collect();
        Some(format!("{}({})", rule.name, arguments.join(", ")))
    }

    fn argument(&mut self, depth: usize) -> String {
        let kind = if self.one_in(2) { Kind::Number } else { self.any_kind() };
        self.term(kind, depth - 1)
    }

    /// A call of a built-in function.
    pub(crate) fn call(&mut self, kind: Kind, depth: usize) -> String {
        let all = giving(kind, self.version == Version::V0);
        let Some(signature) = (!all.is_empty()).then(|| all[self.random.below(all.len())]) else {
            return self.place(kind);
        };
        let arguments = self.arguments(signature, depth);
        match (&signature.infix, arguments.as_slice()) {
            (Some(infix), [left, right]) if !self.one_in(8) => format!("({left} {infix} {right})"),
            _ => format!("{}({})", signature.name, arguments.join(", ")),
        }
    }

    fn arguments(&mut self, signature: &Signature, depth: usize) -> Vec<String> {
        let mut out = Vec::new();
        for (at, kind) in signature.arguments.iter().enumerate() {
            let made_for = texts(&signature.name, at);
            out.push(if !made_for.is_empty() && !self.one_in(4) {
                self.pick(made_for).to_owned()
            } else if bounded(&signature.name, at) {
                self.constant(Kind::Number, 0).chars().take(3).collect()
            } else {
                self.of_type(kind, depth - 1)
            });
        }
        out
    }

    /// A term of a type.
    fn of_type(&mut self, wanted: &Type, depth: usize) -> String {
        let kind = kind_of(wanted);
        match wanted {
            Type::Any => {
                let kind = self.any_kind();
                self.term(kind, depth)
            }
            Type::Union(of) => {
                let one = &of[self.random.below(of.len())];
                self.of_type(one, depth)
            }
            _ if self.one_in(2) => self.unknown(kind, depth),
            Type::Array(fixed, rest) => {
                let mut items: Vec<String> =
                    fixed.iter().map(|one| self.of_type(one, depth.saturating_sub(1))).collect();
                if let Some(rest) = rest {
                    let more = self.random.below(4);
                    items.extend((0..more).map(|_| self.of_type(rest, depth.saturating_sub(1))));
                }
                format!("[{}]", items.join(", "))
            }
            Type::Set(of) => {
                let count = 1 + self.random.below(3);
                let items: Vec<String> = (0..count).map(|_| self.of_type(of, depth.saturating_sub(1))).collect();
                format!("{{{}}}", items.join(", "))
            }
            Type::Object(fixed, rest) => {
                let mut members: Vec<String> = fixed
                    .iter()
                    .map(|(key, one)| format!("\"{key}\": {}", self.of_type(one, depth.saturating_sub(1))))
                    .collect();
                if let Some(rest) = rest {
                    let more = self.random.below(3);
                    members.extend((0..more).map(|_| {
                        let value = self.of_type(&rest.1, depth.saturating_sub(1));
                        format!("{}: {value}", self.constant(Kind::String, 0))
                    }));
                }
                format!("{{{}}}", members.join(", "))
            }
            _ => self.term(kind, depth),
        }
    }

    /// What a checker of types knows nothing of.
    fn unknown(&mut self, kind: Kind, depth: usize) -> String {
        if depth == 0 || self.one_in(2) { self.place(kind) } else { self.term(kind, depth) }
    }

    fn composed(&mut self, kind: Kind, depth: usize) -> String {
        let count = self.random.below(4);
        let kind = if kind == Kind::Any { self.any_kind() } else { kind };
        let item = |writer: &mut Self| {
            let kind = writer.any_kind();
            writer.term(kind, depth - 1)
        };
        match kind {
            Kind::Array => format!("[{}]", (0..count).map(|_| item(self)).collect::<Vec<_>>().join(", ")),
            Kind::Set if count > 0 => {
                format!("{{{}}}", (0..count).map(|_| item(self)).collect::<Vec<_>>().join(", "))
            }
            Kind::Object => {
                let members: Vec<String> = (0..count)
                    .map(|_| {
                        let key =
                            if self.one_in(3) { self.term(Kind::String, 0) } else { self.constant(Kind::String, 0) };
                        format!("{key}: {}", item(self))
                    })
                    .collect();
                format!("{{{}}}", members.join(", "))
            }
            Kind::String if self.version == Version::V1 => self.template(depth),
            _ => self.leaf(kind),
        }
    }

    fn template(&mut self, depth: usize) -> String {
        let mut out = "$\"".to_owned();
        for _ in 0..=self.random.below(2) {
            let text = self.pick(&["a", "-", " ", "\\n", "é", "\\{"]);
            out.push_str(text);
            let kind = self.any_kind();
            let term = self.term(kind, depth - 1);
            // Braces of a term and those of the template are two things to keep apart.
            out.push_str(&format!("{{{term}}}"));
        }
        out.push('"');
        out
    }

    fn comprehension(&mut self, kind: Kind, depth: usize) -> String {
        let kind = if kind == Kind::Any { [Kind::Array, Kind::Set, Kind::Object][self.random.below(3)] } else { kind };
        self.scoped(|writer| {
            let body = writer.body(depth - 1, 2).join("; ");
            let of = writer.any_kind();
            let value = if writer.one_in(2) { writer.variable(Kind::Any) } else { None };
            let value = value.unwrap_or_else(|| writer.term(of, depth - 1));
            match kind {
                Kind::Array => format!("[{value} | {body}]"),
                Kind::Set => format!("{{{value} | {body}}}"),
                _ => {
                    let key = writer.variable(Kind::Any).unwrap_or_else(|| "\"a\"".to_owned());
                    format!("{{{key}: {value} | {body}}}")
                }
            }
        })
    }

    fn operator(&mut self, kind: Kind, depth: usize) -> String {
        let (op, kind) = match kind {
            Kind::Number => (self.pick(&["+", "-", "*", "/", "%"]), Kind::Number),
            Kind::Set => (self.pick(&["|", "&", "-"]), Kind::Set),
            Kind::Bool => {
                let kind = self.any_kind();
                (self.pick(&["==", "!=", "<", "<=", ">", ">="]), kind)
            }
            _ => return self.leaf(kind),
        };
        format!("({} {op} {})", self.term(kind, depth - 1), self.term(kind, depth - 1))
    }
}

/// Arguments that say how much a function makes.
fn bounded(name: &str, at: usize) -> bool {
    matches!(
        (name, at),
        ("numbers.range" | "numbers.range_step", _) | ("bits.lsh" | "bits.rsh", 1) | ("time.add_date", 1..=3)
    )
}
