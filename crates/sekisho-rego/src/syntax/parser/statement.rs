//! Packages, imports and the order of statements.

use std::sync::Arc;

use super::super::ast::{Body, Import, Name, Package, Rule, Span, Version};
use super::super::error::Error;
use super::super::strings::unescape;
use super::super::token::Kind;
use super::{Keywords, MAX_PATH, Parsed, Parser};

/// The statements of a module.
#[derive(Default)]
pub(crate) struct Statements {
    pub(crate) package: Option<Package>,
    pub(crate) imports: Vec<Import>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) rego_v1: bool,
    pub(crate) errors: Vec<Error>,
}

impl Parser<'_> {
    pub(crate) fn module(&mut self) -> Parsed<Statements> {
        let mut out = Statements::default();
        if self.is(Kind::Eof) {
            return self.error(self.span(), "empty module");
        }
        while !self.is(Kind::Eof) || self.budget == 0 {
            self.keyword_as_rule_name(false)?;
            if self.is(Kind::Package) && !self.starts_reference() {
                let package = self.package()?;
                if out.package.is_some() {
                    return self.error(package.span, "unexpected package");
                }
                out.package = Some(package);
                continue;
            }
            if out.package.is_none() {
                return self.error(self.span(), "package expected");
            }
            if self.is(Kind::Import) && !self.starts_reference() {
                let import = self.import()?;
                self.apply_import(&import, &mut out)?;
                out.imports.push(import);
                continue;
            }
            let rules = self.rules()?;
            out.rules.extend(rules);
        }
        Ok(out)
    }

    pub(super) fn whole_query(&mut self) -> Parsed<Body> {
        let start = self.span();
        let mut exprs = Vec::new();
        while !self.is(Kind::Eof) || self.budget == 0 {
            exprs.push(self.literal()?);
            if self.eat(Kind::Semicolon) && self.is(Kind::Eof) {
                return self.unexpected("");
            }
        }
        if exprs.is_empty() {
            return self.error(start, "found empty body");
        }
        Ok(Body { span: self.since(start), braces: false, exprs })
    }

    fn package(&mut self) -> Parsed<Package> {
        let start = self.bump();
        let path = self.path()?;
        let span = self.since(start);
        if self.is(Kind::Sub) {
            return self.unexpected("");
        }
        Ok(Package { span, path })
    }

    /// `a.b["c"]`; the first element may be a keyword.
    fn path(&mut self) -> Parsed<Vec<Name>> {
        if !self.is_reference_word() {
            return self.unexpected("");
        }
        let mut path = vec![self.name()];
        while !self.token().spaced {
            if path.len() >= MAX_PATH {
                return self.error(self.span(), format!("path too long: more than {MAX_PATH} elements"));
            }
            if self.eat(Kind::Dot) {
                if self.token().spaced || !self.is_reference_word() {
                    return self.unexpected("expected identifier");
                }
                path.push(self.name());
            } else if self.eat(Kind::LBrack) {
                path.push(self.quoted_name()?);
                self.expect(Kind::RBrack, "expected ]")?;
            } else {
                break;
            }
        }
        Ok(path)
    }

    fn name(&mut self) -> Name {
        let span = self.bump();
        Name { span, text: self.word(span) }
    }

    fn quoted_name(&mut self) -> Parsed<Name> {
        let kind = self.kind();
        if !matches!(kind, Kind::String | Kind::RawString) {
            return self.unexpected("expecting string");
        }
        let span = self.bump();
        let inner = inner_text(self.text(span));
        let value = if kind == Kind::RawString { Some(inner.into()) } else { unescape(inner, false) };
        match value {
            Some(value) => Ok(Name { span, text: Arc::from(value) }),
            None => self.error(span, format!("illegal string literal: {}", self.text(span))),
        }
    }

    fn import(&mut self) -> Parsed<Import> {
        let start = self.bump();
        let path = self.path()?;
        let mut span = self.since(start);
        let root = path.first().map(|name| name.text.clone()).unwrap_or_default();
        let whole = path.first().map_or(start, |name| self.since(name.span));
        if !matches!(&*root, "data" | "input" | "future" | "rego") {
            return self.hinted(
                whole,
                format!("unexpected import path, must begin with one of: {{data, future, input, rego}}, got: {root}"),
                "write `import data.…` or `import input.…`",
            );
        }
        let mut alias = None;
        if self.eat(Kind::As) {
            if !self.is(Kind::Ident) {
                return self.unexpected("expected var");
            }
            let name = self.name();
            if matches!(&*name.text, "data" | "input") {
                let message = format!("unexpected import alias, must not be a reserved name, got: {}", name.text);
                return self.error(name.span, message);
            }
            alias = Some(name);
            span = self.since(start);
        } else if let Some(last) = path.last()
            && &*root != "future"
            && self.is_keyword_of_version(&last.text)
        {
            return self.hinted(
                last.span,
                format!("unexpected import path, must not end with a keyword, got: {}", last.text),
                "import a different path or use an alias",
            );
        }
        if self.is(Kind::Sub) {
            return self.unexpected("");
        }
        Ok(Import { span, path, alias })
    }

    /// Whether the word is a keyword of the module's version without any import.
    pub(super) fn is_keyword_of_version(&self, word: &str) -> bool {
        match Kind::of_word(word) {
            Kind::In | Kind::Every | Kind::Contains | Kind::If => self.version == Version::V1,
            kind => kind.is_base_word(),
        }
    }

    fn apply_import(&mut self, import: &Import, out: &mut Statements) -> Parsed<()> {
        let mut words = import.path.iter().map(|name| &*name.text);
        let span = import
            .path
            .first()
            .map_or(import.span, |first| import.path.last().map_or(first.span, |last| first.span.to(last.span)));
        let root = words.next();
        let rest: Vec<&str> = words.collect();
        match root {
            Some("rego") => {
                if !matches!(rest.as_slice(), ["v1" | "v2"]) {
                    let path = std::iter::once("rego").chain(rest).collect::<Vec<_>>().join(".");
                    return self.error(span, format!("invalid import `{path}`, must be one of: `rego.v1`, `rego.v2`"));
                }
                self.no_alias(import, "`rego` imports cannot be aliased")?;
                out.rego_v1 = true;
                let logical = matches!(rest.as_slice(), ["v2"]) || self.keywords.not_bodies && self.keywords.and;
                let before = self.keywords;
                self.keywords = if logical {
                    Keywords::all()
                } else {
                    Keywords { member: true, every: true, contains: true, rule_if: true, ..before }
                };
                Ok(())
            }
            Some("future") => {
                if rest.first() != Some(&"keywords") {
                    return self.error(span, "invalid import, must be `future.keywords`");
                }
                self.no_alias(import, "`future` imports cannot be aliased")?;
                self.future_keyword(rest.get(1).copied(), rest.len(), span)
            }
            _ => Ok(()),
        }
    }

    fn no_alias(&self, import: &Import, message: &str) -> Parsed<()> {
        match &import.alias {
            Some(alias) => self.error(alias.span, message),
            None => Ok(()),
        }
    }

    fn future_keyword(&mut self, word: Option<&str>, length: usize, span: Span) -> Parsed<()> {
        let keywords = &mut self.keywords;
        match word {
            None => *keywords = Keywords::all(),
            Some(_) if length > 2 => *keywords = Keywords::all(),
            Some("in") => keywords.member = true,
            Some("every") => {
                keywords.every = true;
                keywords.member = true;
            }
            Some("contains") => keywords.contains = true,
            Some("if") => keywords.rule_if = true,
            Some("not") => keywords.not_bodies = true,
            Some("and") => keywords.and = true,
            Some("or") => keywords.or = true,
            Some(_) => {
                return self.error(span, "unexpected keyword, must be one of [and contains every if in not or]");
            }
        }
        Ok(())
    }
}

/// The text between the quotes.
pub(super) fn inner_text(literal: &str) -> &str {
    literal.get(1..literal.len().saturating_sub(1)).unwrap_or("")
}
