//! One agent's stream. It holds no queue: only how far it has read, and its place among the streams.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::{Node, Standing};
use sekisho_proto::server as wire;
use sekisho_runtime::now;
use sekisho_store::Epoch;
use sekisho_types::{SpiffeId, UnixTime};
use tokio::sync::oneshot;

use super::catch_up::{Cursor, Update};
use super::parts::Parts;
use super::stream_slot::StreamSlot;
use crate::recent::{Generation, Since};
use crate::view::State;

/// How long a stream waits for its first request, which may hold a position.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Another stream of the same agent took its place.
    Replaced,
    /// The SVID expired that it shows.
    Expired,
    /// Its agent does not stand well.
    Standing(Standing),
}

/// An agent, and the SVID that its stream shows.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub agent: SpiffeId,
    pub serial: String,
    pub ends: UnixTime,
}

/// What an agent says that it holds, and in which history.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub epoch: Epoch,
    pub cursor: Cursor,
}

/// The parents that an agent serves, and of when that is.
struct ServedParents {
    parents: Arc<BTreeSet<SpiffeId>>,
    node: Arc<Node>,
    computed: Generation,
    /// An entry ends then, which may be one by which it serves them.
    until: Option<UnixTime>,
}

impl ServedParents {
    fn of(state: &State, node: &Arc<Node>, server: &SpiffeId, now: UnixTime) -> Self {
        let parents = Arc::new(state.serves(node, server, now));
        Self { parents, node: node.clone(), computed: state.generation, until: state.expiries.after(now) }
    }

    fn is_current(&self, state: &State, node: &Node, now: UnixTime) -> bool {
        !state.recent.moved_after(self.computed)
            && self.until.is_none_or(|until| until > now)
            && self.node.selectors == node.selectors
    }
}

pub(crate) struct Feed {
    slot: StreamSlot,
    shown: Shown,
    /// Comes with the first request.
    position: Option<oneshot::Receiver<Option<Position>>>,
    serves: Option<ServedParents>,
    cursor: Option<Cursor>,
    parts: Option<Parts>,
    is_over: bool,
}

/// What a look at the state gave.
enum FeedStep {
    Send(Box<wire::WatchResponse>),
    /// The stream has to be found by other parents first.
    Moved(ServedParents),
    Nothing,
}

impl Feed {
    pub(super) const fn new(slot: StreamSlot, shown: Shown, position: oneshot::Receiver<Option<Position>>) -> Self {
        Self { slot, shown, position: Some(position), serves: None, cursor: None, parts: None, is_over: false }
    }

    /// The next message, made when it can be sent. Nothing is sent to an agent that was banned, or whose SVID was
    /// replaced or has expired (laws L6 and L12).
    pub(crate) async fn next(&mut self) -> Option<Result<wire::WatchResponse, CloseReason>> {
        if self.is_over {
            return None;
        }
        if let Some(position) = self.position.take() {
            let position = tokio::time::timeout(PATIENCE, position).await.ok().and_then(Result::ok).flatten();
            let continues = |position: &Position| {
                let Since::Revision(revision) = position.cursor.since else { return false };
                self.slot.view().read(|state| state.recent.continues(position.epoch, revision, state.revision))
            };
            self.cursor = position.filter(continues).map(|position| position.cursor);
        }
        loop {
            match self.look() {
                Err(ended) => {
                    self.is_over = true;
                    return Some(Err(ended));
                }
                Ok(FeedStep::Send(message)) => return Some(Ok(*message)),
                Ok(FeedStep::Moved(serves)) => {
                    // Found by them before the state is read again: no change in between is missed.
                    self.slot.serve(&serves.parents, &serves.node);
                    self.serves = Some(serves);
                }
                Ok(FeedStep::Nothing) => self.wait().await,
            }
        }
    }

    /// Until the bell rings, or the SVID expires that opened the stream.
    async fn wait(&self) {
        let left = u64::try_from(self.shown.ends.seconds_since(now())).unwrap_or(0);
        tokio::select! {
            biased;
            () = self.slot.woken() => {}
            () = tokio::time::sleep(Duration::from_secs(left.saturating_add(1))) => {}
        }
    }

    fn look(&mut self) -> Result<FeedStep, CloseReason> {
        if self.slot.is_replaced() {
            return Err(CloseReason::Replaced);
        }
        let (clock, server) = (now(), self.slot.server().clone());
        if self.shown.ends <= clock {
            return Err(CloseReason::Expired);
        }
        let Self { slot, shown, serves, cursor, parts, .. } = self;
        slot.view().read(|state| {
            let node = state.nodes.get(&shown.agent);
            let standing = Node::standing(node.map(AsRef::as_ref), &shown.serial);
            let (Some(node), Standing::Good) = (node, standing) else { return Err(CloseReason::Standing(standing)) };
            let Some(current) = serves.as_ref().filter(|serves| serves.is_current(state, node, clock)) else {
                return Ok(FeedStep::Moved(ServedParents::of(state, node, &server, clock)));
            };
            let may_have = |entry: &sekisho_identity::Entry| {
                let known = state.entries.get(&entry.id);
                known.is_some_and(|known| **known == *entry) && current.parents.contains(&entry.parent_id)
            };
            if let Some(message) = parts.as_mut().and_then(|parts| parts.next(may_have)) {
                return Ok(FeedStep::Send(Box::new(message)));
            }
            let (update, after) = Update::of(state, cursor.as_ref(), &current.parents, clock);
            *cursor = Some(after);
            if update.is_empty() {
                return Ok(FeedStep::Nothing);
            }
            let mut made = Parts::of(update);
            let message = made.next(|_| true);
            *parts = Some(made);
            Ok(message.map_or(FeedStep::Nothing, |message| FeedStep::Send(Box::new(message))))
        })
    }
}
