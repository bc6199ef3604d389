//! The rules of one workload in the kernel, held by this process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, sockopt};
use sekisho_kernel::records::{self, Record, RuleRecord};
use sekisho_kernel::{Cgroup, Direction, Enforcer, Event, Fallback, Mode, Verdict, WorkloadId, kill_all, own_cgroup};
use sekisho_policy::{Endpoints, NetworkRules, PolicySet};
use sekisho_runtime::{instant, now, random_hex};
use sekisho_types::SpiffeId;
use tokio::time::Instant;

use super::guard::Guard;
use super::{endpoints, inside, refuse_here, rules};
use crate::exit::Failure;

/// Different refusals that are reported; more of them are counted only.
const MOST_SHOWN: usize = 100;
/// How often the record is written while there are new flows.
const KEPT_EVERY: Duration = Duration::from_millis(500);

/// What is needed before an identity is known.
pub(crate) struct Plan {
    policy: PolicySet,
    endpoints: Endpoints,
}

impl Plan {
    /// Refuses what cannot be enforced before anything is started.
    pub(crate) fn of(policy: PolicySet, endpoints: &Path) -> Result<Self, Failure> {
        refuse_here()?;
        Ok(Self { policy, endpoints: endpoints::read(endpoints)? })
    }

    /// The rules of an identity, all of them or none (law L15).
    fn rules(&self, spiffe_id: &SpiffeId) -> Result<NetworkRules, Failure> {
        let found = self.policy.network_rules(spiffe_id, &self.endpoints, now());
        if found.not_lowered.is_empty() {
            return Ok(found);
        }
        let lines = found.not_lowered.iter().map(|one| format!("\n  {}: {}", one.name, one.reason));
        let lines: String = lines.collect();
        Err(Failure::failed(format!(
            "the policy cannot be enforced in the kernel for {spiffe_id}; change these rules, or start it without \
             `--network-policy`:{lines}"
        )))
    }
}

/// A workload under its rules. Dropping it ends the workload, with all that it started.
pub(crate) struct Held {
    enforcer: Enforcer,
    id: WorkloadId,
    record: Record,
    verdicts: BTreeMap<String, bool>,
    shown: BTreeSet<String>,
    /// When the record was written, and whether there was a flow since.
    kept: Instant,
    changed: bool,
    cgroup: Cgroup,
    _guard: Guard,
}

impl Held {
    /// An empty cgroup under the rules of this identity.
    pub(crate) fn start(plan: &Plan, spiffe_id: &SpiffeId) -> Result<Self, Failure> {
        let found = plan.rules(spiffe_id)?;
        let policy = rules::of(&found).map_err(Failure::failed)?;
        let parent = own_cgroup().map_err(Failure::failed)?;
        let cgroup = Cgroup::create(&parent, &format!("sekisho-exec-{}", random_hex(8))).map_err(Failure::failed)?;
        let mut enforcer = Enforcer::load().map_err(Failure::failed)?;
        let attached = enforcer.attach(cgroup.path(), &policy, Mode::Enforce, Fallback::KeepPolicy);
        let id = attached.map_err(Failure::failed)?;
        let links = enforcer.links(id).map_err(Failure::failed)?;
        let guard = Guard::start(cgroup.path(), id.0, links).map_err(Failure::failed)?;
        let record = Record {
            spiffe_id: spiffe_id.to_string(),
            cgroup: cgroup.path().to_owned(),
            number: id.0,
            holder: std::process::id(),
            kernel: String::new(),
            generation: 0,
            judged: 0,
            denied: 0,
            rules: Vec::new(),
            not_enforced: not_enforced(&found),
        };
        let verdicts = found.rules.into_iter().map(|rule| (rule.name, rule.allows)).collect();
        let (shown, kept) = (BTreeSet::new(), instant());
        let mut held = Self { enforcer, id, record, verdicts, shown, kept, changed: false, cgroup, _guard: guard };
        held.keep_record()?;
        Ok(held)
    }

    /// Starts as this program in the cgroup.
    pub(crate) fn command(&self, program: &str) -> Command {
        inside::command(self.cgroup.path(), program)
    }

    /// What is worth a line when the workload starts.
    pub(crate) fn summary(&self) -> String {
        let lines: String = self.record.not_enforced.iter().map(|what| format!("\n  not enforced: {what}")).collect();
        format!(
            "rules of the network in the kernel: {} for {} ({}); `sekisho network list` shows them{lines}",
            self.record.rules.len(),
            self.record.spiffe_id,
            self.cgroup.path().display()
        )
    }

