//! What a machine left on its disk when it was switched off: the logs of firmware and kernel, and PCRs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::run::at;

/// The evidence of one boot.
pub struct Evidence {
    pub event_log: PathBuf,
    /// Values of the SHA-256 bank, as the TPM gives them.
    pub pcrs: BTreeMap<String, String>,
    /// Files that IMA measured, with their digests, in order.
    pub measured: Vec<(String, String)>,
    pub agent_log: String,
}

impl Evidence {
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let text = |name: &str| {
            let path = folder.join(name);
            at(&path, std::fs::read(&path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let pcr = |line: &str| line.split_once(' ').map(|(pcr, value)| (pcr.to_owned(), value.to_ascii_lowercase()));
        Ok(Self {
            event_log: folder.join("event.log"),
            pcrs: text("pcrs")?.lines().filter_map(pcr).collect(),
            measured: text("ima.txt")?.lines().filter_map(entry).collect(),
            agent_log: text("agent.log")?,
        })
    }

    /// Whether each PCR that the image decides has the predicted value.
    ///
    /// # Errors
    /// The first that differs.
    pub fn has_predicted_pcrs(&self, image: &Image) -> Result<(), String> {
        for (pcr, predicted) in image.pcrs() {
            let value = self.pcrs.get(&pcr).map_or("no value", String::as_str);
            if value != predicted {
                return Err(format!("PCR {pcr} is {value}, predicted was {predicted}"));
            }
        }
        Ok(())
    }

    /// Measured files that the image does not have, or has with other content.
    pub fn foreign_files(&self, image: &Image) -> Vec<&str> {
        let files: BTreeMap<String, String> =
            image.files().into_iter().map(|(path, digest)| (absolute(&path), digest)).collect();
        let is_foreign =
            |path: &str, digest: &str| files.get(&absolute(path)).is_none_or(|predicted| predicted != digest);
        let foreign = self.measured.iter().filter(|(path, digest)| is_foreign(path, digest));
        foreign.map(|(path, _)| path.as_str()).collect()
    }

    pub fn has_measured(&self, path: &str) -> bool {
        self.measured.iter().any(|(measured, _)| measured == path)
    }
}

fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches(['.', '/']))
}

/// `10 <template digest> ima-sig sha256:<digest> <path>`. The first entry is of the boot's PCRs and not of a file.
fn entry(line: &str) -> Option<(String, String)> {
    let mut fields = line.splitn(5, ' ');
    let digest = fields.nth(3)?.strip_prefix("sha256:")?;
    let path = fields.next()?.trim_end();
    (path != "boot_aggregate").then(|| (path.to_owned(), digest.to_owned()))
}
