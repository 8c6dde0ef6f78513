//! HTTP/1 by hand, for either side: what is written is what was said, and what is read is shown as
//! it came.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const READ_BYTES: usize = 256 * 1024;

/// A connection, and what was read ahead from it.
pub(crate) struct Wire<S = TcpStream> {
    stream: S,
    ahead: BytesMut,
    /// Counts the heads that were read.
    heads: Option<watch::Sender<usize>>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The body ended before its end.
#[derive(Debug)]
pub(crate) struct Broken;

/// A start line and its fields, names in lower case, in the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let named = self.fields.iter().filter(|(other, _)| other == name);
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The one value of a field, none when it is not there.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} came more than once: {all:?}");
        all.pop()
    }

    pub(crate) fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap()
    }

    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    /// How the body of a request with this head ends.
    pub(crate) fn framing_of_request(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    /// How the body of an answer to a GET with this head ends.
    pub(crate) fn framing_of_answer(&self) -> Framing {
        let bodiless = [204, 304].contains(&self.status());
        if bodiless {
            return Framing::Length(0);
        }
        self.framing().unwrap_or(Framing::UntilClose)
    }

    fn framing(&self) -> Option<Framing> {
        if self
            .field("transfer-encoding")
            .is_some_and(|coding| coding == "chunked")
        {
            return Some(Framing::Chunked);
        }
        Some(Framing::Length(
            self.field("content-length")?.parse().unwrap(),
        ))
    }
}

impl Wire {
    pub(crate) async fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Ends the connection as a crash does.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: BytesMut::new(),
            heads: None,
        }
    }

    pub(crate) fn counting(mut self, heads: watch::Sender<usize>) -> Self {
        self.heads = Some(heads);
        self
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// For a peer that may be gone.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    pub(crate) async fn send_chunk(&mut self, bytes: &[u8]) {
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(framed).await;
    }

    /// Says that nothing more will be written, and goes on listening. The peer may be gone.
    pub(crate) async fn end_writing(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// The next head; none when the peer has gone, in whatever way.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if self.fill().await == 0 {
                return None;
            }
        };
        let text = self.ahead.split_to(end).freeze();
        self.ahead.advance(4);
        let mut lines = text
            .as_ref()
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        let start = String::from_utf8_lossy(lines.next()?).into_owned();
        let field = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            Some((name, line[colon + 1..].trim_ascii().to_vec()))
        };
        let fields = lines.filter_map(field).collect();
        if let Some(heads) = &self.heads {
            heads.send_modify(|count| *count += 1);
        }
        Some(Head { start, fields })
    }

    /// Whatever comes next, as it comes; nothing once the peer has gone.
    pub(crate) async fn some(&mut self) -> Vec<u8> {
        if self.ahead.is_empty() {
            self.fill().await;
        }
        self.ahead.split().to_vec()
    }

    pub(crate) async fn body(&mut self, framing: Framing) -> Result<Vec<u8>, Broken> {
        let mut whole = Vec::new();
        self.pour(framing, |_, piece| whole.extend_from_slice(piece))
            .await?;
        Ok(whole)
    }

    /// Hands the body on piece by piece, each with its place; returns its length.
    pub(crate) async fn pour(
        &mut self,
        framing: Framing,
        mut sink: impl FnMut(u64, &[u8]),
    ) -> Result<u64, Broken> {
        let mut place = 0;
        match framing {
            Framing::Length(length) => self.pour_exactly(length, &mut place, &mut sink).await?,
            Framing::Chunked => loop {
                let size = self.line().await.ok_or(Broken)?;
                let size = size.split(';').next().unwrap().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_not_hex| Broken)?;
                if size == 0 {
                    while !self.line().await.ok_or(Broken)?.is_empty() {}
                    break;
                }
                self.pour_exactly(size, &mut place, &mut sink).await?;
                self.line().await.ok_or(Broken)?;
            },
            Framing::UntilClose => {
                while !self.ahead.is_empty() || self.fill().await > 0 {
                    let piece = self.ahead.split();
                    sink(place, &piece);
                    place += u64::try_from(piece.len()).unwrap();
                }
            }
        }
        Ok(place)
    }

    async fn pour_exactly(
        &mut self,
        length: u64,
        place: &mut u64,
        sink: &mut impl FnMut(u64, &[u8]),
    ) -> Result<(), Broken> {
        let mut left = length;
        while left > 0 {
            if self.ahead.is_empty() && self.fill().await == 0 {
                return Err(Broken);
            }
            let taken = self.ahead.len().min(usize::try_from(left).unwrap());
            let piece = self.ahead.split_to(taken);
            sink(*place, &piece);
            *place += u64::try_from(taken).unwrap();
            left -= u64::try_from(taken).unwrap();
        }
        Ok(())
    }

    async fn line(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            if self.fill().await == 0 {
                return None;
            }
        };
        let line = self.ahead.split_to(end);
        self.ahead.advance(2);
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// A request with its body; none when the peer has gone before the end of either.
    pub(crate) async fn request(&mut self) -> Option<(Head, Vec<u8>)> {
        let head = self.head().await?;
        let body = self.body(head.framing_of_request()).await.ok()?;
        Some((head, body))
    }

    /// Waits until the peer has ended the connection, whatever it still says.
    pub(crate) async fn ended(&mut self) {
        while self.fill().await > 0 {
            self.ahead.clear();
        }
    }

    /// Reads what is there; 0 when the peer has ended the connection or broken it.
    async fn fill(&mut self) -> usize {
        self.ahead.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.ahead).await.unwrap_or(0)
    }
}
