//! Reads that run at the follower too: that clients notice nothing of it, and what is shown of it.

mod faults;
mod plans;

use std::sync::Arc;

use bytes::Bytes;
use outrigger::stage::Stage;
use serde_json::{Value, json};

use super::gate::{Fate, Gate};
use super::{DOCS, Plain, Primary, World, in_sync, listening, write};
use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::process::Process;
use crate::support::wire::Wire;
use crate::support::{story, until};

const READS: &str = "outrigger_shadow_reads_total";
const DROPPED: &str = "outrigger_shadow_dropped_total";
const SKIPPED: &str = "outrigger_shadow_skipped_total";
const MARKED: &str = "outrigger_shadow_marked_total";

/// Every read is compared.
const ALL: &str = "shadow.sample = 1.0\n";
/// How many points there are: their scores for `[1, 0]` are their ids.
const POINTS: u64 = 30;

/// Two stores in `dual_read`, both equal, with a gate before the follower.
pub(super) struct Shadowed {
    pub(super) world: World,
    pub(super) gate: Gate,
}

impl Shadowed {
    pub(super) async fn new(kind: Primary, more: &str) -> Self {
        let secondary = Plain::new().await;
        let gate = Gate::before(secondary.at()).await;
        let url = gate.url();
        // The exact answer is asked for only where there is a doubt, and what was read first is
        // compared first, unless a story is of that.
        let usual = [("shadow.baseline", "0.0"), ("shadow.workers", "1")].into_iter();
        let usual = usual.filter(|(key, _)| !more.contains(key));
        let usual: String = usual.map(|(key, of)| format!("{key} = {of}\n")).collect();
        let more = format!("{ALL}{usual}{more}");
        let world = World::before(kind, secondary, &url, &more).await;
        world.mode("dual_write").await.ok();
        world.write("PUT", "/points", points(1..=POINTS)).await;
        world.in_sync().await;
        world.mode("dual_read").await.ok();
        Self { world, gate }
    }

    /// At the follower, without anybody's knowledge.
    async fn behind(&self, method: &str, target: &str, body: Value) {
        write(self.world.secondary.at(), method, target, body).await;
    }

    pub(super) async fn ask(&self, target: &str, body: &Value) -> Answer {
        let ask = Ask::new("POST", &format!("{DOCS}{target}")).json(body);
        self.world.sidecar.ask(&ask).await.ok()
    }

    /// The ids of the best, from the authority.
    pub(super) async fn search(&self) -> Vec<u64> {
        ids(&self.ask("/points/query", &best(10)).await)
    }

    fn count(&self, name: &str, label: &str) -> f64 {
        let labels = [label];
        let labels = if label.is_empty() { &[][..] } else { &labels };
        self.world.sidecar.metric(name, labels)
    }

    fn of_class(&self, class: &str) -> f64 {
        self.count(READS, &format!("class=\"{class}\""))
    }

    pub(super) fn compared(&self) -> f64 {
        self.count(READS, "")
    }

    /// Waits until so many questions were compared in all, and were nothing but these.
    async fn told(&self, classes: &[(&str, f64)]) {
        let all: f64 = classes.iter().map(|(_, count)| count).sum();
        until(&format!("{all} are compared"), async || {
            self.compared() >= all
        })
        .await;
        let known = ["equal", "tie", "lagging", "noise", "short", "index", "real"];
        let found: Vec<_> = known
            .iter()
            .map(|class| (*class, self.of_class(class)))
            .filter(|(_, count)| *count > 0.0)
            .collect();
        assert_eq!(found, classes, "{}", self.shown("").await);
    }

    async fn shown(&self, query: &str) -> Value {
        let ask = Ask::get(&format!("/api/shadow{query}"));
        self.world.sidecar.ask_admin(&ask).await.ok().json()
    }

    /// What is shown of the only collection.
    async fn shelf(&self) -> Value {
        self.shown("?collection=docs").await["collections"][0].clone()
    }

    async fn facing(&self, asked: &Value) -> Value {
        let ask = Ask::new("POST", "/api/compare").json(asked);
        self.world.sidecar.ask_admin(&ask).await.ok().json()
    }
}

