use std::collections::BTreeMap;

use sekisho_types::{ClaimValue, Claims, SpiffeId};

use super::*;
use crate::{PolicyError, Source, SubjectInput};

const V0: &str = r#"package workload.authz
default allow = false
workload_id := input.subject.spiffe_id
allow {
  input.method == "POST"
  input.path == ["v1", "transactions"]
  workload_id == "spiffe://prod.internal/ns/finance/sa/payment-gateway"
  input.subject.claims.hw_attested == true
  input.subject.issued_at > (time.now_ns() - (15 * 60 * 1000000000))
}
"#;

pub(super) fn load(text: &str) -> Result<PolicySet, PolicyError> {
    PolicySet::load(vec![Source { name: "authz.rego".into(), text: text.into() }])
}

pub(super) fn request(hw_attested: bool) -> RequestInput {
    let mut claims = Claims::default();
    claims.set("hw_attested", ClaimValue::Bool(hw_attested));
    RequestInput {
        method: "POST".into(),
        path: vec!["v1".into(), "transactions".into()],
        query: String::new(),
        headers: BTreeMap::new(),
        subject: std::sync::Arc::new(SubjectInput {
            spiffe_id: SpiffeId::parse("spiffe://prod.internal/ns/finance/sa/payment-gateway").unwrap(),
            claims,
            issued_at: now().plus_seconds(-60),
        }),
        destination: SpiffeId::parse("spiffe://prod.internal/ns/finance/sa/transactions").unwrap(),
        request_id: "r".into(),
    }
}

pub(super) fn now() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

#[test]
fn a_policy_demands_a_class_of_keys() {
    let policy = load(
        "package workload.authz\ndefault allow := false\nallow if {\n\t\"tpm\" in input.subject.claims.hw_attested_by\n\
         \tinput.subject.claims[\"tpm.key_class\"] == \"tpm-certified\"\n}\n",
    )
    .unwrap();
    let decide = |class: &str, by: &[&str]| {
        let mut request = request(true);
        let subject = std::sync::Arc::make_mut(&mut request.subject);
        subject.claims.set("tpm.key_class", ClaimValue::Text(class.into()));
        subject.claims.set("hw_attested_by", ClaimValue::List(by.iter().map(|&name| name.into()).collect()));
        policy.decide(&request, now()).effect.is_allow()
    };
    assert!(decide("tpm-certified", &["snp", "tpm"]));
    assert!(!decide("software", &["tpm"]));
    assert!(!decide("tpm-certified", &["danger_software_tpm"]));
    assert!(!policy.decide(&request(true), now()).effect.is_allow(), "absent claims demand nothing away");
}

#[test]
fn the_documented_policy_denies_by_one_condition() {
    let v1 = V0.replace("default allow = false", "default allow := false").replace("allow {", "allow if {");
    for text in [V0, v1.as_str()] {
        let policy = load(text).unwrap();
        assert!(policy.decide(&request(true), now()).effect.is_allow());
        let denied = policy.decide(&request(false), now());
        assert_eq!(denied.effect, Effect::Deny);
        let rule = denied.rule.unwrap();
        assert_eq!((rule.place().as_str(), rule.unknown), ("authz.rego:4", 0));
        let unmet: Vec<_> = rule.unmet.iter().map(|u| (u.line, u.condition.as_str(), u.found.as_deref())).collect();
        assert_eq!(unmet, [(8, "input.subject.claims.hw_attested == true", Some("false"))]);
    }
}

#[test]
fn the_clock_of_a_decision_is_its_argument() {
    let policy = load(V0).unwrap();
    assert!(!policy.decide(&request(true), now().plus_seconds(15 * 60 - 60)).effect.is_allow());
    assert!(policy.decide(&request(true), now().plus_seconds(15 * 60 - 61)).effect.is_allow());
}

#[test]
fn law_l3_errors_and_undefined_deny() {
    for body in [
        "1 / input.headers.nothing > 0",
        "input.subject.claims.nothing",
        "to_number(input.method) > 1",
        "sprintf(\"%d\", [input.method]) == \"1\"",
        "regex.match(\"(\", input.method)",
        "1 / (input.now - input.now) > 0",
    ] {
        let policy = load(&format!("package workload.authz\nimport rego.v1\nallow if {{\n {body}\n}}\n"));
        let policy = policy.unwrap_or_else(|error| panic!("{body} does not load: {error}"));
        assert_eq!(policy.decide(&request(true), now()).effect, Effect::Deny, "{body}");
    }
    // A failure at run time is reported, and is in the record.
    let both = "package workload.authz\nimport rego.v1\nallow := true if input.method\nallow := false if input.path\n";
    let decision = load(both).unwrap().decide(&request(true), now());
    assert!(decision.effect == Effect::Deny && decision.error.is_some(), "{decision:?}");
    let weird = load("package workload.authz\nimport rego.v1\nallow := \"yes\"\n").unwrap();
    assert_eq!(weird.decide(&request(true), now()).effect, Effect::Deny);
}

