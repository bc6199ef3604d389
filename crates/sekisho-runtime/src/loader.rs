//! Variables that decide which code runs within a program before and besides its own, and how names are resolved for
//! it.
//!
//! The C library ignores them in set-user-ID programs (glibc's `unsecvars.h`); for a program that holds keys they are
//! as wrong. They act before `main`, so that the program starts itself again without them. Its children get them back.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Beside those that begin with `LD_`.
const OF_THE_C_LIBRARY: [&str; 11] = [
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_TRACE",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
];

/// What such a variable is called until a child gets it back.
const SET_ASIDE: &str = "SEKISHO_FOR_CHILDREN_";

/// What puts a library into every program is refused instead (`check_preload_and_tracer`): it is never meant
/// for the children only.
fn is_set_aside(name: &OsStr) -> bool {
    let refused = super::hardening::LOADED_WITH.iter().any(|loaded| name == *loaded);
    !refused && (name.as_bytes().starts_with(b"LD_") || OF_THE_C_LIBRARY.iter().any(|other| name == *other))
}

/// Starts this program again without these variables, if any is set. Returns only if none is, or why that failed.
pub fn set_loader_variables_aside() -> io::Result<()> {
    let found: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| is_set_aside(name)).collect();
    if found.is_empty() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    again.arg0(arguments.next().unwrap_or_else(|| "sekisho".into())).args(arguments);
    for (name, value) in found {
        let mut aside = OsString::from(SET_ASIDE);
        aside.push(&name);
        again.env_remove(name).env(aside, value);
    }
    Err(again.exec())
}

/// Gives a child the variables that its parent set aside.
pub(crate) fn give_back(child: &mut Command) {
    for (aside, value) in std::env::vars_os() {
        let Some(name) = aside.as_bytes().strip_prefix(SET_ASIDE.as_bytes()) else { continue };
        let name = OsStr::from_bytes(name);
        // Only what was set aside: another variable cannot be set by this.
        if is_set_aside(name) {
            child.env(name, value).env_remove(&aside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loaders_variables_are_removed() {
        let aside = |name: &str| is_set_aside(OsStr::new(name));
        assert!(["LD_LIBRARY_PATH", "LD_PROFILE_OUTPUT", "GCONV_PATH", "RES_OPTIONS"].into_iter().all(aside));
        assert!(!["LD_PRELOAD", "LD_AUDIT", "LDFLAGS", "SEKISHO_LOG", "PATH"].into_iter().any(aside));
    }
}
