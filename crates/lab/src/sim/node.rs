//! A node made by hand: it attests, asks for its own entries and for others', keeps old SVIDs, and never stops asking.

use std::time::Duration;

use sekisho_identity::leaf_facts;
use sekisho_ledger::sha256_of;
use sekisho_net::Identity;
use sekisho_types::Digest;
use tonic::transport::Channel;

use super::client::{self, attest, dial, issue, renew};
use super::here::{elapsed, random};
use super::model::{Answer, Issued, Model};

pub(super) struct Node {
    name: String,
    server: String,
    model: Model,
    /// Whose SVID it shows, when that agent attested, and a connection.
    held: Option<(String, Duration, Channel)>,
}

impl Node {
    pub(super) const fn new(name: String, server: String, model: Model) -> Self {
        Self { name, server, model, held: None }
    }

    pub(super) async fn run(mut self) -> Result<(), String> {
        loop {
            let pause = if self.model.known().is_calm { 2000 } else { 20 };
            tokio::time::sleep(Duration::from_millis(pause + random(600))).await;
            let Some((id, since, channel)) = self.held.clone() else {
                self.attest().await;
                continue;
            };
            match random(12) {
                0 => self.renew(&id, since, channel).await,
                // Its connection shows the SVID that it began with.
                1 => self.held = None,
                _ => self.issue(&id, since, channel).await,
            }
        }
    }

    fn hold(&mut self, id: String, since: Duration, identity: &Identity) {
        let authorities = self.model.known().authorities.clone();
        self.held = Some((id, since, dial(&self.server, &authorities, Some(identity))));
    }

    async fn attest(&mut self) {
        let taken = {
            let mut known = self.model.known();
            let count = known.tokens.len() as u64;
            (count > 0).then(|| {
                let at = random(count) as usize;
                // Some are left for another node to try as well.
                if random(3) == 0 { known.tokens[at].clone() } else { known.tokens.remove(at) }
            })
        };
        let Some((token, id)) = taken else { return };
        let authorities = self.model.known().authorities.clone();
        let answer = attest(dial(&self.server, &authorities, None), &token).await;
        self.model.note(&self.name, &format!("attests as {id}: {}", answer.says()));
        if let Answer::Done(identity) = answer {
            self.model.count("attested");
            self.model.attested(&token);
            self.took(&identity);
            self.hold(id, elapsed(), &identity);
        }
    }

    /// Law L5 holds for a node's own SVID as well.
    fn took(&self, identity: &Identity) {
        if let Some(tbs_sha256) = identity.chain.first().and_then(|leaf| tbs_digest(leaf)) {
            self.model.known().issued.push(Issued { tbs_sha256, log_index: None, to: self.name.clone() });
        }
    }

    async fn renew(&mut self, id: &str, since: Duration, channel: Channel) {
        self.model.known().asked.insert(self.name.clone(), (id.to_owned(), String::new()));
        let answer = renew(channel).await;
        self.model.known().asked.remove(&self.name);
        self.model.note(&self.name, &format!("renews {id}: {}", answer.says()));
        match answer {
            Answer::Done((identity, left)) => {
                self.model.count("renewed");
                self.model.renewed(since, id, left);
                self.took(&identity);
                self.hold(id.to_owned(), since, &identity);
            }
            Answer::Refused(_) => self.held = None,
            Answer::Unknown => {}
        }
    }

    async fn issue(&mut self, id: &str, since: Duration, channel: Channel) {
        let entry = {
            let known = self.model.known();
            let own = known.entries.iter().filter(|(_, entry)| entry.parent == id).map(|(id, _)| id);
            let own: Vec<&String> = own.collect();
            let any: Vec<&String> = known.entries.keys().collect();
            let from = if own.is_empty() || random(8) == 0 { any } else { own };
            let newest = from.len().saturating_sub(1 + random(4) as usize);
            from.get(newest).map(|entry| (*entry).clone())
        };
        let Some(entry) = entry else { return };
        self.model.known().asked.insert(self.name.clone(), (id.to_owned(), entry.clone()));
        let answer = issue(channel, &entry).await;
        self.model.known().asked.remove(&self.name);
        let index = match &answer {
            Answer::Done(given) => format!(", leaf {}", given.log_index),
            _ => String::new(),
        };
        self.model.note(&self.name, &format!("asks for {entry} as {id}: {}{index}", answer.says()));
        match answer {
            Answer::Done(client::Given { certificate, leaf, log_index, left }) => {
                self.model.count("issued");
                let Some(tbs_sha256) = tbs_digest(&certificate) else { return };
                let issued = Issued { tbs_sha256, log_index: Some(log_index), to: id.to_owned() };
                self.model.issued(since, &entry, left, &leaf, issued);
            }
            Answer::Refused(why) => {
                self.model.count("refused");
                // Its SVID no longer counts: sometimes it goes on with it all the same.
                if why == "PermissionDenied" && random(4) == 0 {
                    self.held = None;
                }
            }
            Answer::Unknown => self.model.count("unknown"),
        }
    }
}

/// SHA-256 of what was signed: the first element of the certificate's sequence (RFC 5280 §4.1).
fn tbs_digest(certificate: &[u8]) -> Option<Digest> {
    leaf_facts(certificate).ok()?;
    let (_, inside, _) = element(certificate)?;
    let (head, content, _) = element(inside)?;
    Some(Digest::new(sha256_of(inside.get(..head + content.len())?)))
}

/// The length of a DER element's head, its content, and what follows.
fn element(der: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (head, length) = match first {
        0..0x80 => (2, first),
        _ => {
            let count = first & 0x7f;
            let length = der.get(2..2 + count)?.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            (2 + count, length)
        }
    };
    let (content, rest) = der.get(head..)?.split_at_checked(length)?;
    Some((head, content, rest))
}
