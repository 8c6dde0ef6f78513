//! Faults of the follower that are made on purpose, each told for what it is, and none of them ever
//! mended by taking anything from the follower.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use outrigger::stage::Stage;
use serde_json::{Value, json};

use super::{MARKED, POINTS, Primary, Shadowed, best, down, points, without_the_best};
use crate::staged::gate::Fate;
use crate::staged::{Point, points as points_at};
use crate::support::{story, until};

/// What the client reads, whatever the follower has.
async fn at_authority(shadowed: &Shadowed) -> BTreeMap<u64, Point> {
    // A scroll through the sidecar is a read that is compared: it is asked of the store itself.
    points_at(shadowed.world.primary.as_ref().unwrap().at()).await
}

async fn at_follower(shadowed: &Shadowed) -> BTreeMap<u64, Point> {
    points_at(shadowed.world.secondary.at()).await
}

/// A fault, made at the follower alone, is `real`, marked, and mended from the authority.
async fn mended(
    kind: Primary,
    (method, target, body): (&str, &str, Value),
    apart: (&str, &[&str]),
) {
    let shadowed = Shadowed::new(kind, "").await;
    let before = at_follower(&shadowed).await;
    shadowed.behind(method, target, body).await;
    assert_ne!(at_follower(&shadowed).await, before, "{target}");
    // Sync stands still, so that it is seen how it was told.
    let stop = shadowed.world.stages().stop(Stage::AfterTake);
    assert_eq!(shadowed.search().await, down(30, 21));
    shadowed.told(&[("real", 1.0)]).await;
    let shelf = shadowed.shelf().await;
    let (list, ids) = apart;
    assert_eq!(shelf["worst"][0][list], json!(ids), "{shelf}");
    assert_eq!(shelf["points_marked"], shadowed.count(MARKED, ""));
    assert!(shadowed.count(MARKED, "") > 0.0);
    // The same read again: what is marked lags, and is not marked twice.
    let marked = shadowed.count(MARKED, "");
    shadowed.search().await;
    shadowed.told(&[("lagging", 1.0), ("real", 1.0)]).await;
    assert_eq!(shadowed.count(MARKED, ""), marked);
    stop.go();
    shadowed.world.in_sync().await;
    assert_eq!(at_follower(&shadowed).await, before, "{target}");
    if shadowed.world.primary.is_some() {
        assert_eq!(at_authority(&shadowed).await, before, "{target}");
    }
    assert_eq!(shadowed.search().await, down(30, 21));
    shadowed
        .told(&[("equal", 1.0), ("lagging", 1.0), ("real", 1.0)])
        .await;
}

#[test]
fn points_that_the_follower_lacks_are_real_and_mended_from_the_authority() {
    story(async {
        let gone = json!({"points": [25]});
        let fault = ("POST", "/points/delete", gone);
        mended(Primary::Qdrant, fault, ("missing", &["25"])).await;
    });
}

#[test]
fn points_that_only_the_follower_has_are_real_and_taken_away_from_it_alone() {
    story(async {
        let fault = ("PUT", "/points", points([99]));
        mended(Primary::Qdrant, fault, ("extra", &["99"])).await;
    });
}

#[test]
fn stale_payloads_are_real_and_mended_from_the_authority() {
    story(async {
        let stale = json!({"points": [28], "payload": {"name": "stale"}});
        let fault = ("POST", "/points/payload", stale);
        mended(Primary::Qdrant, fault, ("changed", &["28"])).await;
    });
}

#[test]
fn shuffled_scores_are_real_and_mended_from_the_authority() {
    story(async {
        let swapped = json!({"points": [
            {"id": 27, "vector": [28.0, 1.0]},
            {"id": 28, "vector": [27.0, 1.0]},
        ]});
        let fault = ("PUT", "/points/vectors", swapped);
        mended(Primary::Qdrant, fault, ("rescored", &["28", "27"])).await;
    });
}

#[test]
fn faults_behind_a_postgres_are_marked_in_its_outbox() {
    story(async {
        let gone = json!({"points": [25]});
        let fault = ("POST", "/points/delete", gone);
        mended(Primary::Pgvector, fault, ("missing", &["25"])).await;
    });
}

