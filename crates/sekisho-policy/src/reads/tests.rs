use crate::{PolicySet, Source};

use super::*;

fn reads(body: &str) -> PolicySet {
    let text = format!("package workload.authz\nimport rego.v1\n{body}\n");
    PolicySet::load(vec![Source { name: "a.rego".into(), text }]).unwrap_or_else(|error| panic!("{body}: {error}"))
}

#[test]
fn questions_are_found_with_their_place() {
    let policy = reads(
        "allow if {\n\tstartswith(input.headers.authorization, \"Bearer \")\n\tcount(input.headers.authorization) > 7\n\t\
         input.query == \"\"\n\tinput.method == \"GET\"\n}",
    );
    let header = Place::Header("authorization".into());
    let asked: Vec<&Question> = policy.reads.questions(&header).map(|(question, _)| question).collect();
    assert_eq!(asked, [&Question::AtLeast(8), &Question::StartsWith("Bearer ".into())]);
    let (question, at) = policy.reads.questions(&Place::Query).next().unwrap();
    assert_eq!((question, at.line), (&Question::Equal(String::new()), 6));
    assert!(policy.reads.free(&header).is_empty() && policy.reads.free(&Place::Query).is_empty());
}

#[test]
fn a_policy_of_shown_places_reads_nothing_hidden() {
    let policy = reads(
        "who := input.subject\nallow if {\n\twho.spiffe_id == \"spiffe://td/x\"\n\tsome segment in input.path\n\tlower(segment) == \"a\"\n\t\
         input.subject.claims[segment]\n}",
    );
    assert!(policy.reads.questions.is_empty() && policy.reads.free.is_empty(), "{:?}", policy.reads);
}

#[test]
fn a_hidden_import_is_not_followed() {
    let policy = reads(
        "import input.headers as h\nallow if {\n\th := input.subject.claims\n\th.region == \"eu\"\n}\nallow if h.authorization == \"a\"",
    );
    assert!(!policy.reads.free(&Place::Header("authorization".into())).is_empty());
}

#[test]
fn an_order_of_other_questions_has_another_digest() {
    let with =
        |text: &str| reads(&format!("allow if startswith(input.headers.authorization, \"{text}\")")).reads.digest;
    assert_eq!(with("a"), with("a"));
    assert_ne!(with("a"), with("b"));
}
