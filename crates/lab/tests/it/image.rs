//! `deploy/oci.sh`: the image is whole by its own digests, the same each time, and its program runs in it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::world::{digest, manifest_folder, program, skipped};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A blob, by a descriptor whose digest and size are checked.
fn blob(image: &Path, descriptor: &Value) -> std::path::PathBuf {
    let name = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = image.join("blobs/sha256").join(name);
    assert_eq!(digest(&path), name);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_image_needs_no_network_and_runs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (script, to) = (manifest_folder().join("../../deploy/oci.sh"), folder.path().to_str().unwrap());
    let made = || {
        run(script.to_str().unwrap(), &[program("sekisho").to_str().unwrap(), to]);
        digest(&folder.path().join("sekisho.oci.tar"))
    };
    let first = made();
    let image = folder.path().join("image");
    std::fs::create_dir(&image).unwrap();
    run("tar", &["-xf", &format!("{to}/sekisho.oci.tar"), "-C", image.to_str().unwrap()]);
    let manifest = json(&blob(&image, &json(&image.join("index.json"))["manifests"][0]));
    let config = json(&blob(&image, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    run("tar", &["-xzf", blob(&image, &manifest["layers"][0]).to_str().unwrap(), "-C", root.to_str().unwrap()]);
    assert!(!root.join("bin/sh").exists() && !root.join("usr/bin/sh").exists());
    if sekisho_host::own_uid() != 0 {
        return skipped("only root starts a program in another root");
    }
    let said = run("chroot", &["--userspec=65532:65532", root.to_str().unwrap(), "/usr/bin/sekisho", "--version"]);
    assert!(said.starts_with("sekisho "), "{said}");
    assert_eq!(made(), first, "the same program gives the same image");
}
