//! The secondary of the settings becomes another store: what is noted of the one before is not true
//! of it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{DOCS, Plain, changing, in_sync, listening, points, sync, upserting, write};
use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::{Process, run};
use crate::support::story;
use crate::support::wire::Wire;

/// The settings of a sidecar over this primary and this secondary.
fn toml(data: &Folder, primary: &str, secondary: &Plain) -> String {
    let more = format!(
        "{primary}secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"\n",
        secondary.url()
    );
    listening(data, &more)
}

const EMBEDDED: &str = "primary.kind = \"embedded\"\n";

async fn start(data: &Folder, secondary: &Plain) -> Process {
    Process::start(&toml(data, EMBEDDED, secondary), &[]).await
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
    brought_by(start(data, first).await, first).await
}

async fn brought_by(process: Process, first: &Plain) -> Process {
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

#[test]
fn an_authority_at_another_address_takes_nothing_from_its_follower_unasked() {
    story(async {
        let (data, empty) = (Folder::new(), Folder::new());
        let follower = Plain::new().await;
        stop(brought(&data, &follower).await).await;
        let process = Process::start(&toml(&data, &at(&empty), &follower), &[]).await;
        process.says("another address").await;
        waits(&process, "another address", &follower).await;
        // Somebody says that it is meant so; what was made from another store is not ours any more.
        ask_for_a_sweep(&process).await;
        in_sync(process.admin).await;
        assert_eq!(points(follower.at()).await.len(), 5);
    });
}

#[test]
fn a_data_folder_that_was_emptied_is_another_store() {
    story(async {
        let (data, own) = (Folder::new(), Folder::new());
        let follower = Plain::new().await;
        let settings = toml(&data, &at(&own), &follower);
        let process = Process::start(&settings, &[]).await;
        stop(brought_by(process, &follower).await).await;
        fs::remove_dir_all(own.path()).unwrap();
        let process = Process::start(&settings, &[]).await;
        process.says("it is another store").await;
        // The application makes what it misses, before anybody has seen to it.
        write(process.proxy, "PUT", "", docs()).await;
        waits(&process, "another address", &follower).await;
        stop(process).await;
    });
}

#[test]
fn an_authority_that_lacks_what_it_had_takes_nothing_unasked_where_the_journal_is_lost() {
    story(async {
        let data = Folder::new();
        let (authority, follower) = (Plain::new().await, Plain::new().await);
        let primary = format!(
            "primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n",
            authority.url()
        );
        let settings = toml(&data, &primary, &follower);
        let process = Process::start(&settings, &[]).await;
        stop(brought_by(process, &follower).await).await;
        write(authority.at(), "DELETE", "", Value::Null).await;
        fs::remove_dir_all(data.path().join("journal")).unwrap();
        let process = Process::start(&settings, &[]).await;
        process.says("the follower has from it").await;
        write(process.proxy, "PUT", "", docs()).await;
        waits(&process, "lacks what it had", &follower).await;
        // What came from it is made equal to it, if that is what somebody wants.
        ask_for_a_sweep(&process).await;
        in_sync(process.admin).await;
        assert_eq!(points(follower.at()).await.len(), 0);
        stop(process).await;
    });
}

/// The settings of an embedded primary in a folder of its own.
fn at(folder: &Folder) -> String {
    format!("{EMBEDDED}primary.path = \"{}\"\n", folder.path().display())
}

/// Everything is to be compared, and nobody begins with it.
async fn waits(process: &Process, why: &str, follower: &Plain) {
    // So long that a sweep would have begun.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = sync(process.admin).await;
    assert_eq!(told["in_sync"], false, "{told}");
    assert!(told.to_string().contains(why), "{told}");
    assert_eq!(points(follower.at()).await.len(), 5);
}

async fn ask_for_a_sweep(process: &Process) {
    let ask = Ask::new("POST", "/api/sync/sweep").json(&json!({}));
    ask.over(&mut Wire::connect(process.admin).await).await.ok();
}

#[test]
fn of_two_sidecars_with_other_stores_only_the_first_starts_while_one_follows() {
    story(async {
        let (data, other_data, postgres) = (Folder::new(), Folder::new(), Postgres::start());
        let (first, other) = (Plain::new().await, Plain::new().await);
        let primary = format!(
            "primary.kind = \"pgvector\"\nprimary.url = \"{}\"\n",
            postgres.url()
        );
        let process = Process::start(&toml(&data, &primary, &first), &[]).await;
        enter(&process, "dual_write").await;
        let toml = toml(&other_data, &primary, &other);
        let file = other_data.put("other.toml", &toml);
        let refused = run(&["serve", "--config", file.to_str().unwrap()], &[]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(
            refused.err.contains("the secondary is at another address"),
            "{refused:?}"
        );
        stop(process).await;
    });
}

/// Two sidecars that share their modes, each with a journal of its own: what the settings say of the
/// stores comes with each start.
struct Pair {
    data: [Folder; 2],
    control: Postgres,
}

impl Pair {
    fn new() -> Self {
        Self {
            data: [Folder::new(), Folder::new()],
            control: Postgres::start(),
        }
    }

    async fn start(&self, of: usize, primary: &Plain, secondary: &Plain) -> Process {
        let primary = format!(
            "control.url = \"{}\"\nprimary.kind = \"qdrant\"\nprimary.url = \"{}\"\n",
            self.control.url(),
            primary.url()
        );
        Process::start(&toml(&self.data[of], &primary, secondary), &[]).await
    }
}

#[test]
fn no_sidecar_takes_anything_from_the_follower_unasked_where_another_has_found_the_authority_moved()
{
    story(async {
        let pair = Pair::new();
        let (authority, empty, follower) =
            (Plain::new().await, Plain::new().await, Plain::new().await);
        let one = pair.start(0, &authority, &follower).await;
        let other = pair.start(1, &authority, &follower).await;
        let one = brought_by(one, &follower).await;
        stop(other).await;
        stop(one).await;

        let one = pair.start(0, &empty, &follower).await;
        one.says("another address").await;
        let other = pair.start(1, &empty, &follower).await;
        // The application makes what it misses, by the one that has not found it out.
        write(other.proxy, "PUT", "", docs()).await;
        waits(&other, "another address", &follower).await;
        // One that knows nothing at all waits too.
        stop(other).await;
        fs::remove_dir_all(pair.data[1].path().join("journal")).unwrap();
        let other = pair.start(1, &empty, &follower).await;
        waits(&other, "another address", &follower).await;
        // Somebody says that it is meant so.
        for process in [one, other] {
            ask_for_a_sweep(&process).await;
            in_sync(process.admin).await;
            stop(process).await;
        }
        assert_eq!(points(follower.at()).await.len(), 0);
    });
}

#[test]
fn a_sidecar_that_was_away_reads_nothing_of_its_journal_at_another_store() {
    story(async {
        let pair = Pair::new();
        let (authority, empty, follower) =
            (Plain::new().await, Plain::new().await, Plain::new().await);
        let one = pair.start(0, &authority, &follower).await;
        let other = pair.start(1, &authority, &follower).await;
        let one = brought_by(one, &follower).await;
        stop(other).await;
        stop(one).await;
        let one = pair.start(0, &empty, &follower).await;
        one.says("another address").await;
        ask_for_a_sweep(&one).await;
        in_sync(one.admin).await;
        assert_eq!(
            points(follower.at()).await.len(),
            5,
            "they are nobody's now"
        );
        // Everything was compared, and the one that was away knows only its own journal.
        let other = pair.start(1, &empty, &follower).await;
        write(other.proxy, "PUT", "", docs()).await;
        waits(&other, "another address", &follower).await;
        stop(other).await;
        stop(one).await;
    });
}

#[test]
fn sidecars_that_disagree_on_the_follower_are_not_put_into_a_mode_that_has_one() {
    story(async {
        let pair = Pair::new();
        let (authority, first, other_follower) =
            (Plain::new().await, Plain::new().await, Plain::new().await);
        let one = pair.start(0, &authority, &first).await;
        let other = pair.start(1, &authority, &other_follower).await;
        let refused = changing(one.admin, "dual_write").await.unwrap();
        assert_ne!(refused.status(), 200, "{refused:?}");
        assert!(refused.text().contains("another address"), "{refused:?}");
        enter(&other, "dual_write").await;
        one.says("nothing is brought to the follower").await;
        write(one.proxy, "PUT", "", docs()).await;
        write(other.proxy, "PUT", "/points", upserting(1, json!({}))).await;
        in_sync(other.admin).await;
        assert_eq!(points(other_follower.at()).await.len(), 1);
        let gone = Ask::get(DOCS)
            .over(&mut Wire::connect(first.at()).await)
            .await;
        assert_eq!(gone.status(), 404);
        stop(one).await;
        stop(other).await;
    });
}
