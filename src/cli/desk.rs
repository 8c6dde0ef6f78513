//! A running sidecar's admin API, asked from the command line.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Secret, Settings};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::task;

const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Asks one thing that is either told or not.
///
/// Cancel safety: safe, a change may have been made.
pub(super) async fn ask(settings: &Settings, method: Method, path: &str) -> Result<Value> {
    let asked = Asked {
        method,
        path,
        body: None,
        within: ANSWERED_WITHIN,
    };
    let doing = asked.doing(settings);
    let (status, answer) = put(settings, asked).await?;
    if status.is_success() {
        return Ok(answer);
    }
    Err(fault(doing, format!("it answered {status}").into()))
}

/// What is asked of a sidecar.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<Value>,
    pub(super) within: Duration,
}

impl Asked<'_> {
    fn doing(&self, settings: &Settings) -> String {
        let (listen, method, path) = (&settings.admin_listen, &self.method, self.path);
        format!("ask the sidecar at {listen} for {method} {path}")
    }
}

fn fault(doing: String, source: Cause) -> Error {
    Error::new(ErrorKind::Unavailable, Origin::Proxy, Retry::Safe, doing).with_source(source)
}

/// Asks, and has whatever the sidecar says, as long as it is JSON.
///
/// Cancel safety: safe, a change may have been made.
pub(super) async fn put(settings: &Settings, asked: Asked<'_>) -> Result<(StatusCode, Value)> {
    let listen = &settings.admin_listen;
    if listen.port() == 0 {
        let text = "admin_listen has no fixed port: name the sidecar's with --admin-listen";
        return Err(Error::settings(text));
    }
    // Who listens everywhere is reached here.
    let host = match listen.host() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let token = settings.auth.admin_token.as_ref();
    let (doing, within) = (asked.doing(settings), asked.within);
    let exchange = exchange((host, listen.port()), token, asked);
    let (status, answer) = match timeout(within, exchange).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(source)) => return Err(fault(doing, source)),
        Err(elapsed) => return Err(fault(doing, elapsed.into())),
    };
    if status == StatusCode::UNAUTHORIZED {
        let text = "the sidecar asks for another auth.admin_token";
        return Err(Error::settings(text));
    }
    match serde_json::from_slice(&answer) {
        Ok(answer) => Ok((status, answer)),
        Err(error) => Err(fault(doing, error.into())),
    }
}

async fn exchange(
    address: (&str, u16),
    token: Option<&Secret>,
    asked: Asked<'_>,
) -> Result<(StatusCode, Bytes), Cause> {
    let stream = TcpStream::connect(address).await?;
    let (mut send, connection) = handshake(TokioIo::new(stream)).await?;
    drop(task::spawn("desk-connection", async move {
        // What goes wrong here is told to the call that waits.
        drop(connection.await);
    }));
    let (host, port) = address;
    let mut request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header(HOST, format!("{host}:{port}"));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let body = asked.body.map(|body| body.to_string());
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    let (head, body) = send.send_request(request.body(body)?).await?.into_parts();
    Ok((head.status, body.collect().await?.to_bytes()))
}
