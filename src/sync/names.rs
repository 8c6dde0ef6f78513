//! The collection that a name in a request means.
//!
//! A mark has to be made under the name of the collection itself: an alias may lead elsewhere by
//! the time it is worked off. So the write is sent under that name too, and what is changed is what
//! is marked. An alias is looked up at the authority for every write that uses one; that a name is
//! none is believed for a moment.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::peer::Peer;
use super::schema;
use crate::error::Result;

const BELIEVED: Duration = Duration::from_secs(1);
const NAMES_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct RealNames {
    /// Names that were no aliases, and when.
    plain: Mutex<HashMap<Box<str>, Instant>>,
}

impl RealNames {
    /// Cancel safety: safe, it only reads.
    pub(super) async fn of(&self, authority: &Peer, name: &str) -> Result<Box<str>> {
        let now = Instant::now();
        let known = self.plain.lock().get(name).copied();
        if known.is_some_and(|at| now - at < BELIEVED) {
            return Ok(name.into());
        }
        let aliases = schema::alias_map(authority).await?;
        if let Some(real) = aliases.get(name) {
            return Ok(real.as_str().into());
        }
        let mut plain = self.plain.lock();
        if plain.len() >= NAMES_MAX {
            plain.clear();
        }
        plain.insert(name.into(), now);
        Ok(name.into())
    }

    /// An alias may have been made, here.
    pub(super) fn doubt(&self) {
        self.plain.lock().clear();
    }
}
