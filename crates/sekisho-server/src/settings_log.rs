//! What operators set stands in the log: before and after, when it is not what it was at the last start.

use std::path::Path;

use sekisho_disk::write_atomic;
use sekisho_events::{SettingList, SettingsChanged};
use sekisho_ledger::sha256_of;

use crate::domain::{Domain, Settings};
use crate::journal::{JournalError, Written};

/// In the server's folder: the settings of the last start. Without it, the next leaf says what they are and not what
/// they were.
const FILE: &str = "settings";

/// Records the settings, unless they are those of the last start.
pub(crate) async fn record(domain: &Domain, folder: &Path) -> Result<(), JournalError> {
    let path = folder.join(FILE);
    let after = list(&domain.settings, domain.log.witnesses.is_some());
    let before = std::fs::read_to_string(&path).ok().and_then(|text| SettingList::parse(text.trim_end()));
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    let text = format!("{after}\n");
    let revision = domain.view.read(|state| state.revision);
    let leaf = domain.journal().leaf(SettingsChanged { after, before }).at_state(revision);
    domain.journal().append_leaf(Written::of(leaf)?).await?;
    // After its leaf: a crash in between records it again.
    if let Err(error) = write_atomic(&path, text.as_bytes()) {
        tracing::error!(%error, "the file of the last settings was not written; the next start records them again");
    }
    Ok(())
}

/// What an auditor asks of a server: how long identities live, what is kept, who attests nodes, and who sees the log.
fn list(settings: &Settings, has_witnesses: bool) -> SettingList {
    // The log does not say where operators of this machine connect.
    let Settings {
        socket: _,
        policy_folder: _,
        publish_log,
        alert_webhook,
        ca_ttl_seconds,
        x509_ttl_seconds,
        jwt_ttl_seconds,
        agent_ttl_seconds,
        attest_every_seconds,
        tpm_approval,
        retention,
        anchors,
        boot_policy,
    } = settings;
    let openings = retention.openings_days.map_or_else(|| "never".to_owned(), |days| days.to_string());
    let plain = [
        ("agent_ttl_seconds", agent_ttl_seconds.to_string()),
        ("alert_webhook", alert_webhook.to_string()),
        ("attest_every_seconds", attest_every_seconds.to_string()),
        ("ca_ttl_seconds", ca_ttl_seconds.to_string()),
        ("jwt_ttl_seconds", jwt_ttl_seconds.to_string()),
        ("keep_decisions_days", retention.decisions_days.to_string()),
        ("keep_ended_days", retention.ended_days.to_string()),
        ("keep_openings_days", openings),
        ("publish_log", publish_log.to_string()),
        ("tpm_approval", tpm_approval.to_string()),
        ("witnesses", has_witnesses.to_string()),
        ("x509_ttl_seconds", x509_ttl_seconds.to_string()),
    ];
    // A node attestor by the hash of the certificates that it trusts.
    let trusted = anchors.all().map(|(attestor, all)| (attestor, hex::encode(sha256_of(&all.concat()))));
    let boot_policy = boot_policy.iter().map(|policy| ("boot_policy", policy.digest.to_string()));
    SettingList::of(plain.into_iter().chain(boot_policy).chain(trusted))
}

#[cfg(test)]
mod tests {
    use sekisho_events::Event;

    use super::*;
    use crate::testbed::Testbed;

    #[tokio::test]
    async fn law_l16_settings_are_on_record_when_they_change() {
        let (bed, folder) = (Testbed::new().await, tempfile::tempdir().unwrap());
        let recorded = async || {
            let settings = |event| match event {
                Event::SettingsChanged(changed) => Some(changed),
                _ => None,
            };
            bed.recorded().await.into_iter().filter_map(settings).collect::<Vec<_>>()
        };
        record(&bed.domain, folder.path()).await.unwrap();
        record(&bed.domain, folder.path()).await.unwrap();
        let [first] = recorded().await.try_into().unwrap();
        assert_eq!((first.before, first.after.get("x509_ttl_seconds")), (None, Some("900")));
        // As an earlier start had it.
        std::fs::write(folder.path().join(FILE), "x509_ttl_seconds=60\n").unwrap();
        record(&bed.domain, folder.path()).await.unwrap();
        let [_, second] = recorded().await.try_into().unwrap();
        assert_eq!(second.before.unwrap().get("x509_ttl_seconds"), Some("60"));
        assert_eq!(second.after, first.after);
    }
}
