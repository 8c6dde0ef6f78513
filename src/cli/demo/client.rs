//! A client of the sidecar like any other: JSON over one HTTP/1.1 connection, timed.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::task;

/// A call that takes longer is not worth showing.
const CALL_LASTS_MAX: Duration = Duration::from_secs(10);

pub(super) struct Client {
    send: SendRequest<Full<Bytes>>,
    host: String,
}

/// What was answered, and how long it took as a client sees it.
pub(super) struct Answer {
    pub(super) result: Value,
    pub(super) took: Duration,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let doing = || format!("connect to {address}");
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| fault(doing(), error))?;
        // Else a short request waits for the acknowledgement of the one before.
        stream
            .set_nodelay(true)
            .map_err(|error| fault(doing(), error))?;
        let (send, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| fault(doing(), error))?;
        drop(task::spawn("demo-connection", async move {
            // What goes wrong here is told to the call that waits.
            drop(connection.await);
        }));
        Ok(Self {
            send,
            host: address.to_string(),
        })
    }

    /// Cancel safety: not safe, the connection is of no more use.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Answer> {
        let doing = format!("{method} {path}");
        let began = Instant::now();
        match timeout(CALL_LASTS_MAX, self.exchange(method, path, body)).await {
            Ok(Ok(result)) => Ok(Answer {
                result,
                took: began.elapsed(),
            }),
            Ok(Err(source)) => Err(fault(doing, source)),
            Err(elapsed) => Err(fault(doing, elapsed)),
        }
    }

    async fn exchange(&mut self, method: Method, path: &str, body: &Value) -> Result<Value, Cause> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        self.send.ready().await?;
        let (head, body) = self.send.send_request(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let mut answer: Value = serde_json::from_slice(&bytes)?;
        if !head.status.is_success() {
            return Err(format!("answered {}: {}", head.status, answer["status"]).into());
        }
        Ok(answer["result"].take())
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn fault(doing: String, source: impl Into<Cause>) -> Error {
    Error::new(ErrorKind::Unavailable, Origin::Proxy, Retry::Never, doing).with_source(source)
}
