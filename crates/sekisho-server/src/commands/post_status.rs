use sekisho_store::Write;

use crate::caller::AgentCaller;
use crate::change::{Change, Facts};
use crate::command::Changes;
use crate::denied::Denied;

/// Characters of a version.
const MAX_VERSION: usize = 64;

/// Notes which version of its program an agent says that it runs.
pub(crate) struct PostStatus {
    pub version: String,
}

impl Changes for PostStatus {
    type Caller = AgentCaller;
    type Reply = ();
    type Error = Denied;

    fn prepare(&self, _: Facts<'_>, agent: &AgentCaller) -> Result<Change<()>, Denied> {
        let (id, version) = (agent.id.get().clone(), self.version.chars().take(MAX_VERSION).collect());
        let nothing = Change::with_reply(());
        Ok(if agent.node.version == version { nothing } else { nothing.write(Write::NodeVersion { id, version }) })
    }
}
