//! `sekisho dev`, as `make up` runs it.

use std::process::Command;

use serde_json::Value;

use crate::faults::Shim;
use crate::world::{copy_program, program};

/// Where no program is found, so that there is no software TPM.
const NOWHERE: &str = "/nonexistent/bin";

fn dev(folder: &std::path::Path, options: &[&str], path: Option<&str>) -> Vec<Value> {
    let mut command = Command::new(program("sekisho"));
    command.args(["dev", "--once", "-o", "json"]).args(options).arg("--folder").arg(folder);
    let output = command.envs(path.map(|path| ("PATH", path))).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    // A software TPM, and its absence, are stated where they are used.
    let stated = if path.is_some() { "apt-get install swtpm" } else { "danger_software_tpm: " };
    assert!(err.contains(stated), "{err}");
    let milestones: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    check_kernel(&milestones, &err);
    milestones
}

/// The kernel refuses a connection and has a receipt of it, or what it cannot enforce here is stated.
fn check_kernel(milestones: &[Value], err: &str) {
    let Some(refused) = milestones.iter().find(|m| m["milestone"] == "kernel_refused") else {
        let why = err.split("not enforced by the kernel here: ").nth(1).unwrap_or_default();
        let known = ["cannot put rules into the kernel", "cgroup ", "receipts cannot be kept"];
        let known = known.iter().any(|known| why.contains(known)) && !why.contains("the process stopped first");
        assert!(known, "{err}");
        return;
    };
    assert!(!err.contains("not enforced by the kernel here"), "{err}");
    assert!(refused["state"] == "in_force" && refused["denied"].as_u64().unwrap() > 0, "{refused}");
    assert!(
        refused["rule"].as_str().unwrap().starts_with("out spiffe://prod.internal/ns/finance/sa/transactions tcp ")
    );
    assert_eq!(refused["digest"].as_str().map(str::len), Some(64), "{refused}");
    let points = refused["points"].as_array().unwrap();
    assert!(
        points.iter().any(|point| point["hook"] == "connect4" && point["tag"].is_string() && point["link"].is_u64())
    );
}

fn check_milestones(milestones: &[Value], tpm: bool) {
    let names = milestones.iter().map(|m| m["milestone"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| *name != "kernel_refused").collect();
    let mut expected = vec!["node_attested", "first_identity", "first_call_allowed"];
    expected.extend(tpm.then_some("hardware_call_allowed"));
    expected.extend(["first_call_denied", "tampered_refused", "proofs_verified"]);
    assert_eq!(names, expected);
    assert!(milestones.iter().all(|m| m["ms"].is_u64()));
    let of = |name: &str| milestones.iter().find(|m| m["milestone"] == name).unwrap();
    let attested = of("node_attested");
    let attestor = if tpm { "danger_software_tpm" } else { "join_token" };
    assert!(attested["agent_id"].as_str().unwrap().contains(&format!("/agent/{attestor}/")), "{attested}");
    assert_eq!((&attested["tpm"], &attested["danger_software_tpm"]), (&Value::Bool(tpm), &Value::Bool(tpm)));
    let denied = of("first_call_denied");
    assert_eq!((&denied["condition"], &denied["found"]), (&CONDITION.into(), &"false".into()));
    let tampered = of("tampered_refused");
    assert_eq!(tampered["selector"], "unix:sha256");
    assert_ne!(tampered["wants"], tampered["found"]);
    assert_eq!(of("proofs_verified")["proofs"].as_array().unwrap().len(), if tpm { 6 } else { 5 });
}

const CONDITION: &str = "input.subject.claims.hw_attested == true";

#[test]
fn the_main_job_passes_twice_on_one_folder() {
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    for options in [&["--fresh"][..], &[]] {
        check_milestones(&dev(folder.path(), options, Some(NOWHERE)), false);
    }
}

/// A node that has a TPM from some day on, keeps it over restarts, and loses it.
#[test]
fn the_main_job_is_decided_on_a_tpm() {
    if !crate::tpm::is_installed() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    check_milestones(&dev(folder.path(), &[], Some(NOWHERE)), false);
    let first = dev(folder.path(), &[], None);
    let again = dev(folder.path(), &[], None);
    assert_eq!(first[0]["agent_id"], again[0]["agent_id"]);
    for milestones in [first, again] {
        check_milestones(&milestones, true);
    }
    check_milestones(&dev(folder.path(), &[], Some(NOWHERE)), false);
}

/// Who names a TPM gets no other proof.
#[test]
fn a_named_tpm_has_no_fallback() {
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, crate::openssl::Openssl::new().authority_pem()).unwrap();
    let mut command = Command::new(program("sekisho"));
    command.args(["dev", "--once", "--tpm", "/nonexistent/tpmrm0", "--tpm-ca"]).arg(&authority);
    let output = command.arg("--folder").arg(folder.path().join("dev")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && !out.contains("attested"), "{out}{err}");
    assert!(err.contains("/nonexistent/tpmrm0"), "{err}");
    let alone = Command::new(program("sekisho")).args(["dev", "--once", "--tpm", "/dev/tpmrm0"]).output().unwrap();
    let err = String::from_utf8_lossy(&alone.stderr);
    assert!(alone.status.code() == Some(3) && err.contains("--tpm-ca"), "{err}");
}

