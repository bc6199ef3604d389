//! The main job, step by step.

use std::path::Path;
use std::time::Duration;

use sekisho_api::{DecisionForm, DecisionsQuery, EntryForm, IdentitiesQuery, IdentityForm, LogForm};
use sekisho_events::{NodeEvent, Receipt, RecordId};
use sekisho_host::{file_digest, own_uid, traces_others};
use sekisho_ledger::TrustPolicy;
use sekisho_policy::Unmet;
use serde::Deserialize;
use serde_json::json;

use super::folder::Folder;
use super::node_tpm::{self, NodeTpm, TpmArgs};
use super::process::{Output, PATIENCE, Roles, strings, wait_for};
use super::stopwatch::Stopwatch;
use crate::exit::Failure;
use crate::global::Global;
use crate::rest::Rest;
use crate::verbs::why::{self, DifferenceShown};

pub(super) const TRUST_DOMAIN: &str = "prod.internal";
pub(super) const GATEWAY: &str = "spiffe://prod.internal/ns/finance/sa/payment-gateway";
pub(super) const TRANSACTIONS: &str = "spiffe://prod.internal/ns/finance/sa/transactions";

/// The agent of the services' node, and that of a node that nothing vouches for but a token.
pub(super) const AGENT: &str = "agent";
const UNPROVEN: &str = "agent-by-token";
const SOFTWARE: &str = "danger_software_tpm: a program plays the TPM of this machine. It proves nothing about \
    hardware; `--tpm /dev/tpmrm0 --tpm-ca FILE` uses a real one";

/// What the sample gateway prints when it starts.
#[derive(Deserialize)]
struct Started {
    pid: i32,
}

/// What it prints of each call.
#[derive(Deserialize)]
struct Answer {
    method: String,
    status: u16,
    decision: Option<String>,
}

pub(super) struct Job<'a> {
    pub folder: &'a Folder,
    pub services: &'a Path,
    pub watch: &'a Stopwatch,
    pub tpm: Option<NodeTpm>,
    pub rest: Rest,
}

pub(super) async fn run(
    folder: &Folder,
    services: &Path,
    tpm: &TpmArgs,
    watch: &Stopwatch,
    roles: &mut Roles,
) -> Result<(), Failure> {
    let tpm = NodeTpm::open(tpm, folder, roles).await?;
    match &tpm {
        None => watch.note(&node_tpm::absent()),
        Some(tpm) if tpm.is_software => watch.note(SOFTWARE),
        Some(_) => {}
    }
    let job = Job { folder, services, watch, tpm, rest: Rest::new(&folder.join("server/api.sock")) };
    job.check_services()?;
    let server = job.start_server(roles).await?;
    let agent_id = job.attest(roles, &server).await?;
    job.register(&agent_id).await?;
    let (mut gateway, peer) = job.start_services(roles).await?;
    let mut records = job.allowed(&mut gateway).await?;
    records.push(job.denied(roles, &server, &mut gateway, &peer).await?);
    records.push(job.tampered(roles, &peer).await?);
    job.refused_by_kernel(roles, &agent_id, &peer).await?;
    job.proofs(&records).await?;
    gateway.read_on();
    Ok(())
}

pub(super) fn ready(line: &str) -> Option<String> {
    line.strip_prefix("ready ").map(str::to_owned)
}

