//! The part of a policy that follows from identities alone, as rules of addresses and ports.
//!
//! The kernel sees who calls whom, and no request. So of a policy it can enforce this: a call between two identities is
//! refused if no request of that kind can be allowed. What remains is decided for each request by a sidecar. The rules
//! speak of identities whose addresses are known, and of nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use sekisho_rego::partial::Outlook;
use sekisho_types::{SpiffeId, UnixTime};

use crate::load::PolicySet;
use crate::residual::CompileRequest;

/// By what an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
}

/// An identity at an address, and where it listens there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub spiffe_id: SpiffeId,
    pub address: IpAddr,
    /// None for one that only calls.
    pub listens: Option<(Transport, u16)>,
}

/// The identities whose addresses are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeSet<Endpoint>);

/// Why endpoints do not tell identities apart. Who wrote them can change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{at} is claimed by {first} and by {second}: an address and port has one identity")]
    TwoIdentities { at: String, first: SpiffeId, second: SpiffeId },
    #[error("{spiffe_id} is at {address}, which is the address of no one: write the address that peers see")]
    NoAddress { spiffe_id: SpiffeId, address: IpAddr },
    #[error("{0} listens at port 0: write the port that peers call")]
    NoPort(SpiffeId),
}

impl Endpoints {
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Result<Self, EndpointError> {
        let mut owners: BTreeMap<(IpAddr, Transport, u16), SpiffeId> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for mut endpoint in endpoints {
            endpoint.address = endpoint.address.to_canonical();
            let Endpoint { spiffe_id, address, listens } = &endpoint;
            if address.is_unspecified() || address.is_multicast() {
                return Err(EndpointError::NoAddress { spiffe_id: spiffe_id.clone(), address: *address });
            }
            if let Some((transport, port)) = *listens {
                if port == 0 {
                    return Err(EndpointError::NoPort(spiffe_id.clone()));
                }
                let owner = owners.entry((*address, transport, port)).or_insert_with(|| spiffe_id.clone());
                if owner != spiffe_id {
                    let (first, second) = (owner.clone(), spiffe_id.clone());
                    return Err(EndpointError::TwoIdentities { at: at(*address, transport, port), first, second });
                }
            }
            known.insert(endpoint);
        }
        Ok(Self(known))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter()
    }
}

/// `tcp 10.0.0.5:8443`.
fn at(address: IpAddr, transport: Transport, port: u16) -> String {
    format!("{transport} {}", std::net::SocketAddr::from((address, port)))
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What a rule is about. A flow in no rule is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// The workload calls this address and port.
    Out(IpAddr),
    /// It is called from this address, at its own port.
    In(IpAddr),
    /// It takes a port of its machine.
    Bind,
}

/// A rule of one workload. `name` is its name in receipts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkRule {
    pub flow: Flow,
    pub transport: Transport,
    pub port: u16,
    pub name: String,
    pub allows: bool,
    /// Whether the request decides as well, which a sidecar has to do.
    pub depends_on_request: bool,
}

/// A rule that cannot become one of addresses and ports, and why. With one of these, the others must not be enforced as
/// if they were all (law L15).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotLowered {
    pub name: String,
    pub reason: String,
}

/// The rules of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRules {
    pub rules: Vec<NetworkRule>,
    pub not_lowered: Vec<NotLowered>,
}

impl NetworkRules {
    /// What they decide on a flow of the workload: whether it passes.
    pub fn allow(&self, flow: Flow, transport: Transport, port: u16) -> bool {
        let is_of = |rule: &&NetworkRule| (rule.flow, rule.transport, rule.port) == (flow, transport, port);
        self.rules.iter().find(is_of).is_some_and(|rule| rule.allows)
    }
}

impl PolicySet {
    /// The rules of a workload among these endpoints.
    ///
    /// A call between two identities is denied where no request of that kind is allowed, and is allowed otherwise. So a
    /// rule never denies what the policy allows for some request, and never allows what it denies for all requests by
    /// identities alone.
    pub fn network_rules(&self, workload: &SpiffeId, known: &Endpoints, now: UnixTime) -> NetworkRules {
        let mut lowering = Lowering { policy: self, now, asked: BTreeMap::new(), found: NetworkRules::default() };
        for endpoint in known.iter().filter(|endpoint| endpoint.spiffe_id != *workload) {
            lowering.out(workload, endpoint);
        }
        for own in known.iter().filter(|endpoint| endpoint.spiffe_id == *workload) {
            lowering.served(own, known);
        }
        let mut found = lowering.found;
        found.rules.sort();
        found.rules.dedup();
        found.not_lowered.sort();
        found.not_lowered.dedup();
        found
    }

