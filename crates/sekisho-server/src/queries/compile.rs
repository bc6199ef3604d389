use std::sync::Arc;

use sekisho_policy::{CompileFault, CompileRequest, PolicyError, PolicySet, Source};
use sekisho_runtime::now;
use tokio::task::JoinError;

use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;

/// Why there is no residual.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("no policy yet, so every request is denied; use `sekisho policy apply`")]
    NoPolicy,
    #[error(transparent)]
    Fault(#[from] CompileFault),
    #[error("the policy in force does not load: {0}")]
    Policy(#[from] PolicyError),
    #[error("partial evaluation broke off: {0}")]
    BrokeOff(#[from] JoinError),
}

/// What remains of a query by the policy in force: the `result` of OPA's Compile API, as JSON.
pub(crate) struct CompilePolicy(pub CompileRequest);

impl Query for CompilePolicy {
    type Caller = Operator;
    type Reply = Result<String, CompileError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        // One at a time: each may take a processor for half a second.
        let mut loaded = of.limits.compiling.lock().await;
        let policy = of.view.read(|state| state.policy.clone()).ok_or(CompileError::NoPolicy)?;
        let known = loaded.take().filter(|(revision, _)| *revision == policy.revision).map(|(_, set)| set);
        let revision = policy.revision;
        let compile = move || {
            let set = match known {
                Some(set) => set,
                None => {
                    let source = |(name, text): &(String, String)| Source { name: name.clone(), text: text.clone() };
                    Arc::new(PolicySet::load(policy.files.iter().map(source).collect())?)
                }
            };
            let result = set.compile(&self.0, now());
            Ok::<_, PolicyError>((set, result))
        };
        let (set, result) = sekisho_runtime::blocking(compile).await??;
        *loaded = Some((revision, set));
        Ok(result?)
    }
}
