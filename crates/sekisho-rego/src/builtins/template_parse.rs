//! The syntax of Go's `text/template`.

use std::collections::BTreeMap;

use super::context::{BuiltinError, failure};

/// The deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 25;

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Call(String, Option<Pipeline>),
    Break,
    Continue,
}

/// `$a, $b := command | command`.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Function(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    /// `(pipeline).a`
    Inner(Box<Pipeline>, Vec<String>),
}

/// A template and those that it defines.
#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) root: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

#[derive(Debug)]
enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

fn wrong(what: impl std::fmt::Display) -> BuiltinError {
    failure(format!("template: template: {what}"))
}

/// Splits a text at its actions, and trims the space that `{{-` and `-}}` take away.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BuiltinError> {
    let (mut out, mut rest, mut trim) = (Vec::new(), text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let left = after.strip_prefix('-').filter(|inner| inner.starts_with(char::is_whitespace));
        let before = if trim { before.trim_start() } else { before };
        out.push(Piece::Text(if left.is_some() { before.trim_end() } else { before }));
        let inner = left.unwrap_or(after);
        let end = action_end(inner).ok_or_else(|| wrong("unclosed action"))?;
        let (action, after) = inner.split_at_checked(end).ok_or_else(|| wrong("unclosed action"))?;
        rest = after.strip_prefix("}}").unwrap_or(after);
        let right = action.strip_suffix('-').filter(|inner| inner.ends_with(char::is_whitespace));
        trim = right.is_some();
        let action = right.unwrap_or(action).trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            out.push(Piece::Action(action));
        }
    }
    out.push(Piece::Text(if trim { rest.trim_start() } else { rest }));
    Ok(out)
}

/// The place of the `}}` that ends an action, outside of quotes.
fn action_end(text: &str) -> Option<usize> {
    if text.trim_start().starts_with("/*") {
        let comment = text.find("*/")?;
        return text.get(comment..)?.find("}}").map(|at| comment + at);
    }
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some('`') if c == '`' => quote = None,
            Some('`') => {}
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => quote = Some(c),
            None if text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            None => {}
        }
    }
    None
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Template, BuiltinError> {
    let pieces = pieces(text)?;
    let mut parser = Parser { pieces: pieces.into_iter(), template: Template::default() };
    let (root, end) = parser.block(0)?;
    if let Some(word) = end {
        return Err(wrong(format!("unexpected {{{{{word}}}}}")));
    }
    parser.template.root = root;
    Ok(parser.template)
}

struct Parser<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    template: Template,
}

