//! What stands in a journal, as bytes. They outlive the process, so this is a promise: a change is
//! a new `VERSION`, and a journal of another version is kept aside and answered with a sweep.
//!
//! ```text
//! segment = "orjournl"  version:u32le  journal:u128le  sequence:u64le  crc:u32le  frame*
//! frame   = f5 'f' 'r' 'm'  length:u32le  crc:u32le (of length and payload)  payload
//! payload = version:u8  record+          record = kind:u8 fields
//! ```
//!
//! Numbers in records are LEB128, texts and lists are preceded by their length. A frame is what
//! was written and synced at once; a frame is written only when the one before is on disk.

#![deny(clippy::indexing_slicing, reason = "bytes come from outside")]

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use crate::model::{PointKey, Subject};

pub(super) const VERSION: u8 = 1;
pub(super) const HEADER_BYTES: usize = 40;

const MAGIC: &[u8; 8] = b"orjournl";
const FRAME_MAGIC: [u8; 4] = [0xf5, b'f', b'r', b'm'];
const FRAME_HEAD_BYTES: usize = 12;

/// What was marked `Plain` is known to have happened; an `Intent` may have come to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Plain,
    Intent,
}

/// A point as it is copied when the journal is compacted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Kept {
    pub(super) point: PointKey,
    pub(super) place: u64,
    pub(super) made_ms: u64,
    /// When a write last said that it would touch it; 0 for never.
    pub(super) intended_s: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Record<'a> {
    /// The subject `i` of them has the place `first + i`.
    Marked {
        collection: Cow<'a, str>,
        kind: Kind,
        at_ms: u64,
        first: u64,
        subjects: Cow<'a, [Subject]>,
    },
    /// Points by id, barriers by place.
    Cleared {
        collection: Cow<'a, str>,
        points: Cow<'a, [PointKey]>,
        barriers: Cow<'a, [u64]>,
    },
    Kept {
        collection: Cow<'a, str>,
        points: Cow<'a, [Kept]>,
    },
    KeptBarrier {
        collection: Cow<'a, str>,
        kind: Kind,
        subject: Subject,
        place: u64,
        made_ms: u64,
    },
    /// The deletion at this place did happen: the points before it are void.
    Sure {
        collection: Cow<'a, str>,
        place: u64,
    },
    Buried {
        collection: Cow<'a, str>,
        point: PointKey,
        reason: Cow<'a, str>,
        since_ms: u64,
    },
    /// These are dead letters no longer.
    Raised {
        collection: Cow<'a, str>,
        points: Cow<'a, [PointKey]>,
    },
    SweepDue {
        collection: Option<Cow<'a, str>>,
        reason: Cow<'a, str>,
        token: u64,
        since_ms: u64,
        /// The point marks before it are let go.
        spills: bool,
    },
    Swept {
        collection: Option<Cow<'a, str>>,
    },
    Forgotten,
    /// From here on everything that is live is written again.
    CopyBegins,
    /// It has been: segments before `first` say nothing more.
    CopyEnds {
        first: u64,
    },
    /// The last record of a segment that another one follows.
    Continued,
}

