use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::{Bundle, LeafFacts, Revocations, leaf_facts, split_chain};
use sekisho_net::{Identity, NetError, Refuse, TlsMaterial, TlsSource};
use sekisho_proto::node::{LendRequest, sidecar_client::SidecarClient};
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_types::{Secret, SpiffeId, TrustDomain, UnixTime};
use tokio::sync::watch;
use tonic::Status;

use crate::agent::{AgentChannel, agent_channel};
use crate::agent_key::AgentKey;
use crate::revocations::{RevocationKeeper, follow_revocations, is_refusal};

/// The identity in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentIdentity {
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// From when on its SVID is valid: some seconds before it was issued, for clocks that are behind.
    pub not_before: UnixTime,
    /// When its SVID expires.
    pub not_after: UnixTime,
    /// Rises with each rotation, so that a connection knows when it is of yesterday.
    pub generation: u64,
    /// Of a delegated identity: which file its workload ran when it was measured.
    pub executable: Vec<u8>,
}

/// An identity that follows the agent. Without one, its TLS neither accepts nor dials: it fails closed.
#[derive(Clone)]
pub struct IdentitySource {
    /// TLS with it, on both sides.
    pub tls: TlsSource,
    /// It, as it rotates.
    pub held: watch::Receiver<Option<CurrentIdentity>>,
    /// Why there is no identity, for messages.
    pub trouble: watch::Receiver<Option<String>>,
    /// Of an identity of one's own: TLS refuses peers by them, and a [`Connection`](crate::Connection) is closed by
    /// them. Who uses rustls itself closes it at [`RevocationKeeper::revoked`]. A sidecar has its own.
    pub revocations: Option<Arc<RevocationKeeper>>,
}

/// Between two attempts to reach the agent.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

struct Update {
    chain: Vec<Vec<u8>>,
    key: Key,
    bundle: Vec<Vec<u8>>,
    executable: Vec<u8>,
}

/// The private key of an SVID.
enum Key {
    /// PKCS #8, DER.
    Here(Secret<Vec<u8>>),
    /// In the TPM of the node, under this name.
    AtAgent(AgentChannel, Vec<u8>),
}

struct Feed {
    tls: TlsSource,
    held: watch::Sender<Option<CurrentIdentity>>,
    trouble: watch::Sender<Option<String>>,
    generation: u64,
    /// Hears of each identity.
    keeper: Option<Arc<RevocationKeeper>>,
}

/// A process by its number and its start time (field 22 of `/proc/<pid>/stat`): numbers are given out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its number.
    pub pid: i32,
    /// When it started.
    pub start_time: u64,
    /// Which identity, if its entries give it several.
    pub spiffe_id: Option<SpiffeId>,
}

impl IdentitySource {
    /// The identity of this process, from the Workload API.
    pub fn of_self(socket: &Path, trust_domain: &TrustDomain) -> Result<Self, NetError> {
        let keeper = Arc::new(RevocationKeeper::new(Revocations::default(), sekisho_ports::now, |_| {}));
        Self::start(socket, trust_domain, None, Some(keeper))
    }

    /// The identity of another process, delegated while that process lives.
    pub fn delegated(socket: &Path, trust_domain: &TrustDomain, workload: Workload) -> Result<Self, NetError> {
        Self::start(socket, trust_domain, Some(workload), None)
    }

    /// Returns when the identity is not followed any more, which a defect only can cause.
    pub async fn stopped(&self) {
        let mut held = self.held.clone();
        while held.changed().await.is_ok() {}
    }

    fn start(
        socket: &Path,
        trust_domain: &TrustDomain,
        workload: Option<Workload>,
        keeper: Option<Arc<RevocationKeeper>>,
    ) -> Result<Self, NetError> {
        let empty = Arc::new(Bundle::empty(trust_domain.clone()));
        let tls = TlsSource::new(TlsMaterial::new(None, empty)?);
        let tls = match keeper.clone() {
            Some(keeper) => tls.refusing(Refuse::new(move |leaf| keeper.find(leaf))),
            None => tls,
        };
        let (held, held_rx) = watch::channel(None);
        let (trouble, trouble_rx) = watch::channel(None);
        let feed = Feed { tls: tls.clone(), held, trouble, generation: 0, keeper: keeper.clone() };
        let (agent, trust_domain, follower) = (agent_channel(socket), trust_domain.clone(), keeper.clone());
        tokio::spawn(async move {
            let follow = async {
                let Some(keeper) = follower else { return std::future::pending().await };
                // Without an identity the agent sends none, and nothing is accepted or dialled.
                keeper.identified.notified().await;
                follow_revocations(keeper, agent.clone()).await
            };
            tokio::select! {
                biased;
                () = feed.run(agent.clone(), trust_domain, workload) => {}
                () = follow => {}
            }
        });
        Ok(Self { tls, held: held_rx, trouble: trouble_rx, revocations: keeper })
    }

