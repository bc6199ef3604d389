//! The object that is checked in, and what it costs the verifier.

use std::path::Path;
use std::process::Command;

use sekisho_kernel::Enforcer;

use crate::{in_a_network, skipped};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf");

#[test]
fn the_object_is_what_its_source_compiles_to() {
    let test = "the_object_is_what_its_source_compiles_to";
    // As the script finds them.
    let version = |names: [&str; 2]| {
        let output = names.iter().find_map(|name| Command::new(name).arg("--version").output().ok());
        output.map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    };
    match version(["clang-14", "clang"]) {
        None => return skipped(test, "no clang here"),
        Some(other) if !other.contains("clang version 14.") => {
            return skipped(test, &format!("the object is made by clang 14, here is {other}"));
        }
        Some(_) => {}
    }
    if version(["llvm-strip-14", "llvm-strip"]).is_none() {
        return skipped(test, "no llvm-strip here");
    }
    let folder = tempfile::tempdir().unwrap();
    let built = folder.path().join("network.bpf.o");
    let status = Command::new("sh").arg(format!("{FOLDER}/build.sh")).arg(&built).status().unwrap();
    assert!(status.success());
    let checked_in = std::fs::read(Path::new(FOLDER).join("network.bpf.o")).unwrap();
    assert!(
        std::fs::read(built).unwrap() == checked_in,
        "run crates/sekisho-kernel/bpf/build.sh and commit the object"
    );
}

/// The verifier gives up at a million instructions, and a later kernel may need more of them than this one.
#[test]
fn the_verifier_stays_within_its_budget() {
    in_a_network("the_verifier_stays_within_its_budget", |_| {
        let budget = std::fs::read_to_string(Path::new(FOLDER).join("verified-instructions.txt")).unwrap();
        let rows: Vec<Vec<&str>> =
            budget.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect()).collect();
        // The column of this kernel, or else the last, of the latest.
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let columns = rows[0].len();
        let own = rows[0].iter().position(|of| release.starts_with(&format!("{of}."))).unwrap_or(columns - 1);
        let allowed = |name: &str| {
            let row = rows.iter().find(|row| row[0] == name).expect("a row for each program");
            row[own].parse::<u32>().unwrap()
        };
        let enforcer = Enforcer::load().unwrap();
        let verified: Vec<(&str, u32)> = enforcer.verified().collect();
        for (name, count) in &verified {
            let allowed = allowed(name);
            assert!(
                (1..=allowed * 6 / 5).contains(count),
                "{name} is over its {allowed} by a fifth; now: {verified:?}"
            );
        }
        assert_eq!(verified.len(), rows.len() - 1);
    });
}