/// An agent whose SVID has expired joins by a new token, and must be the one for which the services are registered.
#[test]
fn the_main_job_runs_after_its_agent_expired() {
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    let shim = Shim::new();
    let run = || {
        let options = ["dev", "--once", "-o", "json", "--folder", folder.path().to_str().unwrap()];
        // The shortest life that the server grants.
        let mut command = Command::new(program("sekisho"));
        command.args(options).env("SEKISHO_AGENT_TTL", "20s").envs(shim.environment());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = run();
    shim.run_on(31, 31);
    let second = run();
    let agent = |lines: &str| serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap()["agent_id"].clone();
    assert_eq!(agent(&first), agent(&second));
}

/// A shell that was set up for other roles: its addresses, sockets and files are theirs.
#[test]
fn dev_ignores_addresses_of_the_shell() {
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    let nowhere = "/nonexistent/there";
    let mut command = Command::new(program("sekisho"));
    command.args(["dev", "--once", "-o", "json", "--folder"]).arg(folder.path());
    for name in ["SERVER_SOCKET", "AGENT_SOCKET", "SERVER_DATA", "AGENT_DATA", "PROXY_DATA", "TRUST_BUNDLE"] {
        command.env(format!("SEKISHO_{name}"), nowhere);
    }
    for name in ["SERVER", "SERVER_LISTEN", "INBOUND", "UPSTREAM", "METRICS"] {
        command.env(format!("SEKISHO_{name}"), "192.0.2.1:1");
    }
    command.env("SEKISHO_OUTBOUND", "127.0.0.1:1=192.0.2.1:1=spiffe://other/x").env("SEKISHO_TRUST_DOMAIN", "other");
    command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{nowhere}"));
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let last = out.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    assert_eq!(last.unwrap()["milestone"], "proofs_verified", "{out}");
}

/// A fresh machine has no root for it: the same job, from nothing, by a user without any privilege.
#[test]
fn the_main_job_runs_cold_without_root() {
    let user = "61234";
    let drop = ["--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    if !Command::new("setpriv").args(drop).arg("true").status().is_ok_and(|status| status.success()) {
        crate::world::skipped("not root, so there is no other user");
        return;
    }
    let home = tempfile::Builder::new().prefix("sekhome").tempdir_in("/tmp").unwrap();
    let own = |path: &std::path::Path| {
        std::os::unix::fs::chown(path, Some(61234), Some(61234)).unwrap();
    };
    own(home.path());
    let programs = home.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    for name in ["sekisho", "payment-gateway", "transactions"] {
        copy_program(&program(name), &programs.join(name));
        own(&programs.join(name));
    }
    let output = Command::new("setpriv")
        .args(drop)
        .arg(programs.join("sekisho"))
        .args(["dev", "--once", "-o", "json"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let last = out.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    assert_eq!(last.unwrap()["milestone"], "proofs_verified", "{out}");
    assert!(err.contains("not enforced by the kernel here: ") && err.contains("CAP_BPF"), "{err}");
    assert!(home.path().join(".local/state/sekisho/dev").is_dir());
}

#[test]
fn dev_leaves_foreign_folders_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "precious").unwrap();
    let output = Command::new(program("sekisho"))
        .args(["dev", "--once", "--fresh", "--folder"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(std::fs::read_to_string(folder.path().join("mine")).unwrap(), "precious");
}

/// As `make up` is used on most machines: by a user other than root, whose agent sees that user's processes only.
#[test]
fn the_main_job_without_root_reports_open_sidecars() {
    use std::os::unix::fs::{PermissionsExt, chown};

    const USER: u32 = 61_236;
    if !sekisho_host::traces_others() {
        crate::world::skipped("not root, so this user is the ordinary one of the other test");
        return;
    }
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["sekisho", "payment-gateway", "transactions"] {
        copy_program(&program(name), &folder.path().join(name));
    }
    let (home, user) = (folder.path().join("home"), USER.to_string());
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--no-new-privs"]);
    command.arg(folder.path().join("sekisho")).args(["dev", "--once", "-o", "json", "--folder"]).arg(home.join("dev"));
    let output = command.env("HOME", &home).current_dir(&home).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("proofs_verified"), "{out}{err}");
    let log = std::fs::read_to_string(home.join("dev/logs/transactions.log")).unwrap();
    assert!(log.contains("danger_dumpable"), "{log}");
}
