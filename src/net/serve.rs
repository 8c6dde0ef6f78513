//! The accept loop and the life of a connection.
//!
//! Promises: an accept error never ends the loop, it slows it down; a connection beyond
//! `connections_max` is told so (the refusal of the caller, then closed) rather than left hanging;
//! on `Draining` no connection is accepted, idle ones are closed and busy ones finish what they
//! began; on `Ending` everything is let go.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use super::body::Body;
use super::connection::{InFlight, Patience, Watch, Watched};
use super::listen::Bound;
use super::relay::Relay;
use super::tls::ServerTls;
use crate::metrics::ListenerMetrics;
use crate::task::{Group, Phase, Stop};

/// Connections that are being told "too many": past this they are dropped unanswered.
const REFUSALS_MAX: usize = 256;
/// How an accept loop slows down when the process is out of descriptors or memory.
const ACCEPT_PAUSE_FIRST: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What an HTTP/2 client sends first when it knows that the server speaks it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Enough for a head and the body of a search; read in one go to begin a connection.
const FIRST_READ_BYTES: usize = 16 * 1024;

/// A request as it came in.
pub struct Arrival {
    pub request: Request<Incoming>,
    pub peer: SocketAddr,
    /// Keeps the connection counted as busy. Give it to a streamed answer.
    pub in_flight: InFlight,
}

/// The one boxed service at the edge.
pub type Edge = BoxCloneSyncService<Arrival, Response<Body>, Infallible>;

/// What a listener needs to serve.
pub struct Serve {
    /// Names the tasks of this listener's connections.
    pub name: &'static str,
    pub edge: Edge,
    /// The answer to a connection beyond the limit.
    pub refusal: fn() -> Response<Body>,
    pub tls: Option<Arc<ServerTls>>,
    pub patience: Patience,
    pub connections_max: usize,
    pub metrics: ListenerMetrics,
    pub tasks: Group,
    pub stop: Stop,
}

/// Accepts until the process drains. The connections live on in `Serve::tasks`.
pub async fn serve(bound: Bound, serve: Serve) {
    let places = Arc::new(Semaphore::new(serve.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let serve = Arc::new(serve);
    let mut stop = serve.stop.clone();
    let mut pause = ACCEPT_PAUSE_FIRST;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.reached(Phase::Draining) => return,
            accepted = bound.listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                serve.metrics.accept_errors.inc();
                if is_the_peers(&error) {
                    continue;
                }
                warn!(%error, listener = serve.name, "accept a connection; slowing down");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = ACCEPT_PAUSE_FIRST;
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let this = Arc::clone(&serve);
            serve.tasks.spawn(serve.name, async move {
                this.metrics.opened.inc();
                this.metrics.open.inc();
                let _open = scopeguard(|| {
                    this.metrics.open.dec();
                });
                connection(&this, stream, peer, this.edge.clone(), true).await;
                drop(place);
            });
        } else {
            serve.metrics.refused.inc();
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                let this = Arc::clone(&serve);
                serve.tasks.spawn("refusal", async move {
                    let refusal = this.refusal;
                    let answer = move |_: Arrival| std::future::ready(Ok(refusal()));
                    let edge = BoxCloneSyncService::new(tower::service_fn(answer));
                    let told = connection(&this, stream, peer, edge, false);
                    drop(tokio::time::timeout(this.patience.header, told).await);
                    drop(place);
                });
            }
        }
    }
}

/// Errors of the connection that was about to be, which say nothing about the next one.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn scopeguard<F: FnMut()>(action: F) -> OnDrop<F> {
    OnDrop(action)
}

