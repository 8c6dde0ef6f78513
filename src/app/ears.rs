//! The cache told by a store of changes that others make: what is kept of the collection is out of
//! force, and while the store hears nothing, nothing is kept. Only a store that is read from
//! matters: a follower that is away must not switch the cache off.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::{Cache, Writing};
use crate::mode::Router;
use crate::model::Role;
use crate::store::Outside;

pub(super) struct Ears {
    cache: Arc<Cache>,
    router: Arc<Router>,
    role: Role,
    heard: Mutex<Heard>,
}

struct Heard {
    is_deaf: bool,
    /// While the store is deaf and read from. A write whose end nobody knows is just what this is
    /// like.
    anything: Option<Writing>,
}

impl Ears {
    pub(super) fn new(cache: Arc<Cache>, router: Arc<Router>, role: Role) -> Arc<Self> {
        let heard = Heard {
            is_deaf: true,
            anything: None,
        };
        let ears = Arc::new(Self {
            cache,
            router,
            role,
            heard: Mutex::new(heard),
        });
        ears.settle();
        ears
    }

    /// The modes may be others now.
    pub(super) fn settle(&self) {
        let mut heard = self.heard.lock();
        let counts = heard.is_deaf && self.is_read();
        if !counts {
            drop(heard.anything.take());
        } else if heard.anything.is_none() {
            heard.anything = self.cache.writing_anywhere();
        }
    }

    fn is_read(&self) -> bool {
        self.router.snapshot().table().reads_from(self.role)
    }
}

impl Outside for Ears {
    fn changed(&self, collection: Option<&str>) {
        // Should it be read from in a moment, everything is out of force by then.
        if !self.is_read() {
            return;
        }
        match collection {
            Some(name) => self.cache.clear_collection(name),
            // A write that has begun and ended.
            None => drop(self.cache.writing_anywhere()),
        }
    }

    fn hears(&self, is_hearing: bool) {
        self.heard.lock().is_deaf = !is_hearing;
        self.settle();
    }
}
