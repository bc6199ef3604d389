use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use sekisho_api::{TokenForm, TokenRequest, TokenRow};
use sekisho_runtime::seconds_in;
use sekisho_types::UnixTime;
use serde::Serialize;
use serde_json::json;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{Column, or_dash, print, table};
use crate::rest::Rest;
use crate::view::View;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Create a join token; it attests one agent, once
    #[command(alias = "add", after_help = "Example:\n  sekisho token create --agent-id db-1 --ttl 30m --file token")]
    Create(CreateArgs),
    /// List unused tokens by their ids
    #[command(alias = "ls", after_help = "Example:\n  sekisho token list")]
    List,
    /// Revoke a token that was not used
    #[command(alias = "delete", alias = "rm", after_help = "Example:\n  sekisho token revoke tok_0193ab4f")]
    Revoke {
        /// Its id, or a unique prefix of it
        #[arg(add = complete::tokens())]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name or SPIFFE ID of the agent; a host that joins again under the same ID keeps its entries. Default: a
    /// new ID
    #[arg(long, env = "SEKISHO_TOKEN_AGENT_ID")]
    agent_id: Option<String>,
    /// How long the token can be used (at most `7d`)
    #[arg(long, env = "SEKISHO_TOKEN_TTL", default_value = "10m")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(1..=604_800))]
    ttl: u32,
    /// Write the token to a file of mode 0600 instead of printing it; an earlier token in that file is replaced
    #[arg(long, env = "SEKISHO_TOKEN_FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, verb: TokenVerb) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    match verb {
        TokenVerb::Create(new) => create(global, &rest, new).await?,
        TokenVerb::List => {
            let listed: Vec<TokenRow> = rest.get("/v1/tokens").await?;
            let view = View::of(global, &rest).await;
            let columns: [Column<'_, TokenRow>; 3] = [
                ("ID", &|row| row.id.clone()),
                ("AGENT", &|row| or_dash(row.agent_id.as_deref().map(|id| view.spiffe_id(id)))),
                ("ENDS", &|row| view.left(UnixTime::from_millis(row.expires_at_ms))),
            ];
            print(global.output, &listed, || table(&listed, &columns))?;
        }
        TokenVerb::Revoke { id } => {
            let id = ids::token(&rest, &id).await?;
            rest.delete(&format!("/v1/tokens/{id}")).await?;
            print(global.output, &json!({"revoked": id}), || format!("revoked {id}"))?;
        }
    }
    Ok(Exit::Ok)
}

async fn create(global: &Global, rest: &Rest, new: CreateArgs) -> Result<(), Failure> {
    // Before a token is made for it.
    let file = new.file.map(|path| {
        if path.symlink_metadata().is_ok() && !holds_token(&path) {
            let said = format!("{} exists and holds no join token; name another file", path.display());
            return Err(Failure::failed(said));
        }
        let new = path.with_added_extension("new");
        let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", new.display()));
        new_file(&new).map(|file| (file, new.clone(), path.clone())).map_err(failed)
    });
    let file = file.transpose()?;
    let request = TokenRequest { ttl: new.ttl, token: None, agent_id: new.agent_id };
    let made = rest.send(Method::POST, "/v1/tokens", &request).await;
    let made: TokenForm = made.inspect_err(|_| {
        // An empty file is not a token.
        if let Some((_, new, _)) = &file {
            let _kept = std::fs::remove_file(new);
        }
    })?;
    let written = file.map(|(mut file, new, path)| {
        let written = file.write_all(made.token.as_bytes()).and_then(|()| std::fs::rename(&new, &path));
        written.map(|()| path.clone()).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
    });
    let file = written.transpose()?;
    let TokenForm { id, token, agent_id, expires_at_ms } = made;
    let token = file.is_none().then_some(token);
    let shown = Shown { id, token, file, agent_id, expires_at_ms };
    print(global.output, &shown, || {
        let token = shown.token.as_ref().map(|token| format!("token    {token}\n")).unwrap_or_default();
        let ends = UnixTime::from_millis(shown.expires_at_ms);
        format!("id       {}\n{token}agent id {}\nends     {ends}", shown.id, shown.agent_id)
    })
}

/// A token that was made: itself, or the file that it is in.
#[derive(Serialize)]
struct Shown {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    agent_id: String,
    expires_at_ms: i64,
}

/// A file that nothing has written to. One that a call left which did not end well is replaced.
fn new_file(path: &Path) -> std::io::Result<File> {
    if path.symlink_metadata().is_ok_and(|left| left.is_file()) {
        std::fs::remove_file(path)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Whether a file holds what this command writes: it may be replaced by a newer token, and nothing else may.
fn holds_token(path: &Path) -> bool {
    let plain = path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= 64);
    let text = std::fs::read(path).unwrap_or_default();
    plain && text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_calls_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.new");
        std::fs::write(&path, "half a tok").unwrap();
        new_file(&path).unwrap().write_all(b"t").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"t");
        // A link could lead anywhere.
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(new_file(&path).is_err());
    }
}
