//! Who may call what: one row for each method and route, and nothing without a row (default deny).

/// Who a caller must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Every caller that reaches the listener: the call itself proves something, or shows what is public.
    Anyone,
    /// A node's agent in good standing, by its SVID.
    Agent,
    /// The local socket's root or own user, or an SVID whose entry is `admin`.
    Operator,
    /// An operator; anyone where the log is published (decisions/0019).
    LogReader,
}

use Role::{Agent, Anyone, LogReader, Operator};

/// gRPC, by full name.
pub(crate) const METHODS: &[(&str, Role)] = &[
    ("grpc.health.v1.Health/Check", Anyone),
    ("grpc.health.v1.Health/List", Anyone),
    ("grpc.health.v1.Health/Watch", Anyone),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Operator),
    ("sekisho.server.v1.Node/IssueJwt", Agent),
    ("sekisho.server.v1.Node/IssueX509", Agent),
    ("sekisho.server.v1.Node/Record", Agent),
    ("sekisho.server.v1.Node/ShowState", Agent),
    ("sekisho.server.v1.Node/Watch", Agent),
    ("spire.api.server.agent.v1.Agent/AttestAgent", Anyone),
    ("spire.api.server.agent.v1.Agent/PostStatus", Agent),
    ("spire.api.server.agent.v1.Agent/RenewAgent", Agent),
    ("spire.api.server.bundle.v1.Bundle/GetBundle", Anyone),
    ("spire.api.server.bundle.v1.Bundle/GetFederatedBundle", Anyone),
    ("spire.api.server.entry.v1.Entry/BatchCreateEntry", Operator),
    ("spire.api.server.entry.v1.Entry/BatchDeleteEntry", Operator),
    ("spire.api.server.entry.v1.Entry/BatchUpdateEntry", Operator),
    ("spire.api.server.entry.v1.Entry/CountEntries", Operator),
    ("spire.api.server.entry.v1.Entry/GetAuthorizedEntries", Agent),
    ("spire.api.server.entry.v1.Entry/GetEntry", Operator),
    ("spire.api.server.entry.v1.Entry/ListEntries", Operator),
    ("spire.api.server.entry.v1.Entry/SyncAuthorizedEntries", Agent),
    ("spire.api.server.svid.v1.SVID/BatchNewX509SVID", Agent),
    ("spire.api.server.svid.v1.SVID/NewJWTSVID", Agent),
];

/// Those of the methods to which a caller sends several messages.
const STREAMS: &[&str] = &[
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "sekisho.server.v1.Node/ShowState",
    "sekisho.server.v1.Node/Watch",
    "spire.api.server.agent.v1.Agent/AttestAgent",
    "spire.api.server.entry.v1.Entry/SyncAuthorizedEntries",
];

/// REST, by method and path as the router has it.
pub(crate) const ROUTES: &[(&str, &str, Role)] = &[
    ("GET", "/checkpoint", LogReader),
    ("GET", "/livez", Anyone),
    ("GET", "/metrics", Operator),
    ("GET", "/openapi.json", Operator),
    ("GET", "/readyz", Anyone),
    ("GET", "/tile/{*path}", LogReader),
    ("DELETE", "/v1/agents", Operator),
    ("GET", "/v1/agents", Operator),
    ("POST", "/v1/agents/attest", Operator),
    ("POST", "/v1/agents/ban", Operator),
    ("GET", "/v1/agents/evidence", Operator),
    ("GET", "/v1/alerts", Operator),
    ("GET", "/v1/bundle", Operator),
    ("GET", "/v1/changes", Operator),
    ("POST", "/v1/compile", Operator),
    ("GET", "/v1/decisions", Operator),
    ("GET", "/v1/decisions/follow", Operator),
    ("GET", "/v1/decisions/{id}", Operator),
    ("POST", "/v1/drills", Operator),
    ("GET", "/v1/entries", Operator),
    ("POST", "/v1/entries", Operator),
    ("DELETE", "/v1/entries/{id}", Operator),
    ("GET", "/v1/entries/{id}", Operator),
    ("PUT", "/v1/entries/{id}", Operator),
    ("GET", "/v1/health", Operator),
    ("GET", "/v1/identities", Operator),
    ("GET", "/v1/log", Operator),
    ("GET", "/v1/log/consistency/{old_size}/{new_size}", Operator),
    ("GET", "/v1/policy", Operator),
    ("PUT", "/v1/policy", Operator),
    ("GET", "/v1/proofs/{id}", Operator),
    ("GET", "/v1/revocations", Operator),
    ("POST", "/v1/revocations", Operator),
    ("DELETE", "/v1/tpms", Operator),
    ("GET", "/v1/tpms", Operator),
    ("POST", "/v1/tpms", Operator),
    ("GET", "/v1/tokens", Operator),
    ("POST", "/v1/tokens", Operator),
    ("DELETE", "/v1/tokens/{id}", Operator),
];

