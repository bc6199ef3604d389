//! The file that says which boots of nodes are admitted. One that cannot be used keeps the server from starting.

use std::path::Path;
use std::sync::Arc;

use sekisho_evidence::boot::BootPolicy;
use sekisho_evidence::node::QUOTED_PCRS;

use crate::error::ServerError;

pub(crate) fn read(path: &Path) -> Result<Arc<BootPolicy>, ServerError> {
    let failed = |reason: String| ServerError::BootPolicy { path: path.display().to_string(), reason };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let policy = BootPolicy::parse(&text).map_err(|error| failed(error.to_string()))?;
    for image in &policy.images {
        if let Some(pcr) = image.pcrs().into_iter().find(|pcr| !QUOTED_PCRS.contains(pcr)) {
            let name = &image.name;
            return Err(failed(format!("image `{name}` names PCR {pcr}, which nodes do not quote")));
        }
    }
    if policy.images.is_empty() {
        tracing::warn!("the boot policy names no image: no node with a TPM is admitted");
    }
    tracing::info!(images = policy.images.len(), digest = %policy.digest, "boot policy");
    Ok(Arc::new(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot.json");
        let refused = || read(&path).map(drop).unwrap_err().to_string();
        let place = path.display().to_string();
        assert!(refused().contains(&place), "{}", refused());
        let event = |pcr: u8| format!(r#"{{"pcr": {pcr}, "sha256": "{}"}}"#, "00".repeat(32));
        let image = |more: u8| format!(r#"{{"name": "a", "events": [{}, {}, {}]}}"#, event(4), event(11), event(more));
        for (text, why) in [
            ("{".to_owned(), "not one strict JSON text"),
            (r#"{"image": []}"#.to_owned(), "boot policy.image: unknown member"),
            (format!(r#"{{"images": [{}]}}"#, image(13)), "names PCR 13"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refused().contains(&place) && refused().contains(why), "{}", refused());
            assert!(refused().contains("sekisho boot check"), "{}", refused());
        }
        std::fs::write(&path, format!(r#"{{"images": [{}]}}"#, image(12))).unwrap();
        assert_eq!(read(&path).unwrap().images.len(), 1);
    }
}
