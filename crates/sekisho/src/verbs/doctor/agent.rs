//! What the agent says of itself.

use std::path::Path;

use sekisho_proto::node::{StatusRequest, StatusResponse, inspect_client::InspectClient};
use sekisho_runtime::{duration_text, now};
use sekisho_sdk::agent_channel;

use super::check::Check;
use super::machine;
use crate::global::Global;
use crate::reach;

pub(super) async fn checks(global: &Global) -> Vec<Check> {
    let socket = global.agent_socket();
    let status = match InspectClient::new(agent_channel(&socket)).status(StatusRequest {}).await {
        Ok(status) => status.into_inner(),
        Err(status) => {
            let found = reach::status(&socket, &status).to_string();
            let fix = "start `sekisho agent`, or pass `--agent-socket`; one that does not start says why on stderr";
            return vec![Check::new("agent", Err(found), fix)];
        }
    };
    let mut checks = judged(&status, now().seconds());
    checks.push(machine::reachable("agent-socket", &socket));
    checks.push(machine::space("agent-disk", Path::new(&status.data_folder)));
    checks.extend(machine::files("agent-files", &socket));
    checks
}

fn judged(status: &StatusResponse, now: i64) -> Vec<Check> {
    let left = status.svid_expires_at - now;
    vec![
        Check::new("agent", Ok(status.agent_id.clone()), ""),
        Check::new(
            "agent-server",
            if status.connected {
                Ok(format!("connected to {}", status.server))
            } else {
                Err(format!("no connection to {}", status.server))
            },
            "check the server's address and that it runs; until then the agent serves what it holds",
        ),
        Check::new(
            "agent-changes",
            match (status.revision, status.required_revision) {
                (applied, required) if applied < required => {
                    Err(format!("new SVIDs require revision {required}, and the server's stream has brought {applied}"))
                }
                (applied, _) => Ok(format!("revision {applied} applied")),
            },
            "the agent opens its stream again by itself, and withholds new SVIDs until then; if this stays, look at \
                what is between agent and server: it lets calls pass and holds up a stream",
        ),
        Check::new(
            "agent-svid",
            if left > 0 {
                Ok(format!("its own SVID expires in {}", duration_text(left.unsigned_abs())))
            } else {
                Err(format!("its own SVID expired {} ago", duration_text(left.unsigned_abs())))
            },
            "an x509pop agent attests again by itself; a join-token agent needs a new token in its file: \
                `sekisho token create --agent-id <agent>`",
        ),
        Check::new(
            "agent-entries",
            match status.entries {
                0 => Err("none: no process of this machine gets an identity".into()),
                entries => Ok(format!("{entries} entries for this agent")),
            },
            "register its processes: `sekisho entry create --spiffe-id <ID> --parent-id <agent> --selector <selector>`",
        ),
        Check::new(
            "agent-spool",
            match status.lost_records {
                0 => Ok(format!("{} records wait", status.spooled_records)),
                lost => Err(format!("{lost} records were lost")),
            },
            "the spool is full, or one user asked too often: reconnect the server, raise `--spool-bytes`, see \
                `sekisho decision list --effect refusal`",
        ),
        Check::new("agent-cache", Ok(format!("sealed by {}", status.sealed_by)), ""),
        Check::new(
            "agent-dangers",
            if status.dangers.is_empty() { Ok("none in force".into()) } else { Err(status.dangers.join(", ")) },
            "start the agent without these settings; `sekisho agent --help` says what each of them gives up",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_found_and_named() {
        let good = StatusResponse { connected: true, entries: 1, svid_expires_at: 200, ..Default::default() };
        let failing = |status: StatusResponse| {
            let checks = judged(&status, 100);
            checks.iter().filter(|check| check.result.is_err()).map(|check| check.id).collect::<Vec<_>>()
        };
        assert!(failing(good.clone()).is_empty());
        assert_eq!(failing(StatusResponse { connected: false, ..good.clone() }), ["agent-server"]);
        assert_eq!(failing(StatusResponse { revision: 3, required_revision: 4, ..good.clone() }), ["agent-changes"]);
        assert_eq!(failing(StatusResponse { svid_expires_at: 50, ..good.clone() }), ["agent-svid"]);
        assert_eq!(failing(StatusResponse { entries: 0, ..good.clone() }), ["agent-entries"]);
        assert_eq!(failing(StatusResponse { lost_records: 1, ..good.clone() }), ["agent-spool"]);
        assert_eq!(failing(StatusResponse { dangers: vec!["danger_dumpable".into()], ..good }), ["agent-dangers"]);
    }
}
