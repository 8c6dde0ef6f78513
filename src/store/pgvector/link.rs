//! What PostgreSQL says when it says no, in the words of this package.
//!
//! Two things are decided here once: what a failure is to a client, and whether the work may have
//! been done. A statement that PostgreSQL itself refuses has done nothing, for its transaction is
//! undone. A connection that is lost before the answer to the commit says nothing about the
//! outcome.
//!
//! Values stay out: PostgreSQL quotes them in some of its messages, so of those only the code is
//! passed on.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio::time::timeout;
use tokio_postgres::Error as PgError;
use tokio_postgres::error::{DbError, SqlState};

use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::wire::rest::refuse;

/// Raised by `qd.gate` where the catalogue that a write was made by is not the present one.
const MOVED: &str = "QD001";
const NOT_IN_TIME: &str = "PostgreSQL did not answer in time";

/// A failed call.
#[derive(Debug)]
pub(super) struct Fault {
    error: Error,
    code: Option<SqlState>,
    is_lost: bool,
    is_silent: bool,
}

impl Fault {
    /// Of a call that changes nothing, or whose transaction cannot have been committed.
    pub(super) fn undone(doing: &'static str, error: PgError) -> Self {
        Self::of(doing, error, Retry::Safe, Retry::Safe)
    }

    /// Of a call that may have been carried out.
    pub(super) fn unknown(doing: &'static str, error: PgError) -> Self {
        Self::of(doing, error, Retry::OutcomeUnknown, Retry::OutcomeUnknown)
    }

    /// Of a statement whose commit is on its way behind it. A server that takes its leave here
    /// never sees that commit; a connection that ends may have lost no more than the answer to it.
    pub(super) fn before_commit(doing: &'static str, error: PgError) -> Self {
        Self::of(doing, error, Retry::OutcomeUnknown, Retry::Safe)
    }

    /// `lost` is said of a connection that ended, whoever said so; `farewell` of one that the
    /// server ended itself instead of an answer.
    fn of(doing: &'static str, error: PgError, lost: Retry, farewell: Retry) -> Self {
        let Some(words) = error.as_db_error() else {
            let is_lost = error.is_closed() || is_io(&error);
            return Self {
                is_lost,
                error: if is_lost {
                    unavailable(doing, lost).with_source(error)
                } else {
                    nonsense(doing).with_source(error)
                },
                code: None,
                is_silent: false,
            };
        };
        let ended = if is_farewell(words.code()) {
            Some(farewell)
        } else {
            // A pooler in between says so when it has lost the server.
            (class(words.code()) == "08").then_some(lost)
        };
        Self {
            code: Some(words.code().clone()),
            error: match ended {
                Some(retry) => unavailable(doing, retry).with_source(said(words)),
                None => refused(doing, words),
            },
            is_lost: ended.is_some(),
            is_silent: false,
        }
    }

    /// Nothing has come within the time in which PostgreSQL would have said that it took too long.
    pub(super) fn silent(retry: Retry) -> Self {
        Self {
            is_silent: true,
            ..Error::new(ErrorKind::Timeout, Origin::Pgvector, retry, NOT_IN_TIME).into()
        }
    }

    /// The catalogue has been found to be older than the tables.
    pub(super) fn stale(doing: &'static str) -> Self {
        Self {
            error: Error::new(ErrorKind::Busy, Origin::Pgvector, Retry::Safe, doing),
            code: Some(SqlState::from_code(MOVED)),
            is_lost: false,
            is_silent: false,
        }
    }

    /// The catalogue, or a prepared statement, is older than the tables.
    pub(super) fn is_stale(&self) -> bool {
        self.code.as_ref().is_some_and(|code| {
            code.code() == MOVED
                || *code == SqlState::UNDEFINED_TABLE
                || *code == SqlState::UNDEFINED_COLUMN
                || *code == SqlState::FEATURE_NOT_SUPPORTED
                || *code == SqlState::INVALID_SQL_STATEMENT_NAME
        })
    }

    /// The catalogue has been found to be older than the tables by whoever has the present one.
    pub(super) fn is_moved(&self) -> bool {
        self.code.as_ref().is_some_and(|code| code.code() == MOVED)
    }

