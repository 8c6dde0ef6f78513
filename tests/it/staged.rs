//! The interleavings that break mirroring elsewhere, each brought about step by step: a sidecar is
//! stopped between two of its own steps (`outrigger::stage`), or a request before a store.
//!
//! What was done is known when a story goes on; that a follower has caught up is polled for.

mod apart;
mod copies;
mod cut_off;
mod cutover;
mod drainers;
mod failover;
mod filters;
mod flips;
mod gate;
mod guard;
mod journals;
mod killed;
mod late;
mod letters;
mod moved;
mod paused;
mod shadow;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outrigger::stage::Stages;
use outrigger::task;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::wire::Wire;

/// What the points of a story are in.
const DOCS: &str = "/collections/docs";

/// What the authority is: who keeps the marks depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Primary {
    /// A journal.
    Embedded,
    /// A journal, and writes have to be waited for.
    Qdrant,
    /// The outbox.
    Pgvector,
}

/// A store that is an embedded one, reached as a Qdrant is.
struct Plain {
    sidecar: Sidecar,
    _data: Folder,
}

impl Plain {
    async fn new() -> Self {
        let data = Folder::new();
        let toml = format!(
            "{}primary.kind = \"embedded\"\n",
            listening(&data, "cache.enabled = false")
        );
        Self {
            sidecar: Sidecar::with(&toml).await,
            _data: data,
        }
    }

    fn at(&self) -> SocketAddr {
        self.sidecar.proxy()
    }

    fn url(&self) -> String {
        format!("http://{}", self.at())
    }
}

/// Nothing has to be read before a cutover, unless `more` speaks of the gate.
fn listening(data: &Folder, more: &str) -> String {
    let gate = match more.contains("cutover.gate") {
        true => "",
        false => "cutover.gate = false\n",
    };
    format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n{gate}{more}\n",
        data.path().display()
    )
}

/// A sidecar between two stores, in this process.
struct World {
    sidecar: Sidecar,
    /// Read by itself, where it can be.
    primary: Option<Plain>,
    secondary: Plain,
    _postgres: Option<Postgres>,
    data: Folder,
}

impl World {
    /// In `primary_only`, with an empty collection.
    async fn alone(kind: Primary) -> Self {
        Self::alone_with(kind, "").await
    }

    async fn alone_with(kind: Primary, more: &str) -> Self {
        let secondary = Plain::new().await;
        let url = secondary.url();
        Self::before(kind, secondary, &url, more).await
    }

    /// The secondary is reached at `url`.
    async fn before(kind: Primary, secondary: Plain, url: &str, more: &str) -> Self {
        let data = Folder::new();
        let (mut primary, mut postgres) = (None, None);
        let store = match kind {
            Primary::Embedded => "primary.kind = \"embedded\"\n".to_owned(),
            Primary::Qdrant => {
                let plain = primary.insert(Plain::new().await);
                format!(
                    "primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n",
                    plain.url()
                )
            }
            Primary::Pgvector => {
                let server = postgres.insert(Postgres::start());
                format!(
                    "primary.kind = \"pgvector\"\nprimary.url = \"{}\"\n",
                    server.url()
                )
            }
        };
        let more = format!(
            "cache.enabled = false\nfence_timeout = \"20s\"\n{store}\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{url}\"\n{more}"
        );
        let world = Self {
            sidecar: Sidecar::with(&listening(&data, &more)).await,
            primary,
            secondary,
            _postgres: postgres,
            data,
        };
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        world.write("PUT", "", made).await;
        world
    }

    /// In `dual_write`, both equal.
    async fn mirrored(kind: Primary) -> Self {
        let world = Self::alone(kind).await;
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        world
    }

    fn stages(&self) -> &Stages {
        self.sidecar.stages()
    }

    /// Writes to the collection through the sidecar.
    async fn write(&self, method: &str, target: &str, body: Value) {
        write(self.sidecar.proxy(), method, target, body).await;
    }

    async fn upsert(&self, id: u64, payload: Value) {
        self.write("PUT", "/points", upserting(id, payload)).await;
    }

    async fn delete(&self, id: u64) {
        let body = json!({"points": [id]});
        self.write("POST", "/points/delete", body).await;
    }

    /// The same, going on beside the story.
    fn writing(&self, method: &str, target: &str, body: &Value) -> JoinHandle<Answer> {
        writing(self.sidecar.proxy(), method, target, body)
    }

    async fn mode(&self, mode: &str) -> Answer {
        self.changing(mode).await.unwrap()
    }

    fn changing(&self, mode: &str) -> JoinHandle<Answer> {
        changing(self.sidecar.admin(), mode)
    }

    async fn sync(&self) -> Value {
        sync(self.sidecar.admin()).await
    }

    async fn sweep(&self) {
        let ask = Ask::new("POST", "/api/sync/sweep?collection=docs");
        self.sidecar.ask_admin(&ask).await.ok();
    }

    /// Waits until nothing is left to be brought to the follower.
    async fn in_sync(&self) {
        in_sync(self.sidecar.admin()).await;
    }

    /// What is at the authority, and at the secondary too.
    async fn both(&self) -> BTreeMap<u64, Point> {
        let here = points(self.sidecar.proxy()).await;
        assert_eq!(points(self.secondary.at()).await, here, "left: secondary");
        here
    }
}

/// A point as far as the stories look at it.
#[derive(Debug, PartialEq)]
struct Point {
    payload: Value,
    vector: Vec<f64>,
}

fn upserting(id: u64, payload: Value) -> Value {
    let payload = payload;
    json!({"points": [{"id": id, "vector": [1.0, 2.0], "payload": payload}]})
}

async fn write(at: SocketAddr, method: &str, target: &str, body: Value) {
    let answer = writing(at, method, target, &body).await.unwrap();
    assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
}

fn writing(at: SocketAddr, method: &str, target: &str, body: &Value) -> JoinHandle<Answer> {
    let ask = Ask::new(method, &format!("{DOCS}{target}?wait=true")).json(body);
    task::spawn("write", async move {
        ask.over(&mut Wire::connect(at).await).await
    })
}

fn changing(admin: SocketAddr, mode: &str) -> JoinHandle<Answer> {
    let ask = Ask::put(
        "/api/mode",
        json!({"mode": mode, "why": "a story"}).to_string(),
    );
    task::spawn("change", async move {
        ask.over(&mut Wire::connect(admin).await).await
    })
}

async fn sync(admin: SocketAddr) -> Value {
    let ask = Ask::get("/api/sync");
    ask.over(&mut Wire::connect(admin).await).await.ok().json()
}

async fn in_sync(admin: SocketAddr) {
    until("the follower is in sync", async || {
        let told = sync(admin).await;
        told["in_sync"] == true
    })
    .await;
}

/// Of a collection that may not be there.
async fn points(at: SocketAddr) -> BTreeMap<u64, Point> {
    let body = json!({"limit": 100_000, "with_vector": true, "with_payload": true});
    let ask = Ask::new("POST", &format!("{DOCS}/points/scroll")).json(&body);
    let answer = ask.over(&mut Wire::connect(at).await).await;
    if answer.status() == 404 {
        return BTreeMap::new();
    }
    let told = answer.ok().json();
    let told = told["result"]["points"].as_array().unwrap().iter();
    let point = |of: &Value| {
        let vector = of["vector"].as_array().unwrap().iter();
        let point = Point {
            payload: of["payload"].clone(),
            vector: vector.map(|part| part.as_f64().unwrap()).collect(),
        };
        (of["id"].as_u64().unwrap(), point)
    };
    told.map(point).collect()
}
