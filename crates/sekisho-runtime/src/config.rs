use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

/// Why a configuration file was refused; its author has to fix it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("configuration file {path}: {reason}")]
    Parse { path: String, reason: String },
}

/// Settings by the name of their flag, each with its values.
pub type Settings = BTreeMap<String, Vec<String>>;

/// Reads a TOML file of settings.
pub fn load_settings(path: &Path) -> Result<Settings, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    settings(&text).map_err(|reason| ConfigError::Parse { path: shown, reason })
}

/// Reads settings: a flat table of texts, integers, booleans, and lists of those.
pub fn settings(text: &str) -> Result<Settings, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let values = |(name, value)| {
        let values = match value {
            Value::Array(items) => items.into_iter().map(scalar).collect::<Option<_>>(),
            single => scalar(single).map(|value| vec![value]),
        };
        let values = values
            .ok_or_else(|| format!("`{name}` is neither a text, a number, true or false, nor a list of those"))?;
        Ok((name, values))
    };
    table.into_iter().map(values).collect()
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}