#[test]
fn an_empty_pattern_does_not_crash_the_engine() {
    let text = "package workload.authz\nimport rego.v1\nallow if {\n strings.count(input.method, \"\") == 5\n}\n";
    assert!(load(text).unwrap().decide(&request(true), now()).effect.is_allow());
}

#[test]
fn law_l9_an_endless_evaluation_ends_as_a_denial() {
    let text = "package workload.authz\nimport rego.v1\nallow if {\n xs := numbers.range(1, 3000)\n \
                count([1 | some a in xs; some b in xs; some c in xs; a * b == c]) > 0\n}\n";
    let decision = load(text).unwrap().decide(&request(true), now());
    assert_eq!(decision.effect, Effect::Deny);
    assert!(decision.error.is_some());
}

#[test]
fn a_broken_policy_is_refused_with_its_place() {
    let broken = load("package workload.authz\nimport rego.v1\nallow if {\n input.method ==\n}\n");
    assert!(
        matches!(broken, Err(PolicyError::At { ref file, line: 4 | 5, .. }) if file == "authz.rego"),
        "{:?}",
        broken.err()
    );
    assert_eq!(load("package other\nx := 1\n").err(), Some(PolicyError::NoEntryRule));
    let recursive = load("package workload.authz\nimport rego.v1\nallow if a\na if b\nb if a\n");
    assert!(recursive.is_err());
}

#[test]
fn a_default_alone_is_a_policy_that_denies() {
    let set = load("package workload.authz\n\ndefault allow := false\n").unwrap();
    let decision = set.decide(&request(true), now());
    assert_eq!(decision, Decision { effect: Effect::Deny, rule: None, error: None });
    assert_eq!(set.decide_by_engine(&request(true), now()), decision);
    let open = load("package workload.authz\n\ndefault allow := true\n");
    assert_eq!(open.err(), Some(PolicyError::NoEntryRule));
}

#[test]
fn law_l13_a_policy_cannot_call_out() {
    let text = "package workload.authz\nimport rego.v1\nallow if {\n \
                http.send({\"method\": \"GET\", \"url\": \"http://127.0.0.1:1/\"}).status_code == 200\n}\n";
    let error = load(text).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("http.send"), "{error}");
    let random = load("package workload.authz\nimport rego.v1\nallow if rand.intn(\"x\", 2) == 0\n");
    assert!(random.is_err(), "a decision that draws lots cannot be replayed");
}

#[test]
fn law_l3_an_error_behind_a_deny_denies() {
    let text = "package workload.authz\nimport rego.v1\nallow if not blocked\n\
                blocked if to_number(input.method) > 1\n";
    let decision = load(text).unwrap().decide(&request(true), now());
    assert_eq!(decision.effect, Effect::Deny);
    assert!(decision.error.is_some());
}

/// Each of these crashed the process once: the engine recurses until its stack or the memory is exhausted.
#[test]
fn recursion_by_functions_is_refused_at_load() {
    for body in [
        "f(x) := f(x)\nallow if f(1)",
        "f(x) := g(x)\ng(x) := f(x)\nallow if input.method == \"never\"",
        "f(x) := y if { y := [z | some z in [f(x)]] }\nallow if f(input.method)",
        "f(x) if { allow }\nallow if f(1)",
        "f(x) if { data.workload.authz.f(x) }\nallow if f(1)",
        "import data.workload.authz as own\nf(x) if { every y in [x] { own.f(y) } }\nallow if f(1)",
        "f(x) if { not f(x) }\nallow if f(1)",
        "f(x) := object.get({\"a\": f(x)}, \"a\", 1)\nallow if f(1)",
        "allow if data.workload.authz.allow",
        "f(f) := y if { y := f(f) }\nallow if f(1)",
        "f(x) := y if { some f in [x]; y := f(x) }\nallow if f(1)",
    ] {
        let error = load(&format!("package workload.authz\nimport rego.v1\n{body}\n")).map(|_| ()).unwrap_err();
        // A variable of the function's name is refused before.
        let error = error.to_string();
        assert!(error.contains("ecursi") || error.contains("shadowed"), "{body}: {error}");
    }
    for body in [
        "user := name(input.subject)\nname(user) := user.spiffe_id\nallow if user == \"a\"",
        "f(x) := g(x)\ng(y) := y\nallow if f(true)",
        "f(x) := [f | some f in x]\nallow if count(f([1])) == 1",
    ] {
        load(&format!("package workload.authz\nimport rego.v1\n{body}\n")).unwrap();
    }
}

