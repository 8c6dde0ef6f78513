//! The query parameters that Outrigger acts on: `wait`, `ordering`, `timeout`, `consistency`.
//!
//! Which of them an operation has, and what a bad value is answered with, follows Qdrant: unknown
//! parameters are ignored, a known one that comes twice is refused, and the first fault in the
//! order of the query is the one that is reported. Nothing is read unless somebody asks.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use url::form_urlencoded;

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Class, Operation};

const TIMEOUT_SECONDS_MAX: u64 = 100 * 365 * 24 * 60 * 60;

/// What the query string asks of an operation. A parameter that the operation does not have keeps
/// its default, whatever the query says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Params {
    /// The client wants its answer once the work is done. By default snapshots are waited for and
    /// points are not.
    pub wait: bool,
    pub ordering: WriteOrdering,
    /// At most a hundred years, whatever the client wrote, so that it can be added to an instant.
    pub timeout: Option<Duration>,
    pub consistency: Option<ReadConsistency>,
}

/// How the replicas of a point are kept in step by a write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WriteOrdering {
    #[default]
    Weak,
    Medium,
    Strong,
}

/// How many replicas a read asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadConsistency {
    /// At least 1.
    Factor(usize),
    Majority,
    Quorum,
    All,
}

impl Params {
    /// Reads the query string of a request for `operation`.
    ///
    /// The text of an error is what Qdrant answers. It begins with `Validation error` if the
    /// status is to be 422 (see [`super::envelope::is_validation_error`]), else the status is 400.
    pub fn read(operation: Operation, query: Option<&str>) -> Result<Self> {
        let known = Known::of(operation);
        let mut params = Self {
            wait: known.wait == Some(true),
            ..Self::default()
        };
        let mut seen = Seen::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "wait" if known.wait.is_some() => {
                    seen.once("wait", |seen| &mut seen.wait)?;
                    params.wait = parse(&value)?;
                }
                "ordering" if known.ordering => {
                    seen.once("ordering", |seen| &mut seen.ordering)?;
                    params.ordering = WriteOrdering::parse(&value)?;
                }
                "timeout" if known.timeout != Timeout::None => {
                    seen.once("timeout", |seen| &mut seen.timeout)?;
                    let seconds = known.timeout.parse(&value)?.min(TIMEOUT_SECONDS_MAX);
                    params.timeout = Some(Duration::from_secs(seconds));
                }
                "consistency" if known.consistency => {
                    seen.once("consistency", |seen| &mut seen.consistency)?;
                    params.consistency = ReadConsistency::parse(value)?;
                }
                _ => {}
            }
        }
        if known.timeout == Timeout::AtLeastOne && params.timeout == Some(Duration::ZERO) {
            return Err(refused(
                "Validation error in query parameters: \
                 [timeout: value 0 invalid, must be 1 or larger]",
            ));
        }
        Ok(params)
    }
}

impl WriteOrdering {
    fn parse(value: &str) -> Result<Self> {
        match value {
            "weak" => Ok(Self::Weak),
            "medium" => Ok(Self::Medium),
            "strong" => Ok(Self::Strong),
            _ => Err(unreadable(format_args!(
                "unknown variant `{value}`, expected one of `weak`, `medium`, `strong`"
            ))),
        }
    }
}

impl ReadConsistency {
    /// An empty value is none at all.
    fn parse(value: Cow<'_, str>) -> Result<Option<Self>> {
        match &*value {
            "" => return Ok(None),
            "majority" => return Ok(Some(Self::Majority)),
            "quorum" => return Ok(Some(Self::Quorum)),
            "all" => return Ok(Some(Self::All)),
            _ => {}
        }
        if let Ok(factor @ 1..) = value.parse() {
            return Ok(Some(Self::Factor(factor)));
        }
        // Qdrant can only quote a value that it did not have to decode.
        Err(match value {
            Cow::Borrowed(plain) => unreadable(format_args!(
                "failed to deserialize read consistency query parameter value '{plain}'"
            )),
            Cow::Owned(_) => unreadable("data did not match any variant of untagged enum Helper"),
        })
    }
}

/// Which parameters an operation has, and in which form.
struct Known {
    /// Whether there is one, and its default.
    wait: Option<bool>,
    ordering: bool,
    timeout: Timeout,
    consistency: bool,
}

/// Qdrant reads whole seconds in three ways, which differ in what they say to 0 and to -1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Timeout {
    None,
    /// Reads: 0 is no number that they know.
    Nonzero,
    /// Writes: 0 is fine.
    Any,
    /// Changes of collections: 0 is a number, but breaks a rule.
    AtLeastOne,
}

