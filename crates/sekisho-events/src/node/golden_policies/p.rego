package workload.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["v1", "balance"]
	input.subject.spiffe_id == "spiffe://example.org/shop/till"
	input.destination == "spiffe://example.org/shop/ledger"
}
