//! A request as a client writes it, and the answer as a client reads it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::{Framing, Head, Wire};

/// A request of HTTP/1.1.
#[derive(Clone)]
pub(crate) struct Ask {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    framing: Option<Framing>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: vec![("host".to_owned(), b"client.test".to_vec())],
            body: Vec::new(),
            framing: None,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    pub(crate) fn put(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", target).body(body)
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With its length said beforehand.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Some(Framing::Length(u64::try_from(self.body.len()).unwrap()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.with("content-type", "application/json")
            .body(body.to_string())
    }

    /// The same body in chunks.
    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Some(Framing::Chunked);
        self
    }

    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        match self.framing {
            Some(Framing::Length(length)) => {
                bytes.extend(format!("content-length: {length}\r\n").into_bytes());
            }
            Some(Framing::Chunked) => bytes.extend(b"transfer-encoding: chunked\r\n"),
            Some(Framing::UntilClose) | None => (),
        }
        bytes.extend(b"\r\n");
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        if self.framing == Some(Framing::Chunked) {
            for chunk in self.body.chunks(100_000) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend([chunk, b"\r\n"].concat());
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }

    /// Writes all of it, as far as the other side takes it, and only then reads the answer.
    pub(crate) async fn over<S>(&self, wire: &mut Wire<S>) -> Answer
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Who is refused while still writing may find that nobody reads on.
        drop(wire.try_send(self.bytes()).await);
        let answer = Answer::read(wire, &self.method).await;
        answer.unwrap_or_else(|| panic!("no answer to {} {}", self.method, self.target))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// None when the connection ended instead.
    pub(crate) async fn read<S>(wire: &mut Wire<S>, method: &str) -> Option<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let head = loop {
            let head = wire.head().await?;
            if head.status() != 100 {
                break head;
            }
        };
        let framing = if method == "HEAD" {
            Framing::Length(0)
        } else {
            head.framing_of_answer()
        };
        let body = wire
            .body(framing)
            .await
            .expect("the answer's body is whole");
        Some(Self { head, body })
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        let read = serde_json::from_slice(&self.body);
        read.unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The text of a refusal in Qdrant's envelope, and nothing else in it.
    pub(crate) fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status(), status, "{}", self.text());
        assert_eq!(
            self.head.field("content-type").as_deref(),
            Some("application/json")
        );
        let body = self.json();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["status", "time"], "{body}");
        assert!(body["time"].is_number(), "{body}");
        assert_eq!(body["status"].as_object().unwrap().len(), 1, "{body}");
        body["status"]["error"].as_str().unwrap().to_owned()
    }

    /// A refusal that tells the client to come back: when, in seconds.
    pub(crate) fn retry_after(&self) -> u64 {
        self.head
            .field("retry-after")
            .expect("retry-after")
            .parse()
            .unwrap()
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status(), 200, "{}", self.text());
        self
    }
}

/// A JWT as Qdrant takes them, for who does not look at its signature.
pub(crate) fn token(claims: &Value) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"HS256","typ":"JWT"}"#);
    format!("{head}.{}.{}", part(&claims.to_string()), part("signature"))
}
