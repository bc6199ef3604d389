//! The main job, step by step.

use std::path::Path;
use std::time::Duration;

use hyper::Method;
use sekisho_events::Receipt;
use sekisho_host::{file_digest, own_uid, traces_others};
use sekisho_ledger::TrustPolicy;
use sekisho_proto::node::{StatusRequest, inspect_client::InspectClient};
use sekisho_sdk::agent_channel;
use serde_json::{Value, json};

use super::folder::Folder;
use super::process::{Output, Roles, wait_for};
use super::stopwatch::Stopwatch;
use crate::cli::Global;
use crate::exit::Failure;
use crate::output::{Format, text};
use crate::rest::Rest;
use crate::verbs::why;

const TRUST_DOMAIN: &str = "prod.internal";
const GATEWAY: &str = "spiffe://prod.internal/ns/finance/sa/payment-gateway";
const TRANSACTIONS: &str = "spiffe://prod.internal/ns/finance/sa/transactions";

struct Job<'a> {
    folder: &'a Folder,
    services: &'a Path,
    watch: &'a Stopwatch,
    rest: Rest,
}

pub(super) async fn run(folder: &Folder, services: &Path, watch: &Stopwatch, roles: &mut Roles) -> Result<(), Failure> {
    let job = Job { folder, services, watch, rest: Rest::new(&folder.join("server/api.sock")) };
    job.check_services()?;
    let server = job.start_server(roles).await?;
    let agent_id = job.attest(roles, &server).await?;
    job.register(&agent_id).await?;
    let (mut gateway, peer) = job.start_services(roles).await?;
    let (allowed, denied) = job.calls(&mut gateway).await?;
    let refusal = job.tampered(roles, &peer).await?;
    job.proofs(&[allowed, denied, refusal]).await?;
    // Whoever reads no more would stop the gateway at its next line.
    tokio::spawn(async move { while let Ok(Some(_)) = gateway.next_line().await {} });
    Ok(())
}

fn ready(line: &str) -> Option<String> {
    line.strip_prefix("ready ").map(str::to_owned)
}

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

