//! Receipts on disk. Who holds the rules of a workload in the kernel writes there what it enforces, so that others can
//! show it, and compare it with the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::receipt::{InForce, Receipt, in_force};

/// Where all of this machine are. Only root writes there.
pub const FOLDER: &str = "/run/sekisho/network";

/// The rules of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub spiffe_id: String,
    pub cgroup: PathBuf,
    /// The kernel's number of the cgroup.
    pub number: u64,
    /// The process that holds the rules.
    pub holder: u32,
    pub kernel: String,
    pub generation: u32,
    /// New flows, and those that were refused, by whatever rule or by none.
    pub judged: u64,
    pub denied: u64,
    pub rules: Vec<RuleRecord>,
    /// What the rules do not govern, each with its reason.
    pub not_enforced: Vec<String>,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRecord {
    pub rule: String,
    pub allows: bool,
    pub allowed: u64,
    pub denied: u64,
    pub table: String,
    pub map: u32,
    pub digest: String,
    pub points: Vec<PointRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointRecord {
    pub hook: String,
    pub program: u32,
    pub tag: String,
    pub link: u32,
}

impl RuleRecord {
    pub fn of(receipt: &Receipt, allows: bool) -> Self {
        let points = receipt.points.iter().map(|point| PointRecord {
            hook: point.hook.name().to_owned(),
            program: point.program,
            tag: point.tag.clone(),
            link: point.link,
        });
        Self {
            rule: receipt.rule.clone(),
            allows,
            allowed: receipt.allowed,
            denied: receipt.denied,
            table: receipt.table.to_owned(),
            map: receipt.map,
            digest: receipt.digest.clone(),
            points: points.collect(),
        }
    }

    /// Whether every program that asks about this rule is attached to this cgroup at this moment.
    pub fn in_force(&self, cgroup: u64) -> InForce {
        let mut found = self.points.iter().map(|point| in_force(point.link, &point.tag));
        let other = found.find(|found| *found != InForce::Yes { cgroup });
        match other {
            None if self.points.is_empty() => InForce::No,
            None => InForce::Yes { cgroup },
            Some(InForce::Unknown(why)) => InForce::Unknown(why),
            Some(_) => InForce::No,
        }
    }
}

impl Record {
    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.number))
    }

    /// Writes it whole: no reader finds a part.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        prepare(folder)?;
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let (path, new) = (self.path(folder), folder.join(format!(".{}.new", self.number)));
        let write = || {
            let mut file = fs::File::create(&new)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            io::Write::write_all(&mut file, &text)?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| named(&path, error))
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes the folder, whatever the umask: agents of other users read it.
pub fn prepare(folder: &Path) -> io::Result<()> {
    for path in folder.parent().into_iter().chain([folder]).filter(|path| !path.exists()) {
        let made = fs::create_dir(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(named(path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the record of a cgroup, if there is one.
pub fn remove(folder: &Path, number: u64) -> io::Result<()> {
    match fs::remove_file(folder.join(format!("{number}.json"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// All records, by the numbers of their cgroups. A folder that does not exist has none.
pub fn read(folder: &Path) -> io::Result<Vec<Record>> {
    let items = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.map_err(|error| named(folder, error))?,
    };
    let mut records = Vec::new();
    for item in items {
        let path = item?.path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = match fs::read(&path) {
            // Its workload has just stopped.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.map_err(|error| named(&path, error))?,
        };
        records.push(serde_json::from_slice::<Record>(&text).map_err(|error| named(&path, error.into()))?);
    }
    records.sort_by_key(|record| record.number);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Record {
        let points = vec![PointRecord { hook: "connect4".into(), program: 1, tag: "00".into(), link: u32::MAX }];
        let rule = RuleRecord {
            rule: "out".into(),
            allows: false,
            allowed: 0,
            denied: 1,
            table: "exact flows".into(),
            map: 3,
            digest: "ab".into(),
            points,
        };
        Record {
            spiffe_id: "spiffe://td/a".into(),
            cgroup: "/sys/fs/cgroup/a".into(),
            number,
            holder: 1,
            kernel: "6.1".into(),
            generation: 1,
            judged: 1,
            denied: 1,
            rules: vec![rule],
            not_enforced: vec!["Unix sockets".into()],
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("network");
        assert_eq!(read(&place).unwrap(), []);
        for number in [7, 5, 7] {
            record(number).write(&place).unwrap();
        }
        assert_eq!(read(&place).unwrap(), [record(5), record(7)]);
        remove(&place, 5).unwrap();
        remove(&place, 5).unwrap();
        assert_eq!(read(&place).unwrap(), [record(7)]);
        std::fs::write(place.join("9.json"), "{}").unwrap();
        assert!(read(&place).unwrap_err().to_string().contains("9.json"));
    }

    #[test]
    fn law_l15_a_missing_link_enforces_nothing() {
        let found = record(7).rules[0].in_force(7);
        assert!(matches!(found, InForce::No | InForce::Unknown(_)), "{found:?}");
    }
}