#[test]
fn a_wrong_distance_is_real_and_no_point_is_copied_for_it() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        let before = at_authority(&shadowed).await;
        shadowed.behind("DELETE", "", json!({})).await;
        let made = json!({"vectors": {"size": 2, "distance": "Euclid"}});
        shadowed.behind("PUT", "", made).await;
        shadowed.behind("PUT", "/points", points(1..=POINTS)).await;
        assert_eq!(shadowed.search().await, down(30, 21));
        shadowed.told(&[("real", 1.0)]).await;
        // The points are the same; it is not they that are wrong.
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
        assert_eq!(at_authority(&shadowed).await, before);
        assert_eq!(at_follower(&shadowed).await, before);
    });
}

#[test]
fn a_truncated_answer_is_short() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        shadowed.gate.rewrites(|path, body| {
            if !path.ends_with("/points/query") {
                return body;
            }
            let mut told: Value = serde_json::from_slice(&body).unwrap();
            told["result"]["points"].as_array_mut().unwrap().truncate(4);
            told.to_string().into()
        });
        assert_eq!(shadowed.search().await, down(30, 21));
        shadowed.told(&[("short", 1.0)]).await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
    });
}

#[test]
fn points_that_were_not_found_while_an_index_is_built_are_told_so() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        shadowed.gate.rewrites(|path, body| {
            let body = without_the_best(path, body);
            if path != "/collections/docs" {
                return body;
            }
            let mut told: Value = serde_json::from_slice(&body).unwrap();
            told["result"]["status"] = json!("yellow");
            told.to_string().into()
        });
        assert_eq!(shadowed.search().await, down(30, 21));
        shadowed.told(&[("index", 1.0)]).await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
    });
}

/// As an approximate search does: one row of ten is another than the best.
fn noisy(path: &str, body: Bytes) -> Bytes {
    if !path.ends_with("/points/query") {
        return body;
    }
    let mut told: Value = serde_json::from_slice(&body).unwrap();
    let last = told["result"]["points"].as_array_mut().unwrap().last_mut();
    *last.unwrap() = json!({"id": 5, "version": 0, "score": 5.0, "payload":
        {"n": 5, "half": 2, "name": "secret 5"}});
    told.to_string().into()
}

#[test]
fn what_an_approximate_search_misses_is_noise() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "shadow.baseline = 1.0\n").await;
        shadowed.gate.rewrites(noisy);
        assert_eq!(shadowed.search().await, down(30, 21));
        shadowed.told(&[("noise", 1.0)]).await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
        // It counts for how well they agree, with what the exact answer adds.
        let window = &shadowed.shelf().await["window"];
        assert_eq!(window["overlap"], 0.9);
        assert_eq!(window["overlap_own"], 1.0);
        assert_eq!(window["recall"]["mean"], 0.9);
    });
}

#[test]
fn what_is_asked_exactly_because_it_looks_bad_speaks_for_itself_alone() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        shadowed.gate.rewrites(noisy);
        shadowed.search().await;
        shadowed.told(&[("noise", 1.0)]).await;
        let window = &shadowed.shelf().await["window"];
        assert_eq!(window["overlap"], 0.9);
        assert!(window["overlap_own"].is_null(), "{window}");
        assert!(window["recall"].is_null(), "{window}");
    });
}

#[test]
fn an_exact_search_has_no_noise() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        shadowed.gate.rewrites(noisy);
        let mut exact = best(10);
        exact["params"] = json!({"exact": true});
        shadowed.ask("/points/query", &exact).await;
        shadowed.told(&[("real", 1.0)]).await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
    });
}

#[test]
fn an_exact_search_that_misses_a_point_counts_for_recall() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "shadow.baseline = 1.0\n").await;
        shadowed.gate.rewrites(noisy);
        let mut exact = best(10);
        exact["params"] = json!({"exact": true});
        shadowed.ask("/points/query", &exact).await;
        shadowed.told(&[("real", 1.0)]).await;
        until("it is counted", async || {
            shadowed.shelf().await["window"]["recall"]["queries"] == 1
        })
        .await;
        let window = &shadowed.shelf().await["window"];
        assert_eq!(window["recall"]["mean"], 0.9, "{window}");
        assert_eq!(window["overlap_own"], 1.0, "{window}");
    });
}

