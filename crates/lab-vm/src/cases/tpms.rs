//! Which TPM a machine has.

use crate::lab::Lab;
use crate::machine::Firmware;
use crate::run::at;

pub(super) fn copied_disk(lab: &Lab<'_>) -> Result<String, String> {
    let image = lab.image(&lab.contents("v1")?)?;
    let (own, thief) = (lab.machine("own", Firmware::Open)?, lab.machine("thief", Firmware::Open)?);
    let mut boot = lab.admit(&own, &image)?;
    let node = lab.only_node()?;
    let identity = "spiffe://lab.example/of-this-node";
    lab.server.register("/of-this-node", &node.id, &["unix:uid:0".to_owned()])?;
    lab.gets(&mut boot, identity)?;
    boot.power_off()?;
    at(&own.disk, std::fs::copy(&own.disk, &thief.disk))?;

    // The thief's TPM is of a manufacturer that the server trusts.
    let mut boot = lab.admit(&thief, &image)?;
    let nodes = lab.server.nodes()?;
    let other = nodes.iter().find(|other| other.id != node.id).ok_or("the copy attested as the first node")?;
    let further = "spiffe://lab.example/of-the-other";
    lab.server.register("/of-the-other", &other.id, &["unix:uid:0".to_owned()])?;
    lab.gets(&mut boot, further)?;
    if boot.identities()?.iter().any(|got| got == identity) {
        return Err("the copy gets the identity of the first node".to_owned());
    }
    let evidence = boot.power_off()?;
    if !evidence.agent_log.contains("sealed by another TPM") {
        return Err(format!("the copy opened what the first node sealed: {}", evidence.agent_log));
    }

    let mut boot = lab.admit(&own, &image)?;
    lab.gets(&mut boot, identity)?;
    Ok("the copy is another node, and its agent could not open what it copied".to_owned())
}

pub(super) fn unknown_tpm(lab: &Lab<'_>) -> Result<String, String> {
    let image = lab.image(&lab.contents("v1")?)?;
    let machine = lab.strange_machine("m")?;
    let answer = lab.boot(&machine, &image)?.admitted();
    if !lab.server.nodes()?.is_empty() {
        return Err("a node attested".to_owned());
    }
    match answer {
        Err(why) if why.contains("not trusted here") => Ok(why),
        Err(why) => Err(format!("refused for another reason: {why}")),
        Ok(()) => Err("the agent is ready".to_owned()),
    }
}
