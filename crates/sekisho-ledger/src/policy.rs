//! Trust policies (c2sp.org/tlog-policy): which log keys, and how many witnesses.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Checkpoint, Note, NoteError, SignatureKind, VerifierKey};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("line {0}: unknown keyword; a line starts with `log`, `witness`, `group` or `quorum`")]
    UnknownKeyword(usize),
    #[error("line {0}: the words of this line are not of its form")]
    Form(usize),
    #[error("line {line}: {source}")]
    Key { line: usize, source: NoteError },
    #[error("line {0}: this name is defined already, or is the word `none`")]
    DuplicateName(usize),
    #[error("line {line}: the key of `{name}` is in the policy already, as that of `{other}`; one key counts once")]
    DuplicateKey { line: usize, name: String, other: String },
    #[error(
        "line {0}: a log signs with Ed25519 (0x01), a witness cosigns with cosignature/v1 (0x04) or ML-DSA-44 (0x06)"
    )]
    Kind(usize),
    #[error("line {0}: a control character; tabs and newlines are the only ones allowed")]
    ControlCharacter(usize),
    #[error("line {0}: a name that is not defined above")]
    Undefined(usize),
    #[error("line {0}: a member may stand in one group only")]
    MemberTwice(usize),
    #[error("line {0}: the threshold is not between 1 and the number of members")]
    Threshold(usize),
    #[error("the policy has no `log` line")]
    NoLog,
    #[error("the policy has no `quorum` line, or more than one")]
    Quorum,
    #[error("no signature by a trusted log key stands under the checkpoint")]
    LogSignature,
    #[error("the checkpoint's origin `{0}` is not the name of the key that signed it")]
    Origin(String),
    #[error("too few of the policy's witnesses cosigned the checkpoint")]
    Witnesses,
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error(transparent)]
    Checkpoint(#[from] crate::CheckpointError),
}

#[derive(Debug, Clone)]
enum Member {
    Witness(usize),
    Group { threshold: usize, members: Vec<String> },
}

/// A witness as a policy names it.
#[derive(Debug, Clone)]
pub struct Witness {
    /// Its name within the policy; the key has its own.
    pub name: String,
    pub key: VerifierKey,
    /// Its submission prefix (c2sp.org/tlog-witness), if the policy gives it.
    pub url: Option<String>,
}

/// A parsed policy. A checkpoint that satisfies it is one the policy's author trusts.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    members: BTreeMap<String, Member>,
    quorum: Option<String>,
}

