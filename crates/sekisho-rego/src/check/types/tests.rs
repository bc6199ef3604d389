//! Types in policies that random ones led to, beside what OPA says of them.

use crate::Compiler;

const LIBRARY: &str = "package lib\n\none := 1\n\nlist := [x | some x in input.xs]\n\n\
                       pairs[k] := v if some k, v in input.o\n";

/// Whether a rule of this body is refused for its types.
fn is_refused(body: &str) -> bool {
    let text = format!("package t\n\nr if {{ {body} }}\n");
    let modules = Compiler::new().module("lib.rego", LIBRARY).and_then(|all| all.module("t.rego", &text));
    match modules.and_then(Compiler::compile) {
        Ok(_) => false,
        Err(error) => {
            assert!(error.to_string().contains("rego_type_error"), "{body}: {error}");
            true
        }
    }
}

#[test]
fn collections_fit_several_types_as_in_opa() {
    for body in [
        "strings.any_prefix_match({data.lib.one, input.a}, [\"x\"])",
        "strings.any_prefix_match({data.lib.list, input.a}, [\"x\"])",
        "not strings.any_prefix_match({data.lib.pairs, data[\"d\"].o.a}, [input.ss[1]]) > false",
        "concat(\"a\", [input.x[y]]); y == null",
        "object.remove({\"a\": 1}, [data.lib.one])",
        "y := \"b\"; concat(\"a\", [y, input.x])",
        "{data.lib.list: []} = {\" a \": {1.5}, \"\": null, -1: false}",
        "{input.os[_].id: 1, \"b\": 2} = {}",
        "{input.x: []} = {}",
        "{\"a\": 1, input.x: 2} = {\"a\": 1}",
    ] {
        assert!(!is_refused(body), "{body}");
    }
    for body in [
        "strings.any_prefix_match({data.lib.one}, [\"x\"])",
        "strings.any_prefix_match([data.lib.one, \"a\"], [\"x\"])",
        "strings.any_prefix_match({1, input.a}, [\"x\"])",
        "y := 1; strings.any_prefix_match([[y], \"a\"], [\"x\"])",
        "y := 1; concat(\"a\", [y])",
        "concat(\"a\", [[x | x := 1]])",
        "y := {\"a\": 1}; concat(\"a\", {y, 1})",
        "concat(\"a\", {\"x\": 1})",
        "y := 1; count([y]) == [y]",
        "{input.x: 1} = {\"a\": \"b\"}",
        "{\"a\": 1} = {\"b\": 1}",
        "{\"a\": \"x\", input.x: 2} = {\"a\": 1, \"b\": 2}",
    ] {
        assert!(is_refused(body), "{body}");
    }
}

/// OPA refuses `y := 2; some x in y`, but not the number itself in place of its name. Neither ever holds.
#[test]
fn elements_of_scalars_are_refused_unlike_by_opa() {
    assert!(is_refused("y := 2; some x in y"));
    assert!(is_refused("some x in 2"));
    assert!(is_refused("some x, y in false"));
}

/// OPA's `checkClosures` looks at comprehensions and leaves the body of `every` out, so it accepts calls that fail for
/// every element. We refuse them.
#[test]
fn bodies_of_every_are_checked_unlike_opa_s() {
    assert!(is_refused("every x in input.l { startswith(1, x) }"));
    assert!(is_refused("every x in input.l { x == \"a\"; abs(x) > 1; lower(1) == x }"));
    assert!(!is_refused("every x in input.l { startswith(\"a\", x) }"));
}
