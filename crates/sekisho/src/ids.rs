//! Ids as people give them: whole, or a prefix that is unique; and of the kind that the verb is about.

use hyper::StatusCode;
use sekisho_api::{
    AgentForm, AgentList, AgentsQuery, DecisionForm, DecisionsQuery, EntriesQuery, EntryForm, EntryList,
    IdentitiesQuery, IdentityForm, TokenRow, TpmRow,
};
use sekisho_types::{Digest, SpiffeId};

use crate::exit::{Exit, Failure};
use crate::rest::Rest;

/// Candidates that an answer names at most.
const NAMED: usize = 8;
/// Decisions in which a prefix is looked for.
const PAGE: u32 = 1000;
/// Digits in the id of a record.
const RECORD_DIGITS: usize = 32;

/// Prefixes of ids, what each is the id of, and the verb that fits.
const KINDS: [(&str, &str, &str); 6] = [
    ("ent_", "a registration entry", "sekisho entry show"),
    ("tok_", "a join token", "sekisho token revoke"),
    ("dec_", "a decision", "sekisho why"),
    ("ref_", "a refusal", "sekisho why"),
    ("att_", "an attestation", "sekisho prove"),
    ("iss_", "an issuance", "sekisho prove"),
];

/// Refuses an id whose prefix is of another kind than these.
pub(crate) fn expect(id: &str, kinds: &[&str]) -> Result<(), Failure> {
    match KINDS.iter().find(|(prefix, ..)| id.starts_with(prefix)) {
        Some((prefix, what, verb)) if !kinds.contains(prefix) => {
            Err(Failure::new(Exit::Usage, format!("`{id}` is the id of {what}: `{verb} {id}`")))
        }
        _ if id.starts_with("spiffe://") && !kinds.contains(&"spiffe://") => {
            let text = format!("`{id}` is a SPIFFE ID: `sekisho entry list --spiffe-id {id}` shows its entries");
            Err(Failure::new(Exit::Usage, text))
        }
        _ => Ok(()),
    }
}

/// The entry that is meant.
pub(crate) async fn entry(rest: &Rest, given: &str) -> Result<EntryForm, Failure> {
    expect(given, &["ent_"])?;
    let whole = rest.get(&format!("/v1/entries/{given}")).await;
    let missing = match whole {
        Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => failure,
        known => return known,
    };
    let query = EntriesQuery { after: Some(given.to_owned()), limit: Some(NAMED + 1), ..Default::default() };
    let page: EntryList = rest.find("/v1/entries", &query).await?;
    let id = |entry: &EntryForm| entry.id.clone().unwrap_or_default();
    let found = page.entries.into_iter().filter(|entry| id(entry).starts_with(given)).collect();
    one(given, found, |entry| format!("{}  {}", id(entry), entry.spiffe_id))?.ok_or(missing)
}

/// The id of the token that is meant.
pub(crate) async fn token(rest: &Rest, given: &str) -> Result<String, Failure> {
    expect(given, &["tok_"])?;
    let listed: Vec<TokenRow> = rest.get("/v1/tokens").await?;
    let found = listed.into_iter().filter(|row| row.id.starts_with(given)).collect();
    let found = one(given, found, |row: &TokenRow| row.id.clone())?;
    // The server says what is the matter with one that it does not know.
    Ok(found.map_or_else(|| given.to_owned(), |row| row.id))
}

/// The endorsement key of the TPM that is meant, also of one that never asked.
pub(crate) async fn tpm(rest: &Rest, given: &str) -> Result<String, Failure> {
    let listed: Vec<TpmRow> = rest.get("/v1/tpms").await?;
    let found = listed.into_iter().filter(|row| row.ek.starts_with(given)).collect();
    let found = one(given, found, |row: &TpmRow| row.ek.clone())?;
    Ok(found.map_or_else(|| given.to_owned(), |row| row.ek))
}

/// The agent that is meant: its SPIFFE ID, its path, or the beginning of the last part of it.
pub(crate) async fn agent(rest: &Rest, given: &str) -> Result<AgentForm, Failure> {
    expect(given, &["spiffe://"])?;
    // A whole SPIFFE ID needs no list of the fleet.
    let whole = AgentsQuery { id: SpiffeId::parse(given).is_ok().then(|| given.to_owned()) };
    if whole.id.is_some() {
        let AgentList { agents } = rest.find("/v1/agents", &whole).await?;
        if let Some(exact) = agents.into_iter().find(|agent| agent.id == given) {
            return Ok(exact);
        }
    }
    let AgentList { agents } = rest.get("/v1/agents").await?;
    let path = |agent: &AgentForm| agent.id.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
    if let Some(exact) = agents.iter().find(|agent| agent.id == given || path(agent) == given) {
        return Ok(exact.clone());
    }
    let last = |agent: &AgentForm| agent.id.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(exact) = agents.iter().find(|agent| last(agent) == given) {
        return Ok(exact.clone());
    }
    let found = agents.into_iter().filter(|agent| last(agent).starts_with(given) || agent.id.starts_with(given));
    let unknown = || Failure::failed(format!("no agent `{given}` is known; see `sekisho agent list`"));
    one(given, found.collect(), |agent: &AgentForm| agent.id.clone())?.ok_or_else(unknown)
}

