//! Says on the terminal that the policy folder, as it is now, is not in force.

use std::convert::Infallible;
use std::time::Duration;

use sekisho_api::HealthForm;

use super::folder::Folder;
use super::stopwatch::Stopwatch;
use crate::rest::Rest;

const EVERY: Duration = Duration::from_secs(1);

pub(super) struct PolicyWatch {
    rest: Rest,
    /// The refusal that was shown last, while it lasts.
    shown: Option<String>,
}

impl PolicyWatch {
    pub(super) fn new(folder: &Folder) -> Self {
        Self { rest: Rest::new(&folder.join("server/api.sock")), shown: None }
    }

    /// Follows what the server says of the folder, until dropped. A server that does not answer says nothing.
    pub(super) async fn follow(&mut self, watch: &Stopwatch) -> Infallible {
        loop {
            if let Ok(health) = self.rest.get::<HealthForm>("/v1/health").await
                && let Some(change) = self.change(health.policy_folder_refused.as_deref())
            {
                match change {
                    Change::Refused(text) => watch.alert(&text),
                    Change::Taken => watch.note("the policy folder is in force again"),
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What is new about it. One refusal is shown once.
    fn change(&mut self, refused: Option<&str>) -> Option<Change> {
        if self.shown.as_deref() == refused {
            return None;
        }
        self.shown = refused.map(str::to_owned);
        Some(match refused {
            Some(reason) => Change::Refused(format!(
                "the policy folder is refused, the last good revision stays in force: {reason}"
            )),
            None => Change::Taken,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Refused(String),
    Taken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_policy_folder_is_shown_once_and_so_is_its_correction() {
        let mut watch = PolicyWatch { rest: Rest::new("/nonexistent".as_ref()), shown: None };
        assert_eq!(watch.change(None), None);
        let Some(Change::Refused(text)) = watch.change(Some("a.rego:3: no")) else { panic!("nothing is shown") };
        assert!(text.contains("a.rego:3: no"), "{text}");
        assert_eq!(watch.change(Some("a.rego:3: no")), None);
        assert!(matches!(watch.change(Some("a.rego:4: no")), Some(Change::Refused(_))));
        assert_eq!(watch.change(None), Some(Change::Taken));
        assert_eq!(watch.change(None), None);
    }
}
