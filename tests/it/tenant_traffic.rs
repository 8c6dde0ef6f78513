//! Traffic as mem0 sends it: many users, each of whose searches has a filter by `user_id`, and a
//! write now and then. What tenant-wise invalidation is worth, and whether the estimate knew.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::sidecar::Sidecar;
use crate::support::story;

const USERS: u64 = 100;
const CALLS: u64 = 2500;

async fn sidecar(folder: &Folder, more: &str) -> Sidecar {
    let data = folder.path().display();
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprimary.kind = \"embedded\"\n\
         data_dir = \"{data}\"\ncache.enabled = true\n{more}\n"
    );
    let sidecar = Sidecar::with(&toml).await;
    let config = json!({"vectors": {"size": 2, "distance": "Dot"}});
    let ask = Ask::new("PUT", "/collections/memories").json(&config);
    sidecar.ask(&ask).await.ok();
    sidecar
}

/// Nine of ten calls are reads. The share of them that was answered from what was kept, and the
/// estimates of it with tenants told apart and not.
async fn hit_rates(more: &str, seed: u64) -> (f64, [f64; 2]) {
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = Folder::new();
    let sidecar = sidecar(&folder, more).await;
    let mut wire = sidecar.connect().await;
    let (mut hits, mut reads) = (0u32, 0u32);
    for id in 0..CALLS {
        // A few users do most of it.
        let few = rng.random_range(1..=USERS);
        let user = format!("user-{}", rng.random_range(0..few));
        if rng.random_range(0..10) == 0 {
            let payload = json!({"user_id": user, "data": "likes tea"});
            let point = json!({"id": id, "vector": {"": [1.0, 1.0]}, "payload": payload});
            let ask = Ask::new("PUT", "/collections/memories/points?wait=true");
            let ask = ask.json(&json!({ "points": [point] }));
            ask.over(&mut wire).await.ok();
            continue;
        }
        let filter = json!({"must": [{"key": "user_id", "match": {"value": user}}]});
        let text = f64::from(rng.random_range(0..3u8));
        let query = json!({"query": [text, 1.0], "using": "", "filter": filter, "limit": 80,
            "with_payload": true, "with_vector": false});
        let ask = Ask::new("POST", "/collections/memories/points/query").json(&query);
        let answer = ask.over(&mut wire).await.ok();
        hits += u32::from(answer.head.field("x-outrigger-cache").as_deref() == Some("hit-l1"));
        reads += 1;
    }
    let estimate = sidecar.ask_admin(&Ask::get("/api/cache/estimate")).await;
    let estimate = estimate.ok().json();
    let rate = |tenant_wise: bool| {
        let is = |row: &&Value| {
            row["memory_mb"] == 128 && row["ttl"] == "5m" && row["tenant_wise"] == tenant_wise
        };
        let row = estimate["rows"].as_array().unwrap().iter().find(is);
        row.unwrap()["hit_rate"].as_f64().unwrap()
    };
    let rates = [rate(false), rate(true)];
    drop(wire);
    sidecar.into_running().stop().await;
    (f64::from(hits) / f64::from(reads), rates)
}

#[test]
fn many_users_hit_far_more_often_when_their_writes_leave_each_other_alone() {
    story(async {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let (without, estimated) = hit_rates("", seed).await;
        let (with, estimated_too) =
            hit_rates("collections.memories.tenant_key = \"user_id\"", seed).await;
        println!("hit rate: {without:.3} without, {with:.3} with tenants told apart");
        println!("estimated: {estimated:.3?} by the first, {estimated_too:.3?} by the second");
        assert!(with > 2.0 * without, "{with} {without}");
        for [all, apart] in [estimated, estimated_too] {
            assert!((all - without).abs() < 0.01, "{all}, truly {without}");
            assert!((apart - with).abs() < 0.01, "{apart}, truly {with}");
        }
    });
}
