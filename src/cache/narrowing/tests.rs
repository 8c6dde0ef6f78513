//! Two writes that meet: nobody may go by a look-up that the other made out of date.

use std::time::Duration;

use futures_util::FutureExt;
use http::HeaderMap;
use serde_json::{Value, json};

use super::super::policy::{CollectionPolicy, Policy};
use super::super::{CacheSettings, Company, Outcome};
use super::*;
use crate::metrics::Metrics;

const SETTLE: Duration = Duration::from_secs(1);

impl Writing {
    /// There is no Redis that would have to know.
    fn ended(self, outcome: Outcome) {
        assert!(self.end(outcome).now_or_never().is_some());
    }
}

struct Docs {
    cache: Cache,
    names: Names,
    tenancy: Arc<Tenancy>,
}

impl Docs {
    fn new() -> Self {
        let own = CollectionPolicy {
            tenant_key: Some("u".to_owned()),
            ..CollectionPolicy::default()
        };
        let settings = CacheSettings {
            policy: Policy {
                enabled: true,
                ttl: Duration::from_secs(60),
                entry_bytes_max: 1024,
                collections: [("docs".to_owned(), own)].into(),
            },
            memory_bytes: 1 << 20,
            settle: SETTLE,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            company: Company::Alone,
            vector_rounding: None,
            redis: None,
        };
        let cache = Cache::new(settings, Metrics::new().cache);
        let docs = Self {
            names: Names::default(),
            tenancy: told(&cache, b"{\"result\":{\"config\":{\"params\":{}}}}"),
            cache,
        };
        assert!(
            docs.cache
                .admits(Operation::QueryPoints, &HeaderMap::new())
                .is_ok()
        );
        docs
    }

    fn writes(&self, operation: Operation, body: &Value) -> Narrowing {
        let body = body.to_string();
        let body = Some(body.as_bytes());
        self.cache
            .narrowing(operation, "docs", &self.names, body)
            .unwrap()
    }

    fn upserts(&self, id: u64, user: &str) -> Narrowing {
        let point = json!({"id": id, "vector": [], "payload": {"u": user}});
        self.writes(Operation::UpsertPoints, &json!({"points": [point]}))
    }

    /// What an answer for this user would hang on now.
    fn reads(&self, user: &str) -> Seen {
        let body =
            json!({"query": [0.1], "filter": {"must": {"key": "u", "match": {"value": user}}}});
        let body = body.to_string();
        let operation = Operation::QueryPoints;
        let slots = self
            .cache
            .pinned(operation, "docs", &self.tenancy, body.as_bytes());
        self.cache.generations.see(&slots.unwrap())
    }

    fn still(&self, seen: &Seen) -> bool {
        self.cache.generations.in_force(seen)
    }
}

fn told(cache: &Cache, answer: &[u8]) -> Arc<Tenancy> {
    let names = Names::default();
    let before = cache.before_tenancy("docs", &names);
    let who = (Asker::default(), "docs");
    cache
        .remember_tenancy(who, &names, Some(answer), before)
        .unwrap()
}

