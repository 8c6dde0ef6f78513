//! That the comparison sees what differs: two stores that hold the same, and one thing changed in
//! one of them.

use serde_json::{Value, json};

use super::call::{Outcome, ask};
use super::equal::agree;
use super::known::{Change, Front, Id, Known, Point, Step, When};
use crate::support::folder::Folder;
use crate::support::process::Process;
use crate::support::story;

struct Plain {
    process: Process,
    _data: Folder,
}

impl Plain {
    async fn start() -> Self {
        let data = Folder::new();
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n\
             cache.enabled = false\nprimary.kind = \"embedded\"\n",
            data.path().display()
        );
        let process = Process::start(&toml, &[]).await;
        let plain = Self {
            process,
            _data: data,
        };
        let vectors = json!({"vectors": {"size": 2, "distance": "Dot"}});
        plain.ok("PUT", "/collections/c", &vectors).await;
        plain.alias("c").await;
        plain.upsert(1, 0.5, "x").await;
        plain.upsert(2, 0.25, "y").await;
        plain
    }

    async fn ok(&self, method: &str, target: &str, body: &Value) {
        let outcome = ask(self.process.proxy, method, target, body).await;
        assert!(outcome.is_done(), "{method} {target}: {}", outcome.told());
    }

    async fn alias(&self, name: &str) {
        let create = json!({"collection_name": "c", "alias_name": name});
        let body = json!({"actions": [{"create_alias": create}]});
        drop(ask(self.process.proxy, "POST", "/collections/aliases", &body).await);
    }

    async fn upsert(&self, number: usize, component: f64, text: &str) {
        let id = Id::new(number).json();
        let point = json!({"id": id, "vector": [component, 1.0], "payload": {"p": text}});
        let target = "/collections/c/points?wait=true";
        self.ok("PUT", target, &json!({"points": [point]})).await;
    }

    async fn delete(&self, number: usize) {
        let body = json!({"points": [Id::new(number).json()]});
        self.ok("POST", "/collections/c/points/delete?wait=true", &body)
            .await;
    }
}

async fn is_seen(one: &Plain, other: &Plain, what: &str) {
    let names = ["c".to_owned()];
    let (one, other) = (one.process.proxy, other.process.proxy);
    let told = agree(one, other, &names).await;
    assert!(told.is_err(), "{what} is not seen");
    let told = agree(other, one, &names).await;
    assert!(told.is_err(), "{what} is not seen the other way round");
}

async fn is_equal(one: &Plain, other: &Plain) {
    let names = ["c".to_owned()];
    let told = agree(one.process.proxy, other.process.proxy, &names).await;
    assert!(told.is_ok(), "{told:?}");
}

#[test]
fn the_comparison_sees_what_differs() {
    story(async {
        let (one, other) = (Plain::start().await, Plain::start().await);
        is_equal(&one, &other).await;

        other.delete(1).await;
        is_seen(&one, &other, "a point that is missing").await;
        other.upsert(1, 0.5, "z").await;
        is_seen(&one, &other, "a payload").await;
        other.upsert(1, 0.5001, "x").await;
        is_seen(&one, &other, "a vector").await;
        other.upsert(1, 0.500_000_1, "x").await;
        is_equal(&one, &other).await;

        let index = json!({"field_name": "p", "field_schema": "keyword"});
        other
            .ok("PUT", "/collections/c/index?wait=true", &index)
            .await;
        is_seen(&one, &other, "an index").await;
        other
            .ok("DELETE", "/collections/c/index/p?wait=true", &Value::Null)
            .await;
        is_equal(&one, &other).await;

        other.alias("other").await;
        is_seen(&one, &other, "an alias").await;
        other.ok("DELETE", "/collections/c", &Value::Null).await;
        is_seen(&one, &other, "a collection that is missing").await;
        let (one, other) = (Plain::start().await, Plain::start().await);
        let vectors = json!({"vectors": {"size": 2, "distance": "Dot"}});
        other.ok("PUT", "/collections/d", &vectors).await;
        is_seen(&one, &other, "a collection that nobody asked for").await;
    });
}

#[test]
fn the_reference_knows_what_may_be_and_what_may_not() {
    let first = Front {
        sidecar: 0,
        life: 0,
    };
    let front = Some(first);
    let ids = [Id::new(1), Id::new(2)];
    let mut known = Known::new(json!("me"), &ids);
    let done = Outcome::Said(200, Value::Null);
    let point = |user: &str| {
        let payload = json!({"owner": "me", "user": user});
        Point {
            payload: payload.as_object().cloned().unwrap(),
            ..Point::default()
        }
    };
    let put = |user: &str| Step::id(&ids[0], Change::Put(point(user), When::Always));
    let (ann, bob) = (Some(point("ann")), Some(point("bob")));
    known.learn(&[put("ann")], &done, front);
    assert!(known.doubts(&ids[0], &ann).is_none());
    assert!(known.doubts(&ids[0], &None).is_some());
    assert!(known.doubts(&ids[1], &ann).is_some());
    assert_eq!(known.shown_by(first), [ids[0].clone()]);

    // Nobody knows: both, and neither is written until it cannot come late.
    known.learn(&[put("bob")], &Outcome::Broken("cut"), front);
    assert!(known.doubts(&ids[0], &ann).is_none());
    assert!(known.doubts(&ids[0], &bob).is_none());
    assert!(known.doubts(&ids[0], &None).is_some());
    assert_eq!(known.free(), [ids[1].clone()]);
    assert!(known.shown_by(first).is_empty());

    // A filter meets one of the two.
    let gone = Step {
        reach: super::known::Reach::User("bob".to_owned()),
        change: Change::Delete,
    };
    known.learn(&[gone], &done, front);
    assert!(known.doubts(&ids[0], &ann).is_none());
    assert!(known.doubts(&ids[0], &None).is_none());
    assert!(known.doubts(&ids[0], &bob).is_some());

    known.learn(&[put("bob")], &done, front);
    assert!(known.doubts(&ids[0], &bob).is_none());
    assert!(known.doubts(&ids[0], &ann).is_some());
}
