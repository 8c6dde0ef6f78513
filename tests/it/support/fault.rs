//! What stands before a store and has it fail: by bytes before a PostgreSQL or a Redis, by
//! requests before whatever speaks HTTP.
//!
//! What hung is never delivered later: when the fault ends its connection is cut. So what a store
//! has not done when its sidecar gave the call up it will not do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::task;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Connections are closed, new ones at once.
    Refuse,
    /// Nothing goes through in either direction.
    Hang,
    /// 503 to everything. Before PostgreSQL the same as `Refuse`.
    Unavailable,
    /// Is done, and nobody is told. Before PostgreSQL replies go through until a connection has
    /// sent so many bytes.
    LoseReply {
        after: usize,
    },
}

pub(crate) struct Gate {
    fault: watch::Sender<Fault>,
    /// The store refuses every write that names it.
    refused: Mutex<Option<String>>,
    /// Calls and connections that were spoilt.
    pub(crate) hits: AtomicUsize,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Gate>,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            fault: watch::Sender::new(Fault::None),
            refused: Mutex::default(),
            hits: AtomicUsize::new(0),
        })
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub(crate) fn refuse_id(&self, id: Option<String>) {
        *self.refused.lock() = id;
    }

    fn now(&self) -> Fault {
        *self.fault.borrow()
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Proxy {
    pub(crate) async fn tcp(server: SocketAddr) -> Self {
        let (listener, proxy) = Self::listening().await;
        let gate = Arc::clone(&proxy.gate);
        drop(task::spawn("fault-tcp", async move {
            while let Ok((client, _)) = listener.accept().await {
                let carried = carry(client, server, Arc::clone(&gate));
                drop(task::spawn("fault-tcp-connection", carried));
            }
        }));
        proxy
    }

    pub(crate) async fn http(server: SocketAddr) -> Self {
        let (listener, proxy) = Self::listening().await;
        let gate = Arc::clone(&proxy.gate);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .retry_canceled_requests(false)
            .build(connector);
        let store = Arc::new(Store { client, server });
        drop(task::spawn("fault-http", async move {
            while let Ok((stream, _)) = listener.accept().await {
                if gate.now() == Fault::Refuse || stream.set_nodelay(true).is_err() {
                    gate.hit();
                    continue;
                }
                let (gate, store) = (Arc::clone(&gate), Arc::clone(&store));
                let service = service_fn(move |request| {
                    let (gate, store) = (Arc::clone(&gate), Arc::clone(&store));
                    async move { answer(request, &gate, &store).await }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                let served = builder.serve_connection(TokioIo::new(stream), service);
                drop(task::spawn("fault-http-connection", async move {
                    drop(served.await);
                }));
            }
        }));
        proxy
    }

    async fn listening() -> (TcpListener, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Gate::new();
        (listener, Self { address, gate })
    }
}

async fn carry(client: TcpStream, server: SocketAddr, gate: Arc<Gate>) {
    match gate.now() {
        Fault::Refuse | Fault::Unavailable => return gate.hit(),
        Fault::Hang => {
            gate.hit();
            drop(gate.fault.subscribe().changed().await);
            return;
        }
        Fault::None | Fault::LoseReply { .. } => (),
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // So many bytes were sent to the server since replies began to be lost.
    let sent = AtomicUsize::new(0);
    let up = pump(from_client, to_server, &gate, Way::Up(&sent));
    let down = pump(from_server, to_client, &gate, Way::Down(&sent));
    // Where one ends both are closed.
    tokio::select! {
        () = up => (),
        () = down => (),
    }
}

enum Way<'a> {
    Up(&'a AtomicUsize),
    Down(&'a AtomicUsize),
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: &Gate, way: Way<'_>) {
    let mut faults = gate.fault.subscribe();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = tokio::select! {
            biased;
            changed = faults.changed() => {
                let fault = *faults.borrow_and_update();
                if changed.is_err() || matches!(fault, Fault::Refuse | Fault::Unavailable) {
                    return gate.hit();
                }
                let (Way::Up(sent) | Way::Down(sent)) = &way;
                sent.store(0, Ordering::SeqCst);
                continue;
            }
            count = from.read(&mut piece) => count.unwrap_or(0),
        };
        if count == 0 {
            return;
        }
        let fault = *faults.borrow();
        match (fault, &way) {
            (Fault::None, _) => (),
            (Fault::Refuse | Fault::Unavailable, _) => return gate.hit(),
            (Fault::Hang, _) => {
                gate.hit();
                drop(faults.changed().await);
                return;
            }
            (Fault::LoseReply { .. }, Way::Up(sent)) => {
                sent.fetch_add(count, Ordering::SeqCst);
            }
            (Fault::LoseReply { after }, Way::Down(sent)) => {
                if sent.load(Ordering::SeqCst) > after {
                    return gate.hit();
                }
            }
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

struct Store {
    client: Client<HttpConnector, Full<Bytes>>,
    server: SocketAddr,
}

/// Closes the connection without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

async fn answer(
    request: Request<Incoming>,
    gate: &Gate,
    store: &Store,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_broken| Cut)?.to_bytes();
    let fault = gate.now();
    match fault {
        Fault::None | Fault::LoseReply { .. } => (),
        Fault::Refuse => {
            gate.hit();
            return Err(Cut);
        }
        Fault::Hang => {
            gate.hit();
            drop(gate.fault.subscribe().changed().await);
            return Err(Cut);
        }
        Fault::Unavailable => {
            gate.hit();
            return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "out of service"));
        }
    }
    if is_write(&head.method, head.uri.path()) && is_refused(gate, &body) {
        gate.hit();
        return Ok(refusal(StatusCode::BAD_REQUEST, "Wrong input: not this id"));
    }
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    head.uri = format!("http://{}{target}", store.server).parse().unwrap();
    head.headers.remove(HOST);
    head.headers.remove(CONNECTION);
    let asked = store
        .client
        .request(Request::from_parts(head, Full::new(body)));
    let (mut head, body) = asked.await.map_err(|_gone| Cut)?.into_parts();
    let body = body.collect().await.map_err(|_broken| Cut)?.to_bytes();
    // It was done, whenever the fault came.
    if matches!(gate.now(), Fault::LoseReply { .. }) || fault != Fault::None {
        gate.hit();
        return Err(Cut);
    }
    head.headers.remove(CONNECTION);
    Ok(Response::from_parts(head, Full::new(body)))
}

fn is_refused(gate: &Gate, body: &[u8]) -> bool {
    let refused = gate.refused.lock();
    let named = |id: &String| memchr::memmem::find(body, id.as_bytes()).is_some();
    refused.as_ref().is_some_and(named)
}

fn is_write(method: &Method, path: &str) -> bool {
    let Some((_, of_points)) = path.split_once("/points") else {
        return false;
    };
    method == Method::PUT
        || ["/delete", "/payload", "/vectors", "/batch"]
            .iter()
            .any(|head| of_points.starts_with(head))
}

fn refusal(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"status": {"error": text}, "time": 0.0});
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
