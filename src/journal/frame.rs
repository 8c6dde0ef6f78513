//! Segments and the frames in them, as bytes: where a record begins, and whether it can be trusted.
//!
//! ```text
//! segment = "orjournl"  version:u32le  journal:u128le  sequence:u64le  crc:u32le  frame*
//! frame   = f5 'f' 'r' 'm'  length:u32le  crc:u32le (of length and payload)  payload
//! ```
//!
//! A frame is what was written and synced at once; a frame is written only when the one before is
//! on disk. So a frame that cannot be read was cut short only if no other follows it.

#![deny(clippy::indexing_slicing, reason = "bytes come from outside")]

use std::ops::Range;

use memchr::memmem;

use super::record::{Reader, VERSION};

pub(super) const HEADER_BYTES: usize = 40;

const MAGIC: &[u8; 8] = b"orjournl";
const FRAME_MAGIC: [u8; 4] = [0xf5, b'f', b'r', b'm'];
const FRAME_HEAD_BYTES: usize = 12;

/// `None` when the records are too many for one frame; the writer never gathers so many.
pub(super) fn frame(records: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(records.len().checked_add(1)?).ok()?;
    let mut payload_crc = crc32fast::Hasher::new();
    payload_crc.update(&length.to_le_bytes());
    payload_crc.update(&[VERSION]);
    payload_crc.update(records);
    let mut bytes = Vec::with_capacity(FRAME_HEAD_BYTES + 1 + records.len());
    bytes.extend_from_slice(&FRAME_MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&payload_crc.finalize().to_le_bytes());
    bytes.push(VERSION);
    bytes.extend_from_slice(records);
    Some(bytes)
}

pub(super) fn header(journal: u128, sequence: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&u32::from(VERSION).to_le_bytes());
    bytes.extend_from_slice(&journal.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the header of a segment says: the journal it is of, and its place in the sequence.
pub(super) fn read_header(bytes: &[u8]) -> Option<(u128, u64)> {
    let head = bytes.get(..HEADER_BYTES)?;
    let (said, crc) = head.split_at_checked(HEADER_BYTES - 4)?;
    let mut from = Reader { rest: said };
    let is_ours = from.bytes(8)? == MAGIC
        && from.bytes(4)? == u32::from(VERSION).to_le_bytes()
        && crc == crc32fast::hash(said).to_le_bytes();
    let journal = u128::from_le_bytes(from.bytes(16)?.try_into().ok()?);
    let sequence = u64::from_le_bytes(from.bytes(8)?.try_into().ok()?);
    is_ours.then_some((journal, sequence))
}

/// What is wrong with the frames of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Damage {
    /// From here on nothing can be read: the last write may have been cut short.
    Tail { at: usize },
    /// Behind it stands what was written later, so this had been on disk.
    Middle { at: usize },
}

/// The payloads that can be read, and the first damage.
pub(super) fn frames(segment: &[u8]) -> (Vec<&[u8]>, Option<Damage>) {
    let (mut payloads, mut damage, mut at) = (Vec::new(), None, HEADER_BYTES);
    while at < segment.len() {
        if let Some(payload) = frame_at(segment, at) {
            at = payload.end;
            payloads.extend(segment.get(payload));
            continue;
        }
        let Some(next) = next_frame(segment, at + 1) else {
            return (payloads, damage.or(Some(Damage::Tail { at })));
        };
        damage = damage.or(Some(Damage::Middle { at }));
        at = next;
    }
    (payloads, damage)
}

fn frame_at(segment: &[u8], at: usize) -> Option<Range<usize>> {
    let mut from = Reader {
        rest: segment.get(at..)?,
    };
    if from.bytes(4)? != FRAME_MAGIC {
        return None;
    }
    let length: [u8; 4] = from.bytes(4)?.try_into().ok()?;
    let stored: [u8; 4] = from.bytes(4)?.try_into().ok()?;
    let size = usize::try_from(u32::from_le_bytes(length)).ok()?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(from.bytes(size)?);
    let begin = at.checked_add(FRAME_HEAD_BYTES)?;
    (size > 0 && crc.finalize().to_le_bytes() == stored).then(|| begin..begin + size)
}

fn next_frame(segment: &[u8], from: usize) -> Option<usize> {
    let rest = segment.get(from..)?;
    memmem::find_iter(rest, &FRAME_MAGIC)
        .map(|found| from + found)
        .find(|at| frame_at(segment, *at).is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "these bytes are the test's own")]

    use super::*;

    #[test]
    fn a_bad_frame_is_a_tail_only_when_nothing_follows() {
        let (one, two) = (frame(&[10]).unwrap(), frame(&[11, 11]).unwrap());
        let mut segment = header(1, 1);
        segment.extend([one.clone(), two].concat());
        assert_eq!(frames(&segment), (vec![&[1, 10][..], &[1, 11, 11]], None));
        let first = HEADER_BYTES;
        let second = first + one.len();
        for at in second..segment.len() - 1 {
            let (payloads, damage) = frames(&segment[..=at]);
            assert_eq!(payloads.len(), 1);
            assert_eq!(damage, Some(Damage::Tail { at: second }));
        }
        for at in first..second {
            let mut bad = segment.clone();
            bad[at] ^= 0x10;
            let (payloads, damage) = frames(&bad);
            assert_eq!(payloads, [&[1, 11, 11]], "{at}");
            assert_eq!(damage, Some(Damage::Middle { at: first }));
        }
        assert_eq!(read_header(&segment), Some((1, 1)));
        for at in 0..HEADER_BYTES {
            let mut bad = segment.clone();
            bad[at] ^= 0x10;
            assert_eq!(read_header(&bad), None);
        }
    }
}
