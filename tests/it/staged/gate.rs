//! What stands before a store: it lets requests through, refuses them, or holds them, before the
//! store has them or when it has answered.
//!
//! What is held is held for the store, not for whoever sent it: it can be delivered when that one
//! is long gone, as a request can that waits in a socket of a store that stood still.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::task;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Pass,
    /// Refused for good.
    Refused,
    /// Refused for now.
    Unavailable,
    /// Held, and the store does not have it.
    HeldBefore,
    /// The store has done it, and the answer is held.
    HeldAfter,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    Waits,
    Goes,
    IsLost,
}

/// Of a method, a path and a body.
type Rule = dyn Fn(&Method, &str, &[u8]) -> Fate + Send + Sync;

/// Of a path and what the store answered: what is handed on instead.
type Rewrite = dyn Fn(&str, Bytes) -> Bytes + Send + Sync;

struct Shared {
    rule: Mutex<Arc<Rule>>,
    rewrite: Mutex<Option<Arc<Rewrite>>>,
    /// The heads of all requests, as they came.
    heads: Mutex<String>,
    held: watch::Sender<Held>,
    come: watch::Sender<usize>,
    client: Client<HttpConnector, Full<Bytes>>,
    server: SocketAddr,
}

pub(super) struct Gate {
    at: SocketAddr,
    shared: Arc<Shared>,
}

/// The connection is closed instead of an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Gate {
    pub(super) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let rule: Arc<Rule> = Arc::new(|_, _, _| Fate::Pass);
        let shared = Arc::new(Shared {
            rule: Mutex::new(rule),
            rewrite: Mutex::default(),
            heads: Mutex::default(),
            held: watch::Sender::new(Held::Waits),
            come: watch::Sender::new(0),
            client: Client::builder(TokioExecutor::new()).build(connector),
            server,
        });
        let own = Arc::clone(&shared);
        drop(task::spawn("gate", async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let shared = Arc::clone(&own);
                let service = service_fn(move |request| {
                    let carried = task::spawn("gate-request", carry(request, Arc::clone(&shared)));
                    async move { carried.await.unwrap_or(Err(Cut)) }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                let served = builder.serve_connection(TokioIo::new(stream), service);
                drop(task::spawn("gate-connection", async move {
                    drop(served.await);
                }));
            }
        }));
        Self { at, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// From now on.
    pub(super) fn rule(&self, rule: impl Fn(&Method, &str, &[u8]) -> Fate + Send + Sync + 'static) {
        self.shared.held.send_replace(Held::Waits);
        self.shared.come.send_replace(0);
        *self.shared.rule.lock() = Arc::new(rule);
    }

    /// From now on this becomes of writes of points, and everything else passes.
    pub(super) fn writes(&self, fate: Fate) {
        self.rule(move |method, path, _| {
            let is_upsert = *method == Method::PUT && path.ends_with("/points");
            if is_upsert || path.ends_with("/points/delete") {
                fate
            } else {
                Fate::Pass
            }
        });
    }

    /// Everything passes from now on. What is held stays so.
    pub(super) fn pass(&self) {
        *self.shared.rule.lock() = Arc::new(|_, _, _| Fate::Pass);
    }

    /// Whether any request came with this in its head.
    pub(super) fn was_told(&self, text: &str) -> bool {
        self.shared.heads.lock().contains(text)
    }

    /// From now on this is handed on instead of what the store answers.
    pub(super) fn rewrites(&self, rewrite: impl Fn(&str, Bytes) -> Bytes + Send + Sync + 'static) {
        *self.shared.rewrite.lock() = Some(Arc::new(rewrite));
    }

    /// Waits until so many were held or refused.
    pub(super) async fn come(&self, count: usize) {
        let mut come = self.shared.come.subscribe();
        come.wait_for(|come| *come >= count).await.unwrap();
    }

    /// The store gets what is held, or whoever has sent it its answer.
    pub(super) fn deliver(&self) {
        self.shared.held.send_replace(Held::Goes);
    }

    /// Nobody gets it.
    pub(super) fn lose(&self) {
        self.shared.held.send_replace(Held::IsLost);
    }
}

impl Shared {
    async fn hold(&self) -> Result<(), Cut> {
        let mut held = self.held.subscribe();
        self.come.send_modify(|count| *count += 1);
        let held = held.wait_for(|held| *held != Held::Waits).await;
        match held.map(|held| *held) {
            Ok(Held::Goes) => Ok(()),
            Ok(Held::Waits | Held::IsLost) | Err(_) => Err(Cut),
        }
    }
}

async fn carry(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (mut head, body) = request.into_parts();
    let told = format!("{} {} {:?}\n", head.method, head.uri, head.headers);
    shared.heads.lock().push_str(&told);
    let body = body.collect().await.map_err(|_broken| Cut)?.to_bytes();
    let rule = Arc::clone(&*shared.rule.lock());
    let path = head.uri.path().to_owned();
    let fate = rule(&head.method, head.uri.path(), &body);
    match fate {
        Fate::Pass | Fate::HeldAfter => (),
        Fate::HeldBefore => shared.hold().await?,
        Fate::Refused => {
            shared.come.send_modify(|count| *count += 1);
            return Ok(refusal(
                StatusCode::BAD_REQUEST,
                "Wrong input: not this one",
            ));
        }
        Fate::Unavailable => {
            shared.come.send_modify(|count| *count += 1);
            return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "out of service"));
        }
    }
    let target = head.uri.path_and_query().map_or("/", |of| of.as_str());
    head.uri = format!("http://{}{target}", shared.server).parse().unwrap();
    head.headers.remove(HOST);
    head.headers.remove(CONNECTION);
    let request = Request::from_parts(head, Full::new(body));
    let asked = shared.client.request(request).await;
    let (mut head, body) = asked.map_err(|_gone| Cut)?.into_parts();
    let body = body.collect().await.map_err(|_broken| Cut)?.to_bytes();
    if fate == Fate::HeldAfter {
        shared.hold().await?;
    }
    head.headers.remove(CONNECTION);
    let rewrite = shared.rewrite.lock().clone();
    let body = match rewrite {
        Some(rewrite) => {
            head.headers.remove(CONTENT_LENGTH);
            rewrite(&path, body)
        }
        None => body,
    };
    Ok(Response::from_parts(head, Full::new(body)))
}

fn refusal(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"status": {"error": text}, "time": 0.0});
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