#[test]
fn law_l9_builtins_make_nothing_larger_than_a_decision_may() {
    for body in [
        "count(numbers.range(1, to_number(input.query))) > 0",
        "count(numbers.range_step(1, to_number(input.query), 1)) > 0",
        "count(net.cidr_expand(\"10.0.0.0/9\")) > 0",
        "bits.lsh(1, to_number(input.query)) > 0",
        "replace(input.headers.long, \"a\", input.headers.long) != \"\"",
        "regex.replace(input.headers.long, \"a\", input.headers.long) != \"\"",
        "strings.replace_n({\"a\": input.headers.long}, input.headers.long) != \"\"",
    ] {
        let policy = load(&format!("package workload.authz\nimport rego.v1\nallow if {{\n {body}\n}}\n")).unwrap();
        let mut request = request(true);
        request.query = "1000000000000000".into();
        request.headers.insert("long".into(), "a".repeat(60_000));
        let decision = policy.decide(&request, now());
        assert_eq!(decision.effect, Effect::Deny, "{body}");
        assert!(decision.error.is_some(), "{body}");
    }
    let policy = load(
        "package workload.authz\nimport rego.v1\nallow if { count(numbers.range(1, 10)) == 10\n \
         sprintf(\"%03d\", [7]) == \"007\"\n replace(\"aa\", \"a\", \"b\") == \"bb\" }\n",
    );
    assert!(policy.unwrap().decide(&request(true), now()).effect.is_allow());
}

#[test]
fn the_sample_passes_its_own_tests() {
    let sample = include_str!("../../../../policies/dev/authz_test.yaml");
    let (policy, tests) =
        (include_str!("../../../../policies/dev/authz.rego"), include_str!("../../../../policies/dev/authz_test.rego"));
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    let set = PolicySet::load(vec![source("authz.rego", policy), source("authz_test.rego", tests)]).unwrap();
    assert!(set.dialects().all(|(_, version)| version == crate::Dialect::V1));
    let outcomes = crate::run_tests(&set, &[crate::TestFile::parse(sample).unwrap()], now());
    assert!(outcomes.len() == 7 && outcomes.iter().all(|outcome| outcome.passed), "{outcomes:?}");
}

/// Rules one behind the other are followed on the stack as well.
#[test]
fn law_l9_a_long_chain_of_rules_is_refused() {
    let chain = |length: usize| {
        let links: String = (1..length).map(|n| format!("f{n}(x) := f{}(x) + 0\n", n + 1)).collect();
        format!("package workload.authz\nimport rego.v1\nallow if f1(input.now) > 0\n{links}f{length}(x) := x\n")
    };
    let rules: String = (1..3_000).map(|n| format!("r{n} := r{}\n", n + 1)).collect();
    let rules = format!("package workload.authz\nallow if r1\n{rules}r3000 := true\n");
    for text in [chain(3_000), rules] {
        let error = load(&text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("use each other"), "{error}");
    }
    let longest = load(&chain(31)).unwrap();
    let decide = move || longest.decide_by_engine(&request(true), now());
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(decide).unwrap();
    let decision = thread.join().unwrap();
    assert!(decision.effect.is_allow(), "{decision:?}");
}

/// A panic of the engine or a library in it, reached by what a request says.
#[test]
fn a_panic_of_the_engine_denies_one_request() {
    let policy = load(V0).unwrap();
    let panics = std::sync::Arc::new(|_: &str, _: &[Value]| panic!("as a library might"));
    let mut context = context::take(now());
    context.answers = Some(sekisho_rego::builtins::Answers(panics));
    let value = run(policy.entry.as_ref().unwrap(), &request(true).to_value(now()), &mut context, None);
    assert_eq!(value.err().as_deref(), Some("the policy engine panicked"));
    assert!(policy.decide(&request(true), now()).effect.is_allow());
    assert!(policy.decide_by_engine(&request(true), now()).effect.is_allow());
}

