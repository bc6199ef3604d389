//! Nodes that show their state again and again: on a schedule, and when an operator asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_api::DrillKind;
use sekisho_runtime::random_u32;
use sekisho_types::SpiffeId;
use tokio::sync::{mpsc, oneshot};

/// Operators who wait for one node.
const MAX_WAITING: usize = 16;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateOutcome {
    Accepted,
    /// Why the state is refused.
    Denied(String),
    /// Why there is no verdict: the node answered, and its answer cannot be used, or this server failed.
    Undecided(String),
}

/// What came of a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DrillOutcome {
    /// Why it was refused, and how long after its begin.
    Refused(String, Duration),
    /// It passed.
    Accepted,
    /// Why it could not be tried: the node's own state is refused, or it does not answer.
    NotTried(String),
}

/// What is wanted of a node, and who waits for it.
#[derive(Debug)]
pub(crate) enum Question {
    State(oneshot::Sender<StateOutcome>),
    /// An attack is played, with what the node answers.
    Drill(DrillKind, oneshot::Sender<DrillOutcome>),
}

/// The nodes with an open stream, each with the way to ask it now.
#[derive(Default, Clone)]
pub(crate) struct StateChecks(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    nodes: BTreeMap<SpiffeId, (u64, mpsc::Sender<Question>)>,
    last: u64,
}

/// A node's stream. Its end takes the node out, unless another stream took its place.
pub(crate) struct OpenCheck {
    checks: StateChecks,
    id: SpiffeId,
    number: u64,
    /// Questions of operators; it ends when another stream takes this one's place.
    pub asked: mpsc::Receiver<Question>,
}

impl StateChecks {
    /// Takes a node's stream in, in the place of the one that it had.
    pub(crate) fn enter(&self, id: &SpiffeId) -> OpenCheck {
        let (ask, asked) = mpsc::channel(MAX_WAITING);
        let mut open = self.lock();
        open.last += 1;
        let number = open.last;
        open.nodes.insert(id.clone(), (number, ask));
        drop(open);
        OpenCheck { checks: self.clone(), id: id.clone(), number, asked }
    }

    /// Asks a node for its state now. `None`: it has no stream, or too many wait for it.
    pub(crate) fn ask(&self, id: &SpiffeId) -> Option<oneshot::Receiver<StateOutcome>> {
        let (waiting, outcome) = oneshot::channel();
        self.put(id, Question::State(waiting)).then_some(outcome)
    }

    /// Plays an attack with what a node answers. `None`: as above.
    pub(crate) fn drill(&self, id: &SpiffeId, kind: DrillKind) -> Option<oneshot::Receiver<DrillOutcome>> {
        let (waiting, outcome) = oneshot::channel();
        self.put(id, Question::Drill(kind, waiting)).then_some(outcome)
    }

    fn put(&self, id: &SpiffeId, question: Question) -> bool {
        let ask = self.lock().nodes.get(id).map(|(_, ask)| ask.clone());
        ask.is_some_and(|ask| ask.try_send(question).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenCheck {
    fn drop(&mut self) {
        let mut open = self.checks.lock();
        if open.nodes.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            open.nodes.remove(&self.id);
        }
    }
}

/// When the next question comes: between nine tenths of the interval and all of it, so that nodes which began together
/// do not go on together.
pub(crate) fn pause(every_seconds: u32) -> Duration {
    let tenth = u64::from(every_seconds) * 100;
    Duration::from_millis(u64::from(every_seconds) * 900 + u64::from(random_u32()) % (tenth + 1))
}

/// How old the last proof of a node may be that gets identities. Two questions may be lost on the way.
pub(crate) const fn longest_silence_seconds(every_seconds: u32) -> i64 {
    every_seconds as i64 * 3 + 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_stream_takes_the_place() {
        let (checks, id) = (StateChecks::default(), SpiffeId::parse("spiffe://td/spire/agent/a").unwrap());
        assert!(checks.ask(&id).is_none());
        let mut first = checks.enter(&id);
        let _outcome = checks.ask(&id).unwrap();
        assert!(first.asked.try_recv().is_ok());
        let mut second = checks.enter(&id);
        assert_eq!(first.asked.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
        drop(first);
        let _outcome = checks.ask(&id).expect("the second stream stays");
        assert!(second.asked.try_recv().is_ok());
        drop(second);
        assert!(checks.ask(&id).is_none());
    }

    #[test]
    fn questions_are_spread_over_a_tenth() {
        let pauses: Vec<u128> = (0..500).map(|_| pause(60).as_millis()).collect();
        assert!(pauses.iter().all(|pause| (54_000..=60_000).contains(pause)));
        assert!(pauses.iter().max().unwrap() - pauses.iter().min().unwrap() > 4_000);
    }
}
