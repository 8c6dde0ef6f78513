//! What is known of one connection from a client, and when to give up on it.
//!
//! hyper ends a connection when it is told to; this module knows when. A client that opens a
//! connection and says nothing, sends its head one byte a second, or stops reading its answer
//! must not hold a place forever. One timer a connection looks at the marks left by the reads,
//! writes and requests, so that a request costs no timer of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a client may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request to the end of its head; also for a TLS handshake, and for
    /// the first byte of a connection.
    pub header: Duration,
    /// Between two pieces of a body, either way.
    pub body: Duration,
    /// Between two requests on one connection.
    pub idle: Duration,
}

/// Marks left by a connection's reads, writes and requests. Times are milliseconds since the
/// connection began, plus one, so that zero means "not".
pub(super) struct Watch {
    began: Instant,
    /// Whether bytes between requests begin a head. Over HTTP/2 they may be pings.
    reads_heads: bool,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    requests: AtomicUsize,
}

impl Watch {
    pub(super) fn new(reads_heads: bool) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            reads_heads,
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn at(&self, mark: u64) -> Instant {
        self.began + Duration::from_millis(mark)
    }

    /// The first byte of a head starts its clock; later ones leave it running.
    fn did_read(&self) {
        let between_requests = self.requests.load(Ordering::Relaxed) == 0;
        if self.reads_heads && between_requests && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn write_is_blocked(&self, blocked: bool) {
        if !blocked {
            self.blocked_since.store(0, Ordering::Relaxed);
        } else if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request's head is complete. The request lasts until the guard is dropped.
    pub(super) fn request_began(self: &Arc<Self>) -> InFlight {
        self.head_since.store(0, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// When to look again. What happens meanwhile may bring the end nearer, and rings no bell; but
    /// never nearer than the shortest patience there is.
    pub(super) fn look_again_at(&self, patience: &Patience) -> Instant {
        let shortest = patience.header.min(patience.body).min(patience.idle);
        self.gives_up_at(patience).min(Instant::now() + shortest)
    }

    /// When the patience with this connection ends, as things stand now.
    pub(super) fn gives_up_at(&self, patience: &Patience) -> Instant {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked > 0 {
            return self.at(blocked) + patience.body;
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            // Bodies being read and stores being asked have their own bounds.
            return Instant::now() + patience.body;
        }
        match self.head_since.load(Ordering::Relaxed) {
            0 => self.at(self.idle_since.load(Ordering::Relaxed)) + patience.idle,
            since => self.at(since) + patience.header,
        }
    }
}

/// One request in flight on a connection.
pub struct InFlight(Arc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that leaves marks in a `Watch`, and that may have been read a little ahead.
pub(super) struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
    ahead: Bytes,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: Arc<Watch>, ahead: Bytes) -> Self {
        if !ahead.is_empty() {
            watch.did_read();
        }
        Self {
            stream,
            watch,
            ahead,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let taken = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.did_read();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn marked<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.watch.write_is_blocked(result.is_pending());
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.marked(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.marked(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(10),
        body: Duration::from_secs(30),
        idle: Duration::from_secs(75),
    };

    fn left(watch: &Watch) -> Duration {
        watch
            .gives_up_at(&PATIENCE)
            .saturating_duration_since(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_gets_no_more_time_by_trickling() {
        let watch = Watch::new(true);
        watch.did_read();
        for _ in 0..8 {
            tokio::time::advance(Duration::from_secs(1)).await;
            watch.did_read();
        }
        assert_eq!(left(&watch).as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_begins_when_a_request_ends() {
        let watch = Watch::new(true);
        watch.did_read();
        let request = watch.request_began();
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(left(&watch) > Duration::ZERO);
        drop(request);
        assert_eq!(left(&watch).as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_after_a_look_is_still_given_up_in_time() {
        let watch = Watch::new(true);
        let look = watch.look_again_at(&PATIENCE);
        tokio::time::advance(Duration::from_secs(1)).await;
        watch.did_read();
        assert!(look <= watch.gives_up_at(&PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_neither_shorten_nor_stretch_the_idle_time_of_http_2() {
        let watch = Watch::new(false);
        for _ in 0..7 {
            tokio::time::advance(Duration::from_secs(10)).await;
            watch.did_read();
        }
        assert_eq!(left(&watch).as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_given_up() {
        let watch = Watch::new(true);
        let _request = watch.request_began();
        watch.write_is_blocked(true);
        tokio::time::advance(Duration::from_secs(20)).await;
        watch.write_is_blocked(true);
        assert_eq!(left(&watch).as_secs(), 10);
        watch.write_is_blocked(false);
        assert_eq!(left(&watch).as_secs(), 30);
    }
}
