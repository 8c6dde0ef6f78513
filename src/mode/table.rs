//! Which mode is in force for what: one for all, and those that collections have of their own.

use std::collections::BTreeMap;

use crate::model::{Mode, Role};

/// All of it, at one epoch. Another epoch means that something of it is otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    pub epoch: u64,
    pub mode: Mode,
    /// By the collections' real names.
    pub collections: BTreeMap<String, Mode>,
}

impl Table {
    pub fn of(mode: Mode) -> Self {
        Self {
            epoch: 0,
            mode,
            collections: BTreeMap::new(),
        }
    }

    /// The mode of a collection, or that of whatever has none of its own.
    pub fn mode_of(&self, collection: Option<&str>) -> Mode {
        let own = collection.and_then(|name| self.collections.get(name));
        own.copied().unwrap_or(self.mode)
    }

    /// The same with another mode in one place, one epoch later.
    #[must_use]
    pub fn with(&self, collection: Option<&str>, mode: Mode) -> Self {
        let mut next = self.clone();
        next.epoch += 1;
        match collection {
            None => next.mode = mode,
            Some(name) => drop(next.collections.insert(name.to_owned(), mode)),
        }
        next
    }

    pub fn modes(&self) -> impl Iterator<Item = Mode> {
        std::iter::once(self.mode).chain(self.collections.values().copied())
    }

    pub fn needs_secondary(&self) -> bool {
        self.modes().any(Mode::needs_secondary)
    }

    /// Whether anything is read from this store.
    pub fn reads_from(&self, role: Role) -> bool {
        self.modes().any(|mode| mode.authority() == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_has_its_own_mode_or_that_of_all() {
        let table = Table::of(Mode::PrimaryOnly).with(Some("a"), Mode::DualWrite);
        assert_eq!(table.epoch, 1);
        assert_eq!(table.mode_of(Some("a")), Mode::DualWrite);
        assert_eq!(table.mode_of(Some("b")), Mode::PrimaryOnly);
        assert_eq!(table.mode_of(None), Mode::PrimaryOnly);
        assert!(table.needs_secondary() && !table.reads_from(Role::Secondary));
    }
}
