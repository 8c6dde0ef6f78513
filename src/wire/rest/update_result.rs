//! What a write of points, an index or a vector name is answered with.

use serde::Serialize;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct UpdateResult {
    /// Not known of a write that did not come to a good end while somebody waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<u64>,
    pub status: UpdateStatus,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStatus {
    /// Taken; the client did not ask to wait.
    Acknowledged,
    /// Done.
    Completed,
    /// The client's time was over first; it will be done.
    WaitTimeout,
}

impl UpdateResult {
    pub fn new(operation_id: u64, wait: bool) -> Self {
        let status = if wait {
            UpdateStatus::Completed
        } else {
            UpdateStatus::Acknowledged
        };
        Self {
            operation_id: Some(operation_id),
            status,
        }
    }

    /// The write is taken, and no more is known.
    pub fn taken(wait: bool) -> Self {
        let status = if wait {
            UpdateStatus::WaitTimeout
        } else {
            UpdateStatus::Acknowledged
        };
        Self {
            operation_id: None,
            status,
        }
    }
}
