//! The cache told by a store of changes that others make: what is kept of the collection is out of
//! force, and while the store hears nothing, nothing is kept.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::{Cache, Writing};
use crate::store::Outside;

pub(super) struct Ears {
    cache: Arc<Cache>,
    /// While the store is deaf. A write whose end nobody knows is just what this is like.
    deaf: Mutex<Option<Writing>>,
}

impl Ears {
    pub(super) fn new(cache: Arc<Cache>) -> Arc<Self> {
        let deaf = Mutex::new(cache.writing_anywhere());
        Arc::new(Self { cache, deaf })
    }
}

impl Outside for Ears {
    fn changed(&self, collection: Option<&str>) {
        match collection {
            Some(name) => self.cache.clear_collection(name),
            // A write that has begun and ended.
            None => drop(self.cache.writing_anywhere()),
        }
    }

    fn hears(&self, is_hearing: bool) {
        let mut deaf = self.deaf.lock();
        if is_hearing {
            drop(deaf.take());
        } else if deaf.is_none() {
            *deaf = self.cache.writing_anywhere();
        }
    }
}
