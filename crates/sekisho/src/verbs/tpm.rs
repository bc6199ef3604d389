use clap::Subcommand;
use hyper::Method;
use sekisho_api::{TpmRef, TpmRow};
use sekisho_types::UnixTime;
use serde_json::json;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{Column, or_dash, print, table};
use crate::rest::{Rest, with_query};
use crate::view::View;

/// Of a hash by which a TPM is allowed.
const LEAST_DIGITS: usize = 16;

#[derive(Debug, Subcommand)]
pub(crate) enum TpmVerb {
    /// List TPMs by their endorsement keys: those of agents, those that were allowed, and those that wait
    #[command(alias = "ls", after_help = "Example:\n  sekisho tpm list")]
    List,
    /// Allow a TPM for which no configured authority vouches; compare its key with the one on the machine first
    #[command(after_help = "Example:\n  sekisho tpm approve 5f0c9d21a4e7b8c3")]
    Approve {
        /// SHA-256 of its endorsement key, or at least 16 digits of one that is listed
        #[arg(add = complete::tpms())]
        ek: String,
    },
    /// Take an approval back; the agent of that TPM is evicted
    #[command(alias = "delete", alias = "rm", after_help = "Example:\n  sekisho tpm revoke 5f0c9d21")]
    Revoke {
        /// SHA-256 of its endorsement key, or a unique prefix of it
        #[arg(add = complete::tpms())]
        ek: String,
    },
}

pub(crate) async fn run(global: &Global, verb: TpmVerb) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    match verb {
        TpmVerb::List => {
            let listed: Vec<TpmRow> = rest.get("/v1/tpms").await?;
            let view = View::of(global, &rest).await;
            let columns: [Column<'_, TpmRow>; 5] = [
                ("ENDORSEMENT KEY", &|row| row.ek.clone()),
                ("STATE", &|row| state(row).to_owned()),
                ("AGENT", &|row| or_dash(row.agent_id.as_deref().map(|id| view.spiffe_id(id)))),
                ("STATES ABOUT ITSELF", &|row| or_dash(Some(row.about.clone()).filter(|about| !about.is_empty()))),
                ("SEEN", &|row| or_dash((row.seen_at_ms > 0).then(|| seen(row)))),
            ];
            print(global.output, &listed, || table(&listed, &columns))?;
        }
        TpmVerb::Approve { ek } => {
            if ek.len() < LEAST_DIGITS {
                let why = "anyone can make a key whose hash begins like another one; give the whole hash of the \
                    endorsement key, or at least 16 digits of it, as the machine shows it";
                return Err(Failure::new(Exit::Usage, why));
            }
            let ek = ids::tpm(&rest, &ek).await?;
            rest.order(Method::POST, "/v1/tpms", &TpmRef { ek: ek.clone() }).await?;
            print(global.output, &json!({"approved": ek}), || format!("approved {ek}"))?;
        }
        TpmVerb::Revoke { ek } => {
            let ek = ids::tpm(&rest, &ek).await?;
            rest.delete(&with_query("/v1/tpms", &TpmRef { ek: ek.clone() })?).await?;
            print(global.output, &json!({"revoked": ek}), || format!("revoked {ek}"))?;
        }
    }
    Ok(Exit::Ok)
}

const fn state(row: &TpmRow) -> &'static str {
    match (&row.approved_by, row.revoked_at_ms, &row.agent_id) {
        (Some(_), ..) => "approved",
        (None, Some(_), _) => "revoked",
        (None, None, Some(_)) => "vouched for",
        (None, None, None) => "waits",
    }
}

fn seen(row: &TpmRow) -> String {
    UnixTime::from_millis(row.seen_at_ms).to_string()
}
