//! The operator: changes what the server holds, and compares at the end.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use sekisho_net::grpc_over_unix;
use sekisho_proto::node::{StatusRequest, StatusResponse, inspect_client::InspectClient};
use sekisho_types::Digest;
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;

use super::client::{PATIENCE, SELECTOR, rest};
use super::here::{elapsed, random};
use super::model::{Answer, Evicted, KnownEntry, Model, Rest, Stands};
use super::sidecar::spiffe_id;

/// Policies that are applied when nothing fails any more.
const LAST_POLICIES: u32 = 4;

#[derive(Clone)]
pub(super) struct Operator {
    pub socket: PathBuf,
    pub model: Model,
    /// The second sidecar is a program that embeds the library.
    pub has_library: bool,
}

impl Operator {
    pub(super) async fn run(self) -> Result<(), String> {
        while self.bundle().await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Else sidecars have an identity and no policy for a while.
        if random(2) == 0 {
            self.policy().await;
        }
        let mut number = 0u64;
        loop {
            let wanted = self.model.known().wants_token.first().cloned();
            if let Some(name) = wanted {
                self.token_for(&name).await;
            }
            if self.model.known().is_calm {
                self.compare().await;
                self.finale().await;
                tokio::time::sleep(Duration::from_millis(400)).await;
                continue;
            }
            tokio::time::sleep(Duration::from_millis(10 + random(250))).await;
            number += 1;
            match random(29) {
                0..=5 => self.create(number).await,
                6..=8 => self.delete().await,
                9..=10 => self.update().await,
                11..=14 => self.token(number).await,
                15 => self.ban("ban").await,
                16 => self.ban("evict").await,
                17 => self.broken_policy().await,
                18..=19 => drop(self.bundle().await),
                20..=23 => self.sidecar(number).await,
                24..=27 => self.policy().await,
                _ => self.checkpoint().await,
            }
        }
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer<Value> {
        let what = format!("{method} {path}");
        let answer = rest(&self.socket, method, path, body).await;
        self.model.note("operator", &format!("{what}: {}", answer.says()));
        self.model.count("operations");
        answer
    }

    async fn bundle(&self) -> Option<()> {
        let bundle = self.ask(Method::GET, "/v1/bundle", None).await.done()?;
        let digests = bundle["fingerprints"].as_array()?.iter().filter_map(|text| Digest::parse(text.as_str()?).ok());
        self.model.known().authorities = digests.collect();
        Some(())
    }

    async fn create(&self, number: u64) {
        let parent = {
            let known = self.model.known();
            let at = random(known.agents.len() as u64) as usize;
            known.agents.iter().nth(at).cloned()
        };
        let Some(parent) = parent else { return };
        let id = format!("ent_{number:04}");
        let spiffe_id = format!("spiffe://example.org/w/{number}");
        let form = json!({"id": id, "spiffe_id": spiffe_id, "parent_id": parent, "selectors": [SELECTOR]});
        self.create_entry(id, parent, form).await;
    }

    async fn create_entry(&self, id: String, parent: String, form: Value) {
        let stands = Stands::Unknown;
        self.model.known().entries.insert(id.clone(), KnownEntry { parent: parent.clone(), stands });
        let answer = self.ask(Method::POST, "/v1/entries", Some(form)).await;
        let mut known = self.model.known();
        match answer {
            Answer::Done(_) => drop(known.entries.insert(id, KnownEntry { parent, stands: Stands::Created })),
            Answer::Refused(_) => drop(known.entries.remove(&id)),
            Answer::Unknown => {}
        }
    }

    fn some_entry(&self) -> Option<(String, KnownEntry)> {
        let known = self.model.known();
        // A race is about what a node waits for at this moment.
        let mut asked = known.asked.values().map(|(_, id)| id).filter(|id| !is_sidecars(id));
        let asked = asked.find_map(|id| known.entries.get_key_value(id));
        if let Some((id, entry)) = asked.filter(|_| random(4) != 0) {
            return Some((id.clone(), entry.clone()));
        }
        let there =
            known.entries.iter().filter(|(id, entry)| !is_sidecars(id) && !matches!(entry.stands, Stands::Deleted(_)));
        let there: Vec<_> = there.collect();
        let at = there.len().saturating_sub(1 + random(6) as usize);
        there.get(at).map(|(id, entry)| ((*id).clone(), (*entry).clone()))
    }

    async fn delete(&self) {
        if let Some((id, entry)) = self.some_entry() {
            self.delete_entry(id, entry).await;
        }
    }

    async fn delete_entry(&self, id: String, entry: KnownEntry) {
        let stands = |stands| KnownEntry { parent: entry.parent.clone(), stands };
        self.model.known().entries.insert(id.clone(), stands(Stands::Unknown));
        let answer = self.ask(Method::DELETE, &format!("/v1/entries/{id}"), None).await;
        if matches!(answer, Answer::Done(_)) {
            self.model.known().entries.insert(id, stands(Stands::Deleted(elapsed())));
        }
    }

    /// Makes the entry of a sidecar, or deletes it.
    async fn sidecar(&self, number: u64) {
        let at = random(2);
        let (name, parent) = (format!("side-{at}"), format!("spiffe://example.org/spire/agent/join_token/agent-{at}"));
        let (current, has_parent) = {
            let known = self.model.known();
            let id = known.sidecars.entries.get(&name);
            let current =
                id.and_then(|(id, _)| known.entries.get_key_value(id)).map(|(id, entry)| (id.clone(), entry.clone()));
            (current, known.agents.contains(&parent))
        };
        match current {
            Some((_, KnownEntry { stands: Stands::Created, .. })) if random(8) != 0 => {}
            Some((id, entry)) if !matches!(entry.stands, Stands::Deleted(_)) => {
                self.delete_entry(id.clone(), entry).await;
                // It may never have been made.
                if self.model.known().entries.get(&id).is_some_and(|entry| entry.stands == Stands::Unknown) {
                    self.model.known().sidecars.entries.remove(&name);
                }
            }
            _ if has_parent => {
                let id = format!("side_{number:04}");
                let selectors = [format!("unix:uid:{}", rustix::process::getuid().as_raw())];
                let form =
                    json!({"id": id, "spiffe_id": spiffe_id(&name), "parent_id": parent, "selectors": selectors});
                self.model.known().sidecars.entries.insert(name, (id.clone(), elapsed()));
                self.create_entry(id, parent, form).await;
            }
            _ => {}
        }
    }

    /// Once all agents have what the server has and nothing fails: what is changed now is in force at once.
    async fn finale(&self) {
        let last = {
            let mut known = self.model.known();
            if known.compared.is_some() || known.last_deleted.is_some() {
                return;
            }
            let converged = *known.converged.get_or_insert_with(elapsed);
            if elapsed() < converged + Duration::from_secs(1) {
                return;
            }
            known.sidecars.troubled.clear();
            known.decisions.last += 1;
            known.decisions.last.saturating_sub(LAST_POLICIES)
        };
        match last {
            0 => {
                self.policy().await;
                tokio::time::sleep(Duration::from_millis(700 + random(800))).await;
            }
            // What both held before is old when they come back.
            1 => {
                self.rest(Rest::Machine).await;
                self.policy().await;
            }
            // The agent has nothing for the program any more when it comes back.
            2 if self.has_library => {
                self.rest(Rest::Agent).await;
                self.delete_sidecar("side-1").await;
            }
            _ => {
                if self.delete_sidecar("side-0").await {
                    self.model.count("last deletions");
                }
                self.model.known().last_deleted = Some(elapsed());
            }
        }
    }

    /// Returns when these programs have stopped.
    async fn rest(&self, rest: Rest) {
        self.model.known().rest = Some(rest);
        while self.model.known().rest.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Deletes the entry of a sidecar. False if it has none.
    async fn delete_sidecar(&self, name: &str) -> bool {
        let found = {
            let known = self.model.known();
            let id = known.sidecars.entries.get(name);
            id.and_then(|(id, _)| known.entries.get_key_value(id)).map(|(id, entry)| (id.clone(), entry.clone()))
        };
        match found.filter(|(_, entry)| !matches!(entry.stands, Stands::Deleted(_))) {
            Some((id, entry)) => {
                self.delete_entry(id, entry).await;
                true
            }
            None => false,
        }
    }

    async fn update(&self) {
        let Some((id, entry)) = self.some_entry() else { return };
        let number = id.trim_start_matches("ent_").trim_start_matches('0');
        let form = json!({
            "id": id, "spiffe_id": format!("spiffe://example.org/w/{number}"),
            "parent_id": entry.parent, "selectors": [SELECTOR], "x509_svid_ttl": 60 + random(800)
        });
        drop(self.ask(Method::PUT, &format!("/v1/entries/{id}"), Some(form)).await);
    }

    async fn token(&self, number: u64) {
        let name = format!("n{}", random(3));
        let token = format!("{number:08}-{:016x}", random(u64::MAX));
        let answer =
            self.ask(Method::POST, "/v1/tokens", Some(json!({"ttl": 600, "token": token, "agent_id": name}))).await;
        let Some(made) = answer.done() else { return };
        let Some(id) = made["agent_id"].as_str() else { return };
        let mut known = self.model.known();
        known.agents.insert(id.to_owned());
        known.tokens.push((token, id.to_owned()));
    }

    async fn token_for(&self, name: &str) {
        let token = format!("agent-{:016x}", random(u64::MAX));
        let answer =
            self.ask(Method::POST, "/v1/tokens", Some(json!({"ttl": 600, "token": token, "agent_id": name}))).await;
        let Some(made) = answer.done() else { return };
        let mut known = self.model.known();
        known.agents.extend(made["agent_id"].as_str().map(str::to_owned));
        known.wants_token.remove(name);
        known.for_agents.insert(name.to_owned(), token);
    }

    /// Bans or evicts a node made by hand.
    async fn ban(&self, how: &str) {
        let asks = self.model.known().asked.values().next().map(|(id, _)| id.clone());
        let id = match asks {
            Some(id) => id,
            None if random(3) == 0 => format!("spiffe://example.org/spire/agent/join_token/n{}", random(3)),
            None => return,
        };
        let asked = elapsed();
        let answer = match how {
            "ban" => self.ask(Method::POST, "/v1/agents/ban", Some(json!({"id": id}))).await,
            // It may attest again, whether or not an answer comes.
            _ => {
                self.model.known().banned.remove(&id);
                self.ask(Method::DELETE, &format!("/v1/agents?id={id}"), None).await
            }
        };
        if matches!(answer, Answer::Done(_)) {
            let mut known = self.model.known();
            let heard = elapsed();
            if how == "ban" {
                known.banned.insert(id, heard);
            } else {
                known.evicted.insert(id, Evicted { asked, heard });
            }
        }
    }

    async fn checkpoint(&self) {
        let Some(log) = self.ask(Method::GET, "/v1/log", None).await.done() else { return };
        self.model.known().checkpoints.extend(log["checkpoint"].as_str().map(str::to_owned));
        let Some(health) = self.ask(Method::GET, "/v1/health", None).await.done() else { return };
        let revision = health["revision"].as_u64().unwrap_or(0);
        let before = std::mem::replace(&mut self.model.known().revision, revision);
        if revision < before {
            self.model.broken("revisions", &format!("revision {revision} came after {before}"));
        }
        self.take_reports(&health);
    }

    /// What was acknowledged is there, and each agent has what the server has.
    async fn compare(&self) {
        self.model.known().compared = Some("the server has not answered yet".into());
        self.checkpoint().await;
        let mut listed: Vec<Value> = vec![];
        let mut page = String::new();
        loop {
            let Some(answer) = self.ask(Method::GET, &format!("/v1/entries?limit=500{page}"), None).await.done() else {
                return;
            };
            listed.extend(answer["entries"].as_array().cloned().unwrap_or_default());
            match answer["next"].as_str() {
                Some(next) => page = format!("&after={next}"),
                None => break,
            }
        }
        let there = |id: &str| listed.iter().any(|entry| entry["id"] == id);
        let entries = self.model.known().entries.clone();
        for (id, entry) in &entries {
            match entry.stands {
                Stands::Created if !there(id) => self.model.broken("L5", &format!("{id} was created and is not there")),
                Stands::Deleted(_) if there(id) => self.model.broken("L5", &format!("{id} was deleted and is there")),
                _ => {}
            }
        }
        let mut different = vec![];
        let sockets = self.model.known().agent_sockets.clone();
        for (name, socket) in sockets {
            let id = format!("spiffe://example.org/spire/agent/join_token/{name}");
            let own = listed.iter().filter(|entry| entry["parent_id"] == id.as_str()).count();
            match status(socket).await {
                Ok(status) if status.entries as usize == own && status.connected => {
                    let (spooled, lost) = (status.spooled_records, status.lost_records);
                    if (spooled, lost) != (0, 0) {
                        different.push(format!("{name} has {spooled} records to send, and {lost} losses"));
                    }
                }
                Ok(status) => different
                    .push(format!("{name} has {} entries, not {own}; connected: {}", status.entries, status.connected)),
                Err(error) => different.push(format!("{name} does not answer: {error}")),
            }
        }
        different.extend(self.compare_policy().await);
        self.model.note("operator", &format!("compares {} entries: {different:?}", listed.len()));
        self.model.known().compared = different.into_iter().next();
    }
}

/// Entries of sidecars are changed on purpose only.
fn is_sidecars(id: &str) -> bool {
    id.starts_with("side_")
}

/// What an agent says of itself on its socket.
async fn status(socket: PathBuf) -> Result<StatusResponse, String> {
    let mut request = tonic::Request::new(StatusRequest {});
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let mut agent = InspectClient::new(grpc_over_unix(socket));
    let answer = tokio::time::timeout(PATIENCE, agent.status(request)).await.map_err(|error| error.to_string())?;
    answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
}
