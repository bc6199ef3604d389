use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{Format, line, print};
use crate::rest::Rest;

#[derive(Debug, Subcommand)]
pub(crate) enum BundleVerb {
    /// Show the trust bundle
    Show {
        /// What to show of it
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
    let bundle = Rest::new(&global.server_socket()).get("/v1/bundle").await?;
    let texts = |name: &str| -> Vec<String> {
        let items = bundle.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    if global.output != Format::Table {
        return print(global.output, &bundle, String::new).map(|()| Exit::Ok);
    }
    match form {
        Form::Spiffe => line(&bundle.get("bundle").map(ToString::to_string).unwrap_or_default())?,
        // Those that a server may show at first contact, now and after the next rotation.
        Form::Fingerprint => {
            let shown = authorities(&bundle).filter(|(slot, _)| *slot != "old");
            line(&shown.map(|(_, fingerprint)| fingerprint).collect::<Vec<_>>().join("\n"))?;
        }
        Form::Pem => {
            let der = texts("x509_authorities").into_iter().filter_map(|text| hex::decode(text).ok());
            // Text between certificates is for people (RFC 7468 §5.2).
            let shown = der
                .zip(authorities(&bundle))
                .map(|(der, (slot, fingerprint))| format!("# {slot}, SHA-256 {fingerprint}\n{}", pem(&der)));
            line(shown.collect::<String>().trim_end())?;
        }
    }
    Ok(Exit::Ok)
}

/// Where each authority stands, and its fingerprint; the active one first, as in the bundle.
fn authorities(bundle: &Value) -> impl Iterator<Item = (&str, &str)> {
    let items = bundle.get("authorities").and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| Some((item.get("slot")?.as_str()?, item.get("fingerprint")?.as_str()?)))
}

/// A certificate in PEM (RFC 7468).
pub(crate) fn pem(der: &[u8]) -> String {
    let encoded = BASE64.encode(der);
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