    /// New refusals, each once. The record is kept true; a workload does not stop because that fails.
    pub(crate) fn look(&mut self) -> Vec<String> {
        let events = self.enforcer.events();
        self.changed |= !events.is_empty();
        let is_due = self.changed && self.kept.elapsed() >= KEPT_EVERY;
        let kept = if is_due { self.keep_record().err().map(|failure| failure.to_string()) } else { None };
        let denied = events.iter().filter(|event| event.verdict == Verdict::Deny).map(|event| self.refusal(event));
        let lines: Vec<String> = denied.chain(kept).collect();
        lines.into_iter().filter(|line| self.shown.len() < MOST_SHOWN && self.shown.insert(line.clone())).collect()
    }

    fn refusal(&self, event: &Event) -> String {
        let rule = event.rule.and_then(|at| self.record.rules.get(at as usize));
        let why = match rule {
            Some(rule) => format!("rule `{}`", rule.rule),
            None => event.reason.about().to_owned(),
        };
        format!("the kernel refused {} ({}): {why}", flow(event), event.hook.name())
    }

    fn keep_record(&mut self) -> Result<(), Failure> {
        let receipts = self.enforcer.receipts(self.id).map_err(Failure::failed)?;
        let counters = self.enforcer.counters().map_err(Failure::failed)?;
        if let Some(first) = receipts.first() {
            (self.record.kernel, self.record.generation) = (first.kernel.clone(), first.generation);
        }
        let verdict = |rule: &str| self.verdicts.get(rule).copied().unwrap_or_default();
        self.record.rules = receipts.iter().map(|receipt| RuleRecord::of(receipt, verdict(&receipt.rule))).collect();
        (self.record.judged, self.record.denied) = (counters.judged, counters.denied);
        (self.kept, self.changed) = (instant(), false);
        let folder = Path::new(records::FOLDER);
        self.record.write(folder).map_err(|error| Failure::failed(format!("the receipts cannot be kept: {error}")))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !kill_all(self.cgroup.path()) {
            eprintln!("sekisho: processes in {} do not stop", self.cgroup.path().display());
        }
        if let Err(error) = records::remove(Path::new(records::FOLDER), self.record.number) {
            eprintln!("sekisho: the receipts of {} are not removed: {error}", self.record.spiffe_id);
        }
    }
}

fn flow(event: &Event) -> String {
    let protocol = match event.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        number => format!("protocol {number}"),
    };
    let (address, port) = (event.address, event.port);
    match event.direction {
        Direction::Out => format!("{protocol} to {}", std::net::SocketAddr::from((address, port))),
        Direction::In => format!("{protocol} from {address} to port {}", event.local_port),
        Direction::Bind => format!("{protocol} to be bound at {}", std::net::SocketAddr::from((address, port))),
    }
}

/// What the rules leave to others. Nothing of it is silent (law L15).
fn not_enforced(found: &NetworkRules) -> Vec<String> {
    let mut all = vec![
        "who is at an address: the file of endpoints says so, and a peer's SVID proves it".to_owned(),
        "Unix sockets, and sockets that another process passes on".to_owned(),
    ];
    match found.rules.iter().filter(|rule| rule.depends_on_request).count() {
        0 => {}
        count => all.push(format!(
            "requests: the policy allows some of {count} connections' requests only, which who is called decides"
        )),
    }
    if rustix::process::geteuid().is_root() {
        all.push(
            "a program that stays root: it can leave its cgroup, and detach the rules; let it change its user"
                .to_owned(),
        );
    }
    let streams = [("input", 0), ("output", 1), ("error", 2)];
    all.extend(
        streams
            .into_iter()
            .filter(|(_, number)| is_network(*number))
            .map(|(name, _)| format!("standard {name}: it is a connection that was made outside")),
    );
    all
}

fn is_network(stream: u8) -> bool {
    let domain = match stream {
        0 => sockopt::socket_domain(std::io::stdin()),
        1 => sockopt::socket_domain(std::io::stdout()),
        _ => sockopt::socket_domain(std::io::stderr()),
    };
    matches!(domain, Ok(AddressFamily::INET | AddressFamily::INET6))
}