/// The store's answer: these points, each with its user.
fn found(points: &[(u64, &str)]) -> Vec<u8> {
    let points = points
        .iter()
        .map(|(id, user)| json!({"id": id, "payload": {"u": user}}));
    let points: Vec<Value> = points.collect();
    json!({ "result": points }).to_string().into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_write_alone_touches_whose_its_points_were_and_become() {
    let docs = Docs::new();
    let [a, b, c] = ["a", "b", "c"].map(|user| docs.reads(user));
    let writing = docs.upserts(1, "b").narrow(Some(&found(&[(1, "a")])));
    assert!(
        !docs.still(&a) && !docs.still(&b),
        "both are touched before it is sent"
    );
    let during = docs.reads("a");
    writing.ended(Outcome::Settled);
    assert!(!docs.still(&during) && docs.still(&c));
}

#[tokio::test(start_paused = true)]
async fn two_writes_of_one_point_at_one_time_touch_everybody() {
    let docs = Docs::new();
    // Both look before either is done: neither knows whose the other makes the point.
    let first = docs.upserts(7, "a").narrow(Some(&found(&[])));
    let second = docs.upserts(7, "b").narrow(Some(&found(&[])));
    first.ended(Outcome::Settled);
    let (a, c) = (docs.reads("a"), docs.reads("c"));
    second.ended(Outcome::Settled);
    assert!(
        !docs.still(&a) && !docs.still(&c),
        "7 was a's when b took it"
    );
}

#[tokio::test(start_paused = true)]
async fn two_writes_of_different_points_leave_the_others_alone() {
    let docs = Docs::new();
    let c = docs.reads("c");
    let first = docs.upserts(7, "a").narrow(Some(&found(&[])));
    let second = docs.upserts(8, "b").narrow(Some(&found(&[])));
    first.ended(Outcome::Settled);
    second.ended(Outcome::Settled);
    assert!(docs.still(&c));
}

#[tokio::test(start_paused = true)]
async fn a_write_by_filter_and_any_other_touch_everybody() {
    let delete = json!({"filter": {"must": {"key": "u", "match": {"value": "a"}}}});
    for filter_first in [true, false] {
        let docs = Docs::new();
        let by_filter = || {
            let writes = docs.writes(Operation::DeletePoints, &delete);
            writes.narrow(Some(&found(&[(1, "a")])))
        };
        let by_id = || docs.upserts(7, "a").narrow(Some(&found(&[(7, "c")])));
        let (first, second) = if filter_first {
            let first = by_filter();
            (first, by_id())
        } else {
            let first = by_id();
            (first, by_filter())
        };
        let d = docs.reads("d");
        first.ended(Outcome::Settled);
        assert!(!docs.still(&d), "{filter_first}");
        let d = docs.reads("d");
        second.ended(Outcome::Settled);
        assert!(!docs.still(&d), "{filter_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broad_write_at_the_same_time_makes_it_broad() {
    for before in [true, false] {
        let docs = Docs::new();
        let broad = || {
            let names = Some(&docs.names);
            docs.cache
                .writing(Operation::UpsertPoints, Some("docs"), names)
                .unwrap()
        };
        let begun = before.then(broad);
        let narrow = docs.upserts(7, "a").narrow(Some(&found(&[])));
        let begun = begun.unwrap_or_else(broad);
        begun.ended(Outcome::Settled);
        let c = docs.reads("c");
        narrow.ended(Outcome::Settled);
        assert!(!docs.still(&c), "{before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_has_not_settled_is_still_to_be_reckoned_with() {
    let docs = Docs::new();
    docs.upserts(7, "a")
        .narrow(Some(&found(&[])))
        .ended(Outcome::Unsettled);
    let c = docs.reads("c");
    docs.upserts(7, "b")
        .narrow(Some(&found(&[])))
        .ended(Outcome::Settled);
    assert!(!docs.still(&c));
    tokio::time::advance(2 * SETTLE).await;
    let c = docs.reads("c");
    docs.upserts(7, "b")
        .narrow(Some(&found(&[(7, "a")])))
        .ended(Outcome::Settled);
    assert!(docs.still(&c));
}

#[tokio::test(start_paused = true)]
async fn without_a_look_up_everybody_is_touched() {
    let docs = Docs::new();
    for answer in [None, Some(b"nonsense".as_slice())] {
        let c = docs.reads("c");
        let writing = docs.upserts(7, "a").narrow(answer);
        assert!(!docs.still(&c));
        writing.ended(Outcome::Settled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_learned_meanwhile_makes_it_broad() {
    let docs = Docs::new();
    let narrow = docs.upserts(7, "a").narrow(Some(&found(&[])));
    let schema = json!({"v": {"params": {"is_tenant": true}}});
    let info = json!({"result": {"config": {"params": {}}, "payload_schema": schema}});
    told(&docs.cache, info.to_string().as_bytes());
    let c = docs.reads("c");
    narrow.ended(Outcome::Settled);
    assert!(!docs.still(&c));
}

#[tokio::test(start_paused = true)]
async fn when_a_field_is_forgotten_that_answers_hang_on_all_of_them_are_dropped() {
    let docs = Docs::new();
    let a = docs.reads("a");
    let schema = json!({"v": {"params": {"is_tenant": true}}});
    let info = json!({"result": {"config": {"params": {}}, "payload_schema": schema}});
    let info = info.to_string();
    for number in 0..5_000 {
        let name = format!("docs_{number}");
        let before = docs.cache.before_tenancy(&name, &docs.names);
        let who = (Asker::default(), &*name);
        docs.cache
            .remember_tenancy(who, &docs.names, Some(info.as_bytes()), before);
        let fields = docs.cache.tenants.fields(std::iter::once("docs"));
        assert_eq!(docs.still(&a), !fields.is_empty(), "{number}");
    }
    assert!(!docs.still(&a));
}