/// The record that is meant, of a decision or of a refusal on a node.
pub(crate) async fn record(rest: &Rest, given: &str) -> Result<DecisionForm, Failure> {
    expect(given, &["dec_", "ref_"])?;
    let whole = |id: &str| format!("/v1/decisions/{id}");
    let digits = given.strip_prefix("dec_").or_else(|| given.strip_prefix("ref_"));
    let Some(digits) = digits.filter(|digits| is_prefix(digits)) else {
        return rest.get(&whole(given)).await;
    };
    let query = DecisionsQuery {
        effect: given.starts_with("ref_").then(|| "refusal".to_owned()),
        // Records are listed by the number in their id.
        before: Some(format!("{}{digits:f<RECORD_DIGITS$}", given.get(..4).unwrap_or_default())),
        limit: Some(PAGE),
    };
    let page: Vec<DecisionForm> = rest.find("/v1/decisions", &query).await?;
    let found = page.into_iter().filter(|row| row.id.starts_with(given)).collect();
    match one(given, found, |row: &DecisionForm| format!("{}  {}", row.id, row.effect))? {
        Some(row) => Ok(row),
        None => rest.get(&whole(given)).await,
    }
}

/// The id of what is logged: an attestation, an issuance, a decision, a refusal, or the index of a leaf.
pub(crate) async fn logged(rest: &Rest, given: &str) -> Result<String, Failure> {
    expect(given, &["dec_", "ref_", "att_", "iss_"])?;
    if !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(given.to_owned());
    }
    if given.starts_with("att_") || given.starts_with("iss_") {
        let listed: Vec<IdentityForm> = rest.find("/v1/identities", &IdentitiesQuery { limit: Some(PAGE) }).await?;
        let found = listed.into_iter().filter(|row| row.id.starts_with(given)).collect();
        let found = one(given, found, |row: &IdentityForm| format!("{}  {}", row.id, row.spiffe_id))?;
        return Ok(found.map_or_else(|| given.to_owned(), |row| row.id));
    }
    match record(rest, given).await {
        Ok(row) => Ok(row.id),
        // A refusal by the server is a leaf of its own.
        Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => Ok(given.to_owned()),
        Err(failure) => Err(failure),
    }
}

fn is_prefix(digits: &str) -> bool {
    !digits.is_empty() && digits.len() < RECORD_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The one that was found; several are named.
fn one<T>(given: &str, mut found: Vec<T>, shown: impl Fn(&T) -> String) -> Result<Option<T>, Failure> {
    if found.len() < 2 {
        return Ok(found.pop());
    }
    let more = if found.len() > NAMED { "\n  and more" } else { "" };
    let lines: Vec<String> = found.iter().take(NAMED).map(|one| format!("\n  {}", shown(one))).collect();
    Err(Failure::new(Exit::Usage, format!("`{given}` is the beginning of several ids:{}{more}", lines.concat())))
}

/// A SHA-256 in hexadecimal, as an option has it.
pub(crate) fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).map_err(|error| format!("a SHA-256 in hexadecimal: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_verb_that_fits() {
        let text = |id: &str, kinds: &[&str]| expect(id, kinds).unwrap_err().to_string();
        assert_eq!(text("dec_01", &["ent_"]), "`dec_01` is the id of a decision: `sekisho why dec_01`");
        assert_eq!(
            text("ent_01", &["dec_", "ref_"]),
            "`ent_01` is the id of a registration entry: `sekisho entry show ent_01`"
        );
        assert!(text("spiffe://td/a", &["ent_"]).contains("`sekisho entry list --spiffe-id spiffe://td/a`"));
        assert!(expect("chosen-by-an-operator", &["ent_"]).is_ok() && expect("17", &["dec_"]).is_ok());
    }

    #[tokio::test]
    async fn digits_alone_are_the_index_of_a_leaf() {
        // No server is asked.
        let rest = Rest::new(std::path::Path::new("/nonexistent"));
        for index in ["7", "12345", "123456789012"] {
            assert_eq!(logged(&rest, index).await.unwrap(), index);
        }
        assert!(logged(&rest, "dec_12345").await.is_err());
    }

    #[test]
    fn several_that_begin_alike_are_named() {
        let of = |found: Vec<&'static str>| one("a", found, |one| (*one).to_owned());
        assert_eq!(of(vec!["a1"]).unwrap(), Some("a1"));
        assert_eq!(of(vec![]).unwrap(), None);
        assert_eq!(of(vec!["a1", "a2"]).unwrap_err().to_string(), "`a` is the beginning of several ids:\n  a1\n  a2");
    }
}