impl<'a> Parser<'a> {
    /// Nodes up to an `end` or `else`, which is returned.
    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, Option<&'a str>), BuiltinError> {
        if depth > MAX_DEPTH {
            return Err(wrong("nested too deeply"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text("") => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
            match word {
                "end" | "else" => return Ok((nodes, Some(action))),
                "if" | "with" | "range" => nodes.push(self.branch(word, rest, depth)?),
                "define" | "block" => {
                    let mut words = Words { rest };
                    let name = words.name()?;
                    if word == "block" {
                        nodes.push(Node::Call(name.clone(), Some(words.pipeline(0)?)));
                    }
                    let (body, _) = self.block(depth + 1)?;
                    self.template.defined.insert(name, body);
                }
                "template" => {
                    let mut words = Words { rest };
                    let name = words.name()?;
                    let argument = if words.rest.trim().is_empty() { None } else { Some(words.pipeline(0)?) };
                    nodes.push(Node::Call(name, argument));
                }
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                _ => nodes.push(Node::Print(whole_pipeline(action)?)),
            }
        }
        Ok((nodes, None))
    }

    fn branch(&mut self, word: &str, condition: &str, depth: usize) -> Result<Node, BuiltinError> {
        let pipeline = whole_pipeline(condition)?;
        let (then, end) = self.block(depth + 1)?;
        let otherwise = match end {
            None => return Err(wrong("unexpected EOF")),
            Some("end") => Vec::new(),
            Some(clause) => match clause.strip_prefix("else").unwrap_or(clause).trim() {
                "" => self.block(depth + 1)?.0,
                chained => {
                    let (word, rest) = chained.split_once(char::is_whitespace).unwrap_or((chained, ""));
                    if !matches!(word, "if" | "with") {
                        return Err(wrong(format!("unexpected {word:?} after else")));
                    }
                    vec![self.branch(word, rest, depth + 1)?]
                }
            },
        };
        Ok(match word {
            "if" => Node::If(pipeline, then, otherwise),
            "with" => Node::With(pipeline, then, otherwise),
            _ => Node::Range(pipeline, then, otherwise),
        })
    }
}

fn whole_pipeline(text: &str) -> Result<Pipeline, BuiltinError> {
    let mut words = Words { rest: text };
    let pipeline = words.pipeline(0)?;
    if words.rest.trim().is_empty() { Ok(pipeline) } else { Err(wrong(format!("unexpected {:?}", words.rest))) }
}

/// Reads the words of an action.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(token) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        word.to_owned()
    }

    fn identifier(&mut self) -> String {
        self.take_while(|c| c.is_alphanumeric() || c == '_')
    }

    /// A quoted name of a template.
    fn name(&mut self) -> Result<String, BuiltinError> {
        match self.operand(0)? {
            Some(Operand::Text(name)) => Ok(name),
            _ => Err(wrong("expected the quoted name of a template")),
        }
    }

    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, BuiltinError> {
        if depth > MAX_DEPTH {
            return Err(wrong("nested too deeply"));
        }
        let mut pipeline = Pipeline { variables: Vec::new(), assigns: false, commands: Vec::new() };
        let start = self.rest;
        while self.eat("$") {
            pipeline.variables.push(self.identifier());
            if !self.eat(",") {
                break;
            }
        }
        if !pipeline.variables.is_empty() && !self.eat(":=") {
            pipeline.assigns = !self.rest.trim_start().starts_with("==") && self.eat("=");
            if !pipeline.assigns {
                pipeline.variables.clear();
                self.rest = start;
            }
        }
        loop {
            let mut command = Vec::new();
            while let Some(operand) = self.operand(depth)? {
                command.push(operand);
            }
            if command.is_empty() {
                return Err(wrong("missing value for command"));
            }
            pipeline.commands.push(command);
            if !self.eat("|") {
                return Ok(pipeline);
            }
        }
    }

    /// `.a.b` after an operand.
    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while self.rest.starts_with('.') {
            self.eat(".");
            let name = self.identifier();
            if name.is_empty() {
                break;
            }
            fields.push(name);
        }
        fields
    }

    fn operand(&mut self, depth: usize) -> Result<Option<Operand>, BuiltinError> {
        self.rest = self.rest.trim_start();
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        Ok(Some(match first {
            '|' | ')' => return Ok(None),
            '(' => {
                self.eat("(");
                let inner = self.pipeline(depth + 1)?;
                if !self.eat(")") {
                    return Err(wrong("unclosed left paren"));
                }
                Operand::Inner(Box::new(inner), self.fields())
            }
            '$' => {
                self.eat("$");
                let name = self.identifier();
                Operand::Variable(name, self.fields())
            }
            '.' if !self.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => Operand::Field(self.fields()),
            '"' | '`' | '\'' => self.quoted(first)?,
            '0'..='9' | '-' | '+' | '.' => self.number()?,
            c if c.is_alphabetic() || c == '_' => {
                let word = self.identifier();
                match word.as_str() {
                    "true" => Operand::Bool(true),
                    "false" => Operand::Bool(false),
                    "nil" => Operand::Nil,
                    _ => Operand::Function(word),
                }
            }
            c => return Err(wrong(format!("unexpected {c:?} in command"))),
        }))
    }

    fn number(&mut self) -> Result<Operand, BuiltinError> {
        let word = self.take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '+' | '-' | '_'));
        let plain = word.replace('_', "");
        let hexadecimal = plain.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
        if let Some(number) = hexadecimal.or_else(|| plain.parse().ok()) {
            return Ok(Operand::Int(number));
        }
        plain.parse().map(Operand::Float).map_err(|_| wrong(format!("bad number syntax: {word:?}")))
    }

    fn quoted(&mut self, quote: char) -> Result<Operand, BuiltinError> {
        let mut chars = self.rest.chars();
        chars.next();
        let mut text = String::new();
        loop {
            let c = chars.next().ok_or_else(|| wrong("unterminated quoted string"))?;
            match c {
                c if c == quote => break,
                '\\' if quote != '`' => text.push(match chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(other @ ('\\' | '"' | '\'')) => other,
                    _ => return Err(wrong("invalid syntax in a quoted string")),
                }),
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        let mut inner = text.chars();
        match (quote, inner.next(), inner.next()) {
            ('\'', Some(one), None) => Ok(Operand::Int(i64::from(u32::from(one)))),
            ('\'', ..) => Err(wrong("malformed character constant")),
            _ => Ok(Operand::Text(text)),
        }
    }
}
