//! The engine's errors and panics in Qdrant's words.

use std::panic::{AssertUnwindSafe, catch_unwind};

use qdrant_edge::OperationError;

use crate::error::{Error, Result};
use crate::wire::rest::refuse;

const TEXT_CHARS_MAX: usize = 500;

/// What went wrong inside the engine.
pub(super) enum Fault {
    /// The engine says no, and nothing is broken.
    Refused(OperationError),
    /// The disk, the data, or a bug: what the call has done is not known.
    Broken(String),
    /// It panicked: what it holds in memory is half done as well.
    Panicked(String),
}

impl Fault {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => refused(error),
            Self::Broken(text) | Self::Panicked(text) => refuse::service_error(&text),
        }
    }
}

/// Runs a call of the engine's. A panic in there costs this call, never the process.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, OperationError>) -> Result<T, Fault> {
    // What a panic leaves half done is put right by reopening the shard from its log, so nothing
    // that was unwound through is looked at again. The engine's locks do not poison.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_broken(&error) => Err(Fault::Broken(description(&error))),
        Ok(Err(error)) => Err(Fault::Refused(error)),
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no word why".to_owned());
            // The engine likes to panic with a whole backtrace in its words.
            let said = said.split(", backtrace:").next().unwrap_or_default();
            let said: String = said.chars().take(TEXT_CHARS_MAX).collect();
            Err(Fault::Panicked(format!(
                "the engine stopped in the middle of the call: {said}"
            )))
        }
    }
}

/// A read: its faults break nothing.
pub(super) fn read<T>(call: impl FnOnce() -> Result<T, OperationError>) -> Result<T> {
    guarded(call).map_err(Fault::into_error)
}

fn is_broken(error: &OperationError) -> bool {
    matches!(
        error,
        OperationError::ServiceError { .. }
            | OperationError::InconsistentStorage { .. }
            | OperationError::OutOfMemory { .. }
            | OperationError::Cancelled { .. }
    )
}

/// Without the backtrace that a service error carries.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enum; the rest are worded alike"
)]
fn description(error: &OperationError) -> String {
    match error {
        OperationError::ServiceError { description, .. } => description.clone(),
        other => other.to_string(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enum; the rest are worded alike"
)]
pub(super) fn refused(error: OperationError) -> Error {
    match error {
        OperationError::PointIdError { missed_point_id } => {
            refuse::not_found(&format!("No point with id {missed_point_id} found"))
        }
        OperationError::WrongSparse => {
            refuse::wrong_input("Conversion between sparse and regular vectors failed")
        }
        OperationError::WrongMulti => {
            refuse::wrong_input("Conversion between multi and regular vectors failed")
        }
        OperationError::Timeout { description } => refuse::timed_out(&description),
        OperationError::ServiceError { .. }
        | OperationError::InconsistentStorage { .. }
        | OperationError::OutOfMemory { .. }
        | OperationError::Cancelled { .. } => refuse::service_error(&description(&error)),
        other => refuse::wrong_input(&other.to_string()),
    }
}
