//! Chains that were verified within the same second. Each is verified in the handshake and once more after it, and a
//! peer that opens many connections shows the same one on all. What is kept is a result for equal arguments, so that
//! nothing is believed longer.

use std::sync::{Arc, Mutex, PoisonError};

use sekisho_identity::{Bundle, LeafFacts, X509Error, verify_svid};
use sekisho_types::{UnixTime, Verified};

/// Chains that are kept at once; of more peers in one second, some are verified again.
const MAX_KEPT: usize = 64;

struct CachedChain {
    chain: Vec<Vec<u8>>,
    /// Held, so that no other bundle comes to stand at its place in memory.
    bundle: Arc<Bundle>,
    facts: Verified<LeafFacts>,
}

/// The second that they were verified for, and the chains.
struct Recent(i64, Vec<CachedChain>);

static RECENT: Mutex<Recent> = Mutex::new(Recent(0, Vec::new()));

/// As [`verify_svid`], which looks at whole seconds.
pub(crate) fn verify(chain: &[Vec<u8>], bundle: &Arc<Bundle>, now: UnixTime) -> Result<Verified<LeafFacts>, X509Error> {
    verify_once(&RECENT, chain, bundle, now, verify_svid)
}

fn verify_once(
    recent: &Mutex<Recent>,
    chain: &[Vec<u8>],
    bundle: &Arc<Bundle>,
    now: UnixTime,
    verify: impl FnOnce(&[Vec<u8>], &Bundle, UnixTime) -> Result<Verified<LeafFacts>, X509Error>,
) -> Result<Verified<LeafFacts>, X509Error> {
    let second = now.seconds();
    let find = |recent: &mut Recent| {
        if recent.0 != second {
            *recent = Recent(second, Vec::new());
        }
        let known = recent.1.iter().find(|kept| Arc::ptr_eq(&kept.bundle, bundle) && kept.chain == chain);
        known.map(|known| known.facts.clone())
    };
    if let Some(known) = find(&mut recent.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(known);
    }
    let facts = verify(chain, bundle, now)?;
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.0 == second && recent.1.len() < MAX_KEPT {
        recent.1.push(CachedChain { chain: chain.to_vec(), bundle: bundle.clone(), facts: facts.clone() });
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sekisho_types::{Claims, SpiffeId, TrustDomain};

    use super::*;

    #[test]
    fn equal_arguments_are_verified_once_a_second() {
        let (recent, verified) = (Mutex::new(Recent(0, vec![])), Cell::new(0));
        let bundle = || Arc::new(Bundle::empty(TrustDomain::parse("example.org").unwrap()));
        let (one, other) = (bundle(), bundle());
        let ask = |chain: &[&[u8]], bundle: &Arc<Bundle>, nanos| {
            let chain: Vec<_> = chain.iter().map(|der| der.to_vec()).collect();
            let facts = LeafFacts {
                spiffe_id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
                not_before: UnixTime::from_seconds(0),
                not_after: UnixTime::from_seconds(9),
                serial: "1".into(),
                claims: Claims::default(),
                public_key: vec![],
                issuance: None,
            };
            let verify = |chain: &[Vec<u8>], _: &Bundle, _: UnixTime| {
                verified.set(verified.get() + 1);
                if chain.is_empty() { Err(X509Error::ChainSize) } else { Ok(Verified::assertion(facts)) }
            };
            let found = verify_once(&recent, &chain, bundle, UnixTime::from_nanos(nanos), verify);
            (found.is_ok(), verified.get())
        };
        assert_eq!(ask(&[b"leaf"], &one, 1_000_000_000), (true, 1));
        assert_eq!(ask(&[b"leaf"], &one, 1_999_999_999), (true, 1));
        assert_eq!(ask(&[b"leaf", b"intermediate"], &one, 1_000_000_000), (true, 2));
        assert_eq!(ask(&[b"leaf"], &other, 1_000_000_000), (true, 3));
        assert_eq!(ask(&[b"leaf"], &one, 2_000_000_000), (true, 4));
        // A clock that is set back begins anew, and a refusal is not kept.
        assert_eq!(ask(&[b"leaf"], &one, 1_000_000_000), (true, 5));
        assert_eq!((ask(&[], &one, 1_000_000_000), ask(&[], &one, 1_000_000_000)), ((false, 6), (false, 7)));
    }
}
