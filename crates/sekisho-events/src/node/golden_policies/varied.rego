package workload.authz

default allow := false

regions := {"eu", "ch"}

workload := trim_prefix(input.subject.spiffe_id, "spiffe://td.example")

fresh if time.now_ns() - input.subject.issued_at < 900000000000

level(name) := 1 if name == "reader"

level(name) := 2 if name in {"writer", "owner"}

allow if {
	input.method == "GET"
	input.path == ["v1", "balance"]
	workload == "/till"
	fresh
}

allow if {
	input.method == "POST"
	startswith(input.path[0], "v")
	input.headers["x-region"] in regions
	level(input.headers["x-role"]) > 1
}

allow if {
	input.method == "PUT"
	input.headers.authorization == "Bearer good"
}

allow if {
	input.method == "PATCH"
	count([part | some part in input.path; regex.match(`^[a-z]+$`, part)]) == count(input.path)
	every part in input.path { part != "admin" }
}

allow if {
	input.method == "HEAD"
	contains(input.query, "probe=1")
	net.cidr_contains("10.0.0.0/8", input.headers["x-from"])
}

allow if {
	input.method == "OPTIONS"
	input.subject.claims.level / input.subject.claims.zero > 1
}

allow if {
	input.method == "TRACE"
	not input.headers["x-trace"]
	input.subject.claims.level * 1.5 >= 4.5
}
