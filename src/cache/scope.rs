//! What an answer can depend on, and what a write can touch.
//!
//! Scopes fall into a fixed number of slots. Two that fall into one share their generation, which
//! only ever drops an answer too many: no memory grows with the number of collections or tenants,
//! and the slots mean the same in every sidecar.

/// How many slots there are. Sidecars that share a second tier have to agree on it.
pub(super) const SLOTS: usize = 1 << 16;
/// The slots of the scopes that there is one of each.
const OWN_SLOTS: u16 = 8;

/// A thing whose changes are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// Which name leads to which collection, and whatever no other scope holds. Every answer
    /// depends on it.
    World,
    /// Any write at all: for reads of which it is not known what collection their name means.
    Anything,
    /// Which collections and aliases there are.
    Catalog,
    /// What a collection is: its configuration and indexes.
    Shape(&'a str),
    /// Any point of a collection.
    Points(&'a str),
    /// The points of a collection, as far as a write was not known to keep to one tenant.
    Shared(&'a str),
    /// The points of one tenant. The value is its JSON text.
    Tenant {
        collection: &'a str,
        field: &'a str,
        value: &'a str,
    },
    /// One point. No answer depends on it: it tells narrow writes that they meet.
    Point { collection: &'a str, id: &'a str },
    /// The points that a filter chose to be written. Tells narrow writes that they may meet.
    Filtered(&'a str),
}

/// The place of a scope's generation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Slot(u16);

impl Slot {
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// As it stands in Redis.
    pub(super) fn number(self) -> u16 {
        self.0
    }

    pub(super) fn from_number(number: u16) -> Self {
        Self(number)
    }
}

impl Scope<'_> {
    pub(super) fn slot(self) -> Slot {
        let hashed = |kind: &str, parts: &[&str]| {
            let mut hasher = blake3::Hasher::new_derive_key("outrigger cache scope 1");
            for part in [kind].iter().chain(parts) {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            let [low, high, ..] = *hasher.finalize().as_bytes();
            // The few that would fall on the reserved slots share the last ones of these.
            Slot(u16::from_le_bytes([low, high]).max(OWN_SLOTS))
        };
        match self {
            Self::World => Slot(0),
            Self::Anything => Slot(1),
            Self::Catalog => Slot(2),
            Self::Shape(name) => hashed("shape", &[name]),
            Self::Points(name) => hashed("points", &[name]),
            Self::Shared(name) => hashed("shared", &[name]),
            Self::Tenant {
                collection,
                field,
                value,
            } => hashed("tenant", &[collection, field, value]),
            Self::Point { collection, id } => hashed("point", &[collection, id]),
            Self::Filtered(name) => hashed("filtered", &[name]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_told_apart_by_every_part() {
        let tenant = |collection, field, value| Scope::Tenant {
            collection,
            field,
            value,
        };
        let slots = [
            Scope::World,
            Scope::Anything,
            Scope::Catalog,
            Scope::Shape("a"),
            Scope::Points("a"),
            Scope::Points("b"),
            Scope::Shared("a"),
            Scope::Filtered("a"),
            Scope::Point {
                collection: "a",
                id: "1",
            },
            tenant("a", "b", "c"),
            tenant("a", "bc", ""),
            tenant("ab", "c", ""),
        ]
        .map(Scope::slot);
        let distinct: std::collections::BTreeSet<_> = slots.iter().collect();
        assert_eq!(distinct.len(), slots.len());
    }

    #[test]
    fn a_slot_means_the_same_in_every_sidecar() {
        // These stand in Redis: another number here is another version of the second tier.
        assert_eq!(Scope::World.slot(), Slot(0));
        assert_eq!(
            Scope::Points("memories").slot(),
            Scope::Points("memories").slot()
        );
    }
}