#[test]
fn an_input_of_ten_mebibytes_is_decided() {
    let policy = load(V0).unwrap();
    let mut request = request(true);
    request.headers.insert("long".into(), "é".repeat(5 * 1024 * 1024));
    assert!(policy.decide(&request, now()).effect.is_allow());
    assert!(policy.decide_by_engine(&request, now()).effect.is_allow());
    // A policy that looks at all of it, which no lowering does.
    let looks = "package workload.authz\n\ndefault allow := false\n\nallow if {\n\tsome name\n\t\
                 count(split(input.headers[name], \"é\")) > 1000000\n}\n";
    let decision = load(looks).unwrap().decide(&request, now());
    // Allowed or too much work: never a panic.
    assert!(decision.effect.is_allow() || decision.error.is_some(), "{decision:?}");
}

/// A peer with another token than the policy wants: its token stands nowhere in the decision.
#[test]
fn masked_values_are_masked_in_unmet_conditions() {
    for condition in [
        "input.headers.authorization == \"Bearer good\"",
        "input.headers[\"x-api-key\"] == \"good\"",
        "t := input.headers.authorization\n\tt == \"Bearer good\"",
        "input.headers == {}",
    ] {
        let text =
            format!("package workload.authz\nimport rego.v1\ndefault allow := false\nallow if {{\n\t{condition}\n}}\n");
        let policy = load(&text).unwrap();
        let mut request = request(true);
        request.headers.insert("authorization".into(), "Bearer s3cret".into());
        request.headers.insert("x-api-key".into(), "s3cret".into());
        let decision = policy.decide(&request, now());
        assert_eq!(decision.effect, Effect::Deny, "{condition}");
        assert!(!format!("{decision:?}").contains("s3cret"), "{condition}: {decision:?}");
    }
}

fn refusal_of(body: &str) -> String {
    let text = format!("package workload.authz\nimport rego.v1\nallow if {{\n input.method == \"GET\"\n {body}\n}}\n");
    load(&text).err().map_or_else(|| format!("loaded: {body}"), |error| error.to_string())
}

#[test]
fn an_unknown_function_is_refused_at_load() {
    assert_eq!(
        refusal_of("startswit(input.path[0], \"v\")"),
        "authz.rego:5: undefined function startswit (hint: did you mean `startswith`?)"
    );
    for body in
        ["not is_admin(input.method)", "x := [y | y := sprint(\"%d\", [1])]", "data.lib.f(1)", "object.gets({}, 1, 2)"]
    {
        assert!(refusal_of(body).contains("undefined function"), "{body}: {}", refusal_of(body));
    }
    let own = "package workload.authz\nimport rego.v1\nimport data.lib\nallow if { lib.ok(input.method); near(1) }\nnear(x) if x > 0\n";
    let lib = "package lib\nimport rego.v1\nok(x) if startswith(x, \"G\")\n";
    let files = [("a.rego", own), ("b.rego", lib)].map(|(name, text)| Source { name: name.into(), text: text.into() });
    PolicySet::load(files.to_vec()).unwrap();
}

#[test]
fn an_unknown_input_member_is_refused_at_load() {
    for (body, reason) in [
        ("not input.subject.claim.revoked", "`input.subject` has no member `claim`; did you mean `claims`"),
        ("input.subjct.spiffe_id == \"x\"", "`input` has no member `subjct`; did you mean `subject`"),
        ("input[\"metod\"] == \"GET\"", "`input` has no member `metod`; did you mean `method`"),
        ("input.method.verb == \"GET\"", "`input.method` is a text, so it has no members"),
        ("input.path.first == \"v1\"", "`input.path` is a list, so it has no member `first`"),
        ("s := input.subject; s.claim.admin == true", "`input.subject` has no member `claim`"),
        ("count([h | h := input.header.cookie]) == 0", "`input` has no member `header`; did you mean `headers`"),
    ] {
        let refusal = refusal_of(body);
        assert!(refusal.contains(reason) && refusal.starts_with("authz.rego:5: "), "{body}: {refusal}");
    }
    for body in [
        "input.path[0] == \"v1\"",
        "input.headers[\"x-a\"] == \"b\"",
        "some k; input.subject.claims[k] == true",
        "input.path[count(input.path) - 1] == \"v\"",
    ] {
        assert!(refusal_of(body).starts_with("loaded"), "{body}: {}", refusal_of(body));
    }
    let aliased = "package workload.authz\nimport rego.v1\nimport input.subject as s\nallow if not s.claim.revoked\n";
    assert!(load(aliased).err().unwrap().to_string().contains("no member `claim`"));
}