/// Looks until a record has travelled from its node to the log.
async fn in_log<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> Result<T, Failure> {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let late = |_| Failure::failed(format!("{what} did not reach the log within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, search).await.map_err(late)
}

/// The decision of a call, from what the gateway prints.
fn answer(method: &'static str, wanted: u16) -> impl Fn(&str) -> Option<String> {
    move |line| {
        let Answer { method: asked, status, decision } = serde_json::from_str(line).ok()?;
        decision.filter(|id| asked == method && status == wanted && !id.is_empty())
    }
}

impl Job<'_> {
    pub(super) fn path(&self, name: &str) -> String {
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
        let mut arguments = strings(&[
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
        arguments.extend(self.tpm.iter().flat_map(NodeTpm::server_options));
        let mut output = roles.start("server", &arguments, &[], &self.folder.logs())?;
        let line = wait_for(&mut output, "the server", ready).await?;
        let address = line.split(' ').next().unwrap_or_default();
        Ok(address.to_owned())
    }

    /// One entry for each sample service: this user, and exactly this executable.
    async fn register(&self, agent_id: &str) -> Result<(), Failure> {
        for (spiffe_id, service) in [(GATEWAY, "payment-gateway"), (TRANSACTIONS, "transactions")] {
            self.put_entry(self.entry(spiffe_id, service, agent_id)?).await?;
        }
        Ok(())
    }

    fn entry(&self, spiffe_id: &str, service: &str, agent_id: &str) -> Result<EntryForm, Failure> {
        Self::entry_of(spiffe_id, &self.services.join(service), agent_id)
    }

    pub(super) fn entry_of(spiffe_id: &str, executable: &Path, agent_id: &str) -> Result<EntryForm, Failure> {
        let digest = file_digest(executable).map_err(Failure::failed)?;
        Ok(EntryForm {
            spiffe_id: spiffe_id.to_owned(),
            parent_id: agent_id.to_owned(),
            selectors: vec![format!("unix:uid:{}", own_uid()), format!("unix:sha256:{digest}")],
            ..Default::default()
        })
    }

    fn proxy_arguments(&self, agent: &str, name: &str, options: &[&str], command: &Path) -> Vec<String> {
        let (data, agent) = (self.path(name), self.path(&format!("{agent}/agent.sock")));
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
        let options = ["--inbound", "127.0.0.1:0", "--upstream", upstream.as_str()];
        let arguments = self.proxy_arguments(AGENT, "transactions", &options, &self.services.join("transactions"));
        let mut output =
            roles.start("transactions", &arguments, &[("LISTEN", upstream.clone())], &self.folder.logs())?;
        let line = wait_for(&mut output, "the sidecar of `transactions`", ready).await?;
        let (id, peer) =
            line.split_once(' ').ok_or_else(|| Failure::failed(format!("no address for peers: {line}")))?;
        self.watch.reached(
            "first_identity",
            &format!("first identity: {id}"),
            json!({"spiffe_id": id}),
            "svid list",
        )?;

        Ok((self.start_gateway(roles, AGENT, "payment-gateway", peer)?, peer.to_owned()))
    }

    /// The gateway behind a sidecar, on the node of this agent.
    fn start_gateway(&self, roles: &mut Roles, agent: &str, name: &str, peer: &str) -> Result<Output, Failure> {
        let local = format!("unix:{}", self.path(&format!("run/{name}-out.sock")));
        let outbound = format!("{local}={peer}={TRANSACTIONS}");
        let program = self.services.join("payment-gateway");
        let arguments = self.proxy_arguments(agent, name, &["--outbound", &outbound], &program);
        let environment = [("TRANSACTIONS_ADDRESS", local), ("INTERVAL_SECONDS", "1".to_owned())];
        roles.start(name, &arguments, &environment, &self.folder.logs())
    }

    /// The decisions of the calls that policy allows.
    async fn allowed(&self, gateway: &mut Output) -> Result<Vec<String>, Failure> {
        let balance = wait_for(gateway, "the call that policy allows", answer("GET", 200)).await?;
        let facts = json!({"method": "GET", "path": "/v1/balance", "decision": balance});
        let more = format!("why {balance}");
        self.watch.reached("first_call_allowed", "first mTLS call allowed: GET /v1/balance", facts, &more)?;
        if self.tpm.is_none() {
            return Ok(vec![balance]);
        }
        let what = "the call that policy allows to attested hardware";
        let posted = wait_for(gateway, what, answer("POST", 201)).await?;
        let facts = json!({"method": "POST", "path": "/v1/transactions", "decision": posted});
        let shown = "call allowed to attested hardware: POST /v1/transactions";
        self.watch.reached("hardware_call_allowed", shown, facts, &format!("why {posted}"))?;
        Ok(vec![balance, posted])
    }

    /// The decision of the call that policy denies. Where the first node has a TPM it is that of the same service on a
    /// node that joined by a token.
    async fn denied(&self, roles: &mut Roles, server: &str, first: &mut Output, peer: &str) -> Result<String, Failure> {
        let what = "the call that policy denies";
        if self.tpm.is_none() {
            let denied = wait_for(first, what, answer("POST", 403)).await?;
            return self.show_denied(denied, "").await;
        }
        let id = self.join(roles, server, UNPROVEN).await?;
        self.put_entry(self.entry(GATEWAY, "payment-gateway", &id)?).await?;
        let mut gateway = self.start_gateway(roles, UNPROVEN, "gateway-by-token", peer)?;
        let denied = wait_for(&mut gateway, what, answer("POST", 403)).await?;
        gateway.read_on();
        self.show_denied(denied, " from a node that joined by a token").await
    }

    async fn show_denied(&self, denied: String, from: &str) -> Result<String, Failure> {
        let record = self.recorded(&denied).await?.read().map_err(Failure::failed)?;
        let (rule, condition, found) = for_hardware(&record)
            .ok_or_else(|| Failure::failed(format!("POST was denied, but not for hardware alone: {record:?}")))?;
        let facts = json!({
            "method": "POST", "path": "/v1/transactions", "decision": denied,
            "rule": rule, "condition": condition, "found": found,
        });
        let shown = format!("first call denied{from}: POST /v1/transactions by {rule}, `{condition}`");
        self.watch.reached("first_call_denied", &shown, facts, &format!("why {denied}"))?;
        Ok(denied)
    }

    /// A record, once it has travelled from its node to the log.
    async fn recorded(&self, id: &str) -> Result<DecisionForm, Failure> {
        let look = || async { self.rest.get(&format!("/v1/decisions/{id}")).await.ok() };
        in_log(id, look).await
    }

    /// The same service with one byte more asks for its identity; the id of its refusal.
    async fn tampered(&self, roles: &mut Roles, peer: &str) -> Result<String, Failure> {
        let copy = self.folder.join("tampered/payment-gateway");
        // A copy of an earlier run may still be in use; it is replaced, not written to.
        let _absent = std::fs::remove_file(&copy);
        std::fs::copy(self.services.join("payment-gateway"), &copy).map_err(Failure::failed)?;
        let appended = std::fs::OpenOptions::new().append(true).open(&copy);
        appended.and_then(|mut file| std::io::Write::write_all(&mut file, b"!")).map_err(Failure::failed)?;
        let local = format!("unix:{}", self.path("run/tampered-out.sock"));
        let outbound = format!("{local}={peer}={TRANSACTIONS}");
        let arguments = self.proxy_arguments(AGENT, "tampered-gateway", &["--outbound", &outbound], &copy);
        let environment = [("TRANSACTIONS_ADDRESS", local), ("INTERVAL_SECONDS", "60".to_owned())];
        let mut output = roles.start("tampered-gateway", &arguments, &environment, &self.folder.logs())?;
        let pid =
            wait_for(&mut output, "the tampered service", |line| Some(serde_json::from_str::<Started>(line).ok()?.pid));
        let pid = pid.await?;
        let refusal = self.refusal_of(pid).await?;
        let global = Global { agent_socket: Some(self.folder.join("agent/agent.sock")), ..Global::default() };
        let answer = why::identity(&global, Some(pid), &[]).await?;
        let [DifferenceShown { wants, found }] = answer.differences.as_slice() else {
            return Err(Failure::failed(format!("one selector should differ: {answer:?}")));
        };
        let found = found.first();
        if !wants.starts_with("unix:sha256:") {
            return Err(Failure::failed(format!("the digest should differ: {answer:?}")));
        }
        let facts = json!({"selector": "unix:sha256", "wants": wants, "found": found, "refusal": refusal});
        let more = format!("why {refusal}");
        self.watch.reached("tampered_refused", "tampered binary refused: unix:sha256 differs", facts, &more)?;
        roles.end_one("tampered-gateway").await;
        Ok(refusal)
    }

    async fn refusal_of(&self, pid: i32) -> Result<String, Failure> {
        let query = DecisionsQuery { effect: Some("refusal".to_owned()), before: None, limit: Some(20) };
        let look = || async {
            let refusals: Vec<DecisionForm> = self.rest.find("/v1/decisions", &query).await.ok()?;
            let ours = |row: &DecisionForm| row.read().is_ok_and(|event| event.pid() == Some(pid));
            refusals.into_iter().find(ours).map(|row| row.id)
        };
        in_log("the refusal", look).await
    }

    /// Proofs of an attestation, an issuance and of these records, checked with nothing but the files.
    async fn proofs(&self, records: &[String]) -> Result<(), Failure> {
        let query = IdentitiesQuery { limit: Some(100) };
        let identities: Vec<IdentityForm> = self.rest.find("/v1/identities", &query).await?;
        let first = |kind: &str| identities.iter().find(|row| row.kind == kind).map(|row| row.id.clone());
        let known = ["attestation", "issuance"].into_iter().filter_map(first);
        let ids: Vec<String> = known.chain(records.iter().cloned()).collect();
        let trust_path = self.folder.join("proofs/trust-policy");
        let log: LogForm = self.rest.get("/v1/log").await?;
        std::fs::write(&trust_path, &log.trust_policy).map_err(Failure::failed)?;
        let trust = TrustPolicy::parse(&log.trust_policy).map_err(Failure::failed)?;
        let mut last = String::new();
        for id in &ids {
            if RecordId::parse(id).is_some() {
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
        let more = format!("verify {last} --trust-policy {}", trust_path.display());
        let facts = json!({"proofs": ids});
        self.watch.reached("proofs_verified", &format!("proofs verified offline: {}", ids.len()), facts, &more)
    }
}

/// The rule that denied, its one unmet condition, which asks for hardware, and what was found instead.
fn for_hardware(record: &NodeEvent) -> Option<(String, &str, &str)> {
    let NodeEvent::Decided(decided) = record else { return None };
    let rule = decided.recorded.decision.rule.as_ref()?;
    let [Unmet { condition, found, .. }] = rule.unmet.as_slice() else { return None };
    let found = found.as_deref().filter(|found| *found == "false" && condition.contains("hw_attested"))?;
    Some((rule.place(), condition, found))
}
