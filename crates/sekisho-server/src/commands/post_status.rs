use sekisho_store::{Expect, Item, Write};

use crate::caller::AgentCaller;
use crate::command::Command;
use crate::denied::Denied;
use crate::domain::Shared;
use crate::submit;

/// Characters of a version.
const MAX_VERSION: usize = 64;

/// Notes which version of its program an agent says that it runs.
pub(crate) struct PostStatus {
    pub version: String,
}

impl Command for PostStatus {
    type Caller = AgentCaller;
    type Reply = ();
    type Error = Denied;

    async fn run(self, domain: &Shared, agent: &AgentCaller) -> Result<(), Denied> {
        let version: String = self.version.chars().take(MAX_VERSION).collect();
        if agent.node.version == version {
            return Ok(());
        }
        let id = agent.id.get().clone();
        let stands = Expect::Standing { agent: id.clone(), serial: agent.serial.clone() };
        let item = Item::default().expect(stands).write(Write::NodeVersion { id, version });
        submit::write::<Denied>(domain, item).await.map(drop)
    }
}
