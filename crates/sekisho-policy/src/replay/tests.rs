use sekisho_types::{Claims, Digest, Effect, SpiffeId, UnixTime};

use super::*;
use crate::{RequestInput, Source, SubjectInput};

pub(super) fn now() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

pub(super) fn load(body: &str) -> PolicySet {
    let text = format!("package workload.authz\nimport rego.v1\ndefault allow := false\n{body}\n");
    let loaded = PolicySet::load(vec![Source { name: "a.rego".into(), text: text.clone() }]);
    loaded.unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

pub(super) fn request(headers: &[(&str, &str)], query: &str) -> RequestInput {
    RequestInput {
        method: "GET".into(),
        path: vec!["v1".into(), "balance".into()],
        query: query.into(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        subject: Arc::new(SubjectInput {
            spiffe_id: SpiffeId::parse("spiffe://td/a").unwrap(),
            claims: Claims::default(),
            issued_at: now().plus_seconds(-60),
        }),
        destination: SpiffeId::parse("spiffe://td/b").unwrap(),
        request_id: "r".into(),
    }
}

/// The record of what `policy` decides.
pub(super) fn record(policy: &PolicySet, request: &RequestInput) -> Recorded {
    Recorded::of(&Arc::new(request.clone()), now(), policy.decide(request, now()), 3, Some(policy))
}

pub(super) fn replay(by: &PolicySet, record: &Recorded, judge: Option<&PolicySet>) -> Replayed {
    by.replay(record, judge)
}

/// The effect, if it is certain.
fn effect(replayed: &Replayed) -> Option<Effect> {
    match replayed {
        Replayed::Decided(decision) => Some(decision.effect),
        Replayed::AsRecorded | Replayed::Uncertain { .. } => None,
    }
}

const CONDITIONS: [&str; 22] = [
    "HERE == \"Bearer good\"",
    "HERE != \"Bearer good\"",
    "not HERE == \"Bearer good\"",
    "HERE = \"Bearer good\"",
    "HERE in {\"Bearer good\", \"Bearer better\"}",
    "not HERE in [\"Bearer good\", \"x\"]",
    "HERE in known",
    "startswith(HERE, \"Bearer \")",
    "not startswith(HERE, \"Bearer \")",
    "endswith(HERE, \"good\")",
    "contains(HERE, \"er go\")",
    "regex.match(`^Bearer [a-z]+$`, HERE)",
    "count(HERE) == 11",
    "count(HERE) > 11",
    "12 > count(HERE)",
    "count(HERE) != 11",
    "text := HERE\n\tstartswith(text, \"Bearer \")\n\tcount(text) < 100",
    "startswith(HERE, \"Bearer \"); endswith(HERE, \"good\"); count(HERE) >= 3",
    "HERE\n\tHERE != \"\"",
    "asks",
    "not asks",
    "all := input.headers\n\tstartswith(all.authorization, \"Bearer \")",
];

fn asking(condition: &str, place: &str) -> String {
    let rules = "known := {\"Bearer good\", \"Bearer best\"}\nasks if contains(HERE, \"good\")\n";
    format!("{rules}allow if {{\n\t{condition}\n}}\n").replace("HERE", place)
}

/// Headers that are masked or cut, and queries: equality, count, prefix, suffix, part and pattern.
#[test]
fn answers_make_a_replay_exact() {
    let long = |start: &str, end: &str| format!("{start}{}{end}", "x".repeat(5_000));
    let values: Vec<String> = vec![
        "Bearer good".into(),
        "Bearer s3cret-token-of-another".into(),
        "Basic good".into(),
        String::new(),
        long("Bearer ", "good"),
        long("Basic ", ""),
    ];
    for (place, name) in [
        ("input.headers.authorization", "authorization"),
        ("input.headers[\"x-note\"]", "x-note"),
        ("input.query", ""),
        ("object.get(input.headers, \"x-api-key\", \"\")", "x-api-key"),
    ] {
        // A name for what `object.get` gives is not followed.
        for condition in
            CONDITIONS.iter().filter(|condition| !(place.starts_with("object") && condition.contains(":=")))
        {
            let policy = load(&asking(condition, place));
            // The same questions in other rules.
            let other = load(&format!("allow if input.method == \"PUT\"\n{}", asking(condition, place)));
            for value in &values {
                let request = if name.is_empty() { request(&[], value) } else { request(&[(name, value)], "") };
                let record = record(&policy, &request);
                let truth = policy.decide(&request, now()).effect;
                let shown = format!("{condition} on {place} of {:.40}", value);
                assert_eq!(effect(&replay(&policy, &record, None)), Some(truth), "the same policy: {shown}");
                assert_eq!(effect(&replay(&other, &record, Some(&policy))), Some(truth), "another: {shown}");
            }
        }
    }
}

#[test]
fn an_unread_authorization_header_is_certain() {
    let request =
        request(&[("authorization", "Bearer s3cret"), ("x-note", &"n".repeat(9_000)), ("x-a", "b")], "token=s3cret");
    let reads =
        "allow if {\n\tinput.method == \"GET\"\n\tinput.headers[\"x-a\"] == \"b\"\n\tcount(input.path) == 2\n}\n";
    let (policy, denies) = (load(reads), load(&reads.replace("GET", "PUT")));
    let record = record(&policy, &request);
    assert!(record.answers.is_empty() && record.answers_to.is_none(), "{record:?}");
    assert!(!format!("{record:?}").contains("s3cret"));
    assert_eq!(effect(&replay(&policy, &record, None)), Some(Effect::Allow));
    assert_eq!(effect(&replay(&denies, &record, None)), Some(Effect::Deny));
    // A policy that asks nothing by names of its own choosing: presence is in the record.
    let present = load("allow if {\n\tinput.headers.authorization\n\tnot input.headers.cookie\n}\n");
    assert_eq!(effect(&replay(&present, &record, None)), Some(Effect::Allow));
}

#[test]
fn a_path_at_its_bound_is_recorded_whole() {
    let mut request = request(&[], "");
    request.path = vec!["p".repeat(8 * 1024 - 5), "end".into()];
    let policy =
        load("allow if {\n\tcount(input.path[0]) == 8187\n\tendswith(concat(\"/\", input.path), \"p/end\")\n}\n");
    let record = record(&policy, &request);
    let other = load("allow if startswith(input.path[0], \"pp\")\n");
    assert_eq!(effect(&replay(&policy, &record, None)), Some(Effect::Allow));
    assert_eq!(effect(&replay(&other, &record, None)), Some(Effect::Allow));
}

#[test]
fn a_new_question_of_a_policy_is_uncertain() {
    let request = request(&[("authorization", "Bearer good")], "");
    let asked = load(&asking("startswith(HERE, \"Bearer \")", "input.headers.authorization"));
    let record = record(&asked, &request);
    let asks = load("allow if {\n\tinput.method == \"GET\"\n\tendswith(input.headers.authorization, \"d\")\n}\n");
    match replay(&asks, &record, Some(&asked)) {
        Replayed::Uncertain { place, rule } => {
            assert_eq!((place.as_str(), rule.as_str()), ("headers.authorization", "a.rego:6"));
        }
        other => panic!("{other:?}"),
    }
    // A question that the outcome does not depend on leaves it certain.
    for (body, wanted) in [
        ("allow if {\n\tinput.method == \"PUT\"\n\tendswith(input.headers.authorization, \"d\")\n}\n", Effect::Deny),
        ("allow if endswith(input.headers.authorization, \"d\")\nallow if input.method == \"GET\"\n", Effect::Allow),
        ("allow if startswith(input.headers.authorization, \"Be\")\n", Effect::Allow),
        ("allow if input.headers.authorization == \"Basic x\"\n", Effect::Deny),
        ("allow if input.headers.authorization in [\"Basic x\", \"\", \"Digest\"]\n", Effect::Deny),
        ("allow if contains(input.headers.authorization, \"good\")\n", Effect::Allow),
    ] {
        assert_eq!(effect(&replay(&load(body), &record, Some(&asked))), Some(wanted), "{body}");
    }
}

/// Whatever is more than a question is a read of the whole value, wherever it hides.
#[test]
fn an_unanswered_read_is_never_guessed() {
    let bodies = [
        "allow if lower(input.headers.authorization) == \"bearer good\"",
        "allow if split(input.headers.authorization, \" \")[0] == \"Bearer\"",
        "allow if input.headers.authorization < \"C\"",
        "allow if {\n\tsome name\n\tinput.headers[name] == \"Bearer good\"\n}",
        "allow if {\n\tsome value in input.headers\n\tvalue == \"Bearer good\"\n}",
        "allow if \"Bearer good\" in input.headers",
        "allow if input.headers == {\"authorization\": \"Bearer good\", \"x-b\": \"Bearer good\"}",
        "good(text) if text == \"Bearer good\"\nallow if good(input.headers.authorization)",
        "allow if input.headers.authorization == input.headers[\"x-b\"]",
        "allow if input.headers.authorization == concat(\" \", [\"Bearer\", \"good\"])",
        "allow if {\"Bearer good\": true}[input.headers.authorization]",
        "allow if {\n\t[text, _] := [input.headers.authorization, 1]\n\ttext == \"Bearer good\"\n}",
        "allow if {\n\ttext = input.headers.authorization\n\ttext == \"Bearer good\"\n}",
        "allow if {\n\tall := object.get(input, \"headers\", {})\n\tall.authorization == \"Bearer good\"\n}",
        "allow if contains(json.marshal(input), \"good\")",
        "allow if startswith(input.headers.authorization, input.headers[\"x-b\"])",
        "allow if contains(\"Bearer good is here\", input.headers.authorization)",
        "allow if {\n\tn := count(input.headers.authorization)\n\tn == 11\n}",
        "startswith(text, _) if text == \"Bearer good\"\nallow if startswith(input.headers.authorization, \"x\")",
        "allow if good with startswith as other\ngood if startswith(input.headers.authorization, \"good\")\nother(text, end) if endswith(text, end)",
        "token := input.headers.authorization\nallow if data.workload.authz.token == \"Bearer good\"",
    ];
    let wrong: Vec<String> = bodies.into_iter().filter_map(|body| guessed(body).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn guessed(body: &str) -> Result<(), String> {
    let text = format!("package workload.authz\nimport rego.v1\n{body}\n");
    let policy = PolicySet::load(vec![Source { name: "a.rego".into(), text }]);
    let policy = policy.map_err(|error| format!("{body}: {error}"))?;
    let request = request(&[("authorization", "Bearer good"), ("x-b", "Bearer good")], "");
    // One that denies whatever it reads would show nothing.
    let truth = policy.decide(&request, now()).effect;
    let blind = load("allow if input.method == \"GET\"\n");
    let unsaid = replay(&policy, &record(&blind, &request), Some(&blind));
    // The whole value is known where it equalled a constant.
    let judge = load("allow if input.headers.authorization == \"Bearer good\"\n");
    let known = replay(&policy, &record(&judge, &request), Some(&judge));
    // The policy that decided goes by its own record.
    let own = replay(&policy, &record(&policy, &request), None);
    let holds = truth.is_allow()
        && matches!(unsaid, Replayed::Uncertain { .. })
        && effect(&known) == Some(truth)
        && matches!(own, Replayed::AsRecorded);
    holds.then_some(()).ok_or_else(|| format!("{body}: {truth:?}, {unsaid:?}, {known:?}, {own:?}"))
}

#[test]
fn an_unevaluated_read_keeps_the_outcome_certain() {
    let request = request(&[("authorization", "Bearer good")], "a=b");
    let record = record(&load("allow if input.method == \"GET\"\n"), &request);
    for (body, wanted) in [
        (
            "allow if {\n\tinput.method == \"PUT\"\n\tlower(input.headers.authorization) == \"bearer good\"\n}\n",
            Some(Effect::Deny),
        ),
        ("allow if {\n\tinput.method == \"GET\"\n\tlower(input.headers.authorization) == \"bearer good\"\n}\n", None),
        (
            "allow if {\n\tinput.method == \"PUT\"\n\tok\n}\nok if {\n\tlower(input.query) == \"a=b\"\n}\n",
            Some(Effect::Deny),
        ),
    ] {
        assert_eq!(effect(&replay(&load(body), &record, None)), wanted, "{body}");
    }
}

/// Records of the release before have no answers, and replay as they did, but for what is not read.
#[test]
fn a_record_without_answers_still_replays() {
    let request = request(&[("authorization", "Bearer good")], "q=s3cret");
    let policy = load("allow if startswith(input.headers.authorization, \"Bearer \")\n");
    let mut old = record(&policy, &request);
    assert!(!std::mem::take(&mut old.answers).is_empty() && old.answers_to.take().is_some());
    assert!(matches!(replay(&policy, &old, None), Replayed::AsRecorded));
    let other =
        load("allow if {\n\tinput.method == \"GET\"\n\tstartswith(input.headers.authorization, \"Bearer \")\n}\n");
    assert!(matches!(replay(&other, &old, None), Replayed::Uncertain { .. }));
    assert_eq!(effect(&replay(&load("allow if input.method == \"GET\"\n"), &old, None)), Some(Effect::Allow));
    // The first releases wrote no query.
    let empty = load("allow if input.query == \"\"\n");
    assert_eq!(effect(&replay(&empty, &old, None)), Some(Effect::Deny));
    let mut without_query = (*old.request).clone();
    without_query.query.clear();
    old = Recorded { request: Arc::new(without_query), has_query: false, ..old };
    assert!(matches!(replay(&empty, &old, None), Replayed::Uncertain { .. }));
}

/// Answers to other questions, in another number, or of another policy are no answers.
#[test]
fn answers_that_do_not_fit_are_not_believed() {
    let request = request(&[("authorization", "Bearer good")], "");
    let judge = load("allow if startswith(input.headers.authorization, \"Bearer \")\n");
    let other =
        load("allow if {\n\tinput.method == \"GET\"\n\tstartswith(input.headers.authorization, \"Bearer \")\n}\n");
    let good = record(&judge, &request);
    assert_eq!(effect(&replay(&other, &good, Some(&judge))), Some(Effect::Allow));
    let answered = |answer: &str| {
        let answers = BTreeMap::from([("headers.authorization".to_owned(), answer.to_owned())]);
        Recorded { answers, ..good.clone() }
    };
    for record in [
        answered("11"),
        answered(""),
        Recorded { answers_to: Some("0011223344556677".into()), ..good.clone() },
        Recorded { policy_digest: Some(Digest::new([0xab; 32])), ..good.clone() },
    ] {
        assert!(matches!(replay(&other, &record, Some(&judge)), Replayed::Uncertain { .. }), "{record:?}");
    }
    let wrong = load("allow if startswith(input.headers.authorization, \"Basic \")\n");
    assert!(matches!(replay(&other, &good, Some(&wrong)), Replayed::Uncertain { .. }));
}

/// A record may be given to an auditor: it has neither the values nor the policy's constants, and its size is bounded.
#[test]
fn law_l8_answers_show_neither_values_nor_constants() {
    let conditions: String = (0..2_000).map(|n| format!("allow if input.headers.cookie == \"c{n}\"\n")).collect();
    let few: String =
        (0..300).map(|n| format!("allow if input.headers.authorization == \"Bearer constant-{n}\"\n")).collect();
    let policy = load(&format!("{conditions}{few}allow if count(input.headers.authorization) > 30\n"));
    let request = request(&[("authorization", "Bearer s3cret-value"), ("cookie", "c=s3cret")], "");
    let record = record(&policy, &request);
    let answers = format!("{:?}", record.answers);
    assert_eq!(record.answers["headers.authorization"].len(), 301);
    assert!(!record.answers.contains_key("headers.cookie") && answers.len() < 400, "{answers}");
    assert!(!format!("{record:?}").contains("s3cret"));
    assert!(!answers.contains("constant"));
    assert_eq!(record.answers_to.as_ref().unwrap().len(), 16);
    // What was too much to record is uncertain, and exact by the same policy.
    assert!(matches!(replay(&policy, &record, None), Replayed::AsRecorded | Replayed::Decided(_)));
}
