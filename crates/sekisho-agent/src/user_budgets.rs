//! What the processes of one user may ask the server for: a share of what the server's log takes from this node, so
//! that no user uses up what the others need (law L9). The server's own budget for a node is in its `budget.rs`.

use sekisho_identity::{Entry, selectors_record};
use sekisho_net::Rates;
use sekisho_types::{SelectorSet, UnixTime};

use crate::refusal::Refusal;

/// The budgets of users: one user gets a quarter of the server's budget for this node.
pub(crate) struct UserBudgets {
    tokens: Rates<u32>,
    token_bytes: Rates<u32>,
    svids: Rates<u32>,
}

impl UserBudgets {
    pub(crate) const fn new() -> Self {
        Self {
            tokens: Rates::new(50.0, 500.0),
            token_bytes: Rates::new(64.0 * 1024.0, 1024.0 * 1024.0),
            // Of some 1.5 kB each. A user may run all workloads of a large node, and starts them at once.
            svids: Rates::new(100.0, 10_000.0),
        }
    }

    /// Takes a JWT-SVID whose leaf has about `bytes` from the user's share.
    pub(crate) fn token(&self, uid: u32, bytes: usize, now: UnixTime) -> Result<(), Refusal> {
        if self.tokens.take(uid, now) && self.token_bytes.take_many(uid, bytes as f64, now) {
            return Ok(());
        }
        Err(Refusal::TokenShare(uid))
    }

    /// The same for an X.509-SVID.
    pub(crate) fn x509(&self, uid: u32, now: UnixTime) -> Result<(), Refusal> {
        if self.svids.take(uid, now) {
            return Ok(());
        }
        Err(Refusal::SvidShare(uid))
    }
}

/// About what the leaf of a JWT-SVID takes at the server, with what opens its commitments.
pub(crate) fn token_size(entry: &Entry, audience: &[String], selectors: &SelectorSet) -> usize {
    let audience: usize = audience.iter().map(|name| name.len() + 1).sum();
    audience + selectors_record(selectors).len() + entry.spiffe_id.to_string().len() + 1200
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_no_user_exhausts_the_nodes_budget() {
        let user_budgets = UserBudgets::new();
        let now = UnixTime::from_seconds(1_800_000_000);
        let tokens = |uid, bytes| (0..30_000).filter(|_| user_budgets.token(uid, bytes, now).is_ok()).count();
        // The server takes 2,000 tokens and 4 MiB of their leaves from a node at once.
        assert_eq!(tokens(7, 700), 500);
        assert_eq!(tokens(8, 8192), 128);
        assert_eq!(tokens(9, 700), 500, "two users left the third its share");
        let svids = |uid| (0..100_000).filter(|_| user_budgets.x509(uid, now).is_ok()).count();
        assert_eq!((svids(7), svids(8)), (10_000, 10_000));
        assert!(
            user_budgets.token(7, 700, now.plus_seconds(1)).is_ok()
                && user_budgets.x509(7, now.plus_seconds(1)).is_ok()
        );
        let refused = user_budgets.token(7, 1 << 30, now).unwrap_err();
        assert!(matches!(refused, Refusal::TokenShare(7)), "{refused}");
    }
}
