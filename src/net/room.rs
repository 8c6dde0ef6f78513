//! The memory that bodies may take, over all requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::BodyError;

/// Room is taken in steps, so that a body in small pieces does not ask at every one.
const STEP_KIB: u64 = 512;

/// What all bodies together may take. Clones share it.
#[derive(Clone)]
pub struct Memory {
    kib: Arc<Semaphore>,
}

impl Memory {
    pub fn new(bytes: u64) -> Self {
        let kib = usize::try_from(bytes.div_ceil(1024)).unwrap_or(usize::MAX);
        Self {
            kib: Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Room for one body. The first `free` bytes are not counted.
    pub fn room(&self, free: u64) -> Room {
        Room {
            memory: self.clone(),
            free,
            held: None,
        }
    }
}

/// What one body has taken; given back when dropped.
pub struct Room {
    memory: Memory,
    free: u64,
    held: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn give_back(&mut self) {
        self.held = None;
    }

    /// Sees to it that a body of `bytes` fits, waiting at most `within` for others to go.
    pub(super) async fn grow_to(&mut self, bytes: u64, within: Duration) -> Result<(), BodyError> {
        if bytes <= self.free {
            return Ok(());
        }
        let held = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = bytes.div_ceil(1024).next_multiple_of(STEP_KIB);
        let missing = wanted.saturating_sub(held as u64);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_too_large| BodyError::NoRoom)?;
        let more = Arc::clone(&self.memory.kib).acquire_many_owned(missing);
        let Ok(Ok(more)) = tokio::time::timeout(within, more).await else {
            return Err(BodyError::NoRoom);
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_is_bounded_and_comes_back() {
        let memory = Memory::new(2 * 1024 * 1024);
        let within = Duration::from_secs(1);
        let mut first = memory.room(1024);
        assert!(first.grow_to(1024, within).await.is_ok());
        assert!(first.held.is_none(), "small bodies take none");
        assert!(first.grow_to(1_500_000, within).await.is_ok());
        let mut second = memory.room(0);
        let refused = second.grow_to(1_000_000, within).await;
        assert!(matches!(refused, Err(BodyError::NoRoom)));
        drop(first);
        assert!(second.grow_to(1_000_000, within).await.is_ok());
    }
}
