//! The names of our keys and channels in Redis. They are built here and nowhere else.
//!
//! Tokens and the channel are the same for everybody with one prefix: to hear too much only drops
//! an answer too many. Entries are apart for every store and every run of Redis.

use crate::cache::key::SharedKey;
use crate::cache::scope::Slot;

/// Of what stands in Redis. Another one here and nothing of an older sidecar is read.
const VERSION: u32 = 1;

pub(super) struct Keys {
    prefix: String,
}

/// Where entries are: which store they are of, in which run of Redis they were written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn of(store: &[u8], run: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("outrigger cache place 1");
        hasher.update(&(store.len() as u64).to_le_bytes());
        hasher.update(store);
        hasher.update(run.as_bytes());
        let mut short = [0; 8];
        hasher.finalize_xof().fill(&mut short);
        Self(format!("{:016x}", u64::from_le_bytes(short)))
    }
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix }
    }

    pub(super) fn entry(&self, place: &Place, key: SharedKey) -> String {
        format!("{}e:{VERSION}:{}:{:032x}", self.prefix, place.0, key.0)
    }

    pub(super) fn token(&self, slot: Slot) -> String {
        format!("{}g:{VERSION}:{}", self.prefix, slot.number())
    }

    pub(super) fn channel(&self) -> String {
        format!("{}c:{VERSION}", self.prefix)
    }

    /// The channel on which a sidecar hears itself.
    pub(super) fn own_channel(&self, instance: u64) -> String {
        format!("{}b:{VERSION}:{instance:016x}", self.prefix)
    }

    /// The channel on which the sidecars of one pair of stores say that they are there.
    pub(super) fn company(&self, store: &[u8]) -> String {
        format!("{}s:{VERSION}:{}", self.prefix, Place::of(store, "").0)
    }

    /// Written to see whether writing works.
    pub(super) fn probe(&self, instance: u64) -> String {
        format!("{}p:{VERSION}:{instance:016x}", self.prefix)
    }
}