impl Known {
    const NOTHING: Self = Self {
        wait: None,
        ordering: false,
        timeout: Timeout::None,
        consistency: false,
    };
    const READ: Self = Self {
        timeout: Timeout::Nonzero,
        consistency: true,
        ..Self::NOTHING
    };
    const UPDATE: Self = Self {
        wait: Some(false),
        ordering: true,
        timeout: Timeout::Any,
        ..Self::NOTHING
    };
    const META: Self = Self {
        timeout: Timeout::AtLeastOne,
        ..Self::NOTHING
    };
    const WAITED_FOR: Self = Self {
        wait: Some(true),
        ..Self::NOTHING
    };

    fn of(operation: Operation) -> Self {
        match operation.class() {
            Class::PointRead | Class::SearchRead | Class::SampleRead => Self::READ,
            Class::PointWrite | Class::IndexWrite => Self::UPDATE,
            Class::CollectionWrite => Self::of_collection_write(operation),
            Class::AliasWrite => Self::META,
            Class::SnapshotWrite => Self::WAITED_FOR,
            Class::ClusterRead => Self::of_cluster_read(operation),
            Class::ClusterWrite => Self::of_cluster_write(operation),
            Class::ServiceRead => Self::of_service_read(operation),
            Class::CollectionRead
            | Class::AliasRead
            | Class::SnapshotRead
            | Class::ServiceWrite
            | Class::Embedding
            | Class::Unknown => Self::NOTHING,
        }
    }

    fn of_collection_write(operation: Operation) -> Self {
        if matches!(
            operation,
            Operation::CreateVectorName | Operation::DeleteVectorName
        ) {
            return Self::UPDATE;
        }
        Self::META
    }

    fn of_cluster_read(operation: Operation) -> Self {
        let points = matches!(
            operation,
            Operation::GetShardPoints | Operation::ScrollShardPoints | Operation::CountShardPoints
        );
        if points {
            return Self::READ;
        }
        if operation == Operation::GetClusterTelemetry {
            Self::META
        } else {
            Self::NOTHING
        }
    }

    fn of_cluster_write(operation: Operation) -> Self {
        let metadata = matches!(
            operation,
            Operation::UpdateClusterMetadata | Operation::DeleteClusterMetadata
        );
        if metadata {
            return Self {
                wait: Some(false),
                ..Self::NOTHING
            };
        }
        if operation == Operation::CleanupShard {
            return Self {
                wait: Some(false),
                timeout: Timeout::Nonzero,
                ..Self::NOTHING
            };
        }
        if operation == Operation::TruncateUnappliedWal {
            return Self::WAITED_FOR;
        }
        if operation == Operation::RecoverPeer {
            Self::NOTHING
        } else {
            Self::META
        }
    }

    fn of_service_read(operation: Operation) -> Self {
        let timed = matches!(
            operation,
            Operation::Metrics | Operation::Telemetry | Operation::GetAuditLogs
        );
        if timed { Self::META } else { Self::NOTHING }
    }
}

impl Timeout {
    fn parse(self, value: &str) -> Result<u64> {
        match self {
            Self::None | Self::AtLeastOne => parse(value),
            Self::Nonzero => match parse(value)? {
                0 => Err(unreadable(
                    "invalid value: integer `0`, expected a nonzero u64",
                )),
                seconds => Ok(seconds),
            },
            Self::Any => u64::try_from(parse::<i64>(value)?)
                .map_err(|_negative| unreadable("std::time::Duration cannot be negative")),
        }
    }
}

/// Which parameters have come by.
#[derive(Default)]
struct Seen {
    wait: bool,
    ordering: bool,
    timeout: bool,
    consistency: bool,
}

impl Seen {
    fn once(&mut self, name: &str, flag: impl Fn(&mut Self) -> &mut bool) -> Result<()> {
        if std::mem::replace(flag(self), true) {
            return Err(unreadable(format_args!("duplicate field `{name}`")));
        }
        Ok(())
    }
}

/// The standard library words its refusals as Qdrant does: they are the same refusals.
fn parse<T: FromStr<Err: Display>>(value: &str) -> Result<T> {
    value.parse().map_err(|error: T::Err| unreadable(error))
}

fn unreadable(reason: impl Display) -> Error {
    refused(format!("Deserialize error in query parameters: {reason}"))
}

fn refused(text: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text)
}

#[cfg(test)]
mod tests;
