use sekisho_types::SelectorSet;

use super::*;
use sekisho_evidence::node::node_evidence;
use sekisho_evidence::process_evidence;

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://td{path}")).unwrap()
}

fn selectors(texts: &[&str]) -> SelectorSet {
    texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
}

fn entry() -> Entry {
    let (parent, selectors) = (id("/spire/agent/join_token/a"), selectors(&["unix:uid:1", "unix:sha256:aa"]));
    Entry::new(EntryId::parse("e1").unwrap(), id("/web"), parent, selectors)
}

fn limits() -> Limits {
    Limits {
        trust_domain: TrustDomain::parse("td").unwrap(),
        x509_ttl_seconds: 900,
        jwt_ttl_seconds: 300,
        node_ttl_seconds: 3600,
        evidence_max_age_seconds: 60,
        authority_ends: now().plus_seconds(86_400),
    }
}

fn now() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

fn csr(claimed: Option<&str>) -> Verified<Csr> {
    Verified::assertion(Csr { public_key: vec![1], claimed_id: claimed.map(id) })
}

fn agent(standing: Standing) -> Caller {
    let own = id("/spire/agent/join_token/a");
    Caller::Agent { id: Verified::assertion(own.clone()), standing, serves: BTreeSet::from([own]) }
}

fn node(ends_at: Option<UnixTime>) -> Evidence {
    node_evidence("x509pop", now().plus_seconds(-86_400), ends_at, SelectorSet::new()).unwrap()
}

/// A process of a node, as measured so many seconds ago.
fn process(texts: &[&str], age: i64) -> Evidence {
    let measured = process_evidence("unix/1", now().plus_seconds(-age), selectors(texts)).unwrap();
    node(None).with(measured).unwrap()
}

fn x509(caller: &Caller, entry: &Entry, csr: &Verified<Csr>, evidence: &Evidence) -> Result<Allowed, Refusal> {
    let request = Request::WorkloadX509 { entry, csr, shown: WorkloadProof::Process, evidence, resident: None };
    authorize(caller, request, &limits(), now())
}

const FULL: [&str; 3] = ["unix:uid:1", "unix:sha256:aa", "unix:gid:7"];

#[test]
fn law_l1_only_the_entrys_identity_is_allowed() {
    let allowed = x509(&agent(Standing::Good), &entry(), &csr(None), &process(&FULL, 0)).unwrap();
    assert_eq!(allowed.spiffe_id(), &id("/web"));
    assert_eq!(allowed.evidence(), EvidenceClass::Process);
    assert_eq!(allowed.not_after(), now().plus_seconds(900));
    assert!(!allowed.claims().flag("hw_attested"));
}

#[test]
fn law_l3_an_empty_selector_set_matches_nothing() {
    let mut open = entry();
    open.selectors = SelectorSet::new();
    let refused = x509(&agent(Standing::Good), &open, &csr(None), &process(&FULL, 0));
    assert!(matches!(refused, Err(Refusal::Selectors { .. })));
    assert!(crate::matches([&open], &selectors(&FULL), now()).is_empty());
}

#[test]
fn law_l6_a_node_gets_its_own_entries_until_banned() {
    let good = process(&FULL, 0);
    for (standing, refusal) in [
        (Standing::Banned, Refusal::AgentBanned(id("/spire/agent/join_token/a"))),
        (Standing::Unknown, Refusal::AgentUnknown(id("/spire/agent/join_token/a"))),
        (Standing::Superseded, Refusal::AgentSuperseded(id("/spire/agent/join_token/a"))),
    ] {
        assert_eq!(x509(&agent(standing), &entry(), &csr(None), &good).unwrap_err(), refusal);
    }
    let mut foreign = entry();
    foreign.parent_id = id("/spire/agent/join_token/b");
    assert!(matches!(x509(&agent(Standing::Good), &foreign, &csr(None), &good), Err(Refusal::ForeignEntry(_))));
    for caller in [Caller::Server, Caller::AttestedNode { id: id("/spire/agent/join_token/a") }] {
        assert!(matches!(x509(&caller, &entry(), &csr(None), &good), Err(Refusal::WrongCaller(_))));
    }
}

#[test]
fn law_l7_a_token_lives_at_most_five_minutes() {
    let mut long = entry();
    long.jwt_ttl_seconds = 86_400;
    let (process, shown) = (process(&FULL, 0), WorkloadProof::Process);
    let request = Request::WorkloadJwt { entry: &long, audience: &["db".into()], shown, evidence: &process };
    let allowed = authorize(&agent(Standing::Good), request, &limits(), now()).unwrap();
    assert_eq!(allowed.not_after().seconds_since(allowed.not_before()), 300);
    let request = Request::WorkloadJwt { entry: &long, audience: &[], shown, evidence: &process };
    let refused = authorize(&agent(Standing::Good), request, &limits(), now());
    assert_eq!(refused.unwrap_err(), Refusal::Audience);
}