pub(crate) fn of_method(name: &str) -> Option<Role> {
    METHODS.iter().find(|(known, _)| *known == name).map(|(_, role)| *role)
}

pub(crate) fn is_stream(name: &str) -> bool {
    STREAMS.contains(&name)
}

/// What answers a GET answers a HEAD as well, by the same rule.
pub(crate) fn of_route(method: &str, path: &str) -> Option<Role> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|(of, known, _)| *of == method && *known == path).map(|(.., role)| *role)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;

    use super::*;

    /// Services that agents serve.
    const OF_AGENTS: &[&str] = &[
        "SpiffeWorkloadAPI",
        "envoy.service.secret.v3.SecretDiscoveryService",
        "sekisho.node.v1.Sidecar",
        "sekisho.node.v1.Inspect",
    ];

    #[test]
    fn law_l3_every_declared_method_has_a_row() {
        let files = prost_types::FileDescriptorSet::decode(sekisho_proto::FILE_DESCRIPTORS).unwrap().file;
        let mut declared = BTreeSet::new();
        for file in &files {
            for service in &file.service {
                let name = [file.package(), service.name()].join(".");
                let name = name.trim_start_matches('.');
                if !OF_AGENTS.contains(&name) {
                    for method in &service.method {
                        let full = format!("{name}/{}", method.name());
                        // A call that is not a stream is judged again when its request is complete.
                        assert!(of_method(&full).is_none() || is_stream(&full) == method.client_streaming(), "{full}");
                        declared.insert(full);
                    }
                }
            }
        }
        let missing: Vec<_> = declared.iter().filter(|method| of_method(method).is_none()).collect();
        assert!(missing.is_empty() && declared.len() > 15, "without a row: {missing:?}");
        let ours = METHODS.iter().filter(|(method, _)| !method.starts_with("grpc."));
        let unknown: Vec<_> = ours.filter(|(method, _)| !declared.contains(*method)).collect();
        assert!(unknown.is_empty(), "rows of no method: {unknown:?}");
    }

    #[test]
    fn law_l3_every_documented_route_has_a_row() {
        let document: serde_json::Value = serde_json::from_str(crate::rest::OPENAPI_DOCUMENT).unwrap();
        let mut declared = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                declared.insert((method.to_uppercase(), path.clone()));
            }
        }
        for (method, path) in &declared {
            assert_eq!(of_route(method, path), Some(Operator), "{method} {path}");
        }
        let documented = ROUTES.iter().filter(|(_, path, _)| path.starts_with("/v1/") || *path == "/metrics");
        assert_eq!(documented.count(), declared.len(), "a row of no route");
    }

    /// A registrar whose administration asked for no client certificate.
    #[test]
    fn cve_2026_1709_no_administration_is_open() {
        let open: Vec<_> = ROUTES.iter().filter(|(.., role)| *role == Anyone).map(|(_, path, _)| *path).collect();
        assert_eq!(open, ["/livez", "/readyz"]);
        let open: Vec<_> = METHODS.iter().filter(|(_, role)| *role == Anyone).map(|(name, _)| *name).collect();
        let expected = [
            "grpc.health.v1.Health/Check",
            "grpc.health.v1.Health/List",
            "grpc.health.v1.Health/Watch",
            "spire.api.server.agent.v1.Agent/AttestAgent",
            "spire.api.server.bundle.v1.Bundle/GetBundle",
            "spire.api.server.bundle.v1.Bundle/GetFederatedBundle",
        ];
        assert_eq!(open, expected);
        // No agent administers either.
        assert!(ROUTES.iter().all(|(.., role)| *role != Agent));
    }

    #[test]
    fn law_l3_without_a_row_everyone_is_refused() {
        assert_eq!(of_method("spire.api.server.entry.v1.Entry/DeleteAll"), None);
        assert_eq!(of_route("POST", "/v1/health"), None);
        assert_eq!(of_route("HEAD", "/v1/health"), Some(Operator));
    }
}
