//! Layout of whole modules.

use super::super::opa_cases::{cases, files, folder, modules, skipped, version_of};
use super::{format, upgrade};
use crate::syntax::ast::Version;
use crate::syntax::{Options, parse_module};

#[test]
fn formatting_keeps_modules_and_is_stable() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let (mut all, mut changing, mut untouched) = (0, Vec::new(), Vec::new());
    for file in files(&folder) {
        let options = Options { version: version_of(&file), ..Options::default() };
        for module in cases(&file).iter().flat_map(modules) {
            let once = format("m.rego", &module, options).unwrap();
            let twice = format("m.rego", &once, options).unwrap();
            all += 1;
            if once != twice {
                changing.push(format!("{module}\n--- once\n{once}\n--- twice\n{twice}"));
            }
            let tree = crate::syntax::parse_module("m.rego", &module, options).unwrap();
            if !super::same("m.rego", &tree, &super::whole(&tree, &[]), options) {
                untouched.push(format!("{module}\n--- formatted\n{}", super::whole(&tree, &[])));
            }
        }
    }
    println!("{all} formatted, {} change again, {} left", changing.len(), untouched.len());
    println!(
        "{}",
        changing.iter().take(6).chain(untouched.iter().take(6)).cloned().collect::<Vec<_>>().join("\n=====\n")
    );
    assert!(all > 0 && changing.is_empty() && untouched.is_empty());
}

#[test]
fn comments_keep_their_places() {
    let text = "# head\n\npackage a\n# one\nimport data.c # c\nimport data.b\n\np := [1, # first\n2,\n# last\n] # end\n\
                q if {\nx := 1 # x\n\n\n# y is two\ny := 2\n# done\n} else := 3\nr := 1\ns := 2\n# tail\n";
    let expected = "# head\n\npackage a\n\n# one\nimport data.b\nimport data.c # c\n\np := [\n\t1, # first\n\t2,\n\
                    \t# last\n] # end\n\nq if {\n\tx := 1 # x\n\n\t# y is two\n\ty := 2\n\t# done\n\
                    } else := 3\n\nr := 1\ns := 2\n\n# tail\n";
    assert_eq!(format("m.rego", text, Options::default()).unwrap(), expected);
}

#[test]
fn most_of_opa_s_own_examples_agree() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let folder = folder.join("../../../format/testfiles");
    if !folder.is_dir() {
        return skipped("OPA's examples of its layout are not beside its test cases");
    }
    let (mut same, mut all) = (0, 0);
    let mut different = Vec::new();
    for version in ["v0", "v1"] {
        let Ok(items) = std::fs::read_dir(folder.join(version)) else { continue };
        for path in items.map(|item| item.unwrap().path()) {
            let formatted = path.with_extension("rego.formatted");
            let Ok(expected) = std::fs::read_to_string(&formatted) else { continue };
            let text = std::fs::read_to_string(&path).unwrap();
            let options = Options { version: version_of(&path), ..Options::default() };
            let Ok(found) = format("m.rego", &text, options) else { continue };
            all += 1;
            if found == expected {
                same += 1;
            } else {
                different.push(format!("== {}\n{found}\n-- wanted\n{expected}", path.display()));
            }
        }
    }
    different.sort();
    println!("{}\n{same} of {all} as OPA", different.join("\n"));
    // What differs: calls of the operators' functions stay calls, templates and directives stay as they are.
    assert!(all > 0 && same * 10 >= all * 7);
}

/// The `.rego` files in and below a folder.
fn policies(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            policies(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rego") {
            found.push(path);
        }
    }
}

#[test]
fn policies_of_this_repository_keep_their_trees() {
    let root = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let mut found = Vec::new();
    policies(&root, &mut found);
    for path in &found {
        let text = std::fs::read_to_string(path).unwrap();
        let options = Options::default();
        let Ok(tree) = parse_module("m.rego", &text, options) else { continue };
        let once = format("m.rego", &text, options).unwrap();
        assert!(super::same("m.rego", &tree, &once, options), "{}", path.display());
        assert_eq!(format("m.rego", &once, options).unwrap(), once, "{}", path.display());
    }
    assert!(found.len() >= 3, "{found:?}");
}

#[test]
fn an_old_module_is_upgraded() {
    let text = "# head\npackage a\n\nimport future.keywords.in\n\nallow { input.x; \"y\" in input.ys }\n\n\
                p[x] { x := input.xs[_] }\n\n\
                f(x) = y { y := x } else = 3 { x > 1 }\nq = 1\nr[x] = 2 { x := 1 }\n";
    let expected = "# head\npackage a\n\nimport rego.v1\n\nallow if {\n\tinput.x\n\t\"y\" in input.ys\n}\n\n\
                    p contains x if x := input.xs[_]\n\nf(x) := y if y := x\n\nelse := 3 if x > 1\n\n\
                    q := 1\nr[x] := 2 if x := 1\n";
    let found = upgrade("m.rego", text).unwrap();
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&found), squeezed(expected));
    assert_eq!(upgrade("m.rego", &found).unwrap(), found);
}

#[test]
fn what_version_1_cannot_express_is_refused() {
    let errors = upgrade("m.rego", "package a\n\nif := 1\n").unwrap_err();
    assert_eq!(errors.first().unwrap().span.line, 3, "{errors:?}");
}

#[test]
fn upgraded_modules_are_read_alike() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let (mut done, mut refused) = (0, Vec::new());
    for file in files(&folder.join("v0")) {
        for module in cases(&file).iter().flat_map(modules) {
            // It compares the trees of both versions itself.
            match upgrade("m.rego", &module) {
                Ok(text) => {
                    done += 1;
                    assert!(
                        parse_module("m.rego", &text, Options { version: Version::V1, ..Options::default() }).is_ok()
                    );
                }
                Err(errors) => refused.push(errors.first().map(ToString::to_string).unwrap_or_default()),
            }
        }
    }
    println!("{done} upgraded, {} refused\n{}", refused.len(), refused.join("\n"));
    assert!(done > 100 && refused.len() * 50 < done);
}
