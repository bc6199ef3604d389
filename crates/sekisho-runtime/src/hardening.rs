//! Keeps other processes of the same user away from this one's keys.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Variables that make the dynamic linker load a foreign library into a program.
pub(crate) const LOADED_WITH: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];

#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    #[error("{0} is set: it loads a foreign library into this program, which can read its keys; unset it")]
    Preloaded(&'static str),
    #[error("process {0} traces this one and can read its keys; stop it")]
    Traced(i32),
    #[error("this process could not be closed to others (PR_SET_DUMPABLE): {0}")]
    Dumpable(std::io::Error),
}

/// Fails if a library was put into this program, or if another process traces it.
///
/// Such a library runs before this does, and could hide: this stops accidents and simple thefts. What an attacker of
/// the same user can do is in `docs/threat-model.md`.
pub fn check_preload_and_tracer() -> Result<(), HardeningError> {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(name) = LOADED_WITH.into_iter().find(|name| set(name)) {
        return Err(HardeningError::Preloaded(name));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match tracer(&status) {
        Some(pid) if pid != 0 => Err(HardeningError::Traced(pid)),
        _ => Ok(()),
    }
}

fn tracer(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
}

/// Closes this process to others of its user, but not to root: no ptrace(2), no reading of its memory and descriptors,
/// no core.
pub fn close_to_others() -> Result<(), HardeningError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| HardeningError::Dumpable(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_is_read_from_one_line() {
        assert_eq!(tracer("Name:\tTracerPid: 1\nTracerPid:\t7\n"), Some(7));
        assert_eq!(tracer("Name:\tx\n"), None);
    }
}