impl Record<'_> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Marked {
                collection,
                kind,
                at_ms,
                first,
                subjects,
            } => {
                out.push(1);
                put_text(out, collection);
                out.push(kind_byte(*kind));
                put(out, *at_ms);
                put(out, *first);
                put_len(out, subjects.len());
                subjects
                    .iter()
                    .for_each(|subject| put_subject(out, *subject));
            }
            Self::Cleared {
                collection,
                points,
                barriers,
            } => {
                out.push(2);
                put_text(out, collection);
                put_points(out, points);
                put_len(out, barriers.len());
                barriers.iter().for_each(|place| put(out, *place));
            }
            Self::Kept { collection, points } => {
                out.push(3);
                put_text(out, collection);
                put_len(out, points.len());
                for kept in points.iter() {
                    put_subject(out, Subject::Point(kept.point));
                    put(out, kept.place);
                    put(out, kept.made_ms);
                    put(out, kept.intended_s.into());
                }
            }
            Self::KeptBarrier {
                collection,
                kind,
                subject,
                place,
                made_ms,
            } => {
                out.push(4);
                put_text(out, collection);
                out.push(kind_byte(*kind));
                put_subject(out, *subject);
                put(out, *place);
                put(out, *made_ms);
            }
            Self::Sure { collection, place } => {
                out.push(5);
                put_text(out, collection);
                put(out, *place);
            }
            Self::Buried {
                collection,
                point,
                reason,
                since_ms,
            } => {
                out.push(6);
                put_text(out, collection);
                put_subject(out, Subject::Point(*point));
                put_text(out, reason);
                put(out, *since_ms);
            }
            Self::Raised { collection, points } => {
                out.push(7);
                put_text(out, collection);
                put_points(out, points);
            }
            Self::SweepDue {
                collection,
                reason,
                token,
                since_ms,
                spills,
            } => {
                out.push(8);
                put_which(out, collection.as_deref());
                put_text(out, reason);
                put(out, *token);
                put(out, *since_ms);
                out.push(u8::from(*spills));
            }
            Self::Swept { collection } => {
                out.push(9);
                put_which(out, collection.as_deref());
            }
            Self::Forgotten => out.push(10),
            Self::CopyBegins => out.push(11),
            Self::CopyEnds { first } => {
                out.push(12);
                put(out, *first);
            }
            Self::Continued => out.push(13),
        }
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Plain => 0,
        Kind::Intent => 1,
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_len(out: &mut Vec<u8>, length: usize) {
    put(out, u64::try_from(length).unwrap_or(u64::MAX));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_which(out: &mut Vec<u8>, collection: Option<&str>) {
    out.push(u8::from(collection.is_some()));
    if let Some(collection) = collection {
        put_text(out, collection);
    }
}

fn put_points(out: &mut Vec<u8>, points: &[PointKey]) {
    put_len(out, points.len());
    for point in points {
        put_subject(out, Subject::Point(*point));
    }
}

fn put_subject(out: &mut Vec<u8>, subject: Subject) {
    match subject {
        Subject::Point(PointKey::Number(number)) => {
            out.push(0);
            put(out, number);
        }
        Subject::Point(PointKey::Uuid(uuid)) => {
            out.push(1);
            out.extend_from_slice(&uuid.to_le_bytes());
        }
        Subject::Schema => out.push(2),
        Subject::Dropped => out.push(3),
    }
}

/// The records of a payload. `None` when it is not of this version, or not made of records.
pub(super) fn decode(payload: &[u8]) -> Option<Vec<Record<'static>>> {
    let mut from = Reader { rest: payload };
    if from.byte()? != VERSION {
        return None;
    }
    let mut records = Vec::new();
    while !from.rest.is_empty() {
        records.push(from.record()?);
    }
    Some(records)
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl Reader<'_> {
    fn record(&mut self) -> Option<Record<'static>> {
        Some(match self.byte()? {
            1 => Record::Marked {
                collection: self.text()?,
                kind: self.kind()?,
                at_ms: self.number()?,
                first: self.number()?,
                subjects: self.list(Self::subject)?,
            },
            2 => Record::Cleared {
                collection: self.text()?,
                points: self.list(Self::point)?,
                barriers: self.list(Self::number)?,
            },
            3 => Record::Kept {
                collection: self.text()?,
                points: self.list(Self::kept)?,
            },
            4 => Record::KeptBarrier {
                collection: self.text()?,
                kind: self.kind()?,
                subject: self.subject()?,
                place: self.number()?,
                made_ms: self.number()?,
            },
            5 => Record::Sure {
                collection: self.text()?,
                place: self.number()?,
            },
            6 => Record::Buried {
                collection: self.text()?,
                point: self.point()?,
                reason: self.text()?,
                since_ms: self.number()?,
            },
            7 => Record::Raised {
                collection: self.text()?,
                points: self.list(Self::point)?,
            },
            8 => Record::SweepDue {
                collection: self.which()?,
                reason: self.text()?,
                token: self.number()?,
                since_ms: self.number()?,
                spills: self.flag()?,
            },
            9 => Record::Swept {
                collection: self.which()?,
            },
            10 => Record::Forgotten,
            11 => Record::CopyBegins,
            12 => Record::CopyEnds {
                first: self.number()?,
            },
            13 => Record::Continued,
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn bytes(&mut self, length: usize) -> Option<&[u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn kind(&mut self) -> Option<Kind> {
        Some(if self.flag()? {
            Kind::Intent
        } else {
            Kind::Plain
        })
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && low > 1 {
                return None;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<Cow<'static, str>> {
        let length = self.length()?;
        let text = std::str::from_utf8(self.bytes(length)?).ok()?;
        Some(Cow::Owned(text.to_owned()))
    }

    fn which(&mut self) -> Option<Option<Cow<'static, str>>> {
        Some(if self.flag()? {
            Some(self.text()?)
        } else {
            None
        })
    }

    fn subject(&mut self) -> Option<Subject> {
        Some(match self.byte()? {
            0 => Subject::Point(PointKey::Number(self.number()?)),
            1 => Subject::Point(PointKey::Uuid(u128::from_le_bytes(
                self.bytes(16)?.try_into().ok()?,
            ))),
            2 => Subject::Schema,
            3 => Subject::Dropped,
            _ => return None,
        })
    }

    fn point(&mut self) -> Option<PointKey> {
        match self.subject()? {
            Subject::Point(point) => Some(point),
            Subject::Schema | Subject::Dropped => None,
        }
    }

    fn kept(&mut self) -> Option<Kept> {
        Some(Kept {
            point: self.point()?,
            place: self.number()?,
            made_ms: self.number()?,
            intended_s: u32::try_from(self.number()?).ok()?,
        })
    }

    fn list<T: Clone>(
        &mut self,
        each: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Cow<'static, [T]>> {
        let length = self.length()?;
        // Every item takes a byte at least, so a false length cannot ask for more than there is.
        if length > self.rest.len() {
            return None;
        }
        let mut list = Vec::with_capacity(length);
        for _ in 0..length {
            list.push(each(self)?);
        }
        Some(Cow::Owned(list))
    }
}

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

    fn one_of_each() -> Vec<Record<'static>> {
        let collection = || Cow::Borrowed("c\u{e4}");
        let points = || Cow::Owned(vec![PointKey::Number(u64::MAX), PointKey::Uuid(7)]);
        vec![
            Record::Marked {
                collection: collection(),
                kind: Kind::Intent,
                at_ms: 1,
                first: u64::MAX,
                subjects: Cow::Owned(vec![
                    Subject::Point(PointKey::Number(300)),
                    Subject::Point(PointKey::Uuid(u128::MAX)),
                    Subject::Schema,
                    Subject::Dropped,
                ]),
            },
            Record::Cleared {
                collection: collection(),
                points: points(),
                barriers: Cow::Owned(vec![0, 127, 128]),
            },
            Record::Kept {
                collection: collection(),
                points: Cow::Owned(vec![Kept {
                    point: PointKey::Uuid(9),
                    place: 3,
                    made_ms: 4,
                    intended_s: u32::MAX,
                }]),
            },
            Record::KeptBarrier {
                collection: collection(),
                kind: Kind::Plain,
                subject: Subject::Dropped,
                place: 5,
                made_ms: 6,
            },
            Record::Sure {
                collection: collection(),
                place: 7,
            },
            Record::Buried {
                collection: collection(),
                point: PointKey::Number(0),
                reason: Cow::Borrowed("Wrong input"),
                since_ms: 8,
            },
            Record::Raised {
                collection: collection(),
                points: points(),
            },
            Record::SweepDue {
                collection: None,
                reason: Cow::Borrowed(""),
                token: 9,
                since_ms: 10,
                spills: true,
            },
            Record::Swept {
                collection: Some(collection()),
            },
            Record::Forgotten,
            Record::CopyBegins,
            Record::CopyEnds { first: 11 },
            Record::Continued,
        ]
    }

    fn payload(records: &[Record<'_>]) -> Vec<u8> {
        let mut payload = vec![VERSION];
        records
            .iter()
            .for_each(|record| record.encode(&mut payload));
        payload
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let records = one_of_each();
        assert_eq!(decode(&payload(&records)).unwrap(), records);
    }

    #[test]
    fn a_payload_that_is_cut_or_changed_never_panics() {
        let whole = payload(&one_of_each());
        let mut read = 0;
        for at in 0..whole.len() {
            read += usize::from(decode(&whole[..at]).is_some());
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= flip;
                drop(decode(&changed));
            }
        }
        assert_eq!(read, one_of_each().len(), "cut between two records");
        assert_eq!(decode(&[VERSION + 1, 10]), None);
    }

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
