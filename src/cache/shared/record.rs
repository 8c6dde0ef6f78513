//! An answer as it stands in Redis. These bytes outlive the process and are read by other versions
//! of it, so they say what they are; and whatever is odd about them makes them a miss.
//!
//! ```text
//! "OUTC" version flags  written u64  life u64  key u128
//! slots u16 × (slot u16, token u64)  fields u16 × (name u16 …, value u32 …)
//! length of the body u64, the body, perhaps in zstd  digest of all of it, 16 bytes
//! ```
//!
//! Numbers are little endian; `written` is milliseconds of the wall clock since 1970.

use std::time::Duration;

use bytes::Bytes;
use highway::{HighwayHash, HighwayHasher};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::millis;
use crate::cache::key::SharedKey;
use crate::cache::scope::Slot;

const MAGIC: [u8; 4] = *b"OUTC";
const VERSION: u8 = 1;
const ZSTD: u8 = 1;
/// A body that is longer is packed.
const PLAIN_BYTES_MAX: usize = 4 * 1024;
/// The fastest that packs JSON well.
const ZSTD_LEVEL: i32 = 1;
const DIGEST_BYTES: usize = 16;
/// Any number, and the same for ever.
const DIGEST_KEY: highway::Key = highway::Key([0x6f75_7472, 0x6967_6765, 0x7220_7265, 0x636f_7264]);
/// Clocks of sidecars may differ by so much.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(5);

/// What is to be written.
pub(super) struct Record<'r> {
    pub(super) key: SharedKey,
    pub(super) tokens: &'r [(Slot, u64)],
    pub(super) head: &'r HeaderMap,
    pub(super) body: &'r [u8],
    pub(super) written: Duration,
    pub(super) life: Duration,
}

/// What was read, good to be served.
#[derive(Debug)]
pub(in crate::cache) struct Found {
    pub(in crate::cache) head: HeaderMap,
    pub(in crate::cache) body: Bytes,
    /// How much longer it may live.
    pub(in crate::cache) left: Duration,
}

/// Why a record is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Odd {
    /// It was read under other tokens.
    OutOfForce,
    /// Its time is over.
    Over,
    /// It is no record of ours, or not the one asked for, or spoiled.
    Garbage,
}

/// `None` for what cannot be written: a head beyond all bounds.
pub(super) fn write(record: &Record<'_>) -> Option<Vec<u8>> {
    let packed = (record.body.len() > PLAIN_BYTES_MAX)
        .then(|| zstd::bulk::compress(record.body, ZSTD_LEVEL).ok())
        .flatten()
        .filter(|packed| packed.len() < record.body.len());
    let body = packed.as_deref().unwrap_or(record.body);
    let mut bytes = Vec::with_capacity(body.len() + 512);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, if packed.is_some() { ZSTD } else { 0 }]);
    bytes.extend(millis(record.written).to_le_bytes());
    bytes.extend(millis(record.life).to_le_bytes());
    bytes.extend(record.key.0.to_le_bytes());
    bytes.extend(u16::try_from(record.tokens.len()).ok()?.to_le_bytes());
    for (slot, token) in record.tokens {
        bytes.extend(slot.number().to_le_bytes());
        bytes.extend(token.to_le_bytes());
    }
    bytes.extend(u16::try_from(record.head.len()).ok()?.to_le_bytes());
    for (name, value) in record.head {
        let name = name.as_str().as_bytes();
        bytes.extend(u16::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend(name);
        bytes.extend(u32::try_from(value.len()).ok()?.to_le_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes.extend((record.body.len() as u64).to_le_bytes());
    bytes.extend(body);
    let digest = digest(&bytes);
    bytes.extend(digest);
    Some(bytes)
}

/// The record under `key`, if it may be served under `tokens` at the time `now`.
pub(super) fn read(
    bytes: &[u8],
    key: SharedKey,
    tokens: &[(Slot, u64)],
    now: Duration,
    answer_bytes_max: usize,
) -> Result<Found, Odd> {
    let at = bytes.len().checked_sub(DIGEST_BYTES).ok_or(Odd::Garbage)?;
    let (told, said) = bytes.split_at(at);
    let mut parts = Parts(told);
    if parts.array()? != MAGIC || parts.array()? != [VERSION] {
        return Err(Odd::Garbage);
    }
    let [flags] = parts.array()?;
    let written = Duration::from_millis(u64::from_le_bytes(parts.array()?));
    let life = Duration::from_millis(u64::from_le_bytes(parts.array()?));
    if u128::from_le_bytes(parts.array()?) != key.0 || flags > ZSTD {
        return Err(Odd::Garbage);
    }
    // The tokens first: most records that are not served are of before a write.
    let count = u16::from_le_bytes(parts.array()?);
    let mut same = usize::from(count) == tokens.len();
    for at in 0..usize::from(count) {
        let slot = u16::from_le_bytes(parts.array()?);
        let token = u64::from_le_bytes(parts.array()?);
        same &= tokens.get(at) == Some(&(Slot::from_number(slot), token));
    }
    if !same {
        return Err(Odd::OutOfForce);
    }
    if said != digest(told) || written > now + CLOCKS_DIFFER_MAX {
        return Err(Odd::Garbage);
    }
    let left = life.saturating_sub(now.saturating_sub(written));
    if left.is_zero() {
        return Err(Odd::Over);
    }
    let head = head_of(&mut parts)?;
    let length = u64::from_le_bytes(parts.array()?);
    let length = usize::try_from(length).map_err(|_too_long| Odd::Garbage)?;
    if length > answer_bytes_max {
        return Err(Odd::Garbage);
    }
    let body = if flags == ZSTD {
        let unpacked = zstd::bulk::decompress(parts.0, length);
        Bytes::from(unpacked.map_err(|_spoiled| Odd::Garbage)?)
    } else {
        Bytes::copy_from_slice(parts.0)
    };
    if body.len() == length {
        Ok(Found { head, body, left })
    } else {
        Err(Odd::Garbage)
    }
}

fn head_of(parts: &mut Parts<'_>) -> Result<HeaderMap, Odd> {
    let mut head = HeaderMap::new();
    for _ in 0..u16::from_le_bytes(parts.array()?) {
        let length = u16::from_le_bytes(parts.array()?);
        let name = HeaderName::from_bytes(parts.take(usize::from(length))?);
        let length = u32::from_le_bytes(parts.array()?);
        let length = usize::try_from(length).map_err(|_too_long| Odd::Garbage)?;
        let value = HeaderValue::from_bytes(parts.take(length)?);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Odd::Garbage);
        };
        head.append(name, value);
    }
    Ok(head)
}

