//! A journal that cannot be written, or is not there any more, or not whole: mirroring says so,
//! clients are served, everything is compared, and what was lost is found by that.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::gate::Fate;
use super::killed::Rig;
use super::{Point, in_sync, points, sync, upserting, write};
use crate::support::{story, until};

fn folder(rig: &Rig) -> PathBuf {
    rig.data.path().join("journal").join("primary")
}

/// The segments, the oldest first.
fn segments(rig: &Rig) -> Vec<PathBuf> {
    let of = fs::read_dir(folder(rig)).unwrap();
    let files = of.map(|file| file.unwrap().path());
    let mut found: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|of| of == "seg"))
        .collect();
    found.sort();
    found
}

/// Killed with writes that the follower has not got; `harm` is done to the journal; started again.
async fn harmed(harm: impl FnOnce(&Rig)) -> Rig {
    let mut rig = Rig::new().await;
    for id in 1..=20 {
        rig.upsert(id, 0).await;
    }
    in_sync(rig.process.admin).await;
    rig.gates[1].writes(Fate::Unavailable);
    for id in 10..=30 {
        rig.upsert(id, 1).await;
    }
    write(
        rig.proxy(),
        "POST",
        "/points/delete",
        json!({"points": [1, 10]}),
    )
    .await;
    rig.gates[1].come(1).await;
    rig.kill().await;
    harm(&rig);
    rig.start().await;
    rig
}

/// Clients are served while the follower lacks what was lost, and then it has it.
async fn repaired(rig: &Rig) {
    assert!(!rig.is_equal().await);
    rig.upsert(40, 2).await;
    rig.gates[1].pass();
    rig.equal().await;
    until("nothing is left to be compared", async || {
        reasons(&sync(rig.process.admin).await).is_empty()
    })
    .await;
    assert!(rig.is_equal().await);
    let there = points(rig.secondary.at()).await;
    assert_eq!(there.len(), 29);
    assert_eq!(there[&11].payload, json!({"n": 1}));
}

fn reasons(told: &Value) -> Vec<String> {
    let due = told["directions"][0]["sweeps"].as_array().unwrap().iter();
    due.map(|of| of["reason"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_torn_tail_of_the_journal_costs_nothing_and_nothing_is_compared() {
    story(async {
        let rig = harmed(|rig| {
            let path = segments(rig).pop().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            // The head of a frame whose body never came.
            bytes.extend([200, 0, 0, 0, 1, 2, 3]);
            fs::write(&path, bytes).unwrap();
        })
        .await;
        assert!(
            rig.process.said().contains("cut off"),
            "{}",
            rig.process.said()
        );
        let told = sync(rig.process.admin).await;
        assert_eq!(reasons(&told), Vec::<String>::new(), "{told}");
        assert!(
            told["directions"][0]["waiting"].as_u64().unwrap() >= 21,
            "{told}"
        );
        repaired(&rig).await;
        assert!(!rig.process.said().contains("a sweep begins"));
    });
}

#[test]
fn a_damaged_journal_is_kept_aside_and_everything_is_compared() {
    story(async {
        let rig = harmed(|rig| {
            let path = segments(rig).remove(0);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            let (_, damaged) = bytes.split_at_mut(middle);
            damaged.iter_mut().take(8).for_each(|byte| *byte ^= 0xff);
            fs::write(&path, bytes).unwrap();
        })
        .await;
        let said = rig.process.says("the journal is broken").await;
        assert!(
            said.contains("\"ERROR\"") && said.contains("aside"),
            "{said}"
        );
        let told = sync(rig.process.admin).await;
        assert_eq!(reasons(&told).len(), 1, "{told}");
        assert_eq!(told["in_sync"], false);
        repaired(&rig).await;
        let kept = fs::read_dir(folder(&rig)).unwrap();
        let mut kept = kept.map(|of| of.unwrap().file_name().into_string().unwrap());
        assert!(kept.any(|name| name.starts_with("broken-")));
    });
}

#[test]
fn a_journal_that_is_gone_has_everything_compared() {
    story(async {
        let rig = harmed(|rig| fs::remove_dir_all(folder(rig)).unwrap()).await;
        let said = rig
            .process
            .says("the journal of writes was not there")
            .await;
        assert!(said.contains("\"ERROR\""), "{said}");
        let told = sync(rig.process.admin).await;
        assert_eq!(reasons(&told), ["the journal of writes was not there"]);
        repaired(&rig).await;
    });
}

#[test]
fn that_a_journal_was_gone_is_known_after_another_kill() {
    story(async {
        let mut rig = harmed(|rig| fs::remove_dir_all(folder(rig)).unwrap()).await;
        rig.kill().await;
        rig.start().await;
        let told = sync(rig.process.admin).await;
        assert_eq!(reasons(&told), ["the journal of writes was not there"]);
        repaired(&rig).await;
    });
}

/// No file may grow past 32 KiB, which is a full disk to a journal that has marks to keep.
const FULL: &str = "trap '' XFSZ && ulimit -f 64";

#[test]
fn a_full_disk_stops_the_journal_loudly_and_no_client_and_what_was_lost_is_compared() {
    story(async {
        let mut rig = Rig::new().await;
        rig.kill().await;
        rig.start_by_shell(FULL).await;
        rig.gates[1].writes(Fate::Unavailable);
        // Ids that are no run, so that each takes its place.
        let upsert = |from: u64| {
            let points = (from..from + 500).map(|n| {
                let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
                json!({"id": id, "vector": [1.0, 2.0], "payload": {"n": n}})
            });
            json!({"points": points.collect::<Vec<_>>()})
        };
        let mut written = 0;
        while !rig.process.said().contains("the journal cannot be written") {
            assert!(written < 50_000, "the disk is never full");
            write(rig.proxy(), "PUT", "/points", upsert(written)).await;
            written += 500;
        }
        let said = rig.process.says("the journal cannot be written").await;
        assert!(said.contains("\"ERROR\""), "{said}");
        // Served as before.
        write(rig.proxy(), "PUT", "/points", upsert(written)).await;
        written += 500;
        let told = sync(rig.process.admin).await;
        assert_eq!(told["in_sync"], false, "{told}");
        let due = reasons(&told);
        assert!(
            due.iter().any(|why| why.contains("could not be written")),
            "{told}"
        );

        // Everything is compared, also by the next process, which has a disk again.
        rig.kill().await;
        rig.start().await;
        let told = sync(rig.process.admin).await;
        assert!(!reasons(&told).is_empty(), "{told}");
        rig.gates[1].pass();
        write(rig.proxy(), "PUT", "/points", upserting(7, json!({"n": 7}))).await;
        until("all of it is there", async || {
            let there = points(rig.secondary.at()).await;
            there.len() == usize::try_from(written).unwrap() + 1
        })
        .await;
        rig.equal().await;
        let is_whole = |point: &Point| point.vector == [1.0, 2.0];
        assert!(points(rig.secondary.at()).await.values().all(is_whole));
    });
}
