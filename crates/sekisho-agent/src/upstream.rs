//! The connection to the server, and the SVID that it shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sekisho_identity::Bundle;
use sekisho_net::{NetError, TlsSource};
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::svid::AgentSvid;

pub(crate) struct Upstream {
    pub address: String,
    pub tls: TlsSource,
    /// What new connections show and trust. Both change under one lock: neither brings back an earlier other.
    shown: Mutex<(AgentSvid, Arc<Bundle>)>,
    /// An open connection goes on showing the SVID that it began with.
    state: RwLock<(AgentSvid, Channel)>,
    /// Counts those replacements, so that the delta stream moves over.
    pub redialled: watch::Sender<u64>,
    pub connected: watch::Sender<bool>,
    /// Rings when the server no longer knows this agent.
    pub attest_wanted: tokio::sync::Notify,
    /// Held while the node proves itself: a software TPM serves one connection at a time.
    pub proving: tokio::sync::Mutex<()>,
}

impl Upstream {
    pub(crate) fn new(address: String, tls: TlsSource, own: AgentSvid, bundle: Arc<Bundle>, channel: Channel) -> Self {
        Self {
            address,
            tls,
            shown: Mutex::new((own.clone(), bundle)),
            state: RwLock::new((own, channel)),
            redialled: watch::channel(0).0,
            connected: watch::channel(false).0,
            attest_wanted: tokio::sync::Notify::new(),
            proving: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn own(&self) -> AgentSvid {
        self.state.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// A channel to the server that shows the agent's SVID in force.
    pub(crate) fn channel(&self) -> Channel {
        self.state.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// New connections trust this bundle.
    pub(crate) fn trust(&self, bundle: Arc<Bundle>) -> Result<(), NetError> {
        let mut shown = self.shown();
        self.tls.replace(shown.0.tls(bundle.clone())?);
        shown.1 = bundle;
        Ok(())
    }

    /// New connections show the SVID that is held.
    pub(crate) fn show(&self) -> Result<(), NetError> {
        let mut shown = self.shown();
        let own = self.own();
        self.tls.replace(own.tls(shown.1.clone())?);
        shown.0 = own;
        Ok(())
    }

    fn shown(&self) -> MutexGuard<'_, (AgentSvid, Arc<Bundle>)> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new SVID, which no connection shows yet.
    pub(crate) fn hold(&self, own: AgentSvid) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).0 = own;
    }

    /// Goes over to a new connection, which shows the SVID that is held.
    pub(crate) fn redial(&self, channel: Channel) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).1 = channel;
        self.redialled.send_modify(|count| *count += 1);
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }
}
