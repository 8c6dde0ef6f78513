//! The file of a snapshot: frames, one after another, and a digest of all that stands before it.
//!
//! ```text
//! OUTRIGGER-PGVECTOR 1\n
//! section …        frames of a length (4 bytes, little end first) and so many bytes;
//!                  a frame of length 0 ends the section
//! digest           32 bytes, blake3
//! ```
//!
//! Nothing is held but what a frame is made of. Whoever reads looks at the digest last, and must
//! not believe what was read before that.

use std::path::Path;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};

use crate::error::{Error, Result};
use crate::wire::rest::refuse;

const MAGIC: &[u8] = b"OUTRIGGER-PGVECTOR 1\n";
const DIGEST_BYTES: usize = 32;
/// Rows are gathered to frames of about this size.
const FRAME_BYTES: usize = 256 * 1024;
/// A frame is read in pieces, so that a length that is wrong takes no memory.
const PIECE_BYTES: usize = 64 * 1024;
/// No manifest is larger.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) struct Writer {
    file: BufWriter<File>,
    digest: blake3::Hasher,
    frame: Vec<u8>,
}

impl Writer {
    pub(super) async fn create(path: &Path) -> Result<Self> {
        let file = File::create(path)
            .await
            .map_err(|error| cannot("make", path, error))?;
        let mut writer = Self {
            file: BufWriter::with_capacity(FRAME_BYTES, file),
            digest: blake3::Hasher::new(),
            frame: Vec::with_capacity(FRAME_BYTES),
        };
        writer.put(MAGIC).await?;
        Ok(writer)
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes).await.map_err(unwritable)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.frame.extend_from_slice(bytes);
        if self.frame.len() >= FRAME_BYTES {
            self.end_frame().await?;
        }
        Ok(())
    }

    async fn end_frame(&mut self) -> Result<()> {
        let frame = std::mem::take(&mut self.frame);
        let length = u32::try_from(frame.len()).map_err(|error| {
            refuse::service_error("a row is too large for a snapshot").with_source(error)
        })?;
        self.put(&length.to_le_bytes()).await?;
        self.put(&frame).await?;
        self.frame = frame;
        self.frame.clear();
        Ok(())
    }

    pub(super) async fn end_section(&mut self) -> Result<()> {
        if !self.frame.is_empty() {
            self.end_frame().await?;
        }
        self.end_frame().await
    }

    pub(super) async fn finish(mut self) -> Result<()> {
        let digest = self.digest.finalize();
        let written = self.file.write_all(digest.as_bytes()).await;
        written.map_err(unwritable)?;
        self.file.flush().await.map_err(unwritable)?;
        self.file.get_ref().sync_all().await.map_err(unwritable)
    }
}

pub(super) struct Reader {
    file: BufReader<File>,
    digest: blake3::Hasher,
    /// What is left of the frame.
    left: usize,
    in_section: bool,
}

impl Reader {
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)
            .await
            .map_err(|error| cannot("read", path, error))?;
        let mut reader = Self {
            file: BufReader::with_capacity(FRAME_BYTES, file),
            digest: blake3::Hasher::new(),
            left: 0,
            in_section: false,
        };
        let mut magic = vec![0; MAGIC.len()];
        let read = reader.file.read_exact(&mut magic).await;
        if read.is_err() || magic != MAGIC {
            return Err(damaged(
                "it is not one of this store's own; those of a Qdrant server, and of the embedded \
                 store, hold files that only they can read",
            ));
        }
        reader.digest.update(&magic);
        Ok(reader)
    }

    async fn exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact(bytes).await;
        read.map_err(|error| damaged("it ends early").with_source(error))?;
        self.digest.update(bytes);
        Ok(())
    }

    /// The next piece of the section, or none at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.left == 0 {
            let mut length = [0; 4];
            self.exact(&mut length).await?;
            self.left = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            self.in_section = self.left > 0;
            if !self.in_section {
                return Ok(None);
            }
        }
        let mut piece = vec![0; self.left.min(PIECE_BYTES)];
        self.exact(&mut piece).await?;
        self.left -= piece.len();
        Ok(Some(piece.into()))
    }

    /// A whole section of no great size.
    pub(super) async fn small(&mut self) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            whole.extend_from_slice(&piece);
            if whole.len() > SMALL_BYTES_MAX {
                return Err(damaged("its manifest is too large"));
            }
        }
        Ok(whole)
    }

    /// Whether everything that was read is what was written, and nothing is left.
    pub(super) async fn finish(mut self) -> Result<()> {
        let mut written = [0; DIGEST_BYTES];
        let read = self.file.read_exact(&mut written).await;
        read.map_err(|error| damaged("it ends early").with_source(error))?;
        let mut more = [0; 1];
        let rest = self.file.read(&mut more).await;
        if self.digest.finalize() != written || !matches!(rest, Ok(0)) {
            return Err(damaged("it is not what was written"));
        }
        Ok(())
    }
}

pub(super) fn damaged(why: &str) -> Error {
    refuse::bad_request(&format!("the snapshot cannot be recovered: {why}"))
}

fn unwritable(error: std::io::Error) -> Error {
    refuse::service_error("the snapshot cannot be written").with_source(error)
}

pub(super) fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Error {
    refuse::service_error(&format!("cannot {verb} {}", path.display())).with_source(error)
}
