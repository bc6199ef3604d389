//! Random policies: rules of addresses and ports beside decisions on requests.
//!
//! Each policy is written twice. In its second form, what only a request can tell is taken for possible: a condition on
//! the request holds, and one that would forbid does not. So it says of identities alone whether a call can be allowed,
//! and the rules must say the same of each pair.

use std::sync::Arc;

use sekisho_types::{ClaimValue, Claims};

use super::tests::{id, load};
use super::*;
use crate::{RequestInput, SubjectInput};

const POLICIES: usize = 400;
const IDS: [&str; 4] = ["a", "b", "ab", "ns/c"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn identity(&mut self) -> String {
        let place = self.of(&["input.subject.spiffe_id", "input.destination", "caller"]);
        let (one, other) = (self.of(&IDS), self.of(&IDS));
        match self.below(13) {
            0 => format!("{place} in {{\"spiffe://td/{one}\", \"spiffe://td/{other}\"}}"),
            1 => format!("{place} != \"spiffe://td/{one}\""),
            2 => format!("startswith({place}, \"spiffe://td/{one}\")"),
            3 => format!("not endswith({place}, \"/{one}\")"),
            4 => format!("regex.match(`/[ab]+$`, {place})"),
            5 => format!("split({place}, \"/\")[3] == \"{one}\""),
            6 => "input.subject.spiffe_id != input.destination".to_owned(),
            7 => format!("is({place}, \"spiffe://td/{one}\")"),
            8 => "input.destination in peers[input.subject.spiffe_id]".to_owned(),
            9 => "known".to_owned(),
            10 => {
                let end = format!("end{}", self.below(1_000_000));
                format!("some {end} in [\"/{one}\", \"/{other}\"]; endswith({place}, {end})")
            }
            _ => format!("{place} == \"spiffe://td/{one}\""),
        }
    }

    fn of_request(&mut self) -> &'static str {
        self.of(&[
            "input.method == \"GET\"",
            "not input.method == \"GET\"",
            "input.path[0] == \"v1\"",
            "count(input.path) > 1",
            "\"v1\" in input.path",
            "every part in input.path { part != \"x\" }",
            "input.headers.x == \"1\"",
            "to_number(input.headers.x) == 1",
            "input.subject.claims.hw == true",
            "input.subject.issued_at > time.now_ns() - 900000000000",
            "asked",
            "startswith(input.query, \"q\")",
        ])
    }

    /// Conditions as they are, and with those of the request as `possible` says.
    fn conditions(&mut self, possible: &str) -> (String, String) {
        let (mut full, mut known) = (Vec::new(), Vec::new());
        for _ in 0..=self.below(3) {
            if self.below(2) == 0 {
                let condition = self.identity();
                full.push(condition.clone());
                known.push(condition);
            } else {
                full.push(self.of_request().to_owned());
                known.push(possible.to_owned());
            }
        }
        (full.join("\n\t"), known.join("\n\t"))
    }

    /// Both forms of a policy.
    fn policy(&mut self) -> (String, String) {
        let shared = format!(
            "caller := input.subject.spiffe_id\n\nis(a, b) if a == b\n\nknown if {}\n\nasked if {}\n\n\
             peers := {{\"spiffe://td/{}\": [\"spiffe://td/{}\", \"spiffe://td/{}\"]}}\n",
            "input.destination != \"spiffe://td/b\"",
            "input.method in {\"GET\", \"PUT\"}",
            self.of(&IDS),
            self.of(&IDS),
            self.of(&IDS),
        );
        let (mut full, mut known) = (shared.clone(), shared);
        let mut add = |head: &str, body: (String, String), end: &str| {
            full += &format!("\n{head} if {{\n\t{}{end}\n}}\n", body.0);
            known += &format!("\n{head} if {{\n\t{}{end}\n}}\n", body.1);
        };
        for _ in 0..=self.below(2) {
            let end = self.of(&["", "", "\n\tnot blocked", "\n\tmixed(caller)"]);
            let body = self.conditions("true");
            add("allow", body, end);
        }
        for _ in 0..=self.below(2) {
            add("blocked", self.conditions("input.destination == \"spiffe://td/none\""), "");
        }
        let (condition, one) = (self.of_request(), self.of(&IDS));
        let identity = format!("\n\tid == \"spiffe://td/{one}\"");
        add("mixed(id)", (condition.to_owned(), "true".to_owned()), &identity);
        (full, known)
    }
}

