//! What kinds of stores there are, and the two roles a store can take.

use std::fmt;

use crate::error::Origin;

/// A place where points live.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StoreKind {
    /// Any Qdrant server or cluster.
    Qdrant,
    /// PostgreSQL with the pgvector extension.
    Pgvector,
    /// Qdrant's own engine inside this process.
    Embedded,
}

impl StoreKind {
    pub const ALL: [Self; 3] = [Self::Qdrant, Self::Pgvector, Self::Embedded];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qdrant => "qdrant",
            Self::Pgvector => "pgvector",
            Self::Embedded => "embedded",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Whose fault it is when such a store fails.
impl From<StoreKind> for Origin {
    fn from(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Qdrant => Self::Qdrant,
            StoreKind::Pgvector => Self::Pgvector,
            StoreKind::Embedded => Self::Embedded,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    Primary,
    Secondary,
}

impl Role {
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
