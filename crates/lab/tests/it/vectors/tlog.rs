use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_ledger::{
    Bundle, Checkpoint, Frontier, Hash, Note, TileRequest, TlogProof, TrustPolicy, VerifierKey, bundle_path,
    consistency_path, inclusion_path, leaf_hash, sha256_of, tile_path, verify_consistency, verify_inclusion,
};
use serde_json::Value;

use super::{folder, json};

fn hash(value: &Value) -> Option<Hash> {
    BASE64.decode(value.as_str()?).ok()?.try_into().ok()
}

/// Some cases give a root that is not a hash; it is padded and compared.
fn root(value: &Value) -> Option<Hash> {
    let mut bytes = BASE64.decode(value.as_str()?).ok()?;
    bytes.resize(bytes.len().max(32), 0);
    bytes.try_into().ok()
}

fn hashes(value: &Value) -> Option<Vec<Hash>> {
    value.as_array().map_or(Some(vec![]), |items| items.iter().map(hash).collect())
}

fn entries(log: &Path, size: u64) -> Vec<Vec<u8>> {
    let mut out = vec![];
    for number in 0..size.div_ceil(256) {
        let bytes = std::fs::read(log.join(bundle_path(number, size).unwrap().path)).unwrap();
        out.extend(Bundle::entries(&bytes).unwrap().into_iter().map(<[u8]>::to_vec));
    }
    out
}

