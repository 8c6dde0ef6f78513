//! One GET to wherever a URL leads, for downloads that happen now and then.
//!
//! No pool and no metrics: whoever talks to one party all the time uses `Upstream`.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::header::{HeaderMap, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::body::{Body, BodyError};
use super::tls::client_tls;

const CONNECT: Duration = Duration::from_secs(10);
/// How long the head of an answer, or a next piece of it, may take.
const PAUSE: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 10;

/// Why there is nothing to read.
#[derive(Debug)]
pub enum FetchError {
    /// The server could not be asked.
    Unreachable(Box<dyn StdError + Send + Sync>),
    /// It answered with something else than the thing.
    Status(StatusCode),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(_) => f.write_str("the server cannot be reached"),
            Self::Status(status) => write!(f, "the server answered {status}"),
        }
    }
}

impl StdError for FetchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unreachable(error) => Some(error.as_ref()),
            Self::Status(_) => None,
        }
    }
}

fn unreachable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> FetchError {
    FetchError::Unreachable(error.into())
}

/// The body behind `url`, following redirections. `headers` go to the first server only: they may
/// be secrets.
pub async fn fetch(url: &Url, headers: HeaderMap) -> Result<Body, FetchError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(client_tls(None).map_err(unreachable)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let (mut url, mut headers) = (url.clone(), headers);
    for _ in 0..=REDIRECTS_MAX {
        let uri: Uri = url.as_str().parse().map_err(unreachable)?;
        let mut request = Request::get(uri).body(Empty::new()).map_err(unreachable)?;
        *request.headers_mut() = std::mem::take(&mut headers);
        let agent = HeaderValue::from_static(concat!("outrigger/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let asked = tokio::time::timeout(PAUSE, client.request(request));
        let answer = asked.await.map_err(unreachable)?.map_err(unreachable)?;
        if answer.status().is_redirection()
            && let Some(next) = redirection(&url, &answer)
        {
            url = next;
            continue;
        }
        if !answer.status().is_success() {
            return Err(FetchError::Status(answer.status()));
        }
        return Ok(Body::stream(answer.into_body(), PAUSE));
    }
    Err(unreachable("too many redirections"))
}

fn redirection<B>(from: &Url, answer: &Response<B>) -> Option<Url> {
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    let next = from.join(location).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}

impl Body {
    /// The next piece of the body. `None` at its end.
    pub async fn next_piece(&mut self) -> Option<Result<bytes::Bytes, BodyError>> {
        loop {
            let frame = self.frame().await?;
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                // Trailers say nothing here.
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