#[test]
fn a_test_case_with_impossible_input_fails() {
    let policy = load(V0).unwrap();
    for (input, reason) in [
        ("{method: GET, path: /admin}", "`input.path` must be a list, not `\"/admin\"`"),
        ("{subject: {spiffe_id: 7}}", "`input.subject.spiffe_id` must be a SPIFFE ID, not `7`"),
        ("{subject: {spiffe_id: gateway}}", "`gateway` is not a SPIFFE ID"),
        ("{metod: GET}", "`input` has no member `metod`"),
        ("{headers: {a: 1}}", "`input.headers.a` must be a text"),
        (
            "{subject: {claims: {admin: [1]}}}",
            "`input.subject.claims.admin` must be a text, a whole number, a boolean or a list of texts",
        ),
    ] {
        let table =
            crate::TestFile::parse(&format!("cases:\n  - {{name: x, allow: false, input: {input}}}\n")).unwrap();
        let outcomes = crate::run_tests(&policy, &[table], now());
        assert!(!outcomes[0].passed && outcomes[0].detail.contains(reason), "{input}: {}", outcomes[0].detail);
    }
}

/// Errors, prints and queries are looked at by who may see records, and by who may see the log.
#[test]
fn law_l8_errors_carry_no_value_of_the_request() {
    for condition in [
        "input.headers.authorization + 1 > 0",
        "input.headers.authorization * 2 == 4",
        "to_number(input.headers.authorization) > 1",
        "json.unmarshal(input.headers.authorization) == {}",
        "time.parse_rfc3339_ns(input.headers.authorization) > 1",
        "input.query == \"token=good\"",
        "{input.headers.authorization | true} - 1 == set()",
    ] {
        let text = format!("package workload.authz\nallow if {{\n\t{condition}\n}}\n");
        let policy = load(&text).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let mut request = request(true);
        request.headers.insert("authorization".into(), "s3cret".into());
        request.query = "token=s3cret&s3cret".into();
        for decision in [policy.decide(&request, now()), policy.decide_by_engine(&request, now())] {
            assert_eq!(decision.effect, Effect::Deny, "{condition}");
            assert!(!format!("{decision:?}").contains("s3cret"), "{condition}: {decision:?}");
        }
    }
}

/// 653 of four million requests were allowed where the engine denies.
#[test]
fn law_l3_fractions_are_left_to_the_engine() {
    for (condition, decided_here) in [
        ("input.subject.claims.level * 0.1 == 0.3", false),
        ("input.subject.claims.level > 1.0", false),
        ("input.subject.claims.level > 9223372036854775808", false),
        ("input.subject.claims.level in [1, 2.5]", false),
        ("input.subject.claims.level > 1e0", false),
        ("input.subject.claims.level > -1", true),
    ] {
        let text = format!("package workload.authz\nallow if {condition}\n");
        let policy = load(&text).unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert_eq!(policy.lowered.is_complete(), decided_here, "{condition}");
        for level in [-3, 0, 1, 2, 3, i64::MAX, i64::MIN, (1 << 53) + 1] {
            let mut request = request(true);
            std::sync::Arc::make_mut(&mut request.subject).claims.set("level", ClaimValue::Integer(level));
            let (fast, engine) = (policy.decide(&request, now()), policy.decide_by_engine(&request, now()));
            assert_eq!(fast.effect, engine.effect, "{condition} of {level}");
        }
    }
}

#[test]
fn a_set_with_a_failing_test_is_refused() {
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    let policy = source("a.rego", "package workload.authz\nallow if input.method == \"GET\"\n");
    let rego = |wanted: &str| {
        let text = format!("package workload.authz\ntest_reads if {wanted} with input as {{\"method\": \"GET\"}}\n");
        source("a_test.rego", &text)
    };
    let table = |allow: bool| {
        source("a_test.yaml", &format!("cases:\n- name: reads pass\n  allow: {allow}\n  input: {{method: GET}}\n"))
    };
    let load = |sources: &[&Source]| crate::load_tested(sources.iter().copied().cloned().collect(), now());
    let plain = load(&[&policy]).unwrap();
    let tested = load(&[&policy, &rego("allow"), &table(true)]).unwrap();
    assert_eq!((tested.sources().len(), tested.digest()), (1, plain.digest()));
    for (bad, name) in [(rego("not allow"), "test_reads"), (table(false), "reads pass")] {
        let error = load(&[&policy, &bad]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let broken = source("a_test.yaml", "cases: 3");
    assert!(load(&[&policy, &broken]).map(|_| ()).unwrap_err().to_string().contains("a_test.yaml"));
}
