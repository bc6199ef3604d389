//! `docs/invariants.md` names the tests of each law. The lists are written by `cargo xtask invariants`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;

const DOCUMENT: &str = "docs/invariants.md";
const LAWS: std::ops::RangeInclusive<u32> = 1..=16;

/// Tests by law: the crate and the name of each.
type Tests = BTreeMap<u32, BTreeSet<(String, String)>>;

/// Findings if the document is not what [`write`] would make of it, or a law has no test.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let (text, tests) = (document(root)?, tests(root)?);
    let mut out = missing(&text, &tests);
    if filled(&text, &tests) != text {
        out.push(format!("{DOCUMENT} does not list the tests of each law as they are: run `cargo xtask invariants`"));
    }
    Ok(out)
}

/// Writes the lists of tests anew.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    let (text, tests) = (document(root)?, tests(root)?);
    std::fs::write(root.join(DOCUMENT), filled(&text, &tests)).map_err(|e| format!("{DOCUMENT}: {e}"))
}

fn document(root: &Path) -> Result<String, String> {
    std::fs::read_to_string(root.join(DOCUMENT)).map_err(|e| format!("{DOCUMENT}: {e}"))
}

fn missing(text: &str, tests: &Tests) -> Vec<String> {
    let mut out = Vec::new();
    for law in LAWS {
        if !text.lines().any(|line| law_of(line) == Some(law)) {
            out.push(format!("{DOCUMENT} has no section `## L{law} …`"));
        }
        if !tests.contains_key(&law) {
            out.push(format!("law L{law} has no test: name one `law_l{law}_…`"));
        }
    }
    out.extend(
        tests
            .keys()
            .filter(|law| !LAWS.contains(law))
            .map(|law| format!("a test is named after L{law}, which is not a law")),
    );
    out
}

/// The law whose section this line begins.
fn law_of(line: &str) -> Option<u32> {
    line.strip_prefix("## L")?.split(' ').next()?.parse().ok()
}

/// The document with the list below each law's text replaced. A list's lines begin with "- `".
fn filled(text: &str, tests: &Tests) -> String {
    let (mut out, mut law) = (String::new(), None);
    let finish = |out: &mut String, law: Option<u32>| {
        let Some(tests) = law.and_then(|law| tests.get(&law)) else { return };
        if !out.ends_with("\n\n") {
            out.push('\n');
        }
        for (of, name) in tests {
            out.push_str(&format!("- `{name}` ({of})\n"));
        }
        out.push('\n');
    };
    for line in text.lines() {
        if line.starts_with("## ") {
            finish(&mut out, law);
            law = law_of(line);
        }
        if law.is_none() || !line.starts_with("- `") {
            // A section's list has one empty line before it and one behind it, however it stood.
            if !(line.is_empty() && out.ends_with("\n\n")) {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    finish(&mut out, law);
    format!("{}\n", out.trim_end())
}

fn tests(root: &Path) -> Result<Tests, String> {
    let (mut files, mut out) = (Vec::new(), Tests::new());
    for folder in ["crates", "fuzz"] {
        crate::tidy::collect(&root.join(folder), &mut files).map_err(|e| e.to_string())?;
    }
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let below = path.strip_prefix(root).unwrap_or(&path);
        let of = below.iter().map(|part| part.to_string_lossy()).find(|part| part != "crates").unwrap_or_default();
        let parsed = syn::parse_file(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        Named { of: &of, tests: &mut out }.visit_file(&parsed);
    }
    Ok(out)
}

struct Named<'a> {
    of: &'a str,
    tests: &'a mut Tests,
}

impl Named<'_> {
    fn take(&mut self, name: String, number: &str) {
        if let Ok(law) = number.parse() {
            self.tests.entry(law).or_default().insert((self.of.to_owned(), name));
        }
    }
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let is_test =
            |attribute: &syn::Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "test");
        let name = function.sig.ident.to_string();
        if let Some(rest) = name.strip_prefix("law_l")
            && function.attrs.iter().any(is_test)
        {
            let number = rest.split('_').next().unwrap_or_default().to_owned();
            self.take(name, &number);
        }
    }

    /// A type whose documentation is a test that must not compile.
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let name = item.ident.to_string();
        if let Some(rest) = name.strip_prefix("LawL") {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            self.take(name, &number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Tests {
        let named = |name: &str| BTreeSet::from([("store".to_owned(), name.to_owned())]);
        Tests::from([(1, named("law_l1_a")), (4, named("law_l4_b"))])
    }

    #[test]
    fn lists_are_replaced_and_texts_are_kept() {
        let text = "# Laws\n\nIntro.\n\n## L1 One gate\n\nText.\n\n- `law_l1_old` (x)\n\n## L4 Once\n\nOther.\n";
        let wanted = "# Laws\n\nIntro.\n\n## L1 One gate\n\nText.\n\n- `law_l1_a` (store)\n\n## L4 Once\n\nOther.\n\n- `law_l4_b` (store)\n";
        assert_eq!(filled(text, &two()), wanted);
        assert_eq!(filled(wanted, &two()), wanted);
    }

    #[test]
    fn a_law_needs_a_test_and_vice_versa() {
        let mut tests = two();
        tests.insert(17, BTreeSet::new());
        let found = missing("## L1 One gate\n", &tests);
        assert!(found.iter().any(|text| text == "law L2 has no test: name one `law_l2_…`"));
        assert!(found.iter().any(|text| text.contains("`## L4 …`")));
        assert!(found.iter().any(|text| text.contains("L17")));
    }
}
