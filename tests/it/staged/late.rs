//! What was sent to the follower and is carried out late; what the authority has taken in and carries
//! out late; and a sidecar that may not send anything any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use memchr::memmem;
use outrigger::task;
use serde_json::{Value, json};

use super::gate::{Fate, Gate};
use super::killed::Rig;
use super::{DOCS, Plain, Primary, World, in_sync, points, upserting, write};
use crate::support::ask::Ask;
use crate::support::postgres::Postgres;
use crate::support::wire::Wire;
use crate::support::{story, until};

/// Calls that write this are held before the store has them.
fn holds(gate: &Gate, state: &'static str) {
    gate.rule(move |method, path, body| {
        let is_of_it = memmem::find(body, state.as_bytes()).is_some();
        if *method == Method::PUT && path.ends_with("/points") && is_of_it {
            Fate::HeldBefore
        } else {
            Fate::Pass
        }
    });
}

async fn state(at: &Plain) -> Option<Value> {
    let mut there = points(at.at()).await;
    there.remove(&1).map(|mut point| point.payload["s"].take())
}

fn lost_reply(kind: Primary) {
    story(async {
        let secondary = Plain::new().await;
        let gate = Gate::before(secondary.at()).await;
        let more = "mirror.doubt = \"2s\"\nprimary.read_timeout = \"1s\"\n\
                    secondary.read_timeout = \"1s\"\n";
        let world = World::before(kind, secondary, &gate.url(), more).await;
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        holds(&gate, "first");
        world.upsert(1, json!({"s": "first"})).await;
        gate.come(1).await;
        world.upsert(1, json!({"s": "second"})).await;
        let there = async || state(&world.secondary).await;
        until("the second is there", async || {
            there().await == Some(json!("second"))
        })
        .await;
        gate.deliver();
        until("the first has come", async || {
            there().await == Some(json!("first"))
        })
        .await;
        world.in_sync().await;
        assert_eq!(world.both().await[&1].payload, json!({"s": "second"}));
    });
}

#[test]
fn a_call_to_the_follower_whose_reply_was_lost_does_not_have_the_last_word() {
    lost_reply(Primary::Embedded);
}

#[test]
fn a_call_of_an_outbox_whose_reply_was_lost_does_not_have_the_last_word() {
    lost_reply(Primary::Pgvector);
}

#[test]
fn what_is_sent_when_the_lead_of_an_outbox_is_lost_does_not_have_the_last_word() {
    story(async {
        let secondary = Plain::new().await;
        let gate = Gate::before(secondary.at()).await;
        let more = "mirror.doubt = \"1s\"\n";
        let world = World::before(Primary::Pgvector, secondary, &gate.url(), more).await;
        let postgres = world._postgres.as_ref().unwrap();
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        holds(&gate, "first");
        world.upsert(1, json!({"s": "first"})).await;
        gate.come(1).await;

        // Another waits for the lead, and gets it.
        let (other, client) = (postgres.client().await, postgres.client().await);
        let lead = task::spawn("lead", async move {
            let lock = "select pg_advisory_lock(20820, 0)";
            other.query(lock, &[]).await.unwrap();
            other
        });
        until("it waits", async || {
            let waits = "select 1 from pg_locks where classid = 20820 and not granted";
            !client.query(waits, &[]).await.unwrap().is_empty()
        })
        .await;
        let end =
            "select pg_terminate_backend(pid) from pg_locks where classid = 20820 and granted";
        client.query(end, &[]).await.unwrap();
        let lead = lead.await.unwrap();
        world.upsert(1, json!({"s": "second"})).await;
        let newer = upserting(1, json!({"s": "second"}));
        write(world.secondary.at(), "PUT", "/points", newer).await;
        let cleared = client.execute("delete from qdc.outbox", &[]).await.unwrap();
        assert!(cleared >= 2, "{cleared}");

        gate.deliver();
        until("the first has come", async || {
            state(&world.secondary).await == Some(json!("first"))
        })
        .await;
        until("it is marked anew", async || {
            let rows = client.query("select 1 from qdc.outbox", &[]).await.unwrap();
            !rows.is_empty()
        })
        .await;
        drop(lead);
        world.in_sync().await;
        assert_eq!(world.both().await[&1].payload, json!({"s": "second"}));
    });
}

