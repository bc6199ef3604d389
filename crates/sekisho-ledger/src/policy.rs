//! Trust policies (c2sp.org/tlog-policy): which log keys, and how many witnesses.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Checkpoint, Note, NoteError, VerifierKey};

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
    #[error("line {0}: this key is in the policy already")]
    DuplicateKey(usize),
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

/// A parsed policy. A checkpoint that satisfies it is one the policy's author trusts.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
    members: BTreeMap<String, Member>,
    quorum: Option<String>,
}

impl TrustPolicy {
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self { logs: vec![], witnesses: vec![], members: BTreeMap::new(), quorum: None };
        let mut grouped = BTreeSet::new();
        let mut quorums = 0usize;
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key] | ["log", key, _] => {
                    let key = policy.new_key(at, key)?;
                    policy.logs.push(key);
                }
                ["witness", name, key] | ["witness", name, key, _] => {
                    let key = policy.new_key(at, key)?;
                    policy.define(at, name, Member::Witness(policy.witnesses.len()))?;
                    policy.witnesses.push(key);
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
        if policy.logs.is_empty() {
            return Err(PolicyError::NoLog);
        }
        if quorums == 1 { Ok(policy) } else { Err(PolicyError::Quorum) }
    }

    fn new_key(&self, at: usize, text: &str) -> Result<VerifierKey, PolicyError> {
        let key = VerifierKey::parse(text).map_err(|source| PolicyError::Key { line: at, source })?;
        if self.keys().any(|known| *known == key) { Err(PolicyError::DuplicateKey(at)) } else { Ok(key) }
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
            number => number.parse().map_err(|_| PolicyError::Threshold(at))?,
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
        self.logs.iter().chain(&self.witnesses)
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
