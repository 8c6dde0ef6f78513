//! Reads that the read store cannot be asked, and the store that follows it.

use outrigger::stage::Stage;
use outrigger::task;
use serde_json::{Value, json};

use super::gate::{Fate, Gate};
use super::{DOCS, Plain, changing, in_sync, listening, upserting, write, writing};
use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::sidecar::Sidecar;
use crate::support::wire::Wire;
use crate::support::{story, until};

const FAILOVERS: &str = "outrigger_read_failovers_total";
const ON: &str = "read_failover = true\ncache.enabled = false\n";

/// A sidecar between two Qdrants, the primary of which can be cut off; in `dual_write`, both equal.
struct World {
    sidecar: Sidecar,
    gate: Gate,
    _primary: Plain,
    secondary: Plain,
    _data: Folder,
}

impl World {
    async fn new(more: &str) -> Self {
        let (primary, secondary) = (Plain::new().await, Plain::new().await);
        let (data, gate) = (Folder::new(), Gate::before(primary.at()).await);
        // What is cut off is asked again and again: only one story is of the breaker.
        let more = format!(
            "{more}mirror.doubt = \"10m\"\nprimary.breaker_failures = 1000000\n\
             primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
            gate.url(),
            secondary.url()
        );
        let world = Self {
            sidecar: Sidecar::with(&listening(&data, &more)).await,
            gate,
            _primary: primary,
            secondary,
            _data: data,
        };
        mirrored(&world.sidecar).await;
        world
    }

    /// Whoever asks the primary gets no answer.
    fn cut_off(&self) {
        self.gate.rule(|_, _, _| Fate::HeldBefore);
        self.gate.lose();
    }

    fn answered(&self) -> f64 {
        told(&self.sidecar, "answered")
    }
}

fn told(sidecar: &Sidecar, outcome: &str) -> f64 {
    sidecar.metric(FAILOVERS, &[&format!("outcome=\"{outcome}\"")])
}

/// In `dual_write`, with a point in `docs`, both stores equal.
async fn mirrored(sidecar: &Sidecar) {
    changing(sidecar.admin(), "dual_write").await.unwrap().ok();
    made(sidecar, DOCS).await;
    write(sidecar.proxy(), "PUT", "/points", point("old")).await;
    in_sync(sidecar.admin()).await;
}

async fn made(sidecar: &Sidecar, collection: &str) {
    let vectors = json!({"vectors": {"size": 2, "distance": "Dot"}});
    let ask = Ask::new("PUT", collection).json(&vectors);
    sidecar.ask(&ask).await.ok();
}

fn point(text: &str) -> Value {
    upserting(1, json!({"text": text}))
}

fn store(answer: &Answer) -> Option<String> {
    answer.head.field("x-outrigger-store")
}

fn cache(answer: &Answer) -> Option<String> {
    answer.head.field("x-outrigger-cache")
}

fn one() -> Ask {
    Ask::get(&format!("{DOCS}/points/1"))
}

