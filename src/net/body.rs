//! The one body type, for requests sent and answers given.
//!
//! A streamed body is polled on demand: nothing is buffered here, so a body of any length passes
//! in constant memory. Between two pieces at most `pause` may go by; a peer that stalls longer
//! ends the body with `BodyError::Stalled`. A body that ends early is an error, never an end.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::file_body::FileBody;
use super::paced::{Awaits, Paced, Streamed};
use super::relay::Relayed;
use super::room::Room;
use crate::metrics::Counter;

/// A body, whole or streamed, and whatever must live as long as it does.
#[derive(Default)]
pub struct Body {
    kind: Kind,
    /// Dropped when the body has been sent or given up.
    _held: Option<Box<dyn Send + Sync>>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Paced),
    /// What was gathered of a stream, then the rest of it.
    Prefixed(VecDeque<Bytes>, Paced),
    File(FileBody),
    Relayed(Relayed),
}

impl Body {
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let kind = if bytes.is_empty() {
            Kind::Empty
        } else {
            Kind::Full(bytes)
        };
        Self { kind, _held: None }
    }

    pub fn stream(incoming: impl Into<Streamed>, pause: Duration) -> Self {
        Self {
            kind: Kind::Stream(Paced::new(incoming.into(), pause)),
            _held: None,
        }
    }

    /// `bytes` of a file, from where it stands.
    pub fn file(file: tokio::fs::File, bytes: u64) -> Self {
        Self {
            kind: Kind::File(FileBody::new(file, bytes)),
            _held: None,
        }
    }

    pub(super) fn relayed(relayed: Relayed) -> Self {
        Self {
            kind: Kind::Relayed(relayed),
            _held: None,
        }
    }

    /// Tells whether it is the peer that the stream waits for; a body in memory waits for nobody.
    pub fn tell_awaits(&mut self) -> Awaits {
        let awaits = Awaits::default();
        if let Kind::Stream(rest) | Kind::Prefixed(_, rest) = &mut self.kind {
            rest.awaits = Some(awaits.clone());
        }
        awaits
    }

    /// Counts in `broken` if the stream ends before its end.
    pub fn counting(mut self, broken: &Counter) -> Self {
        if let Kind::Stream(rest) | Kind::Prefixed(_, rest) = &mut self.kind {
            rest.broken = Some(broken.clone());
        }
        self
    }

    /// Keeps `held` until the body has been sent or given up.
    pub fn holding(mut self, held: impl Send + Sync + 'static) -> Self {
        self._held = match self._held.take() {
            None => Some(Box::new(held)),
            Some(before) => Some(Box::new((before, held))),
        };
        self
    }

    /// Whether nothing of the body is still to come from a peer.
    pub fn is_whole(&self) -> bool {
        match &self.kind {
            Kind::Empty | Kind::Full(_) => true,
            Kind::Stream(_) | Kind::Prefixed(..) | Kind::Relayed(_) | Kind::File(_) => false,
        }
    }

    /// Reads on what comes from a peer until it is whole in memory, or longer than `bytes_max`; then
    /// it streams on, nothing lost.
    ///
    /// Cancel safety: what was read so far is lost.
    pub async fn gathered(mut self, bytes_max: usize) -> Result<Self, BodyError> {
        let (mut pieces, mut stream) = match std::mem::take(&mut self.kind) {
            Kind::Stream(stream) => (VecDeque::new(), stream),
            Kind::Prefixed(pieces, stream) => (pieces, stream),
            kind @ (Kind::Empty | Kind::Full(_) | Kind::File(_) | Kind::Relayed(_)) => {
                self.kind = kind;
                return Ok(self);
            }
        };
        let is_short = stream.gather(&mut pieces, bytes_max).await?;
        self.kind = if is_short {
            Kind::Full(joined(pieces))
        } else {
            Kind::Prefixed(pieces, stream)
        };
        Ok(self)
    }

    /// The whole body, when it is in memory.
    pub fn as_bytes(&self) -> Option<Bytes> {
        match &self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes.clone()),
            Kind::Stream(_) | Kind::Prefixed(..) | Kind::Relayed(_) | Kind::File(_) => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(rest) => rest.poll_next(cx),
            Kind::Relayed(relayed) => relayed.poll_frame(cx),
            Kind::Prefixed(gathered, rest) => match gathered.pop_front() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => rest.poll_next(cx),
            },
            Kind::File(file) => {
                let piece = ready!(file.poll_next(cx));
                let frame = |piece: io::Result<Bytes>| {
                    piece.map(Frame::data).map_err(BodyError::Unreadable)
                };
                Poll::Ready(piece.map(frame))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) | Kind::Relayed(_) => false,
            Kind::Stream(rest) => rest.incoming.is_end_stream(),
            Kind::Prefixed(gathered, rest) => gathered.is_empty() && rest.incoming.is_end_stream(),
            Kind::File(file) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(rest) => rest.incoming.size_hint(),
            Kind::File(file) => SizeHint::with_exact(file.left()),
            Kind::Relayed(relayed) => relayed.size_hint(),
            Kind::Prefixed(gathered, rest) => {
                let before: u64 = gathered.iter().map(|bytes| bytes.len() as u64).sum();
                let after = rest.incoming.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(before + after.lower());
                if let Some(upper) = after.upper() {
                    hint.set_upper(before + upper);
                }
                hint
            }
        }
    }
}

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// The peer said nothing for longer than it may.
    Stalled,
    /// The connection broke, or the peer ended it early.
    Broken(hyper::Error),
    /// A file of ours cannot be read.
    Unreadable(io::Error),
    /// Too much is held in memory for other bodies, and did not go in time.
    NoRoom,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled => f.write_str("the body stopped arriving"),
            Self::Broken(_) => f.write_str("the body ended early"),
            Self::Unreadable(_) => f.write_str("the file cannot be read"),
            Self::NoRoom => f.write_str("there is no room for the body"),
        }
    }
}

