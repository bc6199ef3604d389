//! What happens while `dev` runs, on the terminal: denials, edits of the policy, and a policy folder that is refused.

use std::convert::Infallible;
use std::time::Duration;

use sekisho_api::{ChangesForm, ChangesQuery, DecisionForm};

use super::folder::Folder;
use super::stopwatch::Stopwatch;
use crate::exit::Failure;
use crate::global::Global;
use crate::rest::Rest;
use crate::verbs::decision::line;
use crate::view::View;

/// Before the server is asked again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows each denial and each change of the policy, until dropped. A server that does not answer says nothing.
pub(super) async fn follow(folder: &Folder, watch: &Stopwatch) -> Infallible {
    let rest = Rest::new(&folder.join("server/api.sock"));
    let mut policy = PolicyWatch::default();
    loop {
        // Whichever ends: the server is not there, or not any more.
        tokio::select! {
            biased;
            _ended = follow_denials(&rest, watch) => {}
            _ended = policy.follow(&rest, watch) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_denials(rest: &Rest, watch: &Stopwatch) -> Result<Infallible, Failure> {
    let mut lines = rest.follow("/v1/decisions/follow").await?;
    let view = View::of(&Global::default(), rest).await;
    while let Some(text) = lines.next().await? {
        if let Ok(form) = serde_json::from_str::<DecisionForm>(&text)
            && form.effect != "allow"
        {
            watch.happened(&line(&form, &view));
        }
    }
    Err(Failure::failed("the server closed the stream"))
}

/// What was shown of the policy last.
#[derive(Default)]
struct PolicyWatch {
    revision: Option<u64>,
    refused: Option<String>,
}

impl PolicyWatch {
    async fn follow(&mut self, rest: &Rest, watch: &Stopwatch) -> Result<Infallible, Failure> {
        let mut after = None;
        loop {
            let changes: ChangesForm = rest.find("/v1/changes", &ChangesQuery { after }).await?;
            for change in self.changed(&changes) {
                match change {
                    Change::Refused(text) => watch.alert(&text),
                    Change::Taken(text) => watch.note(&text),
                }
            }
            after = Some(changes.sequence);
        }
    }

    /// What is new about it. One refusal is shown once.
    fn changed(&mut self, changes: &ChangesForm) -> Vec<Change> {
        let mut out = vec![];
        if self.revision != changes.policy_revision {
            // The first one is what `dev` began with.
            if let (Some(_), Some(revision)) = (self.revision, changes.policy_revision) {
                out.push(Change::Taken(format!("policy revision {revision} is in force")));
            }
            self.revision = changes.policy_revision;
        }
        if self.refused != changes.policy_folder_refused {
            match &changes.policy_folder_refused {
                Some(reason) => out.push(Change::Refused(format!(
                    "the policy folder is refused, the last good revision stays in force: {reason}"
                ))),
                None => out.push(Change::Taken("the policy folder is in force again".to_owned())),
            }
            self.refused = changes.policy_folder_refused.clone();
        }
        out
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Refused(String),
    Taken(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(policy_revision: u64, refused: Option<&str>) -> ChangesForm {
        let policy_folder_refused = refused.map(str::to_owned);
        ChangesForm { sequence: 1, revision: 9, policy_revision: Some(policy_revision), policy_folder_refused }
    }

    #[test]
    fn each_policy_edit_is_shown_once() {
        let mut watch = PolicyWatch::default();
        assert_eq!(watch.changed(&state(1, None)), []);
        assert_eq!(watch.changed(&state(2, None)), [Change::Taken("policy revision 2 is in force".into())]);
        let changed = watch.changed(&state(2, Some("a.rego:3: no")));
        let [Change::Refused(text)] = changed.as_slice() else { panic!("nothing is shown") };
        assert!(text.contains("a.rego:3: no"), "{text}");
        assert_eq!(watch.changed(&state(2, Some("a.rego:3: no"))), []);
        assert!(matches!(watch.changed(&state(2, Some("a.rego:4: no"))).as_slice(), [Change::Refused(_)]));
        assert_eq!(watch.changed(&state(3, None)).len(), 2);
    }
}
