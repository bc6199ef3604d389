//! Rules of identities, as the kernel takes them.

use sekisho_kernel::{Defaults, Direction, Network, Peers, Policy, Ports, Protocol, Rule, RuleError, Verdict};
use sekisho_policy::{Flow, NetworkRule, NetworkRules, Transport};

/// What no rule names is denied.
pub(super) fn of(found: &NetworkRules) -> Result<Policy, RuleError> {
    Policy::new(found.rules.iter().map(rule).collect(), Defaults::DENY)
}

fn rule(rule: &NetworkRule) -> Rule {
    let (direction, peers) = match rule.flow {
        Flow::Out(address) => (Direction::Out, Peers::Of(Network::host(address))),
        Flow::In(address) => (Direction::In, Peers::Of(Network::host(address))),
        Flow::Bind => (Direction::Bind, Peers::Any),
    };
    let protocol = match rule.transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    let verdict = if rule.allows { Verdict::Allow } else { Verdict::Deny };
    Rule { id: rule.name.clone(), direction, peers, protocol, ports: Ports::one(rule.port), verdict }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sekisho_policy::{Endpoint, Endpoints, PolicySet, Source};
    use sekisho_types::{SpiffeId, UnixTime};

    use super::*;

    /// Each flow to and from known and unknown addresses, by both.
    #[test]
    fn law_l3_kernel_and_policy_rules_decide_alike() {
        let text = "package workload.authz\n\ndefault allow := false\n\nallow if {\n\tinput.method == \"GET\"\n\t\
                    input.subject.spiffe_id in {\"spiffe://td/a\", \"spiffe://td/b\"}\n\t\
                    input.destination != \"spiffe://td/d\"\n}\n";
        let policy = PolicySet::load(vec![Source { name: "a.rego".into(), text: text.into() }]).unwrap();
        let id = |name: &str| SpiffeId::parse(&format!("spiffe://td/{name}")).unwrap();
        let endpoint =
            |name, address: [u8; 4], listens| Endpoint { spiffe_id: id(name), address: address.into(), listens };
        let known = [
            endpoint("a", [10, 0, 0, 1], Some((Transport::Tcp, 80))),
            endpoint("b", [10, 0, 0, 2], Some((Transport::Udp, 53))),
            endpoint("c", [10, 0, 0, 3], None),
            endpoint("d", [10, 0, 0, 4], Some((Transport::Tcp, 443))),
        ];
        let known = Endpoints::new(known).unwrap();
        let mut allowed = 0;
        for name in ["a", "b", "c", "d"] {
            let found = policy.network_rules(&id(name), &known, UnixTime::default());
            assert!(found.not_lowered.is_empty());
            let kernel = of(&found).unwrap();
            for (last, port) in (1..=5).flat_map(|last| [80, 53, 443, 444].map(|port| (last, port))) {
                let address = IpAddr::from([10, 0, 0, last]);
                for (transport, number) in [(Transport::Tcp, 6), (Transport::Udp, 17)] {
                    for (flow, direction) in [
                        (Flow::Out(address), Direction::Out),
                        (Flow::In(address), Direction::In),
                        (Flow::Bind, Direction::Bind),
                    ] {
                        let (verdict, _) = kernel.decide(direction, number, address, port);
                        assert_eq!(
                            verdict == Verdict::Allow,
                            found.allow(flow, transport, port),
                            "{name} {flow:?} {port}"
                        );
                        allowed += u32::from(verdict == Verdict::Allow);
                    }
                }
            }
        }
        assert!(allowed > 10, "{allowed}");
    }
}
