//! Admission of gRPC calls: who may call, by the role table, and what is refused before it is a command.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_net::{is_grpc, is_unrecorded, no_grpc, unrecorded_refusal};
use tonic::Status;

use super::checked_body::with_final_check;
use crate::admission::{Admission, LONGEST};
use crate::caller::Caller;
use crate::command::Command;
use crate::domain::Shared;
use crate::executor::{Call, Connection};
use crate::refusal::Fault;
use crate::roles;

/// One message, with its length and whether it is compressed.
const MAX_REQUEST: usize = LONGEST + 5;

/// An adapter's own fault: of the form of a message.
impl Fault for Status {
    fn is_caller_fault(&self) -> bool {
        is_unrecorded(self)
    }

    fn log_message(&self) -> String {
        self.message().to_owned()
    }
}

/// Admits callers of methods, records what is refused before it is a command, and adds the final check to answers that
/// hold identities. It is one layer: each further one would box the request and its answer once more.
pub(super) async fn admit_to_method(State(domain): State<Shared>, mut request: Request, next: Next) -> Response {
    // As an unknown path is answered.
    if !is_grpc(request.headers()) {
        return no_grpc();
    }
    let role = roles::of_method(request.uri().path().trim_start_matches('/'));
    let Some(role) = role else { return Status::unimplemented("there is no such method here").into_http() };
    let connection = Connection::of(&domain, request.extensions());
    let is_stream = roles::is_stream(request.uri().path().trim_start_matches('/'));
    let limit = (!is_stream).then_some(MAX_REQUEST);
    let entered = match Admission::begin(&connection, role).await {
        Ok(admission) => admission.finish(&mut request, limit).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = entered {
        return Status::from(refusal.into_error()).into_http();
    }
    let answer = with_final_check(&domain, next.run(request).await);
    // A message that cannot be read does not come as far as a command, and an adapter may refuse its form.
    match unrecorded_refusal(answer.headers()) {
        Some(status) if !connection.has_record() => connection.refuse(status).await.into_error().into_http(),
        _ => answer,
    }
}

/// The call that a request is, if the role table admitted its caller as such.
pub(super) fn call<C, T>(request: &tonic::Request<T>) -> Result<Call<C>, Status>
where
    C: Clone + Send + Sync + 'static,
{
    let call = request.extensions().get::<Call<C>>().cloned();
    call.ok_or_else(|| Status::permission_denied("the role table does not admit this caller to what it asked for"))
}

/// Runs the command that a message was read as. What it is refused, or what was wrong with the message, is on record.
pub(super) async fn answer<K: Command>(call: &Call<K::Caller>, command: Result<K, Status>) -> Result<K::Reply, Status>
where
    Status: From<K::Error>,
    K::Caller: Caller,
{
    match command {
        Ok(command) => call.execute(command).await.map_err(|refusal| refusal.into_error().into()),
        Err(status) => Err(call.refuse(status).await.into_error()),
    }
}
