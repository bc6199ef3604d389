use prost::Message;
use sekisho_identity::{Revocation, Revocations, Revoked};
use sekisho_types::{EntryId, Revision, SpiffeId, UnixTime};

use crate::ConvertError;
use crate::node::WatchRevocationsResponse;
use crate::server::{Revocation as Wire, revocation};

/// Revocations in one message at most: far below the four mebibytes that clients of gRPC read.
pub const REVOCATIONS_PER_MESSAGE: usize = 2000;

pub fn revocation_to_wire(revocation: &Revocation) -> Wire {
    let what = match &revocation.what {
        Revoked::Entry { id, spiffe_id } => {
            let (id, spiffe_id) = (id.as_str().to_owned(), spiffe_id.to_string());
            revocation::What::Entry(revocation::Entry { id, spiffe_id })
        }
        Revoked::Agent(id) => revocation::What::AgentId(id.to_string()),
        Revoked::SpiffeId(id) => revocation::What::SpiffeId(id.to_string()),
        Revoked::Serial(serial) => revocation::What::Serial(serial.clone()),
    };
    Wire {
        what: Some(what),
        revision: revocation.revision.0,
        at_ns: revocation.at.nanos(),
        until_ns: revocation.until.nanos(),
        reason: revocation.reason.clone(),
    }
}

/// A revocation from the wire. Of a kind that this version does not know, it is an error for its reader to report.
pub fn revocation_from_wire(wire: &Wire) -> Result<Revocation, ConvertError> {
    let id = |text: &str, field| SpiffeId::parse(text).map_err(|source| ConvertError::SpiffeId { field, source });
    let what = match wire.what.as_ref().ok_or(ConvertError::Missing("revocation.what"))? {
        revocation::What::Entry(entry) => {
            Revoked::Entry { id: EntryId::parse(&entry.id)?, spiffe_id: id(&entry.spiffe_id, "entry.spiffe_id")? }
        }
        revocation::What::AgentId(agent) => Revoked::Agent(id(agent, "agent_id")?),
        revocation::What::SpiffeId(spiffe_id) => Revoked::SpiffeId(id(spiffe_id, "spiffe_id")?),
        revocation::What::Serial(serial) => Revoked::Serial(serial.clone()),
    };
    Ok(Revocation {
        what,
        revision: Revision(wire.revision),
        at: UnixTime::from_nanos(wire.at_ns),
        until: UnixTime::from_nanos(wire.until_ns),
        reason: wire.reason.clone(),
    })
}

/// A form in which revocations are kept on disk.
pub fn revocations_to_bytes(revocations: &Revocations) -> Vec<u8> {
    let revocations = revocations.iter().map(revocation_to_wire).collect();
    WatchRevocationsResponse { revocations, more: false }.encode_to_vec()
}

/// Reads revocations that were kept on disk: all of them or none.
pub fn revocations_from_bytes(bytes: &[u8]) -> Result<Revocations, String> {
    let stored = WatchRevocationsResponse::decode(bytes).map_err(|error| error.to_string())?;
    let mut kept = Revocations::default();
    for revocation in &stored.revocations {
        kept.add(revocation_from_wire(revocation).map_err(|error| error.to_string())?);
    }
    Ok(kept)
}
