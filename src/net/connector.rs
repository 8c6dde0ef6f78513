//! Opens connections towards an upstream, plain or TLS, and counts the open ones.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::upstream::UpstreamSettings;
use crate::metrics::Gauge;

/// How often the kernel asks a silent peer whether it is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Opens connections and counts the open ones.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    open: Gauge,
    /// For the whole of it: names, TCP and the handshake of TLS.
    within: Duration,
}

type Inner = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

impl Connector {
    /// With TLS, HTTP/2 is offered only where it is asked for.
    pub(super) fn new(settings: &UpstreamSettings, open: Gauge) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        http.set_connect_timeout(Some(settings.connect_timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(settings.tls.clone());
        let https = https.https_or_http();
        let https = if settings.http2 {
            https.enable_all_versions().wrap_connector(http)
        } else {
            https.enable_http1().wrap_connector(http)
        };
        Self {
            https,
            open,
            within: settings.connect_timeout,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connecting = self.https.call(uri);
        let open = self.open.clone();
        let within = self.within;
        Box::pin(async move {
            let late = |_elapsed| io::Error::from(io::ErrorKind::TimedOut);
            let stream = tokio::time::timeout(within, connecting)
                .await
                .map_err(late)??;
            open.inc();
            Ok(Stream { stream, open })
        })
    }
}

pub(super) struct Stream {
    stream: Inner,
    open: Gauge,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Stream {
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
