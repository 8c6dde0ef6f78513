//! The store in PostgreSQL: how much is asked of the database, and when there is an index to search
//! by.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger::task;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::sidecar::Sidecar;
use crate::support::{story, until};

/// A sidecar over a database at `port`.
async fn sidecar(postgres: &Postgres, data: &Folder, port: u16) -> Sidecar {
    let listeners = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    let toml = postgres.toml(data);
    let toml = toml.replace(&postgres.url(), &postgres.url_at(port));
    Sidecar::with(&format!("{listeners}cache.enabled = false\n{toml}\n")).await
}

async fn ok(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> Value {
    let answer = sidecar.ask(&Ask::new(method, target).json(body)).await;
    assert_eq!(answer.status(), 200, "{method} {target}: {}", answer.text());
    answer.json()["result"].clone()
}

/// Stands before PostgreSQL and counts what it is told to carry out: prepared statements, and
/// texts such as `begin`.
struct Counted {
    port: u16,
    count: Arc<AtomicUsize>,
}

impl Counted {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        task::spawn("counted", async move {
            while let Ok((client, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                task::spawn("counted one", async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    relay(client, server, &counted).await;
                });
            }
        });
        Self { port: own, count }
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, counted: &AtomicUsize) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    let mut messages = Messages::default();
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(count) if count > 0 => {
                    counted.fetch_add(messages.counted(&up[..count]), Ordering::Relaxed);
                    server.write_all(&up[..count]).await.unwrap();
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(count) if count > 0 => drop(client.write_all(&down[..count]).await),
                _ => return,
            },
        }
    }
}

/// What a client says, as it comes in: the first message has no kind, all have a length.
#[derive(Default)]
struct Messages {
    waiting: Vec<u8>,
    is_begun: bool,
}

impl Messages {
    fn counted(&mut self, bytes: &[u8]) -> usize {
        self.waiting.extend_from_slice(bytes);
        let mut count = 0;
        loop {
            let kind = usize::from(self.is_begun);
            let Some(length) = self.waiting.get(kind..kind + 4) else {
                return count;
            };
            let length = u32::from_be_bytes(length.try_into().unwrap());
            let end = kind + usize::try_from(length).unwrap();
            if self.waiting.len() < end {
                return count;
            }
            count += usize::from(self.is_begun && b"QE".contains(&self.waiting[0]));
            self.waiting.drain(..end);
            self.is_begun = true;
        }
    }
}

#[test]
fn a_search_a_page_and_a_count_are_one_statement_each() {
    let (postgres, data) = (Postgres::start(), Folder::new());
    story(async {
        let counted = Counted::before(postgres.port()).await;
        let sidecar = sidecar(&postgres, &data, counted.port).await;
        let config = json!({"vectors": {"size": 2, "distance": "Dot"}});
        ok(&sidecar, "PUT", "/collections/docs", &config).await;
        let points = [1, 2, 3].map(
            |id| json!({"id": id, "vector": [id, 1], "payload": {"a": id, "odd": id % 2 == 1}}),
        );
        let points = json!({ "points": points });
        ok(
            &sidecar,
            "PUT",
            "/collections/docs/points?wait=true",
            &points,
        )
        .await;
        let odd = json!({"must": [{"key": "odd", "match": {"value": true}}]});
        let searched = json!({"query": [1.0, 0.0], "limit": 2, "with_payload": true});
        let mut filtered = searched.clone();
        filtered["filter"] = odd.clone();
        let asked = [
            ("query", searched, json!(["points", 0, "id", 3])),
            (
                "query",
                filtered,
                json!(["points", 1, "payload", {"a": 1, "odd": true}]),
            ),
            (
                "scroll",
                json!({"limit": 1}),
                json!(["points", 0, "payload", {"a": 1, "odd": true}]),
            ),
            (
                "count",
                json!({"filter": odd, "exact": true}),
                json!(["count", 2]),
            ),
        ];
        for (what, body, expected) in asked {
            let target = format!("/collections/docs/points/{what}");
            // Statements are prepared first; and now and then the store looks after its indexes.
            let mut least = usize::MAX;
            for _ in 0..20 {
                let before = counted.count.load(Ordering::Relaxed);
                let found = ok(&sidecar, "POST", &target, &body).await;
                least = least.min(counted.count.load(Ordering::Relaxed) - before);
                let path = expected.as_array().unwrap();
                let (expected, path) = path.split_last().unwrap();
                let at = path.iter().fold(&found, |value, step| match step.as_u64() {
                    Some(index) => &value[usize::try_from(index).unwrap()],
                    None => &value[step.as_str().unwrap()],
                });
                assert_eq!(at, expected, "{what}: {found}");
            }
            assert_eq!(least, 1, "{what}");
        }
    });
}