pub(super) fn points(ids: impl IntoIterator<Item = u64>) -> Value {
    let point = |id: u64| {
        let payload = json!({"n": id, "half": id / 2, "name": format!("secret {id}")});
        json!({"id": id, "vector": [id as f64, 1.0], "payload": payload})
    };
    json!({"points": ids.into_iter().map(point).collect::<Vec<_>>()})
}

pub(super) fn best(limit: u64) -> Value {
    json!({"query": [1.0, 0.0], "limit": limit, "with_payload": true})
}

fn ids(answer: &Answer) -> Vec<u64> {
    let told = answer.json();
    let points = told["result"]["points"].as_array().unwrap().iter();
    points.map(|point| point["id"].as_u64().unwrap()).collect()
}

fn down(from: u64, to: u64) -> Vec<u64> {
    (to..=from).rev().collect()
}

#[test]
fn reads_of_every_kind_are_compared_and_equal_stores_are_told_equal() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "").await;
        let search = json!({"vector": [1.0, 0.0], "limit": 4, "with_vector": true});
        let two = json!({"searches": [best(3), best(4)]});
        for (target, body) in [
            ("/points/query", best(10)),
            ("/points/query/batch", two),
            ("/points/search", search),
            ("/points/scroll", json!({"limit": 7})),
            ("/points/count", json!({"exact": true})),
            ("/points", json!({"ids": [3, 4, 999], "with_vector": true})),
            (
                "/points/query/groups",
                json!({"query": [1.0, 0.0], "group_by": "half", "limit": 3}),
            ),
            ("/points/recommend", json!({"positive": [5], "limit": 3})),
        ] {
            shadowed.ask(target, &body).await;
        }
        let one = Ask::get(&format!("{DOCS}/points/5"));
        shadowed.world.sidecar.ask(&one).await.ok();
        shadowed.told(&[("equal", 10.0)]).await;
        let overlaps = shadowed.count("outrigger_shadow_overlap_ratio_count", "");
        assert!(overlaps >= 5.0, "{overlaps}");
        let overlaps = shadowed.count("outrigger_shadow_overlap_ratio_sum", "") / overlaps;
        assert!((overlaps - 1.0).abs() < 1e-9, "{overlaps}");
        for side in ["authority", "follower"] {
            let label = format!("side=\"{side}\"");
            let count = shadowed.count("outrigger_shadow_latency_seconds_count", &label);
            assert_eq!(count, 9.0, "{side}");
        }
        let shelf = shadowed.shelf().await;
        assert_eq!(shelf["classes"]["equal"], 10);
        assert_eq!(shelf["window"]["overlap"], 1.0);
        assert_eq!(shelf["window"]["top1"], 1.0);
        assert_eq!(shelf["latency_ms"]["follower"]["reads"], 9);
        assert_eq!(shelf["worst"], json!([]));
    });
}

#[test]
fn reads_are_compared_only_in_modes_that_compare() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "").await;
        shadowed.world.mode("dual_write").await.ok();
        shadowed.search().await;
        shadowed.world.mode("dual_read").await.ok();
        shadowed.search().await;
        // A write is none, and neither is a look at the collection.
        shadowed.world.upsert(1, json!({})).await;
        let look = Ask::get(DOCS);
        shadowed.world.sidecar.ask(&look).await.ok();
        shadowed.told(&[("equal", 1.0)]).await;
        shadowed.world.in_sync().await;
        shadowed.world.mode("cutover").await.ok();
        shadowed.search().await;
        shadowed.told(&[("equal", 2.0)]).await;
        let shown = shadowed.shown("").await;
        let shelves = shown["collections"].as_array().unwrap();
        let roles: Vec<_> = shelves.iter().map(|of| of["authority"].clone()).collect();
        assert_eq!(roles, [json!("primary"), json!("secondary")]);
    });
}

#[test]
fn in_cutover_reads_are_not_compared_where_that_is_not_wanted() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "shadow.cutover = false\n").await;
        shadowed.world.mode("cutover").await.ok();
        shadowed.search().await;
        shadowed.world.mode("dual_read").await.ok();
        shadowed.search().await;
        shadowed.told(&[("equal", 1.0)]).await;
        let shelf = shadowed.shelf().await;
        assert_eq!(shelf["authority"], "primary");
    });
}

