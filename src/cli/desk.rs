//! A running sidecar's admin API, asked from the command line.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
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

/// Asks one thing.
///
/// Cancel safety: safe, a change may have been made.
pub(super) async fn ask(settings: &Settings, method: Method, path: &str) -> Result<Value> {
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
    let doing = format!("ask the sidecar at {listen} for {method} {path}");
    let exchange = exchange((host, listen.port()), token, method, path);
    let fault = |source: Cause| {
        Error::new(ErrorKind::Unavailable, Origin::Proxy, Retry::Safe, doing).with_source(source)
    };
    let (status, answer) = match timeout(ANSWERED_WITHIN, exchange).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(source)) => return Err(fault(source)),
        Err(elapsed) => return Err(fault(elapsed.into())),
    };
    if status == StatusCode::UNAUTHORIZED {
        let text = "the sidecar asks for another auth.admin_token";
        return Err(Error::settings(text));
    }
    match serde_json::from_slice(&answer) {
        Ok(answer) if status.is_success() => Ok(answer),
        Ok(_) => Err(fault(format!("it answered {status}").into())),
        Err(error) => Err(fault(error.into())),
    }
}

async fn exchange(
    address: (&str, u16),
    token: Option<&Secret>,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), Cause> {
    let stream = TcpStream::connect(address).await?;
    let (mut send, connection) = handshake(TokioIo::new(stream)).await?;
    drop(task::spawn("desk-connection", async move {
        // What goes wrong here is told to the call that waits.
        drop(connection.await);
    }));
    let (host, port) = address;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, format!("{host}:{port}"));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let (head, body) = send
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?
        .into_parts();
    Ok((head.status, body.collect().await?.to_bytes()))
}
