//! What points, places and marks are told apart by.

use crate::model::PointKey;

/// `PointKey` in 24 bytes instead of 32.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Id {
    is_uuid: bool,
    high: u64,
    low: u64,
}

impl From<PointKey> for Id {
    fn from(key: PointKey) -> Self {
        match key {
            PointKey::Number(low) => Self {
                is_uuid: false,
                high: 0,
                low,
            },
            PointKey::Uuid(uuid) => {
                let bytes = uuid.to_be_bytes();
                let (high, low) = bytes.split_at(8);
                let half =
                    |half: &[u8]| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                Self {
                    is_uuid: true,
                    high: half(high),
                    low: half(low),
                }
            }
        }
    }
}

impl From<Id> for PointKey {
    fn from(id: Id) -> Self {
        if id.is_uuid {
            Self::Uuid(u128::from(id.high) << 64 | u128::from(id.low))
        } else {
            Self::Number(id.low)
        }
    }
}

/// Where numbers come from. Never drawn twice, not even by the process after this one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draw {
    pub(super) place: u64,
    pub(super) token: u64,
}

impl Draw {
    pub(super) fn place(&mut self) -> u64 {
        self.place += 1;
        self.place
    }

    pub(super) fn token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }
}
