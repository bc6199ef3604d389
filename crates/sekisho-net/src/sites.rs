//! Several services at one TLS listener. The name that the client asks for (SNI, RFC 6066 §3) selects the service,
//! before any certificate is shown. Nothing later in the connection can select another.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls_pki_types::DnsName;
use sekisho_ports::{TcpListener, TcpStream, instant};
use sekisho_types::UnixTime;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;

use crate::accept::{Acceptor, HANDSHAKE_TIMEOUT};
use crate::ending::end_streams;
use crate::joined_writes::JoinedWrites;
use crate::listen::{accept_each, connection, drain};
use crate::slots::MAX_CONNECTIONS;
use crate::trust::SiteSelection;
use crate::unix_slots::State;
use crate::{NetError, Slot, Slots, TlsSource, network_of};

/// Open connections of one address at one site; and the same number that have not selected a site yet.
const MAX_PER_ADDRESS: usize = 16_384;
const TOO_MANY: &str = "too many connections are open from this address";

/// One service at a listener, with certificate, trust and handlers of its own.
pub struct Site {
    /// By which clients ask for it; its own first.
    pub names: Vec<String>,
    pub source: TlsSource,
    /// Each request carries an `Arc<TlsPeer>` as an extension.
    pub router: Router,
    /// Receives each peer that did not come through the handshake, and why.
    pub rejected: OnRejectedPeer,
}

pub type OnRejectedPeer = Arc<dyn Fn(SocketAddr, String) + Send + Sync>;

/// What a listener serves: a site for clients that name none or an unknown one, and others that are asked for by name.
pub struct Sites {
    default: Arc<Served>,
    named: HashMap<String, Arc<Served>>,
    stop: CancellationToken,
}

struct Served {
    acceptor: Acceptor,
    router: Router,
    rejected: OnRejectedPeer,
    /// Separate: the peers of one site do not use up the connections of another.
    slots: Arc<Slots<IpAddr>>,
}

impl Served {
    fn new(site: &Site, asked: SiteSelection, stop: &CancellationToken) -> Result<Arc<Self>, NetError> {
        Ok(Arc::new(Self {
            acceptor: Acceptor::of_site(&site.source, asked)?,
            router: site.router.clone().layer(from_fn_with_state(stop.clone(), end_streams)),
            rejected: site.rejected.clone(),
            slots: Slots::new(MAX_CONNECTIONS, MAX_PER_ADDRESS),
        }))
    }
}

impl Sites {
    /// The first is the default. They are served until `stop`.
    pub fn new(sites: Vec<Site>, stop: CancellationToken) -> Result<Self, NetError> {
        let asked = if sites.len() > 1 { SiteSelection::ByName } else { SiteSelection::Alone };
        let mut further = sites.into_iter();
        let Some(default) = further.next() else { return Err(NetError::NoSite) };
        let mut sites = Self { default: Served::new(&default, asked, &stop)?, named: HashMap::new(), stop };
        // Clients that cannot ask for the default by its own name reach it without one.
        let unnamed = default.names.first().is_some_and(|own| DnsName::try_from(own.as_str()).is_err());
        let names = default.names.into_iter().skip(unnamed.into()).collect();
        sites.name(&sites.default.clone(), names)?;
        for site in further {
            let served = Served::new(&site, asked, &sites.stop)?;
            sites.name(&served, site.names)?;
        }
        Ok(sites)
    }

    fn name(&mut self, served: &Arc<Served>, names: Vec<String>) -> Result<(), NetError> {
        for name in names {
            let Ok(known) = DnsName::try_from(name.as_str()) else { return Err(NetError::NoServerName(name)) };
            let known = known.as_ref().trim_end_matches('.').to_ascii_lowercase();
            let before = self.named.insert(known, served.clone());
            if before.is_some_and(|before| !Arc::ptr_eq(&before, served)) {
                return Err(NetError::NameTwice(name));
            }
        }
        Ok(())
    }

    fn of(&self, name: Option<&str>) -> &Arc<Served> {
        let found = name.and_then(|name| self.named.get(&name.trim_end_matches('.').to_ascii_lowercase()));
        found.unwrap_or(&self.default)
    }

    async fn serve_one(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        arriving: Slot<IpAddr>,
        clock: fn() -> UnixTime,
        watcher: Watcher,
    ) {
        let _best_effort = stream.set_nodelay(true);
        let until = instant() + HANDSHAKE_TIMEOUT;
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = match tokio::time::timeout_at(until, hello).await {
            Ok(hello) => hello.map_err(|error| NetError::handshake(address, &error)),
            Err(_) => Err(NetError::Timeout(address.to_string())),
        };
        let hello = match hello {
            Ok(hello) => hello,
            Err(error) => return (self.default.rejected)(address, error.to_string()),
        };
        let site = self.of(hello.client_hello().server_name());
        let Some(_slot) = site.slots.take(network_of(address.ip())) else {
            return (site.rejected)(address, TOO_MANY.into());
        };
        drop(arriving);
        match site.acceptor.answer(hello, address, until, clock()).await {
            Ok((stream, peer)) => {
                tracing::debug!(peer = %peer.address, group = %peer.group, "connection");
                let state = Arc::<State>::default();
                let watch = |served| watcher.watch(served);
                if let Some(rule) =
                    connection(JoinedWrites(stream), site.router.clone(), Arc::new(peer), &state, watch).await
                {
                    (site.rejected)(address, rule);
                }
            }
            Err(error) => (site.rejected)(address, error.to_string()),
        }
    }
}