#[test]
fn what_passes_while_it_is_looked_at_again_is_no_fault() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        let asked = AtomicUsize::new(0);
        shadowed.gate.rewrites(move |path, body| {
            let is_search = path.ends_with("/points/query");
            if !is_search || asked.fetch_add(1, Ordering::SeqCst) > 0 {
                return body;
            }
            let text = String::from_utf8(body.to_vec()).unwrap();
            text.replace("secret 30", "another").into()
        });
        shadowed.search().await;
        shadowed.told(&[("equal", 1.0)]).await;
    });
}

#[test]
fn a_read_whose_point_by_point_look_is_refused_is_looked_at_no_less() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        shadowed.gate.rewrites(noisy);
        // Nobody can tell whether the points are there: what is missing is taken as it looks.
        shadowed.gate.rule(|method, path, _| {
            match *method == Method::POST && path.ends_with("/points") {
                true => Fate::Refused,
                false => Fate::Pass,
            }
        });
        shadowed.search().await;
        shadowed.told(&[("real", 1.0)]).await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
    });
}

/// A point that sync has still to bring.
async fn lags(kind: Primary) {
    let shadowed = Shadowed::new(kind, "").await;
    let mut stop = shadowed.world.stages().stop(Stage::AfterTake);
    shadowed.world.write("PUT", "/points", points([31])).await;
    stop.reached(1).await;
    assert_eq!(shadowed.search().await, down(31, 22));
    shadowed.told(&[("lagging", 1.0)]).await;
    assert_eq!(shadowed.count(MARKED, ""), 0.0);
    // A fault beside it is not hidden by it.
    let gone = json!({"points": [26]});
    shadowed.behind("POST", "/points/delete", gone).await;
    shadowed.search().await;
    shadowed.told(&[("lagging", 1.0), ("real", 1.0)]).await;
    assert_eq!(shadowed.count(MARKED, ""), 1.0);
    stop.go();
    shadowed.world.in_sync().await;
    until("the follower has it", async || {
        at_follower(&shadowed).await.len() == 31
    })
    .await;
    shadowed.search().await;
    shadowed
        .told(&[("equal", 1.0), ("lagging", 1.0), ("real", 1.0)])
        .await;
}

#[test]
fn a_point_that_sync_has_still_to_bring_lags_and_hides_no_fault() {
    story(async { lags(Primary::Embedded).await });
}

#[test]
fn a_point_in_the_outbox_of_a_postgres_lags_and_hides_no_fault() {
    story(async { lags(Primary::Pgvector).await });
}

#[test]
fn a_point_that_the_follower_refuses_for_good_is_not_tried_again_by_reads() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "").await;
        shadowed.gate.writes(Fate::Refused);
        shadowed.world.write("PUT", "/points", points([31])).await;
        until("it is a dead letter", async || {
            shadowed.world.sync().await["directions"][0]["dead_letters"] == 1
        })
        .await;
        shadowed.search().await;
        shadowed.told(&[("real", 1.0)]).await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
        let told = shadowed.world.sync().await;
        assert_eq!(told["directions"][0]["dead_letters"], 1, "{told}");
    });
}

#[test]
fn counts_that_differ_are_real_until_the_points_are_known() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        let gone = json!({"points": [3]});
        shadowed.behind("POST", "/points/delete", gone).await;
        shadowed.ask("/points/count", &json!({"exact": true})).await;
        shadowed.told(&[("real", 1.0)]).await;
        let worst = &shadowed.shelf().await["worst"][0];
        assert_eq!(worst["kind"], "numbers");
        assert_eq!(worst["rows"][0]["authority"]["score"], 30.0);
        assert_eq!(worst["rows"][0]["follower"]["score"], 29.0);
    });
}
