//! Streams that outlive the moment at which their caller was admitted.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use sekisho_identity::Standing;
use tonic::{Code, Status};

use crate::caller::AgentCaller;
use crate::executor::Call;

/// A stream to an agent whose end is on record, if that is a refusal.
pub(super) fn recorded<T: Send + 'static>(
    call: Call<AgentCaller>,
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
    let recorded = move |item: Result<T, Status>| {
        let call = call.clone();
        async move {
            match item {
                Err(status) if is_refusal(&call, &status) => Err(call.refuse(status).await.into_error()),
                item => item,
            }
        }
    };
    stream.then(recorded).boxed()
}

/// An honest agent's stream ends with the SVID that opened it, when that expires or is replaced: nothing was refused to
/// it then.
fn is_refusal(call: &Call<AgentCaller>, status: &Status) -> bool {
    match call.caller.standing(call.domain()) {
        Standing::Banned | Standing::Unknown => true,
        Standing::Good | Standing::Superseded => status.code() != Code::PermissionDenied,
    }
}
