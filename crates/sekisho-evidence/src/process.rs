//! Measurements of a process by the attestors of its node: which attestors are accepted, and which claims follow.

use sekisho_types::{EvidenceClass, SelectorSet, UnixTime};

use crate::class::Form::{AbsolutePath, Hex128, Name, Number, Sha256, Unit};
use crate::derived::derived;
use crate::{Age, Class, Evidence, EvidenceError, Piece};

/// User, groups and executable, as the kernel shows them.
pub static UNIX: Class = Class {
    name: "unix",
    about: EvidenceClass::Process,
    version: 1,
    age: Age::Fresh,
    is_hardware: false,
    selectors: &[
        ("uid", Number),
        ("gid", Number),
        ("user", Name),
        ("group", Name),
        ("supplementary_gid", Number),
        ("supplementary_group", Name),
        ("path", AbsolutePath),
        ("sha256", Sha256),
        ("code_identity", Name),
    ],
    claims: &[("sha256", "executable_sha256")],
};

/// The executable's digest as the kernel measured it (IMA). It agrees with that of `unix`.
pub static IMA: Class = Class {
    name: "ima",
    about: EvidenceClass::Process,
    version: 1,
    age: Age::Fresh,
    is_hardware: false,
    selectors: &[("sha256", Sha256)],
    claims: &[("sha256", "ima.sha256")],
};

/// The unit of systemd that a process belongs to. `id` is SPIRE's name for `unit`; a path (`fragment_path`) is measured
/// by SPIRE's agent only.
pub static SYSTEMD: Class = Class {
    name: "systemd",
    about: EvidenceClass::Process,
    version: 1,
    age: Age::Fresh,
    is_hardware: false,
    selectors: &[("unit", Unit), ("invocation_id", Hex128), ("id", Unit), ("fragment_path", AbsolutePath)],
    claims: &[("unit", "systemd.unit")],
};

/// Those whose evidence is taken.
pub(crate) static PROCESS_CLASSES: [&Class; 3] = [&UNIX, &SYSTEMD, &IMA];

