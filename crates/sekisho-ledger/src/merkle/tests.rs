use std::collections::BTreeMap;

use super::*;
use crate::Batch;

/// Above one tile's width in no dimension, and of every shape below it.
const MOST: usize = 40;

/// MTH of RFC 6962 §2.1, as it is written there.
fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            node_hash(&root_of(&leaves[..split]), &root_of(&leaves[split..]))
        }
    }
}

fn leaves() -> Vec<Hash> {
    (0..MOST).map(|number| leaf_hash(&[number as u8])).collect()
}

/// A tree of all leaves, and the hashes that it stores.
fn tree() -> BTreeMap<(u8, u64), Hash> {
    let (mut frontier, mut stored) = (Frontier::default(), BTreeMap::new());
    for leaf in leaves() {
        frontier.push(leaf, |level, index, hash| {
            stored.insert((level, index), *hash);
        });
    }
    stored
}

#[test]
fn a_tree_has_the_root_of_rfc_6962() {
    let (leaves, mut frontier) = (leaves(), Frontier::default());
    for (size, leaf) in leaves.iter().enumerate() {
        assert_eq!((frontier.size(), frontier.root()), (size as u64, root_of(&leaves[..size])));
        frontier.push(*leaf, |_, _, _| {});
    }
    // RFC 9162 §2.1.5 and certificate-transparency-go: the roots of no leaf and of one empty leaf.
    assert_eq!(hex::encode(root_of(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(hex::encode(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

#[test]
fn an_inclusion_proof_binds_leaf_and_size() {
    let (leaves, stored) = (leaves(), tree());
    let get = |level: u8, index: u64| stored.get(&(level, index)).copied();
    for size in 1..=MOST as u64 {
        let root = root_of(&leaves[..size as usize]);
        for index in 0..size {
            let path = inclusion_path(index, size, &get).unwrap();
            let leaf = leaves[index as usize];
            verify_inclusion(index, size, &leaf, &path, &root).unwrap();
            let other = (index + 1) % size;
            assert!(other == index || verify_inclusion(other, size, &leaf, &path, &root).is_err());
            assert!(verify_inclusion(index, size, &leaf_hash(b"other"), &path, &root).is_err());
            let longer = [&path[..], &[root]].concat();
            assert_eq!(verify_inclusion(index, size, &leaf, &longer, &root), Err(MerkleError::PathLength));
        }
        assert_eq!(inclusion_path(size, size, &get), Err(MerkleError::IndexOutOfRange));
    }
    assert_eq!(inclusion_path(0, 2, &|_, _| None), Err(MerkleError::MissingHash));
}

#[test]
fn a_consistency_proof_is_bound_to_two_sizes() {
    let (leaves, stored) = (leaves(), tree());
    let get = |level: u8, index: u64| stored.get(&(level, index)).copied();
    for new in 1..=MOST as u64 {
        for old in 1..=new {
            let (before, after) = (root_of(&leaves[..old as usize]), root_of(&leaves[..new as usize]));
            let path = consistency_path(old, new, &get).unwrap();
            verify_consistency(old, new, &before, &after, &path).unwrap();
            let forged = leaf_hash(b"forged");
            assert!(verify_consistency(old, new, &forged, &after, &path).is_err(), "{old} of {new}");
            assert!(verify_consistency(old, new, &before, &forged, &path).is_err(), "{old} of {new}");
        }
    }
    assert_eq!(consistency_path(3, 2, &get), Err(MerkleError::SizesDescend));
}

#[test]
fn each_record_of_a_batch_has_its_path() {
    let records: Vec<Vec<u8>> = (0..MOST).map(|number| vec![number as u8; 3]).collect();
    for size in 1..=MOST {
        let batch = Batch::of(records[..size].iter().map(Vec::as_slice));
        let (paths, root) = (batch.paths().unwrap(), batch.root());
        assert_eq!((paths.len(), batch.len()), (size, size));
        for (place, record) in paths.iter().zip(&records) {
            place.verify(record, &root).unwrap();
            assert!(place.verify(b"another", &root).is_err());
        }
    }
    assert!(Batch::default().is_empty());
}