#[test]
fn evidence_that_is_wrong_or_old_gives_nothing() {
    let caller = agent(Standing::Good);
    let tampered = process(&["unix:uid:1", "unix:sha256:bb"], 0);
    let missing = vec![Selector::parse("unix:sha256:aa").unwrap()];
    assert_eq!(
        x509(&caller, &entry(), &csr(None), &tampered).unwrap_err(),
        Refusal::Selectors { entry: entry().id, missing }
    );
    assert_eq!(x509(&caller, &entry(), &csr(None), &process(&FULL, 61)).unwrap_err(), Refusal::EvidenceStale(61));
    assert_eq!(x509(&caller, &entry(), &csr(None), &process(&FULL, -61)).unwrap_err(), Refusal::EvidenceAhead(61));
    assert_eq!(
        x509(&caller, &entry(), &csr(Some("/other")), &process(&FULL, 0)).unwrap_err(),
        Refusal::CsrName(id("/other"))
    );
}

#[test]
fn nothing_outlives_its_authority() {
    let mut bounds = limits();
    bounds.authority_ends = now().plus_seconds(30);
    let (entry, csr) = (entry(), csr(None));
    let ask = |bounds: &Limits| {
        let (shown, evidence) = (WorkloadProof::NodeOnly, &node(None));
        let request = Request::WorkloadX509 { entry: &entry, csr: &csr, shown, evidence, resident: None };
        authorize(&agent(Standing::Good), request, bounds, now())
    };
    assert_eq!(ask(&bounds).unwrap().not_after(), now().plus_seconds(30));
    bounds.authority_ends = now();
    assert_eq!(ask(&bounds).unwrap_err(), Refusal::AuthorityExpired);
}

#[test]
fn an_identity_expires_with_entry_and_evidence() {
    let mut short = entry();
    short.expires_at = Some(now().plus_seconds(40));
    let process = process(&FULL, 0);
    assert_eq!(x509(&agent(Standing::Good), &short, &csr(None), &process).unwrap().not_after(), now().plus_seconds(40));
    for (shown, evidence) in [(WorkloadProof::NodeOnly, node(None)), (WorkloadProof::Process, process)] {
        let request = Request::WorkloadJwt { entry: &short, audience: &["db".into()], shown, evidence: &evidence };
        let allowed = authorize(&agent(Standing::Good), request, &limits(), now()).unwrap();
        assert_eq!(allowed.not_after(), now().plus_seconds(40));
    }
    let ask = |ends_at| {
        let caller = Caller::AttestedNode { id: id("/spire/agent/x509pop/a") };
        let request = Request::NodeSvid { csr: &csr(None), evidence: &node(Some(ends_at)) };
        authorize(&caller, request, &limits(), now())
    };
    assert_eq!(ask(now().plus_seconds(60)).unwrap().not_after(), now().plus_seconds(60));
    assert_eq!(ask(now().plus_seconds(86_400)).unwrap().not_after(), now().plus_seconds(3600));
    assert_eq!(ask(now()).unwrap_err(), Refusal::EvidenceExpired);
}

#[test]
fn a_workload_identity_expires_with_node_evidence() {
    let (mut entry, caller) = (entry(), agent(Standing::Good));
    entry.x509_ttl_seconds = 86_400;
    let measured = || process_evidence("unix/1", now(), selectors(&FULL)).unwrap();
    let ask = |ends_at| x509(&caller, &entry, &csr(None), &node(Some(ends_at)).with(measured()).unwrap());
    assert_eq!(ask(now().plus_seconds(60)).unwrap().not_after(), now().plus_seconds(60));
    assert_eq!(ask(now()).unwrap_err(), Refusal::EvidenceExpired);
    let vouched = |ends_at| {
        let (shown, evidence) = (WorkloadProof::NodeOnly, &node(Some(ends_at)));
        let request = Request::WorkloadX509 { entry: &entry, csr: &csr(None), shown, evidence, resident: None };
        authorize(&caller, request, &limits(), now())
    };
    assert_eq!(vouched(now().plus_seconds(60)).unwrap().not_after(), now().plus_seconds(60));
    assert_eq!(vouched(now()).unwrap_err(), Refusal::EvidenceExpired);
}

