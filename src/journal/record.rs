//! What stands in a journal, as bytes. They outlive the process, so this is a promise: a change is
//! a new `VERSION`, and a journal of another version is kept aside and answered with a sweep. A
//! kind that is new takes nothing back: an earlier release keeps a journal aside that has one.
//!
//! ```text
//! payload = version:u8  record+          record = kind:u8 fields
//! ```
//!
//! Numbers in records are LEB128, texts and lists are preceded by their length.

#![deny(clippy::indexing_slicing, reason = "bytes come from outside")]

use std::borrow::Cow;

use crate::model::{PointKey, Subject};

pub(super) const VERSION: u8 = 1;

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
    /// What is due by the record before is due once more: at that time, or with `u64::MAX` some
    /// time after the calls that were under way.
    SweepAgain {
        collection: Option<Cow<'a, str>>,
        at_ms: u64,
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
            Self::SweepAgain { collection, at_ms } => {
                out.push(14);
                put_which(out, collection.as_deref());
                put(out, *at_ms);
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

pub(super) struct Reader<'b> {
    pub(super) rest: &'b [u8],
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
            14 => Record::SweepAgain {
                collection: self.which()?,
                at_ms: self.number()?,
            },
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&[u8]> {
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
            Record::SweepAgain {
                collection: Some(collection()),
                at_ms: u64::MAX,
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
}
