use super::*;
use crate::Source;

pub(super) fn load(body: &str) -> PolicySet {
    let text = format!("package workload.authz\n\ndefault allow := false\n\n{body}\n");
    let loaded = PolicySet::load(vec![Source { name: "a.rego".into(), text: text.clone() }]);
    loaded.unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

pub(super) fn id(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://td/{name}")).unwrap()
}

fn endpoint(name: &str, address: &str, listens: Option<(Transport, u16)>) -> Endpoint {
    Endpoint { spiffe_id: id(name), address: address.parse().unwrap(), listens }
}

fn rules(body: &str, workload: &str, endpoints: &[Endpoint]) -> NetworkRules {
    let known = Endpoints::new(endpoints.iter().cloned()).unwrap();
    load(body).network_rules(&id(workload), &known, UnixTime::default())
}

const WEB_TO_DB: &str = "allow if {\n\tinput.method == \"GET\"\n\tinput.subject.spiffe_id == \"spiffe://td/web\"\n\t\
                         input.destination == \"spiffe://td/db\"\n}";
const TCP: Transport = Transport::Tcp;

#[test]
fn calls_that_no_request_makes_are_denied() {
    let known = [
        endpoint("db", "10.0.0.1", Some((TCP, 5432))),
        endpoint("mail", "10.0.0.2", Some((TCP, 25))),
        endpoint("web", "10.0.0.3", None),
    ];
    let found = rules(WEB_TO_DB, "web", &known);
    let shown: Vec<_> = found.rules.iter().map(|rule| (&*rule.name, rule.allows, rule.depends_on_request)).collect();
    assert_eq!(
        shown,
        [("out spiffe://td/db tcp 10.0.0.1:5432", true, true), ("out spiffe://td/mail tcp 10.0.0.2:25", false, false)]
    );
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(found.allow(Flow::Out(address("10.0.0.1")), TCP, 5432));
    // Where no identity is known, nothing passes.
    assert!(!found.allow(Flow::Out(address("10.0.0.1")), TCP, 5433));
    assert!(!found.allow(Flow::Out(address("10.0.0.1")), Transport::Udp, 5432));
    let served = rules(WEB_TO_DB, "db", &known);
    assert!(served.allow(Flow::Bind, TCP, 5432));
    assert!(served.allow(Flow::In(address("10.0.0.3")), TCP, 5432));
    assert!(!served.allow(Flow::In(address("10.0.0.2")), TCP, 5432));
    assert!(!served.allow(Flow::Out(address("10.0.0.2")), TCP, 25));
}

/// Arithmetic can fail, so that such rules stay in a residual of any caller.
#[test]
fn conditions_of_time_hide_no_identity() {
    let body = "allow if {\n\tinput.subject.spiffe_id == \"spiffe://td/web\"\n\t\
                input.subject.issued_at > time.now_ns() - ((15 * 60) * 1000000000)\n}";
    let known = [endpoint("db", "10.0.0.1", Some((TCP, 5432)))];
    assert!(rules(body, "web", &known).rules[0].allows);
    assert!(!rules(body, "other", &known).rules[0].allows);
}

#[test]
fn a_rule_of_identities_alone_needs_no_request() {
    let body = "allow if input.subject.spiffe_id == \"spiffe://td/web\"";
    let found = rules(body, "web", &[endpoint("db", "10.0.0.1", Some((TCP, 5432)))]);
    assert!(found.rules[0].allows && !found.rules[0].depends_on_request);
}

#[test]
fn law_l15_what_is_not_lowered_is_named() {
    let known = [endpoint("db", "10.0.0.1", Some((TCP, 5432)))];
    let reason = |body: &str| {
        let found = rules(body, "web", &known);
        assert!(found.rules.is_empty());
        let [NotLowered { name, reason }] = found.not_lowered.as_slice() else { panic!("{found:?}") };
        assert_eq!(name, "out spiffe://td/db tcp 10.0.0.1:5432");
        reason.clone()
    };
    let fails = reason("allow if to_number(input.subject.spiffe_id) == 1");
    assert!(fails.contains("to_number(\"spiffe://td/web\"") && fails.contains("fails"), "{fails}");
    let under = reason(
        "allow if asked with input.method as \"GET\"\n\n\
         asked if {\n\tinput.method == \"GET\"\n\tinput.query == \"\"\n}",
    );
    assert!(under.contains("`with`"), "{under}");
}

/// The kernel sees an address, and would have to let both through or neither.
#[test]
fn law_l15_callers_at_one_address_are_refused() {
    let known = [
        endpoint("db", "10.0.0.1", Some((TCP, 5432))),
        endpoint("web", "10.0.0.3", None),
        endpoint("mail", "10.0.0.3", None),
    ];
    let found = rules(WEB_TO_DB, "db", &known);
    let [NotLowered { name, reason }] = found.not_lowered.as_slice() else { panic!("{found:?}") };
    assert_eq!(name, "in spiffe://td/mail, spiffe://td/web 10.0.0.3 to tcp 5432");
    assert!(reason.contains("spiffe://td/web may call and spiffe://td/mail may not"), "{reason}");
    let both = "allow if input.destination == \"spiffe://td/db\"";
    assert!(rules(both, "db", &known).allow(Flow::In("10.0.0.3".parse().unwrap()), TCP, 5432));
}

#[test]
fn endpoints_tell_identities_apart() {
    let refused = |endpoints: &[Endpoint]| Endpoints::new(endpoints.iter().cloned()).unwrap_err().to_string();
    let db = endpoint("db", "10.0.0.1", Some((TCP, 5432)));
    let other = endpoint("mail", "::ffff:10.0.0.1", Some((TCP, 5432)));
    assert!(refused(&[db.clone(), other]).contains("tcp 10.0.0.1:5432 is claimed by spiffe://td/db and by"));
    assert!(refused(&[endpoint("db", "0.0.0.0", None)]).contains("0.0.0.0"));
    assert!(refused(&[endpoint("db", "10.0.0.1", Some((TCP, 0)))]).contains("port 0"));
    let udp = endpoint("mail", "10.0.0.1", Some((Transport::Udp, 5432)));
    assert_eq!(Endpoints::new([db.clone(), db, udp]).unwrap().iter().count(), 2);
}
