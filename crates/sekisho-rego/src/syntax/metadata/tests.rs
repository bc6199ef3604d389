//! Metadata blocks of whole modules.

use super::Chains;
use crate::syntax::ast::Module;
use crate::syntax::{Options, parse_module};

const MODULE: &str = r#"# METADATA
# description: The test suite
# scope: subpackages
package a.b

# METADATA
# title: All of p
# scope: document
# authors:
# - Jane Doe <jane@example.com>

# METADATA
# title: One of p
# custom:
#   level: 3
#   tags: [x, 1.5]
# related_resources:
# - https://example.com
p := 1

p := 2 if input.x
"#;

fn parsed(text: &str, annotations: bool) -> Result<Module, String> {
    let options = Options { annotations, ..Options::default() };
    parse_module("m.rego", text, options).map_err(|errors| errors[0].to_string())
}

#[test]
fn a_chain_goes_from_rule_to_package() {
    let modules = [parsed(MODULE, true).unwrap()];
    let chains = Chains::new(&modules).unwrap();
    let expected = concat!(
        r#"[{"annotations":{"custom":{"level":3,"tags":["x",1.5]},"related_resources":[{"ref":"https://example.com"}]"#,
        r#","scope":"rule","title":"One of p"},"path":["a","b","p"]},"#,
        r#"{"annotations":{"authors":[{"email":"jane@example.com","name":"Jane Doe"}],"scope":"document","#,
        r#""title":"All of p"},"path":["a","b","p"]},"#,
        r#"{"annotations":{"description":"The test suite","scope":"subpackages"},"path":["a","b"]}]"#,
    );
    assert_eq!(chains.chain(0, 0, 0).to_json(), expected);
    assert!(chains.rule(0, 1, 0).as_object().is_some_and(|object| object.is_empty()));
}

#[test]
fn a_broken_block_is_an_error() {
    let text = "package a\n\n# METADATA\n# title: [\np := 1\n";
    assert!(parsed(text, false).is_ok_and(|module| module.annotation_errors.len() == 1));
    assert!(parsed(text, true).unwrap_err().starts_with("m.rego:3:1: rego_parse_error: yaml:"));
    let misplaced = "package a\n\n# METADATA\n# scope: package\np := 1\n";
    let message = "m.rego:3:1: rego_parse_error: annotation scope 'package' must be applied to package (have rule)";
    assert_eq!(parsed(misplaced, true).unwrap_err(), message);
}
