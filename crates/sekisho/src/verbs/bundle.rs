use clap::{Subcommand, ValueEnum};
use sekisho_api::{AuthorityForm, BundleForm};
use sekisho_identity::pem;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{line, print};
use crate::rest::Rest;

#[derive(Debug, Subcommand)]
pub(crate) enum BundleVerb {
    /// Show the trust bundle
    #[command(alias = "get", after_help = "Example:\n  sekisho bundle show --form fingerprint")]
    Show {
        /// The form to show it in
        #[arg(long, env = "SEKISHO_BUNDLE_FORM", value_enum, default_value_t = Form::Pem)]
        form: Form,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// X.509 authorities
    Pem,
    /// SPIFFE bundle document
    Spiffe,
    /// SHA-256 of each X.509 authority, for the agent's `--fingerprint`
    Fingerprint,
}

pub(crate) async fn run(global: &Global, verb: BundleVerb) -> Result<Exit, Failure> {
    let BundleVerb::Show { form } = verb;
    let bundle: BundleForm = Rest::of(global).get("/v1/bundle").await?;
    if !global.output.is_for_people() {
        return print(global.output, &bundle, String::new).map(|()| Exit::Ok);
    }
    match form {
        Form::Spiffe => line(&bundle.bundle.to_string())?,
        // Those that a server may show at first contact, now and after the next rotation.
        Form::Fingerprint => {
            let shown = bundle.authorities.iter().filter(|authority| authority.slot != "old");
            line(&shown.map(|authority| authority.fingerprint.as_str()).collect::<Vec<_>>().join("\n"))?;
        }
        Form::Pem => {
            let der = bundle.x509_authorities.iter().filter_map(|text| hex::decode(text).ok());
            // Text between certificates is for people (RFC 7468 §5.2).
            let shown = der.zip(&bundle.authorities).map(|(der, AuthorityForm { slot, fingerprint, .. })| {
                format!("# {slot}, SHA-256 {fingerprint}\n{}", pem("CERTIFICATE", &der))
            });
            line(shown.collect::<String>().trim_end())?;
        }
    }
    Ok(Exit::Ok)
}
