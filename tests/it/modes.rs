//! The modes of a whole sidecar, changed while it runs: by command, by API, by an edited file and a
//! signal; which store answers then, what is refused, and what becomes of writes meanwhile.
//!
//! Nothing here needs the follower to be equal: what is asked is which store is asked. Where the
//! authority moves it is by force, for a follower that was never filled is not in sync.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use outrigger::model::Operation;
use outrigger::task;
use outrigger::wire::{ROUTES, recognise};
use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::process::{Process, run, run_in};
use crate::support::redis::Redis;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

const THERE: [&str; 4] = ["dual_write", "dual_read", "cutover", "secondary_only"];
const BACK: [&str; 4] = ["cutover", "dual_read", "dual_write", "primary_only"];

fn two_embedded(folder: &Folder) -> String {
    let data = folder.path().join("data");
    format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n\
         primary.kind = \"embedded\"\nsecondary.kind = \"embedded\"\n",
        data.display()
    )
}

fn authority(mode: &str) -> &'static str {
    match mode {
        "cutover" | "secondary_only" => "secondary",
        _ => "primary",
    }
}

fn store(answer: &Answer) -> Option<String> {
    answer.head.field("x-outrigger-store")
}

fn wish(mode: &str) -> Value {
    json!({"mode": mode, "force": true, "why": "to see"})
}

fn put_mode(wish: &Value) -> Ask {
    Ask::new("PUT", "/api/mode").json(wish)
}

/// The desk and the door of a process.
struct Asked<'p>(&'p Process);

impl Asked<'_> {
    async fn desk(&self, ask: &Ask) -> Answer {
        ask.over(&mut Wire::connect(self.0.admin).await).await
    }

    async fn read_from(&self) -> Option<String> {
        let ask = Ask::get("/collections");
        store(&ask.over(&mut Wire::connect(self.0.proxy).await).await.ok())
    }

    async fn mode(&self) -> String {
        let told = self.desk(&Ask::get("/api/mode")).await.ok().json();
        told["mode"].as_str().unwrap().to_owned()
    }

    async fn command(&self, words: &[&str]) -> crate::support::process::Run {
        let admin = self.0.admin.to_string();
        let words = [&["mode"], words, &["--admin-listen", &admin]].concat();
        run(&words, &[]).await
    }
}

#[test]
fn every_mode_is_reached_by_command_and_by_api_and_its_store_answers() {
    story(async {
        let folder = Folder::new();
        let process = Process::start(&two_embedded(&folder), &[]).await;
        let asked = Asked(&process);
        assert_eq!(asked.read_from().await.as_deref(), Some("primary"));
        for (step, mode) in THERE.into_iter().chain(BACK).enumerate() {
            if step % 2 == 0 {
                let words = ["set", mode, "--force", "--why", "to see"];
                let set = asked.command(&words).await;
                assert_eq!(set.code, Some(0), "{set:?}");
                assert!(
                    set.out.starts_with(&format!("{mode} is in force")),
                    "{set:?}"
                );
            } else {
                let told = asked.desk(&put_mode(&wish(mode))).await.ok().json();
                assert_eq!(
                    (&told["mode"], &told["changed"]),
                    (&json!(mode), &json!(true))
                );
                assert_eq!(told["epoch"], step + 1);
            }
            assert_eq!(asked.mode().await, mode);
            assert_eq!(
                asked.read_from().await.as_deref(),
                Some(authority(mode)),
                "{mode}"
            );
            let status = asked.desk(&Ask::get("/api/status")).await.ok().json();
            assert_eq!(status["mode"]["mode"], mode);
            assert_eq!(status["mode"]["authority"], authority(mode));
            let scrape = asked.desk(&Ask::get("/metrics")).await.ok().text();
            let line = format!("outrigger_mode{{collection=\"*\",mode=\"{mode}\"}} 1");
            assert!(scrape.contains(&line), "{line}");
            assert!(scrape.contains(&format!("outrigger_mode_epoch {}\n", step + 1)));
        }
        let shown = asked.command(&["get"]).await;
        assert!(
            shown.out.contains("primary_only") && shown.out.contains("dual_write"),
            "{shown:?}"
        );
        let again = asked.command(&["set", "primary_only"]).await;
        assert_eq!(again.code, Some(0));
        assert!(again.out.contains("already"), "{again:?}");
        let history = asked.command(&["history", "--json", "--limit", "3"]).await;
        let history: Value = serde_json::from_str(&history.out).unwrap();
        let lines = history["history"].as_array().unwrap();
        let gone: Vec<&str> = lines
            .iter()
            .map(|line| line["to"].as_str().unwrap())
            .collect();
        assert_eq!(gone, ["primary_only", "dual_write", "dual_read"]);
        assert_eq!(
            (&lines[0]["why"], &lines[0]["forced"]),
            (&json!("to see"), &json!(true))
        );
        assert!(process.said().contains("another mode is in force"));
    });
}

