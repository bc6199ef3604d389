//! The policies, for each engine in its language, and what is asked.

use std::fmt::Write;

use serde_json::{Value, json};

pub const SIZES: [usize; 4] = [1, 1_000, 10_000, 100_000];

/// The time of all decisions, in nanoseconds since 1970.
pub const NOW: i64 = 1_800_000_000_000_000_000;

/// A request that the rule of this number allows.
pub struct Question {
    pub number: usize,
}

impl Question {
    pub fn new(number: usize) -> Question {
        Question { number }
    }

    pub fn query(&self) -> String {
        format!("order={}&page=1", self.number)
    }

    pub fn spiffe_id(&self) -> String {
        format!("spiffe://td/service-{}", self.number)
    }

    /// As the input of a policy in Rego.
    pub fn json(&self) -> Value {
        json!({
            "method": "GET",
            "path": ["v1", "orders"],
            "query": self.query(),
            "headers": {},
            "now": NOW,
            "subject": {
                "spiffe_id": self.spiffe_id(), "claims": {"hw_attested": true}, "issued_at": NOW - 1_000_000_000
            }
        })
    }
}

/// Rules of five conditions. The time is part of the request, so that all engines have the same.
pub fn rego(count: usize) -> String {
    let head = "package workload.authz\n\ndefault allow := false\n\n".to_owned();
    (0..count).fold(head, |mut out, n| {
        let _infallible = writeln!(
            out,
            "allow if {{\n\tinput.method == \"GET\"\n\tstartswith(input.query, \"order={n}&\")\n\t\
             input.subject.spiffe_id == \"spiffe://td/service-{n}\"\n\tinput.subject.claims.hw_attested == true\n\t\
             input.now - input.subject.issued_at < 3600000000000\n}}\n"
        );
        out
    })
}

pub fn cedar(count: usize) -> String {
    (0..count).fold(String::new(), |mut out, n| {
        let _infallible = writeln!(
            out,
            "permit(principal, action, resource) when {{ context.method == \"GET\" \
             && context.query like \"order={n}&*\" \
             && context.spiffe_id == \"spiffe://td/service-{n}\" && context.hw_attested == true \
             && context.now - context.issued_at < 3600000000000 }};"
        );
        out
    })
}

/// A policy that no table decides.
pub const GENERAL: &str = r#"package general

teams[name] contains member.id if {
	some member in data.members
	some name in member.teams
	member.active
}

large := {name: count(ids) | some name, ids in teams; count(ids) > 100}

secrets := {concat("/", [format_int(part, 10) | some part in path; is_number(part)]) |
	walk(input.tree, [path, value])
	value == "secret"
}

by_region := {region: total |
	some region in {member.region | some member in data.members}
	total := sum([member.quota | some member in data.members; member.region == region])
}

report := {"large": large, "secrets": count(secrets), "regions": by_region, "admins": count(admins)}

admins := [member.id |
	some member in data.members
	every team in member.teams { startswith(team, "team-") }
	member.quota > 90
]
"#;

/// The data and the input of the general policy.
pub struct General {
    pub data: Value,
    pub input: Value,
}

impl General {
    pub fn new() -> General {
        let member = |n: usize| {
            json!({
                "id": format!("user-{n}"),
                "active": n % 7 != 0,
                "region": format!("region-{}", n % 8),
                "quota": n % 100,
                "teams": [format!("team-{}", n % 5), format!("team-{}", n % 11)]
            })
        };
        let leaf = |n: usize| json!([n, if n % 10 == 0 { "secret" } else { "public" }, {"deep": [n]}]);
        let tree: Vec<Value> = (0..100).map(leaf).collect();
        General { data: json!({"members": (0..1_000).map(member).collect::<Vec<_>>()}), input: json!({"tree": tree}) }
    }

    /// What the policy gives, counted here.
    pub fn expected(&self) -> Value {
        let (mut large, mut regions, mut admins) = (serde_json::Map::new(), serde_json::Map::new(), 0);
        let members = 0..1_000_usize;
        for team in 0..11 {
            let of_team = |n: &usize| n % 7 != 0 && (n % 5 == team || n % 11 == team);
            let count = members.clone().filter(of_team).count();
            if count > 100 {
                large.insert(format!("team-{team}"), json!(count));
            }
        }
        for region in 0..8 {
            let total: usize = members.clone().filter(|n| n % 8 == region).map(|n| n % 100).sum();
            regions.insert(format!("region-{region}"), json!(total));
        }
        admins += members.filter(|n| n % 100 > 90).count();
        json!({"large": large, "secrets": 10, "regions": regions, "admins": admins})
    }
}