    /// Whether some request between two identities can be allowed.
    fn between(&self, subject: &SpiffeId, destination: &SpiffeId, now: UnixTime) -> Result<Outlook, String> {
        let request = CompileRequest::between(subject, destination);
        let residual = |strict| self.residual_where(&request, now, strict).map_err(|fault| fault.to_string());
        // An error denies: what fails whatever is asked denies all.
        if let Some(failing) = residual(true)?.failing_call() {
            return Err(failing.to_string());
        }
        // Without errors, decisions are the same, and nothing stays for their sake.
        residual(false)?.outlook().map_err(|undecided| undecided.to_string())
    }
}

/// Rules in the making.
struct Lowering<'a> {
    policy: &'a PolicySet,
    now: UnixTime,
    /// Answers, by caller and called.
    asked: BTreeMap<(SpiffeId, SpiffeId), Result<Outlook, String>>,
    found: NetworkRules,
}

impl Lowering<'_> {
    fn ask(&mut self, subject: &SpiffeId, destination: &SpiffeId) -> Result<Outlook, String> {
        let key = (subject.clone(), destination.clone());
        let answer = self.asked.entry(key).or_insert_with(|| self.policy.between(subject, destination, self.now));
        answer.clone()
    }

    fn out(&mut self, workload: &SpiffeId, peer: &Endpoint) {
        let Some((transport, port)) = peer.listens else { return };
        let name = format!("out {} {}", peer.spiffe_id, at(peer.address, transport, port));
        let answer = self.ask(workload, &peer.spiffe_id);
        self.rule(name, (Flow::Out(peer.address), transport, port), answer);
    }

    /// The port itself, and who may call it.
    fn served(&mut self, own: &Endpoint, known: &Endpoints) {
        let Some((transport, port)) = own.listens else { return };
        self.found.rules.push(NetworkRule {
            flow: Flow::Bind,
            transport,
            port,
            name: format!("bind {transport} {port}"),
            allows: true,
            depends_on_request: false,
        });
        let mut callers: BTreeMap<IpAddr, BTreeSet<&SpiffeId>> = BTreeMap::new();
        for endpoint in known.iter().filter(|endpoint| endpoint.spiffe_id != own.spiffe_id) {
            callers.entry(endpoint.address).or_default().insert(&endpoint.spiffe_id);
        }
        for (address, ids) in callers {
            let shown: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
            let name = format!("in {} {address} to {transport} {port}", shown.join(", "));
            let answers: Vec<_> = ids.iter().map(|id| self.ask(id, &own.spiffe_id)).collect();
            let answer = together(&ids.into_iter().collect::<Vec<_>>(), answers);
            self.rule(name, (Flow::In(address), transport, port), answer);
        }
    }

    fn rule(&mut self, name: String, (flow, transport, port): (Flow, Transport, u16), answer: Result<Outlook, String>) {
        match answer {
            Ok(outlook) => {
                let (allows, depends_on_request) = (outlook != Outlook::Never, outlook == Outlook::Depends);
                self.found.rules.push(NetworkRule { flow, transport, port, name, allows, depends_on_request });
            }
            Err(reason) => self.found.not_lowered.push(NotLowered { name, reason }),
        }
    }
}

/// The answer for all who call from one address, whom the kernel cannot tell apart.
fn together(ids: &[&SpiffeId], answers: Vec<Result<Outlook, String>>) -> Result<Outlook, String> {
    let answers = answers.into_iter().collect::<Result<Vec<Outlook>, String>>()?;
    let one = |denied: bool| ids.iter().zip(&answers).find(|(_, answer)| (**answer == Outlook::Never) == denied);
    if let (Some((denied, _)), Some((allowed, _))) = (one(true), one(false)) {
        return Err(format!(
            "{allowed} may call and {denied} may not, from one address: give them addresses of their own"
        ));
    }
    let weakest = |outlook: &Outlook| (*outlook != Outlook::Depends, *outlook);
    Ok(answers.into_iter().min_by_key(weakest).unwrap_or(Outlook::Never))
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