#[test]
fn a_mode_that_was_set_outlives_the_process_and_wins_over_the_settings() {
    story(async {
        let folder = Folder::new();
        let toml = two_embedded(&folder);
        let started_in = [("VECTOR_STORE_MODE", "dual_write")];
        let first = Process::start(&toml, &started_in).await;
        let asked = Asked(&first);
        // None was ever set, so the settings say.
        assert_eq!(asked.mode().await, "dual_write");
        asked.desk(&put_mode(&wish("cutover"))).await.ok();
        let history = asked.desk(&Ask::get("/api/mode/history")).await.ok().json();
        assert_eq!(history["history"].as_array().unwrap().len(), 2, "{history}");
        first.signal("TERM");
        assert_eq!(first.exit_code().await, Some(0));

        let second = Process::start(&toml, &started_in).await;
        let asked = Asked(&second);
        assert_eq!(asked.mode().await, "cutover");
        assert_eq!(asked.read_from().await.as_deref(), Some("secondary"));
        let found = asked.desk(&Ask::get("/api/mode/history")).await.ok().json();
        assert_eq!(found, history);
        let said = second.says("wins over the settings").await;
        assert!(
            said.contains("VECTOR_STORE_MODE") && said.contains("cutover"),
            "{said}"
        );
        second.signal("KILL");
        second.exit_code().await;

        // Without its store the mode cannot be served, and primary_only would roll the cutover back.
        let data = folder.path().join("data").display().to_string();
        let words = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ];
        let lacking = run(&[&words[..], &["--data-dir", &data]].concat(), &[]).await;
        assert_eq!(lacking.code, Some(2), "{lacking:?}");
        assert!(
            lacking.err.contains("cutover") && lacking.err.contains("secondary"),
            "{lacking:?}"
        );
    });
}

#[test]
fn a_control_file_that_cannot_be_read_ends_the_start() {
    story(async {
        let folder = Folder::new();
        let config = folder.put("outrigger.toml", &two_embedded(&folder));
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let file = data.join("control.json");
        std::fs::write(&file, b"{\"version\":1,").unwrap();
        let words = ["serve", "--config", config.to_str().unwrap()];
        let ended = run_in(Folder::new(), &words, &[]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains(file.to_str().unwrap()), "{ended:?}");
        assert_eq!(std::fs::read(&file).unwrap(), b"{\"version\":1,");
    });
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    story(async {
        let folder = Folder::new();
        let process = Process::start(&two_embedded(&folder), &[]).await;
        let asked = Asked(&process);
        let jump = asked.desk(&put_mode(&wish("cutover"))).await;
        assert_eq!(jump.status(), 409);
        let told = jump.json();
        assert_eq!(
            (&told["done"], &told["missing"]),
            (&json!(false), &json!("dual_write"))
        );
        let reason = told["status"]["error"].as_str().unwrap();
        assert!(reason.contains("dual_write has to come first"), "{reason}");
        let refused = asked.command(&["set", "cutover", "--force"]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.err.contains("dual_write has to come first"),
            "{refused:?}"
        );

        for (body, said) in [
            (json!({"mode": "dual"}), "is no mode"),
            (json!({"mode": 1}), "wanted"),
            (json!({"mode": "dual_write", "colection": "a"}), "colection"),
            (json!({"mode": "dual_write", "collection": ""}), "empty"),
        ] {
            let text = asked.desk(&put_mode(&body)).await.refusal(400);
            assert!(text.contains(said), "{text}");
        }
        asked
            .desk(&Ask::get("/api/mode/history?limit=x"))
            .await
            .refusal(400);
        let usage = asked.command(&["set", "dual"]).await;
        assert_eq!(usage.code, Some(2), "{usage:?}");
        let nobody = run(&["mode", "get", "--admin-listen", "127.0.0.1:1"], &[]).await;
        assert_eq!(nobody.code, Some(3), "{nobody:?}");
        assert_eq!(asked.mode().await, "primary_only");
    });
}

