//! Join tokens: made once, shown once, kept as a hash. Everywhere else a token goes by the beginning of its hash.

use sekisho_events::{TokenCreated, TokenId, TokenRevoked};
use sekisho_evidence::{check_token, token_hash};
use sekisho_runtime::{now, random_hex};
use sekisho_store::{Batch, Conflict, Expect, Item, TokenRecord, Write};
use sekisho_types::{SpiffeId, UnixTime};

use crate::domain::Domain;
use crate::journal::{Stamp, personal};
use crate::registration::RegistrationError;
use crate::submit;

/// Where agents are that attest by token. A token gives no other kind of agent's ID away.
const AGENTS: &str = "/spire/agent/join_token/";
/// Digits of the hash in an id: enough that none is met twice.
const ID_DIGITS: usize = 16;
const LONGEST_LIFE: u32 = 7 * 86_400;
/// Expired tokens are listed for a day.
const EXPIRED_KEPT_SECONDS: i64 = 86_400;

/// A token that was just made: the only time that it is shown.
pub(crate) struct NewToken {
    pub id: String,
    pub token: String,
    pub agent_id: SpiffeId,
    pub expires_at: UnixTime,
}

/// The name by which operators speak of a token.
pub(crate) fn id_of(hash: &str) -> String {
    format!("tok_{}", hash.chars().take(ID_DIGITS).collect::<String>())
}

/// Makes a token for the agent `agent`, a name or a SPIFFE ID, or for one with a new name. A node that joins again with
/// the same name is the same agent: what is registered for it stays.
pub(crate) async fn create(
    domain: &Domain,
    agent: Option<&str>,
    token: Option<String>,
    ttl_seconds: u32,
    by: &str,
) -> Result<NewToken, RegistrationError> {
    if !(1..=LONGEST_LIFE).contains(&ttl_seconds) {
        return Err(RegistrationError::TokenLife);
    }
    let token = token.unwrap_or_else(|| random_hex(16));
    check_token(&token)?;
    // Not derived from the token: the ID is stored and logged, the token is not.
    let agent_id = agent_id(domain, agent.unwrap_or(&random_hex(16)))?;
    let (hash, expires_at) = (token_hash(&token).to_string(), now().plus_seconds(i64::from(ttl_seconds)));
    let id = id_of(&hash);
    let created = TokenCreated {
        agent: Some(personal(agent_id.clone())),
        by: personal(by.to_owned()),
        expires_at,
        token: TokenId::parse(&id),
    };
    let record = TokenRecord { hash, agent_id: agent_id.clone(), expires_at };
    let creation = || {
        let node = domain.view.read(|state| state.nodes.get(&agent_id).cloned());
        if node.as_ref().is_some_and(|node| node.banned) {
            return Err(RegistrationError::AgentBanned(agent_id.clone()));
        }
        let item = Item::default()
            .expect(Expect::Node { id: agent_id.clone(), is: node })
            .expect(Expect::NoToken(record.hash.clone()))
            .write(Write::RemoveTokensBefore(now().plus_seconds(-EXPIRED_KEPT_SECONDS)))
            .write(Write::PutToken(record.clone()))
            .record(Stamp::now(domain).leaf(created.clone()));
        Ok((item, ()))
    };
    submit::change(domain, creation).await?;
    Ok(NewToken { id, token, agent_id, expires_at })
}

/// The tokens that were not used.
pub(crate) async fn list(domain: &Domain) -> Result<Vec<TokenRecord>, RegistrationError> {
    Ok(domain.store.tokens(&domain.name).await?)
}

/// Makes a token useless.
pub(crate) async fn revoke(domain: &Domain, id: &str, by: &str) -> Result<(), RegistrationError> {
    let unknown = || RegistrationError::NoToken(id.to_owned());
    let found = list(domain).await?.into_iter().find(|token| id_of(&token.hash) == id);
    let hash = found.ok_or_else(unknown)?.hash;
    let token = TokenId::parse(id).ok_or_else(unknown)?;
    let leaf = Stamp::now(domain).leaf(TokenRevoked { by: personal(by.to_owned()), token });
    let exists = Expect::Token { hash: hash.clone(), at: UnixTime::from_nanos(i64::MIN) };
    let removal = Item::default().expect(exists).write(Write::RemoveToken(hash)).record(leaf);
    match domain.store.commit(Batch::of(&domain.name, removal)).await?.only() {
        Ok(_) => Ok(()),
        // It was used meanwhile.
        Err(Conflict::Token) => Err(unknown()),
        Err(conflict) => Err(conflict.into()),
    }
}

fn agent_id(domain: &Domain, name: &str) -> Result<SpiffeId, RegistrationError> {
    let refused = || RegistrationError::AgentName(name.to_owned());
    let id = match name.strip_prefix("spiffe://") {
        Some(_) => SpiffeId::parse(name)?,
        None => domain.name.workload(&format!("{AGENTS}{name}")).map_err(|_| refused())?,
    };
    let own_name = id.path().strip_prefix(AGENTS).filter(|own_name| !own_name.contains('/'));
    if id.is_member_of(&domain.name) && own_name.is_some() { Ok(id) } else { Err(refused()) }
}
