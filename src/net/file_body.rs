//! A stretch of a file, read while it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

const CHUNK_BYTES: usize = 64 * 1024;

pub(super) struct FileBody {
    file: File,
    left: u64,
    chunk: Box<[u8]>,
}

impl FileBody {
    /// `bytes` from where the file stands.
    pub(super) fn new(file: File, bytes: u64) -> Self {
        Self {
            file,
            left: bytes,
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let want = usize::try_from(self.left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let Some(chunk) = self.chunk.get_mut(..want) else {
            return Poll::Ready(None);
        };
        let mut buffer = ReadBuf::new(chunk);
        ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer))?;
        let read = Bytes::copy_from_slice(buffer.filled());
        if read.is_empty() {
            // The head has promised more.
            self.left = 0;
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.left = self.left.saturating_sub(read.len() as u64);
        Poll::Ready(Some(Ok(read)))
    }
}