#[test]
fn one_store_has_one_mode() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let refused = sidecar.ask_admin(&put_mode(&wish("dual_write"))).await;
        assert_eq!(refused.status(), 409);
        let told = refused.json();
        let reason = told["status"]["error"].as_str().unwrap();
        assert!(reason.contains("needs a secondary store"), "{reason}");
    });
}

#[test]
fn an_edited_file_is_asked_for_and_a_hangup_asks_again() {
    story(async {
        let folder = Folder::new();
        let toml = two_embedded(&folder);
        let edit = |mode: &str, own: &str| {
            let text = format!("mode = \"{mode}\"\n{toml}{own}");
            folder.put("outrigger.toml", &text)
        };
        let config = edit("primary_only", "");
        let words = ["serve", "--config", config.to_str().unwrap()];
        let process = Process::serve(&words, &[], Folder::new()).await;
        let asked = Asked(&process);
        edit("dual_write", "collections.docs.mode = \"dual_read\"\n");
        process
            .says("\"collection\":\"*\",\"who\":\"config file\"")
            .await;
        process
            .says("\"collection\":\"docs\",\"who\":\"config file\"")
            .await;
        let told = asked.desk(&Ask::get("/api/mode")).await.ok().json();
        assert_eq!(told["mode"], "dual_write");
        assert_eq!(told["collections"], json!({"docs": "dual_read"}));

        // A jump is refused, and asked for again when it is one no more.
        edit("secondary_only", "");
        process.says("cutover has to come first").await;
        asked.desk(&put_mode(&wish("cutover"))).await.ok();
        process.signal("HUP");
        process.says("SIGHUP").await;
        process.says("\"to\":\"secondary_only\",\"epoch\":4").await;
        assert_eq!(asked.mode().await, "secondary_only");

        // What stands in the file and was not edited asks for nothing.
        asked.desk(&put_mode(&wish("cutover"))).await.ok();
        process.signal("HUP");
        crate::support::until("the second signal was seen", async || {
            process.said().matches("SIGHUP").count() >= 2
        })
        .await;
        edit("secondary_only", "# a word\n");
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(asked.mode().await, "cutover");
    });
}

/// A sidecar between two Qdrants that say who they are, in `cutover`. Neither can be
/// made equal to the other, so the way on is by force.
async fn between(fence: &str) -> (Folder, Upstream, Upstream, Sidecar) {
    let (primary, secondary) = (telling("of primary").await, telling("of secondary").await);
    let folder = Folder::new();
    let mut more = format!("fence_timeout = \"{fence}\"\n");
    writeln!(more, "data_dir = \"{}\"", folder.path().display()).unwrap();
    writeln!(
        more,
        "secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
        secondary.url()
    )
    .unwrap();
    let sidecar = Sidecar::before(&primary.url(), &more).await;
    sidecar.ask_admin(&put_mode(&wish("dual_write"))).await.ok();
    sidecar.ask_admin(&put_mode(&wish("cutover"))).await.ok();
    (folder, primary, secondary, sidecar)
}

