package workload.authz

default allow := false

workload_id := input.subject.spiffe_id

allow if {
	input.method == "POST"
	input.path == ["v1", "transactions"]
	workload_id == "spiffe://prod.internal/ns/finance/sa/payment-gateway"
	input.subject.claims.hw_attested == true
	input.subject.issued_at > time.now_ns() - ((15 * 60) * 1000000000)
}

allow if {
	input.method == "GET"
	input.path == ["v1", "balance"]
	workload_id == "spiffe://prod.internal/ns/finance/sa/payment-gateway"
	input.subject.issued_at > time.now_ns() - ((15 * 60) * 1000000000)
}
