//! `strings.render_template`: Go's `text/template` over values of JSON.

use super::context::{BuiltinError, Context, Outcome, done};
use super::encoding::plain;
use super::operand::{any, object, string};
use super::template_functions::{Datum, call, follow, wrong};
use super::template_parse::{Node, Operand, Pipeline, Template, parse};
use crate::value::Value;

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[("strings.render_template", render)];

/// Templates that call each other.
const MAX_CALLS: usize = 20;

fn render(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    object(args, 1)?;
    cx.spend(text.len().saturating_mul(20))?;
    let template = parse(text)?;
    let data = Datum::Value(plain(cx, any(args, 1)?)?);
    let variables = vec![(String::new(), data.clone())];
    let mut run = Run { cx, template: &template, out: String::new(), variables, calls: 0 };
    run.nodes(&template.root, &data)?;
    done(run.out.replace("<no value>", "<undefined>"))
}

/// What follows a node.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'a> {
    cx: &'a mut Context,
    template: &'a Template,
    out: String,
    variables: Vec<(String, Datum)>,
    calls: usize,
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: &Datum) -> Result<Flow, BuiltinError> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// Nodes whose variables end with them.
    fn scope(&mut self, nodes: &'a [Node], dot: &Datum, depth: usize) -> Result<Flow, BuiltinError> {
        let flow = self.nodes(nodes, dot);
        self.variables.truncate(depth);
        flow
    }

    fn node(&mut self, node: &'a Node, dot: &Datum) -> Result<Flow, BuiltinError> {
        self.cx.spend(10)?;
        let depth = self.variables.len();
        match node {
            Node::Text(text) => {
                self.cx.spend(text.len())?;
                self.out.push_str(text);
            }
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    if let Datum::Value(value) = &value {
                        self.cx.spend_value(value)?;
                    }
                    let text = value.text();
                    self.out.push_str(&text);
                }
            }
            Node::If(condition, then, otherwise) => {
                let holds = self.pipeline(condition, dot)?.is_true();
                return self.scope(if holds { then } else { otherwise }, dot, depth);
            }
            Node::With(value, then, otherwise) => {
                let value = self.pipeline(value, dot)?;
                return if value.is_true() {
                    self.scope(then, &value, depth)
                } else {
                    self.scope(otherwise, dot, depth)
                };
            }
            Node::Range(over, body, otherwise) => return self.range(over, body, otherwise, dot),
            Node::Call(name, argument) => {
                let value = match argument {
                    Some(pipeline) => self.pipeline(pipeline, dot)?,
                    None => Datum::Nothing,
                };
                let template = self.template;
                let body = template.defined.get(name).ok_or_else(|| wrong(format!("template {name:?} not defined")))?;
                self.calls += 1;
                if self.calls > MAX_CALLS {
                    return Err(wrong("exceeded maximum template depth"));
                }
                let outer = std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
                self.nodes(body, &value)?;
                self.variables = outer;
                self.calls -= 1;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        over: &'a Pipeline,
        body: &'a [Node],
        otherwise: &'a [Node],
        dot: &Datum,
    ) -> Result<Flow, BuiltinError> {
        let depth = self.variables.len();
        let collection = self.commands(over, dot)?;
        let pairs: Vec<(Datum, Datum)> = match collection {
            Datum::Value(Value::Array(items)) => {
                let item = |(at, item): (usize, &Value)| (Datum::Int(at as i64), Datum::Value(item.clone()));
                items.iter().enumerate().map(item).collect()
            }
            Datum::Value(Value::Object(members)) => {
                members.iter().map(|(key, value)| (Datum::Value(key.clone()), Datum::Value(value.clone()))).collect()
            }
            Datum::Int(count) => {
                self.cx.spend(usize::try_from(count).unwrap_or(0))?;
                (0..count).map(|at| (Datum::Int(at), Datum::Int(at))).collect()
            }
            Datum::Value(Value::Null) | Datum::Nothing => Vec::new(),
            other => return Err(wrong(format!("range can't iterate over {}", other.text()))),
        };
        if pairs.is_empty() {
            return self.scope(otherwise, dot, depth);
        }
        for (key, value) in pairs {
            match over.variables.as_slice() {
                [one] => self.variables.push((one.clone(), value.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), value.clone()));
                }
                [] => {}
            }
            if self.scope(body, &value, depth)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Datum) -> Result<Datum, BuiltinError> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match known.filter(|_| pipeline.assigns) {
                Some((_, slot)) => *slot = value.clone(),
                None if pipeline.assigns => return Err(wrong(format!("undefined variable \"${name}\""))),
                None => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &'a Pipeline, dot: &Datum) -> Result<Datum, BuiltinError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Datum::Nothing))
    }

    fn command(&mut self, command: &'a [Operand], last: Option<Datum>, dot: &Datum) -> Result<Datum, BuiltinError> {
        match command {
            [Operand::Function(name), arguments @ ..] => {
                let mut values = Vec::with_capacity(arguments.len() + 1);
                for argument in arguments {
                    let value = self.operand(argument, dot)?;
                    let decided = name == "and" && !value.is_true() || name == "or" && value.is_true();
                    values.push(value.clone());
                    if decided {
                        return Ok(value);
                    }
                }
                values.extend(last);
                call(self.cx, name, &values)
            }
            [Operand::Nil] => Err(wrong("nil is not a command")),
            [one] if last.is_none() => self.operand(one, dot),
            _ => Err(wrong("can't give argument to non-function")),
        }
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Datum) -> Result<Datum, BuiltinError> {
        match operand {
            Operand::Function(name) => call(self.cx, name, &[]),
            Operand::Text(text) => Ok(Datum::Value(Value::from(text.as_str()))),
            Operand::Int(number) => Ok(Datum::Int(*number)),
            Operand::Float(number) => Ok(Datum::Float(*number)),
            Operand::Bool(flag) => Ok(Datum::Value(Value::from(*flag))),
            Operand::Nil => Ok(Datum::Nothing),
            Operand::Field(fields) => follow(dot.clone(), fields),
            Operand::Variable(name, fields) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| wrong(format!("undefined variable \"${name}\"")))?;
                follow(value.clone(), fields)
            }
            Operand::Inner(pipeline, fields) => {
                let value = self.pipeline(pipeline, dot)?;
                follow(value, fields)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, BuiltinError> {
        let data =
            r#"{"a":1,"b":[1,2,"x"],"c":{"k":"v","z":[true,null]},"s":"<a&\"'>","f":1.50,"n":null,"t":true,"e":""}"#;
        let args = [Value::from(template), Value::from_json(data).expect("json")];
        let text = render(&mut Context::new(0), &args)?.expect("defined");
        Ok(text.as_str().expect("string").to_owned())
    }

    #[test]
    fn values_are_shown_as_go_shows_them() {
        assert_eq!(
            rendered("{{.b}} {{.c}} {{.n}} {{.t}} {{.f}}").as_deref(),
            Ok("[1 2 x] map[k:v z:[true <nil>]] <undefined> true 1.50")
        );
        assert_eq!(
            rendered("{{html .s}} {{js .s}} {{print 1 2 \"a\" \"b\" 3}}").as_deref(),
            Ok("&lt;a&amp;&#34;&#39;&gt; \\u003Ca\\u0026\\\"\\'\\u003E 1 2ab3")
        );
    }

    #[test]
    fn control_follows_go() {
        for (template, wanted) in [
            ("{{if .e}}y{{else if .t}}z{{else}}n{{end}}", "z"),
            ("{{range $k, $v := .c}}{{$k}}={{$v}};{{end}}", "k=v;z=[true <nil>];"),
            ("{{- /* c */ -}} x {{- 3 -}} y", "x3y"),
            ("{{define \"T\"}}<{{.}}>{{end}}{{template \"T\" .a}}", "<1>"),
            ("{{with $x := .c.k}}{{$x | len}}{{end}}{{range 3}}{{.}}{{end}}", "1012"),
            ("{{$x := 1}}{{$x = 2}}{{$x}}{{block \"B\" .a}}b{{.}}{{end}}", "2b1"),
            ("{{range .b}}{{if eq 1 1}}{{continue}}{{end}}z{{end}}{{index .b 1}}", "2"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(wanted), "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for template in [
            "{{",
            "{{.a.b}}",
            "{{eq .a 1}}",
            "{{if .a}}",
            "{{nil}}",
            "{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}",
        ] {
            assert!(rendered(template).is_err(), "{template}");
        }
    }
}
