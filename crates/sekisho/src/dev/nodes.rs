//! The nodes of the main job: one by a TPM, where there is one, and one by a join token.

use hyper::Method;
use sekisho_api::{BundleForm, EntriesQuery, EntryForm, EntryList, TokenForm, TokenRequest};
use sekisho_proto::node::{StatusRequest, inspect_client::InspectClient};
use sekisho_sdk::agent_channel;
use serde_json::json;

use super::job::{GATEWAY, Job, TRUST_DOMAIN, ready};
use super::process::{Roles, strings, wait_for};
use crate::exit::Failure;
use crate::reach;

/// In the ID of an agent that joined by a token.
const BY_TOKEN: &str = "/spire/agent/join_token/";

impl Job<'_> {
    /// The node of the sample services: by its TPM, or by a token where there is none.
    pub(super) async fn attest(&self, roles: &mut Roles, server: &str) -> Result<String, Failure> {
        let (proof, by) = match &self.tpm {
            Some(tpm) => (tpm.agent_options(), format!(" by {}", tpm.shown())),
            None => (self.token_options("agent").await?, String::new()),
        };
        let id = self.start_agent(roles, server, "agent", &proof).await?;
        let software = self.tpm.as_ref().is_some_and(|tpm| tpm.is_software);
        let facts = json!({"agent_id": id, "tpm": self.tpm.is_some(), "danger_software_tpm": software});
        self.watch.reached("node_attested", &format!("node attested{by}: {id}"), facts, "agent list")?;
        Ok(id)
    }

    /// A second node of this machine, which nothing vouches for but a token.
    pub(super) async fn join(&self, roles: &mut Roles, server: &str, name: &str) -> Result<String, Failure> {
        let proof = self.token_options(name).await?;
        self.start_agent(roles, server, name, &proof).await
    }

    async fn start_agent(
        &self,
        roles: &mut Roles,
        server: &str,
        name: &str,
        proof: &[String],
    ) -> Result<String, Failure> {
        let bundle: BundleForm = self.rest.get("/v1/bundle").await?;
        let data = self.path(name);
        let fingerprint = bundle.fingerprints.first().map_or("", String::as_str);
        let mut arguments = strings(&["agent", "--trust-domain", TRUST_DOMAIN, "--server", server, "--data", &data]);
        arguments.extend(strings(&["--fingerprint", fingerprint]));
        arguments.extend_from_slice(proof);
        let mut output = roles.start(name, &arguments, &[], &self.folder.logs())?;
        wait_for(&mut output, &format!("`{name}`"), ready).await?;
        let socket = self.folder.join(name).join("agent.sock");
        let status = InspectClient::new(agent_channel(&socket)).status(StatusRequest {}).await;
        let status = status.map_err(|status| reach::status(&socket, &status))?.into_inner();
        Ok(status.agent_id)
    }

    /// A new token, for the agent that joined by one in an earlier run, if there is one: an agent that joins again must
    /// keep its ID, since what is registered for another one is not served.
    async fn token_options(&self, name: &str) -> Result<Vec<String>, Failure> {
        let mut parents = self.registered(GATEWAY).await?.into_iter().map(|entry| entry.parent_id);
        let known = parents.find(|id| id.contains(BY_TOKEN));
        let request = TokenRequest { ttl: 600, token: None, agent_id: Some(known.unwrap_or_else(|| "dev".to_owned())) };
        let token: TokenForm = self.rest.send(Method::POST, "/v1/tokens", &request).await?;
        let file = self.folder.join(&format!("join-token-of-{name}"));
        sekisho_disk::write_atomic(&file, token.token.as_bytes()).map_err(Failure::failed)?;
        Ok(strings(&["--join-token-file", &file.display().to_string()]))
    }

    /// The entries of this ID, which an earlier run may have made.
    async fn registered(&self, spiffe_id: &str) -> Result<Vec<EntryForm>, Failure> {
        let query = EntriesQuery { spiffe_id: Some(spiffe_id.to_owned()), ..Default::default() };
        let known: EntryList = self.rest.find("/v1/entries", &query).await?;
        Ok(known.entries)
    }

    /// Registers a service: these selectors, on this node. An entry of an earlier run is brought up to date rather than
    /// doubled: its node may have attested in another way then.
    pub(super) async fn put_entry(&self, entry: EntryForm) -> Result<(), Failure> {
        let known = self.registered(&entry.spiffe_id).await?;
        let alike = known.iter().find(|known| known.parent_id.contains(BY_TOKEN) == entry.parent_id.contains(BY_TOKEN));
        // Without a TPM there is one node only.
        let same = alike.or_else(|| known.first().filter(|_| self.tpm.is_none()));
        let id = same.and_then(|known| known.id.clone());
        let _registered: EntryForm = match id {
            Some(id) => self.rest.send(Method::PUT, &format!("/v1/entries/{id}"), &entry).await?,
            None => self.rest.send(Method::POST, "/v1/entries", &entry).await?,
        };
        Ok(())
    }
}
