//! Programs that take another program's identity: by forging what they run, or by letting it speak for them.

use std::path::PathBuf;
use std::process::Command;

use crate::world::{World, digest, eventually, manifest_folder, skipped};

/// A world that other users reach, with attack programs and the attested program that they are after.
struct Scene {
    world: World,
    honest: PathBuf,
}

/// A user that no other test uses. Root's processes may run as it.
const STRANGER: u32 = 61_234;

impl Scene {
    fn new() -> Option<Self> {
        let world = World::start();
        std::fs::set_permissions(world.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let mut scene = Self { world, honest: PathBuf::new() };
        if !sekisho_host::traces_others() {
            skipped("not root, so there is no other user");
            return None;
        }
        scene.honest = scene.build("honest", &[]);
        Some(scene)
    }

    fn build(&self, name: &str, options: &[&str]) -> PathBuf {
        let source = manifest_folder().join(format!("tests/it/attacks/{name}.c"));
        let program = self.world.path(name);
        let built = Command::new("cc").args(["-O1", "-Wall", "-o"]).arg(&program).arg(source).args(options).output();
        let built = built.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    }

    /// An identity for the attested program as this user.
    fn entry(&self, path: &str, uid: u32) {
        let selectors = [format!("unix:uid:{uid}"), format!("unix:sha256:{}", digest(&self.honest))];
        self.world.register(path, &selectors);
    }

    /// What a program says that runs as `uid`.
    fn run(&self, uid: u32, program: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let uid = uid.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        // Not for setpriv itself.
        command.arg("env").args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program).args(arguments);
        command.env("SOCKET", self.world.agent_socket()).env("TARGET", &self.honest);
        let output = command.output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

#[test]
fn law_l11_a_user_namespace_forges_no_executable_selector() {
    let Some(scene) = Scene::new() else { return };
    let library = scene.build("forge", &["-shared", "-fPIC", "-Wl,-z,now"]);
    let preload = library.display().to_string();
    for (uid, id) in [(0, "/own/root"), (STRANGER, "/own/stranger")] {
        scene.entry(id, uid);
        let honest = scene.run(uid, &scene.honest, &[], &[]);
        assert!(honest.contains(&format!("got spiffe://example.org{id}")), "{honest}");
        for _ in 0..5 {
            let forged = scene.run(uid, "/bin/true".as_ref(), &[], &[("LD_PRELOAD", &preload), ("MODE", "unshare")]);
            if forged.contains("impossible") {
                skipped(&format!("the attack is not possible here: {forged}"));
                return;
            }
            let target = format!("forged {}", scene.honest.display());
            assert!(forged.contains(&target) && forged.contains("refused"), "{forged}");
        }
    }
}

/// A child that shares the memory of its parent forges the parent's executable, and the parent never leaves the
/// namespace of the agent. No look at the process can tell; what bounds it is the user that each entry names.
#[test]
fn law_l11_shared_memory_forges_no_other_users_identity() {
    let Some(scene) = Scene::new() else { return };
    let preload = scene.build("forge", &["-shared", "-fPIC", "-Wl,-z,now"]).display().to_string();
    scene.entry("/own/root", 0);
    let forged = scene.run(STRANGER, "/bin/true".as_ref(), &[], &[("LD_PRELOAD", &preload), ("MODE", "shared")]);
    assert!(forged.contains("refused") || forged.contains("impossible"), "{forged}");
}

#[test]
fn law_l11_a_parent_on_the_connection_gets_no_key() {
    let Some(scene) = Scene::new() else { return };
    let race = scene.build("connect_then_exec", &["-pthread"]);
    for (uid, id) in [(0, "/own/root"), (STRANGER, "/own/stranger")] {
        scene.entry(id, uid);
        let honest = scene.run(uid, &scene.honest, &[], &[]);
        assert!(honest.contains(&format!("got spiffe://example.org{id}")), "{honest}");
        for (mode, rounds) in [("kept", "5"), ("closed", "3"), ("parked", "2"), ("thread", "2")] {
            let said = scene.run(uid, &race, &[mode, rounds], &[]);
            assert!(said.contains(&format!("won 0 of {rounds}")), "{mode} as {uid}: {said}");
        }
    }
    eventually("it is on record", || {
        let listed = scene.world.json(&["decisions", "--effect", "refusal", "--limit", "100"]).to_string();
        (listed.contains("its descriptor survives exec") && listed.contains("holds this connection as well"))
            .then_some(())
    });
}

#[test]
fn a_process_without_main_thread_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let headless = scene.build("headless", &["-pthread"]);
    scene
        .world
        .register("/own/headless", &[format!("unix:uid:{STRANGER}"), format!("unix:sha256:{}", digest(&headless))]);
    let whole = scene.run(STRANGER, &headless, &[], &[]);
    assert!(whole.contains("got spiffe://example.org/own/headless"), "{whole}");
    let without = scene.run(STRANGER, &headless, &["ends"], &[]);
    assert!(without.contains("answered"), "its connection was dropped without a word: {without}");
    eventually("it is on record", || {
        let listed = scene.world.json(&["decisions", "--effect", "refusal", "--limit", "100"]).to_string();
        listed.contains("the main thread of process").then_some(())
    });
}
