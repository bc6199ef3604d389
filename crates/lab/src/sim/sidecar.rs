//! What a sidecar does, on an agent's machine: it takes its identity from the agent, accepts a peer by TLS, and judges the connection and each
//! request on it by the revocations that it knows. Its own connections it keeps for as long as the peer lets it, also after it lost its identity.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::LeafFacts;
use sekisho_net::{Acceptor, Dialer, ExpectedServer, TlsConnection};
use sekisho_ports::{TcpListener, TcpStream, now};
use sekisho_sdk::{IdentitySource, RevocationKeeper};
use sekisho_types::{SpiffeId, TrustDomain};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::here::{elapsed, random};
use super::lives::Life;
use super::model::Model;

/// A call to a peer on the same network takes far less.
const CALL: Duration = Duration::from_secs(4);
const PROTOCOL: &[&[u8]] = &[b"simulated"];

#[derive(Clone)]
pub(super) struct Sidecar {
    pub name: String,
    /// The agent's socket.
    pub agent: PathBuf,
    pub listen: SocketAddr,
    /// The other sidecar: its name, and where it listens.
    pub peer: (String, SocketAddr),
    pub model: Model,
}

/// The SPIFFE ID that the operator registers for a sidecar.
pub(super) fn spiffe_id(name: &str) -> String {
    format!("spiffe://example.org/side/{name}")
}

impl Sidecar {
    pub(super) async fn run(self) -> Result<(), String> {
        let trust_domain = TrustDomain::parse("example.org").map_err(|error| error.to_string())?;
        let identity = IdentitySource::of_self(&self.agent, &trust_domain).map_err(|error| error.to_string())?;
        let revocations = identity.revocations.clone().ok_or("a source of one's own follows revocations")?;
        let start = self.model.begins(&self.name);
        let held = self.clone().holds(identity.clone(), start);
        let serves = self.clone().serves(identity.clone(), revocations);
        tokio::try_join!(held, serves, self.calls(identity)).map(|_| ())
    }

    /// Says which identity it holds, whenever that changes.
    async fn holds(self, identity: IdentitySource, start: u64) -> Result<(), String> {
        let mut held = identity.held.clone();
        loop {
            let life = held.borrow_and_update().as_ref().map(|held| Life {
                start,
                generation: held.generation,
                since: elapsed(),
                ends: held.not_after,
            });
            self.model.note(&self.name, if life.is_some() { "has an identity" } else { "has none" });
            self.model.holds(&self.name, life);
            held.changed().await.map_err(|_| "its identity is not followed any more")?;
        }
    }

    async fn serves(self, identity: IdentitySource, revocations: Arc<RevocationKeeper>) -> Result<(), String> {
        let listener = TcpListener::bind(self.listen).await.map_err(|error| error.to_string())?;
        let acceptor = Acceptor::new(&identity.tls, true, PROTOCOL).map_err(|error| error.to_string())?;
        loop {
            let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
            let (acceptor, revocations, sidecar) = (acceptor.clone(), revocations.clone(), self.clone());
            tokio::spawn(async move { sidecar.connection(&acceptor, stream, &revocations).await });
        }
    }

    async fn connection(&self, acceptor: &Acceptor, stream: TcpStream, revocations: &RevocationKeeper) {
        let Ok((mut stream, peer)) = acceptor.accept(stream, now()).await else { return };
        let Some(leaf) = peer.leaf else { return };
        let leaf = leaf.into_inner();
        revocations.complete().await;
        loop {
            tokio::select! {
                biased;
                _why = revocations.revoked(&leaf) => return,
                asked = one_byte(&mut stream) => if asked.is_none() { return },
            }
            if now() >= leaf.not_after || stream.write_all(&[1]).await.is_err() {
                return;
            }
            self.accepted(&leaf);
        }
    }

    fn accepted(&self, leaf: &LeafFacts) {
        let entry = leaf.issuance.as_ref().and_then(|issuance| issuance.entry.as_ref());
        self.model.accepted(&self.name, entry.map(ToString::to_string).as_deref());
    }

    async fn calls(self, identity: IdentitySource) -> Result<(), String> {
        let (peer, address) = &self.peer;
        let id = SpiffeId::parse(&spiffe_id(peer)).map_err(|error| error.to_string())?;
        let dialer = Dialer {
            source: identity.tls.clone(),
            address: address.to_string(),
            expected: ExpectedServer::Id(id),
            clock: now,
        };
        let mut open = None;
        loop {
            tokio::time::sleep(Duration::from_millis(50 + random(400))).await;
            if open.is_none() && identity.held.borrow().is_none() {
                continue;
            }
            // What is open may show an SVID that is revoked: then a new connection is tried.
            if let Some(used) = open.take() {
                open = self.call(Ok(used)).await;
            }
            if open.is_none() {
                let call = self.model.calls(&self.name, peer);
                open = self.call(Err(&dialer)).await;
                self.model.called(&call, open.is_some());
            }
            if open.is_some() && random(12) == 0 {
                open = None;
            }
        }
    }

    /// One request over an open connection or a new one; the connection, if it was accepted.
    async fn call(&self, over: Result<TlsConnection, &Dialer>) -> Option<TlsConnection> {
        let call = async {
            let mut connection = match over {
                Ok(open) => open,
                Err(dialer) => dialer.connect(PROTOCOL).await.ok()?,
            };
            connection.stream.write_all(&[0]).await.ok()?;
            connection.stream.flush().await.ok()?;
            one_byte(&mut connection.stream).await.map(|_| connection)
        };
        tokio::time::timeout(CALL, call).await.ok().flatten()
    }
}

/// The next byte, unless the stream ends. Nothing is lost when it is dropped.
async fn one_byte(stream: &mut (impl AsyncRead + Unpin)) -> Option<u8> {
    let mut byte = [0];
    (stream.read(&mut byte).await.ok()? == 1).then_some(byte[0])
}
