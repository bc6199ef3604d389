use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Subcommand;
use hyper::Method;
use serde_json::json;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, text};
use crate::rest::Rest;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Create a join token; it attests one agent, once
    Create {
        /// Seconds for which it can be used
        #[arg(long, env = "SEKISHO_TOKEN_TTL", default_value_t = 600)]
        ttl: u32,
        /// Write it to a new file of mode 0600 instead of printing it
        #[arg(long, env = "SEKISHO_TOKEN_FILE")]
        file: Option<PathBuf>,
    },
}

pub(crate) async fn run(global: &Global, verb: TokenVerb) -> Result<Exit, Failure> {
    let TokenVerb::Create { ttl, file } = verb;
    let mut made = Rest::new(&global.server_socket()).send(Method::POST, "/v1/tokens", &json!({"ttl": ttl})).await?;
    let token = text(&made, "/token").to_owned();
    if let Some(path) = file {
        let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| file.write_all(token.as_bytes()));
        written.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        if let Some(members) = made.as_object_mut() {
            members.remove("token");
            members.insert("file".into(), json!(path));
        }
    }
    print(global.output, &made, || {
        let shown = if made.get("token").is_some() { format!("token    {token}\n") } else { String::new() };
        format!("{shown}agent id {}", text(&made, "/agent_id"))
    })?;
    Ok(Exit::Ok)
}
