//! The grammar of the selectors that we, and SPIRE's attestors, measure. It is checked when an entry is written:
//! a selector that no attestor can measure is a typing error, which would be noticed much later.
//!
//! Types that are not listed are accepted unchanged, as SPIRE does: a custom attestor may measure them. The exception
//! is a type that is the name of a known selector: `uid:5` is `unix:uid:5` without its type.

use sekisho_types::{Selector, SpiffeId};

use crate::class::Form::{self, AbsolutePath, Assignment, Hex128, Name, Number, Pair, Sha256, Text, Unit};
use crate::node::{KERNEL, TPM};
use crate::process::PROCESS_CLASSES;

/// Why no attestor can ever find this selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selector `{selector}`: {reason}")]
pub struct SelectorFormError {
    selector: String,
    reason: String,
}

const DOCKER: &[(&str, Form)] =
    &[("label", Pair), ("env", Assignment), ("image_id", Text), ("image_config_digest", Text)];
const K8S: &[(&str, Form)] = &[
    ("ns", Text),
    ("sa", Text),
    ("container-name", Text),
    ("container-image", Text),
    ("node-name", Text),
    ("pod-name", Text),
    ("pod-uid", Text),
    ("pod-label", Pair),
    ("pod-owner", Pair),
    ("pod-owner-uid", Pair),
    ("pod-image", Text),
    ("pod-image-count", Number),
    ("pod-init-image", Text),
    ("pod-init-image-count", Number),
    // What SPIRE's sigstore option adds.
    ("image-signature", Text),
    ("image-signature-subject", Text),
    ("image-signature-issuer", Text),
    ("image-signature-value", Text),
    ("image-signature-log-id", Text),
    ("image-signature-log-index", Number),
    ("image-signature-integrated-time", Text),
    ("image-signature-signed-entry-timestamp", Text),
    ("image-attestations", Text),
    ("sigstore-validation", Text),
];
/// Measured by SPIRE's agents only.
const OF_SPIRE: [(&str, &[(&str, Form)]); 2] = [("docker", DOCKER), ("k8s", K8S)];

/// Checks a selector whose type is known.
pub fn check_selector(selector: &Selector) -> Result<(), SelectorFormError> {
    let refused = |reason: String| SelectorFormError { selector: selector.to_string(), reason };
    if selector.kind() == "spiffe_id" {
        return check(Form::SpiffeId, "", selector.value()).map_err(refused);
    }
    let known = types().find(|(kind, _)| kind.eq_ignore_ascii_case(selector.kind()));
    let Some((kind, names)) = known else { return has_type(selector).map_err(refused) };
    if kind != selector.kind() {
        return Err(refused(format!("its type is written `{kind}`")));
    }
    let (name, value) = selector.value().split_once(':').unwrap_or((selector.value(), ""));
    let Some((_, form)) = names.iter().find(|(known, _)| *known == name) else {
        let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        return Err(refused(format!("`{kind}` measures no `{name}`; it measures {}", all.join(", "))));
    };
    check(*form, name, value).map_err(refused)
}