    /// Somebody else was in the way, and the transaction is undone.
    pub(super) fn is_contention(&self) -> bool {
        self.code.as_ref().is_some_and(|code| {
            *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE
        })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether an answer may still be on its way: the connection is not for others.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    pub(super) fn has_code(&self, code: &SqlState) -> bool {
        self.code.as_ref() == Some(code)
    }

    /// Whether it was said before PostgreSQL had anything to say.
    pub(super) fn is_refusal(&self) -> bool {
        self.code.is_none() && self.error.kind() == ErrorKind::BadInput
    }

    pub(super) fn into_error(self) -> Error {
        self.error
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self {
            error,
            code: None,
            is_lost: false,
            is_silent: false,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.into_error()
    }
}

/// PostgreSQL's own words, without what they may quote.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

fn said(error: &DbError) -> Said {
    let code = error.code().code();
    // Data exceptions quote the data.
    Said(if code.starts_with("22") || code.starts_with("23") {
        format!("PostgreSQL refuses a value ({code})")
    } else {
        format!("{} ({code})", error.message())
    })
}

fn refused(doing: &'static str, error: &DbError) -> Error {
    let code = error.code();
    let own = |kind, retry| Error::new(kind, Origin::Pgvector, retry, doing);
    let made = match class(code) {
        _ if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(code) => Error::new(
            ErrorKind::Timeout,
            Origin::Pgvector,
            Retry::Safe,
            NOT_IN_TIME,
        ),
        // Whoever may be answered by a newer catalogue was. Nothing is made anew here: an empty
        // catalogue would tell clients that their collections never were.
        // One that is adopted may go while the others stay.
        _ if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code)
            && error.message().contains("\"qd") =>
        {
            let text = "a table of Outrigger is not in the database any more; restore it from a \
                        backup, or, if all of them are gone, start Outrigger again";
            Error::new(ErrorKind::Unavailable, Origin::Pgvector, Retry::Safe, text)
        }
        _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => own(ErrorKind::Internal, Retry::Never),
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            own(ErrorKind::Unavailable, Retry::Safe)
        }
        "28" | "3D" | "53" | "57" | "58" => own(ErrorKind::Unavailable, Retry::Safe),
        "40" => own(ErrorKind::Busy, Retry::Safe),
        // Others change the collection all the time.
        _ if code.code() == MOVED => own(ErrorKind::Busy, Retry::Safe),
        "22" => refuse::wrong_input("a value of the request cannot be stored or compared"),
        "54" => refuse::wrong_input("the request goes deeper, or is longer, than PostgreSQL takes"),
        _ => own(ErrorKind::Internal, Retry::Never),
    };
    made.with_source(said(error))
}

fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
}

/// The server ends the connection with these.
fn is_farewell(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::IDLE_SESSION_TIMEOUT,
    ]
    .contains(code)
}

fn is_io(error: &PgError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What comes within `patience`.
pub(super) async fn within<T>(
    patience: Duration,
    retry: Retry,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match timeout(patience, answer).await {
        Ok(answered) => answered,
        Err(_elapsed) => Err(Fault::silent(retry)),
    }
}

pub(super) fn unavailable(doing: &'static str, retry: Retry) -> Error {
    Error::new(ErrorKind::Unavailable, Origin::Pgvector, retry, doing)
}

/// Something in the database is not what we put there.
pub(super) fn nonsense(doing: &'static str) -> Error {
    Error::new(ErrorKind::Nonsense, Origin::Pgvector, Retry::Never, doing)
}

pub(super) fn all_in_use() -> Error {
    let text = "all connections to PostgreSQL are in use (pool_size)";
    Error::new(ErrorKind::Busy, Origin::Pgvector, Retry::Safe, text)
}

/// No connection could be had.
pub(super) fn no_connection(error: PoolError) -> Fault {
    const DOING: &str = "connect to PostgreSQL";
    match error {
        PoolError::Backend(error) => {
            let mut fault = Fault::undone(DOING, error);
            // Whatever it was, nothing was asked yet.
            if fault.code.is_none() && !fault.is_lost {
                fault.error = unavailable(DOING, Retry::Safe).with_source(fault.error);
            }
            fault
        }
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => all_in_use().into(),
        other @ (PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_)) => {
            unavailable(DOING, Retry::Safe).with_source(other).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pgvector::pool::{Step, Values};
    use crate::store::pgvector::scratch::Scratch;

    /// `at_once` fails in the statement, the others in the commit.
    const TABLES: &str = "
        create function say() returns trigger language plpgsql as $$ begin
          if tg_argv[0] = 'leave' then
            perform pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
          end if;
          raise exception 'so it was told' using errcode = tg_argv[0];
        end $$;
        create table at_once (n int);
        create trigger t after insert on at_once for each row execute function say('leave');
        create table leaves (n int);
        create constraint trigger t after insert on leaves deferrable initially deferred
          for each row execute function say('leave');
        create table pooler (n int);
        create constraint trigger t after insert on pooler deferrable initially deferred
          for each row execute function say('08P01');
        create table refuses (n int);
        create constraint trigger t after insert on refuses deferrable initially deferred
          for each row execute function say('40001');";

    #[tokio::test]
    async fn a_commit_that_was_not_answered_may_have_been_done_whoever_says_that_it_was_not() {
        let scratch = Scratch::make().await;
        scratch.client().await.batch_execute(TABLES).await.unwrap();
        for (table, retry, is_lost) in [
            ("at_once", Retry::Safe, true),
            ("leaves", Retry::OutcomeUnknown, true),
            ("pooler", Retry::OutcomeUnknown, true),
            ("refuses", Retry::Safe, false),
        ] {
            // A pool of its own: nobody meets a connection that another has just lost.
            let store = scratch.store();
            let sql = format!("insert into public.{table} values (1)");
            let steps = [Step::new(sql, Values::default())];
            let fault = store.shared.pool.write("try", &steps).await.unwrap_err();
            assert_eq!(fault.is_lost(), is_lost, "{table}: {fault:?}");
            assert_eq!(fault.into_error().retry(), retry, "{table}");
        }
    }
}
