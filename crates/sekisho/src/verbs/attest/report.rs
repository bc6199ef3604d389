//! What a verified attestation proves, for people and for programs.

use sekisho_evidence::node::{AppraisedRecord, FilesShown, TpmRecord};
use sekisho_types::{Digest, UnixTime};
use serde_json::{Value, json};

use crate::output::{or_dash, printable};

pub(super) fn described(record: &TpmRecord, proved: &AppraisedRecord, (sha256, at): (Digest, UnixTime)) -> Value {
    let tpm = proved.endorsement.as_ref().map(|tpm| {
        json!({
            "ek": tpm.spki.to_string(),
            "manufacturer": tpm.manufacturer,
            "model": tpm.model,
            "version": tpm.version,
        })
    });
    let (shown, entries) = match proved.files {
        FilesShown::All(entries) => ("all", entries),
        FilesShown::Later(entries) => ("later", entries),
        FilesShown::None => ("none", 0),
    };
    json!({
        "verified": true,
        "node": record.node.to_string(),
        "attestor": record.attestor,
        "attested_at": record.at.to_string(),
        "judged_at": at.to_string(),
        "evidence_sha256": sha256.to_string(),
        "tpm": tpm,
        "node_key": proved.key.as_str(),
        "secure_boot": proved.state.boot.as_ref().and_then(|boot| boot.secure_boot),
        "boot_events": proved.state.boot.as_ref().map(|boot| boot.event_count),
        "boot_image": proved.boot_image,
        "files": {"shown": shown, "entries": entries, "listed": proved.files_are_listed},
        "refused": record.refused,
    })
}

pub(super) fn text(record: &TpmRecord, proved: &AppraisedRecord, (sha256, at): (Digest, UnixTime)) -> String {
    let tpm = match &proved.endorsement {
        Some(tpm) => {
            let (manufacturer, model) = (printable(&tpm.manufacturer), printable(&tpm.model));
            format!("{} ({manufacturer}, model {model})", tpm.spki)
        }
        None => "not shown: a repeated attestation shows an attestation key only".to_owned(),
    };
    let boot = match &proved.state.boot {
        Some(boot) => {
            let secure = boot.secure_boot.map_or("not measured", |on| if on { "on" } else { "off" });
            format!("{} events give the quoted PCRs; Secure Boot {secure}", boot.event_count)
        }
        None => "no event log".to_owned(),
    };
    let listed = if proved.files_are_listed { ", each of the policy's list" } else { "" };
    let files = match proved.files {
        FilesShown::All(entries) => format!("{entries} entries since the boot{listed}"),
        FilesShown::Later(entries) => format!("{entries} entries, after those that the server had judged{listed}"),
        FilesShown::None => "the log is not in the file".to_owned(),
    };
    let mut lines = vec![
        format!("verified: {} attested by {} at {}", record.node, printable(&record.attestor), record.at),
        format!("judged at   {at}"),
        format!("evidence    {sha256}"),
        format!("TPM         {tpm}"),
        format!("node's key  {}", proved.key.as_str()),
        format!("boot        {boot}"),
        format!("image       {}", or_dash(proved.boot_image.as_deref())),
        format!("files       {files}"),
    ];
    if !proved.is_hardware {
        lines.push("danger      the TPM is a program: nothing here is rooted in hardware".to_owned());
    }
    if let Some(refused) = &record.refused {
        lines.push(format!("The server refused it: {}", printable(refused)));
    }
    lines.join("\n")
}