impl TrustPolicy {
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy = Self::parse_lines(text)?;
        if policy.logs.is_empty() { Err(PolicyError::NoLog) } else { Ok(policy) }
    }

    /// Reads the policy by which a log chooses its own witnesses. It need not name the log: `log` is added to it.
    pub fn for_log(text: &str, log: &VerifierKey) -> Result<Self, PolicyError> {
        let mut policy = Self::parse_lines(text)?;
        if !policy.logs.contains(log) {
            policy.check_new(0, log)?;
            policy.logs.push(log.clone());
        }
        Ok(policy)
    }

    fn parse_lines(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self { logs: vec![], witnesses: vec![], members: BTreeMap::new(), quorum: None };
        let mut grouped = BTreeSet::new();
        let mut quorums = 0usize;
        for (at, line) in (1usize..).zip(text.split('\n')) {
            if line.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
                return Err(PolicyError::ControlCharacter(at));
            }
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key] | ["log", key, _] => {
                    let key = policy.new_key(at, key, &[SignatureKind::Ed25519])?;
                    policy.logs.push(key);
                }
                ["witness", name, key, url @ ..] if url.len() < 2 => {
                    let key = policy.new_key(at, key, &[SignatureKind::Cosignature, SignatureKind::MlDsa44])?;
                    policy.define(at, name, Member::Witness(policy.witnesses.len()))?;
                    let url = url.first().map(|url| (*url).to_owned());
                    policy.witnesses.push(Witness { name: (*name).to_owned(), key, url });
                }
                ["group", name, threshold, members @ ..] => policy.group(at, name, threshold, members, &mut grouped)?,
                ["quorum", name] => {
                    quorums += 1;
                    policy.quorum = policy.quorum_member(at, name)?;
                }
                ["log" | "witness" | "group" | "quorum", ..] => return Err(PolicyError::Form(at)),
                _ => return Err(PolicyError::UnknownKeyword(at)),
            }
        }
        if quorums == 1 { Ok(policy) } else { Err(PolicyError::Quorum) }
    }

    /// The witnesses, in the order of the policy.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    fn new_key(&self, at: usize, text: &str, kinds: &[SignatureKind]) -> Result<VerifierKey, PolicyError> {
        let key = VerifierKey::parse(text).map_err(|source| PolicyError::Key { line: at, source })?;
        if !kinds.contains(&key.kind()) {
            return Err(PolicyError::Kind(at));
        }
        self.check_new(at, &key)?;
        Ok(key)
    }

    /// One public key is one party, whatever it is called: it cannot be two witnesses, nor the log and its witness.
    fn check_new(&self, line: usize, key: &VerifierKey) -> Result<(), PolicyError> {
        match self.keys().find(|known| known.is_same_key(key)) {
            None => Ok(()),
            Some(known) => {
                let (name, other) = (key.name().to_owned(), known.name().to_owned());
                Err(PolicyError::DuplicateKey { line, name, other })
            }
        }
    }

    fn define(&mut self, at: usize, name: &str, member: Member) -> Result<(), PolicyError> {
        if name == "none" || self.members.contains_key(name) {
            return Err(PolicyError::DuplicateName(at));
        }
        self.members.insert(name.to_owned(), member);
        Ok(())
    }

    fn group(
        &mut self,
        at: usize,
        name: &str,
        threshold: &str,
        members: &[&str],
        grouped: &mut BTreeSet<String>,
    ) -> Result<(), PolicyError> {
        for member in members {
            if !self.members.contains_key(*member) {
                return Err(PolicyError::Undefined(at));
            }
            if !grouped.insert((*member).to_owned()) {
                return Err(PolicyError::MemberTwice(at));
            }
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map_err(|_| PolicyError::Threshold(at))?
            }
            _ => return Err(PolicyError::Threshold(at)),
        };
        if threshold == 0 || threshold > members.len() {
            return Err(PolicyError::Threshold(at));
        }
        let members = members.iter().map(|&m| m.to_owned()).collect();
        self.define(at, name, Member::Group { threshold, members })
    }

    fn quorum_member(&self, at: usize, name: &str) -> Result<Option<String>, PolicyError> {
        match name {
            "none" => Ok(None),
            name if self.members.contains_key(name) => Ok(Some(name.to_owned())),
            _ => Err(PolicyError::Undefined(at)),
        }
    }

    fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.logs.iter().chain(self.witnesses.iter().map(|witness| &witness.key))
    }

    /// Checks a signed checkpoint and returns the one that was verified.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, PolicyError> {
        let note = Note::parse(note)?;
        let keys: Vec<&VerifierKey> = self.keys().collect();
        let signed = note.verified_by(&keys)?;
        let log = signed.iter().find(|&&key| key < self.logs.len()).and_then(|&key| self.logs.get(key));
        let log = log.ok_or(PolicyError::LogSignature)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != log.name() {
            return Err(PolicyError::Origin(checkpoint.origin));
        }
        let witnesses: BTreeSet<usize> = signed.iter().filter_map(|key| key.checked_sub(self.logs.len())).collect();
        match &self.quorum {
            Some(name) if !self.satisfied(name, &witnesses) => Err(PolicyError::Witnesses),
            _ => Ok(checkpoint),
        }
    }

    /// Groups name only members defined before them, so this ends.
    fn satisfied(&self, name: &str, witnesses: &BTreeSet<usize>) -> bool {
        match self.members.get(name) {
            Some(Member::Witness(index)) => witnesses.contains(index),
            Some(Member::Group { threshold, members }) => {
                members.iter().filter(|member| self.satisfied(member, witnesses)).count() >= *threshold
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
