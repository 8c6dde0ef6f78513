//! To whom a write goes, whatever changes meanwhile.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_collection_goes_by_a_mode_of_its_own() {
    let (_control, one, other) = two().await;
    let of = |to| Wish {
        collection: Some("docs".to_owned()),
        ..wish(to)
    };
    assert!(one.changer.set(of(Mode::Cutover)).await.is_err());
    for mode in [Mode::DualWrite, Mode::Cutover] {
        one.changer.set(of(mode)).await.unwrap();
    }
    let snapshot = other.router.snapshot();
    assert_eq!(snapshot.plan(Some("docs")).authority_role, Role::Secondary);
    assert_eq!(snapshot.plan(Some("else")).authority_role, Role::Primary);
    assert!(snapshot.reads_both());
    let own = BTreeMap::from([("docs".to_owned(), Mode::Cutover)]);
    assert_eq!(snapshot.table().collections, own);
}

/// The rule of the header of `fleet`: whatever is cut off, comes back, begins, gives up or vanishes,
/// a write that is said to be done was sent to the one authority that there was until then.
#[tokio::test(start_paused = true)]
async fn an_acknowledged_write_was_always_sent_to_the_one_authority() {
    let (mut acknowledged, mut refused, mut flips) = (0_u32, 0_u32, 0_u64);
    for seed in 0..150 {
        let mut dice = StdRng::seed_from_u64(seed);
        let control = MemoryControl::new(LEASE);
        let mut sidecars = Vec::new();
        for name in ["one", "two", "three"] {
            sidecars.push(Arc::new(Sidecar::join(&control, name).await));
        }
        let counts = Arc::new(Mutex::new((0_u32, 0_u32)));
        let mut writers = Vec::new();
        for sidecar in &sidecars {
            let (sidecar, control) = (Arc::clone(sidecar), control.clone());
            let (counts, mut dice) = (Arc::clone(&counts), StdRng::seed_from_u64(dice.next_u64()));
            writers.push(task::spawn("writer", async move {
                for _ in 0..60 {
                    let pause = dice.random_range(0..1500);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let Ok((permit, plan)) = sidecar.begin_write().await else {
                        counts.lock().1 += 1;
                        continue;
                    };
                    if permit.check().is_err() {
                        continue;
                    }
                    // Now and then the process stands still with a write in hand.
                    let takes = if dice.random_bool(0.05) { 14_000 } else { 40 };
                    tokio::time::sleep(Duration::from_millis(dice.random_range(0..takes))).await;
                    if permit.check().is_ok() {
                        let table = control.table().await.unwrap();
                        let now = table.map_or(Mode::PrimaryOnly, |table| table.mode);
                        assert_eq!(plan.authority_role, now.authority(), "seed {seed}");
                        counts.lock().0 += 1;
                    }
                }
            }));
        }
        for _ in 0..25 {
            let sidecar = Arc::clone(&sidecars[dice.random_range(0..sidecars.len())]);
            match dice.random_range(0..10) {
                0 | 1 => sidecar.way.cut(true),
                2..=4 => sidecars.iter().for_each(|sidecar| sidecar.way.cut(false)),
                _ => {
                    let from = sidecar.mode();
                    let to = if dice.random_bool(0.6) {
                        from.next()
                    } else {
                        from.previous()
                    };
                    let changer = Arc::clone(&sidecar.changer);
                    let is_forced = dice.random_bool(0.5);
                    drop(task::spawn("change", async move {
                        let to = to.unwrap_or(Mode::Cutover);
                        changer
                            .set(Wish {
                                is_forced,
                                ..wish(to)
                            })
                            .await
                    }));
                }
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..6_000))).await;
        }
        sidecars.iter().for_each(|sidecar| sidecar.way.cut(false));
        for writer in writers {
            writer.await.unwrap();
        }
        // Everything that was begun comes to an end, and all go by one table.
        tokio::time::sleep(LEASE * 3).await;
        let table = control.table().await.unwrap();
        for sidecar in &sidecars {
            let own = sidecar.router.snapshot().table().clone();
            assert_eq!(own, table.clone().unwrap_or(own.clone()), "seed {seed}");
            assert!(sidecar.begin_write().await.is_ok(), "seed {seed}");
        }
        let (done, not) = *counts.lock();
        (acknowledged, refused) = (acknowledged + done, refused + not);
        flips += table.map_or(0, |table| table.epoch);
    }
    // It is no proof if nothing happened.
    assert!(
        acknowledged > 10_000 && refused > 500 && flips > 500,
        "{acknowledged} {refused} {flips}"
    );
}
