//! What comes in from a peer, with a bound on the pause between two pieces.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::body::BodyError;
use super::pool::DrivenBody;
use crate::metrics::Counter;
/// What comes in from a peer, piece by piece.
pub struct Streamed(Source);

enum Source {
    Plain(Incoming),
    /// An answer that moves its own connection.
    Driven(DrivenBody),
}

impl From<Incoming> for Streamed {
    fn from(incoming: Incoming) -> Self {
        Self(Source::Plain(incoming))
    }
}

impl From<DrivenBody> for Streamed {
    fn from(body: DrivenBody) -> Self {
        Self(Source::Driven(body))
    }
}

impl Streamed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Source::Plain(incoming) => Pin::new(incoming).poll_frame(cx),
            Source::Driven(body) => body.poll_frame(cx),
        }
    }

    pub fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Plain(incoming) => incoming.is_end_stream(),
            Source::Driven(body) => body.is_end_stream(),
        }
    }

    pub fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Plain(incoming) => incoming.size_hint(),
            Source::Driven(body) => body.size_hint(),
        }
    }
}

/// A stream with a bound on the pause between two pieces.
///
/// The timer is made when the stream is first found pending, so a body that is already there
/// costs none.
pub(super) struct Paced {
    pub(super) incoming: Streamed,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    pub(super) broken: Option<Counter>,
    pub(super) awaits: Option<Awaits>,
}

/// Whether a body was asked for its next piece, and its peer has not sent it yet.
#[derive(Clone, Default)]
pub struct Awaits(Arc<AtomicBool>);

impl Awaits {
    fn set(&self, awaits: bool) {
        self.0.store(awaits, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Paced {
    pub(super) fn new(incoming: Streamed, pause: Duration) -> Self {
        Self {
            incoming,
            pause,
            timer: None,
            waiting: false,
            broken: None,
            awaits: None,
        }
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = self.incoming.poll_frame(cx);
        if let Some(awaits) = &self.awaits {
            awaits.set(next.is_pending());
        }
        if let Poll::Ready(frame) = next {
            self.waiting = false;
            let failed = |error| self.failed(BodyError::Broken(error));
            return Poll::Ready(frame.map(|frame| frame.map_err(failed)));
        }
        let until = Instant::now() + self.pause;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if !self.waiting {
            timer.as_mut().reset(until);
            self.waiting = true;
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(self.failed(BodyError::Stalled))))
    }

    fn failed(&self, error: BodyError) -> BodyError {
        if let Some(broken) = &self.broken {
            broken.inc();
        }
        error
    }
}

impl Paced {
    /// Reads to the end, and says so, unless there is more than `bytes_max`.
    pub(super) async fn gather(
        &mut self,
        pieces: &mut VecDeque<Bytes>,
        bytes_max: usize,
    ) -> Result<bool, BodyError> {
        let mut seen: usize = pieces.iter().map(Bytes::len).sum();
        while seen <= bytes_max {
            // Trailers of an answer that is short enough to be gathered are not kept: whoever
            // announces trailers is streamed.
            match self.next().await {
                None => return Ok(true),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        seen += data.len();
                        pieces.push_back(data);
                    }
                }
            }
        }
        Ok(false)
    }

    pub(super) async fn next(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}
