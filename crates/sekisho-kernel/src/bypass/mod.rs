//! The self-test: what an attacker inside a workload tries to get past its rules, tried on this kernel.
//!
//! Each technique runs twice in a cgroup of its own: without rules, to see that it works here at all, and with rules
//! that allow one port. What counts is what arrives at a listener, not what a call returns.

mod attempt;
mod by_call;
mod by_packet;
mod by_ring;
mod by_socket;
mod inside;
mod network;
mod raw_calls;
mod techniques;

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::process::Command;
use std::time::Duration;

use crate::abi::{Event, Hook};
use crate::cgroup::Cgroup;
use crate::enforcer::{Enforcer, Fallback, KernelError, Mode, WorkloadId};
use crate::rules::{Defaults, Direction, Network, Peers, Policy, Ports, Protocol, Rule, RuleError, Verdict};

pub use inside::inside;
pub use network::{ALLOWED_PORT, DENIED_PORT, Listeners, scratch_network};

use attempt::Attempt;
use inside::{Answer, Inside};
use techniques::{CONTROL, Helper, TECHNIQUES, Technique, When};

/// What came of a technique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Blocked,
    /// It reached the peer, and rules could have prevented it.
    Bypassed,
    /// It reached the peer, by a way that rules of the network do not govern.
    Beyond,
    /// It does not work on this machine without rules either.
    NotHere,
    /// It failed, and no rule denied it: that proves nothing.
    Unclear,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub technique: &'static str,
    pub about: &'static str,
    pub outcome: Outcome,
    /// The program that denied it.
    pub by: Option<Hook>,
    /// Why, or what closes it.
    pub why: String,
}

/// What the self-test found.
#[derive(Debug)]
pub struct Report {
    pub kernel: String,
    pub findings: Vec<Finding>,
    /// Tag of each program.
    pub programs: Vec<(&'static str, String)>,
}

impl Report {
    pub fn count(&self, outcome: &Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == *outcome).count()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("the self-test cannot be prepared: {0}")]
    Io(#[from] io::Error),
    #[error("rules of the self-test: {0}")]
    Rule(#[from] RuleError),
    /// Then nothing that was blocked says anything.
    #[error("with the rules, an allowed connection does not work either: {0}")]
    Control(String),
}

/// Long enough for a packet on the loopback interface of a busy machine.
const ARRIVAL: Duration = Duration::from_millis(250);

/// Runs every technique. `program` starts a process that calls `inside`. The calling thread moves to a network of its
/// own.
pub fn run(program: &dyn Fn() -> Command) -> Result<Report, SelfTestError> {
    let mut stage =
        Stage { enforcer: Enforcer::load()?, listeners: scratch_network()?, policy: policy()?, program, tokens: 0 };
    // The relay of one attempt is there for all.
    let _relay = relay()?;
    if let (Reached::No(why), _) = stage.guarded(&CONTROL)? {
        return Err(SelfTestError::Control(why));
    }
    let findings = TECHNIQUES.iter().map(|technique| stage.try_out(technique)).collect::<Result<_, _>>()?;
    Ok(Report { kernel: crate::enforcer::release(), findings, programs: stage.enforcer.tags() })
}

/// To one port of this machine, and nothing else.
fn policy() -> Result<Policy, RuleError> {
    let peers = [Network::host(Ipv4Addr::LOCALHOST.into()), Network::host(Ipv6Addr::LOCALHOST.into())];
    let rules = peers.iter().zip(["allow-ipv4", "allow-ipv6"]).map(|(peer, id)| Rule {
        id: id.to_owned(),
        direction: Direction::Out,
        peers: Peers::Of(*peer),
        protocol: Protocol::Any,
        ports: Ports::one(ALLOWED_PORT),
        verdict: Verdict::Allow,
    });
    Policy::new(rules.collect(), Defaults::DENY)
}

enum Reached {
    Yes,
    No(String),
}

/// What an attempt under rules shows. Only a rule's own event says that it was blocked, or the kernel's answer to a
/// process that follows the advice.
fn judge(technique: &Technique, reached: &Reached, denied: Option<&Event>) -> (Outcome, String) {
    match (reached, denied, technique.beyond) {
        (Reached::Yes, _, Some(why)) => (Outcome::Beyond, why.to_owned()),
        (Reached::Yes, _, None) => (Outcome::Bypassed, "it reached the peer".to_owned()),
        (Reached::No(_), Some(event), _) => (Outcome::Blocked, event.reason.about().to_owned()),
        (Reached::No(why), None, _) if technique.is_advice => (Outcome::Blocked, why.clone()),
        (Reached::No(why), None, _) => (Outcome::Unclear, format!("no rule denied it: {why}")),
    }
}

struct Stage<'a> {
    enforcer: Enforcer,
    listeners: Listeners,
    policy: Policy,
    program: &'a dyn Fn() -> Command,
    tokens: u32,
}

impl Stage<'_> {
    fn try_out(&mut self, technique: &Technique) -> Result<Finding, SelfTestError> {
        let finding =
            |outcome, by, why: String| Finding { technique: technique.name, about: technique.about, outcome, by, why };
        if !technique.is_advice
            && let Reached::No(why) = self.unguarded(technique)?
        {
            return Ok(finding(Outcome::NotHere, None, format!("without rules: {why}")));
        }
        let (mut reached, mut denied) = self.guarded(technique)?;
        // A process that the machine held up is given another try.
        if judge(technique, &reached, denied.as_ref()).0 == Outcome::Unclear {
            (reached, denied) = self.guarded(technique)?;
        }
        let (outcome, why) = judge(technique, &reached, denied.as_ref());
        Ok(finding(outcome, denied.map(|event| event.hook), why))
    }

