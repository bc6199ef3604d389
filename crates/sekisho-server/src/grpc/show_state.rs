//! A stream on which a node shows its state: again and again, for as long as its agent stands well.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use sekisho_identity::Standing;
use sekisho_proto::server as wire;
use sekisho_proto::server::show_state_response::What;
use sekisho_runtime::now;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::caller::AgentCaller;
use crate::commands::{AnsweringNode, AttestError, PlayDrill, ShowState};
use crate::denied::Denied;
use crate::executor::Call;
use crate::refusal::Fault;
use crate::state_checks::{DrillOutcome, OpenCheck, Question, StateOutcome, pause};

pub(super) type Questions = Pin<Box<dyn Stream<Item = Result<wire::ShowStateResponse, Status>> + Send>>;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the stream of an agent, which answers by `answers`.
pub(super) fn open(
    call: Call<AgentCaller>,
    answers: Streaming<wire::ShowStateRequest>,
) -> Result<ReceiverStream<Result<wire::ShowStateResponse, Status>>, Status> {
    let shown = call.peer().and_then(|peer| Some((peer.exporter, peer.leaf.as_ref()?.get().public_key.clone())));
    let (exporter, public_key) = shown.ok_or_else(|| Status::from(Denied::NoSvid))?;
    let (to, questions) = mpsc::channel(2);
    let check = call.domain().streams.state_checks.enter(call.caller.id.get());
    let checked = Checked { call, check, node: Node { answers, to }, exporter, public_key };
    tokio::spawn(checked.run());
    Ok(ReceiverStream::new(questions))
}

struct Checked {
    call: Call<AgentCaller>,
    check: OpenCheck,
    node: Node,
    exporter: [u8; 32],
    public_key: Vec<u8>,
}

/// What ends a pause.
enum Next {
    Ask(Option<Question>),
    /// The agent no longer stands well, or another stream took the place of this one.
    End(Status),
    Gone,
}

impl Checked {
    async fn run(mut self) {
        // It opens the stream, and says nothing yet.
        if self.node.next().await.is_err() {
            return;
        }
        let mut waiting = None;
        loop {
            if let Err(ended) = self.ask(waiting.take()).await {
                self.node.tell(Err(ended)).await;
                return;
            }
            match self.next().await {
                Next::Ask(asked) => waiting = asked,
                Next::Gone => return,
                Next::End(status) => {
                    self.node.tell(Err(status)).await;
                    return;
                }
            }
        }
    }

    /// Asks once. An operator who waits hears what came of it. After a drill the node shows its state as ever.
    async fn ask(&mut self, question: Option<Question>) -> Result<(), Status> {
        let Self { call, node, exporter, public_key, .. } = self;
        let waiting = match question {
            Some(Question::Drill(kind, waiting)) => {
                let drill = PlayDrill { node: &mut *node, exporter: *exporter, public_key, kind };
                let outcome = call.execute(drill).await.map_err(crate::refusal::Refusal::into_error);
                let outcome = outcome.unwrap_or_else(|error| DrillOutcome::NotTried(error.log_message()));
                let _gone = waiting.send(outcome);
                None
            }
            Some(Question::State(waiting)) => Some(waiting),
            None => None,
        };
        let outcome = call.execute(ShowState { node, exporter: *exporter, public_key }).await;
        let outcome = outcome.map_err(crate::refusal::Refusal::into_error);
        let heard = match &outcome {
            Ok(()) => StateOutcome::Accepted,
            Err(AttestError::Denied { reason, .. }) => StateOutcome::Denied(reason.clone()),
            Err(error) => StateOutcome::Undecided(error.log_message()),
        };
        if let Some(waiting) = waiting {
            let _gone = waiting.send(heard);
        }
        outcome.map_err(Status::from)?;
        let accepted = What::AcceptedForSeconds(self.call.domain().settings.attest_every_seconds);
        match self.node.tell(Ok(wire::ShowStateResponse { what: Some(accepted) })).await {
            true => Ok(()),
            false => Err(Status::deadline_exceeded("the node reads no questions")),
        }
    }

    /// Until the next question is due.
    async fn next(&mut self) -> Next {
        let Self { call, check, node, .. } = self;
        let mut agents = call.domain().streams.delivery.agents();
        let due = tokio::time::sleep(pause(call.domain().settings.attest_every_seconds));
        tokio::pin!(due);
        loop {
            // Judged again whenever it may have changed (law L12).
            let standing = call.caller.standing(call.domain());
            let left = u64::try_from(call.caller.not_after.seconds_since(now())).unwrap_or(0);
            if standing != Standing::Good || left == 0 {
                let denied = if left == 0 { Denied::Expired } else { Denied::Standing(standing) };
                return Next::End(denied.into());
            }
            tokio::select! {
                biased;
                asked = check.asked.recv() => return match asked {
                    Some(waiting) => Next::Ask(Some(waiting)),
                    None => Next::End(Status::aborted("another stream of this agent took the place of this one")),
                },
                _changed = agents.changed() => {}
                () = node.to.closed() => return Next::Gone,
                () = tokio::time::sleep(Duration::from_secs(left.saturating_add(1))) => {}
                () = &mut due => return Next::Ask(None),
            }
        }
    }
}

/// The node at the other end.
struct Node {
    answers: Streaming<wire::ShowStateRequest>,
    to: mpsc::Sender<Result<wire::ShowStateResponse, Status>>,
}

impl Node {
    /// Whether it took this in time, or is gone, which the next step finds. A node that reads nothing holds no stream.
    async fn tell(&self, what: Result<wire::ShowStateResponse, Status>) -> bool {
        tokio::time::timeout(PATIENCE, self.to.send(what)).await.is_ok()
    }

    async fn next(&mut self) -> Result<Vec<u8>, AttestError> {
        let message = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        let message = message.map_err(|_| AttestError::Silent)?.map_err(|status| {
            if status.is_caller_fault() { AttestError::Message(status.log_message()) } else { AttestError::Gone }
        })?;
        message.map(|message| message.answer).ok_or(AttestError::Gone)
    }
}

impl AnsweringNode for Node {
    async fn answer(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, AttestError> {
        let what = Some(What::Challenge(challenge));
        let _gone = self.to.send(Ok(wire::ShowStateResponse { what })).await;
        self.next().await
    }
}
