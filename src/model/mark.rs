//! What may differ between the two stores, as it is told from one part to another.
//!
//! A mark says that something may differ, never what it should be: that is read at the authority
//! when the mark is worked off. So marks may be made twice, in any order, and too many.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// A point's id. Numbers come before UUIDs, as in Qdrant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PointKey {
    Number(u64),
    Uuid(u128),
}

impl fmt::Display for PointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Uuid(uuid) => uuid::Uuid::from_u128(*uuid).fmt(f),
        }
    }
}

/// What of a collection may differ.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Subject {
    Point(PointKey),
    /// Whether it is there, what it is made of, its payload indexes, and the aliases of the store.
    Schema,
    /// It was deleted, and may have been made again since: what the follower has under the name is
    /// of another life.
    Dropped,
}

impl Subject {
    /// Marks before a barrier are worked off before it, and those after it after.
    pub fn is_barrier(self) -> bool {
        match self {
            Self::Point(_) => false,
            Self::Schema | Self::Dropped => true,
        }
    }
}

/// One mark as it stands in a ledger. The token is another whenever it is made anew: a mark is
/// cleared by its token, so one that was made anew meanwhile stays.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Mark {
    pub token: u64,
    pub subject: Subject,
}

/// What is marked of some points of a collection, and whether the collection is itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Marked {
    pub points: HashSet<PointKey>,
    pub is_barrier: bool,
}

/// Marks of one collection to be worked off together: points only, or one barrier alone.
#[derive(Clone, Debug)]
pub struct Batch {
    pub collection: Box<str>,
    pub marks: Vec<Mark>,
    /// How long ago the oldest of them was made.
    pub age: Duration,
}

/// How much is waiting.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    pub marks: u64,
    /// How long ago the oldest was made.
    pub age: Option<Duration>,
}

/// A point that the follower refuses for good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    pub collection: Box<str>,
    pub id: PointKey,
    /// What the follower said.
    pub reason: Box<str>,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_qdrant_writes_them() {
        let uuid = PointKey::Uuid(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
        assert_eq!(PointKey::Number(7).to_string(), "7");
        assert_eq!(uuid.to_string(), "550e8400-e29b-41d4-a716-446655440000");
        assert!(PointKey::Number(u64::MAX) < PointKey::Uuid(0));
    }
}
