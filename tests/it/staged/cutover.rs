//! The gate before `cutover`: what it asks for, what it says, and who may leave it out.

use serde_json::{Value, json};

use super::gate::Fate;
use super::shadow::{Shadowed, best, points};
use super::{Plain, Primary, listening, upserting};
use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::process::{Process, Run, run};
use crate::support::{story, until};

/// Few reads will do, as long as they are good.
const FEW: &str = "cutover.gate = true\ncutover.queries = 10\ncutover.window = \"0s\"\n\
                   shadow.baseline = 1.0\nshadow.workers = 4\n";

impl Shadowed {
    /// Waits until so many reads were compared in all.
    pub(super) async fn search_times(&self, count: u32) {
        let before = self.compared();
        for _ in 0..count {
            self.search().await;
        }
        until(&format!("{count} more are compared"), async || {
            self.compared() >= before + f64::from(count)
        })
        .await;
    }

    async fn check(&self, query: &str) -> Value {
        let ask = Ask::get(&format!("/api/mode/check{query}"));
        self.world.sidecar.ask_admin(&ask).await.ok().json()
    }

    /// What the table says of a collection, row by row.
    async fn row(&self, collection: &str, row: &str) -> (String, bool) {
        let told = self.check("").await;
        let of = of_name(&told["collections"], "collection", collection);
        let row = of_name(&of["rows"], "row", row);
        let found = row["found"].as_str().unwrap().to_owned();
        (found, row["holds"] == true)
    }

    async fn is_validated(&self, collection: &str) -> bool {
        self.row(collection, "validation").await.1
    }

    /// Waits until it is noted that the collection was compared whole.
    async fn validated(&self, collection: &str) {
        until("the sweep is noted", async || {
            self.is_validated(collection).await
        })
        .await;
    }

    pub(super) async fn asked(&self, wish: Value) -> Answer {
        let ask = Ask::put("/api/mode", wish.to_string());
        self.world.sidecar.ask_admin(&ask).await
    }

    pub(super) async fn mode(&self) -> Value {
        let ask = Ask::get("/api/mode");
        self.world.sidecar.ask_admin(&ask).await.ok().json()
    }

    async fn command(&self, words: &[&str]) -> Run {
        let admin = self.world.sidecar.admin().to_string();
        run(&[words, &["--admin-listen", &admin]].concat(), &[]).await
    }

    /// Of another collection, through the sidecar.
    async fn at(&self, method: &str, target: &str, body: &Value) {
        let ask = Ask::new(method, target).json(body);
        self.world.sidecar.ask(&ask).await.ok();
    }
}

fn of_name<'v>(all: &'v Value, key: &str, name: &str) -> &'v Value {
    let mut all = all.as_array().unwrap().iter();
    all.find(|of| of[key] == name).unwrap()
}

/// Why a change was not made.
fn reason(answer: &Answer) -> String {
    assert_eq!(answer.status(), 409, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["held_ms"], Value::Null, "no write was held for it");
    told["status"]["error"].as_str().unwrap().to_owned()
}

/// The follower gives a third of what was asked for, the wrong way round.
pub(super) fn spoil(shadowed: &Shadowed) {
    shadowed.gate.rewrites(|path, body| {
        if !path.ends_with("/points/query") {
            return body;
        }
        let mut told: Value = serde_json::from_slice(&body).unwrap();
        if let Some(rows) = told["result"]["points"].as_array_mut() {
            rows.reverse();
            rows.truncate(3);
        }
        told.to_string().into()
    });
}

#[test]
fn cutover_is_refused_with_too_few_reads_and_passes_with_enough_good_ones() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
        shadowed.validated("docs").await;
        shadowed.search_times(9).await;
        let told = reason(&shadowed.world.mode("cutover").await);
        assert!(
            told.contains("docs: queries is 9 (needed: at least 10); `outrigger mode check`"),
            "{told}"
        );
        assert_eq!(shadowed.mode().await["mode"], "dual_read");
        assert_eq!(shadowed.check("").await["opens"], false);
        shadowed.search_times(1).await;
        assert_eq!(shadowed.check("").await["opens"], true);
        shadowed.world.mode("cutover").await.ok();
        // The secondary is read already, and the gate has nothing to say.
        assert_eq!(shadowed.check("").await["opens"], true);
        shadowed.world.mode("secondary_only").await.ok();
        shadowed.world.mode("cutover").await.ok();
    });
}

#[test]
fn with_the_limits_as_they_are_a_new_pair_of_stores_is_refused() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "cutover.gate = true\n").await;
        let told = reason(&shadowed.world.mode("cutover").await);
        for row in [
            "queries is 0 (needed: at least 500)",
            "window is 0s (needed: at least 1h)",
            "top-1 match is none (needed: at least 80%)",
        ] {
            assert!(told.contains(row), "{row}: {told}");
        }
        let forced = json!({"mode": "cutover", "force": true});
        shadowed.asked(forced).await.ok();
        assert_eq!(shadowed.mode().await["mode"], "cutover");
    });
}

