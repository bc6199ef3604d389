//! What the server says of itself.

use std::path::Path;

use sekisho_api::{EntriesQuery, EntryList, HealthForm, TaskForm};
use sekisho_runtime::{duration_text, now};

use super::check::Check;
use super::machine;
use crate::global::Global;
use crate::rest::Rest;

/// A clock that is further off than this makes evidence stale (60 s) sooner or later.
const CLOCK_SLACK_MS: i64 = 5000;
/// Leaves that wait for longer than a moment are not taken by the ledger.
const WAITING_LEAVES: u64 = 1000;

/// Checks of each trust domain of the server: of the one whose socket was named, and of those that it says are beside
/// it.
pub(super) async fn checks(global: &Global) -> Vec<Check> {
    let socket = global.server_socket();
    let (mut checks, health) = of_domain(&socket).await;
    let Some(health) = health.filter(|health| !health.beside.is_empty()) else { return checks };
    checks = checks.into_iter().map(|check| check.of(&health.trust_domain)).collect();
    for (name, socket) in &health.beside {
        let (of_other, _) = of_domain(Path::new(socket)).await;
        checks.extend(of_other.into_iter().map(|check| check.of(name)));
    }
    checks
}

async fn of_domain(socket: &Path) -> (Vec<Check>, Option<HealthForm>) {
    let asked = now().millis();
    let health: HealthForm = match Rest::new(socket).get("/v1/health").await {
        Ok(health) => health,
        Err(failure) => {
            let fix =
                "start `sekisho server`, or pass `--server-socket`; a server that does not start says why on stderr";
            return (vec![Check::new("server", Err(failure.to_string()), fix)], None);
        }
    };
    let mut checks = judged(&health, asked, now().millis());
    let ready = Rest::new(socket).get_text("/readyz").await;
    checks.push(Check::new(
        "server-ready",
        ready.map(|_| "it can attest, issue and record".to_owned()).map_err(|failure| failure.to_string()),
        "the server's log says what fails; most often the disk is full",
    ));
    checks.push(machine::space("server-disk", socket.parent().unwrap_or(Path::new("/"))));
    let query = EntriesQuery { danger_any_user: Some(true), limit: Some(1000), ..Default::default() };
    let any_user = Rest::new(socket).find("/v1/entries", &query).await;
    checks.push(Check::new(
        "entries",
        any_user.map_err(|failure| failure.to_string()).and_then(|page| for_any_user(&page)),
        "sekisho entry update <id> --add-selector unix:uid:<number>",
    ));
    checks.extend(machine::files("server-files", socket));
    (checks, Some(health))
}

fn judged(health: &HealthForm, asked: i64, heard: i64) -> Vec<Check> {
    let authority = health.authority_ends_ms.map_or(0, |ends| (ends - heard) / 1000);
    vec![
        Check::new("server", Ok(format!("log of {} leaves", health.log_size)), ""),
        Check::new(
            "authority",
            if authority > 0 {
                Ok(format!("can sign for {}", duration_text(authority.unsigned_abs())))
            } else {
                Err("no authority can sign".into())
            },
            "the server's log says why authorities were not rotated",
        ),
        Check::new(
            "policy",
            health
                .policy_revision
                .map(|revision| format!("revision {revision}"))
                .ok_or_else(|| "none: every request is denied".into()),
            "sekisho policy apply <folder>",
        ),
        Check::new(
            "policy-folder",
            match &health.policy_folder_refused {
                None => Ok("nothing in it is refused".to_owned()),
                Some(reason) => Err(format!("not taken, an older revision stays in force: {reason}")),
            },
            "correct the file, and see with `sekisho policy check <folder>` and `sekisho policy test <folder>`",
        ),
        Check::new(
            "policy-in-force",
            in_force(health),
            "the sidecar's log says whether the revision does not load, or its agent has lost the server",
        ),
        Check::new(
            "clock",
            clock(health.now_ms, asked, heard),
            "set both clocks by NTP: evidence is good for 60 s, and SVIDs begin and end by the clock",
        ),
        Check::new(
            "believed-clock",
            believed(health.believed_ms, health.now_ms),
            "nothing is deleted by a clock that jumped ahead. If it is right, belief follows by a day an hour; if it \
                is wrong, stop the server, set the clock and start again",
        ),
        Check::new(
            "log-time",
            log_time(health.log_time_ms, heard),
            "the clock was ahead once: leaves carry that time until it is reached; nothing is lost",
        ),
    ]
    .into_iter()
    .chain(running(health))
    .collect()
}

