use super::*;
use sekisho_types::UnixTime;

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://td{path}")).unwrap()
}

fn selectors(texts: &[&str]) -> BTreeSet<Selector> {
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

fn process(texts: &[&str], age: i64) -> ProcessEvidence {
    let measured_at = now().plus_seconds(-age);
    ProcessEvidence { source: "unix/1".into(), measured_at, selectors: selectors(texts), claims: Claims::default() }
}

fn x509(caller: &Caller, entry: &Entry, csr: &Verified<Csr>, process: &ProcessEvidence) -> Result<Allowed, Refusal> {
    authorize(caller, Request::WorkloadX509 { entry, csr, shown: Shown::Process(process) }, &limits(), now())
}

const FULL: [&str; 3] = ["unix:uid:1", "unix:sha256:aa", "unix:gid:7"];

#[test]
fn law_l1_what_is_allowed_is_the_entrys_and_nothing_else() {
    let allowed = x509(&agent(Standing::Good), &entry(), &csr(None), &process(&FULL, 0)).unwrap();
    assert_eq!(allowed.spiffe_id(), &id("/web"));
    assert_eq!(allowed.evidence(), EvidenceClass::Process);
    assert_eq!(allowed.not_after(), now().plus_seconds(900));
    assert!(!allowed.claims().flag("hw_attested"));
}

#[test]
fn law_l3_an_empty_selector_set_matches_nothing() {
    let mut open = entry();
    open.selectors.clear();
    let refused = x509(&agent(Standing::Good), &open, &csr(None), &process(&FULL, 0));
    assert!(matches!(refused, Err(Refusal::Selectors { .. })));
    assert!(crate::matches([&open], &selectors(&FULL), now()).is_empty());
}

#[test]
fn law_l6_a_node_gets_only_what_its_entries_allow_and_nothing_once_banned() {
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
fn law_l7_a_token_lives_five_minutes_whatever_the_entry_says() {
    let mut long = entry();
    long.jwt_ttl_seconds = 86_400;
    let process = process(&FULL, 0);
    let shown = Shown::Process(&process);
    let request = Request::WorkloadJwt { entry: &long, audience: &["db".into()], shown };
    let allowed = authorize(&agent(Standing::Good), request, &limits(), now()).unwrap();
    assert_eq!(allowed.not_after().seconds_since(allowed.not_before()), 300);
    let request = Request::WorkloadJwt { entry: &long, audience: &[], shown };
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
        let request = Request::WorkloadX509 { entry: &entry, csr: &csr, shown: Shown::NodeOnly };
        authorize(&agent(Standing::Good), request, bounds, now())
    };
    assert_eq!(ask(&bounds).unwrap().not_after(), now().plus_seconds(30));
    bounds.authority_ends = now();
    assert_eq!(ask(&bounds).unwrap_err(), Refusal::AuthorityEnded);
}

#[test]
fn an_identity_ends_with_its_entry_and_a_nodes_with_its_evidence() {
    let mut short = entry();
    short.expires_at = Some(now().plus_seconds(40));
    let process = process(&FULL, 0);
    assert_eq!(x509(&agent(Standing::Good), &short, &csr(None), &process).unwrap().not_after(), now().plus_seconds(40));
    for shown in [Shown::NodeOnly, Shown::Process(&process)] {
        let request = Request::WorkloadJwt { entry: &short, audience: &["db".into()], shown };
        let allowed = authorize(&agent(Standing::Good), request, &limits(), now()).unwrap();
        assert_eq!(allowed.not_after(), now().plus_seconds(40));
    }
    let ask = |ends_at| {
        let node = NodeEvidence {
            source: "x509pop/1".into(),
            selectors: BTreeSet::new(),
            claims: Claims::default(),
            ends_at: Some(ends_at),
        };
        let caller = Caller::AttestedNode { id: id("/spire/agent/x509pop/a") };
        authorize(&caller, Request::NodeSvid { csr: &csr(None), node: &node }, &limits(), now())
    };
    assert_eq!(ask(now().plus_seconds(60)).unwrap().not_after(), now().plus_seconds(60));
    assert_eq!(ask(now().plus_seconds(86_400)).unwrap().not_after(), now().plus_seconds(3600));
    assert_eq!(ask(now()).unwrap_err(), Refusal::EvidenceEnded);
}
