//! The body of an answer that holds identities: checked when its connection takes it, and withdrawn if they may no
//! longer be sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tonic::Status;

use crate::domain::Shared;
use crate::final_check::{FinalCheck, WithholdReason};
use crate::refusal::{self, RefusedParty};
use crate::withheld::Withheld;

/// Adds the final check to an answer that holds identities.
pub(super) fn with_final_check(domain: &Shared, mut answer: Response) -> Response {
    match answer.extensions_mut().remove::<FinalCheck>() {
        Some(final_check) => {
            let (domain, stage) = (domain.clone(), Stage::Held);
            answer.map(|body| Body::new(CheckedBody { domain, final_check, body, stage }))
        }
        None => answer,
    }
}

/// An answer that holds identities.
pub(super) fn with_check<T>(answer: T, final_check: FinalCheck) -> tonic::Response<T> {
    let mut response = tonic::Response::new(answer);
    response.extensions_mut().insert(final_check);
    response
}

type Withdrawal = Pin<Box<dyn Future<Output = HeaderMap> + Send>>;

enum Stage {
    Held,
    Taken(u64),
    Withdrawn(Withdrawal),
    Finished,
}

struct CheckedBody {
    domain: Shared,
    final_check: FinalCheck,
    body: Body,
    stage: Stage,
}

impl HttpBody for CheckedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Held => {
                    // First it counts as open, then it is judged: a revocation sees it, or is seen by it.
                    let number = this.domain.streams.pending_answers.enter(&this.final_check);
                    match this.final_check.judge(&this.domain.view, &this.domain.identity.server_id) {
                        Ok(()) => this.stage = Stage::Taken(number),
                        Err(cause) => {
                            this.domain.streams.pending_answers.leave(number);
                            let withdrawing = withdraw(this.domain.clone(), this.final_check.clone(), cause);
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

impl Drop for CheckedBody {
    fn drop(&mut self) {
        if let Stage::Taken(number) = self.stage {
            self.domain.streams.pending_answers.leave(number);
        }
    }
}

/// Records that the identities were signed and not sent. The peer gets the reason after that.
pub(super) async fn withdrawn(domain: &Shared, final_check: &FinalCheck, cause: WithholdReason) -> Status {
    let withheld = Withheld::of(final_check, cause);
    refusal::record(domain, RefusedParty::Agent(final_check.agent()), withheld).await.into_error().into()
}

async fn withdraw(domain: Shared, final_check: FinalCheck, cause: WithholdReason) -> HeaderMap {
    let status = withdrawn(&domain, &final_check, cause).await;
    let mut trailers = status.into_http::<()>().into_parts().0.headers;
    trailers.remove(header::CONTENT_TYPE);
    trailers
}
