//! A full disk, where a server takes what nodes decided.

use tonic::Code;

use crate::faults::{Full, Shim};
use crate::node_attacks::decides;
use crate::peers::{Attested, clock};
use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn law_l5_a_batch_without_free_space_is_logged_once() {
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    let peer = Attested::new(&world).await;
    peer.entry(&world, "/own/a").await;
    let at = clock();
    shim.set(0, 0, Full::Decisions);
    for _ in 0..4 {
        let refused = decides(&peer, at, "/own/a", "s:3").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    }
    shim.set(0, 0, Full::None);
    let index = decides(&peer, at, "/own/a", "s:3").await.unwrap();
    assert_eq!(decides(&peer, at, "/own/a", "s:3").await.unwrap(), index);
    let batches = eventually("a batch", || Some(world.leaves("decision-batch")).filter(|batches| !batches.is_empty()));
    assert_eq!(batches.len(), 1, "{batches:?}");
    // The log states once that three came before it which it does not have, and not as if they were lost.
    let gaps = world.leaves("gap");
    assert_eq!((gaps.len(), gaps[0]["lost"].as_i64()), (1, Some(3)), "{gaps:?}");
    assert!(gaps[0]["what"].as_str().unwrap().contains("before the first"), "{gaps:?}");
    assert_eq!(world.json(&["decisions"]).as_array().unwrap().len(), 1);
}
