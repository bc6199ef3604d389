//! Nothing that was issued leaves after a revocation was acknowledged (law L6; decisions/0020).
//!
//! An identity is judged a second time before it is signed (`issue.rs`). Between the signature and the moment at which the
//! connection takes the answer lies more waiting: other identities of the same batch, a busy runtime. So the answer is judged
//! once more when the connection takes it, and a revocation is acknowledged when the answers that were taken before are gone.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use sekisho_events::IssuanceId;
use sekisho_identity::{Entry, Node, Standing};
use sekisho_runtime::now;
use sekisho_types::{EntryId, SpiffeId};
use tokio::sync::watch;
use tonic::Status;

use crate::caller::{AgentCaller, denied};
use crate::domain::{Domain, Shared};
use crate::issue::{self, IssueError, IssuedX509};
use crate::view;

/// A peer that does not read what its connection has taken delays an acknowledgement no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// What a connection has taken is on the wire a moment later; no interface says when.
const ON_THE_WIRE: Duration = Duration::from_millis(10);

/// Identities in an answer: to whom, by which entries, and the state by which they were judged last.
#[derive(Clone)]
pub(crate) struct Departure(Arc<Held>);

struct Held {
    agent: SpiffeId,
    serial: String,
    issued: Vec<Issued>,
}

/// One identity in an answer.
pub(crate) struct Issued {
    pub log_id: IssuanceId,
    /// None for the agent's own.
    pub entry: Option<Arc<Entry>>,
    pub judged_at: view::Generation,
}

impl Departure {
    pub(crate) fn new(agent: &AgentCaller, issued: Vec<Issued>) -> Self {
        Self(Arc::new(Held { agent: agent.id.get().clone(), serial: agent.serial.clone(), issued }))
    }

    /// A node's own SVID, for which it attested.
    pub(crate) fn attested(own: &IssuedX509) -> Self {
        let issued = Issued { log_id: own.log_id, entry: None, judged_at: own.judged_at };
        Self(Arc::new(Held { agent: own.spiffe_id.clone(), serial: own.serial.clone(), issued: vec![issued] }))
    }

    pub(crate) fn is_to(&self, agent: &SpiffeId) -> bool {
        self.0.agent == *agent
    }

    pub(crate) fn is_by(&self, id: &EntryId) -> bool {
        self.0.issued.iter().any(|issued| issued.entry.as_ref().is_some_and(|entry| entry.id == *id))
    }

    /// Whether all of it could still be issued.
    pub(crate) fn judge(&self, domain: &Domain) -> Result<(), Status> {
        let held = &*self.0;
        domain.view.read(|state| {
            if held.issued.iter().all(|issued| issued.judged_at == state.generation) {
                return Ok(());
            }
            let node = state.nodes.get(&held.agent);
            let standing = Node::standing(node.map(AsRef::as_ref), &held.serial);
            let node = match (node, standing) {
                (Some(node), Standing::Good) => node,
                (_, Standing::Superseded) => return Err(Status::aborted(IssueError::Superseded.to_string())),
                _ => return Err(denied(standing)),
            };
            let serves = state.serves(node, &domain.server_id, now());
            let stands = |entry: &Arc<Entry>| {
                serves.contains(&entry.parent_id) && state.entries.get(&entry.id).is_some_and(|known| known == entry)
            };
            if held.issued.iter().filter_map(|issued| issued.entry.as_ref()).all(stands) {
                Ok(())
            } else {
                Err(Status::aborted("an entry changed while its identity was issued; ask again"))
            }
        })
    }
}

/// The answers that connections have taken and not yet passed on.
pub(crate) struct Departures {
    open: Mutex<Open>,
    /// The lowest number that is open.
    oldest: watch::Sender<u64>,
}

#[derive(Default)]
struct Open {
    next: u64,
    answers: BTreeMap<u64, Departure>,
}

impl Departures {
    pub(crate) fn new() -> Self {
        Self { open: Mutex::default(), oldest: watch::Sender::new(0) }
    }

    fn enter(&self, departure: &Departure) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.answers.insert(number, departure.clone());
        number
    }

    fn leave(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&number);
        self.oldest.send_modify(|changes| *changes += 1);
    }

    /// Waits until the answers that `concerned` says of have left. For a revocation, after the view has it and before it is
    /// acknowledged: an answer that is taken later is judged by that view.
    pub(crate) async fn settle(&self, concerned: impl Fn(&Departure) -> bool) {
        let mut changes = self.oldest.subscribe();
        let waiting: Vec<u64> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.answers.iter().filter(|(_, departure)| concerned(departure)).map(|(number, _)| *number).collect()
        };
        let still_open = || {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().any(|number| open.answers.contains_key(number))
        };
        let settled = changes.wait_for(|_| !still_open());
        if tokio::time::timeout(LONGEST_WAIT, settled).await.is_err() {
            tracing::warn!(
                "a peer does not read the identities that it asked for; its revocation is acknowledged all the same"
            );
        }
        tokio::time::sleep(ON_THE_WIRE).await;
    }
}

/// Puts the last judgement around each answer that holds identities.
pub(crate) async fn judged_last(State(domain): State<Shared>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    match answer.extensions_mut().remove::<Departure>() {
        Some(departure) => {
            let stage = Stage::Held;
            answer.map(|body| Body::new(Departing { domain, departure, body, stage }))
        }
        None => answer,
    }
}

type Withdrawing = Pin<Box<dyn Future<Output = HeaderMap> + Send>>;

enum Stage {
    Held,
    Taken(u64),
    Withdrawn(Withdrawing),
    Ended,
}

struct Departing {
    domain: Shared,
    departure: Departure,
    body: Body,
    stage: Stage,
}

impl HttpBody for Departing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Held => {
                    // First it counts as open, then it is judged: a revocation sees it, or is seen by it.
                    let number = this.domain.departures.enter(&this.departure);
                    match this.departure.judge(&this.domain) {
                        Ok(()) => this.stage = Stage::Taken(number),
                        Err(status) => {
                            this.domain.departures.leave(number);
                            let withdrawing = withdraw(this.domain.clone(), this.departure.clone(), status);
                            this.stage = Stage::Withdrawn(Box::pin(withdrawing));
                        }
                    }
                }
                Stage::Taken(_) => return Pin::new(&mut this.body).poll_frame(cx),
                Stage::Withdrawn(withdrawing) => {
                    let trailers = ready!(withdrawing.as_mut().poll(cx));
                    this.stage = Stage::Ended;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Stage::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Departing {
    fn drop(&mut self) {
        if let Stage::Taken(number) = self.stage {
            self.domain.departures.leave(number);
        }
    }
}

/// The log says that the identities were signed and did not leave; then the peer hears why.
async fn withdraw(domain: Shared, departure: Departure, status: Status) -> HeaderMap {
    let ids = departure.0.issued.iter().map(|issued| issued.log_id).collect();
    let caller = departure.0.agent.to_string();
    let logged = issue::withdrawn(&domain, &caller, ids, status.message()).await;
    let status = logged.map_or_else(Status::from, |_| status);
    let mut trailers = status.into_http::<()>().into_parts().0.headers;
    trailers.remove(header::CONTENT_TYPE);
    trailers
}
