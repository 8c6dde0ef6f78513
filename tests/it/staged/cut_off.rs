//! Clients that hang up between the authority's answer and what has to follow it.

use outrigger::stage::Stage;
use serde_json::json;

use super::{DOCS, Primary, World, upserting};
use crate::support::ask::Ask;
use crate::support::{story, until};

const TIMES: u64 = 1000;
/// So many at one time.
const CLIENTS: u64 = 25;

fn hung_up(kind: Primary) {
    story(async {
        let world = World::mirrored(kind).await;
        let open = world.sidecar.metrics().listener("proxy").open;
        // The writes of the world itself have ended.
        until("nobody is connected", async || open.get() == 0).await;
        let clients = usize::try_from(CLIENTS).unwrap();
        for round in 0..TIMES / CLIENTS {
            let mut answered = world.stages().stop(Stage::AfterAnswer);
            let mut unsent = (round % 4 == 0).then(|| world.stages().stop(Stage::AfterIntend));
            let mut wires = Vec::new();
            for id in round * CLIENTS..(round + 1) * CLIENTS {
                let write = upserting(id, json!({"n": id}));
                let ask = Ask::new("PUT", &format!("{DOCS}/points")).json(&write);
                let mut wire = world.sidecar.connect().await;
                wire.send(ask.bytes()).await;
                wires.push(wire);
            }
            let stop = unsent.as_mut().unwrap_or(&mut answered);
            stop.reached(clients).await;
            drop(wires);
            until("the sidecar has seen it go", async || open.get() == 0).await;
            // It runs to its end, with nobody left to be told.
            drop(unsent);
            answered.reached(clients).await;
            answered.go();
        }
        world.in_sync().await;
        let all = usize::try_from(TIMES).unwrap();
        assert_eq!(world.both().await.len(), all);
    });
}

#[test]
fn a_client_cut_off_a_thousand_times_leaves_nothing_unmarked() {
    hung_up(Primary::Embedded);
}

#[test]
fn a_client_cut_off_a_thousand_times_before_an_outbox_leaves_nothing_unmarked() {
    hung_up(Primary::Pgvector);
}
