//! A changed executable asks for the identity of the unchanged one.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hyper::Method;
use sekisho_api::{DecisionForm, DecisionsQuery, EntryForm};
use sekisho_disk::private_folder;
use sekisho_host::{file_digest, own_uid};
use sekisho_proto::node::{StatusRequest, inspect_client::InspectClient};
use sekisho_runtime::{instant, random_hex};
use sekisho_sdk::agent_channel;
use sekisho_types::SpiffeId;
use serde::Serialize;
use tokio::process::Command;

use super::patience::{LOOK_EVERY, PATIENCE};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::print;
use crate::progress::Progress;
use crate::reach;
use crate::rest::Rest;

/// Refusals among which the drill's own is looked for.
const NEWEST: u32 = 100;

/// What came of it. Times begin with the start of the changed executable.
#[derive(Serialize)]
struct Drilled {
    drill: &'static str,
    agent_id: String,
    refused_after_ms: u128,
    /// When the refusal was in the server's log.
    recorded_after_ms: u128,
    refusal: String,
}

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    let socket = global.agent_socket();
    let status = InspectClient::new(agent_channel(&socket)).status(StatusRequest {}).await;
    let agent_id = status.map_err(|status| reach::status(&socket, &status))?.into_inner().agent_id;
    let folder = Folder::new()?;
    let original = copy(&folder.0, "original", b"")?;
    let entry: EntryForm = rest.send(Method::POST, "/v1/entries", &entry(&original, &agent_id)?).await?;
    let drilled = tamper_binary(&rest, &socket, &folder.0, agent_id).await;
    // Whatever came of it.
    let id = entry.id.unwrap_or_default();
    let deleted = rest.delete(&format!("/v1/entries/{id}")).await;
    let drilled = drilled?;
    deleted.map_err(|failure| {
        Failure::failed(format!("the drill's entry was not deleted: {failure}; `sekisho entry delete {id}` does it"))
    })?;
    print(global.output, &drilled, || {
        format!(
            "changed binary: no identity after {} ms; on record after {} ms: {}\n",
            drilled.refused_after_ms, drilled.recorded_after_ms, drilled.refusal
        )
    })?;
    Ok(Exit::Ok)
}

/// A folder of this drill alone.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("sekisho-drill-{}", random_hex(16)));
        private_folder(&path).map_err(Failure::failed)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

fn entry(executable: &Path, agent_id: &str) -> Result<EntryForm, Failure> {
    let agent = SpiffeId::parse(agent_id).map_err(Failure::failed)?;
    let digest = file_digest(executable).map_err(Failure::failed)?;
    Ok(EntryForm {
        spiffe_id: format!("spiffe://{}/drill/{}", agent.trust_domain(), random_hex(8)),
        parent_id: agent_id.to_owned(),
        selectors: vec![format!("unix:uid:{}", own_uid()), format!("unix:sha256:{digest}")],
        ..Default::default()
    })
}

/// This program with bytes behind its end, which the kernel does not read when it runs it.
fn copy(folder: &Path, name: &str, more: &[u8]) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    let bytes = std::fs::read("/proc/self/exe").map_err(Failure::failed)?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, &[bytes.as_slice(), more].concat()));
    written.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Ok(path)
}

async fn tamper_binary(rest: &Rest, socket: &Path, folder: &Path, agent_id: String) -> Result<Drilled, Failure> {
    let original = folder.join("original");
    let _progress = Progress::of("waiting for the identity of the unchanged binary");
    let gets_one = async {
        // Its entry is on the way to the agent.
        while !fetch(&original, socket).await?.1 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok::<_, Failure>(())
    };
    let late = |_| Failure::failed("the unchanged binary gets no identity either; see `sekisho doctor`");
    tokio::time::timeout(PATIENCE, gets_one).await.map_err(late)??;
    let changed = copy(folder, "changed", b"!")?;
    let began = instant();
    let (pid, is_served) = fetch(&changed, socket).await?;
    let refused_after_ms = began.elapsed().as_millis();
    if is_served {
        let why = "the changed binary got an identity: an entry covers it without its digest; see `sekisho entry list`";
        return Err(Failure::new(Exit::Denied, why));
    }
    let recorded = async {
        loop {
            if let Some(id) = refusal_of(rest, pid).await? {
                return Ok::<_, Failure>(id);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let late = |_| Failure::new(Exit::Denied, "the refusal did not reach the server's log; see `sekisho doctor`");
    let refusal = tokio::time::timeout(PATIENCE, recorded).await.map_err(late)??;
    let recorded_after_ms = began.elapsed().as_millis();
    Ok(Drilled { drill: "tamper-binary", agent_id, refused_after_ms, recorded_after_ms, refusal })
}

/// Has a program ask for its identity; its process, and whether it got one.
async fn fetch(program: &Path, socket: &Path) -> Result<(i32, bool), Failure> {
    let mut command = Command::new(program);
    command.args(["svid", "fetch", "--agent-socket"]).arg(socket).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().map_err(|error| Failure::failed(format!("{}: {error}", program.display())))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    let ended = ended.map_err(|_| Failure::failed("the agent did not answer; see `sekisho doctor`"))?;
    Ok((pid, ended.map_err(Failure::failed)?.success()))
}

async fn refusal_of(rest: &Rest, pid: i32) -> Result<Option<String>, Failure> {
    let query = DecisionsQuery { effect: Some("refusal".to_owned()), before: None, limit: Some(NEWEST) };
    let refusals: Vec<DecisionForm> = rest.find("/v1/decisions", &query).await?;
    let ours = |row: &DecisionForm| row.read().is_ok_and(|event| event.pid() == Some(pid));
    Ok(refusals.into_iter().find(ours).map(|row| row.id))
}