#[test]
fn proofs_get_the_verdict_of_each_policy() {
    let Some(folder) = folder("tlog/generated") else { return };
    let expected = json(&folder.join("expected.json"));
    for case in expected["proofs"].as_array().unwrap() {
        let file = case["proof"].as_str().unwrap();
        let text = std::fs::read_to_string(folder.join("proofs").join(file)).unwrap();
        let leaf = hash(&case["leaf_hash"]).unwrap();
        for (name, verdict) in case["policies"].as_object().unwrap() {
            let policy = TrustPolicy::parse(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap();
            let got = TlogProof::parse(&text).and_then(|proof| proof.verify(&leaf, &policy));
            assert_eq!(got.is_ok(), verdict.as_bool().unwrap(), "{file} under {name}: {got:?} ({})", case["why"]);
        }
    }
    for name in expected["policies_that_must_not_parse"].as_array().unwrap() {
        let text = std::fs::read_to_string(folder.join(name.as_str().unwrap())).unwrap();
        assert!(TrustPolicy::parse(&text).is_err(), "{name}");
    }
    for case in expected["consistency"].as_array().unwrap() {
        check_consistency(case, case["ok"].as_bool().unwrap());
    }
}

fn check_consistency(case: &Value, ok: bool) {
    let verdict = (|| {
        let (old, new) = (case["size1"].as_u64()?, case["size2"].as_u64()?);
        let (root1, root2) = (root(&case["root1"])?, root(&case["root2"])?);
        verify_consistency(old, new, &root1, &root2, &hashes(&case["proof"])?).ok()
    })();
    assert_eq!(verdict.is_some(), ok, "{case}");
}

#[test]
fn a_stored_log_has_its_root_and_paths() {
    let Some(folder) = folder("tlog/generated") else { return };
    let expected = json(&folder.join("expected.json"));
    let size = expected["size"].as_u64().unwrap();
    let root = hash(&expected["root"]).unwrap();
    let leaves: Vec<Hash> = entries(&folder, size).iter().map(|entry| leaf_hash(entry)).collect();
    assert_eq!(leaves.len() as u64, size);
    let tile = |level: u8, number: u64| std::fs::read(folder.join(tile_path(level, number, size)?.path)).ok();
    let stored = |level: u8, index: u64| Bundle::stored_hash(level, index, tile);
    assert_eq!(Frontier::restore(size, stored).unwrap().root(), root);
    for (index, leaf) in leaves.iter().enumerate() {
        let path = inclusion_path(index as u64, size, &stored).unwrap();
        verify_inclusion(index as u64, size, leaf, &path, &root).unwrap();
        assert!(verify_inclusion(index as u64 + 1, size, leaf, &path, &root).is_err());
    }
}

/// Our own paths are those that another program made.
#[test]
fn consistency_paths_of_a_stored_log_match() {
    let Some(folder) = folder("tlog/generated") else { return };
    let expected = json(&folder.join("expected.json"));
    let size = expected["size"].as_u64().unwrap();
    let tile = |level: u8, number: u64| std::fs::read(folder.join(tile_path(level, number, size)?.path)).ok();
    let stored = |level: u8, index: u64| Bundle::stored_hash(level, index, tile);
    let mut seen = 0;
    for case in expected["consistency"].as_array().unwrap().iter().filter(|case| case["ok"] == true) {
        let (old, new) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        if old > 0 && new <= size {
            assert_eq!(Some(consistency_path(old, new, &stored).unwrap()), hashes(&case["proof"]), "{old} {new}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// The folders of two witnesses and a mirror: `<hash of the origin>/checkpoint`, beside decoys.
#[test]
fn files_of_witnesses_and_mirrors_verify() {
    let Some(folder) = folder("tlog/witness") else { return };
    let (mut cosigned, mut mirrored, mut decoys) = (0, 0, 0);
    for described in json_files(&folder) {
        let key = json(&described)["verifier_keys"][0].as_str().unwrap().to_owned();
        let key = VerifierKey::parse(&key).unwrap();
        let served = described.parent().unwrap();
        for item in std::fs::read_dir(served).unwrap().map(|item| item.unwrap().path()) {
            if item.is_file() && item.file_name().unwrap() == "checkpoint" {
                let text = std::fs::read_to_string(&item).unwrap();
                assert!(Note::parse(&text).is_err(), "{}: a decoy was read as a note", item.display());
                decoys += 1;
            }
            let Ok(text) = std::fs::read_to_string(item.join("checkpoint")) else { continue };
            let name = item.file_name().unwrap().to_string_lossy().into_owned();
            if name == "mirror" {
                continue;
            }
            let note = Note::parse(&text).unwrap();
            assert_eq!(note.verified_by(&[&key]).unwrap(), [0], "{}", item.display());
            let checkpoint = Checkpoint::parse(note.text()).unwrap();
            assert_eq!(hex::encode(sha256_of(checkpoint.origin.as_bytes())), name);
            let other = text.replacen("\n300\n", "\n301\n", 1);
            assert!(Note::parse(&other).unwrap().verified_by(&[&key]).is_err(), "another size");
            cosigned += 1;
            if item.join("tile").is_dir() {
                mirror(&item, &checkpoint);
                mirrored += 1;
            }
        }
    }
    assert_eq!((cosigned, mirrored, decoys), (3, 1, 2));
}

/// A mirror's tiles give the root of its checkpoint, and every older tree is shown to be the beginning of it.
fn mirror(folder: &Path, checkpoint: &Checkpoint) {
    let size = checkpoint.size;
    let tile = |level: u8, number: u64| std::fs::read(folder.join(tile_path(level, number, size)?.path)).ok();
    let stored = |level: u8, index: u64| Bundle::stored_hash(level, index, tile);
    let mut tree = Frontier::default();
    let mut roots = vec![tree.root()];
    for index in 0..size {
        tree.push(stored(0, index).unwrap(), |_, _, _| {});
        roots.push(tree.root());
    }
    assert_eq!(tree.root(), checkpoint.root);
    assert_eq!(Frontier::restore(size, stored).unwrap().root(), checkpoint.root);
    for old in 1..=size {
        let path = consistency_path(old, size, &stored).unwrap();
        let root = &roots[usize::try_from(old).unwrap()];
        verify_consistency(old, size, root, &checkpoint.root, &path).unwrap();
        assert!(verify_consistency(old, size, &[7; 32], &checkpoint.root, &path).is_err(), "{old}");
    }
    let mut files = vec![folder.join("tile")];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
            continue;
        }
        let relative = path.strip_prefix(folder.join("tile")).unwrap().to_str().unwrap();
        let request = TileRequest::parse(relative).unwrap_or_else(|| panic!("{relative}"));
        assert_eq!(request.stored(size).unwrap().path, format!("tile/{relative}"));
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn a_growing_log_has_the_expected_roots() {
    let Some(folder) = folder("tlog/tessera-log") else { return };
    let expected = json(&folder.join("expected.json"));
    let key = VerifierKey::parse(expected["vkey"].as_str().unwrap()).unwrap();
    let mut frontier = Frontier::default();
    let roots = expected["roots"].as_array().unwrap();
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(frontier.root(), hash(root).unwrap(), "size {size}");
        let note = std::fs::read_to_string(folder.join(format!("checkpoint.{size}")));
        if let Ok(note) = note {
            assert_eq!(Note::parse(&note).unwrap().verified_by(&[&key]).unwrap(), [0], "checkpoint {size}");
        }
        if let Some(entry) = expected["entries"].get(size) {
            frontier.push(leaf_hash(entry.as_str().unwrap().as_bytes()), |_, _, _| {});
        }
    }
}

#[test]
fn checkpoints_of_the_go_checksum_database_verify() {
    let Some(folder) = folder("tlog/sumdb") else { return };
    let key = VerifierKey::parse(std::fs::read_to_string(folder.join("vkey")).unwrap().trim()).unwrap();
    let mut seen = 0;
    for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("checkpoint") {
            let note = Note::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
            assert_eq!(note.verified_by(&[&key]).unwrap(), [0], "{}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn rfc_6962_proofs_get_their_verdict() {
    let Some(folder) = folder("tlog/merkle") else { return };
    let mut seen = 0;
    for file in json_files(&folder) {
        let case = json(&file);
        let ok = !case["wantErr"].as_bool().unwrap();
        seen += 1;
        if case.get("leafIdx").is_none() {
            check_consistency(&case, ok);
            continue;
        }
        let verdict = (|| {
            let (index, size) = (case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?);
            let (leaf, root) = (hash(&case["leafHash"])?, hash(&case["root"])?);
            verify_inclusion(index, size, &leaf, &hashes(&case["proof"])?, &root).ok()
        })();
        assert_eq!(verdict.is_some(), ok, "{}: {case}", file.display());
    }
    assert!(seen > 0);
}

fn json_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut out = vec![];
    for path in std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if path.is_dir() {
            out.extend(json_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "json") {
            out.push(path);
        }
    }
    out
}
