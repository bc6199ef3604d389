//! Classes of evidence: one for each attestor, with the namespace of its selectors and claims.

use sekisho_types::EvidenceClass;

/// The evidence of one attestor. Only this attestor gives selectors of its type and claims of its namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// The attestor's name, the type of its selectors, and the first part of its claims' names.
    pub name: &'static str,
    /// What it is about.
    pub about: EvidenceClass,
    /// The version of what it shows, which follows its name in records.
    pub version: u32,
    pub age: Age,
    /// Rooted in hardware: its evidence cannot be copied to another machine.
    pub is_hardware: bool,
    /// Names of its selectors, each with the form of its value. Empty for an attestor whose selectors have no grammar
    /// here.
    pub selectors: &'static [(&'static str, Form)],
    /// Claims that follow from one of its selectors: the selector's name, and the claim.
    pub claims: &'static [(&'static str, &'static str)],
}

/// Where the private key of an SVID is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClass {
    /// In a program's memory.
    Software,
    /// In a TPM that certified that the key was made there and cannot leave it.
    TpmCertified,
}

impl KeyClass {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::TpmCertified => "tpm-certified",
        }
    }

    /// The class that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Software, Self::TpmCertified].into_iter().find(|class| class.as_str() == text)
    }
}

/// How long a piece of evidence is valid after its measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Until it expires: a node that proved itself.
    Lasting,
    /// Only briefly: a process, which may become another one.
    Fresh,
}

impl Class {
    /// Name and version, as records have it: `unix/1`.
    pub fn source(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }

    /// Whether this class may set the claim: below its name, or one of those that its table names.
    pub(crate) fn may_claim(&self, claim: &str) -> bool {
        let below = claim.strip_prefix(self.name).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'));
        below || self.claims.iter().any(|(_, named)| *named == claim)
    }
}

/// The form of a selector's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Number,
    Name,
    AbsolutePath,
    Sha256,
    /// 128 bits, in hexadecimal.
    Hex128,
    /// The name of a unit of systemd that has processes.
    Unit,
    /// `key:value`, where the value may be empty.
    Pair,
    /// `KEY=value`
    Assignment,
    Text,
    SpiffeId,
}