/// The log, and the programs around it.
fn running(health: &HealthForm) -> Vec<Check> {
    vec![
        Check::new(
            "log",
            log_damage(health),
            "run `sekisho ledger fsck`, which names all damaged files and leaves, and restore the log from a backup",
        ),
        Check::new(
            "server-dangers",
            if health.dangers.is_empty() { Ok("none in force".into()) } else { Err(health.dangers.join(", ")) },
            "start the server again without these switches once they are not needed any more",
        ),
        Check::new(
            "tasks",
            tasks(health),
            "the server's log names the task that failed and why; report it as a defect with that log",
        ),
        Check::new(
            "outbox",
            match health.outbox {
                few @ ..WAITING_LEAVES => Ok(format!("{few} leaves wait for the ledger")),
                many => Err(format!("{many} leaves wait for the ledger")),
            },
            "the ledger does not take leaves: the server's log says why, most often a full disk",
        ),
    ]
}

/// Whether the server's own tasks run, without having failed since the start.
fn tasks(health: &HealthForm) -> Result<String, String> {
    let failed = |(name, task): (&String, &TaskForm)| match (task.running, task.restarts) {
        (true, 0) => None,
        (true, restarts) => Some(format!("{name} was started again {restarts} times")),
        (false, _) => Some(format!("{name} is down and will be started again")),
    };
    let failed: Vec<String> = health.tasks.iter().filter_map(failed).collect();
    if failed.is_empty() { Ok(format!("all {} run", health.tasks.len())) } else { Err(failed.join(", ")) }
}

/// Entries that other users' processes can take, as SPIRE's clients may create them.
fn for_any_user(page: &EntryList) -> Result<String, String> {
    let ids: Vec<&str> = page.entries.iter().filter_map(|entry| entry.id.as_deref()).take(5).collect();
    if ids.is_empty() {
        return Ok("each names a user, group or container".into());
    }
    let all = if page.next.is_some() { "more than 1000" } else { &page.entries.len().to_string() };
    Err(format!(
        "danger_any_user: {all} name an executable but no user, group or container, for example \
        {}",
        ids.join(", ")
    ))
}

/// Which sidecars run another revision than the server's.
fn in_force(health: &HealthForm) -> Result<String, String> {
    let newest = health.policy_revision.unwrap_or(0);
    let sidecars = health.policy_in_force.iter();
    let all: Vec<(&str, &str, u64)> = sidecars
        .flat_map(|(id, nodes)| nodes.iter().map(|(node, revision)| (id.as_str(), node.as_str(), *revision)))
        .collect();
    let behind = all.iter().filter(|(.., revision)| *revision < newest);
    let behind: Vec<String> = behind.map(|(id, node, revision)| format!("{id} runs {revision} at {node}")).collect();
    let count = all.len();
    if behind.is_empty() { Ok(format!("in all of {count} sidecars that report")) } else { Err(behind.join(", ")) }
}

fn log_damage(health: &HealthForm) -> Result<String, String> {
    let damage = &health.log_damage;
    if damage.is_empty() { Ok("no damage found on disk".into()) } else { Err(damage.join("; ")) }
}

fn clock(server: i64, asked: i64, heard: i64) -> Result<String, String> {
    let off = if server < asked { server - asked } else { (server - heard).max(0) };
    let found = format!("the server's clock and this machine's differ by {}", milliseconds(off));
    if off.abs() > CLOCK_SLACK_MS { Err(found) } else { Ok(found) }
}

