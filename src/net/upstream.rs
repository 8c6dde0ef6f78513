//! The client towards one upstream: pooled connections over HTTP/1.1 or HTTP/2, plain or TLS.
//!
//! It sends a request once and says plainly what came of it: `Failed` tells whether anything was
//! sent and who is to blame. It never repeats a request that an upstream may have begun to serve;
//! only a pooled connection found closed before the first byte went out is replaced.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::{Request, Response};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::{Body, BodyError};
use super::connector::Connector;
use super::paced::Streamed;
use super::pool::{Pool, PoolError};
use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::metrics::Gauge;
use crate::task::{Group, Stop};

const HTTP2_PING_EVERY: Duration = Duration::from_secs(10);
const HTTP2_PING_WITHIN: Duration = Duration::from_secs(5);

pub struct UpstreamSettings {
    pub connect_timeout: Duration,
    /// How long a connection may wait in the pool. Shorter than the upstream's own limit, or
    /// requests meet connections that are just being closed.
    pub idle_timeout: Duration,
    pub idle_connections_max: usize,
    /// HTTP/2: without asking first for plain text, negotiated with TLS.
    pub http2: bool,
    /// Whether the upstream is reached over TLS.
    pub secure: bool,
    pub tls: rustls::ClientConfig,
}

/// Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Upstream {
    client: Client,
}

#[derive(Clone)]
enum Client {
    Http1(Pool),
    /// Many requests share one connection, so it needs a task of its own; hyper-util has that.
    Http2(Box<legacy::Client<Connector, Body>>),
}

impl Upstream {
    /// `open` counts the connections that are open; `tasks` own what closes them when unused.
    pub fn new(settings: &UpstreamSettings, open: Gauge, tasks: &Group, stop: Stop) -> Self {
        let connector = Connector::new(settings, open);
        let (timeout, most) = (settings.idle_timeout, settings.idle_connections_max);
        if !settings.http2 {
            let pool = Pool::new(connector, timeout, most, tasks, stop);
            return Self {
                client: Client::Http1(pool),
            };
        }
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(timeout)
            .pool_max_idle_per_host(most)
            // Over TLS the handshake decides, and an upstream without HTTP/2 is served too.
            .http2_only(!settings.secure)
            .http2_adaptive_window(true)
            // A connection that leads nowhere is found out without waiting for a deadline.
            .http2_keep_alive_interval(Some(HTTP2_PING_EVERY))
            .http2_keep_alive_timeout(HTTP2_PING_WITHIN)
            .build(connector);
        Self {
            client: Client::Http2(Box::new(client)),
        }
    }

    /// Returns once the head of the answer is there. The caller bounds the wait.
    ///
    /// Cancel safety: dropping the future ends the call; the upstream may have acted.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Streamed>, Failed> {
        match &self.client {
            Client::Http1(pool) => {
                let answer = pool.send(request).await;
                answer
                    .map(|answer| answer.map(Streamed::from))
                    .map_err(Failed::of_pool)
            }
            Client::Http2(client) => {
                let answer = client.request(request).await;
                answer
                    .map(|answer| answer.map(Streamed::from))
                    .map_err(Failed::of_client)
            }
        }
    }
}

/// Why no answer came.
#[derive(Debug)]
pub struct Failed {
    pub reason: Reason,
    /// The innermost cause: the layers above it only repeat that sending did not work.
    cause: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// No connection: nothing was sent.
    Connect,
    /// No connection in time: nothing was sent.
    ConnectTimeout,
    /// The connection broke before the head of an answer.
    Reset,
    /// What came back is not HTTP.
    Nonsense,
    /// The request's own body broke: the client's doing.
    ClientBody,
    /// The request's own body stalled: the client's doing.
    ClientStalled,
}

impl Failed {
    fn of_pool(error: PoolError) -> Self {
        match error {
            PoolError::Connect(error) => Self::to_connect(error.as_ref()),
            PoolError::Http(error) => Self::after_connect(&error),
        }
    }

    fn of_client(error: legacy::Error) -> Self {
        if error.is_connect() {
            Self::to_connect(&error)
        } else {
            Self::after_connect(&error)
        }
    }

    fn to_connect(error: &(dyn StdError + 'static)) -> Self {
        let timed_out = chain(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
        let reason = if timed_out {
            Reason::ConnectTimeout
        } else {
            Reason::Connect
        };
        let cause = root(error);
        Self { reason, cause }
    }

    fn after_connect(error: &(dyn StdError + 'static)) -> Self {
        let of_body = chain(error).find_map(|cause| cause.downcast_ref::<BodyError>());
        let of_hyper = chain(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
        let reason = match of_body {
            Some(BodyError::Stalled) => Reason::ClientStalled,
            Some(BodyError::Broken(_) | BodyError::NoRoom | BodyError::Unreadable(_)) => {
                Reason::ClientBody
            }
            None if of_hyper.is_some_and(hyper::Error::is_parse) => Reason::Nonsense,
            None => Reason::Reset,
        };
        let cause = root(error);
        Self { reason, cause }
    }

    pub fn into_error(self, origin: Origin, doing: String) -> Error {
        let (kind, origin, retry) = match self.reason {
            Reason::Connect => (ErrorKind::Unavailable, origin, Retry::Safe),
            Reason::ConnectTimeout => (ErrorKind::Timeout, origin, Retry::Safe),
            Reason::Reset => (ErrorKind::Unavailable, origin, Retry::OutcomeUnknown),
            Reason::Nonsense => (ErrorKind::Nonsense, origin, Retry::OutcomeUnknown),
            Reason::ClientBody => (ErrorKind::BadInput, Origin::Client, Retry::Never),
            Reason::ClientStalled => (ErrorKind::Timeout, Origin::Client, Retry::Never),
        };
        // What a client did is told to it as it is; it is not the store's doing.
        let doing = match self.reason {
            Reason::ClientBody => "Outrigger: the request's body ended early".to_owned(),
            Reason::ClientStalled => "Outrigger: the request's body did not arrive".to_owned(),
            Reason::Connect | Reason::ConnectTimeout | Reason::Reset | Reason::Nonsense => doing,
        };
        Error::new(kind, origin, retry, doing).with_source(self.cause)
    }
}

fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

fn root(error: &(dyn StdError + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}
