//! What a sidecar does, on an agent's machine: it takes its workload's identity from the agent, accepts a peer by TLS,
//! judges connection and request by revocations, and decides each request by the policy. It keeps a connection as long
//! as the peer does, also after it lost its identity. A program that embeds the library does the same without a policy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sekisho_host::Process;
use sekisho_identity::{BACKDATE_SECONDS, LeafFacts};
use sekisho_net::{Acceptor, Dialer, ExpectedServer, TlsConnection};
use sekisho_ports::{Machine, TcpListener, TcpStream, now};
use sekisho_proxy::Deciding;
use sekisho_runtime::{Stop, Tasks};
use sekisho_sdk::{IdentitySource, RevocationKeeper, Workload};
use sekisho_types::{Effect, SpiffeId, TrustDomain, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::here::{elapsed, random};
use super::lives::Life;
use super::model::Model;
use super::request::{ALLOWED, CLOSED, CUT, DENIED, Message, Messages, Request, one_byte};

/// A call to a peer on the same network takes far less.
const CALL: Duration = Duration::from_secs(4);
/// How long a caller leaves a request open at most, in milliseconds.
const OPEN_MS: u64 = 2500;
const PROTOCOL: &[&[u8]] = &[b"simulated"];

/// How a sidecar is started.
#[derive(Clone)]
pub(super) struct Sidecar {
    pub name: String,
    /// The agent's socket.
    pub agent: PathBuf,
    /// Where it keeps what outlives it.
    pub data: PathBuf,
    pub spool_bytes: usize,
    /// The process that it is, and that it speaks for.
    pub pid: i32,
    /// It is a program that embeds the library: without a policy.
    pub is_library: bool,
    pub listen: SocketAddr,
    /// The other sidecar: its name, and where it listens.
    pub peer: (String, SocketAddr),
    pub model: Model,
}

/// A sidecar that runs.
#[derive(Clone)]
struct Running {
    own: Sidecar,
    id: SpiffeId,
    identity: IdentitySource,
    revocations: Arc<RevocationKeeper>,
    deciding: Option<Deciding>,
}

/// The SPIFFE ID that the operator registers for a sidecar.
pub(super) fn spiffe_id(name: &str) -> String {
    format!("spiffe://example.org/side/{name}")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Sidecar {
    pub(super) async fn run(self) -> Result<(), String> {
        let trust_domain = TrustDomain::parse("example.org").map_err(text)?;
        let (stop, id) = (Stop::new(), SpiffeId::parse(&spiffe_id(&self.name)).map_err(text)?);
        let tasks = Tasks::new(stop.clone());
        let (identity, revocations, deciding) = if self.is_library {
            let identity = IdentitySource::of_self(&self.agent, &trust_domain).map_err(text)?;
            let revocations = identity.revocations.clone().ok_or("a source of one's own follows revocations")?;
            (identity, revocations, None)
        } else {
            let process = Process::open(self.pid).map_err(text)?;
            let workload = Workload { pid: self.pid, start_time: process.start_time(), spiffe_id: None };
            let identity = IdentitySource::delegated(&self.agent, &trust_domain, workload).map_err(text)?;
            let deciding = Deciding::start(&self.data, self.spool_bytes, &self.agent, &identity, &tasks);
            let deciding = deciding.map_err(text)?;
            (identity, deciding.revocations().clone(), Some(deciding))
        };
        let start = self.model.begins(&self.name);
        let running = Running { own: self, id, identity, revocations, deciding };
        let held = running.clone().holds(start);
        let policy = running.clone().holds_policy();
        let serves = running.clone().serves();
        let ends = async {
            stop.wait().await;
            tasks.outcome().map_err(text)
        };
        tokio::try_join!(held, policy, serves, running.calls(), ends).map(|_| ())
    }
}

impl Running {
    /// Says which identity it holds, whenever that changes.
    async fn holds(self, start: u64) -> Result<(), String> {
        let mut held = self.identity.held.clone();
        let Sidecar { name, model, .. } = &self.own;
        loop {
            let ahead = model.known().sidecars.server_ahead;
            let life = held.borrow_and_update().as_ref().map(|held| Life {
                start,
                generation: held.generation,
                since: elapsed(),
                issued: issued(held.not_before, ahead),
                ends: held.not_after,
            });
            model.note(name, if life.is_some() { "has an identity" } else { "has none" });
            model.holds(name, life);
            held.changed().await.map_err(|_| "its identity is not followed any more")?;
        }
    }

    /// Says which policy revision it holds, whenever that changes, and how many records wait.
    async fn holds_policy(self) -> Result<(), String> {
        let Some(deciding) = &self.deciding else { return std::future::pending().await };
        let (mut revisions, Sidecar { name, model, .. }) = (deciding.policy_revisions(), &self.own);
        let mut noted = 0;
        loop {
            let revision = *revisions.borrow_and_update();
            if revision != noted {
                noted = revision;
                model.holds_policy(name, revision);
            }
            model.known().decisions.waiting.insert(name.clone(), deciding.waiting());
            tokio::select! {
                biased;
                changed = revisions.changed() => changed.map_err(|_| "its policy is not followed any more")?,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }

    async fn serves(self) -> Result<(), String> {
        let listener = TcpListener::bind(self.own.listen).await.map_err(text)?;
        let acceptor = Acceptor::new(&self.identity.tls, true, PROTOCOL).map_err(text)?;
        loop {
            let (stream, _) = listener.accept().await.map_err(text)?;
            let (acceptor, running) = (acceptor.clone(), self.clone());
            tokio::spawn(async move { running.connection(&acceptor, stream).await });
        }
    }

    async fn connection(&self, acceptor: &Acceptor, stream: TcpStream) {
        let Ok((stream, peer)) = acceptor.accept(stream, now()).await else { return };
        let (Some(leaf), Some(own)) = (peer.leaf, self.identity.held.borrow().clone()) else { return };
        let leaf = leaf.into_inner();
        // A connection lives no longer than the SVIDs on it.
        let ends = leaf.not_after.min(own.not_after);
        self.revocations.complete().await;
        tokio::select! {
            biased;
            _why = self.revocations.revoked(&leaf) => {}
            _closed = self.requests(stream, &leaf, ends) => {}
        }
    }

    /// Answers requests until the stream ends or one of the SVIDs does.
    async fn requests(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        leaf: &LeafFacts,
        ends: UnixTime,
    ) -> Option<()> {
        let mut messages = Messages::default();
        loop {
            let message = messages.next(&mut stream).await?;
            if now() >= ends {
                return None;
            }
            // The end of a request that was cut a moment ago needs no answer.
            let Message::Ask(request) = message else { continue };
            self.accepted(leaf);
            self.request(&mut stream, &mut messages, leaf, request).await?;
        }
    }

    async fn request(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        messages: &mut Messages,
        leaf: &LeafFacts,
        request: Request,
    ) -> Option<()> {
        let model = &self.own.model;
        let Some(deciding) = &self.deciding else {
            stream.write_all(&[ALLOWED]).await.ok()?;
            if request.stays_open {
                messages.next(stream).await?;
                stream.write_all(&[CLOSED]).await.ok()?;
            }
            return Some(());
        };
        let number = model.asks(&self.own.name, &leaf.spiffe_id.to_string(), request);
        let before = deciding.policy_revision();
        let (outcome, mut open) = deciding.decide(request.input(leaf, &self.id), leaf).await;
        model.decided(number, &outcome, before..=deciding.policy_revision());
        let is_allowed = outcome.effect == Effect::Allow;
        stream.write_all(&[if is_allowed { ALLOWED } else { DENIED }]).await.ok()?;
        if !is_allowed || !request.stays_open {
            return Some(());
        }
        tokio::select! {
            biased;
            () = open.denied() => {
                model.cut(number);
                stream.write_all(&[CUT]).await.ok()
            }
            closed = messages.next(stream) => {
                model.was_open(number);
                closed?;
                stream.write_all(&[CLOSED]).await.ok()
            }
        }
    }

    fn accepted(&self, leaf: &LeafFacts) {
        let entry = leaf.issuance.as_ref().and_then(|issuance| issuance.entry.as_ref());
        self.own.model.accepted(&self.own.name, entry.map(ToString::to_string).as_deref());
    }

    async fn calls(self) -> Result<(), String> {
        let ((peer, address), model) = (&self.own.peer, &self.own.model);
        let id = SpiffeId::parse(&spiffe_id(peer)).map_err(text)?;
        let dialer = Dialer {
            source: self.identity.tls.clone(),
            address: address.to_string(),
            expected: ExpectedServer::Id(id),
            clock: now,
        };
        let mut open = None;
        loop {
            tokio::time::sleep(Duration::from_millis(50 + random(400))).await;
            if open.is_none() && self.identity.held.borrow().is_none() {
                continue;
            }
            let request = Request::drawn(model.next_request());
            // What is open may show an SVID that is revoked: then a new connection is tried.
            let mut answered = match open.take() {
                Some(used) => call(used, request).await,
                None => None,
            };
            if answered.is_none() {
                let attempt = model.calls(&self.own.name, peer);
                let dialled = self.dials(&dialer, request).await;
                if let Err(why) = &dialled {
                    model.note(&self.own.name, &format!("does not reach {peer}: {why}"));
                }
                answered = dialled.ok();
                model.called(&attempt, answered.is_some());
            }
            open = match answered {
                Some((connection, ALLOWED)) => {
                    model.let_through(&request);
                    if request.stays_open { ends(connection).await } else { Some(connection) }
                }
                Some((connection, _)) => Some(connection),
                None => None,
            };
            if open.is_some() && random(12) == 0 {
                open = None;
            }
        }
    }

    /// One request over a new connection.
    async fn dials(&self, dialer: &Dialer, request: Request) -> Result<(TlsConnection, u8), String> {
        let dialled = tokio::time::timeout(CALL, dialer.connect(PROTOCOL)).await.map_err(text)?.map_err(text)?;
        self.revocations.complete().await;
        let leaf = dialled.peer.leaf.as_ref().map(|leaf| leaf.get().clone()).ok_or("it shows no SVID")?;
        if let Some(why) = self.revocations.find(&leaf) {
            return Err(why);
        }
        self.accepted(&leaf);
        call(dialled, request).await.ok_or_else(|| "the connection was closed".to_owned())
    }
}

/// When an SVID was issued that is valid from then on, by a server whose clock is `ahead`. Earlier than that, if the
/// clock was set since.
fn issued(not_before: UnixTime, ahead: i64) -> Duration {
    let skew = Machine::current().map_or(0, |machine| machine.skew());
    let began = now().nanos().saturating_sub(skew).saturating_sub(elapsed().as_nanos() as i64);
    let backdated = BACKDATE_SECONDS.saturating_mul(1_000_000_000);
    let nanos = not_before.nanos().saturating_add(backdated).saturating_sub(began).saturating_sub(ahead);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// One request over an open connection: the connection and the answer, if one came.
async fn call(mut connection: TlsConnection, request: Request) -> Option<(TlsConnection, u8)> {
    let call = async {
        connection.stream.write_all(&Message::Ask(request).to_bytes()).await.ok()?;
        connection.stream.flush().await.ok()?;
        let answer = one_byte(&mut connection.stream).await?;
        Some((connection, answer))
    };
    tokio::time::timeout(CALL, call).await.ok().flatten()
}

/// Leaves a request open for a while, and ends it. Returns the connection, if it is still there.
async fn ends(mut connection: TlsConnection) -> Option<TlsConnection> {
    tokio::time::sleep(Duration::from_millis(random(OPEN_MS))).await;
    let end = async {
        connection.stream.write_all(&Message::End.to_bytes()).await.ok()?;
        connection.stream.flush().await.ok()?;
        one_byte(&mut connection.stream).await?;
        Some(connection)
    };
    tokio::time::timeout(CALL, end).await.ok().flatten()
}