#[test]
fn kept_answers_are_not_compared_again() {
    story(async {
        let secondary = Plain::new().await;
        let url = secondary.url();
        let data = Folder::new();
        let more = format!(
            "{ALL}shadow.workers = 1\ncache.enabled = true\nmode = \"dual_read\"\nprimary.kind = \"embedded\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{url}\""
        );
        let sidecar = crate::support::sidecar::Sidecar::with(&listening(&data, &more)).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(sidecar.proxy(), "PUT", "", made).await;
        write(sidecar.proxy(), "PUT", "/points", points(1..=POINTS)).await;
        in_sync(sidecar.admin()).await;
        let ask = Ask::new("POST", &format!("{DOCS}/points/query")).json(&best(10));
        let is_hit = async || {
            let answer = sidecar.ask(&ask).await.ok();
            answer.head.field("x-outrigger-cache").unwrap() == "hit-l1"
        };
        let mut asked = 0.0;
        while !is_hit().await {
            asked += 1.0;
        }
        assert!(asked > 0.0 && is_hit().await);
        let other = Ask::new("POST", &format!("{DOCS}/points/query")).json(&best(3));
        sidecar.ask(&other).await.ok();
        sidecar.until_metric(READS, &[], asked + 1.0).await;
        assert_eq!(sidecar.metric(READS, &[]), asked + 1.0);
    });
}

#[test]
fn a_follower_that_hangs_changes_nothing_for_clients_and_what_finds_no_place_is_counted() {
    story(async {
        let more = "shadow.queue = 1\nshadow.workers = 1\nshadow.timeout = \"1h\"\n";
        let shadowed = Shadowed::new(Primary::Embedded, more).await;
        let is_search = |path: &str| path.ends_with("/points/query");
        shadowed.gate.rule(move |_, path, _| match is_search(path) {
            true => Fate::HeldBefore,
            false => Fate::Pass,
        });
        assert_eq!(shadowed.search().await, down(30, 21));
        shadowed.gate.come(1).await;
        // One is held, one waits, and the others are not compared.
        for _ in 0..5 {
            assert_eq!(shadowed.search().await, down(30, 21));
        }
        assert_eq!(shadowed.count(DROPPED, ""), 4.0);
        assert_eq!(shadowed.compared(), 0.0);
        shadowed.gate.deliver();
        shadowed.told(&[("equal", 2.0)]).await;
        assert_eq!(shadowed.count(DROPPED, ""), 4.0);
    });
}

#[test]
fn a_follower_that_does_not_answer_is_no_difference() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "shadow.timeout = \"50ms\"\n").await;
        let silent = "reason=\"follower_silent\"";
        for fate in [Fate::HeldBefore, Fate::Unavailable] {
            shadowed
                .gate
                .rule(move |_, path, _| match path.ends_with("/points/query") {
                    true => fate,
                    false => Fate::Pass,
                });
            let before = shadowed.count(SKIPPED, silent);
            assert_eq!(shadowed.search().await, down(30, 21));
            until("it is counted", async || {
                shadowed.count(SKIPPED, silent) > before
            })
            .await;
        }
        assert_eq!(shadowed.compared(), 0.0);
        let shelf = shadowed.shelf().await;
        assert_eq!(shelf["not_compared"]["follower_silent"], 2);
        // Clients of the authority were never turned away, and it is compared again.
        shadowed.gate.pass();
        until("it is compared again", async || {
            shadowed.search().await;
            shadowed.compared() > 0.0
        })
        .await;
        assert_eq!(shadowed.of_class("real"), 0.0);
    });
}

#[test]
fn packed_answers_are_compared_as_what_is_in_them() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "").await;
        for encoding in ["gzip", "br", "zstd", "deflate"] {
            let ask = Ask::new("POST", &format!("{DOCS}/points/query"));
            let ask = ask.with("accept-encoding", encoding).json(&best(30));
            let answer = shadowed.world.sidecar.ask(&ask).await.ok();
            let packed = answer.head.field("content-encoding");
            assert_eq!(packed.as_deref(), Some(encoding));
        }
        shadowed.told(&[("equal", 4.0)]).await;
    });
}

