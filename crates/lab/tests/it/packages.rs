//! `deploy/deb.sh`, `deploy/rpm.sh` and `deploy/tarball.sh`, with the program that is built for the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{digest, manifest_folder, program, skipped};

/// What a package holds, below the folder of the distribution.
const FILES: [(&str, &str); 9] = [
    ("-rwxr-xr-x", "bin/sekisho"),
    ("-rw-r--r--", "lib/systemd/system/sekisho-server.service"),
    ("-rw-r--r--", "lib/systemd/system/sekisho-agent.service"),
    ("-rw-r--r--", "lib/systemd/system/sekisho-proxy@.service"),
    ("-rw-r--r--", "lib/systemd/system/sekisho-svid@.service"),
    ("-rw-r--r--", "share/man/man1/sekisho.1.gz"),
    ("-rw-r--r--", "share/man/man1/sekisho-policy-replay.1.gz"),
    ("-rw-r--r--", "share/bash-completion/completions/sekisho"),
    ("-rw-r--r--", "share/fish/vendor_completions.d/sekisho.fish"),
];

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A package that a script of `deploy` makes, packed quickly: what is packed is the question here.
fn made(script: &str, folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let script = manifest_folder().join("../../deploy").join(script);
    let fast = [("DPKG_DEB_COMPRESSOR_TYPE", "none"), ("PAYLOAD", "w.ufdio"), ("LEVEL", "1")];
    run(Command::new(script).arg(program("sekisho")).arg(folder).envs(fast));
    let found = std::fs::read_dir(folder).unwrap().flatten().map(|item| item.path());
    found.into_iter().find(|path| !path.to_string_lossy().ends_with(".sha256")).unwrap()
}

/// Lines of `<mode> <owner> … <path>`.
fn holds(listed: &str, owner: &str, prefix: &str, more: &[&str]) {
    let more = more.iter().map(|path| ("-rw-r--r--", *path));
    for (mode, path) in FILES.into_iter().chain(more) {
        let line = listed.lines().find(|line| line.ends_with(&format!(" {prefix}{path}")));
        assert!(line.is_some_and(|line| line.starts_with(&format!("{mode} {owner} "))), "{path}: {line:?} in {listed}");
    }
}

#[test]
fn the_debian_package_installs_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let package = made("deb.sh", folder.path());
    let listed = run(Command::new("dpkg-deb").arg("-c").arg(&package));
    holds(&listed, "root/root", "./usr/", &["share/zsh/vendor-completions/_sekisho", "share/doc/sekisho/copyright"]);
    // The glibc whose symbols the program uses: an older system refuses the package, not the program its start.
    let depends = run(Command::new("dpkg-deb").arg("-f").arg(&package).arg("Depends"));
    let oldest = depends.strip_prefix("libc6 (>= 2.").and_then(|rest| rest.split_once(')')).map(|(minor, _)| minor);
    assert!(oldest.is_some_and(|minor| minor.parse::<u32>().is_ok_and(|minor| minor > 16)), "{depends}");
    if sekisho_host::own_uid() != 0 {
        return skipped("only root installs a package into another root");
    }
    let root = folder.path().join("root");
    let state = root.join("var/lib/dpkg");
    std::fs::create_dir_all(state.join("info")).unwrap();
    std::fs::create_dir_all(state.join("updates")).unwrap();
    std::fs::write(state.join("status"), "").unwrap();
    let dpkg = |arguments: &[&str]| {
        run(Command::new("dpkg").arg(format!("--root={}", root.display())).arg("--force-depends").args(arguments))
    };
    dpkg(&["--install", package.to_str().unwrap()]);
    assert_eq!(dpkg(&["--verify", "sekisho"]), "");
    assert!(run(Command::new(root.join("usr/bin/sekisho")).arg("--version")).starts_with("sekisho "));
    dpkg(&["--remove", "sekisho"]);
    assert!(!root.join("usr/bin/sekisho").exists());
}

#[test]
fn an_archive_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (made("tarball.sh", &folder.path().join("a")), made("tarball.sh", &folder.path().join("b")));
    assert_eq!(digest(&one), digest(&other));
    let name = one.file_name().unwrap().to_string_lossy().into_owned();
    run(Command::new("sha256sum").arg("--check").arg(format!("{name}.sha256")).current_dir(one.parent().unwrap()));
    let top = format!("{}/", name.strip_suffix(".tar.gz").unwrap());
    let listed = run(Command::new("tar").arg("-tvzf").arg(&one));
    holds(&listed, "0/0", &top, &["share/zsh/site-functions/_sekisho", "share/licenses/sekisho/LICENSE"]);
    assert!(listed.lines().all(|line| line.contains(&top)), "everything is below one folder: {listed}");
    // As its page says, into /usr.
    let root = folder.path().join("usr");
    std::fs::create_dir(&root).unwrap();
    run(Command::new("tar").arg("-xzf").arg(&one).arg("-C").arg(&root).arg("--strip-components=1"));
    assert!(run(Command::new(root.join("bin/sekisho")).arg("--version")).starts_with("sekisho "));
}

#[test]
fn an_rpm_package_installs_and_starts_nothing() {
    if Command::new("rpmbuild").arg("--version").output().is_err() {
        return skipped("no rpmbuild here (deploy/setup.sh test)");
    }
    let folder = tempfile::tempdir().unwrap();
    let package = made("rpm.sh", &folder.path().join("a"));
    assert_eq!(digest(&package), digest(&made("rpm.sh", &folder.path().join("b"))));
    let rpm = |arguments: &[&str]| run(Command::new("rpm").args(arguments).arg(&package));
    let format = "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]";
    let listed = rpm(&["-qp", "--queryformat", format]);
    holds(&listed, "root/root", "/usr/", &["share/zsh/site-functions/_sekisho", "share/licenses/sekisho/LICENSE"]);
    assert!(listed.contains("drwxr-xr-x root/root /etc/sekisho\n"), "{listed}");
    assert_eq!(rpm(&["-qp", "--scripts", "--triggers"]), "");
    assert_eq!(rpm(&["-qp", "--queryformat", "%{LICENSE} %{ARCH}"]), format!("Apache-2.0 {}", std::env::consts::ARCH));
    if sekisho_host::own_uid() != 0 {
        return skipped("only root installs a package into another root");
    }
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    // Without the C library, which the other root has not.
    rpm(&["--root", root.to_str().unwrap(), "--install", "--nodeps"]);
    let changed =
        Command::new("rpm").arg("--root").arg(&root).args(["--verify", "--nodeps", "sekisho"]).output().unwrap();
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stdout));
    assert!(run(Command::new(root.join("usr/bin/sekisho")).arg("--version")).starts_with("sekisho "));
}
