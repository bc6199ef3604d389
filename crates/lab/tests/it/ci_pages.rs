//! `docs/how-to/ci.md`: the page's commands, its files by the published schemas, and the commands of their jobs.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::containers::check_schema;
use crate::how_to::{Shell, missing, path, run_page};
use crate::replays::Pair;
use crate::world::{digest, eventually, program, raw, skipped, unix};

pub(crate) const CI: &str = "ci.md";

const GITHUB: &str = ".github/workflows/policy.yml";
const GITLAB: &str = ".gitlab-ci.yml";

/// What differs by the runner: the options of its shell, and where a job's commands are.
type Runner = (&'static [&'static str], fn(&Value, &str) -> Vec<String>);

/// <https://docs.github.com/actions/reference/workflow-syntax>: a step without `shell` runs in `bash -e` on Linux.
const OF_GITHUB: Runner = (&["-e"], |file, job| {
    let steps = file["jobs"][job]["steps"].as_array().unwrap();
    steps.iter().filter_map(|step| step["run"].as_str().map(str::to_owned)).collect()
});
/// <https://docs.gitlab.com/runner/shells/>: one script of all lines, which stops at the first that fails.
const OF_GITLAB: Runner = (&["-eo", "pipefail"], |file, job| {
    let lines = [&file["default"]["before_script"], &file[format!("policy {job}")]["script"]];
    let lines = lines.map(|lines| lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()));
    vec![lines.into_iter().flatten().collect::<Vec<_>>().join("\n")]
});

/// A repository, and the archive that its jobs fetch.
struct Repository<'a> {
    folder: &'a Path,
    archive: [(&'static str, String); 2],
}

impl<'a> Repository<'a> {
    fn new(folder: &'a Path, archives: &Path) -> Self {
        let bin = archives.join("sekisho-0.0.0/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", program("sekisho").display());
        std::fs::write(bin.join("sekisho"), script).unwrap();
        let pack = "chmod 755 sekisho-0.0.0/bin/sekisho && tar -czf archive.tar.gz sekisho-0.0.0";
        assert!(Command::new("sh").args(["-ec", pack]).current_dir(archives).status().unwrap().success());
        let file = archives.join("archive.tar.gz");
        let archive = [("ARCHIVE", format!("file://{}", file.display())), ("ARCHIVE_SHA256", digest(&file))];
        Self { folder, archive }
    }

    fn file(&self, name: &str) -> Value {
        serde_yaml_ng::from_str(&std::fs::read_to_string(self.folder.join(name)).unwrap()).unwrap()
    }

    /// The exit code of a job: that of its first command that fails.
    fn run(&self, (options, commands): Runner, file: &Value, job: &str) -> i32 {
        let _gone = std::fs::remove_dir_all(self.folder.join(".sekisho"));
        let commands = commands(file, job);
        assert!(!commands.is_empty(), "{job}: {file}");
        for command in commands {
            let mut bash = Command::new("bash");
            bash.args(options).arg("-c").arg(&command).current_dir(self.folder).stdin(Stdio::null());
            // A runner has no server.
            bash.envs(self.archive.clone()).env("SEKISHO_SERVER_SOCKET", "/nonexistent");
            let code = bash.status().unwrap().code().unwrap();
            if code != 0 {
                return code;
            }
        }
        0
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.folder.join("policy").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn ci_jobs_fail_for_a_wrong_policy() {
    if let Some(why) = missing(&["git", "curl", "tar", "sha256sum"], &path()) {
        return skipped(&why);
    }
    let pair = Pair::start();
    // Denials from before the policy would differ from it.
    eventually("the sidecar has the policy", || {
        let ask = "GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = raw(&mut unix(&pair.world.path("s/api.sock")), ask);
        let health: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()?;
        let revision = &health["policy_in_force"]["spiffe://example.org/shop/ledger"][&pair.world.agent_id];
        (revision.as_u64()? > 0).then_some(())
    });
    for path in ["/v1/balance", "/v1/elsewhere"] {
        eventually("the pair answers", || pair.get(path, "").starts_with("HTTP/1.1 ").then_some(()));
        pair.recorded(&path[4..], 1);
    }
    let mut shell = Shell::start(&pair.world, &path(), &[]);
    run_page(CI, &mut shell);
    let (github, gitlab) = (shell.folder.join(GITHUB), shell.folder.join(GITLAB));
    check_schema(["--builtin-schema", "vendor.github-workflows"], &github);
    check_schema(["--builtin-schema", "vendor.gitlab-ci"], &gitlab);

    let repository = Repository::new(&shell.folder, &pair.world.path("archives"));
    let runners = [(OF_GITHUB, repository.file(GITHUB)), (OF_GITLAB, repository.file(GITLAB))];
    let codes = |job: &str| runners.each_ref().map(|(runner, file)| repository.run(*runner, file, job));
    assert_eq!((codes("test"), codes("replay")), ([0, 0], [0, 0]));
    repository.edit("p.rego", "balance", "elsewhere");
    assert_eq!((codes("test"), codes("replay")), ([2, 2], [2, 2]));
    // Its cases follow the change, and it still decides recorded requests differently.
    repository.edit("balance_test.yaml", "balance]", "elsewhere]");
    assert_eq!((codes("test"), codes("replay")), ([0, 0], [2, 2]));
    let other =
        Repository { archive: [repository.archive[0].clone(), ("ARCHIVE_SHA256", "0".repeat(64))], ..repository };
    assert_ne!(other.run(OF_GITHUB, &other.file(GITHUB), "test"), 0, "another archive than the one that was reviewed");
}
