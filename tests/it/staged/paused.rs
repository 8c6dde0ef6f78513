//! A sidecar that stands still while the others move the authority, and wakes up.

use outrigger::mode::LEASE;
use outrigger::task;
use serde_json::json;
use tokio::task::JoinHandle;

use super::gate::{Fate, Gate};
use super::{DOCS, Plain, changing, in_sync, listening, points, upserting, write, writing};
use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::Process;
use crate::support::wire::Wire;
use crate::support::{story, until};

/// Two sidecars, each a process, that share a control store.
struct Fleet {
    sleeper: Process,
    other: Process,
    primary: Plain,
    secondary: Plain,
    gate: Gate,
    _postgres: Postgres,
    _data: [Folder; 2],
}

impl Fleet {
    async fn new() -> Self {
        let postgres = Postgres::start();
        let (primary, secondary) = (Plain::new().await, Plain::new().await);
        let gate = Gate::before(primary.at()).await;
        let data = [Folder::new(), Folder::new()];
        // Longer than a lease: the change waits until the sleeper's is over.
        let more = format!(
            "cache.enabled = false\nfence_timeout = \"20s\"\ncontrol.url = \"{}\"\n\
             primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
            postgres.url(),
            gate.url(),
            secondary.url()
        );
        let [sleeper, other] = [0, 1].map(|at: usize| listening(&data[at], &more));
        let fleet = Self {
            sleeper: Process::start(&sleeper, &[]).await,
            other: Process::start(&other, &[]).await,
            primary,
            secondary,
            gate,
            _postgres: postgres,
            _data: data,
        };
        changing(fleet.other.admin, "dual_write")
            .await
            .unwrap()
            .ok();
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(fleet.sleeper.proxy, "PUT", "", made).await;
        let first = upserting(1, json!({"n": "before"}));
        write(fleet.sleeper.proxy, "PUT", "/points", first).await;
        for process in [&fleet.sleeper, &fleet.other] {
            in_sync(process.admin).await;
        }
        fleet
    }
}

async fn sweep(admin: std::net::SocketAddr) {
    let ask = Ask::new("POST", "/api/sync/sweep");
    ask.over(&mut Wire::connect(admin).await).await.ok();
}

fn store(answer: &Answer) -> Option<String> {
    answer.head.field("x-outrigger-store")
}

#[test]
fn a_sidecar_that_slept_across_a_flip_neither_writes_to_the_old_authority_nor_answers_stale() {
    story(async {
        let fleet = Fleet::new().await;
        let asleep = fleet.sleeper.proxy;
        // One write is on its way to the store when it falls asleep.
        fleet.gate.writes(Fate::HeldBefore);
        let under_way = writing(asleep, "PUT", "/points", &upserting(2, json!({})));
        fleet.gate.come(1).await;
        fleet.gate.pass();
        fleet.sleeper.stop().await;
        // Its system takes these in its name.
        let read = || {
            let ask = Ask::get(&format!("{DOCS}/points/1"));
            task::spawn("read", async move {
                ask.over(&mut Wire::connect(asleep).await).await
            })
        };
        let mut reads: Vec<JoinHandle<Answer>> = (0..8).map(|_| read()).collect();
        let writes: Vec<JoinHandle<Answer>> = (10..18)
            .map(|id| writing(asleep, "PUT", "/points", &upserting(id, json!({}))))
            .collect();
        until("its lease is over", async || {
            let ask = Ask::get("/api/mode");
            let told = ask.over(&mut Wire::connect(fleet.other.admin).await).await;
            let told = told.ok().json();
            let all = told["sidecars"].as_array().unwrap();
            all.iter().any(|one| one["live"] == false)
        })
        .await;
        // It may have acknowledged what is in its journal alone: everything is compared first.
        let refused = changing(fleet.other.admin, "cutover").await.unwrap();
        assert_eq!(refused.status(), 409, "{}", refused.text());
        sweep(fleet.other.admin).await;
        in_sync(fleet.other.admin).await;
        let changed = changing(fleet.other.admin, "cutover").await.unwrap().ok();
        assert_eq!(changed.json()["mode"], "cutover");
        let newer = upserting(1, json!({"n": "after"}));
        write(fleet.other.proxy, "PUT", "/points", newer).await;
        in_sync(fleet.other.admin).await;
        // Asked when the newer write was acknowledged.
        reads.extend((0..8).map(|_| read()));

        fleet.sleeper.signal("CONT");
        let mut written = Vec::new();
        for (id, answer) in (10..).zip(writes) {
            let answer = answer.await.unwrap();
            match answer.status() {
                200 => {
                    assert_eq!(store(&answer).as_deref(), Some("secondary"), "{id}");
                    written.push(id);
                }
                status => assert_eq!(status, 503, "{id}: {}", answer.text()),
            }
        }
        for answer in reads {
            let answer = answer.await.unwrap();
            if answer.status() != 503 {
                let answer = answer.ok();
                assert_eq!(answer.json()["result"]["payload"]["n"], "after");
                assert_eq!(store(&answer).as_deref(), Some("secondary"));
            }
        }
        // What it had sent the old authority may do now. Nobody is told that it was done.
        fleet.gate.deliver();
        let answer = under_way.await.unwrap();
        assert_eq!(answer.status(), 503, "{}", answer.text());

        // And it goes on with the others.
        until("it writes again", async || {
            let body = upserting(20, json!({"n": "again"}));
            let answer = writing(asleep, "PUT", "/points", &body).await.unwrap();
            answer.status() == 200 && store(&answer).as_deref() == Some("secondary")
        })
        .await;
        for process in [&fleet.sleeper, &fleet.other] {
            in_sync(process.admin).await;
        }
        let there = points(fleet.secondary.at()).await;
        assert_eq!(there[&1].payload, json!({"n": "after"}));
        assert!(
            written.iter().all(|id| there.contains_key(id)),
            "{written:?}"
        );
        until(
            "what nobody was told of is nowhere, or everywhere",
            async || points(fleet.primary.at()).await == points(fleet.secondary.at()).await,
        )
        .await;
    });
}

