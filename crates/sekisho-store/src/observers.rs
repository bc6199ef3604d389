use std::sync::{Arc, PoisonError, RwLock};

use crate::{Delta, store::Observer};

/// Those who hear of commits; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Observers(Arc<RwLock<Vec<Observer>>>);

impl Observers {
    pub(crate) fn add(&self, observer: Observer) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    pub(crate) fn notify(&self, delta: &Delta) {
        let observers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        observers.iter().for_each(|observer| observer(delta));
    }
}
