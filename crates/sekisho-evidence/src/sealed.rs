//! Evidence after it was checked. Only this crate's verifiers make it: no other code can say that something was
//! attested.

use sekisho_types::{ClaimValue, Claims, EvidenceClass, Selector, SelectorSet, UnixTime};

use crate::{Class, KeyClass};

const MAX_SELECTORS: usize = 256;

/// Why the data of an attestor is not evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("the evidence has no selector, or more than {MAX_SELECTORS}")]
    Selectors,
    #[error("the evidence names its attestors as `name/version`, at most 64 characters")]
    Source,
    #[error("the evidence shows two executables for one process")]
    TwoDigests,
    #[error("the evidence shows two values of `{0}` for one process")]
    TwoValues(&'static str),
    #[error("the kernel measured (IMA) another executable than the process shows")]
    OtherMeasured,
    #[error("the evidence has two pieces of class `{0}`")]
    Twice(&'static str),
    #[error("attestor `{0}` is not known here")]
    UnknownClass(String),
    #[error("attestor `{class}` may not give `{what}`")]
    ForeignClass { class: &'static str, what: String },
}

/// What one attestor found: of one class, with its own age and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    class: &'static Class,
    measured_at: UnixTime,
    ends_at: Option<UnixTime>,
    selectors: SelectorSet,
    claims: Claims,
}

impl Piece {
    /// The only constructor. Whatever is of another class is refused.
    pub(crate) fn seal(
        class: &'static Class,
        measured_at: UnixTime,
        ends_at: Option<UnixTime>,
        selectors: SelectorSet,
        claims: Claims,
    ) -> Result<Self, EvidenceError> {
        let foreign = |what: String| Err(EvidenceError::ForeignClass { class: class.name, what });
        if selectors.len() > MAX_SELECTORS {
            return Err(EvidenceError::Selectors);
        }
        if let Some(other) = selectors.iter().find(|selector| selector.kind() != class.name) {
            return foreign(other.property().to_owned());
        }
        if let Some((other, _)) = claims.iter().find(|(name, _)| !class.may_claim(name)) {
            return foreign(other.to_owned());
        }
        Ok(Self { class, measured_at, ends_at, selectors, claims })
    }

    pub const fn class(&self) -> &'static Class {
        self.class
    }

    pub const fn measured_at(&self) -> UnixTime {
        self.measured_at
    }

    /// When it stops to prove anything; `None` when nothing says so.
    pub const fn ends_at(&self) -> Option<UnixTime> {
        self.ends_at
    }

    pub const fn selectors(&self) -> &SelectorSet {
        &self.selectors
    }
}

/// All that stands behind one request: pieces of different classes, each checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence(Vec<Piece>);

impl Evidence {
    /// Nothing was shown.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Both together: a process on its node, say.
    pub fn with(mut self, other: Self) -> Result<Self, EvidenceError> {
        for piece in other.0 {
            self.add(piece)?;
        }
        Ok(self)
    }

    pub(crate) fn add(&mut self, piece: Piece) -> Result<(), EvidenceError> {
        if self.0.iter().any(|other| other.class.name == piece.class.name) {
            return Err(EvidenceError::Twice(piece.class.name));
        }
        self.0.push(piece);
        Ok(())
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub fn about(&self, what: EvidenceClass) -> impl Iterator<Item = &Piece> {
        self.0.iter().filter(move |piece| piece.class.about == what)
    }

    /// The selectors of all pieces about this.
    pub fn selectors(&self, what: EvidenceClass) -> impl Iterator<Item = &Selector> {
        self.about(what).flat_map(|piece| &piece.selectors)
    }

    /// The attestors of all pieces about this, with their versions, separated by blanks.
    pub fn sources(&self, what: EvidenceClass) -> String {
        self.about(what).map(|piece| piece.class.source()).collect::<Vec<_>>().join(" ")
    }

    /// When the first of them ends.
    pub fn ends_at(&self) -> Option<UnixTime> {
        self.0.iter().filter_map(|piece| piece.ends_at).min()
    }

    /// What an identity of this `subject` may carry: whose evidence it is, and what its class says. Claims about
    /// something else travel only under the name of their class.
    pub fn claims(&self, subject: EvidenceClass) -> Claims {
        let mut out = Claims::default();
        for piece in &self.0 {
            let (about, below) = (piece.class.about == subject, format!("{}.", piece.class.name));
            for (name, value) in piece.claims.iter().filter(|(name, _)| about || name.starts_with(&below)) {
                out.set(name, value.clone());
            }
        }
        match subject {
            EvidenceClass::Node => {
                // What proved it; the state of its kernel proves no node.
                let classes = self.about(subject).map(|piece| piece.class.name).filter(|name| *name != "kernel");
                set_text(&mut out, "node_attestation", classes.collect::<Vec<_>>().join(" "));
            }
            EvidenceClass::Process => {
                set_text(&mut out, "attestor", self.sources(subject));
                set_text(&mut out, "process.code_identity", self.code_identity().to_owned());
            }
        }
        let hardware = self.0.iter().filter(|piece| piece.class.is_hardware);
        let hardware: Vec<_> = hardware.map(|piece| piece.class.name.to_owned()).collect();
        out.set("hw_attested", ClaimValue::Bool(!hardware.is_empty()));
        if !hardware.is_empty() {
            out.set("hw_attested_by", ClaimValue::List(hardware));
        }
        out
    }

    /// How much of a process's code its evidence covers: the executable as /proc shows it (`exe`), all files with code
    /// (`exe+libs`), or the executable as the kernel measured it (`ima`). Empty without a digest.
    fn code_identity(&self) -> &'static str {
        let shows = |class: &str, start: &str| {
            let pieces = self.about(EvidenceClass::Process).filter(|piece| piece.class.name == class);
            pieces.flat_map(Piece::selectors).any(|one| one.value().starts_with(start))
        };
        match (shows("unix", "sha256:"), shows("ima", "sha256:"), shows("unix", "code_identity:exe+libs")) {
            (false, ..) => "",
            (true, true, _) => "ima",
            (true, false, true) => "exe+libs",
            (true, false, false) => "exe",
        }
    }

