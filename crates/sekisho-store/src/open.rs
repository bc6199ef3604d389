use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_ports::Machine;

use crate::{MemoryStore, SqliteStore, Store, StoreError};

/// The store in memory of a simulated machine. It is a device: what is committed outlives the programs of the machine.
#[derive(Default)]
pub struct MemoryDevice(Mutex<Option<MemoryStore>>);

impl MemoryDevice {
    /// Programs of this machine have their store in memory.
    pub fn install(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    fn store(&self) -> Option<MemoryStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(MemoryStore::reopened)
    }
}

/// Opens the store of this machine: the SQLite file at `path`, or what a simulated machine has in memory.
pub fn open(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let memory = Machine::current().and_then(|machine| machine.device::<MemoryDevice>().store());
    Ok(match memory {
        Some(store) => Arc::new(store),
        None => Arc::new(SqliteStore::open(path)?),
    })
}
