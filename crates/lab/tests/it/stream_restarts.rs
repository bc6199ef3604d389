//! Streams of agents over restarts of the server's process, and over folders that were put back.

use sekisho_proto::server::Position;

use crate::ledger_crash::copy;
use crate::peers::Attested;
use crate::streams::{ids, next, open, position};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_after_a_server_restart() {
    let mut world = World::start();
    let (agent, other) = (Attested::new(&world).await, Attested::new(&world).await);
    let (kept, gone) = (agent.entry(&world, "/own/kept").await, agent.entry(&world, "/own/gone").await);
    let (changes, first) = open(&world, &agent, None).await.unwrap();
    assert!(first.complete && first.entries.len() == 2 && first.policy.is_some(), "{first:?}");
    drop(changes);
    other.entry(&world, "/other/a").await;
    world.text(&["entry", "delete", &gone]);
    let before = agent.entry(&world, "/own/before").await;
    drop(world.server.take());
    world.start_server();
    let after = agent.entry(&world, "/own/after").await;
    let held = position(&agent, &first.epoch, &first);
    let (mut changes, second) = open(&world, &agent, Some(held)).await.unwrap();
    assert!(!second.complete && second.revision > first.revision, "{second:?}");
    let mut sent = ids(&second);
    sent.sort_unstable();
    let mut expected = [before.as_str(), after.as_str()];
    expected.sort_unstable();
    assert_eq!(sent, expected, "what is held as it is, is not sent again, and what is another agent's neither");
    assert_eq!(second.removed_entry_ids, [gone.as_str()]);
    assert!(second.policy.is_none() && !second.held_sha256.is_empty());
    // The deletion's revocation, which came after the position.
    assert_eq!(second.revocations.len(), 1);
    // And from there each change alone.
    world.text(&["entry", "delete", &kept]);
    let third = next(&mut changes).await.unwrap();
    assert_eq!((third.removed_entry_ids.as_slice(), third.revocations.len()), ([kept].as_slice(), 1));
    // A position that no agent was given.
    let lie = Position { revision: 1 << 50, ..position(&agent, &second.epoch, &third) };
    assert!(open(&world, &agent, Some(lie)).await.unwrap().1.complete);
    let unknown = Position { epoch: vec![7; 16], ..position(&agent, &second.epoch, &third) };
    assert!(open(&world, &agent, Some(unknown)).await.unwrap().1.complete);
    // Under parents that are not its own it is sent nothing.
    let nosy = Position { parent_ids: vec![other.id.clone()], ..position(&agent, &second.epoch, &third) };
    let (_, sent) = open(&world, &agent, Some(nosy)).await.unwrap();
    assert_eq!(sent.removed_parent_ids, [other.id]);
    assert!(sent.removed_entry_ids.is_empty() && sent.entries.len() == 2, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_sends_everything_again() {
    let mut world = World::start();
    let agent = Attested::new(&world).await;
    let kept = agent.entry(&world, "/own/kept").await;
    let (data, backup) = (world.path("s").display().to_string(), world.path("backup").display().to_string());
    world.json(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &backup]);
    drop(world.server.take());
    copy(&world.path("s"), &world.path("snapshot"));
    world.start_server();
    let lost = agent.entry(&world, "/own/lost").await;
    let (_, first) = open(&world, &agent, None).await.unwrap();
    assert_eq!(first.entries.len(), 2);
    drop(world.server.take());
    // By hand: the same folder, and revisions that soon pass those which the agent has seen.
    std::fs::rename(world.path("s"), world.path("later")).unwrap();
    std::fs::rename(world.path("snapshot"), world.path("s")).unwrap();
    world.start_server();
    for number in 0..5 {
        world.text(&["entry", "delete", &agent.entry(&world, &format!("/own/{number}")).await]);
    }
    let held = || Some(position(&agent, &first.epoch, &first));
    let (changes, second) = open(&world, &agent, held()).await.unwrap();
    assert!(second.revision > first.revision, "{} after {}", second.revision, first.revision);
    assert!(second.complete && ids(&second) == [kept.as_str()], "{lost} is gone: {second:?}");
    drop((changes, world.server.take()));
    world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &backup]);
    world.start_server();
    for (epoch, message) in [(&first.epoch, &first), (&second.epoch, &second)] {
        let (_, third) = open(&world, &agent, Some(position(&agent, epoch, message))).await.unwrap();
        assert!(third.complete && ids(&third) == [kept.as_str()], "{third:?}");
    }
}
