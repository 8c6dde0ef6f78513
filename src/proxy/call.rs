//! What the stations hand to one another: a call on the way in, an answer on the way out.

use http::Response;
use http::request::Parts;
use hyper::body::Incoming;

use super::marks::Marks;
use crate::cache::Asker;
use crate::model::{Operation, Role};
use crate::net::Body;

/// A recognised request. Made once, by `front`.
pub struct Call {
    pub operation: Operation,
    /// The name of the collection in the path, unchecked.
    pub collection: Option<Box<str>>,
    /// Who asks, told before the sidecar's own key is taken off.
    pub asker: Asker,
    pub head: Parts,
    pub body: Upload,
    pub marks: Marks,
}

/// The body of a call on the way in.
pub enum Upload {
    Coming(Incoming),
    /// In memory already, and within all limits.
    Whole(Body),
}

impl Call {
    /// A browser asking whether it may ask. It carries no credential and touches no data.
    pub fn is_preflight(&self) -> bool {
        self.head.method == http::Method::OPTIONS
            && self.head.headers.contains_key(http::header::ORIGIN)
            && self
                .head
                .headers
                .contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}

/// What the cache did. Also a metric label and a response header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheStatus {
    /// Kept in this process.
    HitL1,
    /// Kept in this process, for a question that differs in the last bits of its vectors.
    HitL1Near,
    /// Kept in Redis.
    HitL2,
    /// Asked of the store, because nothing was kept.
    Miss,
    /// The answer to an equal question that was under way.
    Coalesced,
    /// Kept, and past its time.
    Stale,
    /// The cache had no part in it.
    Bypass,
}

impl CacheStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HitL1 => "hit-l1",
            Self::HitL1Near => "hit-l1; near",
            Self::HitL2 => "hit-l2",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Stale => "stale",
            Self::Bypass => "bypass",
        }
    }
}

/// An answer and where it is from.
pub struct Answer {
    pub response: Response<Body>,
    /// The store that answered; none when the sidecar did.
    pub store: Option<Role>,
    pub cache: CacheStatus,
}

impl Answer {
    /// An answer of the sidecar's own.
    pub fn own(response: Response<Body>) -> Self {
        Self {
            response,
            store: None,
            cache: CacheStatus::Bypass,
        }
    }

    pub fn of_store(response: Response<Body>, store: Role) -> Self {
        Self {
            response,
            store: Some(store),
            cache: CacheStatus::Bypass,
        }
    }

    pub fn by_cache(mut self, cache: CacheStatus) -> Self {
        self.cache = cache;
        self
    }

    /// Keeps `held` until a streamed answer has been sent; a whole one lets go at once.
    pub fn holding(mut self, held: impl Send + Sync + 'static) -> Self {
        let (head, body) = self.response.into_parts();
        let body = if body.is_whole() {
            body
        } else {
            body.holding(held)
        };
        self.response = Response::from_parts(head, body);
        self
    }
}