async fn connection(
    serve: &Serve,
    mut stream: TcpStream,
    peer: SocketAddr,
    edge: Edge,
    keep_alive: bool,
) {
    let Some(tls) = &serve.tls else {
        let first = tokio::time::timeout(serve.patience.header, read_ahead(&mut stream));
        return match until_draining(&serve.stop, first).await {
            Some(Ok(Some(ahead))) => {
                let http2 = ahead.starts_with(HTTP2_PREFACE);
                speak(serve, stream, peer, edge, ahead, http2, keep_alive).await;
            }
            Some(Err(_)) => {
                serve.metrics.gave_up.inc();
            }
            Some(Ok(None)) | None => (),
        };
    };
    let handshake = tokio::time::timeout(serve.patience.header, tls.acceptor().accept(stream));
    match until_draining(&serve.stop, handshake).await {
        Some(Ok(Ok(stream))) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(serve, stream, peer, edge, Bytes::new(), http2, keep_alive).await;
        }
        Some(Ok(Err(error))) => debug!(%peer, %error, "shake hands for TLS"),
        Some(Err(_)) => {
            debug!(%peer, "the TLS handshake took too long");
            serve.metrics.gave_up.inc();
        }
        None => (),
    }
}

async fn until_draining<T>(stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        () = stop.reached(Phase::Draining) => None,
    }
}

/// Reads the first bytes of a connection: enough to tell HTTP/2 from HTTP/1, and in one system
/// call what the parser would read next anyway. `None` when the client goes.
async fn read_ahead(stream: &mut TcpStream) -> Option<Bytes> {
    let mut ahead = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        let read = stream.read_buf(&mut ahead).await.ok()?;
        if read == 0 {
            return None;
        }
        let undecided = ahead.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&ahead);
        if !undecided {
            return Some(ahead.freeze());
        }
    }
}

async fn speak<S>(
    serve: &Serve,
    stream: S,
    peer: SocketAddr,
    edge: Edge,
    ahead: Bytes,
    http2: bool,
    keep_alive: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Watch::new(!http2);
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch), ahead));
    let marks = Arc::clone(&watch);
    let relay = http2.then(|| Relay {
        tasks: serve.tasks.clone(),
        pause: serve.patience.body,
    });
    let service = service_fn(move |request: Request<Incoming>| {
        let arrival = Arrival {
            request,
            peer,
            in_flight: marks.request_began(),
        };
        let mut edge = edge.clone();
        let relay = relay.clone();
        async move {
            let answer = edge.ready().await?.call(arrival).await?;
            Ok::<_, Infallible>(match relay {
                Some(relay) => answer.map(|body| relay.carry(body)),
                None => answer,
            })
        }
    });
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        drive(
            serve,
            Box::pin(builder.serve_connection(io, service)),
            &watch,
        )
        .await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        // The watch bounds heads and idle connections apart; hyper knows one bound for both.
        builder.header_read_timeout(None).keep_alive(keep_alive);
        drive(
            serve,
            Box::pin(builder.serve_connection(io, service)),
            &watch,
        )
        .await;
    }
}

enum Next {
    Ended,
    Phase(Phase),
    Look,
}

/// Runs one connection to its end, or until the process or our patience ends first.
async fn drive<C>(serve: &Serve, mut conn: Pin<Box<C>>, watch: &Watch)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut stop = serve.stop.clone();
    let mut awaited = Phase::Draining;
    let mut timer = pin!(tokio::time::sleep_until(
        watch.look_again_at(&serve.patience)
    ));
    loop {
        let next = tokio::select! {
            biased;
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, listener = serve.name, "serve a connection");
                }
                Next::Ended
            }
            () = stop.reached(awaited) => Next::Phase(awaited),
            () = timer.as_mut() => Next::Look,
        };
        match next {
            Next::Ended | Next::Phase(Phase::Ending) => return,
            Next::Phase(Phase::Draining | Phase::Running) => {
                conn.as_mut().graceful_shutdown();
                awaited = Phase::Ending;
            }
            Next::Look => {
                if watch.gives_up_at(&serve.patience) <= tokio::time::Instant::now() {
                    serve.metrics.gave_up.inc();
                    return;
                }
                timer.as_mut().reset(watch.look_again_at(&serve.patience));
            }
        }
    }
}
