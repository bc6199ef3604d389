//! User, groups and executable as selectors.

use sekisho_evidence::{Class, UNIX};

use super::attestor::{Found, WorkloadAttestor};
use crate::basis::Basis;
use crate::proc_text::name_of;
use crate::{HostError, Process};

pub(super) struct Unix;

impl WorkloadAttestor for Unix {
    fn class(&self) -> &'static Class {
        &UNIX
    }

    fn measure(&self, _: &Process, basis: &Basis) -> Result<Found, HostError> {
        let mut found = vec![("uid", basis.uid.to_string()), ("gid", basis.gid.to_string())];
        found.extend(basis.executable_digest.map(|digest| ("sha256", digest.to_string())));
        found.extend(basis.executable_path.clone().map(|path| ("path", path)));
        // A digest of the executable covers all that came from files. Other programs have no such claim.
        let is_whole = basis.is_whole && basis.executable_digest.is_some();
        found.extend(is_whole.then(|| ("code_identity", "exe+libs".to_owned())));
        let (users, names) = (local_file("/etc/passwd"), local_file("/etc/group"));
        found.extend(name_of(&users, basis.uid).map(|name| ("user", name)));
        found.extend(name_of(&names, basis.gid).map(|name| ("group", name)));
        for &group in &basis.groups {
            found.push(("supplementary_gid", group.to_string()));
            found.extend(name_of(&names, group).map(|name| ("supplementary_group", name)));
        }
        Ok(found)
    }

    fn look_again(&self, _: &Process) -> Result<Option<Found>, HostError> {
        Ok(None)
    }
}

/// User and group names come from the local files. Directory services are not asked: a lookup over the network has no
/// place between a process and its identity.
fn local_file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