/// Requests that meet each condition, and that do not.
fn requests(subject: &SpiffeId, destination: &SpiffeId) -> Vec<RequestInput> {
    let mut all = Vec::new();
    for number in 0..72_usize {
        let mut claims = Claims::default();
        if !number.is_multiple_of(3) {
            claims.set("hw", ClaimValue::Bool(number % 3 == 1));
        }
        let header = [None, Some("1"), Some("b")][number / 3 % 3];
        let path: &[&str] = [&["v1", "y"][..], &["x"]][number / 9 % 2];
        let fresh = number / 36 == 0;
        all.push(RequestInput {
            method: ["GET", "PUT"][number / 18 % 2].to_owned(),
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query: if fresh { "q" } else { "" }.to_owned(),
            headers: header.into_iter().map(|value| ("x".to_owned(), value.to_owned())).collect(),
            subject: Arc::new(SubjectInput {
                spiffe_id: subject.clone(),
                claims,
                issued_at: now().plus_seconds(if fresh { -60 } else { -6000 }),
            }),
            destination: destination.clone(),
            request_id: "r".to_owned(),
        });
    }
    all
}

fn now() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

/// Each identity at an address and port of its own.
fn endpoints() -> Endpoints {
    let numbered = (1..).zip(IDS).map(|(number, name)| Endpoint {
        spiffe_id: id(name),
        address: IpAddr::from([10, 0, 0, number]),
        listens: Some((Transport::Tcp, 8000 + u16::from(number))),
    });
    Endpoints::new(numbered).unwrap()
}

#[derive(Debug, Default)]
struct Seen {
    allowed: u32,
    denied: u32,
    by_request: u32,
    not_lowered: u32,
}

fn compare(random: &mut Random, known: &Endpoints, seen: &mut Seen) {
    let texts = random.policy();
    let (policy, possible) = (load(&texts.0), load(&texts.1));
    let rules = |endpoint: &Endpoint| policy.network_rules(&endpoint.spiffe_id, known, now());
    let each: Vec<(&Endpoint, NetworkRules)> = known.iter().map(|endpoint| (endpoint, rules(endpoint))).collect();
    for (caller, of_caller) in &each {
        seen.not_lowered += u32::try_from(of_caller.not_lowered.len()).unwrap();
        for (called, of_called) in each.iter().filter(|(called, _)| called.spiffe_id != caller.spiffe_id) {
            let (transport, port) = called.listens.unwrap();
            let out = of_caller.rules.iter().find(|rule| rule.flow == Flow::Out(called.address));
            let Some(out) = out else { continue };
            let shown = || {
                let asked = CompileRequest::between(&caller.spiffe_id, &called.spiffe_id);
                let residual = policy.residual(&asked, now()).unwrap();
                let left = format!("{:?}\n{:?}", residual.queries(), residual.modules());
                format!("{} to {}: {out:?}\n{left}\nof\n{}", caller.spiffe_id, called.spiffe_id, texts.0)
            };
            let allows = of_called.allow(Flow::In(caller.address), transport, port);
            assert_eq!(allows, out.allows, "both ends: {}", shown());
            let requests = requests(&caller.spiffe_id, &called.spiffe_id);
            let some = |policy: &PolicySet, requests: &[RequestInput]| {
                requests.iter().any(|request| policy.judge(request, now()).effect.is_allow())
            };
            assert!(out.allows || !some(&policy, &requests), "denied, and allowed for a request: {}", shown());
            // The second form asks nothing of a request.
            let by_identities = some(&possible, &requests[..1]);
            assert_eq!(out.allows, by_identities, "by identities alone: {}\n or\n{}", shown(), texts.1);
            seen.allowed += u32::from(out.allows);
            seen.denied += u32::from(!out.allows);
            seen.by_request += u32::from(out.depends_on_request);
        }
    }
}

/// The kernel never denies what the policy allows for some request, and never allows what it denies for all requests by
/// identities alone.
#[test]
fn law_l3_kernel_rules_are_the_policy_s() {
    let (mut random, mut seen) = (Random(0x5e61_3e47), Seen::default());
    let known = endpoints();
    for _ in 0..POLICIES {
        compare(&mut random, &known, &mut seen);
    }
    println!("{seen:?}");
    let pairs = u32::try_from(POLICIES).unwrap() * 12;
    assert!(seen.not_lowered * 10 < pairs, "{seen:?}");
    assert!([seen.allowed, seen.denied, seen.by_request].into_iter().all(|count| count * 10 > pairs), "{seen:?}");
}
