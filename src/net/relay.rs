//! Streamed answers to clients of HTTP/2, carried by a task of their own.
//!
//! Over HTTP/1.1 a client that stops reading blocks the socket, and the connection's watch sees
//! it. Over HTTP/2 it only leaves its window closed: nothing is polled, nothing is blocked, and
//! the answer, its place and the connection to the store would be held for as long as the client
//! likes. The task that carries the answer waits for the client no longer than it may, and lets go
//! of everything when it is over.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::body::{Body, BodyError};
use crate::task::Group;

/// Pieces under way between the task and the connection.
const PIECES_MAX: usize = 1;

#[derive(Clone)]
pub(super) struct Relay {
    pub(super) tasks: Group,
    /// How long the client may leave a piece untaken.
    pub(super) pause: Duration,
}

enum Piece {
    Frame(Result<Frame<Bytes>, BodyError>),
    /// The answer is complete. A channel that closes without it has been given up.
    End,
}

/// The end that the connection reads.
pub(super) struct Relayed {
    pieces: Receiver<Piece>,
    size: SizeHint,
    ended: bool,
}

impl Relay {
    /// A whole body needs no carrying: it holds nothing but memory.
    pub(super) fn carry(self, body: Body) -> Body {
        if body.is_whole() {
            return body;
        }
        let size = http_body::Body::size_hint(&body);
        let (sender, pieces) = channel(PIECES_MAX);
        self.tasks.spawn("relay", carry(body, sender, self.pause));
        Body::relayed(Relayed {
            pieces,
            size,
            ended: false,
        })
    }
}

async fn carry(mut body: Body, sender: Sender<Piece>, pause: Duration) {
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => return,
            frame = body.frame() => frame,
        };
        let (piece, last) = match frame {
            Some(Ok(frame)) => (Piece::Frame(Ok(frame)), false),
            Some(Err(error)) => (Piece::Frame(Err(error)), true),
            None => (Piece::End, true),
        };
        let taken = tokio::time::timeout(pause, sender.send(piece)).await;
        if last || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

impl Relayed {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(Pin::new(&mut self.pieces).poll_recv(cx));
        Poll::Ready(match piece {
            Some(Piece::Frame(frame)) => {
                self.ended = frame.is_err();
                Some(frame)
            }
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(BodyError::Stalled))
            }
        })
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.size
    }
}