#[test]
fn cutover_is_refused_to_a_follower_whose_answers_are_bad() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
        shadowed.validated("docs").await;
        spoil(&shadowed);
        shadowed.search_times(10).await;
        let told = reason(&shadowed.world.mode("cutover").await);
        let rows = "docs: top-1 match is 0.00% (needed: at least 80%), overlap@10 is 30.00%";
        assert!(told.contains(rows), "{told}");
        assert!(told.contains("and "), "{told}");
        assert_eq!(
            shadowed.row("docs", "queries").await,
            ("10".to_owned(), true)
        );
    });
}

#[test]
fn every_collection_concerned_has_to_hold_and_no_other() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        for name in ["other", "void"] {
            let target = format!("/collections/{name}");
            shadowed.at("PUT", &target, &made).await;
        }
        let target = "/collections/other/points?wait=true";
        shadowed.at("PUT", target, &points(1..=3)).await;
        shadowed.search_times(10).await;
        // What was made since it follows was never compared whole.
        assert_eq!(
            shadowed.row("void", "validation").await,
            ("none".to_owned(), false)
        );
        let sweep = Ask::new("POST", "/api/sync/sweep");
        shadowed.world.sidecar.ask_admin(&sweep).await.ok();
        for name in ["docs", "other", "void"] {
            shadowed.validated(name).await;
        }
        let told = reason(&shadowed.world.mode("cutover").await);
        assert!(told.contains("other: queries is 0"), "{told}");
        assert!(!told.contains("docs:") && !told.contains("void:"), "{told}");
        let nowhere = Ask::get("/api/mode/check?collection=nowhere");
        let refused = shadowed.world.sidecar.ask_admin(&nowhere).await;
        assert_eq!(refused.status(), 404);
        let own = shadowed.check("?collection=docs").await;
        assert_eq!(own["opens"], true);
        assert_eq!(own["collections"].as_array().unwrap().len(), 1);
        shadowed
            .asked(json!({"mode": "dual_read", "collection": "docs"}))
            .await
            .ok();
        shadowed
            .asked(json!({"mode": "cutover", "collection": "docs"}))
            .await
            .ok();
        let told = shadowed.mode().await;
        assert_eq!(told["mode"], "dual_read");
        assert_eq!(told["collections"], json!({"docs": "cutover"}));
    });
}

#[test]
fn the_check_prints_the_table_and_its_exit_code_is_the_verdict() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
        shadowed.validated("docs").await;
        let shut = shadowed.command(&["mode", "check"]).await;
        assert_eq!(shut.code, Some(1), "{shut:?}");
        let lines: Vec<&str> = shut.out.lines().collect();
        assert_eq!(lines[0], "docs");
        for (line, expected) in [
            (1, ["", "needed", "found", "holds"]),
            (2, ["queries", "at least 10", "0", "NO"]),
            (3, ["window", "at least 0s", "0s", "yes"]),
            (13, ["lag", "0", "0", "yes"]),
        ] {
            let columns = [2, 28, 54, 80].map(|at| lines[line].get(at..).unwrap());
            for (column, expected) in columns.iter().zip(expected) {
                assert!(column.starts_with(expected), "{expected}: {}", shut.out);
            }
        }
        assert_eq!(lines.last(), Some(&"the gate is shut"));
        shadowed.search_times(10).await;
        let open = shadowed
            .command(&["mode", "check", "--collection", "docs"])
            .await;
        assert_eq!(open.code, Some(0), "{open:?}");
        assert!(open.out.ends_with("the gate is open\n"), "{open:?}");
        let json = shadowed.command(&["mode", "check", "--json"]).await;
        assert_eq!(json.code, Some(0), "{json:?}");
        let told: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(told["collections"][0]["holds"], true);
        let nowhere = shadowed
            .command(&["mode", "check", "--collection", "nowhere"])
            .await;
        assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
        shadowed.world.mode("primary_only").await.ok();
        let early = shadowed.command(&["mode", "check"]).await;
        assert_eq!(early.code, Some(1), "{early:?}");
        assert!(
            early.out.contains("dual_write has to come first"),
            "{early:?}"
        );
    });
}

#[test]
fn an_application_that_asks_exactly_and_for_the_best_alone_passes() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
        shadowed.validated("docs").await;
        let mut exact = best(1);
        exact["params"] = json!({"exact": true});
        for _ in 0..10 {
            shadowed.ask("/points/query", &exact).await;
        }
        until("all are counted", async || {
            shadowed.row("docs", "queries").await.1
        })
        .await;
        let recall = shadowed.row("docs", "recall@10 p5").await;
        assert_eq!(recall, ("1.0000".to_owned(), true));
        assert_eq!(shadowed.check("").await["opens"], true);
    });
}

