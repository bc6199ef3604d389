//! Which files may be measured, by a list of digests.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_types::Digest;

use super::*;
use crate::HashAlgorithm::{self, Sha1, Sha256};
use crate::ima::{ImaEntry, ImaLog};

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn entry(algorithm: &str, digest: &[u8], path: &str) -> ImaEntry {
    let digest = [algorithm.as_bytes(), b":\0", digest].concat();
    let data = [sized(&digest), sized(&[path.as_bytes(), &[0]].concat())].concat();
    let sha1 = Sha1.digest([data.as_slice()]);
    let bytes = [&10u32.to_le_bytes()[..], &sha1, &sized(b"ima-ng"), &sized(&data)].concat();
    ImaLog::parse_binary(&bytes).unwrap().entries.remove(0)
}

fn pcrs(bank: HashAlgorithm) -> PcrValues {
    PcrValues { bank, values: (0..12).map(|index| (index, vec![index; bank.digest_len()])).collect() }
}

fn aggregate(last: u8) -> Vec<u8> {
    let values: BTreeMap<u8, Vec<u8>> = pcrs(Sha256).values;
    Sha256.digest(values.range(..=last).map(|(_, value)| value.as_slice()))
}

fn judge(number: usize, entry: &ImaEntry) -> Result<(), TpmRefusal> {
    appraise_entry(number, entry, &pcrs(Sha256), Some(&BTreeSet::from([Digest::new([7; 32])])))
}

#[test]
fn only_listed_files_may_be_measured() {
    judge(3, &entry("sha256", &[7; 32], "/init")).unwrap();
    let refused = judge(3, &entry("sha256", &[8; 32], "/tmp/implant")).unwrap_err();
    let digest = format!("sha256:{}", "08".repeat(32));
    assert_eq!(refused, TpmRefusal::ImaDigest { path: "/tmp/implant".into(), digest });
    // The digest of another algorithm is another digest.
    judge(3, &entry("sm3", &[7; 32], "/init")).unwrap_err();
    appraise_entry(3, &entry("sha256", &[8; 32], "/tmp/a"), &pcrs(Sha256), None).unwrap();
}

#[test]
fn the_kernels_first_entry_is_of_its_pcrs() {
    for last in [7, 9] {
        judge(0, &entry("sha256", &aggregate(last), "boot_aggregate")).unwrap();
    }
    for (number, digest, path) in [
        (1, aggregate(9), "boot_aggregate"),
        (0, vec![9; 32], "boot_aggregate"),
        (0, aggregate(8), "boot_aggregate"),
        (0, aggregate(9), "/boot_aggregate"),
    ] {
        assert!(judge(number, &entry("sha256", &digest, path)).is_err(), "{number} {path}");
    }
    let lacking = PcrValues { bank: Sha256, values: BTreeMap::new() };
    let empty = Sha256.digest([]);
    assert!(appraise_entry(0, &entry("sha256", &empty, "boot_aggregate"), &lacking, Some(&BTreeSet::new())).is_err());
}
