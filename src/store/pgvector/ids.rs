//! A point's id as a key whose bytes sort as Qdrant sorts ids: all numbers before all UUIDs,
//! numbers by value, UUIDs by their bytes.

use qdrant_edge::PointId;
use qdrant_edge::external::uuid::Uuid;

use super::link;
use crate::error::Result;
use crate::model::PointKey;

const NUMBER: u8 = 0;
const UUID: u8 = 1;

pub(super) fn key(id: PointId) -> Vec<u8> {
    match id {
        PointId::NumId(number) => tagged(NUMBER, &number.to_be_bytes()),
        PointId::Uuid(uuid) => tagged(UUID, uuid.as_bytes()),
    }
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + bytes.len());
    key.push(tag);
    key.extend_from_slice(bytes);
    key
}

pub(super) fn keys(ids: impl IntoIterator<Item = PointId>) -> Vec<Vec<u8>> {
    ids.into_iter().map(key).collect()
}

pub(super) fn parse(key: &[u8]) -> Result<PointId> {
    let parsed = key.split_first().and_then(|(tag, bytes)| match *tag {
        NUMBER => bytes
            .try_into()
            .ok()
            .map(|bytes| PointId::NumId(u64::from_be_bytes(bytes))),
        UUID => Uuid::from_slice(bytes).ok().map(PointId::Uuid),
        _ => None,
    });
    parsed.ok_or_else(|| link::nonsense("a point's id"))
}

/// The same for an id in the words of `model`.
pub(super) fn key_of(id: PointKey) -> Vec<u8> {
    match id {
        PointKey::Number(number) => tagged(NUMBER, &number.to_be_bytes()),
        PointKey::Uuid(uuid) => tagged(UUID, &uuid.to_be_bytes()),
    }
}

pub(super) fn point_key(key: &[u8]) -> Result<PointKey> {
    Ok(match parse(key)? {
        PointId::NumId(number) => PointKey::Number(number),
        PointId::Uuid(uuid) => PointKey::Uuid(uuid.as_u128()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_ids_do_and_come_back() {
        let uuid = |last| PointId::Uuid(Uuid::from_u128(last));
        let sorted = [
            PointId::NumId(0),
            PointId::NumId(255),
            PointId::NumId(256),
            PointId::NumId(i64::MAX.unsigned_abs()),
            PointId::NumId(i64::MAX.unsigned_abs() + 1),
            PointId::NumId(u64::MAX),
            uuid(0),
            uuid(1),
            uuid(u128::MAX),
        ];
        let keys = keys(sorted);
        assert!(keys.is_sorted());
        for (id, key) in sorted.iter().zip(&keys) {
            assert_eq!(parse(key).unwrap(), *id);
            assert_eq!(&key_of(point_key(key).unwrap()), key);
        }
        for wrong in [&b""[..], b"\x00\x01", b"\x02aaaaaaaa", b"\x01short"] {
            assert!(parse(wrong).is_err());
        }
    }
}