/// The types whose grammar is known, each with its names.
fn types() -> impl Iterator<Item = (&'static str, &'static [(&'static str, Form)])> {
    let own = PROCESS_CLASSES.into_iter().chain([&TPM, &KERNEL]);
    own.map(|class| (class.name, class.selectors)).chain(OF_SPIRE)
}

/// A selector of an unknown type, unless that "type" is the name of a known selector.
fn has_type(selector: &Selector) -> Result<(), String> {
    let Some((kind, _)) = types().find(|(_, names)| names.iter().any(|(name, _)| *name == selector.kind())) else {
        return Ok(());
    };
    let whole = Selector::new(kind, selector.as_str()).map_err(|error| error.to_string())?;
    match check_selector(&whole) {
        Ok(()) => Err(format!("its type is missing; write `{whole}`")),
        Err(error) => Err(format!("its type `{kind}` is missing, and {}", error.reason)),
    }
}

fn check(form: Form, name: &str, value: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number.to_string() == text);
    let lower_hex =
        |digits: usize| value.len() == digits && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let good = match form {
        Number => number(value),
        Name => !value.is_empty() && !value.contains([':', '/', ' ']),
        AbsolutePath => value.starts_with('/'),
        Sha256 => lower_hex(64),
        Hex128 => lower_hex(32),
        Unit => is_unit_name(value),
        Pair => value.split_once(':').is_some_and(|(key, _)| !key.is_empty()),
        Assignment => value.split_once('=').is_some_and(|(key, _)| !key.is_empty()),
        Text => !value.is_empty(),
        Form::SpiffeId => SpiffeId::parse(value).is_ok(),
    };
    if good { Ok(()) } else { Err(expected(form, name, value)) }
}

fn expected(form: Form, name: &str, value: &str) -> String {
    match form {
        Number if value.is_empty() || value.bytes().all(|b| b.is_ascii_digit()) => {
            format!("`{name}` is a decimal number of 32 bits, without leading zeros")
        }
        Number => match name {
            "uid" => format!("a uid is a number; a user's name is written `unix:user:{value}`"),
            "gid" => format!("a gid is a number; a group's name is written `unix:group:{value}`"),
            "supplementary_gid" => {
                format!("a gid is a number; a group's name is written `unix:supplementary_group:{value}`")
            }
            _ => format!("`{name}` is a number"),
        },
        Name => format!("`{name}` is one name, without `:`, `/` and blanks"),
        AbsolutePath => format!("`{name}` is an absolute path, as /proc shows it"),
        Sha256 => format!("`{name}` is 64 lowercase hexadecimal digits, as `sha256sum` prints them"),
        Hex128 => format!(
            "`{name}` is 32 lowercase hexadecimal digits, as `systemctl show --property InvocationID` prints them"
        ),
        Unit => format!(
            "`{name}` is a unit that has processes, as `systemctl status` names it: `nginx.service`, `session-3.scope`"
        ),
        Pair => format!("`{name}` is followed by `key:value`"),
        Assignment => format!("`{name}` is followed by `KEY=value`"),
        Text => format!("`{name}` is followed by a value"),
        Form::SpiffeId => "it holds a SPIFFE ID".to_owned(),
    }
}

/// Types of units that have processes of their own.
const UNITS_WITH_PROCESSES: [&str; 5] = ["service", "scope", "socket", "mount", "swap"];

/// Whether this is the whole name of a unit of systemd that has processes (systemd.unit(5)).
pub fn is_unit_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    let typed = name.rsplit_once('.').is_some_and(|(stem, kind)| {
        // A template (`a@.service`) has no processes, its instances have.
        !stem.is_empty() && !stem.ends_with('@') && UNITS_WITH_PROCESSES.contains(&kind)
    });
    typed && name.len() <= 255 && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Result<(), String> {
        check_selector(&Selector::parse(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn selectors_that_can_be_measured_are_taken() {
        let digest = format!("unix:sha256:{}", "0a".repeat(32));
        for text in [
            "unix:uid:0",
            "unix:gid:4294967295",
            "unix:user:root",
            "unix:supplementary_group:wheel",
            "unix:path:/opt/a b",
            digest.as_str(),
            "docker:label:com.example:",
            "docker:env:A=b:c",
            "docker:image_id:sha256:77af4d6b9913",
            "k8s:ns:prod",
            "k8s:pod-label:app:web",
            "k8s:pod-image-count:2",
            "systemd:id:nginx.service",
            "systemd:unit:getty@tty1.service",
            r"systemd:unit:dev-disk-by\x2dlabel-data.mount",
            "systemd:invocation_id:0123456789abcdef0123456789abcdef",
            "spiffe_id:spiffe://td.example/spire/agent/x",
            // Attestors that we do not know.
            "x509pop:subject:cn:a",
            "mine:anything at all",
        ] {
            assert_eq!(outcome(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn unmeasurable_selectors_are_refused_with_a_hint() {
        let upper = format!("unix:sha256:{}", "0A".repeat(32));
        for (text, hint) in [
            ("unix:sha256:XYZ", "64 lowercase"),
            (upper.as_str(), "64 lowercase"),
            ("unix:uid:root", "`unix:user:root`"),
            ("unix:uid:007", "without leading zeros"),
            ("unix:uid:4294967296", "32 bits"),
            ("unix:uid:-1", "a number"),
            ("unix:uid: 1", "a number"),
            ("unix:gid:wheel", "`unix:group:wheel`"),
            ("unix:supplementary_gid:wheel", "`unix:supplementary_group:wheel`"),
            ("unix:uid", "decimal number"),
            ("unix:path:bin/true", "absolute path"),
            ("unix:pid:7", "measures no `pid`"),
            ("unix:user:", "one name"),
            ("UNIX:uid:0", "written `unix`"),
            ("docker:label:app", "key:value"),
            ("docker:env:PATH", "KEY=value"),
            ("k8s:namespace:prod", "measures no `namespace`"),
            ("k8s:ns:", "followed by a value"),
            ("systemd:fragment_path:x.service", "absolute path"),
            ("systemd:unit:nginx", "a unit that has processes"),
            ("systemd:unit:getty@.service", "a unit that has processes"),
            ("systemd:unit:a/b.service", "a unit that has processes"),
            ("systemd:unit:system.slice", "a unit that has processes"),
            ("systemd:invocation_id:0123456789ABCDEF0123456789abcdef", "32 lowercase"),
            ("systemd:invocation:00", "measures no `invocation`"),
            ("spiffe_id:http://td", "SPIFFE ID"),
            ("uid:5", "`unix:uid:5`"),
            ("path:/bin/true", "`unix:path:/bin/true`"),
            ("unit:nginx.service", "`systemd:unit:nginx.service`"),
            ("ns:prod", "`k8s:ns:prod`"),
            ("label:app:web", "`docker:label:app:web`"),
            ("uid:root", "`unix` is missing, and a uid is a number; a user's name is written `unix:user:root`"),
        ] {
            let error = outcome(text).unwrap_err();
            assert!(error.contains(hint) && error.contains(text), "{text}: {error}");
        }
    }
}