fn milliseconds(ms: i64) -> String {
    let ms = ms.unsigned_abs();
    if ms < 1000 { format!("{ms} ms") } else { duration_text(ms / 1000) }
}

/// A clock that is more than a day ahead of what the server believes has jumped.
fn believed(believed: i64, server: i64) -> Result<String, String> {
    let ahead = (server - believed) / 1000;
    if ahead > 24 * 3600 {
        Err(format!("the clock jumped {} ahead", duration_text(ahead.unsigned_abs())))
    } else {
        Ok("as the clock shows it".into())
    }
}

fn log_time(log: i64, heard: i64) -> Result<String, String> {
    let ahead = log - heard;
    if ahead > CLOCK_SLACK_MS {
        Err(format!("{} ahead of the clock", milliseconds(ahead)))
    } else {
        Ok("follows the clock".into())
    }
}

#[cfg(test)]
mod tests {
    use sekisho_api::EntryForm;
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_fault_is_found_and_named() {
        let good = serde_json::json!({
            "trust_domain": "td", "version": "1", "revision": 1, "entries": 1, "agents": 1,
            "policy_folder_refused": null,
            "believed_ms": 1_000_500, "tasks": {}, "log_damage": [], "log_size": 9,
            "authority_ends_ms": 2_000_000, "policy_revision": 3,
            "policy_in_force": {"spiffe://td/a": {"spiffe://td/spire/agent/1": 3, "spiffe://td/spire/agent/2": 3}},
            "now_ms": 1_000_500, "log_time_ms": 1_000_400, "outbox": 0,
        });
        let failing = |member: &str, value: Value| {
            let mut health = good.clone();
            health[member] = value;
            let checks = judged(&serde_json::from_value(health).unwrap(), 1_000_000, 1_001_000);
            checks.iter().filter(|check| check.result.is_err()).map(|check| check.id).collect::<Vec<_>>()
        };
        assert!(failing("log_size", 10.into()).is_empty());
        assert_eq!(failing("authority_ends_ms", 1_000_000.into()), ["authority"]);
        assert_eq!(failing("policy_revision", Value::Null), ["policy"]);
        assert_eq!(failing("policy_revision", 4.into()), ["policy-in-force"]);
        let one_node_behind =
            serde_json::json!({"spiffe://td/a": {"spiffe://td/spire/agent/1": 3, "spiffe://td/spire/agent/2": 2}});
        assert_eq!(failing("policy_in_force", one_node_behind), ["policy-in-force"]);
        assert_eq!(failing("policy_folder_refused", "a.rego:3: no".into()), ["policy-folder"]);
        assert_eq!(failing("now_ms", 4_600_000.into()), ["clock"]);
        assert_eq!(failing("now_ms", 900_000.into()), ["clock"]);
        assert_eq!(failing("log_time_ms", 4_600_000.into()), ["log-time"]);
        assert_eq!(failing("believed_ms", (-100_000_000).into()), ["believed-clock"]);
        assert_eq!(failing("outbox", 5000.into()), ["outbox"]);
        let task =
            |running: bool, restarts: u64| serde_json::json!({"scrub": {"running": running, "restarts": restarts}});
        assert!(failing("tasks", task(true, 0)).is_empty());
        assert_eq!(failing("tasks", task(true, 2)), ["tasks"]);
        assert_eq!(failing("tasks", task(false, 0)), ["tasks"]);
        assert_eq!(failing("dangers", serde_json::json!(["danger_accept_older_log"])), ["server-dangers"]);
        assert_eq!(failing("log_damage", serde_json::json!(["tile/0/001: it is missing"])), ["log"]);
        let page = |ids: &[&str]| {
            let entry = |id: &&str| EntryForm { id: Some((*id).to_owned()), ..Default::default() };
            EntryList { entries: ids.iter().map(entry).collect(), next: None }
        };
        assert!(for_any_user(&page(&[])).is_ok());
        let found = for_any_user(&page(&["ent_1"]));
        assert!(found.is_err_and(|said| said.contains("1 name an executable but") && said.contains("ent_1")));
    }
}
