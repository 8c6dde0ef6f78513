//! An upstream on hyper: it keeps what it was asked and answers by a rule, at first with what it
//! was sent. It speaks HTTP/1.1 or HTTP/2, plain or by TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::task;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut all = self.fields.get_all(name).iter();
        let value = all
            .next()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        assert!(all.next().is_none(), "{name} came more than once");
        value
    }
}

/// What an upstream speaks.
#[derive(Clone)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    Tls(Arc<ServerConfig>),
}

type Rule = dyn Fn(&Seen) -> Response<Bytes> + Send + Sync;

/// Which answers have to wait.
type Holds = fn(&Seen) -> bool;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    rule: Box<Rule>,
    connections: watch::Sender<usize>,
    arrived: watch::Sender<usize>,
    holds: watch::Sender<Holds>,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Answers with the body that it was sent.
    pub(crate) async fn echo() -> Self {
        Self::answering(|seen| Response::new(seen.body.clone())).await
    }

    pub(crate) async fn answering<F>(rule: F) -> Self
    where
        F: Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self::speaking(Speaks::Http1, rule).await
    }

    pub(crate) async fn speaking<F>(speaks: Speaks, rule: F) -> Self
    where
        F: Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            rule: Box::new(rule),
            connections: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
            holds: watch::Sender::new(|_| false),
        });
        let own = Arc::clone(&shared);
        drop(task::spawn("upstream", async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.connections.send_modify(|count| *count += 1);
                let connection = connection(speaks.clone(), stream, Arc::clone(&own));
                drop(task::spawn("upstream-connection", connection));
            }
        }));
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every answer waits until `release`.
    pub(crate) fn hold(&self) {
        self.hold_only(|_| true);
    }

    /// From now on the answers to these wait, and no others. What is answered is settled when the
    /// question arrives.
    pub(crate) fn hold_only(&self, held: Holds) {
        self.shared.holds.send_replace(held);
    }

    pub(crate) fn release(&self) {
        self.hold_only(|_| false);
    }

    /// Waits until so many requests have arrived in full.
    pub(crate) async fn saw(&self, count: usize) {
        self.shared
            .arrived
            .subscribe()
            .wait_for(|seen| *seen >= count)
            .await
            .unwrap();
    }

    /// Waits until so many of these have arrived in full.
    pub(crate) async fn saw_of(&self, is_one: fn(&Seen) -> bool, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        let all = |_: &usize| self.seen().iter().filter(|seen| is_one(seen)).count() >= count;
        arrived.wait_for(all).await.unwrap();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// The one request that has arrived.
    pub(crate) fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }
}

async fn connection(speaks: Speaks, stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    match speaks {
        Speaks::Http1 => serve(stream, false, shared).await,
        Speaks::Http2 => serve(stream, true, shared).await,
        Speaks::Tls(config) => {
            // A client that does not like the certificate hangs up: that is its right.
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
                return;
            };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(stream, http2, shared).await;
        }
    }
}

async fn serve<S>(stream: S, http2: bool, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // Whether the peer ends well is the story's business.
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(io, service).await);
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        drop(builder.serve_connection(io, service).await);
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let target = head.uri.path_and_query().map(ToString::to_string);
    let seen = Seen {
        method: head.method,
        target: target.unwrap_or_default(),
        version: head.version,
        fields: head.headers,
        body,
    };
    let answer = (shared.rule)(&seen);
    shared.seen.lock().push(seen.clone());
    shared.arrived.send_modify(|count| *count += 1);
    let mut holds = shared.holds.subscribe();
    drop(holds.wait_for(|held| !held(&seen)).await);
    Ok(answer.map(Full::new))
}

/// An answer of Qdrant's own.
pub(crate) fn qdrant_ok(result: &serde_json::Value) -> Response<Bytes> {
    let body = serde_json::json!({ "result": result, "status": "ok", "time": 0.001 });
    let mut answer = Response::new(Bytes::from(body.to_string()));
    answer.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    answer
}
