//! The client towards one upstream: pooled connections over HTTP/1.1 or HTTP/2, plain or TLS.
//!
//! It sends a request once and says plainly what came of it: `Failed` tells whether anything was
//! sent and who is to blame. It never repeats a request that an upstream may have begun to serve;
//! only a pooled connection found closed before the first byte went out is replaced.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::Service;

use super::body::{Body, BodyError};
use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::metrics::Gauge;

/// How often the kernel asks a silent peer whether it is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

pub struct UpstreamSettings {
    pub connect_timeout: Duration,
    /// How long a connection may wait in the pool. Shorter than the upstream's own limit, or
    /// requests meet connections that are just being closed.
    pub idle_timeout: Duration,
    pub idle_connections_max: usize,
    /// HTTP/2 without asking first, for plain text. With TLS it is negotiated.
    pub http2: bool,
    pub tls: rustls::ClientConfig,
}

/// Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Upstream {
    client: Client<Counted, Body>,
}

impl Upstream {
    /// `open` counts the connections that are open.
    pub fn new(settings: UpstreamSettings, open: Gauge) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        http.set_connect_timeout(Some(settings.connect_timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(settings.tls)
            .https_or_http();
        let https = https.enable_all_versions().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.idle_connections_max)
            .http2_only(settings.http2)
            .http2_adaptive_window(true)
            .build(Counted { https, open });
        Self { client }
    }

    /// Returns once the head of the answer is there. The caller bounds the wait.
    ///
    /// Cancel safety: dropping the future closes the connection; the upstream may have acted.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        self.client.request(request).await.map_err(Failed::new)
    }
}

/// Why no answer came.
#[derive(Debug)]
pub struct Failed {
    pub reason: Reason,
    source: ClientError,
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
    fn new(source: ClientError) -> Self {
        Self {
            reason: reason(&source),
            source,
        }
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
        Error::new(kind, origin, retry, doing).with_source(root(self.source))
    }
}

fn reason(error: &ClientError) -> Reason {
    let timed_out = chain(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
    if error.is_connect() {
        return if timed_out {
            Reason::ConnectTimeout
        } else {
            Reason::Connect
        };
    }
    match chain(error).find_map(|cause| cause.downcast_ref::<BodyError>()) {
        Some(BodyError::Stalled) => return Reason::ClientStalled,
        Some(BodyError::Broken(_)) => return Reason::ClientBody,
        None => (),
    }
    let of_hyper = chain(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
    if of_hyper.is_some_and(hyper::Error::is_parse) {
        Reason::Nonsense
    } else {
        Reason::Reset
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

/// The innermost cause, as text: the layers above it only repeat that sending did not work.
fn root(error: ClientError) -> String {
    chain(&error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Opens connections and counts the open ones.
#[derive(Clone)]
struct Counted {
    https: HttpsConnector<HttpConnector>,
    open: Gauge,
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting = Pin<Box<dyn Future<Output = Result<CountedStream, BoxError>> + Send>>;
type BoxError = Box<dyn StdError + Send + Sync>;

impl Service<Uri> for Counted {
    type Response = CountedStream;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connecting = self.https.call(uri);
        let open = self.open.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            open.inc();
            Ok(CountedStream { stream, open })
        })
    }
}

struct CountedStream {
    stream: Stream,
    open: Gauge,
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Connection for CountedStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