#[test]
fn the_read_stores_own_noise_is_measured_by_its_exact_answers() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "shadow.baseline = 1.0\n").await;
        shadowed.search().await;
        // Nothing is guessed at there.
        shadowed.ask("/points/scroll", &json!({"limit": 3})).await;
        shadowed.told(&[("equal", 2.0)]).await;
        let own = shadowed.count("outrigger_shadow_own_overlap_ratio_count", "");
        assert_eq!(own, 1.0);
        let window = &shadowed.shelf().await["window"];
        assert_eq!(window["overlap_own"], 1.0);
        assert_eq!(window["overlap_corrected"], 1.0);
        assert_eq!(window["recall"]["queries"], 1);
    });
}

#[test]
fn nothing_of_the_client_but_its_question_goes_to_the_follower() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        let ask = Ask::new("POST", &format!("{DOCS}/points/query?timeout=7"));
        let ask = ask.with("api-key", "the clients").with("x-mine", "of mine");
        let ask = ask.with("authorization", "Bearer clients too");
        shadowed.world.sidecar.ask(&ask.json(&best(3))).await.ok();
        shadowed.told(&[("equal", 1.0)]).await;
        assert!(
            shadowed
                .gate
                .was_told("POST /collections/docs/points/query?timeout=7")
        );
        for secret in ["the clients", "of mine", "clients too"] {
            assert!(!shadowed.gate.was_told(secret), "{secret}");
        }
    });
}

#[test]
fn a_fault_that_was_read_through_an_alias_is_mended_in_the_collection_itself() {
    story(async {
        let shadowed = Shadowed::new(Primary::Qdrant, "").await;
        let made = json!({"actions": [
            {"create_alias": {"collection_name": "docs", "alias_name": "papers"}},
        ]});
        let ask = Ask::new("POST", "/collections/aliases").json(&made);
        shadowed.world.sidecar.ask(&ask).await.ok();
        shadowed.world.in_sync().await;
        shadowed
            .behind("POST", "/points/delete", json!({"points": [25]}))
            .await;
        let ask = Ask::new("POST", "/collections/papers/points/query").json(&best(10));
        assert_eq!(
            ids(&shadowed.world.sidecar.ask(&ask).await.ok()),
            down(30, 21)
        );
        shadowed.told(&[("real", 1.0)]).await;
        shadowed.world.in_sync().await;
        assert_eq!(shadowed.count(MARKED, ""), 1.0);
        assert_eq!(super::points(shadowed.world.secondary.at()).await.len(), 30);
        assert_eq!(shadowed.shelf().await["classes"]["real"], 1);
    });
}

/// Takes the best away from every search that passes.
fn without_the_best(path: &str, body: Bytes) -> Bytes {
    if !path.ends_with("/points/query") {
        return body;
    }
    let mut told: Value = serde_json::from_slice(&body).unwrap();
    told["result"]["points"].as_array_mut().unwrap().remove(0);
    told.to_string().into()
}

#[test]
fn payloads_are_hidden_unless_the_settings_allow_them() {
    story(async {
        for (more, shows) in [("", false), ("shadow.keep_payloads = true\n", true)] {
            let shadowed = Shadowed::new(Primary::Embedded, more).await;
            let stale = json!({"points": [30], "payload": {"name": "secret stale"}});
            shadowed.behind("POST", "/points/payload", stale).await;
            let mut asked = best(10);
            asked["filter"] =
                json!({"must_not": [{"key": "name", "match": {"value": "secret 3"}}]});
            let question = json!({"collection": "docs", "body": asked});
            let facing = shadowed.facing(&question).await;
            shadowed.ask("/points/query", &asked).await;
            shadowed.told(&[("real", 1.0)]).await;
            let shelf = shadowed.shelf().await;
            let worst = &shelf["worst"][0];
            assert_eq!(worst["class"], "real", "{shelf}");
            assert_eq!(worst["changed"], json!(["30"]));
            assert_eq!(worst["rows"][0]["id"], "30");
            assert_eq!(worst["shape"]["filter"]["must_not"][0]["key"], "name");
            assert_eq!(facing["questions"][0]["changed"], json!(["30"]));
            for told in [shelf.to_string(), facing.to_string()] {
                for secret in ["secret stale", "secret 30", "secret 3\""] {
                    assert_eq!(told.contains(secret), shows, "{secret}: {told}");
                }
            }
        }
    });
}

