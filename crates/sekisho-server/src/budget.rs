//! What one agent may put into the log, so that a node in good standing fills neither the log nor the disk (law L9).
//! What it is refused beyond that is counted, and the count is a leaf.

use sekisho_net::Rates;
use sekisho_types::{SpiffeId, UnixTime};

pub(crate) struct Budgets {
    /// Leaves that say what an agent was refused.
    refusals: Rates<String>,
    tokens: Rates<SpiffeId>,
    /// Bytes of the leaves of tokens and of X.509-SVIDs, and of what opens their commitments.
    token_bytes: Rates<SpiffeId>,
    svid_bytes: Rates<SpiffeId>,
    /// Streams of changes: each begins with a look at all that the agent may have.
    streams: Rates<SpiffeId>,
    /// Streams on which a node shows its state: each begins with a question.
    state_streams: Rates<SpiffeId>,
    /// Leaves of batches of records: a batch may hold one record.
    records: Rates<SpiffeId>,
}

impl Budgets {
    /// A node of 10,000 workloads renews 22 X.509-SVIDs a second, and asks for all of them at once when it starts.
    pub(crate) const fn new() -> Self {
        Self {
            refusals: Rates::new(5.0, 100.0),
            tokens: Rates::new(200.0, 2000.0),
            token_bytes: Rates::new(256.0 * 1024.0, 4.0 * 1024.0 * 1024.0),
            svid_bytes: Rates::new(2.0 * 1024.0 * 1024.0, 64.0 * 1024.0 * 1024.0),
            streams: Rates::new(1.0, 30.0),
            state_streams: Rates::new(0.2, 30.0),
            records: Rates::new(200.0, 2000.0),
        }
    }

    pub(crate) fn refusal(&self, caller: &str, now: UnixTime) -> bool {
        self.refusals.take(caller.to_owned(), now)
    }

    pub(crate) fn token(&self, agent: &SpiffeId, bytes: usize, now: UnixTime) -> bool {
        self.tokens.take(agent.clone(), now) && self.token_bytes.take_many(agent.clone(), bytes as f64, now)
    }

    /// A sidecar sends ten batches a second at most while there is more to send, and each batch takes a leaf.
    pub(crate) fn records(&self, agent: &SpiffeId, now: UnixTime) -> bool {
        self.records.take(agent.clone(), now)
    }

    /// An honest agent opens one when it starts, when its SVID is renewed, and after each loss of its connection.
    pub(crate) fn stream(&self, agent: &SpiffeId, now: UnixTime) -> bool {
        self.streams.take(agent.clone(), now)
    }

    /// Opened as a stream of changes is.
    pub(crate) fn state_stream(&self, agent: &SpiffeId, now: UnixTime) -> bool {
        self.state_streams.take(agent.clone(), now)
    }

    pub(crate) fn x509(&self, agent: &SpiffeId, bytes: usize, now: UnixTime) -> bool {
        self.svid_bytes.take_many(agent.clone(), bytes as f64, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_each_agent_has_its_own_budget() {
        let budgets = Budgets::new();
        let now = UnixTime::from_seconds(1_800_000_000);
        let [one, other] =
            ["one", "other"].map(|name| SpiffeId::parse(&format!("spiffe://example.org/spire/agent/{name}")).unwrap());
        let refusals = (0..225_502).filter(|_| budgets.refusal(&one.to_string(), now)).count();
        assert_eq!(refusals, 100);
        let tokens = (0..30_000).filter(|_| budgets.token(&one, 8192, now)).count();
        assert_eq!(tokens, 512, "4 MiB of leaves");
        let small = (0..30_000).filter(|_| budgets.token(&other, 700, now)).count();
        assert_eq!(small, 2000);
        assert_eq!((0..100_000).filter(|_| budgets.x509(&one, 1200, now)).count(), 64 * 1024 * 1024 / 1200);
        assert_eq!((0..50_000).filter(|_| budgets.records(&one, now)).count(), 2000);
        assert_eq!((0..1000).filter(|_| budgets.stream(&one, now)).count(), 30);
        assert!(budgets.stream(&other, now) && budgets.stream(&one, now.plus_seconds(1)));
        assert!(budgets.records(&other, now) && budgets.records(&one, now.plus_seconds(1)));
        assert!(budgets.refusal(&other.to_string(), now) && budgets.x509(&other, 1200, now));
        assert!(budgets.refusal(&one.to_string(), now.plus_seconds(1)));
        assert!(budgets.token(&one, 8192, now.plus_seconds(1)));
    }
}
