//! What is kept, for how long, and why not.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, PRAGMA};

use super::generation::Unfit;
use crate::model::{Class, Operation};

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Why an answer was not looked for, or not kept. Also a metric label.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Bypass {
    /// No cache is configured.
    Off,
    /// The collection has opted out.
    Collection,
    /// The client asked for a fresh answer.
    Asked,
    /// The question is longer than what is read into memory for it.
    BodyTooLarge,
    /// The question asks for a random sample.
    Random,
    /// The token of the caller is bound to data that can change at any time, or has run out.
    Token,
    /// The answer is longer than `max_entry_kb`, or streams.
    AnswerTooLarge,
    /// The answer is no plain success.
    Status,
    /// The answer's head is for one client only.
    Head,
    /// A write was under way, or came in between.
    Written,
    /// The effect of a write may still be to come.
    Unsettled,
    /// The channel to the other sidecars is lost.
    Blind,
    /// The follower answered in the place of the read store.
    Failover,
}

impl Bypass {
    pub const ALL: [Self; 13] = [
        Self::Off,
        Self::Collection,
        Self::Asked,
        Self::BodyTooLarge,
        Self::Random,
        Self::Token,
        Self::AnswerTooLarge,
        Self::Status,
        Self::Head,
        Self::Written,
        Self::Unsettled,
        Self::Blind,
        Self::Failover,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Collection => "collection",
            Self::Asked => "asked",
            Self::BodyTooLarge => "body_too_large",
            Self::Random => "random",
            Self::Token => "token",
            Self::AnswerTooLarge => "answer_too_large",
            Self::Status => "status",
            Self::Head => "head",
            Self::Written => "written",
            Self::Unsettled => "unsettled",
            Self::Blind => "blind",
            Self::Failover => "failover",
        }
    }
}

impl From<Unfit> for Bypass {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Written => Self::Written,
            Unfit::Unsettled => Self::Unsettled,
        }
    }
}

/// How answers are kept.
#[derive(Clone, Debug)]
pub struct Policy {
    pub enabled: bool,
    pub ttl: Duration,
    pub entry_bytes_max: usize,
    pub collections: HashMap<String, CollectionPolicy>,
}

/// What one collection has of its own.
#[derive(Clone, Debug, Default)]
pub struct CollectionPolicy {
    pub enabled: Option<bool>,
    pub ttl: Option<Duration>,
    pub tenant_key: Option<String>,
}

/// How long an answer is kept in each tier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ttls {
    pub(super) here: Duration,
    pub(super) second: Duration,
}

/// What a collection is changes by itself, too: an index gets ready, a count catches up.
const METADATA_TTL: Duration = Duration::from_secs(2);

impl Policy {
    /// Whether answers of this kind are ever kept.
    pub fn keeps(operation: Operation) -> bool {
        match operation.class() {
            Class::PointRead | Class::SearchRead | Class::CollectionRead | Class::AliasRead => true,
            Class::SampleRead
            | Class::PointWrite
            | Class::CollectionWrite
            | Class::IndexWrite
            | Class::AliasWrite
            | Class::SnapshotRead
            | Class::SnapshotWrite
            | Class::ClusterRead
            | Class::ClusterWrite
            | Class::ServiceRead
            | Class::ServiceWrite
            | Class::Embedding
            | Class::Unknown => false,
        }
    }

    /// For how long an answer is kept.
    pub(super) fn ttl(
        &self,
        operation: Operation,
        collection: Option<&str>,
    ) -> Result<Duration, Bypass> {
        if !self.enabled {
            return Err(Bypass::Off);
        }
        let own = collection.and_then(|name| self.collections.get(name));
        if own.and_then(|own| own.enabled) == Some(false) {
            return Err(Bypass::Collection);
        }
        let ttl = own.and_then(|own| own.ttl).unwrap_or(self.ttl);
        Ok(match operation.class() {
            Class::CollectionRead | Class::AliasRead => ttl.min(METADATA_TTL),
            Class::PointRead
            | Class::SearchRead
            | Class::SampleRead
            | Class::PointWrite
            | Class::CollectionWrite
            | Class::IndexWrite
            | Class::AliasWrite
            | Class::SnapshotRead
            | Class::SnapshotWrite
            | Class::ClusterRead
            | Class::ClusterWrite
            | Class::ServiceRead
            | Class::ServiceWrite
            | Class::Embedding
            | Class::Unknown => ttl,
        })
    }

    /// For how long an answer is kept, under each of these names of one collection. In the second
    /// tier it is `second`, unless the collection has a time of its own: then no answer is older.
    pub(super) fn ttls(
        &self,
        operation: Operation,
        names: [Option<&str>; 2],
        second: Duration,
    ) -> Result<Ttls, Bypass> {
        let [first, _] = names;
        let here = self.ttl(operation, first)?;
        let mut ttls = Ttls { here, second };
        if matches!(operation.class(), Class::CollectionRead | Class::AliasRead) {
            ttls.second = second.min(METADATA_TTL);
        }
        for name in names.into_iter().flatten() {
            ttls.here = ttls.here.min(self.ttl(operation, Some(name))?);
            if let Some(own) = self.collections.get(name).and_then(|own| own.ttl) {
                ttls.second = ttls.second.min(own);
            }
        }
        Ok(ttls)
    }

    /// The longest that anything is kept.
    pub(super) fn ttl_max(&self) -> Duration {
        let own = self.collections.values().filter_map(|own| own.ttl);
        own.fold(self.ttl, Duration::max)
    }
}

