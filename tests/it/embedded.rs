//! The embedded store from outside: what it keeps across ends of every kind, what it says of a data
//! folder that it cannot use, and what is left when the process is killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger::task;
use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::process::{Process, run};
use crate::support::story;
use crate::support::wire::Wire;

const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
const ROUNDS: &str = "5";

async fn start(data: &Folder) -> Process {
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n",
        data.path().display()
    );
    Process::start(&toml, &[]).await
}

async fn ask(process: &Process, method: &str, target: &str, body: &Value) -> Answer {
    let ask = Ask::new(method, target).json(body);
    ask.over(&mut Wire::connect(process.proxy).await).await
}

async fn ok(process: &Process, method: &str, target: &str, body: &Value) -> Value {
    let answer = ask(process, method, target, body).await;
    assert_eq!(answer.status(), 200, "{method} {target}: {}", answer.text());
    answer.json()["result"].clone()
}

/// A collection with something of everything that has to be kept.
async fn fill(process: &Process, name: &str) {
    let target = format!("/collections/{name}");
    let config = json!({
        "vectors": {"a": {"size": 4, "distance": "Dot"}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
        "metadata": {"made": "by a test"},
    });
    ok(process, "PUT", &target, &config).await;
    let index =
        json!({"field_name": "kind", "field_schema": {"type": "keyword", "is_tenant": true}});
    ok(process, "PUT", &format!("{target}/index?wait=true"), &index).await;
    let points: Vec<Value> = (1..=50)
        .map(|id| {
            let sparse = json!({"indices": [id, id + 100], "values": [1.0, 2.0]});
            let kind = if id % 2 == 0 { "even" } else { "odd" };
            json!({
                "id": id,
                "vector": {"a": [id, 1.0, 2.0, 3.0], "s": sparse},
                "payload": {"kind": kind, "n": id},
            })
        })
        .collect();
    let points_path = format!("{target}/points");
    ok(
        process,
        "PUT",
        &format!("{points_path}?wait=true"),
        &json!({"points": points}),
    )
    .await;
    let delete = json!({"points": [3, 4]});
    ok(
        process,
        "POST",
        &format!("{points_path}/delete?wait=true"),
        &delete,
    )
    .await;
    let set = json!({"payload": {"seen": true}, "filter": {"must": [
        {"key": "kind", "match": {"value": "odd"}},
    ]}});
    ok(
        process,
        "POST",
        &format!("{points_path}/payload?wait=true"),
        &set,
    )
    .await;
    let alias = json!({"actions": [
        {"create_alias": {"collection_name": name, "alias_name": format!("{name}-now")}},
    ]});
    ok(process, "POST", "/collections/aliases", &alias).await;
}

/// Everything that a client can see of a collection, asked by its alias.
async fn seen(process: &Process, name: &str) -> BTreeMap<&'static str, Value> {
    let target = format!("/collections/{name}-now");
    let info = ok(process, "GET", &target, &Value::Null).await;
    let all = json!({"limit": 100, "with_payload": true, "with_vector": true});
    let even = json!({"exact": true, "filter": {"must": [
        {"key": "kind", "match": {"value": "even"}},
    ]}});
    let search = json!({"query": [1.0, 1.0, 1.0, 1.0], "using": "a", "with_payload": true});
    BTreeMap::from([
        ("config", info["config"].clone()),
        ("schema", info["payload_schema"].clone()),
        (
            "points",
            ok(process, "POST", &format!("{target}/points/scroll"), &all).await,
        ),
        (
            "count",
            ok(process, "POST", &format!("{target}/points/count"), &even).await,
        ),
        (
            "found",
            ok(process, "POST", &format!("{target}/points/query"), &search).await,
        ),
        (
            "aliases",
            ok(process, "GET", "/aliases", &Value::Null).await,
        ),
    ])
}

