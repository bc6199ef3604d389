//! SVIDs as files: `sekisho svid watch` and `sekisho exec`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::world::{Role, World, digest, eventually, program};

/// Rotated every three seconds.
const SHORT: [&str; 2] = ["--x509-ttl", "6s"];

/// `sekisho` itself: the process that the agent attests.
fn of_sekisho() -> Vec<String> {
    vec![format!("unix:sha256:{}", digest(&program("sekisho"))), format!("unix:uid:{}", sekisho_host::own_uid())]
}

fn sekisho(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("sekisho"));
    command.args(arguments).env("SEKISHO_AGENT_SOCKET", world.agent_socket()).current_dir(world.folder.path());
    command
}

fn openssl(arguments: &[&str], file: &Path) -> String {
    let output = Command::new("openssl").args(arguments).arg("-in").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The set that is current, as a reader that wants a consistent one takes it.
fn set(folder: &Path) -> PathBuf {
    std::fs::canonicalize(folder.join("..data")).unwrap()
}

fn serial(folder: &Path) -> String {
    openssl(&["x509", "-noout", "-serial"], &folder.join("svid.pem"))
}

#[test]
fn files_are_replaced_together_before_the_command_runs() {
    let mut world = World::start();
    world.register_with("/files/web", &of_sekisho(), &SHORT);
    let (folder, seen) = (world.path("svid"), world.path("seen"));
    // It fails the first time, and reads both files when it does not.
    let command = format!(
        "test -e {0} || {{ touch {0}; exit 1; }}; openssl x509 -noout -pubkey -in $SVID_FILE > {0}.cert && \
         openssl pkey -pubout -in $SVID_KEY_FILE > {0}.key && cmp {0}.cert {0}.key && echo done >> {0}",
        seen.display()
    );
    let mut umask = Command::new("sh");
    let own = format!(
        "umask 000; exec {} svid watch --agent-socket {} --write {} --on-change '{command}'",
        program("sekisho").display(),
        world.agent_socket().display(),
        folder.display()
    );
    let watch = Role::start(umask.arg("-c").arg(own));
    assert_eq!(watch.ready(), format!("{} spiffe://example.org/files/web", folder.display()));
    let first = serial(&folder);
    assert!(!seen.exists(), "no program has read the first set");
    let modes = ["svid_key.pem", "svid_with_key.pem", "svid.pem"]
        .map(|file| std::fs::metadata(folder.join(file)).unwrap().mode() & 0o777);
    assert_eq!(modes, [0o600, 0o600, 0o644]);
    let verified = Command::new("openssl")
        .args(["verify", "-x509_strict", "-CAfile"])
        .arg(folder.join("bundle.pem"))
        .arg(folder.join("svid.pem"))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    eventually("a rotation, and the command after it", || {
        let set = set(&folder);
        let of_certificate = openssl(&["x509", "-noout", "-pubkey"], &set.join("svid.pem"));
        assert_eq!(of_certificate, openssl(&["pkey", "-pubout"], &set.join("svid_key.pem")));
        std::fs::read_to_string(&seen).ok().filter(|text| text.contains("done"))
    });
    assert_ne!(serial(&folder), first);
    assert!(watch.stderr().contains("again in 1 s") && watch.stderr().contains("succeeded"), "{}", watch.stderr());

    // Without an agent the files stay.
    world.agent.take().unwrap().kill();
    eventually("the loss of the agent is reported", || {
        watch.stderr().contains("the files are valid until").then_some(())
    });
    let kept = serial(&folder);
    world.start_agent();
    eventually("the next rotation", || (serial(&folder) != kept).then_some(()));
    assert!(watch.stderr().contains("answers"), "{}", watch.stderr());
}

#[test]
fn a_process_named_late_is_signalled_too() {
    let world = World::start();
    world.register_with("/files/web", &of_sekisho(), &SHORT);
    let pid_file = world.path("pid");
    let program = |name: &str| {
        let seen = world.path(name);
        let script = format!("trap 'touch {}' HUP; while :; do sleep 0.05; done", seen.display());
        // A shell cannot trap what was ignored when it started, as below `nohup`.
        let mut shell = Command::new("env");
        shell.args(["--default-signal=HUP", "sh", "-c", &script]);
        // If this test fails, the shell keeps no output of the test runner open.
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = shell.spawn().unwrap();
        (child, seen)
    };
    let (mut old, old_seen) = program("old");
    let (mut new, new_seen) = program("new");
    let folder = world.path("svid");
    let options = ["svid", "watch", "--write", "svid", "--signal", "HUP", "--pid-file", "pid"];
    let watch = Role::start(&mut sekisho(&world, &options));
    watch.ready();
    let first = serial(&folder);
    eventually("a rotation", || (serial(&folder) != first).then_some(()));
    // Its file comes late, as at the start of a service.
    eventually("a missing file is reported", || watch.stderr().contains("the process of pid").then_some(()));
    std::fs::write(&pid_file, old.id().to_string()).unwrap();
    eventually("the signal", || old_seen.exists().then_some(()));
    // The next rotation may reach the old one first; the new one was there before it and has to hear of it too.
    std::fs::write(&pid_file, new.id().to_string()).unwrap();
    eventually("the signal to the other process", || new_seen.exists().then_some(()));
    for child in [&mut old, &mut new] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn exec_runs_a_program_with_its_identity() {
    let world = World::start();
    let refused = sekisho(&world, &["exec", "--timeout", "1s", "--", "true"]).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() != Some(0) && why.contains("no identity issued"), "{why}");
    world.register_with("/files/job", &of_sekisho(), &SHORT);

    let script = "openssl x509 -noout -in $SVID_FILE && openssl pkey -noout -in $MY_KEY \
        && openssl x509 -noout -in $SVID_BUNDLE_FILE \
        && stat -c %a $SVID_FOLDER $MY_KEY && echo $SVID_SPIFFE_ID $SPIFFE_ENDPOINT_SOCKET $SVID_FOLDER; exit 7";
    let ended = sekisho(&world, &["exec", "--env", "MY_KEY=key", "--", "sh", "-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(7), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    let expected = format!("spiffe://example.org/files/job unix://{} /dev/shm/", world.agent_socket().display());
    assert!(said.contains(&expected), "{said}");
    let folder = said.trim().rsplit(' ').next().unwrap();
    assert!(!Path::new(folder).exists(), "{folder} stays");

    // Signals arrive, those of a rotation too, and the program's end by one is the exit code.
    let script = "trap 'echo ready rotated' HUP; trap 'echo ready asked; trap - TERM; kill $$' TERM; echo ready; \
        while :; do sleep 0.05; done";
    let mut role = Role::start(&mut sekisho(&world, &["exec", "--signal", "HUP", "--", "sh", "-c", script]));
    role.wait_for(|line| (line == "ready").then_some(()));
    assert_eq!(role.ready(), "rotated");
    let asked = Command::new("kill").arg(role.pid().to_string()).status().unwrap();
    assert!(asked.success());
    role.wait_for(|line| (line == "ready asked").then_some(()));
    let status = eventually("the end", || role.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(143));
    let missing = sekisho(&world, &["exec", "--", "no-such-program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127));
}

#[test]
fn exec_stops_at_an_early_signal() {
    let world = World::start();
    let terminate = |child: &std::process::Child| {
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    };
    // While it waits for an identity.
    let mut waits = sekisho(&world, &["exec", "--timeout", "60s", "--", "touch", "ran"]).spawn().unwrap();
    eventually("it handles signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", waits.id())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught >> (15 - 1) & 1 == 1).then_some(())
    });
    terminate(&waits);
    let status = eventually("it stops", || waits.try_wait().unwrap());
    assert_eq!(status.code(), Some(143));
    assert!(!world.path("ran").exists());
    // At any moment of its start: no program and no key stays.
    world.register_with("/files/job", &of_sekisho(), &SHORT);
    let start = || {
        let script = "echo $SVID_FOLDER > started; exec sleep 600";
        sekisho(&world, &["exec", "--", "sh", "-c", script]).spawn().unwrap()
    };
    let stops = |mut child: std::process::Child, when: &str| {
        terminate(&child);
        let status = eventually("it stops", || child.try_wait().unwrap());
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(status.code() == Some(143) || by_signal == Some(15), "{when}: {status}");
        if let Ok(folder) = std::fs::read_to_string(world.path("started")) {
            assert!(!Path::new(folder.trim()).exists(), "{when}: {folder} stays");
        }
    };
    for milliseconds in (0..120).step_by(4) {
        let child = start();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        stops(child, &format!("after {milliseconds} ms"));
    }
    // Once the program runs, however slow the machine is.
    let _earlier = std::fs::remove_file(world.path("started"));
    let child = start();
    eventually("the program runs", || {
        std::fs::read_to_string(world.path("started")).ok().filter(|folder| folder.ends_with('\n'))
    });
    stops(child, "once the program runs");
}

/// A group that may read the files reaches them through folders that are made for them.
#[test]
fn a_strict_umask_leaves_new_folders_open() {
    let world = World::start();
    world.register_with("/files/web", &of_sekisho(), &SHORT);
    let folder = world.path("below/svid");
    let script = format!(
        "umask 077; exec {} svid watch --once --group $(id -g) --agent-socket {} --write {}",
        program("sekisho").display(),
        world.agent_socket().display(),
        folder.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!([mode(&world.path("below")), mode(&folder), mode(&set(&folder))], [0o755; 3]);
    let files = ["svid.pem", "bundle.pem", "svid_key.pem"].map(|file| mode(&folder.join(file)));
    assert_eq!(files, [0o644, 0o644, 0o640]);
}

/// Law L16 and the attacks on helpers of this kind: a link that another user planted is not followed.
#[test]
fn no_file_goes_where_another_user_controls() {
    let world = World::start();
    world.register_with("/files/web", &of_sekisho(), &SHORT);
    let open = world.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink(world.path("a"), world.path("link")).unwrap();
    for (place, why) in [("open", "other users"), ("open/below", "other users"), ("link", "symbolic link")] {
        let (code, _, said) = world.sekisho(&["svid", "watch", "--once", "--write", place]);
        assert!(code == 1 && said.contains(why), "{place}: {code} {said}");
    }
    // A service manager hears when the files are there.
    let manager = std::os::unix::net::UnixDatagram::bind(world.path("notify")).unwrap();
    let mut once = sekisho(&world, &["svid", "watch", "--once", "--write", "once"]);
    let ended = once.env("NOTIFY_SOCKET", world.path("notify")).output().unwrap();
    let (out, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && out.starts_with("ready "), "{out}{said}");
    assert!(world.path("once/svid.pem").exists());
    let mut heard = [0; 32];
    let length = manager.recv(&mut heard).unwrap();
    assert_eq!(&heard[..length], b"READY=1");
}
