//! An agent's stream of changes: where it goes on, when it begins with everything, and that an agent has one.

use std::time::Duration;

use sekisho_proto::server::{Position, WatchRequest, WatchResponse, node_client::NodeClient};
use sekisho_proto::spire::entry::v1::{SyncAuthorizedEntriesRequest, entry_client::EntryClient};
use tonic::{Code, Status, Streaming};

use crate::peers::{Attested, Place, client};
use crate::revocations::Operator;
use crate::within::World;

/// A stream that goes on from a position, with its first message.
pub async fn open(
    world: &impl Place,
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

pub async fn next(changes: &mut Streaming<WatchResponse>) -> Result<WatchResponse, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), changes.message()).await;
    message.map_err(|_| Status::deadline_exceeded("no message came"))??.ok_or_else(|| Status::unknown("it ended"))
}

/// Where an agent is that has applied all that this message leads to.
pub fn position(agent: &Attested, epoch: &[u8], message: &WatchResponse) -> Position {
    Position {
        epoch: epoch.to_vec(),
        revision: message.revision,
        parent_ids: vec![agent.id.clone()],
        bundle_sequence: 0,
        policy_revision: message.policy.as_ref().map_or(0, |policy| policy.revision),
    }
}

pub fn ids(message: &WatchResponse) -> Vec<&str> {
    message.entries.iter().map(|entry| entry.id.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn law_l9_an_agent_has_one_stream() {
    let world = World::start().await;
    let (hostile, honest) = (Attested::new(&world).await, Attested::new(&world).await);
    let (mut first, _) = open(&world, &hostile, None).await.unwrap();
    let (mut second, _) = open(&world, &hostile, None).await.unwrap();
    let ended = next(&mut first).await.unwrap_err();
    assert!(ended.code() == Code::Aborted && ended.message().contains("another stream"), "{ended:?}");
    hostile.entry(&world, "/own/a").await;
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
    let entry = honest.entry(&world, "/other/a").await;
    let message = next(&mut changes).await.unwrap();
    assert_eq!(ids(&message), [entry.as_str()]);
    // A ban ends a stream at once, and a position opens none.
    world.text(&["agents", "ban", &honest.id]).await;
    assert_eq!(next(&mut changes).await.unwrap_err().code(), Code::PermissionDenied);
    let held = position(&honest, &[0; 16], &message);
    assert_eq!(open(&world, &honest, Some(held)).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn law_l12_a_ban_closes_an_idle_sync_stream() {
    let world = World::start().await;
    let agent = Attested::new(&world).await;
    let operator = Operator(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    let entries = operator.entries(&agent.id, 0, 600).await;
    let (send, requests) = tokio::sync::mpsc::channel(4);
    send.send(SyncAuthorizedEntriesRequest::default()).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut pages = EntryClient::new(agent.channel.clone()).sync_authorized_entries(stream).await.unwrap().into_inner();
    while pages.message().await.unwrap().unwrap().more {}
    let asked = |ids: &[String]| SyncAuthorizedEntriesRequest { output_mask: None, ids: ids.to_vec() };
    // What is deleted meanwhile is not sent, though the stream began with it.
    operator.delete(entries[..10].to_vec()).await;
    send.send(asked(&entries[..20])).await.unwrap();
    assert_eq!(pages.message().await.unwrap().unwrap().entries.len(), 10);
    world.text(&["agents", "ban", &agent.id]).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), pages.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("banned"), "{ended:?}");
}
