//! The package and the imports.

use super::super::ast::{Import, Name};
use super::super::token::Kind;
use super::writer::Writer;

impl Writer<'_> {
    pub(super) fn package(&mut self) {
        let module = self.module;
        let path = self.path(&module.package.path);
        self.token("package ", module.package.span.line);
        self.write(&path);
        self.blank_line();
    }

    fn path(&self, path: &[Name]) -> String {
        let mut text = String::new();
        for (at, name) in path.iter().enumerate() {
            let quoted = self.source(name.span).starts_with(['"', '`']);
            if at == 0 {
                text.push_str(&name.text);
            } else if quoted && !may_follow_dot(&name.text) {
                text.push_str(&format!("[{}]", self.source(name.span)));
            } else {
                text.push('.');
                text.push_str(&name.text);
            }
        }
        text
    }

    /// Imports that stand together, in groups separated by blank lines or comments.
    pub(super) fn imports(&mut self, imports: &[&Import]) {
        let mut rest = imports;
        while let Some(first) = rest.first() {
            let lines = rest.iter().zip(rest.iter().skip(1));
            let length = 1 + lines.take_while(|(a, b)| b.span.line <= a.span.line + 1).count();
            let (group, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            self.comments_before(first.span.line);
            self.import_group(group);
            self.blank_line();
            rest = after;
        }
    }

    fn import_group(&mut self, group: &[&Import]) {
        let last = group.iter().map(|import| import.span.line).max().unwrap_or(0);
        let module = self.module;
        let comments = &module.comments;
        let mut sorted: Vec<&Import> = group.to_vec();
        sorted.sort_by_key(|import| {
            let path: Vec<&str> = import.path.iter().map(|name| &*name.text).collect();
            (path, import.alias.as_ref().map(|alias| alias.text.clone()))
        });
        for import in sorted {
            let mut text = format!("import {}", self.path(&import.path));
            if let Some(alias) = &import.alias {
                text.push_str(&format!(" as {}", alias.text));
            }
            for comment in comments.iter().filter(|comment| comment.span.line == import.span.line) {
                text.push_str(&format!(" #{}", comment.text.trim_end()));
            }
            self.write(&text);
            self.line_without_comment();
        }
        self.skip_comments_to(last);
        self.at_line = self.at_line.max(last);
    }
}

/// Whether a name can be written after a dot.
pub(super) fn may_follow_dot(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && Kind::of_word(name) == Kind::Ident
}