impl Job<'_> {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn check_services(&self) -> Result<(), Failure> {
        let missing = ["payment-gateway", "transactions"].into_iter().find(|name| !self.services.join(name).is_file());
        match missing {
            None => Ok(()),
            Some(name) => Err(Failure::failed(format!(
                "the sample service `{name}` is not in {}; `make up` builds it, or give `--services`",
                self.services.display()
            ))),
        }
    }

    /// The address for agents.
    async fn start_server(&self, roles: &mut Roles) -> Result<String, Failure> {
        let (data, policy) = (self.path("server"), self.folder.policy().display().to_string());
        let arguments = strings(&[
            "server",
            "--trust-domain",
            TRUST_DOMAIN,
            "--data",
            &data,
            "--listen",
            "127.0.0.1:0",
            "--policy-folder",
            &policy,
        ]);
        let mut output = roles.start("server", &arguments, &[], &self.folder.logs())?;
        let line = wait_for(&mut output, "the server", 20, ready).await?;
        let address = line.split(' ').next().unwrap_or_default();
        Ok(address.to_owned())
    }

    async fn attest(&self, roles: &mut Roles, server: &str) -> Result<String, Failure> {
        let agent = self.registered_agent().await?;
        let token = self.rest.send(Method::POST, "/v1/tokens", &json!({"ttl": 600, "agent_id": agent})).await?;
        let token_file = self.folder.join("join-token");
        sekisho_disk::write_atomic(&token_file, text(&token, "/token").as_bytes()).map_err(Failure::failed)?;
        let bundle = self.rest.get("/v1/bundle").await?;
        let (data, token_path) = (self.path("agent"), token_file.display().to_string());
        let arguments = strings(&[
            "agent",
            "--trust-domain",
            TRUST_DOMAIN,
            "--server",
            server,
            "--data",
            &data,
            "--fingerprint",
            text(&bundle, "/fingerprints/0"),
            "--join-token-file",
            &token_path,
        ]);
        let mut output = roles.start("agent", &arguments, &[], &self.folder.logs())?;
        wait_for(&mut output, "the agent", 20, ready).await?;
        let socket = self.folder.join("agent/agent.sock");
        let status = InspectClient::new(agent_channel(&socket)).status(StatusRequest {}).await;
        let status = status.map_err(|status| Failure::status(&socket, &status))?.into_inner();
        let id = status.agent_id;
        self.watch.reached("node_attested", &format!("node attested: {id}"), json!({"agent_id": id}), "agents list")?;
        Ok(id)
    }

    /// The agent for which an earlier run registered the services. One that joins again must keep its ID: what is registered
    /// for another is not served.
    async fn registered_agent(&self) -> Result<String, Failure> {
        let known = self.rest.get(&format!("/v1/entries?spiffe_id={GATEWAY}")).await?;
        let agent = known.pointer("/entries/0/parent_id").and_then(Value::as_str);
        Ok(agent.unwrap_or("dev").to_owned())
    }

    /// One entry for each sample service: this user, and exactly this executable.
    async fn register(&self, agent_id: &str) -> Result<(), Failure> {
        let uid = own_uid();
        for (spiffe_id, service) in [(GATEWAY, "payment-gateway"), (TRANSACTIONS, "transactions")] {
            let digest = file_digest(&self.services.join(service)).map_err(Failure::failed)?;
            let selectors = [format!("unix:uid:{uid}"), format!("unix:sha256:{digest}")];
            let entry = json!({"spiffe_id": spiffe_id, "parent_id": agent_id, "selectors": selectors});
            let known = self.rest.get(&format!("/v1/entries?spiffe_id={spiffe_id}")).await?;
            // An entry of an earlier run is brought up to date rather than doubled.
            match known.pointer("/entries/0/id").and_then(Value::as_str) {
                Some(id) => self.rest.send(Method::PUT, &format!("/v1/entries/{id}"), &entry).await?,
                None => self.rest.send(Method::POST, "/v1/entries", &entry).await?,
            };
        }
        Ok(())
    }

    fn proxy_arguments(&self, name: &str, options: &[&str], command: &Path) -> Vec<String> {
        let (data, agent) = (self.path(name), self.path("agent/agent.sock"));
        let mut arguments =
            strings(&["proxy", "--trust-domain", TRUST_DOMAIN, "--agent-socket", &agent, "--data", &data]);
        // The agent of an ordinary user can only measure what is open to that user; the sidecar logs `danger_dumpable`.
        arguments.extend((!traces_others()).then(|| "--danger-dumpable".to_owned()));
        arguments.extend(strings(options));
        arguments.extend(["--".to_owned(), command.display().to_string()]);
        arguments
    }

    /// The gateway's output, and the address of the transactions' sidecar.
    async fn start_services(&self, roles: &mut Roles) -> Result<(Output, String), Failure> {
        let upstream = format!("unix:{}", self.path("run/transactions.sock"));
        let port = free_port().map_err(Failure::failed)?;
        let peer = format!("127.0.0.1:{port}");
        let options = ["--inbound", peer.as_str(), "--upstream", upstream.as_str()];
        let arguments = self.proxy_arguments("transactions", &options, &self.services.join("transactions"));
        let mut output =
            roles.start("transactions", &arguments, &[("LISTEN", upstream.clone())], &self.folder.logs())?;
        let id = wait_for(&mut output, "the sidecar of `transactions`", 20, ready).await?;
        self.watch.reached(
            "first_identity",
            &format!("first identity: {id}"),
            json!({"spiffe_id": id}),
            "svid list",
        )?;

        let local = format!("unix:{}", self.path("run/gateway-out.sock"));
        let outbound = format!("{local}={peer}={TRANSACTIONS}");
        let arguments =
            self.proxy_arguments("payment-gateway", &["--outbound", &outbound], &self.services.join("payment-gateway"));
        let environment = [("TRANSACTIONS_ADDRESS", local), ("INTERVAL_SECONDS", "1".to_owned())];
        let output = roles.start("payment-gateway", &arguments, &environment, &self.folder.logs())?;
        Ok((output, peer))
    }

    /// The decisions of an allowed and of a denied call.
    async fn calls(&self, gateway: &mut Output) -> Result<(String, String), Failure> {
        let answer = |method: &'static str, wanted: u64| {
            move |line: &str| {
                let answer: Value = serde_json::from_str(line).ok()?;
                let fits =
                    text(&answer, "/method") == method && answer.get("status").and_then(Value::as_u64) == Some(wanted);
                fits.then(|| text(&answer, "/decision").to_owned()).filter(|id| !id.is_empty())
            }
        };
        let allowed = wait_for(gateway, "the call that policy allows", 20, answer("GET", 200)).await?;
        let facts = json!({"method": "GET", "path": "/v1/balance", "decision": allowed});
        let more = format!("why {allowed}");
        self.watch.reached("first_call_allowed", "first mTLS call allowed: GET /v1/balance", facts, &more)?;

        let denied = wait_for(gateway, "the call that policy denies", 20, answer("POST", 403)).await?;
        let record = self.recorded(&denied).await?;
        let rule = format!(
            "{}:{}",
            text(&record, "/record/rule/file"),
            record.pointer("/record/rule/line").unwrap_or(&Value::Null)
        );
        let condition = text(&record, "/record/rule/unmet/0/condition").to_owned();
        let unmet = record.pointer("/record/rule/unmet").and_then(Value::as_array).map_or(0, Vec::len);
        let found = text(&record, "/record/rule/unmet/0/found");
        if unmet != 1 || !condition.contains("hw_attested") || found != "false" {
            return Err(Failure::failed(format!("POST was denied, but not for hardware alone: {record}")));
        }
        let facts = json!({"method": "POST", "path": "/v1/transactions", "decision": denied, "rule": rule, "condition": condition, "found": found});
        let shown = format!("first call denied: POST /v1/transactions by {rule}, `{condition}`");
        self.watch.reached("first_call_denied", &shown, facts, &format!("why {denied}"))?;
        Ok((allowed, denied))
    }

    /// A record, once it has travelled from its node to the log.
    async fn recorded(&self, id: &str) -> Result<Value, Failure> {
        for _ in 0..100 {
            if let Ok(found) = self.rest.get(&format!("/v1/decisions/{id}")).await {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Failure::failed(format!("{id} did not reach the log within 5 s")))
    }

    /// The same service with one byte more asks for its identity; the id of its refusal.
    async fn tampered(&self, roles: &mut Roles, peer: &str) -> Result<String, Failure> {
        let copy = self.folder.join("tampered/payment-gateway");
        // A copy of an earlier run may still be mapped by nobody; it is replaced, not written to.
        let _absent = std::fs::remove_file(&copy);
        std::fs::copy(self.services.join("payment-gateway"), &copy).map_err(Failure::failed)?;
        let appended = std::fs::OpenOptions::new().append(true).open(&copy);
        appended.and_then(|mut file| std::io::Write::write_all(&mut file, b"!")).map_err(Failure::failed)?;
        let local = format!("unix:{}", self.path("run/tampered-out.sock"));
        let outbound = format!("{local}={peer}={TRANSACTIONS}");
        let arguments = self.proxy_arguments("tampered-gateway", &["--outbound", &outbound], &copy);
        let environment = [("TRANSACTIONS_ADDRESS", local), ("INTERVAL_SECONDS", "60".to_owned())];
        let mut output = roles.start("tampered-gateway", &arguments, &environment, &self.folder.logs())?;
        let pid = wait_for(&mut output, "the tampered service", 20, |line| {
            serde_json::from_str::<Value>(line).ok()?.get("pid")?.as_i64()
        });
        let pid = pid.await?;
        let refusal = self.refusal_of(pid).await?;
        let global =
            Global { output: Format::Json, server_socket: None, agent: Some(self.folder.join("agent/agent.sock")) };
        let answer = why::identity(&global, i32::try_from(pid).ok(), &[]).await?;
        let differences = answer.get("differences").and_then(Value::as_array).cloned().unwrap_or_default();
        let [difference] = differences.as_slice() else {
            return Err(Failure::failed(format!("one selector should differ: {answer}")));
        };
        let (wants, found) = (text(difference, "/wants"), text(difference, "/found/0"));
        if !wants.starts_with("unix:sha256:") {
            return Err(Failure::failed(format!("the digest should differ: {answer}")));
        }
        let facts = json!({"selector": "unix:sha256", "wants": wants, "found": found, "refusal": refusal});
        let more = format!("why {refusal}");
        self.watch.reached("tampered_refused", "tampered binary refused: unix:sha256 differs", facts, &more)?;
        roles.end_one("tampered-gateway").await;
        Ok(refusal)
    }

    async fn refusal_of(&self, pid: i64) -> Result<String, Failure> {
        for _ in 0..100 {
            let refusals = self.rest.get("/v1/decisions?effect=refusal&limit=20").await?;
            let ours = |row: &&Value| row.pointer("/record/pid").and_then(Value::as_i64) == Some(pid);
            if let Some(row) = refusals.as_array().into_iter().flatten().find(ours) {
                return Ok(text(row, "/id").to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Failure::failed("the refusal did not reach the log within 5 s"))
    }

    /// Proofs of an attestation, an issuance and of these records, checked with nothing but the files.
    async fn proofs(&self, records: &[String]) -> Result<(), Failure> {
        let identities = self.rest.get("/v1/identities?limit=100").await?;
        let first = |kind: &str| {
            let rows = identities.as_array().into_iter().flatten();
            rows.filter(|row| text(row, "/kind") == kind).map(|row| text(row, "/id").to_owned()).next()
        };
        let known = ["attestation", "issuance"].into_iter().filter_map(first);
        let ids: Vec<String> = known.chain(records.iter().cloned()).collect();
        let trust_path = self.folder.join("proofs/trust-policy");
        let log = self.rest.get("/v1/log").await?;
        std::fs::write(&trust_path, text(&log, "/trust_policy")).map_err(Failure::failed)?;
        let trust = TrustPolicy::parse(text(&log, "/trust_policy")).map_err(Failure::failed)?;
        let mut last = String::new();
        for id in &ids {
            if id.starts_with("dec_") || id.starts_with("ref_") {
                self.recorded(id).await?;
            }
            let proof = self.rest.get_text(&format!("/v1/proofs/{id}")).await?;
            let path = self.folder.join(&format!("proofs/{id}.tlog-proof"));
            std::fs::write(&path, &proof).map_err(Failure::failed)?;
            let read = std::fs::read_to_string(&path).map_err(Failure::failed)?;
            let verified = Receipt::parse(&read).and_then(|receipt| receipt.verify(&trust));
            verified.map_err(|e| Failure::failed(format!("the proof of {id} does not verify: {e}")))?;
            last = path.display().to_string();
        }
        if ids.len() != records.len() + 2 {
            return Err(Failure::failed("no attestation or no issuance is in the log's index"));
        }
        let more = format!("verify {last} --policy {}", trust_path.display());
        let facts = json!({"proofs": ids});
        self.watch.reached("proofs_verified", &format!("proofs verified offline: {}", ids.len()), facts, &more)
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