#[test]
fn both_stores_can_be_asked_at_once_side_by_side() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "").await;
        shadowed
            .behind("POST", "/points/delete", json!({"points": [29]}))
            .await;
        let mut stop = shadowed.world.stages().stop(Stage::AfterTake);
        shadowed.world.write("PUT", "/points", points([31])).await;
        stop.reached(1).await;
        let asked = json!({"collection": "docs", "operation": "points/query", "body": best(3)});
        let told = shadowed.facing(&asked).await;
        assert_eq!(told["stores"]["authority"]["kind"], "embedded", "{told}");
        assert_eq!(told["stores"]["follower"]["store"], "secondary");
        assert_eq!(told["waiting"], 1);
        let question = &told["questions"][0];
        assert_eq!(question["class"], "real");
        assert_eq!(question["dirty"], json!(["31"]));
        assert_eq!(question["faulty"], json!(["29"]));
        let rows = question["rows"].as_array().unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let rank = |side: &str| row[side]["rank"].as_u64();
                (
                    row["id"].as_str().unwrap(),
                    rank("authority"),
                    rank("follower"),
                )
            })
            .collect();
        let wanted = [
            ("31", Some(1), None),
            ("30", Some(2), Some(1)),
            ("29", Some(3), None),
            ("28", None, Some(2)),
            ("27", None, Some(3)),
        ];
        assert_eq!(rows, wanted);
        assert_eq!(question["rows"][1]["score_difference"], 0.0);
        // Asked by a path too, and of anything that reads points; nothing was marked by it.
        let path = json!({"path": format!("{DOCS}/points/30")});
        assert_eq!(
            shadowed.facing(&path).await["questions"][0]["class"],
            "equal"
        );
        stop.go();
        shadowed.world.in_sync().await;
        assert_eq!(shadowed.count(MARKED, ""), 0.0);
        let bad = json!({"path": format!("{DOCS}/points/delete"), "body": {"points": [1]}});
        let ask = Ask::new("POST", "/api/compare").json(&bad);
        let refused = shadowed.world.sidecar.ask_admin(&ask).await;
        assert_eq!(refused.status(), 400, "{}", refused.text());
    });
}

#[test]
fn a_mismatch_is_a_line_in_the_log() {
    story(async {
        let (primary, secondary) = (Plain::new().await, Plain::new().await);
        let gate = Arc::new(Gate::before(secondary.at()).await);
        let data = Folder::new();
        let more = format!(
            "{ALL}cache.enabled = false\nmode = \"dual_read\"\n\
             primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
            primary.url(),
            gate.url()
        );
        let process = Process::start(&listening(&data, &more), &[]).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(process.proxy, "PUT", "", made).await;
        write(process.proxy, "PUT", "/points", points(1..=POINTS)).await;
        in_sync(process.admin).await;
        // Points that sync does not bring back, so that it is seen more than once.
        gate.writes(Fate::Unavailable);
        let gone = json!({"points": [21, 22]});
        write(secondary.at(), "POST", "/points/delete", gone).await;
        let ask = Ask::new("POST", &format!("{DOCS}/points/query")).json(&best(10));
        ask.over(&mut Wire::connect(process.proxy).await).await.ok();
        let line = process.says("search result mismatch: ").await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let message = "search result mismatch: overlap=8/10 (80.0%)";
        assert_eq!(line["message"], message, "{line}");
        assert_eq!(line["collection"], "docs");
        assert_eq!(line["operation"], "query_points");
        assert_eq!(line["class"], "real");
        assert_eq!(line["level"], "WARN");
    });
}