    /// Waits for the first identity and, for some seconds, for the revocations in force.
    pub async fn ready(&self) -> CurrentIdentity {
        let mut held = self.held.clone();
        loop {
            let now = held.borrow_and_update().clone();
            if let Some(now) = now {
                if let Some(revocations) = &self.revocations {
                    revocations.complete().await;
                }
                return now;
            }
            if held.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Feed {
    async fn run(mut self, channel: AgentChannel, trust_domain: TrustDomain, workload: Option<Workload>) {
        let (mut pause, mut failures) = (SHORTEST_PAUSE, (String::new(), 0u64));
        loop {
            let generation = self.generation;
            let status = match self.follow(&channel, &trust_domain, workload.as_ref()).await {
                Ok(()) => Status::unavailable("the agent closed the stream"),
                Err(status) => status,
            };
            // A refusal takes the identity away; an outage leaves it until it ends by itself (laws L11 and L14).
            if is_refusal(&status) {
                self.drop_identity(&trust_domain);
            }
            if self.generation != generation {
                (pause, failures) = (SHORTEST_PAUSE, (String::new(), 0));
            }
            if failures.0 != status.message() {
                failures = (status.message().to_owned(), 0);
            }
            failures.1 += 1;
            // The same failure again and again: more and more seldom.
            if failures.1.is_power_of_two() {
                let (reason, count) = &failures;
                tracing::warn!(code = ?status.code(), reason, count, "no identity from the agent");
            }
            self.trouble.send_replace(Some(status.message().to_owned()));
            if self.held.is_closed() {
                return;
            }
            tokio::time::sleep(pause).await;
            // What is held is good for minutes; who waits for a first identity waits for this.
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(
        &mut self,
        channel: &AgentChannel,
        trust_domain: &TrustDomain,
        workload: Option<&Workload>,
    ) -> Result<(), Status> {
        match workload {
            Some(Workload { pid, start_time, spiffe_id }) => {
                let spiffe_id = spiffe_id.as_ref().map(ToString::to_string).unwrap_or_default();
                let request = LendRequest { workload_pid: *pid, workload_start_time: *start_time, spiffe_id };
                let mut stream = SidecarClient::new(channel.clone()).lend(request).await?.into_inner();
                while let Some(delegated) = stream.message().await? {
                    let key = match delegated.signing_key.is_empty() {
                        true => Key::Here(Secret::new(delegated.private_key)),
                        false => Key::AtAgent(channel.clone(), delegated.signing_key),
                    };
                    self.take(
                        trust_domain,
                        Update {
                            chain: delegated.cert_chain,
                            key,
                            bundle: delegated.bundle,
                            executable: delegated.executable,
                        },
                    )?;
                }
            }
            None => {
                let mut client = SpiffeWorkloadApiClient::new(channel.clone());
                let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
                while let Some(message) = stream.message().await? {
                    let svid =
                        message.svids.into_iter().next().ok_or_else(|| Status::internal("the agent sent no SVID"))?;
                    let split = |der: &[u8]| split_chain(der).map_err(|e| Status::internal(e.to_string()));
                    let (chain, bundle) = (split(&svid.x509_svid)?, split(&svid.bundle)?);
                    let key = Key::Here(Secret::new(svid.x509_svid_key));
                    self.take(trust_domain, Update { chain, key, bundle, executable: vec![] })?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, trust_domain: &TrustDomain, update: Update) -> Result<(), Status> {
        let unusable = |e: String| Status::internal(format!("what the agent sent is not usable: {e}"));
        let leaf = update.chain.first().ok_or_else(|| unusable("no certificate".into()))?;
        let facts = leaf_facts(leaf).map_err(|e| unusable(e.to_string()))?;
        let mut bundle = Bundle::empty(trust_domain.clone());
        for der in update.bundle {
            bundle.add_x509(der).map_err(|e| unusable(e.to_string()))?;
        }
        let (chain, bundle) = (update.chain, Arc::new(bundle));
        let material = match update.key {
            Key::Here(key) => TlsMaterial::new(Some(&Identity { chain, key }), bundle),
            Key::AtAgent(agent, name) => {
                TlsMaterial::signing(&chain, Arc::new(AgentKey::new(agent, name, facts.public_key.clone())), bundle)
            }
        };
        let material = material.map_err(|e| unusable(e.to_string()))?;
        self.tls.replace(material);
        self.generation += 1;
        let (generation, executable) = (self.generation, update.executable);
        let LeafFacts { spiffe_id, not_before, not_after, .. } = facts;
        let held = CurrentIdentity { spiffe_id, not_before, not_after, generation, executable };
        tracing::info!(spiffe_id = %held.spiffe_id, not_after = %held.not_after, "identity");
        self.held.send_replace(Some(held));
        if let Some(keeper) = &self.keeper {
            keeper.identified.notify_one();
        }
        self.trouble.send_replace(None);
        Ok(())
    }

    fn drop_identity(&self, trust_domain: &TrustDomain) {
        if let Ok(material) = TlsMaterial::new(None, Arc::new(Bundle::empty(trust_domain.clone()))) {
            self.tls.replace(material);
        }
        self.held.send_replace(None);
    }
}
