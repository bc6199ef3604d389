use std::path::Path;

use serde::de::DeserializeOwned;

/// Why a configuration file was not taken. Its author mends it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("configuration file {path}: {reason}")]
    Parse { path: String, reason: String },
}

/// Reads a TOML file into a typed configuration. The type refuses keys that it does not know.
pub fn load_config<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    toml::from_str(&text).map_err(|e| ConfigError::Parse { path: shown, reason: e.to_string() })
}