/// Twice: what the second run recovers was left by the first recovery.
fn everything_is_kept_across(signal: &'static str) {
    story(async move {
        let data = Folder::new();
        let mut process = start(&data).await;
        fill(&process, "docs").await;
        let before = seen(&process, "docs").await;
        let points = before["points"]["points"].as_array().unwrap();
        assert_eq!((points.len(), &before["count"]["count"]), (48, &json!(24)));
        for _ in 0..2 {
            process.signal(signal);
            process.exit_code().await;
            process = start(&data).await;
            assert_eq!(seen(&process, "docs").await, before);
        }
        // And it goes on from there.
        let more = json!({"points": [{"id": 99, "vector": {"a": [1.0, 1.0, 1.0, 1.0]}}]});
        ok(&process, "PUT", "/collections/docs/points?wait=true", &more).await;
        let count = ok(
            &process,
            "POST",
            "/collections/docs/points/count",
            &json!({}),
        )
        .await;
        assert_eq!(count["count"], 49);
    });
}

#[test]
fn a_changed_weighting_of_sparse_vectors_holds_from_the_next_search_on() {
    story(async {
        let data = Folder::new();
        let mut process = start(&data).await;
        let config = json!({"sparse_vectors": {"words": {}}});
        ok(&process, "PUT", "/collections/docs", &config).await;
        // One word in every point, another in one of them.
        let points: Vec<Value> = (1..=10)
            .map(|id| {
                let words = if id == 7 { vec![1, 2] } else { vec![1] };
                let values = vec![1.0; words.len()];
                json!({"id": id, "vector": {"words": {"indices": words, "values": values}}})
            })
            .collect();
        let points = json!({ "points": points });
        ok(
            &process,
            "PUT",
            "/collections/docs/points?wait=true",
            &points,
        )
        .await;
        let search = json!({
            "query": {"indices": [1, 2], "values": [1.0, 1.0]}, "using": "words", "limit": 1,
        });
        let score = async |process: &Process| {
            let found = ok(process, "POST", "/collections/docs/points/query", &search).await;
            assert_eq!(found["points"][0]["id"], 7);
            found["points"][0]["score"].as_f64().unwrap()
        };
        assert!((score(&process).await - 2.0).abs() < 1e-6);
        let weigh = json!({"sparse_vectors": {"words": {"modifier": "idf"}}});
        ok(&process, "PATCH", "/collections/docs", &weigh).await;
        // ln(1 + (N - n + 0.5) / (n + 0.5)) of each word.
        let idf = |n: f64| (1.0 + (10.0 - n + 0.5) / (n + 0.5)).ln();
        let weighed = idf(10.0) + idf(1.0);
        for signal in ["KILL", "TERM"] {
            let found = score(&process).await;
            assert!((found - weighed).abs() < 1e-5, "{found} {weighed}");
            process.signal(signal);
            process.exit_code().await;
            process = start(&data).await;
        }
        assert!((score(&process).await - weighed).abs() < 1e-5);
    });
}

#[test]
fn a_restart_keeps_everything() {
    everything_is_kept_across("TERM");
}

#[test]
fn a_kill_keeps_everything_that_was_answered() {
    everything_is_kept_across("KILL");
}

#[test]
fn with_no_settings_at_all_it_is_a_qdrant_under_outrigger_data() {
    story(async {
        let home = Folder::new();
        let data = home.path().join("outrigger_data");
        let process = Process::serve(&FREE, &[], home).await;
        fill(&process, "docs").await;
        assert_eq!(seen(&process, "docs").await["count"]["count"], 24);
        assert!(data.join("collections").is_dir());
    });
}

#[test]
fn a_second_process_in_the_same_data_folder_is_refused_and_the_first_goes_on() {
    story(async {
        let data = Folder::new();
        let first = start(&data).await;
        fill(&first, "docs").await;
        let before = seen(&first, "docs").await;
        let path = data.path().to_str().unwrap();
        let arguments = [&["serve"], &FREE[..], &["--data-dir", path]].concat();
        let second = run(&arguments, &[]).await;
        assert_eq!(second.code, Some(2), "{second:?}");
        let said = second.err.lines().last().unwrap_or_default();
        for part in [path, "in use by another process", "--data-dir"] {
            assert!(said.contains(part), "{part:?} is not in: {}", second.err);
        }
        assert_eq!(seen(&first, "docs").await, before);
        // A folder that was let go is taken again.
        first.signal("KILL");
        first.exit_code().await;
        let third = start(&data).await;
        assert_eq!(seen(&third, "docs").await, before);
    });
}

