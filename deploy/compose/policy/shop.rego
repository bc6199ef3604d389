package workload.authz

default allow := false

# The till reads the balance, and nothing else.
allow if {
	input.method == "GET"
	input.path == ["v1", "balance"]
	input.subject.spiffe_id == "spiffe://example.org/shop/till"
	input.destination == "spiffe://example.org/shop/ledger"
}