fn is_settling(path: &str) -> bool {
    path.ends_with("/points/payload/delete")
}

#[test]
fn an_index_that_was_not_waited_for_is_waited_for_before_it_is_brought_along() {
    story(async {
        let rig = Rig::new().await;
        rig.gates[0].rule(|_, path, _| {
            if is_settling(path) {
                Fate::HeldBefore
            } else {
                Fate::Pass
            }
        });
        let index = json!({"field_name": "n", "field_schema": "integer"});
        write(rig.proxy(), "PUT", "/index", index).await;
        rig.gates[0].come(1).await;
        let described = async || {
            let ask = Ask::get(DOCS);
            let told = ask.over(&mut Wire::connect(rig.secondary.at()).await).await;
            told.ok().json()["result"]["payload_schema"].clone()
        };
        assert_eq!(described().await, json!({}));
        rig.gates[0].deliver();
        in_sync(rig.process.admin).await;
        assert_eq!(described().await["n"]["data_type"], "integer");
    });
}

#[test]
fn a_sweep_reads_only_when_what_the_authority_has_taken_in_is_applied() {
    story(async {
        let rig = Rig::new().await;
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        rig.gates[0].rule(move |_, path, _| {
            if path.ends_with("/points/scroll") {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if is_settling(path) {
                Fate::HeldBefore
            } else {
                Fate::Pass
            }
        });
        let ask = Ask::new("POST", "/api/sync/sweep?collection=docs");
        let admin = rig.process.admin;
        ask.over(&mut Wire::connect(admin).await).await.ok();
        rig.gates[0].come(1).await;
        assert_eq!(read.load(Ordering::Relaxed), 0);
        rig.gates[0].deliver();
        in_sync(admin).await;
        assert!(read.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn a_sidecar_whose_lease_has_run_out_brings_nothing_to_the_follower() {
    story(async {
        let secondary = Plain::new().await;
        let gate = Gate::before(secondary.at()).await;
        let mut control = Postgres::start();
        let more = format!("control.url = \"{}\"\n", control.url());
        let world = World::before(Primary::Embedded, secondary, &gate.url(), &more).await;
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        gate.writes(Fate::Unavailable);
        world.upsert(1, json!({"s": "first"})).await;
        gate.come(1).await;
        control.stop();
        until("its lease has run out", async || {
            let body = upserting(2, json!({}));
            world
                .writing("PUT", "/points", &body)
                .await
                .unwrap()
                .status()
                == 503
        })
        .await;
        // It tried every two seconds at least until then.
        gate.pass();
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(points(world.secondary.at()).await.len(), 0);
        control.start_again();
        world.in_sync().await;
        assert_eq!(world.both().await[&1].payload, json!({"s": "first"}));
    });
}

#[test]
fn a_snapshot_that_is_put_back_is_waited_for_and_followed() {
    story(async {
        let world = World::alone(Primary::Embedded).await;
        world.mode("dual_write").await.ok();
        world.upsert(1, json!({"s": "first"})).await;
        let mut wire = Wire::connect(world.sidecar.proxy()).await;
        let taken = Ask::post(&format!("{DOCS}/snapshots"), "")
            .over(&mut wire)
            .await;
        let name = taken.ok().json()["result"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        world.upsert(1, json!({"s": "second"})).await;
        world.in_sync().await;
        assert_eq!(state(&world.secondary).await, Some(json!("second")));
        let file = world.data.path().join("snapshots/docs").join(name);
        let location = json!({"location": format!("file://{}", file.display())});
        let recover = Ask::new("PUT", &format!("{DOCS}/snapshots/recover?wait=false"));
        let answer = recover.json(&location).over(&mut wire).await;
        // It would be 202 before it has begun.
        assert_eq!(answer.status(), 200, "{answer:?}");
        world.in_sync().await;
        assert_eq!(state(&world.secondary).await, Some(json!("first")));
    });
}
