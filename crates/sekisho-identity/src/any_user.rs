//! What an executable proves and does not prove (decisions/0025).

use sekisho_types::{Selector, SelectorSet};

/// Properties of the `unix` attestor that say on whose behalf a process runs.
const OF_A_USER: [&str; 6] =
    ["unix:uid", "unix:gid", "unix:user", "unix:group", "unix:supplementary_gid", "unix:supplementary_group"];

/// Whether these selectors ask for an executable and for nothing else.
///
/// Everyone who may run a file also controls what it does: by LD_PRELOAD, by ptrace(2), by the script of an
/// interpreter. So path and digest state which file runs; only a user, a group or a container states for whom.
/// Selectors of other attestors (container engines, systemd, nodes) are such bounds.
pub fn is_for_any_user(selectors: &SelectorSet) -> bool {
    let bound = |selector: &Selector| selector.kind() != "unix" || OF_A_USER.contains(&selector.property());
    !selectors.iter().any(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l11_an_executable_alone_is_for_any_user() {
        let judged =
            |texts: &[&str]| is_for_any_user(&texts.iter().map(|text| Selector::parse(text).unwrap()).collect());
        for alone in [&["unix:path:/a"][..], &["unix:sha256:aa"], &["unix:path:/a", "unix:sha256:aa"], &[]] {
            assert!(judged(alone), "{alone:?}");
        }
        for bound in
            ["unix:uid:0", "unix:gid:7", "unix:user:a", "unix:group:a", "unix:supplementary_gid:7", "docker:label:a:b"]
                .into_iter()
                .chain(["unix:supplementary_group:a", "k8s:sa:a", "systemd:id:a.service", "x509pop:subject:cn:a"])
        {
            assert!(!judged(&["unix:path:/a", bound]), "{bound}");
        }
    }
}
