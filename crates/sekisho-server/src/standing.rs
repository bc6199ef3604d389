//! How gRPC says to an agent that it does not stand well.

use sekisho_identity::Standing;
use sekisho_proto::reason_status;
use sekisho_proto::types::permission_denied_details::Reason;
use tonic::Status;

/// To an honest agent that asked on the connection that it is leaving.
pub(crate) const SUPERSEDED: &str = "the agent's SVID was replaced while this was issued; ask again with the new one";

/// The status for an agent that does not stand well.
pub(crate) fn denied(standing: Standing) -> Status {
    match standing {
        Standing::Banned => reason_status("the agent is banned", Reason::AgentBanned),
        Standing::Superseded => reason_status("the agent's SVID was replaced by a later one", Reason::AgentNotActive),
        Standing::Unknown | Standing::Good => reason_status("the agent is not attested here", Reason::AgentNotAttested),
    }
}