#[test]
fn a_follower_that_takes_the_control_store_with_it_stops_no_write() {
    story(async {
        let mut postgres = Postgres::start();
        let primary = Plain::new().await;
        let data = [Folder::new(), Folder::new()];
        let more = format!(
            "cache.enabled = false\nfence_timeout = \"1s\"\nmirror.doubt = \"1s\"\n\
             primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"pgvector\"\nsecondary.url = \"{}\"",
            primary.url(),
            postgres.url()
        );
        let [one, other] = [0, 1].map(|at: usize| listening(&data[at], &more));
        let mut killed = Process::start(&one, &[]).await;
        let other = Process::start(&other, &[]).await;
        changing(other.admin, "dual_write").await.unwrap().ok();
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(other.proxy, "PUT", "", made).await;
        in_sync(other.admin).await;

        postgres.stop();
        tokio::time::sleep(LEASE + LEASE / 5).await;
        for (id, process) in (1..).zip([&killed, &other]) {
            write(process.proxy, "PUT", "/points", upserting(id, json!({}))).await;
        }
        postgres.start_again();
        for process in [&killed, &other] {
            in_sync(process.admin).await;
        }

        // Killed, it is waited for, for it might go on; started again, it is known to have ended.
        killed.signal("KILL");
        killed.exit_code().await;
        let refused = changing(other.admin, "cutover").await.unwrap();
        assert_eq!(refused.status(), 409, "{}", refused.text());
        // By a name that a sidecar at the same address of another machine does not have.
        let name = format!("{}#", killed.admin);
        assert!(refused.text().contains(&name), "{}", refused.text());
        killed = Process::start(&one, &[]).await;
        // What it finds in its journal is looked at again, and holds the fence for as long.
        in_sync(killed.admin).await;
        changing(other.admin, "cutover").await.unwrap().ok();
        for process in [&killed, &other] {
            assert_eq!(points(process.proxy).await.len(), 2);
        }
    });
}

#[test]
fn writes_in_the_journal_of_a_sidecar_that_does_not_run_keep_the_authority_where_it_is() {
    story(async {
        let postgres = Postgres::start();
        let (primary, secondary) = (Plain::new().await, Plain::new().await);
        let gate = Gate::before(secondary.at()).await;
        let data = [Folder::new(), Folder::new()];
        let more = format!(
            "cache.enabled = false\nfence_timeout = \"5s\"\nmirror.doubt = \"1s\"\ncontrol.url = \"{}\"\n\
             primary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
            postgres.url(),
            primary.url(),
            gate.url()
        );
        let [one, other] = [0, 1].map(|at: usize| listening(&data[at], &more));
        let mut killed = Process::start(&one, &[]).await;
        let other = Process::start(&other, &[]).await;
        changing(other.admin, "dual_write").await.unwrap().ok();
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(other.proxy, "PUT", "", made).await;
        for process in [&killed, &other] {
            in_sync(process.admin).await;
        }

        gate.writes(Fate::HeldBefore);
        write(killed.proxy, "PUT", "/points", upserting(1, json!({}))).await;
        gate.come(1).await;
        killed.signal("KILL");
        killed.exit_code().await;
        gate.lose();
        gate.pass();
        // To the one that is left everything is equal, once the other's lease is over.
        tokio::time::sleep(LEASE + LEASE / 5).await;
        in_sync(other.admin).await;
        let refused = changing(other.admin, "cutover").await.unwrap();
        assert_eq!(refused.status(), 409);
        assert!(refused.text().contains("journals"), "{}", refused.text());
        assert!(points(secondary.at()).await.is_empty());

        killed = Process::start(&one, &[]).await;
        in_sync(killed.admin).await;
        changing(other.admin, "cutover").await.unwrap().ok();
        assert_eq!(points(other.proxy).await.len(), 1);
        // One that ends with nothing left in its journal is not missed.
        killed.signal("TERM");
        killed.exit_code().await;
        changing(other.admin, "dual_write").await.unwrap().ok();

        // And one that never comes back is done without once everything is compared.
        killed = Process::start(&one, &[]).await;
        killed.signal("KILL");
        killed.exit_code().await;
        tokio::time::sleep(LEASE + LEASE / 5).await;
        let refused = changing(other.admin, "cutover").await.unwrap();
        assert_eq!(refused.status(), 409, "{}", refused.text());
        sweep(other.admin).await;
        in_sync(other.admin).await;
        changing(other.admin, "cutover").await.unwrap().ok();
    });
}
