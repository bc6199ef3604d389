//! What a revocation that an operator orders would do (`docs/decisions/0022`).
//!
//! Each concerns SVIDs that were issued before it. What may have an identity gets a new one at once, so none has to be
//! taken back, and none can be: a sidecar that cannot be reached would keep it.

use sekisho_api::RevocationTarget;
use sekisho_events::{Identity, Leaf};
use sekisho_identity::{LONGEST_SVID_SECONDS, Revoked};
use sekisho_runtime::now;
use sekisho_types::{SpiffeId, UnixTime};

use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;
use crate::registration::RegistrationError;
use crate::{log_search, revoke};

/// Identities that a preview names.
const MAX_NAMED: usize = 100;

/// What an order would revoke, and for how long the revocation is kept.
#[derive(Debug)]
pub(crate) struct Plan {
    pub what: Revoked,
    pub until: UnixTime,
    /// What is cut off, a line each.
    pub cuts: Vec<String>,
    /// What comes of it.
    pub then: &'static str,
    /// The agent whose own SVID it is.
    pub evicts: Option<SpiffeId>,
    /// Whether what it names is known here.
    pub known: bool,
}

/// What an order would do now.
pub(crate) struct PlanRevocation(pub RevocationTarget);

impl Query for PlanRevocation {
    type Caller = Operator;
    type Reply = Result<Plan, RegistrationError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        plan(of, self.0).await
    }
}

async fn plan(domain: &Shared, order: RevocationTarget) -> Result<Plan, RegistrationError> {
    let longest = now().plus_seconds(LONGEST_SVID_SECONDS);
    let again = "processes that may have it get a new SVID at once, and open connections are made again; delete the \
        entry to end that";
    match order {
        RevocationTarget::Entry(id) => domain.view.read(|state| {
            let entry = state.entries.get(&id).ok_or_else(|| RegistrationError::NoEntry(id.clone()))?;
            let until = now().plus_seconds(revoke::longest_life(entry, domain.settings.x509_ttl_seconds));
            let cuts = vec![line(entry)];
            let what = Revoked::Entry { id, spiffe_id: entry.spiffe_id.clone() };
            Ok(Plan { what, until, cuts, then: again, evicts: None, known: true })
        }),
        RevocationTarget::SpiffeId(id) => {
            if !id.is_member_of(&domain.identity.name) || id.path().is_empty() || id.path().starts_with("/spire/") {
                let form = "is not a workload's SPIFFE ID of this trust domain; an agent is revoked with `agent`";
                return Err(RegistrationError::Form(format!("`{id}` {form}")));
            }
            let cuts = domain.view.read(|state| named(state.entries_of(&id).map(|entry| line(entry))));
            Ok(Plan { what: Revoked::SpiffeId(id), until: longest, cuts, then: again, evicts: None, known: true })
        }
        RevocationTarget::Agent(id) => {
            if !id.is_member_of(&domain.identity.name) || !id.path().starts_with("/spire/agent/") {
                return Err(RegistrationError::NoAgent(id));
            }
            let (known, cuts) = domain.view.read(|state| {
                let node = state.nodes.get(&id);
                let served =
                    node.map(|node| state.authorized(node, &domain.identity.server_id, now())).unwrap_or_default();
                (node.is_some(), named(served.iter().map(|entry| line(entry))))
            });
            let then = "the agent must attest again (with a new token, if it attested by token); until then its \
                processes get no new SVID";
            Ok(Plan { what: Revoked::Agent(id.clone()), until: longest, cuts, then, evicts: Some(id), known })
        }
        RevocationTarget::Serial(serial) => one_svid(domain, serial).await,
    }
}

async fn one_svid(domain: &Shared, serial: String) -> Result<Plan, RegistrationError> {
    let mut found = issuance_of(domain, &serial).await?;
    if found.is_none() {
        // An entry can be read a moment after it is durable.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        found = issuance_of(domain, &serial).await?;
    }
    let evicts = domain.view.read(|state| {
        let shows = |other: &String| *other == serial;
        let mut nodes = state.nodes.values();
        let node = nodes.find(|node| shows(&node.serial) || node.previous_serial.as_ref().is_some_and(shows));
        node.map(|node| node.id.clone())
    });
    let (mut until, mut cuts) = (now().plus_seconds(LONGEST_SVID_SECONDS), vec![]);
    match &found {
        Some(given) => {
            until = given.not_after.unwrap_or(until).min(until);
            let entry = given.entry.as_ref().map(|entry| format!(" by entry `{entry}`")).unwrap_or_default();
            let erased = || "an identity that was erased from the log".to_owned();
            let id = given.spiffe_id.as_ref().map_or_else(erased, ToString::to_string);
            cuts.push(format!("one {} of {id}{entry}", given.what));
        }
        None => cuts.push("no issuance with this serial number is in this log".to_owned()),
    }
    if until <= now() {
        return Err(RegistrationError::Form(format!("the SVID with the serial number `{serial}` has expired")));
    }
    let then = match evicts {
        Some(_) => "it is an agent's own SVID: the agent must attest again",
        None => "its holder keeps it until it asks its agent again, and peers refuse it from now on",
    };
    let known = found.is_some() || evicts.is_some();
    Ok(Plan { what: Revoked::Serial(serial), until, cuts, then, evicts, known })
}

/// What the log says of an issuance.
async fn issuance_of(domain: &Shared, serial: &str) -> Result<Option<Identity>, RegistrationError> {
    let (searched, id) = (domain.clone(), format!("iss_{serial}"));
    let found = sekisho_runtime::blocking(move || {
        let index = log_search::find(&searched.log.ledger, &id)?;
        let entry = searched.log.ledger.entry(index, searched.log.ledger.size())?;
        Leaf::decode_with_side(&entry.leaf, &entry.side).ok()?.event.identity()
    });
    found.await.map_err(|ended| RegistrationError::Form(ended.to_string()))
}

fn line(entry: &sekisho_identity::Entry) -> String {
    format!("{} by entry `{}` (parent {})", entry.spiffe_id, entry.id, entry.parent_id)
}

fn named(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    let more = lines.len().saturating_sub(MAX_NAMED);
    lines.truncate(MAX_NAMED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}