/// Serves `sites` over TLS until they are asked to stop.
pub async fn serve_tls(listener: TcpListener, sites: Sites, clock: fn() -> UnixTime) {
    let sites = Arc::new(sites);
    let (open, arriving) = (GracefulShutdown::new(), Slots::new(MAX_CONNECTIONS, MAX_PER_ADDRESS));
    accept_each(&listener, &sites.stop, |(stream, address)| {
        let Some(slot) = arriving.take(network_of(address.ip())) else {
            return (sites.default.rejected)(address, TOO_MANY.into());
        };
        let (sites, watcher) = (sites.clone(), open.watcher());
        tokio::spawn(async move { sites.serve_one(stream, address, slot, clock, watcher).await });
    })
    .await;
    drain(open).await;
}

#[cfg(test)]
mod tests {
    use sekisho_identity::Bundle;
    use sekisho_types::TrustDomain;

    use super::*;
    use crate::TlsMaterial;

    fn site(name: &str, further: &[&str]) -> Site {
        let bundle = Bundle::empty(TrustDomain::parse(name).unwrap());
        let names = std::iter::once(name).chain(further.iter().copied()).map(str::to_owned).collect();
        let source = TlsSource::new(TlsMaterial::new(None, Arc::new(bundle)).unwrap());
        Site { names, source, router: Router::new(), rejected: Arc::new(|_, _| ()) }
    }

    fn of(sites: Vec<Site>) -> Result<Sites, NetError> {
        Sites::new(sites, CancellationToken::new())
    }

    /// The trust domain whose site is chosen.
    fn chosen(sites: &Sites, name: Option<&str>) -> String {
        sites.of(name).acceptor.trust_domain().to_string()
    }

    #[tokio::test]
    async fn the_server_name_selects_the_site() {
        let sites = of(vec![site("a.example", &[]), site("b.example", &["b.net"]), site("c", &[])]).unwrap();
        for (name, expected) in [
            (Some("a.example"), "a.example"),
            (Some("b.example"), "b.example"),
            (Some("B.Example."), "b.example"),
            (Some("b.net"), "b.example"),
            (Some("c"), "c"),
            (Some("x.b.example"), "a.example"),
            (Some("b"), "a.example"),
            (Some(""), "a.example"),
            (None, "a.example"),
        ] {
            assert_eq!(chosen(&sites, name), expected, "{name:?}");
        }
    }

    #[tokio::test]
    async fn each_further_site_has_its_own_name() {
        let refused = |further: Vec<Site>| {
            let sites = std::iter::once(site("a.example", &[])).chain(further).collect();
            of(sites).err().map(|error| error.to_string())
        };
        assert!(refused(vec![site("a.example", &[])]).is_some_and(|said| said.contains("`a.example`")));
        assert!(refused(vec![site("b", &["A.example"])]).is_some_and(|said| said.contains("`A.example`")));
        assert!(refused(vec![site("b", &[]), site("c", &["b."])]).is_some());
        assert!(refused(vec![site("10.0.0.1", &[])]).is_some_and(|said| said.contains("`10.0.0.1`")));
        assert!(refused(vec![site("-b", &[])]).is_some());
        assert!(of(vec![site("a_.-", &[]), site("b", &[])]).is_ok(), "the first is reached without a name");
        assert!(of(vec![site("a_.-", &["-"]), site("b", &[])]).is_err(), "but has no other that is none");
        assert!(of(vec![site("a", &["A"])]).is_ok());
    }

    #[tokio::test]
    async fn law_l9_sites_have_separate_connection_limits() {
        let sites = of(vec![site("a", &[]), site("b", &[])]).unwrap();
        let peer = IpAddr::from([192, 0, 2, 1]);
        let taken: Vec<_> = std::iter::from_fn(|| sites.of(Some("a")).slots.take(peer)).collect();
        assert_eq!(taken.len(), MAX_PER_ADDRESS);
        assert!(sites.of(Some("a")).slots.take(peer).is_none() && sites.of(Some("b")).slots.take(peer).is_some());
    }

    #[test]
    fn only_servers_are_dialled_with_a_name() {
        use crate::ExpectedServer;
        let id = |text: &str| ExpectedServer::Id(sekisho_types::SpiffeId::parse(text).unwrap());
        let asked = |text: &str| id(text).asked_name().map(|name| name.as_ref().to_owned());
        assert_eq!(asked("spiffe://b.example/spire/server").as_deref(), Some("b.example"));
        assert_eq!(asked("spiffe://b.example/shop/till"), None);
        assert_eq!(asked("spiffe://10.0.0.1/spire/server"), None);
    }
}