    fn unguarded(&mut self, technique: &Technique) -> Result<Reached, SelfTestError> {
        let cgroup = Cgroup::scratch()?;
        let (_process, answer) = self.attempt(technique, &cgroup, None)?;
        Ok(answer)
    }

    fn guarded(&mut self, technique: &Technique) -> Result<(Reached, Option<Event>), SelfTestError> {
        let cgroup = Cgroup::scratch()?;
        self.enforcer.events();
        let mut workload = None;
        let tried = self.attempt(technique, &cgroup, Some(&mut workload));
        if let Some(workload) = workload {
            self.enforcer.detach(workload)?;
        }
        let denied = self.enforcer.events().into_iter().rfind(|event| event.verdict == Verdict::Deny);
        let (_process, reached) = tried?;
        Ok((reached, denied))
    }

    /// Both steps, with rules between them if a workload is asked for.
    fn attempt(
        &mut self,
        technique: &Technique,
        cgroup: &Cgroup,
        workload: Option<&mut Option<WorkloadId>>,
    ) -> Result<(Inside, Reached), SelfTestError> {
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        let mut process = Inside::start(&mut (self.program)())?;
        let prepare = |process: &mut Inside, now| match technique.prepare {
            Some((when, _)) if when == now => process.order(&format!("prepare {}", technique.name), None),
            _ => Ok(Answer::Done(Attempt::Arrives)),
        };
        let outside = prepare(&mut process, When::Outside)?;
        cgroup.admit(process.number())?;
        let before = prepare(&mut process, When::BeforeRules)?;
        for step in [outside, before] {
            if let Answer::Failed(why) = step {
                return Ok((process, Reached::No(why)));
            }
        }
        if let Some(workload) = workload {
            let attached = self.enforcer.attach(cgroup.path(), &self.policy, Mode::Enforce, Fallback::KeepPolicy)?;
            *workload = Some(attached);
        }
        let passed = match technique.helper {
            Helper::Connection => {
                Some(OwnedFd::from(TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, DENIED_PORT)))?))
            }
            Helper::None | Helper::Relay => None,
        };
        let order = format!("attempt {} {token}", technique.name);
        let reached = match process.order(&order, passed.as_ref().map(AsFd::as_fd)) {
            Ok(Answer::Done(Attempt::Succeeded)) => Reached::Yes,
            Ok(Answer::Done(Attempt::Arrives)) if self.listeners.received(token.as_bytes(), ARRIVAL) => Reached::Yes,
            Ok(Answer::Done(Attempt::Arrives)) => Reached::No("nothing arrives".to_owned()),
            Ok(Answer::Failed(why)) => Reached::No(why),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Reached::No("the call does not return".to_owned())
            }
            Err(error) => return Err(error.into()),
        };
        Ok((process, reached))
    }
}

/// Forwards to the denied port what comes on a Unix socket, until the process exits.
fn relay() -> io::Result<std::thread::JoinHandle<()>> {
    let listener = UnixListener::bind_addr(&UnixAddress::from_abstract_name(by_socket::RELAY)?)?;
    let onward = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut token = Vec::new();
            if stream.is_ok_and(|mut stream| stream.read_to_end(&mut token).is_ok()) {
                let _unsent = onward.send_to(&token, (Ipv4Addr::LOCALHOST, DENIED_PORT));
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_without_a_rule_proves_nothing() {
        let judged = |name: &str, reached: &Reached| {
            let technique = TECHNIQUES.iter().find(|technique| technique.name == name).unwrap();
            judge(technique, reached, None).0
        };
        let failed = Reached::No("the call does not return".to_owned());
        for name in ["child-cgroup", "packet"] {
            assert_eq!(judged(name, &failed), Outcome::Unclear, "{name}");
        }
        // The kernel refuses it by itself: that is the advice.
        assert_eq!(judged("packet-unprivileged", &failed), Outcome::Blocked);
        assert_eq!(judged("child-cgroup", &Reached::Yes), Outcome::Bypassed);
        assert_eq!(judged("packet", &Reached::Yes), Outcome::Beyond);
    }
}