/// One request for every route there is, and one that is not known.
fn every_request() -> Vec<(Operation, Ask)> {
    let routes = ROUTES.iter().map(|route| {
        let target = route.template.replace("/**", "").replace(['{', '}'], "");
        let ask = Ask::new(
            route.method.as_str(),
            if target.is_empty() { "/" } else { &target },
        );
        let has_body = [Method::PUT, Method::POST, Method::PATCH].contains(&route.method);
        (
            route.operation,
            if has_body { ask.json(&json!({})) } else { ask },
        )
    });
    routes
        .chain([(Operation::Unknown, Ask::get("/no/such/route"))])
        .collect()
}

#[test]
fn the_fence_holds_every_operation_that_is_not_known_to_read_and_no_other() {
    story(async {
        let (_folder, follower, authority, sidecar) = between("6s").await;
        let sidecar = Arc::new(sidecar);
        let ask = |ask: Ask| {
            let sidecar = Arc::clone(&sidecar);
            task::spawn("ask", async move { sidecar.ask(&ask).await })
        };
        authority.hold_only(|seen| seen.target.contains("tarries"));
        let slow = ask(Ask::put("/collections/tarries/points", "{}"));
        crate::support::until("the slow one has come", async || {
            authority
                .seen()
                .iter()
                .any(|seen| seen.target.contains("tarries"))
        })
        .await;
        let own = Arc::clone(&sidecar);
        let change = task::spawn("change", async move {
            own.ask_admin(&put_mode(&wish("secondary_only"))).await
        });
        // Either a probe goes through before the fence is up, or it is held; one after the other.
        loop {
            let probe = ask(Ask::put("/collections/probe/points", "{}"));
            let is_held = || sidecar.metric("outrigger_mode_held_writes_total", &[]) >= 1.0;
            let over = async || probe.is_finished() || is_held();
            crate::support::until("the probe is held or answered", over).await;
            if is_held() {
                break;
            }
        }
        // No further probe is on its way: the last one is waited for above.
        let held_before = sidecar.metric("outrigger_mode_held_writes_total", &[]);
        let mut held = Vec::new();
        let mut seen = BTreeSet::new();
        for (operation, request) in every_request() {
            seen.insert(operation.as_str());
            if operation.class().is_read() {
                let answer = sidecar.ask(&request).await;
                assert_ne!(store(&answer).as_deref(), Some("primary"), "{operation}");
            } else {
                held.push((operation, ask(request)));
            }
        }
        assert_eq!(seen.len(), Operation::ALL.len());
        // Each of them has come to where it is held, or through.
        let (probes, all) = (held_before, held.len());
        crate::support::until("each is held or answered", async || {
            let through = held.iter().filter(|(_, write)| write.is_finished()).count();
            let now = sidecar.metric("outrigger_mode_held_writes_total", &[]);
            now - probes + through as f64 >= all as f64
        })
        .await;
        assert!(!change.is_finished() && !slow.is_finished());
        for (operation, write) in &held {
            assert!(!write.is_finished(), "{operation} went through the fence");
        }
        let written_to = |upstream: &Upstream| {
            let seen = upstream.seen().into_iter().filter(|seen| {
                let operation = recognise(&seen.method, &seen.target).operation;
                !operation.class().is_read() && !seen.target.contains("tarries")
            });
            let others = seen.filter(|seen| !seen.target.contains("probe"));
            others.map(|seen| seen.target).collect::<Vec<_>>()
        };
        let nothing = Vec::<String>::new();
        assert_eq!(
            (written_to(&authority), written_to(&follower)),
            (nothing.clone(), nothing)
        );

        // The write that was under way ends; whoever was held goes by the mode that came out.
        authority.release();
        slow.await.unwrap().ok();
        let told = change.await.unwrap().ok().json();
        assert!(told["held_ms"].as_u64().unwrap() > 0, "{told}");
        for (operation, write) in held {
            let answer = write.await.unwrap();
            assert_eq!(
                store(&answer).as_deref(),
                Some("secondary"),
                "{operation}: {}",
                answer.text()
            );
        }
    });
}

