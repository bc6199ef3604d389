use sekisho_events::{TokenCreated, TokenId};
use sekisho_evidence::{check_token, token_hash};
use sekisho_runtime::{now, random_hex};
use sekisho_store::{Expect, TokenRecord, Write};
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};

use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::Command;
use crate::journal::personal;
use crate::registration::RegistrationError;
use crate::run::Run;
use crate::tokens::id_of;

/// Where agents are that attest by token. A token gives no other kind of agent's ID away.
const AGENTS: &str = "/spire/agent/join_token/";
const LONGEST_LIFE: u32 = 7 * 86_400;
/// Expired tokens are listed for a day.
const EXPIRED_KEPT_SECONDS: i64 = 86_400;

/// Makes a token for the agent `agent`, a name or a SPIFFE ID, or for one with a new name. A node that joins again with
/// the same name is the same agent: what is registered for it stays.
pub(crate) struct CreateToken {
    pub agent: Option<String>,
    pub token: Option<String>,
    pub ttl_seconds: u32,
}

/// A token that was just made: the only time that it is shown.
pub(crate) struct NewToken {
    pub id: String,
    pub token: String,
    pub agent_id: SpiffeId,
    pub expires_at: UnixTime,
}

impl Command for CreateToken {
    type Caller = Operator;
    type Reply = NewToken;
    type Error = RegistrationError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<NewToken, RegistrationError> {
        let (Self { agent, token, ttl_seconds }, Facts { view, trust_domain, .. }) = (self, run.facts());
        if !(1..=LONGEST_LIFE).contains(&ttl_seconds) {
            return Err(RegistrationError::TokenLife);
        }
        let token = token.unwrap_or_else(|| random_hex(16));
        check_token(&token)?;
        // Not derived from the token: the ID is stored and logged, the token is not.
        let agent_id = agent_id(trust_domain, agent.as_deref().unwrap_or(&random_hex(16)))?;
        let (hash, expires_at) = (token_hash(&token).to_string(), now().plus_seconds(i64::from(ttl_seconds)));
        let id = id_of(&hash);
        let created = TokenCreated {
            agent: Some(personal(agent_id.clone())),
            by: personal(run.caller.name().to_owned()),
            expires_at,
            token: TokenId::parse(&id),
        };
        let record = TokenRecord { hash, agent_id: agent_id.clone(), expires_at };
        let creation = || {
            let node = view.read(|state| state.nodes.get(&agent_id).cloned());
            if node.as_ref().is_some_and(|node| node.banned) {
                return Err(RegistrationError::AgentBanned(agent_id.clone()));
            }
            Ok(Change::with_reply(())
                .expect(Expect::Node { id: agent_id.clone(), is: node })
                .expect(Expect::NoToken(record.hash.clone()))
                .write(Write::RemoveTokensBefore(now().plus_seconds(-EXPIRED_KEPT_SECONDS)))
                .write(Write::PutToken(record.clone()))
                .event(created.clone()))
        };
        run.change(creation).await?;
        Ok(NewToken { id, token, agent_id, expires_at })
    }
}

fn agent_id(trust_domain: &TrustDomain, name: &str) -> Result<SpiffeId, RegistrationError> {
    let refused = || RegistrationError::AgentName(name.to_owned());
    let id = match name.strip_prefix("spiffe://") {
        Some(_) => SpiffeId::parse(name)?,
        None => trust_domain.workload(&format!("{AGENTS}{name}")).map_err(|_| refused())?,
    };
    let own_name = id.path().strip_prefix(AGENTS).filter(|own_name| !own_name.contains('/'));
    if id.is_member_of(trust_domain) && own_name.is_some() { Ok(id) } else { Err(refused()) }
}
