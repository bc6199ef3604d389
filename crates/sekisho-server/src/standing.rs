//! The texts for an agent that may get nothing.

use sekisho_identity::Standing;

/// To an honest agent that asked on the connection that it is leaving.
pub(crate) const SUPERSEDED: &str = "the agent's SVID was replaced while this was issued; ask again with the new one";

pub(crate) const fn says(standing: Standing) -> &'static str {
    match standing {
        Standing::Banned => "the agent is banned",
        Standing::Superseded => "the agent's SVID was replaced by a later one",
        Standing::Unknown | Standing::Good => "the agent is not attested here",
    }
}