fn text(answer: &Answer) -> String {
    let told = answer.json();
    let text = told["result"]["payload"]["text"].as_str();
    text.unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// The error of the read store is what is answered.
async fn stays(sidecar: &Sidecar, ask: &Ask) {
    let before = told(sidecar, "answered");
    let answer = sidecar.ask(ask).await;
    let said = answer.refusal(502);
    assert!(said.starts_with("Outrigger: "), "{said}");
    assert_eq!(store(&answer), None);
    assert_eq!(told(sidecar, "answered"), before);
}

async fn answers(sidecar: &Sidecar, ask: &Ask, role: &str) -> Answer {
    let answer = sidecar.ask(ask).await.ok();
    assert_eq!(store(&answer).as_deref(), Some(role), "{}", answer.text());
    answer
}

/// Of everything that is read of a collection, and is looked for under `name`.
fn reads(name: &str) -> Vec<Ask> {
    let of = format!("/collections/{name}");
    let posted = |path: &str, body: Value| Ask::new("POST", &format!("{of}{path}")).json(&body);
    vec![
        Ask::get(&of),
        Ask::get(&format!("{of}/exists")),
        Ask::get(&format!("{of}/points/1")),
        posted("/points", json!({"ids": [1]})),
        posted("/points/scroll", json!({"limit": 3})),
        posted("/points/count", json!({"exact": true})),
        posted("/points/query", json!({"query": [1.0, 0.0]})),
        posted("/points/search", json!({"vector": [1.0, 0.0], "limit": 3})),
        posted("/points/query", json!({"query": {"sample": "random"}})),
    ]
}

#[test]
fn a_failover_is_off_unless_it_is_asked_for() {
    story(async {
        let world = World::new("cache.enabled = false\n").await;
        answers(&world.sidecar, &one(), "primary").await;
        world.cut_off();
        stays(&world.sidecar, &one()).await;
        for outcome in ["answered", "behind", "unknown", "refused"] {
            assert_eq!(told(&world.sidecar, outcome), 0.0);
        }
    });
}

#[test]
fn a_follower_in_sync_answers_reads_of_collections_and_nothing_else() {
    story(async {
        let world = World::new(ON).await;
        let actions = json!({"actions": [
            {"create_alias": {"alias_name": "alias", "collection_name": "docs"}},
        ]});
        let aliasing = Ask::new("POST", "/collections/aliases").json(&actions);
        world.sidecar.ask(&aliasing).await.ok();
        in_sync(world.sidecar.admin()).await;
        world.cut_off();
        let mut count = 0.0;
        for ask in ["docs", "alias"].into_iter().flat_map(reads) {
            let answer = answers(&world.sidecar, &ask, "secondary").await;
            assert_eq!(cache(&answer).as_deref(), Some("bypass"));
            count += 1.0;
        }
        assert_eq!(world.answered(), count);
        assert_eq!(
            text(&answers(&world.sidecar, &one(), "secondary").await),
            "old"
        );

        // The follower may have more than what is brought to it.
        stays(&world.sidecar, &Ask::get("/collections")).await;
        stays(&world.sidecar, &Ask::get("/telemetry")).await;
        // What it refuses is no answer.
        stays(&world.sidecar, &Ask::get(&format!("{DOCS}/points/2"))).await;
        assert_eq!(told(&world.sidecar, "refused"), 1.0);
        // And writes stay where they belong.
        let refused = writing(world.sidecar.proxy(), "PUT", "/points", &point("new"));
        refused.await.unwrap().refusal(502);
    });
}

#[test]
fn a_collection_that_the_follower_had_before_answers_nothing() {
    story(async {
        let world = World::new(ON).await;
        let strange = "/collections/strange";
        let vectors = json!({"vectors": {"size": 2, "distance": "Dot"}});
        let make = Ask::new("PUT", strange).json(&vectors);
        let secondary = &world.secondary.sidecar;
        secondary.ask(&make).await.ok();
        // Made there as well, of the same kind: nothing waits, and the two have never been compared.
        made(&world.sidecar, strange).await;
        in_sync(world.sidecar.admin()).await;
        world.cut_off();
        stays(&world.sidecar, &Ask::get(strange)).await;
        answers(&world.sidecar, &one(), "secondary").await;
        world.gate.pass();
        let sweep = Ask::new("POST", "/api/sync/sweep?collection=strange");
        world.sidecar.ask_admin(&sweep).await.ok();
        in_sync(world.sidecar.admin()).await;
        world.cut_off();
        answers(&world.sidecar, &Ask::get(strange), "secondary").await;
    });
}

#[test]
fn a_follower_that_lacks_an_acknowledged_write_answers_nothing() {
    story(async {
        let world = World::new(ON).await;
        made(&world.sidecar, "/collections/other").await;
        in_sync(world.sidecar.admin()).await;
        let other = Ask::get("/collections/other");
        let looks = json!({"query": 1, "lookup_from": {"collection": "docs"}});
        let looks = Ask::new("POST", "/collections/other/points/query").json(&looks);

        let mut taken = world.sidecar.stages().stop(Stage::AfterTake);
        write(world.sidecar.proxy(), "PUT", "/points", point("new")).await;
        taken.reached(1).await;
        world.cut_off();
        stays(&world.sidecar, &one()).await;
        stays(&world.sidecar, &looks).await;
        assert_eq!(told(&world.sidecar, "behind"), 2.0);
        // What was not written to is not behind.
        answers(&world.sidecar, &other, "secondary").await;
        world.gate.pass();
        taken.go();
        in_sync(world.sidecar.admin()).await;

        world.cut_off();
        assert_eq!(
            text(&answers(&world.sidecar, &one(), "secondary").await),
            "new"
        );
        answers(&world.sidecar, &looks, "secondary").await;
    });
}

#[test]
fn a_write_under_way_or_of_unknown_outcome_keeps_the_follower_from_answering() {
    story(async {
        let world = World::new(ON).await;
        let mut unsent = world.sidecar.stages().stop(Stage::AfterIntend);
        let under_way = writing(world.sidecar.proxy(), "PUT", "/points", &point("one"));
        unsent.reached(1).await;
        world.cut_off();
        stays(&world.sidecar, &one()).await;
        world.gate.pass();
        unsent.go();
        under_way.await.unwrap().ok();
        in_sync(world.sidecar.admin()).await;
        world.cut_off();
        answers(&world.sidecar, &one(), "secondary").await;

        // The primary has done it, and nobody was told.
        world.gate.writes(Fate::HeldAfter);
        let lost = writing(world.sidecar.proxy(), "PUT", "/points", &point("two"));
        world.gate.come(1).await;
        world.gate.lose();
        lost.await.unwrap().refusal(502);
        world.cut_off();
        stays(&world.sidecar, &one()).await;
        // Nor when the follower has it: it may be made once more.
        world.gate.pass();
        let secondary = world.secondary.at();
        until("the follower has it", async || {
            text(&one().over(&mut Wire::connect(secondary).await).await) == "two"
        })
        .await;
        world.cut_off();
        stays(&world.sidecar, &one()).await;
    });
}

#[test]
fn what_a_follower_answered_in_a_failover_is_never_kept() {
    story(async {
        let redis = Redis::start().await;
        let more = format!(
            "read_failover = true\ncache.redis_url = \"{}\"\n",
            redis.url()
        );
        let world = World::new(&more).await;
        let scroll = |limit: u64| {
            let body = json!({"limit": limit});
            Ask::new("POST", &format!("{DOCS}/points/scroll")).json(&body)
        };
        // Redis has heard of the writes by then, and what the answers depend on is known.
        until("answers are kept", async || {
            let kept = answers(&world.sidecar, &scroll(1), "primary").await;
            cache(&kept).as_deref() == Some("hit-l1")
        })
        .await;

        // Many ask the same at one time, and one of them the store.
        world.gate.rule(|_, _, _| Fate::HeldBefore);
        let at = world.sidecar.proxy();
        let asked = (0..8).map(|_| {
            let ask = scroll(2);
            task::spawn("ask", async move {
                ask.over(&mut Wire::connect(at).await).await
            })
        });
        let asked: Vec<_> = asked.collect();
        world.gate.come(1).await;
        world.gate.lose();
        for answer in asked {
            let answer = answer.await.unwrap().ok();
            assert_eq!(store(&answer).as_deref(), Some("secondary"));
            assert_eq!(cache(&answer).as_deref(), Some("bypass"));
        }
        let again = answers(&world.sidecar, &scroll(2), "secondary").await;
        assert_eq!(cache(&again).as_deref(), Some("bypass"));
        let bypasses = "outrigger_cache_bypasses_total";
        assert_eq!(
            world.sidecar.metric(bypasses, &["reason=\"failover\""]),
            9.0
        );

        world.gate.pass();
        let back = answers(&world.sidecar, &scroll(2), "primary").await;
        assert_eq!(cache(&back).as_deref(), Some("miss"));
        write(at, "PUT", "/points", point("new")).await;
        let last = answers(&world.sidecar, &scroll(2), "primary").await;
        assert_eq!(last.json()["result"]["points"][0]["payload"]["text"], "new");
    });
}

#[test]
fn an_error_that_the_read_store_answered_is_its_answer() {
    story(async {
        let world = World::new(ON).await;
        world.gate.rule(|_, _, _| Fate::Unavailable);
        let answer = world.sidecar.ask(&one()).await;
        assert_eq!(answer.refusal(503), "out of service");
        assert_eq!(store(&answer).as_deref(), Some("primary"));
        world.cut_off();
        answers(&world.sidecar, &one(), "secondary").await;
    });
}

#[test]
fn a_follower_answers_while_the_breaker_of_a_store_that_was_stopped_is_open() {
    story(async {
        let (primary, secondary) = (Plain::new().await, Plain::new().await);
        let data = Folder::new();
        let more = format!(
            "{ON}primary.breaker_failures = 1\nprimary.breaker_open = \"10m\"\n\
             primary.breaker_open_max = \"10m\"\nprimary.kind = \"qdrant\"\n\
             primary.url = \"{}\"\nsecondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
            primary.url(),
            secondary.url()
        );
        let sidecar = Sidecar::with(&listening(&data, &more)).await;
        mirrored(&sidecar).await;
        primary.sidecar.into_running().stop().await;
        for _ in 0..3 {
            answers(&sidecar, &one(), "secondary").await;
        }
        let state = ("outrigger_breaker_state", ["target=\"primary\""]);
        assert_eq!(sidecar.metric(state.0, &state.1), 2.0);
        let refused = "outrigger_store_errors_total";
        let labels = ["store=\"primary\"", "kind=\"breaker_open\""];
        assert!(sidecar.metric(refused, &labels) >= 1.0);
    });
}

/// Between PostgreSQL and a Qdrant that can be cut off.
async fn over_postgres(postgres: &Postgres, secondary: &str, data: &Folder) -> Sidecar {
    let more = format!(
        "{ON}fence_timeout = \"20s\"\nprimary.read_timeout = \"500ms\"\n\
         primary.breaker_failures = 1000000\nsecondary.breaker_failures = 1000000\n\
         primary.kind = \"pgvector\"\nprimary.url = \"{}\"\n\
         secondary.kind = \"qdrant\"\nsecondary.url = \"{secondary}\"",
        postgres.url()
    );
    Sidecar::with(&listening(data, &more)).await
}

#[test]
fn a_follower_answers_after_a_cutover_unless_another_sidecar_has_a_journal_of_its_own() {
    story(async {
        let (postgres, secondary) = (Postgres::start(), Plain::new().await);
        let gate = Gate::before(secondary.at()).await;
        let data = [Folder::new(), Folder::new()];
        let sidecar = over_postgres(&postgres, &gate.url(), &data[0]).await;
        mirrored(&sidecar).await;
        changing(sidecar.admin(), "cutover").await.unwrap().ok();
        in_sync(sidecar.admin()).await;
        answers(&sidecar, &one(), "secondary").await;
        let cut_off = || {
            gate.rule(|_, _, _| Fate::HeldBefore);
            gate.lose();
        };
        cut_off();
        assert_eq!(text(&answers(&sidecar, &one(), "primary").await), "old");

        // What it writes is in no journal of ours, until it ends with nothing left in its own.
        gate.pass();
        let other = over_postgres(&postgres, &gate.url(), &data[1]).await;
        write(other.proxy(), "PUT", "/points", point("new")).await;
        in_sync(other.admin()).await;
        in_sync(sidecar.admin()).await;
        cut_off();
        stays(&sidecar, &one()).await;
        stays(&other, &one()).await;
        other.into_running().stop().await;
        assert_eq!(text(&answers(&sidecar, &one(), "primary").await), "new");
        assert_eq!(told(&sidecar, "behind"), 1.0);
    });
}

#[test]
fn an_outbox_that_cannot_be_read_vouches_for_no_follower_and_one_that_can_does() {
    story(async {
        let (mut postgres, secondary) = (Postgres::start(), Plain::new().await);
        let data = Folder::new();
        let sidecar = over_postgres(&postgres, &secondary.url(), &data).await;
        mirrored(&sidecar).await;
        {
            let mut client = postgres.client().await;
            let sql = "select cid from qdc.collections where name = 'docs'";
            let cid: i32 = client.query_one(sql, &[]).await.unwrap().get(0);
            let held = client.transaction().await.unwrap();
            let lock = format!("lock table qd_data.c{cid} in access exclusive mode");
            held.batch_execute(&lock).await.unwrap();
            assert_eq!(text(&answers(&sidecar, &one(), "secondary").await), "old");
        }
        answers(&sidecar, &one(), "primary").await;
        postgres.stop();
        stays(&sidecar, &one()).await;
        assert_eq!(told(&sidecar, "unknown"), 1.0);
    });
}
