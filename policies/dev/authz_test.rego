package workload.authz

test_default_denies {
  not allow
}

test_balance_needs_the_gateway {
  not allow with input as {"method": "GET", "path": ["v1", "balance"], "subject": {"spiffe_id": "spiffe://prod.internal/x", "issued_at": 0}}
}
