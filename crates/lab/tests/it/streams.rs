//! An agent's stream of changes: where it goes on, when it begins with everything, and that an agent has one.

use std::time::Duration;

use sekisho_proto::server::{Position, WatchRequest, WatchResponse, node_client::NodeClient};
use tonic::{Code, Status, Streaming};

use crate::ledger_crash::copy;
use crate::peers::{Attested, client};
use crate::world::World;

/// A stream that goes on from a position, with its first message.
async fn open(
    world: &World,
    agent: &Attested,
    position: Option<Position>,
) -> Result<(Streaming<WatchResponse>, WatchResponse), Status> {
    let request = WatchRequest { position, ..Default::default() };
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    let channel = client(world, Some(&agent.identity));
    let mut changes = NodeClient::new(channel).watch(requests).await?.into_inner();
    let first = next(&mut changes).await?;
    Ok((changes, first))
}

async fn next(changes: &mut Streaming<WatchResponse>) -> Result<WatchResponse, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), changes.message()).await;
    message.map_err(|_| Status::deadline_exceeded("no message came"))??.ok_or_else(|| Status::unknown("it ended"))
}

/// Where an agent is that has applied all that this message leads to.
fn position(agent: &Attested, epoch: &[u8], message: &WatchResponse) -> Position {
    Position {
        epoch: epoch.to_vec(),
        revision: message.revision,
        parent_ids: vec![agent.id.clone()],
        bundle_sequence: 0,
        policy_revision: message.policy.as_ref().map_or(0, |policy| policy.revision),
    }
}

fn ids(message: &WatchResponse) -> Vec<&str> {
    message.entries.iter().map(|entry| entry.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_from_its_position_over_a_restart_of_the_server() {
    let mut world = World::start();
    let (agent, other) = (Attested::new(&world).await, Attested::new(&world).await);
    let (kept, gone) = (agent.entry(&world, "/own/kept"), agent.entry(&world, "/own/gone"));
    let (changes, first) = open(&world, &agent, None).await.unwrap();
    assert!(first.complete && first.entries.len() == 2 && first.policy.is_some(), "{first:?}");
    drop(changes);
    other.entry(&world, "/other/a");
    world.text(&["entry", "delete", &gone]);
    let before = agent.entry(&world, "/own/before");
    drop(world.server.take());
    world.start_server();
    let after = agent.entry(&world, "/own/after");
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
async fn a_restored_folder_and_one_put_back_by_hand_begin_with_everything() {
    let mut world = World::start();
    let agent = Attested::new(&world).await;
    let kept = agent.entry(&world, "/own/kept");
    let (data, backup) = (world.path("s").display().to_string(), world.path("backup").display().to_string());
    world.json(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &backup]);
    drop(world.server.take());
    copy(&world.path("s"), &world.path("snapshot"));
    world.start_server();
    let lost = agent.entry(&world, "/own/lost");
    let (_, first) = open(&world, &agent, None).await.unwrap();
    assert_eq!(first.entries.len(), 2);
    drop(world.server.take());
    // By hand: the same folder, and revisions that soon pass those which the agent has seen.
    std::fs::rename(world.path("s"), world.path("later")).unwrap();
    std::fs::rename(world.path("snapshot"), world.path("s")).unwrap();
    world.start_server();
    for number in 0..5 {
        world.text(&["entry", "delete", &agent.entry(&world, &format!("/own/{number}"))]);
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

#[tokio::test(flavor = "multi_thread")]
async fn law_l9_an_agent_has_one_stream_and_one_that_opens_many_holds_no_other_up() {
    let world = World::start();
    let (hostile, honest) = (Attested::new(&world).await, Attested::new(&world).await);
    let (mut first, _) = open(&world, &hostile, None).await.unwrap();
    let (mut second, _) = open(&world, &hostile, None).await.unwrap();
    let ended = next(&mut first).await.unwrap_err();
    assert!(ended.code() == Code::Aborted && ended.message().contains("another stream"), "{ended:?}");
    hostile.entry(&world, "/own/a");
    assert_eq!(next(&mut second).await.unwrap().entries.len(), 1, "the second goes on");
    let (mut changes, _) = open(&world, &honest, None).await.unwrap();
    let mut refused = 0;
    for _ in 0..60 {
        if let Err(status) = open(&world, &hostile, None).await {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused} of 60 streams refused");
    let entry = honest.entry(&world, "/other/a");
    let message = next(&mut changes).await.unwrap();
    assert_eq!(ids(&message), [entry.as_str()]);
    // A ban ends a stream at once, and a position opens none.
    world.text(&["agents", "ban", &honest.id]);
    assert_eq!(next(&mut changes).await.unwrap_err().code(), Code::PermissionDenied);
    let held = position(&honest, &[0; 16], &message);
    assert_eq!(open(&world, &honest, Some(held)).await.unwrap_err().code(), Code::PermissionDenied);
}
