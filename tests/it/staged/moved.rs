//! The secondary of the settings becomes another store: what is noted of the one before is not true
//! of it.

use serde_json::{Value, json};

use super::{DOCS, Plain, changing, in_sync, listening, points, upserting, write};
use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::process::Process;
use crate::support::story;
use crate::support::wire::Wire;

/// A sidecar over an embedded store of its own and this secondary.
async fn start(data: &Folder, secondary: &Plain) -> Process {
    let more = format!(
        "primary.kind = \"embedded\"\nsecondary.kind = \"qdrant\"\nsecondary.url = \"{}\"\n",
        secondary.url()
    );
    Process::start(&listening(data, &more), &[]).await
}

async fn stop(process: Process) {
    process.signal("TERM");
    assert_eq!(process.exit_code().await, Some(0), "{}", process.said());
}

async fn enter(process: &Process, mode: &str) {
    changing(process.admin, mode).await.unwrap().ok();
}

fn docs() -> Value {
    json!({"vectors": {"size": 2, "distance": "Dot"}})
}

/// The settings name the first secondary while docs is brought to it, and then the other.
async fn brought(data: &Folder, first: &Plain) -> Process {
    let process = start(data, first).await;
    enter(&process, "dual_write").await;
    write(process.proxy, "PUT", "", docs()).await;
    for id in 1..=5 {
        write(process.proxy, "PUT", "/points", upserting(id, json!({}))).await;
    }
    in_sync(process.admin).await;
    assert_eq!(points(first.at()).await.len(), 5);
    process
}

#[test]
fn a_follower_at_another_address_gets_all_that_the_one_before_had() {
    story(async {
        let data = Folder::new();
        let (first, other) = (Plain::new().await, Plain::new().await);
        stop(brought(&data, &first).await).await;
        let process = start(&data, &other).await;
        in_sync(process.admin).await;
        assert_eq!(points(other.at()).await.len(), 5);
        stop(process).await;
        // What is noted by now is of this one.
        let process = start(&data, &other).await;
        let said = process.said();
        assert!(!said.contains("another address"), "{said}");
    });
}

#[test]
fn what_was_made_at_one_follower_is_not_taken_for_ours_at_another() {
    story(async {
        let data = Folder::new();
        let (first, other) = (Plain::new().await, Plain::new().await);
        let process = brought(&data, &first).await;
        enter(&process, "primary_only").await;
        write(process.proxy, "DELETE", "", Value::Null).await;
        stop(process).await;
        // Somebody else's, of the same name.
        write(other.at(), "PUT", "", docs()).await;
        write(other.at(), "PUT", "/points", upserting(7, json!({}))).await;

        let process = start(&data, &other).await;
        enter(&process, "dual_write").await;
        in_sync(process.admin).await;
        process.says("it is left alone").await;
        assert_eq!(points(other.at()).await.len(), 1);
        let gone = Ask::get(DOCS);
        let gone = gone.over(&mut Wire::connect(process.proxy).await).await;
        assert_eq!(gone.status(), 404);
    });
}