#[test]
fn law_l3_a_request_needs_all_evidence_of_its_kind() {
    let (entry, csr, caller) = (entry(), csr(None), agent(Standing::Good));
    let measured = || process_evidence("unix/1", now(), selectors(&FULL)).unwrap();
    let unit = || process_evidence("systemd/1", now(), selectors(&["systemd:unit:a.service"])).unwrap();
    let refused = |evidence: &Evidence| x509(&caller, &entry, &csr, evidence).unwrap_err();
    assert_eq!(refused(&Evidence::none()), Refusal::EvidenceMissing("node"));
    assert_eq!(refused(&measured()), Refusal::EvidenceMissing("node"));
    assert_eq!(refused(&node(None)), Refusal::EvidenceMissing("unix"));
    assert_eq!(refused(&node(None).with(unit()).unwrap()), Refusal::EvidenceMissing("unix"));
    let all = node(None).with(measured()).unwrap().with(unit()).unwrap();
    x509(&caller, &entry, &csr, &all).unwrap();
    // What is for a process proves no node, and a request that shows nothing of it cannot bring it along.
    let (shown, evidence) = (WorkloadProof::NodeOnly, &all);
    let vouched = Request::WorkloadX509 { entry: &entry, csr: &csr, shown, evidence, resident: None };
    assert_eq!(authorize(&caller, vouched, &limits(), now()).unwrap_err(), Refusal::EvidenceForeign("unix"));
    let own = Request::NodeSvid { csr: &csr, evidence: &all };
    assert_eq!(authorize(&caller, own, &limits(), now()).unwrap_err(), Refusal::EvidenceForeign("unix"));
    let own = Request::NodeSvid { csr: &csr, evidence: &Evidence::none() };
    assert_eq!(authorize(&caller, own, &limits(), now()).unwrap_err(), Refusal::EvidenceMissing("node"));
}

#[test]
fn node_selectors_do_not_match_a_process() {
    let mut wants = entry();
    wants.selectors.insert(Selector::parse("x509pop:subject:cn:a").unwrap());
    let node = node_evidence("x509pop", now(), None, selectors(&["x509pop:subject:cn:a"])).unwrap();
    let measured = process_evidence("unix/1", now(), selectors(&FULL)).unwrap();
    let refused = x509(&agent(Standing::Good), &wants, &csr(None), &node.with(measured).unwrap());
    assert!(matches!(refused, Err(Refusal::Selectors { missing, .. }) if missing.len() == 1));
}

#[test]
fn each_piece_has_its_own_age() {
    let (entry, csr) = (entry(), csr(None));
    let fresh = process_evidence("unix/1", now(), selectors(&FULL)).unwrap();
    let old = process_evidence("systemd/1", now().plus_seconds(-61), selectors(&["systemd:unit:a.service"])).unwrap();
    let both = node(None).with(fresh).unwrap().with(old).unwrap();
    assert_eq!(x509(&agent(Standing::Good), &entry, &csr, &both).unwrap_err(), Refusal::EvidenceStale(61));
}

#[test]
fn claims_keep_their_names_and_new_classes_add() {
    let names = |allowed: &Allowed| allowed.claims().iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let allowed = x509(&agent(Standing::Good), &entry(), &csr(None), &process(&FULL, 0)).unwrap();
    let all = ["attestor", "evidence", "executable_sha256", "hw_attested", "process.code_identity", "tpm.key_class"];
    assert_eq!(names(&allowed), all);
    let caller = Caller::AttestedNode { id: id("/spire/agent/x509pop/a") };
    let request = Request::NodeSvid { csr: &csr(None), evidence: &node(None) };
    let allowed = authorize(&caller, request, &limits(), now()).unwrap();
    assert_eq!(names(&allowed), ["evidence", "hw_attested", "node_attestation", "tpm.key_class"]);
    let (entry, csr) = (entry(), csr(None));
    let (shown, evidence) = (WorkloadProof::NodeOnly, &node(None));
    let request = Request::WorkloadX509 { entry: &entry, csr: &csr, shown, evidence, resident: None };
    let allowed = authorize(&agent(Standing::Good), request, &limits(), now()).unwrap();
    assert_eq!(names(&allowed), ["evidence", "hw_attested", "tpm.key_class"]);
    assert_eq!((request.attestors(), request.selectors().count()), (String::new(), 0));
}

#[test]
fn an_entry_may_want_a_certified_key() {
    let wants = Entry { tpm_key: true, ..entry() };
    let (caller, csr, process) = (agent(Standing::Good), csr(None), process(&FULL, 0));
    assert_eq!(x509(&caller, &wants, &csr, &process).unwrap_err(), Refusal::KeyNotCertified(wants.id.clone()));
    // SPIRE's API.
    let (shown, evidence) = (WorkloadProof::NodeOnly, &node(None));
    let vouched = Request::WorkloadX509 { entry: &wants, csr: &csr, shown, evidence, resident: None };
    let refused = authorize(&caller, vouched, &limits(), now()).unwrap_err();
    assert_eq!(refused, Refusal::KeyNotCertified(wants.id.clone()));
    // A token is bound to no key.
    let shown = WorkloadProof::Process;
    let token = Request::WorkloadJwt { entry: &wants, audience: &["db".into()], shown, evidence: &process };
    let refused = authorize(&caller, token, &limits(), now()).unwrap_err();
    assert_eq!(refused, Refusal::TokenWithoutKey(wants.id));
}