#[test]
fn writes_held_for_a_change_that_comes_to_nothing_go_on_in_the_old_mode() {
    story(async {
        let (_folder, _follower, authority, sidecar) = between("1s").await;
        let sidecar = Arc::new(sidecar);
        authority.hold_only(|seen| seen.target.contains("tarries"));
        let ask = |target: &'static str| {
            let sidecar = Arc::clone(&sidecar);
            task::spawn(
                "ask",
                async move { sidecar.ask(&Ask::put(target, "{}")).await },
            )
        };
        let slow = ask("/collections/tarries/points");
        crate::support::until("the slow one has come", async || {
            authority
                .seen()
                .iter()
                .any(|seen| seen.target.contains("tarries"))
        })
        .await;
        let own = Arc::clone(&sidecar);
        let change = task::spawn("change", async move {
            own.ask_admin(&put_mode(&wish("secondary_only"))).await
        });
        sidecar
            .until_metric("outrigger_mode_held_writes_total", &[], 0.0)
            .await;
        let mut writes = Vec::new();
        while !change.is_finished() {
            writes.push(ask("/collections/docs/points"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let refused = change.await.unwrap();
        assert_eq!(refused.status(), 409);
        let reason = refused.json()["status"]["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(reason.contains("1 writes are under way"), "{reason}");
        for write in writes {
            assert_eq!(
                store(&write.await.unwrap().ok()).as_deref(),
                Some("secondary")
            );
        }
        assert!(sidecar.metric("outrigger_mode_held_writes_total", &[]) > 3.0);
        assert_eq!(
            sidecar.metric("outrigger_mode_fence_seconds_count", &[]),
            // The one into cutover, and this one.
            2.0
        );
        authority.release();
        slow.await.unwrap().ok();
        sidecar
            .ask_admin(&put_mode(&wish("secondary_only")))
            .await
            .ok();
    });
}

/// A Qdrant that says who it is to every question, and that `live` means `docs`.
async fn telling(name: &'static str) -> Upstream {
    Upstream::answering(move |seen| {
        let result = if seen.target == "/aliases" {
            json!({"aliases": [{"alias_name": "live", "collection_name": "docs"}]})
        } else {
            json!(name)
        };
        let body = json!({"result": result, "status": "ok", "time": 0.0});
        Response::new(Bytes::from(body.to_string()))
    })
    .await
}

/// A sidecar between two of these.
async fn between_telling(folder: &Folder, more: &str) -> (Upstream, Upstream, Sidecar) {
    let (primary, secondary) = (telling("of primary").await, telling("of secondary").await);
    let more = format!(
        "{more}\ndata_dir = \"{}\"\nsecondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
        folder.path().display(),
        secondary.url()
    );
    let sidecar = Sidecar::before(&primary.url(), &more).await;
    (primary, secondary, sidecar)
}

#[test]
fn a_kept_answer_of_one_store_is_not_served_in_the_name_of_the_other() {
    story(async {
        let folder = Folder::new();
        let (_primary, _secondary, sidecar) =
            between_telling(&folder, "cache.enabled = true").await;
        let read = async || {
            let ask = Ask::post("/collections/docs/points/count", "{}");
            let answer = sidecar.ask(&ask).await.ok();
            let cache = answer.head.field("x-outrigger-cache").unwrap();
            (cache, answer.json()["result"].as_str().unwrap().to_owned())
        };
        for mode in ["dual_write", "cutover", "dual_write", "cutover"] {
            sidecar.ask_admin(&put_mode(&wish(mode))).await.ok();
            let said = format!("of {}", authority(mode));
            assert_eq!(read().await, ("miss".to_owned(), said.clone()), "{mode}");
            assert_eq!(read().await, ("hit-l1".to_owned(), said), "{mode}");
        }
    });
}

#[test]
fn a_collection_has_a_mode_of_its_own_under_any_of_its_names() {
    for cache in ["cache.enabled = false", "cache.enabled = true"] {
        story(async {
            let folder = Folder::new();
            let (primary, secondary, sidecar) = between_telling(&folder, cache).await;
            for mode in ["dual_write", "cutover"] {
                let mut of_one = wish(mode);
                of_one["collection"] = json!("docs");
                sidecar.ask_admin(&put_mode(&of_one)).await.ok();
            }
            for (name, expected) in [
                ("docs", "secondary"),
                ("live", "secondary"),
                ("other", "primary"),
            ] {
                let points = format!("/collections/{name}/points");
                for ask in [
                    Ask::get(&format!("/collections/{name}")),
                    Ask::new("POST", &format!("{points}/count")).json(&json!({})),
                    Ask::new("POST", &format!("{points}/query")).json(&json!({})),
                    Ask::new("PUT", &points).json(&json!({"points": []})),
                    Ask::new("PUT", &format!("/collections/{name}/index")).json(&json!({})),
                ] {
                    let answer = sidecar.ask(&ask).await.ok();
                    assert_eq!(store(&answer).as_deref(), Some(expected), "{name}");
                    assert_eq!(answer.json()["result"], format!("of {expected}"));
                }
            }
            // What names no collection goes by the mode of all.
            let all = sidecar.ask(&Ask::get("/collections")).await.ok();
            assert_eq!(store(&all).as_deref(), Some("primary"));
            let count = |of: &Upstream| {
                let seen = of.seen().into_iter();
                // What is asked to keep the other store equal is not what this is about; it moves
                // aliases too, but does not ask for nothing.
                seen.filter(|seen| {
                    seen.target.ends_with("/points/query")
                        || (seen.target.ends_with("/aliases")
                            && seen.body == *r#"{"actions":[]}"#.as_bytes())
                })
                .filter(|seen| seen.method == "POST")
                .count()
            };
            let asked = (count(&primary), count(&secondary));
            let looks = |from: &str, into: &str| {
                let body = json!({"query": 1, "lookup_from": {"collection": into}});
                Ask::new("POST", &format!("/collections/{from}/points/query")).json(&body)
            };
            for (from, into) in [("other", "docs"), ("other", "live"), ("live", "other")] {
                let text = sidecar.ask(&looks(from, into)).await.refusal(400);
                assert!(
                    text.contains(into) && text.contains("the other store"),
                    "{text}"
                );
            }
            let move_alias = Ask::new("POST", "/collections/aliases").json(&json!({"actions": []}));
            let text = sidecar.ask(&move_alias).await.refusal(409);
            assert!(text.contains("aliases"), "{text}");
            assert_eq!((count(&primary), count(&secondary)), asked);
            for (from, into) in [("other", "third"), ("docs", "live")] {
                sidecar.ask(&looks(from, into)).await.ok();
            }
            let told = sidecar.ask_admin(&Ask::get("/api/mode")).await.ok().json();
            let own = (&told["mode"], &told["collections"]);
            assert_eq!(own, (&json!("primary_only"), &json!({"docs": "cutover"})));
        });
    }
}

#[test]
fn a_second_sidecar_seen_through_redis_makes_changes_refused() {
    story(async {
        let redis = Redis::start().await;
        let (primary, secondary) = (Upstream::echo().await, Upstream::echo().await);
        let sidecar = async |folder: &Folder| {
            let more = format!(
                "cache.redis_url = \"{}\"\ndata_dir = \"{}\"\nsecondary.kind = \"qdrant\"\n\
                 secondary.url = \"{}\"",
                redis.url(),
                folder.path().display(),
                secondary.url()
            );
            Sidecar::before(&primary.url(), &more).await
        };
        let folders = [Folder::new(), Folder::new()];
        let one = sidecar(&folders[0]).await;
        one.until_metric("outrigger_cache_tier_up", &["tier=\"l2\""], 1.0)
            .await;
        one.ask_admin(&put_mode(&wish("dual_write"))).await.ok();
        let _other = sidecar(&folders[1]).await;
        let is_refused =
            async |mode: &str| one.ask_admin(&put_mode(&wish(mode))).await.status() == 409;
        crate::support::until("the other is heard of", async || {
            is_refused("dual_read").await || is_refused("dual_write").await
        })
        .await;
        let refused = one.ask_admin(&put_mode(&wish("cutover"))).await;
        let reason = refused.json()["status"]["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(reason.contains("another sidecar"), "{reason}");
    });
}
