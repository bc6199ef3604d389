//! The sample service without its sidecar, under rules of the network in the kernel.

use std::process::Stdio;
use std::time::Duration;

use sekisho_kernel::records::PointRecord;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use super::job::{AGENT, Job, TRANSACTIONS};
use super::process::{Roles, strings, wait_for};
use crate::exit::Failure;
use crate::network::refuse_here;

/// The policy allows it nothing.
const REPORTING: &str = "spiffe://prod.internal/ns/finance/sa/reporting";

/// Who calls past a sidecar then meets that of the service: mTLS, and the policy for each request.
const NOT_ENFORCED: &str = "not enforced by the kernel here: connections past the sidecars.";

/// How soon a refusal is in the receipts.
const RECORDED: Duration = Duration::from_secs(10);

/// A workload as `network list` shows it.
#[derive(Deserialize)]
struct Listed {
    spiffe_id: String,
    holder: u32,
    kernel: String,
    not_enforced: Vec<String>,
    rules: Vec<ListedRule>,
}

#[derive(Deserialize)]
struct ListedRule {
    rule: String,
    state: String,
    denied: u64,
    map: u32,
    digest: String,
    points: Vec<PointRecord>,
}

/// What the service prints of a call that fails.
#[derive(Deserialize)]
struct Failed {
    error: String,
}

impl Job<'_> {
    /// A service whose identity may not call `transactions` calls it, past all sidecars.
    pub(super) async fn refused_by_kernel(&self, roles: &mut Roles, agent_id: &str, peer: &str) -> Result<(), Failure> {
        if let Err(lacking) = refuse_here() {
            self.watch.note(&format!("{NOT_ENFORCED} {lacking}"));
            return Ok(());
        }
        let own = std::env::current_exe().map_err(Failure::failed)?;
        self.put_entry(Self::entry_of(REPORTING, &own, agent_id)?).await?;
        let endpoints = self.folder.join("run/endpoints.yaml");
        let (address, port) = peer
            .rsplit_once(':')
            .ok_or_else(|| Failure::failed(format!("no port in the address of a peer: {peer}")))?;
        let known = json!({"endpoints": [
            {"spiffe_id": TRANSACTIONS, "address": address, "protocol": "tcp", "port": port.parse::<u16>().ok()},
        ]});
        std::fs::write(&endpoints, known.to_string()).map_err(Failure::failed)?;
        let (agent, policy) = (self.path(&format!("{AGENT}/agent.sock")), self.folder.policy().display().to_string());
        let service = self.services.join("payment-gateway").display().to_string();
        let endpoints = endpoints.display().to_string();
        let mut arguments = strings(&["exec", "--agent-socket", &agent, "--spiffe-id", REPORTING]);
        arguments.extend(strings(&["--network-policy", &policy, "--endpoints", &endpoints, "--", &service]));
        let environment = [("TRANSACTIONS_ADDRESS", peer.to_owned()), ("INTERVAL_SECONDS", "60".to_owned())];
        let mut output = roles.start("reporting", &arguments, &environment, &self.folder.logs())?;
        let what = "the connection that the kernel refuses";
        let error = wait_for(&mut output, what, |line| Some(serde_json::from_str::<Failed>(line).ok()?.error)).await;
        match error {
            Ok(error) => self.show_refused(&error).await?,
            // A policy that was edited may not be one for the kernel.
            Err(failure) => self.watch.note(&format!("{NOT_ENFORCED} {failure}")),
        }
        roles.end_one("reporting").await;
        Ok(())
    }

    /// The receipt of the rule that refused.
    async fn show_refused(&self, error: &str) -> Result<(), Failure> {
        let look = async {
            loop {
                if let Some(found) = self.refused().await? {
                    return Ok(found);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let late = |_| Failure::failed(format!("the call failed ({error}), and no rule in the kernel refused it"));
        let found: Result<(Listed, ListedRule), Failure> = tokio::time::timeout(RECORDED, look).await.map_err(late)?;
        let (own, rule) = found?;
        let point = rule.points.first();
        let program = point.map(|point| format!("{} tag {} link {}", point.hook, point.tag, point.link));
        let ListedRule { rule, state, denied, map, digest, points } = rule;
        let shown = format!(
            "connection refused by the kernel: rule `{rule}`, program {}, map {map} digest {digest}, Linux {}",
            program.unwrap_or_default(),
            own.kernel
        );
        let facts = json!({
            "rule": rule, "state": state, "denied": denied, "points": points, "map": map, "digest": digest,
            "kernel": own.kernel, "error": error, "not_enforced": own.not_enforced,
        });
        self.watch.reached("kernel_refused", &shown, facts, "selftest bypass")
    }

    /// The workload, and its rule that refused a flow.
    async fn refused(&self) -> Result<Option<(Listed, ListedRule)>, Failure> {
        let own = std::env::current_exe().map_err(Failure::failed)?;
        let mut list = Command::new(own);
        list.args(["network", "list", "-o", "json"]).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let listed = list.output().await.map_err(Failure::failed)?;
        let workloads: Vec<Listed> = serde_json::from_slice(&listed.stdout).map_err(Failure::failed)?;
        let ours = |workload: &Listed| workload.spiffe_id == REPORTING && self.started(workload.holder);
        let Some(mut own) = workloads.into_iter().find(ours) else { return Ok(None) };
        let refused = own.rules.iter().position(|rule| rule.denied > 0);
        Ok(refused.map(|at| own.rules.swap_remove(at)).map(|rule| (own, rule)))
    }

    /// Whether a process was started by this `dev`: others may run on the machine.
    fn started(&self, pid: u32) -> bool {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let folder = self.path(AGENT).into_bytes();
        line.windows(folder.len()).any(|part| part == folder)
    }
}
