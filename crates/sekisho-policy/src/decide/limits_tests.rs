//! The longest that a policy within its limits takes.

use std::time::Duration;

use super::tests::{load, now, request};

/// Several times what any of them takes in this profile.
const LONGEST: Duration = Duration::from_secs(1);

const HEAD: &str = "package workload.authz\nimport rego.v1\n";

/// The time that this thread had a processor: on a loaded machine it waits for one.
fn busy() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

fn longest(name: &str, rules: &str) -> Duration {
    let set = match load(&format!("{HEAD}{rules}\n")) {
        Ok(set) => set,
        Err(error) => {
            println!("{name}: refused: {error}");
            return Duration::ZERO;
        }
    };
    let mut large = request(true);
    large.headers.insert("long".into(), "ab".repeat(32 * 1024));
    large.query = "1".repeat(8 * 1024);
    large.path = (0..20_000).map(|n| n.to_string()).collect();
    let timed = |request: &crate::RequestInput| {
        let began = busy();
        let decision = set.decide_by_engine(request, now());
        let took = busy() - began;
        println!("{name}: {took:?}, {:?}, {:?}", decision.effect, decision.error);
        took
    };
    let mut small = request(true);
    small.headers.insert("long".into(), "ab".into());
    timed(&large).max(timed(&small))
}

/// A step that reads much counts as many.
#[test]
fn law_l9_no_policy_within_the_limits_takes_long() {
    let doubled = |link: &str, times: usize| {
        let lines: String =
            (1..=times).map(|n| format!("\tx{n} := {}\n", link.replace("@", &format!("x{}", n - 1)))).collect();
        format!("allow if {{\n\tx0 := input.headers.long\n{lines}\tx{times} != \"\"\n}}")
    };
    let looped = |body: &str| format!("allow if {{ count([1 | some i in numbers.range(1, 4000); {body}]) > 0 }}");
    let nested = "allow if { xs := numbers.range(1, 3000); count([1 | some a in xs; some b in xs; some c in xs; a * b == c]) > 0 }";
    let mut slow = vec![];
    for (name, rules) in [
        ("nested comprehensions", nested.to_owned()),
        ("concat doubles", doubled("concat(\"\", [@, @])", 40)),
        ("sprintf doubles", doubled("sprintf(\"%s%s\", [@, @])", 40)),
        ("lists double, marshalled", doubled("[@, @]", 40).replace("x40 != \"\"", "json.marshal(x40) != \"\"")),
        ("array.concat doubles", doubled("array.concat(@, @)", 40).replace("x0 := input.headers.long", "x0 := [1, 2]")),
        ("hex doubles", doubled("hex.encode(@)", 40)),
        ("marshal grows", doubled("json.marshal([@])", 40)),
        ("contains in a loop", looped("contains(input.headers.long, \"abx\")")),
        ("regex in a loop", looped("regex.match(\"(a|b)*x[ab]{20}y\", input.headers.long)")),
        ("split in a loop", looped("count(split(input.headers.long, \"\")) == 1")),
        ("lower in a loop", looped("lower(input.headers.long) == i")),
        ("sort in a loop", looped("sort(input.path) == i")),
        ("range in a loop", looped("count(numbers.range(1, 4000)) == i")),
        ("cidr in a loop", looped("count(net.cidr_expand(\"10.0.0.0/20\")) == i")),
        ("marshal in a loop", looped("json.marshal(input) == i")),
        ("large numbers", looped("to_number(input.query) * to_number(input.query) == i")),
        ("membership in a loop", looped("\"x\" in input.path")),
        ("equality in a loop", looped("input.path == array.concat(input.path, [])")),
        ("sets in a loop", "allow if { s := {p | some p in input.path}; count([1 | some i in numbers.range(1, 4000); count(s | {i}) == i]) > 0 }".to_owned()),
        ("membership in a range", "allow if { xs := numbers.range(1, 4000); count([1 | some i in xs; 0 in xs]) > 0 }".to_owned()),
        (
            "membership in a comprehension",
            format!("{}\nmade := [i | some i in numbers.range(1, 4000); some j in [1, 2, 3]]", looped("0 in made")),
        ),
        ("sets without builtins", "allow if { s := {i | some i in numbers.range(1, 4000)}; some i in numbers.range(1, 4000); s | {0 - i} == {1} }".to_owned()),
        ("squares", doubled("@ * @", 40).replace("input.headers.long", "input.now")),
        ("deep values", doubled("[@]", 9000)),
    ] {
        let took = longest(name, &rules);
        if took > LONGEST {
            slow.push((name, took));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// One step may make or compare something large.
#[test]
fn law_l9_what_reads_much_counts_as_much() {
    let looped = |head: &str, body: &str| {
        format!("allow if {{ {head} count([1 | some i in numbers.range(1, 4000); {body}]) > 0 }}")
    };
    let text = "x := concat(\"\", [input.headers.long | some i in numbers.range(1, 30)]);";
    let lists = "lists := [array.concat(input.path, []) | some i in [1, 2, 3, 4, 5, 6, 7, 8]];";
    let keyed = "o := {array.concat(input.path, [i]): i | some i in [1, 2, 3]};";
    let many = (0..4000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let of_lists = "some [input.path, k] in [[array.concat(input.path, []), 1] | some j in [1, 2]]; k == 2";
    let mut slow = vec![];
    for (name, rules) in [
        ("lists as written", looped("", &format!("[i, {many}] == [0]"))),
        ("sets as written", looped("", &format!("{{i, {many}}} == {{0}}"))),
        ("texts that are compared", looped(&format!("{text} y := lower(x);"), "x == y")),
        ("texts that are arguments", looped(text, "f(x) == i") + "\nf(x) := count(x)"),
        ("lists in patterns", looped("", of_lists)),
        ("sets of equal lists", looped(lists, "count({x | some x in lists}) == i")),
        ("modifiers", looped("", "count(input.path) == 1 with input.method as sprintf(\"%d\", [i])")),
        ("lists as keys", looped(keyed, "o[array.concat(input.path, [2])] == i")),
    ] {
        let took = longest(name, &rules);
        if took > LONGEST {
            slow.push((name, took));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// Lists that hold another list twice are small in memory and endless to compare.
#[test]
fn law_l9_doubling_values_are_refused_at_load() {
    let lines = |link: &str| -> String {
        (1..=40).map(|n| format!("\tx{n} := {}\n", link.replace("@", &format!("x{}", n - 1)))).collect()
    };
    for link in ["[@, @]", "{\"a\": @, \"b\": @}", "{[@], [1, @]}", "array.concat([@], [@])", "{@} | {[@]}", "twice(@)"]
    {
        let rules = format!("twice(v) := [v, v]\n\nallow if {{\n\tx0 := [1]\n{}\tnot x40 < x39\n}}", lines(link));
        let refused = load(&format!("{HEAD}{rules}\n")).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("holds more than 4096 others"), "{link}: {refused}");
    }
    let rules: String = (1..=40).map(|n| format!("x{n} := [x{}, x{}]\n", n - 1, n - 1)).collect();
    assert!(load(&format!("{HEAD}x0 := [1]\n{rules}allow if x40 == x39\n")).is_err());
    // Constants are what they are, and a chain that does not double is short.
    let many = (0..5000).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",\n");
    let chain = lines("array.concat(@, [1])");
    load(&format!(
        "{HEAD}known := [{many}]\nallow if {{\n\tx0 := [1]\n{chain}\tcount(x40) == 41\n\tinput.query in known\n}}\n"
    ))
    .unwrap();
}
