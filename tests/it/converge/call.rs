//! One request on a connection of its own, and exactly what is known of it afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use outrigger::task;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than the sidecar takes to answer whatever befalls it. That it was not told by then is
/// counted apart.
const CALL_LASTS_MAX: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Nobody listens there: not a byte was sent.
    NotSent,
    /// Sent, as a whole or in part, and no whole answer came: it may have had its effect.
    Broken(&'static str),
    Said(u16, Value),
}

impl Outcome {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Said(200..=299, _))
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Said(400..=499, _))
    }

    /// In a few words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::NotSent => "not sent".to_owned(),
            Self::Broken(how) => format!("unknown ({how})"),
            Self::Said(status @ 200..=299, _) => status.to_string(),
            Self::Said(status, body) => {
                let text = body["status"]["error"].as_str();
                let text = text.map_or_else(|| body.to_string(), ToOwned::to_owned);
                format!("{status} {}", text.chars().take(200).collect::<String>())
            }
        }
    }

    pub(super) fn result(&self) -> &Value {
        match self {
            Self::Said(_, body) => &body["result"],
            Self::NotSent | Self::Broken(_) => &Value::Null,
        }
    }
}

pub(super) async fn ask(at: SocketAddr, method: &str, target: &str, body: &Value) -> Outcome {
    ask_within(CALL_LASTS_MAX, at, method, target, body).await
}

pub(super) async fn ask_within(
    most: Duration,
    at: SocketAddr,
    method: &str,
    target: &str,
    body: &Value,
) -> Outcome {
    let Ok(Ok(stream)) = timeout(most, TcpStream::connect(at)).await else {
        return Outcome::NotSent;
    };
    let asked = timeout(most, over(stream, method, target, body)).await;
    asked.unwrap_or(Outcome::Broken("no answer in time"))
}

async fn over(stream: TcpStream, method: &str, target: &str, body: &Value) -> Outcome {
    if stream.set_nodelay(true).is_err() {
        return Outcome::NotSent;
    }
    let io = TokioIo::new(stream);
    let Ok((mut send, connection)) = hyper::client::conn::http1::handshake(io).await else {
        return Outcome::NotSent;
    };
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "client.test")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap();
    // Ends with this call, whoever gives it up.
    let mut connection = Ended(task::spawn("converge-call", async move {
        drop(connection.await);
    }));
    let Ok(answer) = send.send_request(request).await else {
        return Outcome::Broken("the connection broke");
    };
    let status = answer.status().as_u16();
    let Ok(body) = answer.into_body().collect().await else {
        return Outcome::Broken("the answer broke off");
    };
    drop(send);
    drop((&mut connection.0).await);
    let body = serde_json::from_slice(&body.to_bytes());
    Outcome::Said(status, body.unwrap_or(Value::Null))
}

struct Ended(tokio::task::JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}
