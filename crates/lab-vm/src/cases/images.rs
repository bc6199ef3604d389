//! What is booted: the approved image, a changed one, an older one, a signed one.

use serde_json::{Value, json};

use crate::evidence::Evidence;
use crate::image::Image;
use crate::lab::Lab;
use crate::machine::{Firmware, Machine};

const NO_MORE: Value = Value::Null;

pub(super) fn good_boot(lab: &Lab<'_>) -> Result<String, String> {
    let image = lab.image(&lab.contents("v1")?)?;
    let identity = lab.register_for(&image)?;
    let machine = lab.machine("m", Firmware::Open)?;
    let mut boot = lab.admit(&machine, &image)?;
    let node = lab.only_node()?;
    if node.attestor != "tpm" {
        return Err(format!("the node attested by {}", node.attestor));
    }
    let predicted = image.pcrs().into_iter().map(|(pcr, value)| format!("tpm:pcr:{pcr}:{value}"));
    let others = ["tpm:model:lab", "tpm:key_class:tpm-certified", "tpm:secure_boot:false", "kernel:secure_boot:false"];
    for selector in predicted.chain(others.map(str::to_owned)) {
        if !node.has(&selector) {
            return Err(format!("the node has no selector {selector}: {:?}", node.selectors));
        }
    }
    lab.gets(&mut boot, &identity)?;
    let (is_accepted, answer) = lab.server.asks(&["agent", "attest", &node.id])?;
    if !is_accepted {
        return Err(format!("the state of the running machine is refused: {answer}"));
    }
    let evidence = boot.power_off()?;
    evidence.has_predicted_pcrs(&image)?;
    let foreign = evidence.foreign_files(&image);
    if !foreign.is_empty() || !evidence.has_measured("/bin/sekisho") {
        return Err(format!("IMA measured what the image does not predict: {foreign:?}, or not the agent"));
    }
    match lab.judges(&[(&image, NO_MORE)], &evidence)? {
        (true, answer) => Ok(format!("{answer}; {} files measured", evidence.measured.len())),
        (false, why) => Err(why),
    }
}

pub(super) fn command_line(lab: &Lab<'_>) -> Result<String, String> {
    let approved = lab.contents("v1")?;
    let mut changed = approved.clone();
    changed.name = "changed";
    changed.command_line.push_str(" lockdown=none");
    differs(lab, [&lab.image(&approved)?, &lab.image(&changed)?], &[])
}

pub(super) fn implant(lab: &Lab<'_>) -> Result<String, String> {
    let approved = lab.contents("v1")?;
    let mut changed = approved.clone();
    changed.name = "changed";
    changed.implants.push(("bin/implant", "#!/bin/sh\nexit 0\n"));
    differs(lab, [&lab.image(&approved)?, &lab.image(&changed)?], &["/bin/implant"])
}

/// Boots the changed image, where the approved one is expected. IMA measures these foreign files.
fn differs(lab: &Lab<'_>, [approved, changed]: [&Image; 2], foreign: &[&str]) -> Result<String, String> {
    let (identity, other) = (lab.register_for(approved)?, lab.register_for(changed)?);
    let machine = lab.machine("m", Firmware::Open)?;
    let mut boot = lab.admit(&machine, changed)?;
    // When one identity has arrived, the other would have arrived too.
    lab.gets(&mut boot, &other)?;
    if boot.identities()?.contains(&identity) {
        return Err(format!("the machine gets {identity} without the image"));
    }
    let evidence = boot.power_off()?;
    evidence.has_predicted_pcrs(changed)?;
    let found = evidence.foreign_files(approved);
    if found != foreign {
        return Err(format!("IMA measured {found:?} beyond the approved image, not {foreign:?}"));
    }
    match lab.judges(&[(approved, NO_MORE)], &evidence)? {
        // The image's own digest covers all its sections, and is measured first.
        (false, why) if why.contains("PCR 4") => Ok(why),
        (false, why) => Err(format!("refused, but for another reason: {why}")),
        (true, _) => Err("the policy admits the changed image".to_owned()),
    }
}

pub(super) fn older_image(lab: &Lab<'_>) -> Result<String, String> {
    let (new, old) = (lab.image(&lab.contents("v2")?)?, lab.image(&lab.contents("v1")?)?);
    let (of_new, of_old) = (lab.register_for(&new)?, lab.register_for(&old)?);
    let machine = lab.machine("m", Firmware::Open)?;
    let policy = [(&new, NO_MORE), (&old, json!({"not_after": "2020-01-01T00:00:00Z"}))];
    let mut boot = lab.admit(&machine, &new)?;
    lab.gets(&mut boot, &of_new)?;
    let node = lab.only_node()?;
    let (is_admitted, why) = lab.judges(&policy, &boot.power_off()?)?;
    if !is_admitted {
        return Err(format!("the new image is refused: {why}"));
    }

    let mut boot = lab.admit(&machine, &old)?;
    lab.gets(&mut boot, &of_old)?;
    if boot.identities()?.contains(&of_new) {
        return Err("the machine kept the identity of the new image".to_owned());
    }
    if lab.only_node()?.id != node.id {
        return Err("the machine became another node".to_owned());
    }
    let evidence = boot.power_off()?;
    match lab.judges(&policy, &evidence)? {
        (false, why) if why.contains("was admitted until") => match lab.judges(&[(&old, NO_MORE)], &evidence)? {
            (true, _) => Ok(why),
            (false, other) => Err(format!("refused in its window too: {other}")),
        },
        (is_admitted, why) => Err(format!("admitted: {is_admitted}: {why}")),
    }
}

pub(super) fn secure_boot(lab: &Lab<'_>) -> Result<String, String> {
    let unsigned = lab.image(&lab.contents("v1")?)?;
    let signed = lab.signed(&unsigned, Firmware::Secure)?;
    let machine = lab.machine("m", Firmware::Secure)?;
    let refused = machine.refuse(&unsigned)?;
    if !lab.server.nodes()?.is_empty() {
        return Err("a node attested by an image that the firmware refused".to_owned());
    }
    let evidence = checked(lab, &machine, &signed, "tpm:secure_boot:true")?;
    match lab.judges(&[(&signed, NO_MORE)], &evidence)? {
        (true, answer) => Ok(format!("{answer}; unsigned: {}", refused.trim())),
        (false, why) => Err(why),
    }
}

pub(super) fn secure_boot_off(lab: &Lab<'_>) -> Result<String, String> {
    let signed = lab.signed(&lab.image(&lab.contents("v1")?)?, Firmware::Open)?;
    let machine = lab.machine("m", Firmware::Open)?;
    let evidence = checked(lab, &machine, &signed, "tpm:secure_boot:false")?;
    match lab.judges(&[(&signed, json!({"secure_boot": true}))], &evidence)? {
        (false, why) if why.contains("needs Secure Boot") => Ok(why),
        (is_admitted, why) => Err(format!("admitted: {is_admitted}: {why}")),
    }
}

/// Boots an image on a node that has to have this selector.
fn checked<'a>(lab: &Lab<'a>, machine: &Machine<'a>, image: &Image, selector: &str) -> Result<Evidence, String> {
    let boot = lab.admit(machine, image)?;
    let node = lab.only_node()?;
    if !node.has(selector) {
        return Err(format!("the node has no selector {selector}: {:?}", node.selectors));
    }
    let evidence = boot.power_off()?;
    evidence.has_predicted_pcrs(image)?;
    Ok(evidence)
}
