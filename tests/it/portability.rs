//! What is said of other stores is what they do: a request for every operation and every feature is
//! put to a real one of each kind of our own, and refused in the words of the report or served.

mod asked;

use std::collections::BTreeSet;

use outrigger::model::{Access, Class, Operation, StoreKind};
use outrigger::portability::{self, Feature, Shape, Verdict};
use outrigger::wire;
use serde_json::{Value, json};

use asked::Row;

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::{Process, run};
use crate::support::sidecar::Sidecar;
use crate::support::{story, until};

fn listening(data: &Folder, store: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n{store}\n",
        data.path().display()
    )
}

async fn put(sidecar: &Sidecar, row: &Row) -> Answer {
    let ask = Ask::new(row.method, &row.target);
    let ask = if row.body.is_null() {
        ask
    } else {
        ask.json(&row.body)
    };
    sidecar.ask(&ask).await
}

fn shape(row: &Row) -> Shape {
    let method = http::Method::from_bytes(row.method.as_bytes()).unwrap();
    let (path, query) = match row.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (row.target.as_str(), None),
    };
    let operation = wire::recognise(&method, path).operation;
    portability::shape(operation, query, Some(row.body.to_string().as_bytes()))
}

/// Every row of `asked` holds at this store; what was asked for is in the answer.
async fn holds(kind: StoreKind, sidecar: &Sidecar) -> (BTreeSet<&'static str>, BTreeSet<Feature>) {
    let (mut operations, mut features) = (BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    let mut snapshot = String::new();
    for mut row in asked::rows() {
        row.target = row.target.replace("SNAPSHOT", &snapshot);
        let shape = shape(&row);
        operations.insert(shape.operation.as_str());
        features.extend(shape.features());
        let (verdict, why) = portability::verdict(&shape, kind);
        let answer = put(sidecar, &row).await;
        let text = answer.text();
        if let Ok(told) = serde_json::from_str::<Value>(&text)
            && let Some(name) = told["result"]["name"].as_str()
        {
            snapshot = name.to_owned();
        }
        let is_served = answer.status() < 300;
        let fits = match verdict {
            Verdict::Exactly | Verdict::Approximately => is_served || row.lacks_a_file(&text),
            Verdict::Unknown => false,
            // To what it does not know at all a Qdrant says nothing.
            Verdict::NotAtAll if shape.operation == Operation::Unknown => answer.status() == 404,
            Verdict::NotAtAll => !is_served && why.iter().any(|why| text.contains(why)),
        };
        if !fits {
            let status = answer.status();
            let Row { method, target, .. } = &row;
            wrong.push(format!(
                "{method} {target}: {verdict:?} {why:?}, but {status} {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{kind}:\n{}", wrong.join("\n"));
    (operations, features)
}

fn all_were_asked_for((operations, features): (BTreeSet<&'static str>, BTreeSet<Feature>)) {
    let counted = Operation::ALL.into_iter().filter(|operation| {
        operation.access() != Access::Open && operation.class() != Class::Embedding
    });
    let counted: BTreeSet<_> = counted.map(Operation::as_str).collect();
    assert_eq!(
        counted.difference(&operations).count(),
        0,
        "{:?}",
        counted.difference(&operations)
    );
    let unseen = Feature::ALL
        .into_iter()
        .filter(|of| !features.contains(of) && *of != Feature::Unread);
    assert_eq!(unseen.collect::<Vec<_>>(), []);
}

#[test]
fn what_is_said_of_the_embedded_store_is_what_it_does() {
    story(async {
        let data = Folder::new();
        let sidecar = Sidecar::with(&listening(&data, "primary.kind = \"embedded\"")).await;
        all_were_asked_for(holds(StoreKind::Embedded, &sidecar).await);
    });
}

#[test]
fn what_is_said_of_the_pgvector_store_is_what_it_does() {
    story(async {
        let (data, server) = (Folder::new(), Postgres::start());
        let store = format!(
            "primary.kind = \"pgvector\"\nprimary.url = \"{}\"",
            server.url()
        );
        let sidecar = Sidecar::with(&listening(&data, &store)).await;
        all_were_asked_for(holds(StoreKind::Pgvector, &sidecar).await);
    });
}

async fn report(sidecar: &Sidecar) -> Value {
    let ask = Ask::get("/api/report/portability");
    sidecar.ask_admin(&ask).await.ok().json()
}

async fn until_looked_at(sidecar: &Sidecar, count: u64) -> Value {
    until("all requests are looked at", async || {
        report(sidecar).await["looked_at"] == count
    })
    .await;
    report(sidecar).await
}

#[test]
fn each_shape_that_is_seen_is_told_with_its_share_and_never_a_value() {
    story(async {
        let data = Folder::new();
        let sidecar = Sidecar::with(&listening(&data, "primary.kind = \"embedded\"")).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        let search = json!({"query": [0.8125, 0.5], "filter": {"must": [{"key": "secret-key",
            "match": {"value": "secret-value"}}]}});
        let sharded = json!({"query": [0.5, 0.25], "shard_key": "secret-shard"});
        let rows = [
            ("PUT", "/collections/secret-name", &made),
            ("POST", "/collections/secret-name/points/query", &search),
            // Answered from the cache, and asked for all the same.
            ("POST", "/collections/secret-name/points/query", &search),
            ("POST", "/collections/secret-name/points/query", &sharded),
        ];
        for (method, target, body) in rows {
            sidecar.ask(&Ask::new(method, target).json(body)).await;
        }
        sidecar.ask(&Ask::get("/healthz")).await.ok();
        let told = until_looked_at(&sidecar, 4).await;
        assert!(!told.to_string().contains("secret"), "{told}");
        assert!(!told.to_string().contains("0.8125"), "{told}");
        assert_eq!(told["kinds"], json!(["qdrant", "pgvector", "embedded"]));
        let first = &told["shapes"][0];
        assert_eq!((&first["count"], &first["share"]), (&json!(2), &json!(0.5)));
        assert_eq!(first["operation"], "query_points");
        let features = json!(["nearest", "dense vector", "approximate", "match value"]);
        assert_eq!(first["features"], features);
        assert_eq!(first["serves"]["pgvector"]["verdict"], "approximately");
        let pgvector = &told["summary"]["pgvector"];
        let shares = ["exactly", "approximately", "not_at_all", "unknown"].map(|of| &pgvector[of]);
        assert_eq!(
            shares,
            [&json!(0.25), &json!(0.5), &json!(0.25), &json!(0.0)]
        );
        assert_eq!(told["summary"]["qdrant"]["not_at_all"], 0.0);
    });
}

#[test]
fn with_a_second_store_the_report_is_of_that_one() {
    story(async {
        let (data, server) = (Folder::new(), Postgres::start());
        let store = format!(
            "primary.kind = \"embedded\"\nsecondary.kind = \"pgvector\"\nsecondary.url = \"{}\"",
            server.url()
        );
        let sidecar = Sidecar::with(&listening(&data, &store)).await;
        assert_eq!(report(&sidecar).await["kinds"], json!(["pgvector"]));
    });
}

#[test]
fn a_request_that_streams_by_is_counted_and_not_judged() {
    story(async {
        let data = Folder::new();
        let sidecar = Sidecar::with(&listening(&data, "primary.kind = \"embedded\"")).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        sidecar
            .ask(&Ask::new("PUT", "/collections/docs").json(&made))
            .await
            .ok();
        let payload = "x".repeat(300_000);
        let point = json!({"points": [{"id": 1, "vector": [1, 2], "payload": {"a": payload}}]});
        let ask = Ask::new("PUT", "/collections/docs/points").json(&point);
        sidecar.ask(&ask).await.ok();
        let told = until_looked_at(&sidecar, 2).await;
        assert_eq!(told["summary"]["pgvector"]["unknown"], 0.5);
    });
}

#[test]
fn the_command_says_no_when_something_is_not_served_at_all() {
    story(async {
        let data = Folder::new();
        let process = Process::start(&listening(&data, "primary.kind = \"embedded\""), &[]).await;
        let admin = process.admin.to_string();
        let command = ["report", "portability", "--admin-listen", &admin];
        let said = run(&command, &[]).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        let mut wire = crate::support::wire::Wire::connect(process.proxy).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        let ask = Ask::new("PUT", "/collections/docs").json(&made);
        ask.over(&mut wire).await.ok();
        let query = json!({"query": [0.5, 0.25], "shard_key": "k"});
        let ask = Ask::new("POST", "/collections/docs/points/query").json(&query);
        assert_eq!(ask.over(&mut wire).await.status(), 400);
        until("both are looked at", async || {
            run(&command, &[])
                .await
                .out
                .starts_with("2 requests looked at")
        })
        .await;
        let said = run(&command, &[]).await;
        assert_eq!(said.code, Some(1), "{}", said.err);
        let line = "   50.0%         1  not at all     query_points: nearest, dense vector, approximate, shard_key; Shard key";
        assert!(said.out.lines().any(|of| of == line), "{}", said.out);
        let summary = "pgvector: 50.0% exactly, 0.0% approximately, 50.0% not at all, 0.0% unknown";
        assert!(said.out.lines().any(|of| of == summary), "{}", said.out);
        let said = run(&[&command[..], &["--json"]].concat(), &[]).await;
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(told["looked_at"], 2);
    });
}