impl StdError for BodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Stalled | Self::NoRoom => None,
            Self::Broken(error) => Some(error),
            Self::Unreadable(error) => Some(error),
        }
    }
}

/// What came of collecting a body up to a bound.
#[derive(Debug)]
pub enum Collect {
    Whole(Bytes),
    /// The bound was passed. The body has been read to its end and thrown away, since a client
    /// that is refused while it still writes reports a time-out instead of the answer.
    TooLong {
        bytes: u64,
    },
}

/// Reads a body into memory, up to `bytes_max`; past that it is read off without being kept. The
/// memory is taken from `room`: at once for a length that was declared, so that bodies which fit
/// one after the other do not all get stuck half-way; as the body grows where none was, since that
/// could be anything.
///
/// Cancel safety: what was read so far is lost.
pub async fn collect(
    incoming: Incoming,
    pause: Duration,
    bytes_max: usize,
    room: &mut Room,
) -> Result<Collect, BodyError> {
    let expected = incoming.size_hint().exact();
    let too_long = |seen: u64| seen > bytes_max as u64;
    let hopeless = expected.is_some_and(too_long);
    let mut stream = Paced::new(incoming.into(), pause);
    let mut kept = Kept::default();
    let mut seen: u64 = 0;
    if let Some(length) = expected.filter(|_| !hopeless) {
        room.grow_to(length, pause).await?;
        kept.expect(usize::try_from(length).unwrap_or(usize::MAX));
    }
    while let Some(frame) = stream.next().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        seen += data.len() as u64;
        if hopeless || too_long(seen) {
            kept = Kept::default();
            room.give_back();
        } else {
            room.grow_to(seen, pause).await?;
            kept.push(data);
        }
    }
    Ok(if too_long(seen) {
        Collect::TooLong { bytes: seen }
    } else {
        Collect::Whole(kept.bytes())
    })
}

/// What came of gathering an answer before its head is sent on.
pub enum Gathered {
    Whole(Bytes),
    /// Longer than the bound: what was gathered, and the rest as a stream.
    Rest(Body),
}

/// Gathers a stream in memory while it is short, so that a peer that fails half-way can still be
/// answered for. Past `bytes_max` it becomes a stream again, nothing lost.
///
/// Cancel safety: what was read so far is lost.
pub async fn gather(
    incoming: Streamed,
    pause: Duration,
    bytes_max: usize,
) -> Result<Gathered, BodyError> {
    let mut stream = Paced::new(incoming, pause);
    let mut pieces = VecDeque::new();
    if stream.gather(&mut pieces, bytes_max).await? {
        return Ok(Gathered::Whole(joined(pieces)));
    }
    let kind = Kind::Prefixed(pieces, stream);
    Ok(Gathered::Rest(Body { kind, _held: None }))
}

fn joined(pieces: VecDeque<Bytes>) -> Bytes {
    let mut kept = Kept::default();
    kept.expect(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        kept.push(piece);
    }
    kept.bytes()
}

/// Pieces put together, without a copy when there is only one.
#[derive(Default)]
struct Kept {
    first: Bytes,
    joined: BytesMut,
    expected: usize,
}

impl Kept {
    fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined
                .reserve(self.expected.max(self.first.len() + data.len()));
            self.joined
                .extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&data);
    }

    fn bytes(self) -> Bytes {
        if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        }
    }
}

/// Reads any in-process body whole; for answers of our own and for tests.
impl Body {
    pub async fn into_bytes(self) -> Result<Bytes, BodyError> {
        Ok(BodyExt::collect(self).await?.to_bytes())
    }
}
