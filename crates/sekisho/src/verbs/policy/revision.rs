//! `sekisho policy apply` and `show`: the revision in force at a server.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use sekisho_api::{AppliedForm, ApplyRequest, PolicyFileForm, PolicyForm};
use sekisho_policy::Source;

use super::files::read;
use crate::exit::{Exit, Failure};
use crate::global::{Global, ServerSocket};
use crate::output::print;
use crate::rest::Rest;

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Folder with the `.rego` files and their tests
    folder: PathBuf,
    #[command(flatten)]
    asks: ServerSocket,
}

pub(super) async fn apply(mut global: Global, args: ApplyArgs) -> Result<Exit, Failure> {
    global.server_socket = args.asks.server_socket;
    // With their tests, which the server runs before it takes them.
    let files = read(&args.folder, true)?.into_iter().map(|Source { name, text }| PolicyFileForm { name, text });
    let request = ApplyRequest { files: files.collect() };
    let applied: AppliedForm = Rest::of(&global).send(Method::PUT, "/v1/policy", &request).await?;
    print(global.output, &applied, || format!("revision {}", applied.revision))?;
    Ok(Exit::Ok)
}

pub(super) async fn show(mut global: Global, asks: ServerSocket) -> Result<Exit, Failure> {
    global.server_socket = asks.server_socket;
    let shown: PolicyForm = Rest::of(&global).get("/v1/policy").await?;
    print(global.output, &shown, || {
        let whole = |file: &PolicyFileForm| format!("# {}\n{}", file.name, file.text);
        format!("# revision {}\n{}", shown.revision, shown.files.iter().map(whole).collect::<String>())
    })?;
    Ok(Exit::Ok)
}