/// Checks what an agent says that its attestors measured. `sources` names them with their versions, separated by
/// blanks.
pub fn process_evidence(
    sources: &str,
    measured_at: UnixTime,
    selectors: SelectorSet,
) -> Result<Evidence, EvidenceError> {
    if selectors.is_empty() || selectors.len() > 256 {
        return Err(EvidenceError::Selectors);
    }
    if sources.len() > 64 {
        return Err(EvidenceError::Source);
    }
    let mut left = selectors;
    let mut out = Evidence::none();
    for source in sources.split(' ') {
        let (name, version) = source.split_once('/').ok_or(EvidenceError::Source)?;
        let class = PROCESS_CLASSES.iter().find(|class| class.name == name && class.version.to_string() == version);
        let class = class.ok_or_else(|| EvidenceError::UnknownClass(source.to_owned()))?;
        let (own, others): (SelectorSet, SelectorSet) = left.into_iter().partition(|one| one.kind() == class.name);
        left = others;
        let claims = derived(class, &own)?;
        out.add(Piece::seal(class, measured_at, None, own, claims)?)?;
    }
    let digest = |class: &Class| {
        let pieces = out.pieces().iter().filter(|piece| piece.class().name == class.name);
        let mut all = pieces.flat_map(Piece::selectors);
        all.find_map(|one| one.value().strip_prefix("sha256:").map(str::to_owned))
    };
    if digest(&IMA).is_some_and(|measured| digest(&UNIX) != Some(measured)) {
        return Err(EvidenceError::OtherMeasured);
    }
    match (left.iter().next(), out.pieces().first()) {
        // The evidence names no attestor that may give this selector.
        (Some(foreign), Some(piece)) => {
            Err(EvidenceError::ForeignClass { class: piece.class().name, what: foreign.property().to_owned() })
        }
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use sekisho_types::{ClaimValue, Selector};

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn checked(sources: &str, texts: &[&str]) -> Result<Evidence, EvidenceError> {
        process_evidence(sources, NOW, texts.iter().map(|text| Selector::parse(text).unwrap()).collect())
    }

    fn text(evidence: &Evidence, claim: &str) -> Option<String> {
        match evidence.claims(EvidenceClass::Process).get(claim)? {
            ClaimValue::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn each_attestor_gets_the_selectors_of_its_class() {
        let found = ["unix:uid:1", "unix:sha256:aa", "systemd:unit:a.service", "systemd:invocation_id:00"];
        let both = checked("unix/1 systemd/1", &found).unwrap();
        let sizes: Vec<_> = both.pieces().iter().map(|piece| (piece.class().name, piece.selectors().len())).collect();
        assert_eq!(sizes, [("unix", 2), ("systemd", 2)]);
        assert_eq!(text(&both, "executable_sha256").as_deref(), Some("aa"));
        assert_eq!(text(&both, "systemd.unit").as_deref(), Some("a.service"));
        assert_eq!(text(&both, "attestor").as_deref(), Some("unix/1 systemd/1"));
    }

    #[test]
    fn what_older_agents_show_gives_the_same_claims() {
        let shown = checked("unix/1", &["unix:uid:1", "unix:sha256:aa"]).unwrap();
        let claims = shown.claims(EvidenceClass::Process);
        let names: Vec<_> = claims.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["attestor", "executable_sha256", "hw_attested", "process.code_identity"]);
        assert_eq!(text(&shown, "attestor").as_deref(), Some("unix/1"));
    }

    #[test]
    fn claims_say_how_much_code_is_covered() {
        let identity = |sources: &str, found: &[&str]| text(&checked(sources, found).unwrap(), "process.code_identity");
        assert_eq!(identity("unix/1", &["unix:uid:1"]), None);
        assert_eq!(identity("unix/1", &["unix:sha256:aa"]).as_deref(), Some("exe"));
        let whole = ["unix:sha256:aa", "unix:code_identity:exe+libs"];
        assert_eq!(identity("unix/1", &whole).as_deref(), Some("exe+libs"));
        assert_eq!(identity("unix/1", &["unix:uid:1", "unix:code_identity:exe+libs"]), None);
        let measured = ["unix:sha256:aa", "ima:sha256:aa"];
        assert_eq!(identity("unix/1 ima/1", &measured).as_deref(), Some("ima"));
    }

    #[test]
    fn what_the_kernel_measured_has_to_agree() {
        for found in [&["unix:sha256:aa", "ima:sha256:bb"][..], &["unix:uid:1", "ima:sha256:aa"], &["ima:sha256:aa"]] {
            assert_eq!(checked("unix/1 ima/1", found), Err(EvidenceError::OtherMeasured), "{found:?}");
        }
    }

    #[test]
    fn an_attestor_cannot_speak_for_another() {
        for foreign in ["systemd:unit:a.service", "tpm:ek:aa", "docker:image_id:a", "spiffe_id:spiffe://td/a"] {
            let refused = checked("unix/1", &["unix:uid:1", foreign]).unwrap_err();
            assert!(matches!(refused, EvidenceError::ForeignClass { class: "unix", .. }), "{foreign}: {refused}");
        }
        let refused = checked("systemd/1", &["systemd:unit:a.service", "unix:uid:0"]).unwrap_err();
        assert!(refused.to_string().contains("`systemd` may not give `unix:uid`"), "{refused}");
    }

    #[test]
    fn law_l3_unknown_or_damaged_evidence_is_refused() {
        let unix = ["unix:uid:1"];
        for unknown in ["docker/1", "unix/2", "tpm/1", "unix/1 docker/1", "UNIX/1", "unix/01"] {
            assert!(matches!(checked(unknown, &unix), Err(EvidenceError::UnknownClass(_))), "{unknown}");
        }
        for damaged in ["", "unix", "unix/1 ", " unix/1", "unix/1  systemd/1"] {
            assert_eq!(checked(damaged, &unix), Err(EvidenceError::Source), "{damaged:?}");
        }
        assert_eq!(checked(&"unix/1 ".repeat(10), &unix), Err(EvidenceError::Source));
        assert_eq!(checked("unix/1 unix/1", &unix), Err(EvidenceError::Twice("unix")));
        assert_eq!(checked("unix/1", &[]), Err(EvidenceError::Selectors));
        let many: Vec<String> = (0..257).map(|n| format!("unix:supplementary_gid:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(checked("unix/1", &many), Err(EvidenceError::Selectors));
        let two = ["unix:sha256:aa", "unix:sha256:bb"];
        assert_eq!(checked("unix/1", &two), Err(EvidenceError::TwoDigests));
        let two = ["systemd:unit:a.service", "systemd:unit:b.service"];
        assert_eq!(checked("systemd/1", &two), Err(EvidenceError::TwoValues("unit")));
    }
}
