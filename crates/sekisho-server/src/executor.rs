//! Every call passes here: the role table admits its caller, its command runs, and what is refused is on record before the
//! caller hears of it (laws L3 and L5). Adapters convert requests into commands and replies into messages; they decide nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_net::{TlsPeer, unrecorded_refusal};
use tonic::{Extensions, Status};

use crate::caller::{AgentCaller, Operator};
use crate::domain::{Domain, Shared};
use crate::refusal::{Ended, Fault, Recorded, Refusal};
use crate::roles::{self, Role};
use crate::{attest, refusals};

const FOR_OPERATORS: &str = "this call is for operators: use the local socket, or an SVID whose entry is `admin`";

/// Something that a caller wants done. Each is a file of `commands/`.
pub(crate) trait Command: Sized + Send {
    /// Whom the role table admits to it.
    type Caller: Send + Sync;
    type Reply: Send;
    type Error: Fault + Send;

    fn run(
        self,
        domain: &Domain,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<Self::Reply, Self::Error>> + Send;
}

/// A call whose caller the role table has admitted: an operator, an agent, or anyone.
#[derive(Clone)]
pub(crate) struct Call<C> {
    connection: Arc<Connection>,
    pub caller: C,
}

/// Where a call comes from.
struct Connection {
    domain: Shared,
    peer: Option<Arc<TlsPeer>>,
    /// Whether what it is refused is on record.
    is_recorded: AtomicBool,
}

impl Connection {
    /// A fault, on record if it is the caller's.
    async fn refuse<E: Fault>(&self, fault: E) -> Refusal<E> {
        self.is_recorded.store(true, Ordering::Relaxed);
        if let Some(proof) = Recorded::no_refusal(&fault) {
            return Refusal::new(fault, proof);
        }
        let Some(peer) = &self.peer else { return Refusal::new(fault, Recorded::local()) };
        match refusals::log_peer(&self.domain, peer, &fault.says()).await {
            Ok(proof) => Refusal::new(fault, proof),
            Err(error) => {
                let failure = E::from(error);
                let proof = Recorded::no_refusal(&failure).unwrap_or_else(Recorded::in_count);
                Refusal::new(failure, proof)
            }
        }
    }
}

impl<C: Clone + Send + Sync + 'static> Call<C> {
    /// The call that a request is, if the role table admitted its caller as such.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let call = extensions.get::<Self>().cloned();
        call.ok_or_else(|| Status::permission_denied("the role table does not admit this caller to what it asked for"))
    }

    pub(crate) fn peer(&self) -> Option<&Arc<TlsPeer>> {
        self.connection.peer.as_ref()
    }

    /// Runs a command.
    pub(crate) async fn execute<K: Command<Caller = C>>(&self, command: K) -> Result<K::Reply, Refusal<K::Error>> {
        let ran = command.run(&self.connection.domain, &self.caller).await;
        match ran {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.refuse(fault).await),
        }
    }

    /// Puts a fault on record, if it is the caller's.
    pub(crate) async fn refuse<E: Fault>(&self, fault: E) -> Refusal<E> {
        self.connection.refuse(fault).await
    }

    /// What an adapter answers by gRPC: an answer, or a status that is on record.
    pub(crate) async fn answer<T>(&self, work: impl Future<Output = Result<T, Ended<Status>>>) -> Result<T, Status> {
        match work.await {
            Ok(answer) => Ok(answer),
            Err(Ended::Refused(refusal)) => {
                self.connection.is_recorded.store(true, Ordering::Relaxed);
                Err(refusal.into_error())
            }
            Err(Ended::Fault(status)) => Err(self.refuse(status).await.into_error()),
        }
    }
}

/// Admits callers of gRPC methods, and records what is refused before it is a call.
pub(crate) async fn admit_to_method(State(domain): State<Shared>, mut request: Request, next: Next) -> Response {
    let role = roles::of_method(request.uri().path().trim_start_matches('/'));
    let Some(role) = role else { return Status::unimplemented("there is no such method here").into_http() };
    let (connection, local) = connection(&domain, &request);
    let admitted = match role {
        Role::Anyone | Role::LogReader => {
            request.extensions_mut().insert(Call { connection: connection.clone(), caller: () });
            Ok(())
        }
        Role::Agent => agent(&connection).await.map(|caller| {
            request.extensions_mut().insert(Call { connection: connection.clone(), caller });
        }),
        Role::Operator => {
            let caller = Operator::of(&domain, local.as_ref(), connection.peer.as_ref());
            caller.ok_or_else(|| Status::permission_denied(FOR_OPERATORS)).map(|caller| {
                request.extensions_mut().insert(Call { connection: connection.clone(), caller });
            })
        }
    };
    if let Err(status) = admitted {
        return connection.refuse(status).await.into_error().into_http();
    }
    let answer = next.run(request).await;
    // A message that cannot be read does not come as far as a command, and an adapter may refuse its form.
    match unrecorded_refusal(answer.headers()) {
        Some(status) if !connection.is_recorded.load(Ordering::Relaxed) => {
            connection.refuse(status).await.into_error().into_http()
        }
        _ => answer,
    }
}

fn connection(domain: &Shared, request: &Request) -> (Arc<Connection>, Option<Operator>) {
    let extensions = request.extensions();
    let peer = extensions.get::<Arc<TlsPeer>>().cloned();
    let connection = Connection { domain: domain.clone(), peer, is_recorded: AtomicBool::new(false) };
    (Arc::new(connection), extensions.get::<Operator>().cloned())
}

async fn agent(connection: &Connection) -> Result<AgentCaller, Status> {
    let agent = AgentCaller::known(&connection.domain, connection.peer.as_ref())?;
    // The first use of a successor ends what came before it, in whatever hands that still is.
    if agent.node.previous_serial.is_some() && agent.node.serial == agent.serial {
        let retired = attest::retire_previous(&connection.domain, agent.id.get(), &agent.serial).await;
        retired.map_err(|_| Status::unavailable("the server cannot write now; its log says why"))?;
    }
    Ok(agent)
}

/// An operator's call of a REST route, or why it is none: what the peer hears is on record.
pub(crate) fn operator_call(
    domain: &Shared,
    request: &Request,
    allowed: Result<(), &'static str>,
) -> impl Future<Output = Result<Call<Operator>, Refusal<Status>>> + Send + use<> {
    let (connection, local) = connection(domain, request);
    let caller = allowed.and_then(|()| {
        let message = "this API is for operators: use the local socket, or an SVID whose entry is `admin`";
        Operator::of(domain, local.as_ref(), connection.peer.as_ref()).ok_or(message)
    });
    async move {
        match caller {
            Ok(caller) => Ok(Call { connection, caller }),
            Err(message) => Err(connection.refuse(Status::permission_denied(message)).await),
        }
    }
}
