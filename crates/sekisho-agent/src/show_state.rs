//! The node shows its state when the server asks: on a schedule, and when an operator wants to know.

use std::sync::Arc;
use std::time::Duration;

use sekisho_net::{TlsSource, grpc_over_one};
use sekisho_proto::server::show_state_response::What;
use sekisho_proto::server::{ShowStateRequest, node_client::NodeClient};
use sekisho_runtime::random_u32;

use crate::attest::{Proving, dialer};
use crate::backoff::Backoff;
use crate::config::AgentArgs;
use crate::core::Core;
use crate::error::AgentError;
use crate::server_failure::Kind;

/// A server that does not ask, and a node that has nothing to show.
const NOT_ASKED: Duration = Duration::from_secs(600);

/// Shows the node's state as long as the agent runs. A node that cannot, does nothing here.
pub(crate) async fn run(core: Arc<Core>, args: AgentArgs) {
    let mut backoff = Backoff::default();
    loop {
        if !args.proofs.shows_state() {
            tokio::time::sleep(NOT_ASKED).await;
            continue;
        }
        match show(&core, &args, &mut backoff).await {
            // The agent's SVID was renewed: the next connection shows the new one.
            Ok(()) => {}
            Err(AgentError::Server(failure)) if failure.kind == Kind::Unimplemented => {
                tokio::time::sleep(NOT_ASKED).await;
            }
            Err(AgentError::Server(failure)) if failure.denies_state() => {
                tracing::error!(
                    reason = failure.message,
                    "the server does not accept the state of this node; the agent serves none of its SVIDs"
                );
                core.svids.drop_all();
                core.cache.request_save();
                core.server_state.update(|_| {});
                core.upstream.attest_wanted.notify_one();
            }
            Err(error) => tracing::warn!(%error, "this node does not show its state; the agent will try again"),
        }
        tokio::time::sleep(backoff.pause(random_u32())).await;
    }
}

/// Until the agent's SVID is renewed, or the stream ends.
async fn show(core: &Arc<Core>, args: &AgentArgs, backoff: &mut Backoff) -> Result<(), AgentError> {
    let mut redialled = core.upstream.redialled.subscribe();
    // Answers name the key of the SVID that the connection shows, so it is this one and no later one.
    let own = core.upstream.own();
    let source = TlsSource::new(own.tls(core.server_state.bundle())?);
    let (server, peer) = grpc_over_one(&dialer(&source, args)?).await?;
    let leaf = own.chain.first().and_then(|leaf| sekisho_identity::leaf_facts(leaf).ok());
    let public_key: Arc<[u8]> = leaf.ok_or(AgentError::Answer("the SVID has no certificate"))?.public_key.into();
    let (to, requests) = tokio::sync::mpsc::channel(2);
    let lost = |_| AgentError::Answer("the connection was lost");
    to.send(ShowStateRequest { answer: vec![] }).await.map_err(lost)?;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut questions = NodeClient::new(server).show_state(requests).await?.into_inner();
    loop {
        let question = tokio::select! {
            biased;
            _redialled = redialled.changed() => return Ok(()),
            question = questions.message() => question?,
        };
        match question.and_then(|question| question.what) {
            Some(What::Challenge(challenge)) => {
                let proving = core.upstream.proving.lock().await;
                let (exporter, public_key) = (peer.exporter, public_key.clone());
                let answer =
                    Proving { proof: args.proofs.proof()?, exporter, public_key }.message(Some(challenge)).await?;
                drop(proving);
                to.send(ShowStateRequest { answer }).await.map_err(lost)?;
            }
            Some(What::AcceptedForSeconds(seconds)) => {
                *backoff = Backoff::default();
                tracing::debug!(seconds, "the server accepted the state of this node");
            }
            None => return Ok(()),
        }
    }
}
