//! The engine's write-ahead log: read after a crash, and cut down once it is in the segments.
//!
//! The engine numbers operations by their place in this log, and skips on replay what a point has
//! seen already; so a number must never be given twice. The files, all in the folder `wal`:
//!
//! ```text
//! closed-N          full; N is the number of its first operation
//! open-1, open-2    one is written to, the other is spare
//!
//! file  = "wal" 0  seed:u32le  entry*
//! entry = len:u64le  data  padding  crc:u32le        a multiple of eight bytes
//! ```
//!
//! The first entry whose checksum does not hold is the end. The last closed file carries the
//! numbering and is never removed. A folder with nothing but a `closed-N` that holds one entry is a
//! log that goes on at N + 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use qdrant_edge::UpdateOperation;
use tracing::warn;

use super::cbor;

const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// The files of a log in the order of their operations.
pub(super) struct Log {
    closed: Vec<(u64, PathBuf)>,
    open: Vec<PathBuf>,
}

impl Log {
    pub(super) fn look(folder: &Path) -> io::Result<Self> {
        let (mut closed, mut open) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            match name
                .split_once('-')
                .map(|(kind, number)| (kind, number.parse::<u64>()))
            {
                Some(("closed", Ok(number))) => closed.push((number, path)),
                Some(("open", Ok(number))) => open.push((number, path)),
                _ => {}
            }
        }
        closed.sort();
        open.sort();
        Ok(Self {
            closed,
            open: open.into_iter().map(|(_, path)| path).collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_empty()
    }

    /// Hands every operation with its number to `each`, from `from` on; returns the number that
    /// the next operation gets. One file is in memory at a time.
    pub(super) fn replay(
        &self,
        from: u64,
        mut each: impl FnMut(u64, UpdateOperation),
    ) -> io::Result<u64> {
        let mut number = self.closed.first().map_or(0, |(first, _)| *first);
        let closed = self.closed.iter().map(|(first, path)| (Some(*first), path));
        let open = self.open.iter().map(|path| (None, path));
        for (first, path) in closed.chain(open) {
            if let Some(first) = first
                && first > number
            {
                warn!(file = %path.display(), lost = first - number, "operations are missing in the log");
                number = first;
            }
            let bytes = fs::read(path)?;
            for entry in Entries::new(&bytes) {
                if number >= from {
                    match cbor::from_slice(entry) {
                        Ok(operation) => each(number, operation),
                        Err(error) => {
                            warn!(number, file = %path.display(), %error, "an operation in the log cannot be read");
                        }
                    }
                }
                number += 1;
            }
        }
        Ok(number.max(from))
    }

    /// Removes the closed files that hold nothing but operations below `checkpoint`.
    pub(super) fn trim(&self, checkpoint: u64) -> io::Result<()> {
        for pair in self.closed.windows(2) {
            if let [(_, path), (next_first, _)] = pair
                && *next_first <= checkpoint
            {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Bytes of log that would have to be replayed from `checkpoint` on, at most one file too
    /// many.
    pub(super) fn bytes_since(&self, checkpoint: u64) -> io::Result<u64> {
        let mut bytes = 0;
        for (at, (_, path)) in self.closed.iter().enumerate() {
            let next_first = self.closed.get(at + 1).map(|(first, _)| *first);
            if next_first.is_none_or(|first| first > checkpoint) {
                bytes += fs::metadata(path)?.len();
            }
        }
        Ok(bytes)
    }
}

/// Makes `folder` a log that holds nothing to replay and goes on at `next`.
///
/// The file that says so has one entry, which stands for the operation before. The engine removes
/// a closed file without entries just before it closes the next one: a kill between the two would
/// leave a log without numbers.
pub(super) fn create_empty(folder: &Path, next: u64) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let Some(before) = next.checked_sub(1) else {
        return super::folder::sync_folder(folder);
    };
    let (seed, mut entry) = (0x6f75_7472_u32, [0_u8; 20]);
    entry[..HEADER_BYTES].copy_from_slice(&8_u64.to_le_bytes());
    let mut bytes = b"wal\0".to_vec();
    bytes.extend(seed.to_le_bytes());
    bytes.extend(entry);
    bytes.extend(crc32c(!seed.reverse_bits(), &entry).to_le_bytes());
    let path = folder.join(format!("closed-{before}"));
    fs::write(&path, bytes)?;
    fs::File::open(&path)?.sync_all()?;
    super::folder::sync_folder(folder)
}

/// The entries of one file, up to the first that is torn.
struct Entries<'b> {
    rest: &'b [u8],
    crc: u32,
}

impl<'b> Entries<'b> {
    fn new(file: &'b [u8]) -> Self {
        let seed = file
            .get(4..HEADER_BYTES)
            .and_then(|bytes| bytes.try_into().ok());
        match seed {
            Some(seed) if file.starts_with(b"wal\0") => Self {
                rest: file.get(HEADER_BYTES..).unwrap_or_default(),
                crc: u32::from_le_bytes(seed),
            },
            _ => Self { rest: &[], crc: 0 },
        }
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let len = u64::from_le_bytes(self.rest.get(..HEADER_BYTES)?.try_into().ok()?);
        let len = usize::try_from(len).ok()?;
        let padding = CRC_BYTES.wrapping_sub(len) & 7;
        let checked = HEADER_BYTES.checked_add(len)?.checked_add(padding)?;
        let (entry, rest) = self.rest.split_at_checked(checked)?;
        let (stored, rest) = rest.split_at_checked(CRC_BYTES)?;
        let crc = crc32c(!self.crc.reverse_bits(), entry);
        if crc.to_le_bytes() != stored {
            return None;
        }
        (self.crc, self.rest) = (crc, rest);
        entry.get(HEADER_BYTES..HEADER_BYTES + len)
    }
}

/// CRC-32C of `bytes`, going on from `crc`.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    for byte in bytes {
        let [low, ..] = crc.to_le_bytes();
        crc = TABLE[usize::from(low ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut at = 0_u32;
    while at < 256 {
        let mut crc = at;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[at as usize] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_castagnoli_one() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