#[test]
fn a_gate_that_could_never_open_is_told_of_at_the_start() {
    story(async {
        let secondary = Plain::new().await;
        for (key, lacking) in [("sample", true), ("baseline", true), ("window", false)] {
            let data = Folder::new();
            let more = format!(
                "primary.kind = \"embedded\"\nsecondary.kind = \"qdrant\"\n\
                 secondary.url = \"{}\"\ncutover.gate = true\nshadow.{key} = {}\n",
                secondary.url(),
                if lacking { "0.0" } else { "\"1day\"" },
            );
            let process = Process::start(&listening(&data, &more), &[]).await;
            let log = process.said();
            assert_eq!(log.contains("will refuse every cutover"), lacking, "{log}");
            assert!(
                !lacking || log.contains(&format!("shadow.{key} is 0")),
                "{log}"
            );
        }
    });
}

#[test]
fn a_gate_that_is_off_is_shown_and_stops_nobody() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, "").await;
        let shown = shadowed.command(&["mode", "check"]).await;
        assert_eq!(shown.code, Some(1), "{shown:?}");
        assert!(shown.out.contains("cutover.gate = false"), "{shown:?}");
        shadowed.world.mode("cutover").await.ok();
    });
}

#[test]
fn what_waits_for_the_follower_or_was_refused_by_it_keeps_the_gate_shut() {
    for fate in [Fate::Unavailable, Fate::Refused] {
        story(async {
            let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
            shadowed.validated("docs").await;
            shadowed.search_times(10).await;
            assert_eq!(shadowed.check("").await["opens"], true);
            shadowed.gate.writes(fate);
            let body = upserting(99, json!({}));
            shadowed.world.write("PUT", "/points", body).await;
            let lag = async || shadowed.row("docs", "lag").await;
            until("the mark is no more on its way", async || {
                lag().await == ("1".to_owned(), false)
            })
            .await;
            assert_eq!(shadowed.check("").await["opens"], false);
            let refused = shadowed.world.mode("cutover").await;
            assert_eq!(refused.status(), 409, "{fate:?}: {}", refused.text());
            shadowed.gate.pass();
            let retry = Ask::new("POST", "/api/sync/retry");
            shadowed.world.sidecar.ask_admin(&retry).await.ok();
            until("it is there", async || lag().await.1).await;
            assert_eq!(shadowed.check("").await["opens"], true);
        });
    }
}

/// Behind a PostgreSQL: behind any other store it would be swept by itself.
#[test]
fn a_collection_that_was_made_again_has_to_be_validated_again() {
    story(async {
        let shadowed = Shadowed::new(Primary::Pgvector, FEW).await;
        shadowed.validated("docs").await;
        shadowed.search_times(10).await;
        let queries = async || shadowed.row("docs", "queries").await.0;
        assert_eq!(queries().await, "10");
        let world = &shadowed.world;
        // A step at a time: what the follower finds further on than it knows is swept by itself.
        world.write("DELETE", "", json!({})).await;
        world.in_sync().await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        world.write("PUT", "", made).await;
        world.in_sync().await;
        world.write("PUT", "/points", points(1..=3)).await;
        world.in_sync().await;
        assert_eq!(
            shadowed.row("docs", "validation").await,
            ("none".to_owned(), false)
        );
        // What was read was read of another one.
        assert_eq!(queries().await, "0");
        world.sweep().await;
        shadowed.validated("docs").await;
    });
}

#[test]
fn what_was_read_before_nobody_followed_does_not_count() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, FEW).await;
        shadowed.search_times(10).await;
        let queries = async || shadowed.row("docs", "queries").await.0;
        assert_eq!(queries().await, "10");
        for mode in ["dual_write", "dual_read"] {
            shadowed.world.mode(mode).await.ok();
        }
        assert_eq!(queries().await, "10");
        for mode in ["dual_write", "primary_only", "dual_write", "dual_read"] {
            shadowed.world.mode(mode).await.ok();
        }
        assert_eq!(queries().await, "0");
    });
}

#[test]
fn a_sweep_counts_when_the_follower_has_what_it_marked() {
    story(async {
        let shadowed = Shadowed::new(Primary::Pgvector, FEW).await;
        let world = &shadowed.world;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        // Where it came with points it would be swept by itself.
        shadowed.at("PUT", "/collections/other", &made).await;
        world.in_sync().await;
        let target = "/collections/other/points?wait=true";
        shadowed.at("PUT", target, &points(1..=3)).await;
        world.in_sync().await;
        // Nobody knows that the follower has lost one.
        let lost = Ask::new("POST", "/collections/other/points/delete?wait=true")
            .json(&json!({"points": [2]}));
        let mut wire = crate::support::wire::Wire::connect(world.secondary.at()).await;
        lost.over(&mut wire).await.ok();
        shadowed.gate.writes(Fate::Unavailable);
        let sweep = Ask::new("POST", "/api/sync/sweep?collection=other");
        world.sidecar.ask_admin(&sweep).await.ok();
        shadowed.gate.come(3).await;
        assert!(!shadowed.is_validated("other").await);
        shadowed.gate.pass();
        shadowed.validated("other").await;
        let ask = Ask::get("/collections/other/points/2");
        ask.over(&mut wire).await.ok();
    });
}