    /// Where the private key of an X.509 identity of this `subject` is. A key of which no hardware says more is in
    /// software: of a process that is each but one that is `resident` in hardware of this class. A software TPM's key
    /// is so too: what that TPM says of it stays below its name.
    pub fn key_claims(&self, subject: EvidenceClass, resident: Option<&Class>) -> Claims {
        let mut out = Claims::default();
        set_text(&mut out, "tpm.key_class", KeyClass::Software.as_str().to_owned());
        for piece in self.about(EvidenceClass::Node).filter(|piece| piece.class.is_hardware) {
            let of_node = piece.claims.get(&format!("{}.node_key_class", piece.class.name));
            let class = |class: KeyClass| ClaimValue::Text(class.as_str().to_owned());
            let class = match (subject, of_node) {
                (EvidenceClass::Node, Some(class)) => class.clone(),
                (EvidenceClass::Process, _) if resident == Some(piece.class) => class(KeyClass::TpmCertified),
                _ => class(KeyClass::Software),
            };
            out.set(&format!("{}.key_class", piece.class.name), class);
        }
        out
    }
}

fn set_text(claims: &mut Claims, name: &str, value: String) {
    if !value.is_empty() {
        claims.set(name, ClaimValue::Text(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Age;
    use crate::node::{JOIN_TOKEN, SOFTWARE_TPM, TPM};
    use crate::process::{SYSTEMD, UNIX};

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn selectors(texts: &[&str]) -> SelectorSet {
        texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
    }

    fn claims(names: &[&str]) -> Claims {
        let mut out = Claims::default();
        names.iter().for_each(|name| out.set(name, ClaimValue::Bool(true)));
        out
    }

    static CHIP: Class = Class {
        name: "chip",
        about: EvidenceClass::Node,
        version: 1,
        age: Age::Lasting,
        is_hardware: true,
        selectors: &[],
        claims: &[],
    };

    #[test]
    fn a_class_cannot_give_what_is_another_s() {
        let seal = |class, found: &[&str], said: &[&str]| Piece::seal(class, NOW, None, selectors(found), claims(said));
        seal(&UNIX, &["unix:uid:1"], &["executable_sha256", "unix.x"]).unwrap();
        for (found, said) in [
            (&["unix:uid:1", "systemd:unit:a.service"][..], &[][..]),
            (&["tpm:ek:aa"], &[]),
            (&[], &["systemd.unit"]),
            (&[], &["hw_attested"]),
            (&[], &["unix"]),
            (&[], &["unix."]),
            (&[], &["unixes.x"]),
        ] {
            let refused = seal(&UNIX, found, said).unwrap_err();
            assert!(matches!(refused, EvidenceError::ForeignClass { class: "unix", .. }), "{found:?} {said:?}");
        }
    }

    #[test]
    fn evidence_holds_one_piece_of_a_class() {
        let piece = |class| Piece::seal(class, NOW, None, SelectorSet::new(), Claims::default()).unwrap();
        let mut both = Evidence::none();
        both.add(piece(&UNIX)).unwrap();
        both.add(piece(&SYSTEMD)).unwrap();
        assert_eq!(both.sources(EvidenceClass::Process), "unix/1 systemd/1");
        assert_eq!(both.add(piece(&UNIX)), Err(EvidenceError::Twice("unix")));
        assert_eq!(both.clone().with(both.clone()), Err(EvidenceError::Twice("unix")));
        assert_eq!(both.pieces().len(), 2);
    }

    #[test]
    fn claims_about_the_node_stay_in_their_class() {
        let token = Piece::seal(&JOIN_TOKEN, NOW, None, SelectorSet::new(), Claims::default()).unwrap();
        let chip = Piece::seal(&CHIP, NOW, Some(NOW), SelectorSet::new(), claims(&["chip.key"])).unwrap();
        let unix = Piece::seal(&UNIX, NOW, None, selectors(&["unix:uid:1"]), claims(&["executable_sha256"])).unwrap();
        let all = Evidence(vec![token.clone(), chip, unix]);
        let names = |all: &Evidence, subject| all.claims(subject).iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
        let process = ["attestor", "chip.key", "executable_sha256", "hw_attested", "hw_attested_by"];
        assert_eq!(names(&all, EvidenceClass::Process), process);
        assert!(all.claims(EvidenceClass::Process).flag("hw_attested"));
        assert_eq!(names(&all, EvidenceClass::Node), ["chip.key", "hw_attested", "hw_attested_by", "node_attestation"]);
        assert_eq!(all.claims(EvidenceClass::Node).get("hw_attested_by"), Some(&ClaimValue::List(vec!["chip".into()])));
        assert_eq!(all.ends_at(), Some(NOW));
        let soft = Evidence(vec![token]);
        assert!(!soft.claims(EvidenceClass::Node).flag("hw_attested"));
        assert_eq!(names(&soft, EvidenceClass::Process), ["hw_attested"]);
    }

    #[test]
    fn a_key_is_in_software_unless_shown() {
        let class = |evidence: &Evidence, subject, name: &str| match evidence.key_claims(subject, None).get(name) {
            Some(ClaimValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let of_node = |class: &'static Class, key: &str| {
            let mut claims = Claims::default();
            claims.set(&format!("{}.node_key_class", class.name), ClaimValue::Text(key.into()));
            Evidence(vec![Piece::seal(class, NOW, None, SelectorSet::new(), claims).unwrap()])
        };
        let resident = of_node(&TPM, "tpm-certified");
        assert_eq!(class(&resident, EvidenceClass::Node, "tpm.key_class").as_deref(), Some("tpm-certified"));
        assert_eq!(class(&resident, EvidenceClass::Process, "tpm.key_class").as_deref(), Some("software"));
        assert_eq!(
            class(&of_node(&TPM, "software"), EvidenceClass::Node, "tpm.key_class").as_deref(),
            Some("software")
        );
        assert_eq!(class(&Evidence::none(), EvidenceClass::Node, "tpm.key_class").as_deref(), Some("software"));
        let program = of_node(&SOFTWARE_TPM, "tpm-certified");
        assert_eq!(class(&program, EvidenceClass::Node, "tpm.key_class").as_deref(), Some("software"));
        let danger = class(&program, EvidenceClass::Node, "danger_software_tpm.key_class");
        assert_eq!(danger.as_deref(), Some("tpm-certified"));
    }

    #[test]
    fn a_process_key_is_where_its_class_says() {
        let of_node = |class: &'static Class| {
            Evidence(vec![Piece::seal(class, NOW, None, SelectorSet::new(), Claims::default()).unwrap()])
        };
        let class = |evidence: &Evidence, resident| {
            let claims = evidence.key_claims(EvidenceClass::Process, resident);
            claims.iter().map(|(name, value)| format!("{name} {value:?}")).collect::<Vec<_>>().join(", ")
        };
        let text = |name: &str, class: &str| format!("{name} {:?}", ClaimValue::Text(class.into()));
        let tpm = "tpm.key_class";
        assert_eq!(class(&of_node(&TPM), Some(&TPM)), text(tpm, "tpm-certified"));
        assert_eq!(class(&of_node(&TPM), None), text(tpm, "software"));
        // Evidence of another class, and none.
        assert_eq!(class(&of_node(&TPM), Some(&SOFTWARE_TPM)), text(tpm, "software"));
        assert_eq!(class(&Evidence::none(), Some(&TPM)), text(tpm, "software"));
        let danger = text("danger_software_tpm.key_class", "tpm-certified");
        assert_eq!(class(&of_node(&SOFTWARE_TPM), Some(&SOFTWARE_TPM)), format!("{danger}, {}", text(tpm, "software")));
    }
}
