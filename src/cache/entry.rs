//! A kept answer, and what it takes in memory.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, SET_COOKIE, TRANSFER_ENCODING,
};
use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::generation::Seen;

/// What an entry takes beside its answer: moka's own node and its links, the key, ourselves. Found
/// by measuring; `loadtest/memory` does it again.
pub(super) const OVERHEAD_BYTES: usize = 320;

/// Fields of a head that belong to the one answer or the one connection.
const NOT_KEPT: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("x-request-id"),
];

pub(super) struct Entry {
    pub(super) seen: Seen,
    pub(super) head: Head,
    pub(super) body: Bytes,
    /// When it was put here.
    pub(super) kept_at: Instant,
    pub(super) fresh_until: Instant,
    /// Not served after this, fresh or stale: the token that it was given for runs out.
    pub(super) ends: Option<Instant>,
}

impl Entry {
    pub(super) fn weight(&self) -> u32 {
        let bytes = OVERHEAD_BYTES + self.seen.bytes() + self.head.bytes + self.body.len();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    pub(super) fn answer<B>(&self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        let mut response = Response::new(body(self.body.clone()));
        *response.status_mut() = StatusCode::OK;
        *response.headers_mut() = HeaderMap::clone(&self.head.fields);
        response
    }
}

/// The heads of answers. There are few different ones, so each is kept once.
#[derive(Default)]
pub(super) struct Heads(Mutex<Vec<Arc<HeaderMap>>>);

const HEADS_MAX: usize = 256;
/// What a head takes that no other answer has.
const HEAD_BYTES: usize = 768;

/// A head as it is kept, and what it takes.
pub(super) struct Head {
    pub(super) fields: Arc<HeaderMap>,
    pub(super) bytes: usize,
}

impl Heads {
    /// `None` when the head is one that must not be kept.
    pub(super) fn kept(&self, fields: &HeaderMap) -> Option<Head> {
        if fields.contains_key(SET_COOKIE) {
            return None;
        }
        let mut head = fields.clone();
        for name in NOT_KEPT {
            head.remove(name);
        }
        let mut heads = self.0.lock();
        if let Some(known) = heads.iter().find(|known| ***known == head) {
            let fields = Arc::clone(known);
            return Some(Head { fields, bytes: 0 });
        }
        if heads.len() == HEADS_MAX {
            heads.remove(0);
        }
        let fields = Arc::new(head);
        heads.push(Arc::clone(&fields));
        Some(Head {
            fields,
            bytes: HEAD_BYTES,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn a_head_is_kept_once_without_what_belongs_to_one_answer() {
        let heads = Heads::default();
        let first = heads
            .kept(&fields(&[("content-type", "a"), ("date", "1")]))
            .unwrap();
        let second = heads
            .kept(&fields(&[("content-type", "a"), ("date", "2")]))
            .unwrap();
        assert!(Arc::ptr_eq(&first.fields, &second.fields));
        assert_eq!(second.bytes, 0);
        assert_eq!(*first.fields, fields(&[("content-type", "a")]));
        let other = heads.kept(&fields(&[("content-type", "b")])).unwrap();
        assert!(!Arc::ptr_eq(&first.fields, &other.fields));
    }

    #[test]
    fn a_cookie_is_for_one_client() {
        assert!(
            Heads::default()
                .kept(&fields(&[("set-cookie", "a")]))
                .is_none()
        );
    }
}
