//! Layout of whole modules.

use super::super::opa_cases::{cases, files, folder, modules, skipped, version_of};
use super::format;
use crate::syntax::Options;

#[test]
fn formatting_keeps_modules_and_is_stable() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let (mut all, mut changing, mut untouched) = (0, Vec::new(), Vec::new());
    for file in files(&folder) {
        let options = Options { version: version_of(&file), ..Options::default() };
        for module in cases(&file).iter().flat_map(modules).step_by(3) {
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
