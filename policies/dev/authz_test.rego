package workload.authz

test_default_denies if {
  not allow
}

test_balance_needs_the_gateway if {
  not allow with input as {"method": "GET", "path": ["v1", "balance"], "subject": {"spiffe_id": "spiffe://prod.internal/x", "issued_at": 0}}
}
