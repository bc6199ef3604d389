//! Workloads under rules of the network: what the policy and known addresses make of them, and who holds them in the
//! kernel.

mod endpoints;
mod guard;
pub(crate) mod held;
mod inside;
mod rules;

use std::path::Path;
use std::process::ExitCode;

use sekisho_kernel::{Capability, Cgroup, capabilities, own_cgroup, records};
use sekisho_runtime::random_hex;

use crate::exit::{Exit, Failure};

/// Becomes what this executable was started as in the place of a workload, or beside it; none if it was started
/// otherwise.
pub(crate) fn become_helper() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?;
    if first == inside::NAME {
        let error = inside::become_workload(arguments);
        eprintln!("sekisho: the program cannot be run: {error}");
        return Some(ExitCode::from(u8::try_from(sekisho_runtime::NOT_RUN).unwrap_or(u8::MAX)));
    }
    (first == guard::NAME).then(|| guard::become_guard(arguments))
}

/// What this process lacks to put rules into the kernel. More rights help, or another kernel: that decides the exit
/// code.
pub(crate) fn refuse_without(capabilities: &[Capability]) -> Result<(), Failure> {
    let lacking: Vec<&Capability> = capabilities.iter().filter(|one| one.required && !one.present).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let is_right = lacking.iter().any(|one| one.name.starts_with("CAP_"));
    let lines = lacking.iter().map(|one| format!("\n  {}: {}; without it {}", one.name, one.found, one.without));
    let (exit, next) =
        if is_right { (Exit::Unauthorised, "run it as root") } else { (Exit::Failed, "use a kernel that has this") };
    let lines: String = lines.collect();
    Err(Failure::new(exit, format!("this process cannot put rules into the kernel; {next}:{lines}")))
}

/// The same for this process as it is, and for what it has to write.
pub(crate) fn refuse_here() -> Result<(), Failure> {
    refuse_without(&capabilities())?;
    let parent = own_cgroup().map_err(Failure::failed)?;
    let _removed_again =
        Cgroup::create(&parent, &format!("sekisho-probe-{}", random_hex(8))).map_err(Failure::failed)?;
    records::prepare(Path::new(records::FOLDER))
        .map_err(|error| Failure::failed(format!("receipts cannot be kept: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_what_would_help() {
        let capability =
            |name, present| Capability { name, present, found: String::new(), without: "", required: true };
        let exit = |all: &[Capability]| refuse_without(all).map_err(|failure| failure.exit);
        assert_eq!(exit(&[capability("CAP_BPF", true), capability("programs cgroup_skb", true)]), Ok(()));
        assert_eq!(
            exit(&[capability("CAP_BPF", false), capability("cgroup version 2", true)]),
            Err(Exit::Unauthorised)
        );
        assert_eq!(exit(&[capability("CAP_BPF", true), capability("cgroup version 2", false)]), Err(Exit::Failed));
        let optional = Capability { required: false, ..capability("types of the kernel (BTF)", false) };
        assert_eq!(exit(&[optional]), Ok(()));
    }
}
