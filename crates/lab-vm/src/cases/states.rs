//! What a running machine does.

use crate::lab::Lab;
use crate::machine::Firmware;

pub(super) fn violation(lab: &Lab<'_>) -> Result<String, String> {
    let image = lab.image(&lab.contents("v1")?)?;
    let identity = lab.register_for(&image)?;
    let machine = lab.machine("m", Firmware::Open)?;
    let mut boot = lab.admit(&machine, &image)?;
    lab.gets(&mut boot, &identity)?;
    let node = lab.only_node()?;
    boot.ask("violate")?;
    let (is_accepted, why) = lab.server.asks(&["agent", "attest", &node.id])?;
    if is_accepted || !why.contains("/changing") {
        return Err(format!("accepted: {is_accepted}: {why}"));
    }
    if !lab.server.nodes()?.is_empty() {
        return Err("the node is still attested".to_owned());
    }
    let identities = boot.identities()?;
    if !identities.is_empty() {
        return Err(format!("the agent still serves {identities:?}"));
    }
    Ok(why)
}
