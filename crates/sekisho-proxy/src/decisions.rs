//! Decisions: made in process. A denial is on disk before the peer hears of it.

use std::sync::Arc;
use std::time::Duration;

use sekisho_disk::Spool;
use sekisho_events::{DecisionId, PeerRefused, RefusalId};
use sekisho_net::{Rates, Tally};
use sekisho_policy::{Decision, RequestInput};
use sekisho_runtime::metrics::Metrics;
use sekisho_runtime::metrics::registry::{DECISION_SECONDS, DECISIONS};
use sekisho_runtime::{instant, now, time_ordered_id};
use sekisho_sdk::CurrentIdentity;
use sekisho_types::{Digest, Effect};
use tokio::sync::{Notify, watch};

use crate::log_limiter::LogLimiter;
use crate::policy::PolicyKeeper;
use crate::recorder::{MadeDecision, Recorder, Writer};
use crate::trace::Trace;

pub(crate) struct Decider {
    policy: Arc<PolicyKeeper>,
    /// Whom this sidecar speaks for, which its records say.
    held: watch::Receiver<Option<CurrentIdentity>>,
    recorder: Recorder,
    /// By what was refused.
    refusals: Rates<&'static str>,
    /// Those that came no further than the handshake.
    strangers: Tally,
    strangers_came: Notify,
    log_limiter: LogLimiter,
    metrics: Metrics,
}

/// What a decision came to, for the one who asked.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub id: DecisionId,
    pub effect: Effect,
    /// The revision that decided and its digest, if there was one.
    pub policy: Option<(u64, Digest)>,
}

