//! Checks, each with what was found and what to do.

use sekisho_proto::node::{StatusRequest, inspect_client::InspectClient};
use sekisho_runtime::now;
use sekisho_sdk::agent_channel;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, table};
use crate::rest::Rest;

struct Check {
    id: &'static str,
    result: Result<String, String>,
    fix: &'static str,
}

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let mut checks = vec![kernel()];
    checks.extend(server(global).await);
    checks.extend(agent(global).await);
    let row = |check: &Check| {
        let (ok, found) = match &check.result {
            Ok(found) => (true, found),
            Err(found) => (false, found),
        };
        json!({"id": check.id, "ok": ok, "found": found, "fix": if ok { Value::Null } else { check.fix.into() }})
    };
    let rows: Vec<Value> = checks.iter().map(row).collect();
    let columns = [("CHECK", "/id"), ("OK", "/ok"), ("FOUND", "/found"), ("FIX", "/fix")];
    print(global.output, &json!(rows), || table(&rows, &columns))?;
    Ok(if checks.iter().all(|check| check.result.is_ok()) { Exit::Ok } else { Exit::Failed })
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let shown = release.trim().to_owned();
    let result = match version {
        (6.., 5..) | (7.., _) => Ok(format!("{shown}: peers are held by SO_PEERPIDFD")),
        (5, 3..) | (6, _) => Ok(format!("{shown}: peers are held by pidfd_open, with the start time checked again")),
        _ => Err(shown),
    };
    Check { id: "kernel", result, fix: "Linux 5.3 or later is needed to hold processes by pidfd" }
}

async fn server(global: &Global) -> Vec<Check> {
    let health = match Rest::new(&global.server_socket()).get("/v1/health").await {
        Ok(health) => health,
        Err(failure) => {
            return vec![Check {
                id: "server",
                result: Err(failure.to_string()),
                fix: "start `sekisho server`, or pass `--server-socket`",
            }];
        }
    };
    let number = |name: &str| health.get(name).and_then(Value::as_i64);
    let authority = number("authority_ends").map_or(0, |ends| ends - now().seconds());
    let policy = number("policy_revision");
    vec![
        Check { id: "server", result: Ok(format!("log of {} entries", number("log_size").unwrap_or(0))), fix: "" },
        Check {
            id: "authority",
            result: if authority > 0 {
                Ok(format!("signs for {authority} s more"))
            } else {
                Err("no authority can sign".into())
            },
            fix: "the server's log says why authorities were not rotated",
        },
        Check {
            id: "policy",
            result: policy
                .map(|revision| format!("revision {revision}"))
                .ok_or_else(|| "none: every request is denied".into()),
            fix: "sekisho policy apply <folder>",
        },
    ]
}

async fn agent(global: &Global) -> Vec<Check> {
    let socket = global.agent_socket();
    let status = InspectClient::new(agent_channel(&socket)).status(StatusRequest {}).await;
    let status = match status {
        Ok(status) => status.into_inner(),
        Err(status) => {
            let found = Failure::status(&socket, &status).to_string();
            return vec![Check { id: "agent", result: Err(found), fix: "start `sekisho agent`, or pass `--agent`" }];
        }
    };
    let connected = if status.connected {
        Ok(format!("connected to {}", status.server))
    } else {
        Err(format!("no connection to {}", status.server))
    };
    let lost = status.lost_records;
    vec![
        Check { id: "agent", result: Ok(status.agent_id), fix: "" },
        Check {
            id: "agent-server",
            result: connected,
            fix: "check the server's address and that it runs; what is held goes on serving",
        },
        Check {
            id: "agent-spool",
            result: if lost == 0 {
                Ok(format!("{} records wait", status.spooled_records))
            } else {
                Err(format!("{lost} records were lost"))
            },
            fix: "the spool is full: reconnect the server, or raise `--spool-bytes`",
        },
        Check { id: "agent-cache", result: Ok(format!("sealed by {}", status.sealed_by)), fix: "" },
    ]
}
