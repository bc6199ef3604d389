//! A decision allocates nothing, its explanation included, where the lowering covers all rules.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting those of each thread.
struct Counting;

#[expect(unsafe_code, reason = "the only way to count allocations")]
// SAFETY: every call goes on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use sekisho_policy::{PolicySet, RequestInput, Source};
    use sekisho_types::{Effect, UnixTime};

    use super::ALLOCATIONS;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    /// Rules of every kind that a table looks at.
    fn policy(rules: usize) -> PolicySet {
        let mut text = "package workload.authz\n\ndefault allow := false\n\nid := input.subject.spiffe_id\n".to_owned();
        for number in 0..rules {
            let method = ["GET", "PUT", "POST"][number % 3];
            write!(
                text,
                "allow if {{\n\tinput.method == \"{method}\"\n\tid == \"spiffe://td/service-{number}\"\n\t\
             startswith(input.query, \"page={number}\")\n\tinput.subject.claims.hw_attested\n\t\
             input.path[0] in {{\"v1\", \"v2\"}}\n\tinput.path != [\"v1\", \"admin\"]\n\t\
             not endswith(input.headers.host, \".example.org\")\n\tnot input.headers[\"x-zone\"] == \"z{number}\"\n\t\
             time.now_ns() - input.subject.issued_at < 900000000000\n\tcount(input.path) >= 2\n\t\
             net.cidr_contains(\"10.0.0.0/8\", input.headers[\"x-from\"])\n\t\
             glob.match(\"spiffe://td/*\", [\"/\"], id)\n\tregex.match(\"^pay[a-z]+$\", input.path[1])\n}}\n\n"
            )
            .unwrap();
        }
        PolicySet::load(vec![Source { name: "a.rego".into(), text }]).unwrap()
    }

    fn request(number: usize) -> RequestInput {
        let document = serde_json::json!({
            "method": (["GET", "PUT", "POST"][number % 3]),
            "path": ["v1", "payments"],
            "query": format!("page={number}"),
            "headers": {"host": "payments", "x-from": "10.1.2.3"},
            "subject": {
                "spiffe_id": format!("spiffe://td/service-{number}"),
                "claims": {"hw_attested": true, "level": 3}, "issued_at": NOW.plus_seconds(-60).nanos(),
            },
            "destination": "spiffe://td/payments", "request_id": "r",
        });
        RequestInput::from_json(&document).unwrap()
    }

    #[test]
    fn a_decision_allocates_nothing() {
        for rules in [1, 40, 1_000] {
            let set = policy(rules);
            for (number, effect) in [(0, Effect::Allow), (rules - 1, Effect::Allow), (rules + 7, Effect::Deny)] {
                let request = request(number);
                // The first decisions of a thread allocate.
                for _ in 0..3 {
                    set.judge(&request, NOW);
                }
                let before = ALLOCATIONS.get();
                let judgement = set.judge(&request, NOW);
                let place = set.place(&judgement).map(|(_, line)| line);
                assert_eq!(ALLOCATIONS.get() - before, 0, "{rules} rules, number {number}");
                assert_eq!((judgement.effect, place.is_some()), (effect, true), "{rules} rules, number {number}");
                assert_eq!(set.explain(judgement, &request, NOW), set.decide_by_engine(&request, NOW));
            }
        }
    }
}