/// Whether the client will not have a kept answer.
pub(super) fn asks_for_fresh(fields: &HeaderMap) -> bool {
    let says = |name, words: &[&str]| {
        fields.get_all(name).iter().any(|value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
            text.split(',').any(|part| words.contains(&part.trim()))
        })
    };
    says(CACHE_CONTROL, &["no-cache", "no-store", "max-age=0"]) || says(PRAGMA, &["no-cache"])
}

/// How much longer what the caller's token opens may be kept: `None` without a bound.
///
/// A JWT's answers live no longer than the token. One with `value_exists` is revoked by data.
pub fn token_life(fields: &HeaderMap, since_epoch: Duration) -> Result<Option<Duration>, Bypass> {
    let mut life: Option<Duration> = None;
    for value in fields
        .get_all(API_KEY)
        .iter()
        .chain(fields.get_all(AUTHORIZATION))
    {
        let Some(claims) = claims(value) else {
            continue;
        };
        if claims
            .get("value_exists")
            .is_some_and(|value| !value.is_null())
        {
            return Err(Bypass::Token);
        }
        if let Some(expires) = claims.get("exp").and_then(serde_json::Value::as_f64) {
            let left = expires - since_epoch.as_secs_f64();
            let left = Duration::try_from_secs_f64(left).map_err(|_over| Bypass::Token)?;
            life = Some(life.map_or(left, |life| life.min(left)));
        }
    }
    Ok(life)
}

/// The claims of what looks like a JWT. Whether it is genuine is the store's to judge.
fn claims(value: &HeaderValue) -> Option<serde_json::Map<String, serde_json::Value>> {
    let text = value.to_str().ok()?;
    let token = text.rsplit(' ').next()?;
    let mut parts = token.split('.');
    let (_head, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = BASE64_URL_SAFE_NO_PAD
        .decode(claims.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let own = CollectionPolicy {
            ttl: Some(Duration::from_secs(900)),
            ..CollectionPolicy::default()
        };
        let out = CollectionPolicy {
            enabled: Some(false),
            ..CollectionPolicy::default()
        };
        Policy {
            enabled: true,
            ttl: Duration::from_secs(300),
            entry_bytes_max: 1024,
            collections: [("own".to_owned(), own), ("out".to_owned(), out)].into(),
        }
    }

    #[test]
    fn a_collection_may_have_a_time_of_its_own_or_opt_out() {
        let policy = policy();
        let ttl = |operation, name| policy.ttl(operation, Some(name));
        let seconds = |seconds| Ok(Duration::from_secs(seconds));
        assert_eq!(ttl(Operation::QueryPoints, "any"), seconds(300));
        assert_eq!(ttl(Operation::QueryPoints, "own"), seconds(900));
        assert_eq!(ttl(Operation::QueryPoints, "out"), Err(Bypass::Collection));
        assert_eq!(ttl(Operation::GetCollection, "own"), Ok(METADATA_TTL));
        assert_eq!(policy.ttl_max(), Duration::from_secs(900));
    }

    #[test]
    fn in_the_second_tier_no_answer_outlives_a_time_that_its_collection_has_of_its_own() {
        let policy = policy();
        let second = |operation, names| {
            let hour = Duration::from_hours(1);
            policy.ttls(operation, names, hour).unwrap().second
        };
        let query = Operation::QueryPoints;
        assert_eq!(second(query, [Some("any"), None]), Duration::from_hours(1));
        let own = Duration::from_secs(900);
        assert_eq!(second(query, [Some("own"), None]), own);
        assert_eq!(second(query, [Some("live"), Some("own")]), own);
        let metadata = Operation::GetCollection;
        assert_eq!(second(metadata, [Some("own"), None]), METADATA_TTL);
    }

    #[test]
    fn only_reads_are_kept() {
        for operation in Operation::ALL {
            if Policy::keeps(operation) {
                assert!(operation.class().is_read(), "{operation}");
            }
        }
    }

    fn asked(name: HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn a_client_may_ask_for_a_fresh_answer() {
        for text in ["no-cache", "No-Store", "private, no-cache", "max-age=0"] {
            assert!(asks_for_fresh(&asked(CACHE_CONTROL, text)), "{text}");
        }
        assert!(!asks_for_fresh(&asked(CACHE_CONTROL, "max-age=60")));
        assert!(asks_for_fresh(&asked(PRAGMA, "no-cache")));
    }

    /// `{"exp": 2000}`, `{"value_exists": {}}` and a key that only has dots.
    const EXPIRES: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJleHAiOiAyMDAwfQ.c2ln";
    const BOUND: &str = "eyJhbGciOiJIUzI1NiJ9.eyJ2YWx1ZV9leGlzdHMiOiB7fX0.c2ln";

    #[test]
    fn an_answer_lives_no_longer_than_the_token_it_was_given_for() {
        let life = |fields: &HeaderMap, now| token_life(fields, Duration::from_secs(now));
        let expires = asked(AUTHORIZATION, EXPIRES);
        assert_eq!(life(&expires, 1990), Ok(Some(Duration::from_secs(10))));
        assert_eq!(life(&expires, 2001), Err(Bypass::Token));
        assert_eq!(life(&asked(API_KEY, BOUND), 0), Err(Bypass::Token));
        assert_eq!(life(&asked(API_KEY, "a.b.c"), 0), Ok(None));
        assert_eq!(life(&asked(API_KEY, "secret"), 0), Ok(None));
        assert_eq!(life(&HeaderMap::new(), 0), Ok(None));
    }
}
