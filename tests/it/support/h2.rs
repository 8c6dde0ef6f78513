//! A client that speaks HTTP/2 on one connection.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outrigger::task;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Clones share the connection.
#[derive(Clone)]
pub(crate) struct H2 {
    send: SendRequest<Full<Bytes>>,
}

impl H2 {
    pub(crate) async fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    pub(crate) async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::built(Builder::new(TokioExecutor::new()), stream).await
    }

    /// One that asks every so often whether the server is still there, as many clients do.
    pub(crate) async fn pinging(address: std::net::SocketAddr, every: Duration) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(every)
            .keep_alive_while_idle(true);
        Self::built(builder, stream).await
    }

    async fn built<S>(builder: Builder<TokioExecutor>, stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        drop(task::spawn(
            "h2-client",
            async move { drop(connection.await) },
        ));
        Self { send }
    }

    pub(crate) async fn head(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.send.ready().await?;
        self.send.send_request(request.map(Full::new)).await
    }

    /// The whole answer, body and all.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, hyper::Error> {
        let (head, body) = self.head(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let uri = format!("http://client.test{path}");
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body.into())
        .unwrap()
}