#[test]
fn words_follow_payloads_however_these_are_changed() {
    let (postgres, data) = (Postgres::start(), Folder::new());
    story(async {
        let sidecar = sidecar(&postgres, &data, postgres.port()).await;
        let config = json!({"vectors": {}});
        ok(&sidecar, "PUT", "/collections/docs", &config).await;
        let index = json!({"field_name": "text", "field_schema": "text"});
        ok(&sidecar, "PUT", "/collections/docs/index?wait=true", &index).await;
        let post = async |path: &str, body: Value| {
            let target = format!("/collections/docs/points{path}?wait=true");
            ok(&sidecar, "POST", &target, &body).await;
        };
        let found = async |word: &str| {
            let filter = json!({"must": [{"key": "text", "match": {"text": word}}]});
            let body = json!({"filter": filter, "exact": true});
            ok(&sidecar, "POST", "/collections/docs/points/count", &body).await["count"].clone()
        };
        let point = |id: u32, text: &str| json!({"id": id, "vector": {}, "payload": {"text": text, "n": id}});
        let points = json!({"points": [point(1, "red fox"), point(2, "red hen"), point(3, "elk")]});
        ok(
            &sidecar,
            "PUT",
            "/collections/docs/points?wait=true",
            &points,
        )
        .await;
        assert_eq!(
            (found("red").await, found("elk").await),
            (json!(2), json!(1))
        );
        let all = json!({"must": [{"key": "text", "match": {"text": "red"}}]});
        post(
            "/payload",
            json!({"payload": {"text": "blue"}, "filter": all}),
        )
        .await;
        assert_eq!(
            (found("red").await, found("blue").await),
            (json!(0), json!(2))
        );
        // Nobody is found: nothing changes.
        post(
            "/payload",
            json!({"payload": {"text": "blue"}, "filter": all}),
        )
        .await;
        post(
            "/payload",
            json!({"payload": {"text": "green elk"}, "points": [3, 3]}),
        )
        .await;
        assert_eq!(
            (found("green").await, found("elk").await),
            (json!(1), json!(1))
        );
        let first = json!({"must": [{"key": "n", "match": {"value": 1}}]});
        post("/payload/clear", json!({"filter": first})).await;
        assert_eq!(found("blue").await, json!(1));
        post("/payload/delete", json!({"keys": ["text"], "points": [2]})).await;
        assert_eq!(found("blue").await, json!(0));
        ok(
            &sidecar,
            "PUT",
            "/collections/docs/points?wait=true",
            &json!({"points": [point(3, "owl")]}),
        )
        .await;
        assert_eq!(
            (found("owl").await, found("green").await),
            (json!(1), json!(0))
        );
    });
}

/// An index for search there is of as many dimensions as pgvector takes, of more by halves of the
/// numbers, and of still more none.
#[test]
fn a_collection_is_yellow_until_it_is_searched_by_an_index() {
    const POINTS: usize = 60;
    let (postgres, data) = (Postgres::start(), Folder::new());
    story(async {
        let sidecar = sidecar(&postgres, &data, postgres.port()).await;
        let sizes = [(8, POINTS), (2500, POINTS), (4100, 0)];
        let number = |point: usize, at: usize| ((point * 37 + at * 11) % 97) as f32 / 97.0 - 0.4;
        let vector =
            |point: usize, size: usize| (0..size).map(|at| number(point, at)).collect::<Vec<_>>();
        for (size, indexed) in sizes {
            let target = format!("/collections/of{size}");
            let config = json!({
                "vectors": {"size": size, "distance": "Cosine"},
                "optimizers_config": {"indexing_threshold": 1},
            });
            ok(&sidecar, "PUT", &target, &config).await;
            let points: Vec<_> = (0..POINTS)
                .map(|point| json!({"id": point, "vector": vector(point, size)}))
                .collect();
            let points = json!({ "points": points });
            ok(
                &sidecar,
                "PUT",
                &format!("{target}/points?wait=true"),
                &points,
            )
            .await;
            let info = ok(&sidecar, "GET", &target, &Value::Null).await;
            let expected = if indexed > 0 { "yellow" } else { "green" };
            assert_eq!(info["status"], expected, "{size}: {info}");
        }
        for (size, indexed) in sizes {
            let target = format!("/collections/of{size}");
            until("its index is made", async || {
                let info = ok(&sidecar, "GET", &target, &Value::Null).await;
                info["status"] == "green" && info["indexed_vectors_count"] == indexed
            })
            .await;
            let body = json!({"query": vector(5, size), "limit": 3});
            let query = format!("{target}/points/query");
            let found = ok(&sidecar, "POST", &query, &body).await;
            let mut exact = body.clone();
            exact["params"] = json!({"exact": true});
            assert_eq!(found, ok(&sidecar, "POST", &query, &exact).await, "{size}");
            assert_eq!(found["points"][0]["id"], 5, "{size}");
        }
    });
}
