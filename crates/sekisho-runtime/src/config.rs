use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

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

/// What a configuration file says: settings, and tables of settings (`[[name]]`) by their name.
#[derive(Debug, Default)]
pub struct Configuration {
    pub settings: Settings,
    pub tables: BTreeMap<String, Vec<Settings>>,
}

/// Reads a TOML file of settings.
pub fn load_configuration(path: &Path) -> Result<Configuration, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    configuration(&text).map_err(|reason| ConfigError::Parse { path: shown, reason })
}

/// Reads a table of texts, integers, booleans, and lists of those; and lists of such tables.
pub fn configuration(text: &str) -> Result<Configuration, String> {
    let mut read = Configuration::default();
    for (name, value) in toml::from_str::<Table>(text).map_err(|error| error.to_string())? {
        match value {
            Value::Array(items) if items.iter().any(Value::is_table) => {
                let tables = items.into_iter().map(|item| table(&name, item)).collect::<Result<_, _>>()?;
                read.tables.insert(name, tables);
            }
            value => {
                let values = values(&name, value)?;
                read.settings.insert(name, values);
            }
        }
    }
    Ok(read)
}

fn table(name: &str, item: Value) -> Result<Settings, String> {
    let Value::Table(table) = item else { return Err(format!("`{name}` is a list of tables and of other values")) };
    let read = |(key, value): (String, Value)| values(&key, value).map(|values| (key, values));
    table.into_iter().map(read).collect()
}

fn values(name: &str, value: Value) -> Result<Vec<String>, String> {
    let values = match value {
        Value::Array(items) => items.into_iter().map(scalar).collect::<Option<_>>(),
        single => scalar(single).map(|value| vec![value]),
    };
    values.ok_or_else(|| format!("`{name}` is neither a text, a number, true or false, nor a list of those"))
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}
