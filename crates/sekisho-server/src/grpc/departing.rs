//! The body of an answer that holds identities: judged when its connection takes it, and withdrawn if they may not
//! leave.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tonic::Status;

use crate::departure::{Cause, Departure};
use crate::domain::Shared;
use crate::refusal::{self, Whom};
use crate::withheld::Withheld;

/// Puts the last judgement around each answer that holds identities.
pub(super) async fn judged_last(State(domain): State<Shared>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    match answer.extensions_mut().remove::<Departure>() {
        Some(departure) => {
            let stage = Stage::Held;
            answer.map(|body| Body::new(Departing { domain, departure, body, stage }))
        }
        None => answer,
    }
}

/// An answer that holds identities.
pub(super) fn departing<T>(answer: T, departure: Departure) -> tonic::Response<T> {
    let mut response = tonic::Response::new(answer);
    response.extensions_mut().insert(departure);
    response
}

type Withdrawing = Pin<Box<dyn Future<Output = HeaderMap> + Send>>;

enum Stage {
    Held,
    Taken(u64),
    Withdrawn(Withdrawing),
    Finished,
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
                    let number = this.domain.streams.departures.enter(&this.departure);
                    match this.departure.judge(&this.domain.view, &this.domain.identity.server_id) {
                        Ok(()) => this.stage = Stage::Taken(number),
                        Err(cause) => {
                            this.domain.streams.departures.leave(number);
                            let withdrawing = withdraw(this.domain.clone(), this.departure.clone(), cause);
                            this.stage = Stage::Withdrawn(Box::pin(withdrawing));
                        }
                    }
                }
                Stage::Taken(_) => return Pin::new(&mut this.body).poll_frame(cx),
                Stage::Withdrawn(withdrawing) => {
                    let trailers = ready!(withdrawing.as_mut().poll(cx));
                    this.stage = Stage::Finished;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Stage::Finished => return Poll::Ready(None),
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
            self.domain.streams.departures.leave(number);
        }
    }
}

/// The log says that the identities were signed and did not leave; then the peer hears why.
pub(super) async fn withdrawn(domain: &Shared, departure: &Departure, cause: Cause) -> Status {
    let withheld = Withheld::of(departure, cause);
    refusal::record(domain, Whom::Agent(departure.agent()), withheld).await.into_error().into()
}

async fn withdraw(domain: Shared, departure: Departure, cause: Cause) -> HeaderMap {
    let status = withdrawn(&domain, &departure, cause).await;
    let mut trailers = status.into_http::<()>().into_parts().0.headers;
    trailers.remove(header::CONTENT_TYPE);
    trailers
}