/// The folder of a collection, found by the name in its record.
fn home_of(data: &Folder, name: &str) -> PathBuf {
    let homes = std::fs::read_dir(data.path().join("collections")).unwrap();
    let is_of = |home: &PathBuf| {
        let record = std::fs::read(home.join("collection.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        record["name"] == name
    };
    let mut homes = homes.map(|entry| entry.unwrap().path());
    homes.find(is_of).unwrap()
}

/// Makes every file below `folder` that `is_meant` something that nobody wrote.
fn spoil(folder: &Path, is_meant: &dyn Fn(&Path) -> bool) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path, is_meant);
        } else if is_meant(&path) {
            std::fs::write(&path, b"\0\xffnobody wrote this").unwrap();
        }
    }
}

fn a_damaged_collection_is_told_by_name(is_meant: impl Fn(&Path) -> bool) {
    story(async move {
        let data = Folder::new();
        let process = start(&data).await;
        fill(&process, "whole").await;
        fill(&process, "broken").await;
        let before = seen(&process, "whole").await;
        process.signal("TERM");
        process.exit_code().await;
        spoil(&home_of(&data, "broken"), &is_meant);

        let process = start(&data).await;
        let said = process.says("\"broken\"").await;
        assert!(said.contains("\"ERROR\""), "{said}");
        let search = json!({"query": [1.0, 1.0, 1.0, 1.0], "using": "a"});
        let target = "/collections/broken/points/query";
        let refused = ask(&process, "POST", target, &search).await;
        assert!(refused.status() >= 500, "{}", refused.text());
        assert!(refused.text().contains("broken"), "{}", refused.text());
        assert_eq!(seen(&process, "whole").await, before);
        // What cannot be opened can be thrown away, and made anew.
        ok(&process, "DELETE", "/collections/broken", &Value::Null).await;
        fill(&process, "broken").await;
        assert_eq!(seen(&process, "broken").await["points"], before["points"]);
    });
}

#[test]
fn a_collection_with_spoiled_segments_is_told_by_name_and_the_others_are_served() {
    a_damaged_collection_is_told_by_name(|path| path.to_string_lossy().contains("/segments/"));
}

#[test]
fn a_collection_with_a_spoiled_configuration_is_told_by_name_and_the_others_are_served() {
    a_damaged_collection_is_told_by_name(|path| path.ends_with("edge_config.json"));
}

#[test]
fn the_demo_answers_every_search_and_leaves_nothing_behind() {
    story(async {
        let temporary = Folder::new();
        let variables = [("TMPDIR", temporary.path().to_str().unwrap())];
        let run_of = async |arguments: &[&str]| run(arguments, &variables).await;
        let table = run_of(&["demo"]).await;
        assert_eq!(table.code, Some(0), "{table:?}");
        for part in ["nearest", "hybrid", "Mill Road", " ms"] {
            assert!(table.out.contains(part), "{part:?} is not in {}", table.out);
        }
        let json = run_of(&["demo", "--json"]).await;
        assert_eq!((json.code, json.err.as_str()), (Some(0), ""), "{json:?}");
        let told: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(
            (&told["complete"], &told["points"]),
            (&json!(true), &json!(40))
        );
        let refused = run_of(&["demo", "--data-dir", "somewhere"]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains("--data-dir"), "{refused:?}");
        let left = std::fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(left, 0, "something stays in {}", temporary.path().display());
    });
}

/// `tests/kill` in small: the long form is two hundred rounds.
#[test]
fn no_answered_write_is_lost_by_killing_the_process_while_it_is_written_to() {
    story(async {
        let mut proof = Command::new("python3");
        proof
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kill"))
            .args([
                "--rounds",
                ROUNDS,
                "--binary",
                env!("CARGO_BIN_EXE_outrigger"),
            ]);
        let done = task::spawn_blocking("kill", move || proof.output().unwrap());
        let done = done.await.unwrap();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "{out}\n{err}");
        assert!(out.contains(&format!("{ROUNDS} rounds in ")), "{out}");
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
