//! The one error of the package.
//!
//! An error says what to do about it (`ErrorKind`), whose fault it is (`Origin`) and whether the
//! work may be repeated (`Retry`). `doing` is a verb and an object, causes are attached as sources,
//! so that `chain()` reads as one sentence. No payload, vector, key or other secret goes in here:
//! parts of this text reach clients and logs.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller has to do about it. `proxy::respond` turns each into a status code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The request cannot be served as it stands; the text says why.
    BadInput,
    /// No credential, or a wrong one.
    Unauthorized,
    /// The credential is known and does not reach this far.
    Forbidden,
    /// The thing named is not there.
    NotFound,
    /// The thing to be made is there already.
    Conflict,
    /// The collection's own limit on requests is reached.
    RateLimited,
    /// More work is in flight than the limits allow. Try again soon.
    Busy,
    /// The party we depend on cannot be reached, or refuses to talk.
    Unavailable,
    /// The party we depend on answered with something that is no answer.
    Nonsense,
    /// The deadline passed.
    Timeout,
    /// The request came back to the sidecar that sent it.
    Loop,
    /// The feature is not served here; the text names it.
    Unsupported,
    /// Wrong settings or wrong usage.
    Settings,
    /// A bug of ours.
    Internal,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    Client,
    Proxy,
    Qdrant,
    Pgvector,
    Embedded,
}

/// Whether doing it again is safe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Nothing has happened, or happening twice does no harm.
    Safe,
    /// It may have happened: a lost reply is not a failure.
    OutcomeUnknown,
    /// It will fail again.
    Never,
}

type Source = Box<dyn StdError + Send + Sync>;

pub struct Error {
    kind: ErrorKind,
    origin: Origin,
    retry: Retry,
    doing: Cow<'static, str>,
    source: Option<Source>,
    retry_after: Option<Duration>,
}

impl Error {
    pub fn new(
        kind: ErrorKind,
        origin: Origin,
        retry: Retry,
        doing: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            origin,
            retry,
            doing: doing.into(),
            source: None,
            retry_after: None,
        }
    }

    /// A wrong setting or a wrong use of the command line: ends the start with exit code 2.
    pub fn settings(doing: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Settings, Origin::Proxy, Retry::Never, doing)
    }

    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn origin(&self) -> Origin {
        self.origin
    }

    pub fn retry(&self) -> Retry {
        self.retry
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The whole story in one line: `doing`, then each cause after a colon. A cause that only
    /// repeats the one above it is left out.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} ({:?}, {:?}): {}",
            self.kind,
            self.origin,
            self.retry,
            self.chain()
        )
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_reads_as_one_sentence_and_says_nothing_twice() {
        let cause = std::io::Error::other("connection refused");
        let inner = Error::new(
            ErrorKind::Unavailable,
            Origin::Qdrant,
            Retry::Safe,
            "connect",
        )
        .with_source(cause);
        let outer = Error::new(
            ErrorKind::Unavailable,
            Origin::Qdrant,
            Retry::Safe,
            "ask qdrant",
        )
        .with_source(inner);
        assert_eq!(outer.chain(), "ask qdrant: connect: connection refused");
    }
}