impl Decider {
    /// With what writes its records.
    pub(crate) fn new(
        policy: Arc<PolicyKeeper>,
        spool: Spool,
        held: watch::Receiver<Option<CurrentIdentity>>,
    ) -> (Self, Writer) {
        let (recorder, writer) = Recorder::to(spool);
        let decider = Self {
            policy,
            held,
            recorder,
            refusals: Rates::new(100.0, 1000.0),
            strangers: Tally::new(),
            strangers_came: Notify::new(),
            log_limiter: LogLimiter::default(),
            metrics: Metrics::default(),
        };
        (decider, writer)
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The identity in force.
    pub(crate) const fn held(&self) -> &watch::Receiver<Option<CurrentIdentity>> {
        &self.held
    }

    pub(crate) fn policy(&self) -> &Arc<PolicyKeeper> {
        &self.policy
    }

    /// Decides and records. Without a policy everything is denied; the first decisions wait for the agent's.
    pub(crate) async fn decide(&self, request: Arc<RequestInput>, trace: Trace) -> Outcome {
        self.policy.complete().await;
        let (started, at) = (instant(), now());
        let in_force = self.policy.current();
        let decision = match &in_force {
            Some(policy) => policy.set.decide(&request, at),
            None => Decision { effect: Effect::Deny, rule: None, error: Some("no policy has arrived yet".into()) },
        };
        let (id, effect) = (DecisionId::new(time_ordered_id(at)), decision.effect);
        if effect == Effect::Deny {
            self.log_denial(&request, &decision, &id);
        }
        let policy = in_force.as_ref().map(|policy| (policy.revision, policy.set.digest()));
        let took = started.elapsed();
        let latency_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count(&request, &decision, took);
        let made = MadeDecision { id, trace, request, at, in_force, decision, latency_micros };
        match effect {
            Effect::Allow => {
                if !self.recorder.allowed(made) {
                    tracing::warn!(%id, "the spool is behind; this record is lost");
                }
            }
            Effect::Deny => {
                if !self.recorder.denied(made).await {
                    tracing::error!(%id, "a denial could not be spooled");
                }
            }
        }
        Outcome { id, effect, policy }
    }

    fn count(&self, request: &RequestInput, decision: &Decision, took: Duration) {
        let (src, dst) = (request.subject.spiffe_id.as_str(), request.destination.as_str());
        let place = decision.rule.as_ref().map(|rule| rule.place());
        let rule = match (&decision.error, &place) {
            (Some(_), _) => "error",
            (None, Some(place)) => place.as_str(),
            (None, None) => "default",
        };
        let effect = if decision.effect == Effect::Allow { "allow" } else { "deny" };
        self.metrics.add(&DECISIONS, &[src, dst, effect, rule], 1);
        self.metrics.observe(&DECISION_SECONDS, &[], took);
    }

    /// One line for each peer and rule, and then counts: each denial is in its record.
    fn log_denial(&self, request: &RequestInput, decision: &Decision, id: &DecisionId) {
        let peer = request.subject.spiffe_id.to_string();
        let rule = match (&decision.rule, &decision.error) {
            (_, Some(error)) => error.clone(),
            (Some(rule), None) => rule.place(),
            (None, None) => "no rule allows it".to_owned(),
        };
        if self.log_limiter.is_first("denied", &peer, &rule, 1) {
            tracing::info!(peer, rule, decision = %id, "denied");
        }
    }

    /// Records that something was refused before there was anything to decide. In a flood the queue is full, and what
    /// does not fit is counted as lost.
    pub(crate) fn refuse(&self, what: &'static str, peer: &str, reason: &str) {
        self.record_refusal(what, peer, reason, 1);
    }

    /// Counts a peer of which nothing is known: in one window there is one record for each reason, whatever comes.
    pub(crate) fn refuse_stranger(&self, address: &str, reason: &str) {
        if self.strangers.add(address, reason) {
            self.strangers_came.notify_one();
        }
    }

    /// Records the counts of strangers so far.
    fn record_strangers(&self) {
        for tallied in self.strangers.take() {
            self.record_refusal("handshake", &tallied.first, &tallied.reason, tallied.count);
        }
    }

    /// `count` are refused for one reason, of which `peer` was the first.
    fn record_refusal(&self, what: &'static str, peer: &str, reason: &str, count: u64) {
        if self.log_limiter.is_first(what, peer, reason, count) {
            tracing::info!(what, peer, reason, count, "refused");
        }
        let Some(own) = self.held.borrow().as_ref().map(|held| held.spiffe_id.clone()) else {
            self.recorder.lose(count);
            return;
        };
        let at = now();
        if count == 1 && !self.refusals.take(what, at) {
            self.recorder.lose(1);
            return;
        }
        let refused = PeerRefused {
            id: RefusalId::new(time_ordered_id(at)),
            at,
            what: what.to_owned(),
            peer: peer.to_owned(),
            // It may quote what the peer sent.
            reason: reason.chars().take(500).collect(),
            count: Some(count),
            destination: own,
        };
        self.recorder.refused(refused, count);
    }

    /// Records what was counted only, and returns once all is on disk. For the end.
    pub(crate) async fn finish(&self) {
        self.record_strangers();
        self.log_limiter.log();
        self.recorder.finish().await;
    }

    /// Whether the policy would allow this now; for streams that are already open. Not recorded again when it would.
    pub(crate) fn still_allowed(&self, request: &RequestInput) -> bool {
        self.policy.current().is_some_and(|policy| policy.set.judge(request, now()).effect.is_allow())
    }
}

/// Logs how often the same happened, as long as the sidecar runs.
pub(crate) async fn log_counts(decider: Arc<Decider>) {
    decider.log_limiter.log_counts().await;
}

/// Windows in which strangers are counted: a flood that lasts makes them longer.
const SHORTEST_WINDOW: Duration = Duration::from_secs(5);
const LONGEST_WINDOW: Duration = Duration::from_secs(80);

/// Records the counts of strangers while there are any.
pub(crate) async fn run_stranger_count(decider: Arc<Decider>) {
    let mut window = SHORTEST_WINDOW;
    loop {
        decider.strangers_came.notified().await;
        tokio::time::sleep(window).await;
        decider.record_strangers();
        let more = tokio::time::timeout(window, decider.strangers_came.notified()).await.is_ok();
        window = if more { (window * 2).min(LONGEST_WINDOW) } else { SHORTEST_WINDOW };
        if more {
            decider.strangers_came.notify_one();
        }
    }
}