/// Against accidents: whoever may write to Redis may write whatever they like.
fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut digest = HighwayHasher::new(DIGEST_KEY);
    digest.append(bytes);
    let [low, high] = digest.finalize128();
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// What is still to be read.
struct Parts<'b>(&'b [u8]);

impl<'b> Parts<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Odd> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Odd::Garbage)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Odd> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_length| Odd::Garbage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SharedKey = SharedKey(7);
    const LIFE: Duration = Duration::from_secs(60);
    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn tokens() -> Vec<(Slot, u64)> {
        vec![(Slot::from_number(0), 11), (Slot::from_number(9), 12)]
    }

    fn written(body: &[u8]) -> Vec<u8> {
        let mut head = HeaderMap::new();
        head.insert("content-type", HeaderValue::from_static("application/json"));
        head.append("x-two", HeaderValue::from_static("1"));
        head.append("x-two", HeaderValue::from_static("2"));
        let (head, tokens) = (&head, &tokens()[..]);
        let record = Record {
            key: KEY,
            tokens,
            head,
            body,
            written: NOW,
            life: LIFE,
        };
        write(&record).unwrap()
    }

    fn at(bytes: &[u8], now: Duration) -> Result<Found, Odd> {
        read(bytes, KEY, &tokens(), now, 1 << 20)
    }

    #[test]
    fn what_was_written_is_read_byte_for_byte() {
        let long = b"{\"id\": 1, \"score\": 0.5}".repeat(1000);
        for body in [&b""[..], b"{}", &long] {
            let bytes = written(body);
            let found = at(&bytes, NOW + Duration::from_secs(10)).unwrap();
            assert_eq!(found.body, body);
            assert_eq!(found.left, Duration::from_secs(50));
            let two: Vec<_> = found.head.get_all("x-two").iter().collect();
            assert_eq!(two, ["1", "2"]);
        }
        assert!(written(&long).len() < long.len() / 10);
    }

    #[test]
    fn other_tokens_or_the_end_of_its_time_make_it_a_miss() {
        let bytes = written(b"{}");
        let mut other = tokens();
        other[1].1 = 13;
        let odd = |tokens: &[_]| read(&bytes, KEY, tokens, NOW, 100).err();
        assert_eq!(odd(&other), Some(Odd::OutOfForce));
        assert_eq!(odd(&tokens()[..1]), Some(Odd::OutOfForce));
        assert_eq!(at(&bytes, NOW + LIFE).err(), Some(Odd::Over));
        let early = NOW.checked_sub(Duration::from_mins(1)).unwrap();
        assert_eq!(at(&bytes, early).err(), Some(Odd::Garbage));
        assert!(read(&bytes, SharedKey(8), &tokens(), NOW, 100).is_err());
    }

    #[test]
    fn whatever_byte_is_spoiled_or_missing_it_is_never_served() {
        let bytes = written(&b"0123456789".repeat(500));
        for place in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            spoiled[place] ^= 0x10;
            assert!(at(&spoiled, NOW).is_err(), "{place}");
            assert!(at(&bytes[..place], NOW).is_err(), "{place}");
        }
        assert!(at(&[], NOW).is_err());
    }

    #[test]
    fn a_body_beyond_the_bound_is_not_unpacked() {
        let bytes = written(&[0; 1 << 16]);
        assert!(bytes.len() < 1000);
        let odd = read(&bytes, KEY, &tokens(), NOW, 1000).err();
        assert_eq!(odd, Some(Odd::Garbage));
    }

    #[test]
    fn a_record_of_another_version_is_not_read() {
        let mut bytes = written(b"{}");
        bytes.truncate(bytes.len() - DIGEST_BYTES);
        bytes[MAGIC.len()] += 1;
        let digest = digest(&bytes);
        bytes.extend(digest);
        assert_eq!(at(&bytes, NOW).err(), Some(Odd::Garbage));
    }
}
