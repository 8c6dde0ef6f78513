//! The control tables: one mode for all sidecars, whoever changes it and whoever comes late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use outrigger::net::client_tls;
use outrigger::store::control::{Beat, ControlSettings, ControlTables, Entry, Look, Phase, Wanted};
use outrigger::task::{Group, StopSender};
use tokio::time::timeout;

use crate::support::postgres::Postgres;
use crate::support::{story, until};

fn tables(postgres: &Postgres) -> Arc<ControlTables> {
    let patience = Duration::from_secs(20);
    let settings = ControlSettings {
        url: postgres.url(),
        tls: client_tls(None).unwrap(),
        has_authority: false,
        connect_timeout: patience,
        timeout: patience,
    };
    Arc::new(ControlTables::new(settings).unwrap())
}

fn wanted(id: &'static str, epoch: u64) -> Wanted<'static> {
    Wanted {
        id,
        who: "somebody",
        from: "dual_read",
        to: "cutover",
        scope: None,
        fenced: true,
        detail: "",
        epoch,
        patience: Duration::from_secs(60),
    }
}

/// Each beat is later than the one before.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

async fn beat(of: &ControlTables, id: &str, armed: Option<&str>) -> Look {
    let beat = Beat {
        id,
        name: "a sidecar",
        lease: Duration::from_secs(60),
        lasts: false,
        number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        armed,
        flipped: None,
    };
    of.beat(beat).await.unwrap()
}

#[test]
fn of_many_who_begin_at_once_one_makes_the_tables_and_one_says_the_first_mode() {
    let postgres = Postgres::start();
    story(async {
        let all = (0..8).map(|n| {
            let tables = tables(&postgres);
            async move { tables.initialise(&format!("mode {n}")).await.unwrap() }
        });
        let looks = join_all(all).await;
        assert_eq!(looks[0].epoch, 1);
        assert!(looks.iter().all(|look| *look == looks[0]), "{looks:?}");
    });
}

#[test]
fn of_two_who_change_the_mode_one_is_refused_until_the_other_is_done() {
    let postgres = Postgres::start();
    story(async {
        let (one, two) = (tables(&postgres), tables(&postgres));
        one.initialise("old").await.unwrap();
        assert!(!two.begin_change(wanted("a", 0)).await.unwrap());
        assert!(one.begin_change(wanted("a", 1)).await.unwrap());
        assert!(!two.begin_change(wanted("b", 1)).await.unwrap());
        let seen = two.look("two").await.unwrap().change.unwrap();
        assert_eq!(
            (&*seen.id, seen.phase, seen.expired),
            ("a", Phase::Arming, false)
        );
        assert!((50_000..=60_000).contains(&seen.left_ms), "{seen:?}");
        assert!(!two.flip("b", "new", &[]).await.unwrap());
        assert!(!one.finish("a").await.unwrap());
        let entry = Entry {
            who: "somebody".into(),
            collection: Some("docs".into()),
            from: "dual_read".into(),
            to: "cutover".into(),
            why: "it's time; \"now\"".into(),
            forced: true,
        };
        assert!(
            one.flip("a", "new", std::slice::from_ref(&entry))
                .await
                .unwrap()
        );
        // Done already.
        assert!(!one.flip("a", "newer", &[]).await.unwrap());
        let look = two.look("two").await.unwrap();
        assert_eq!((look.epoch, look.modes.as_deref()), (2, Some("new")));
        assert_eq!(two.abandon("a").await.unwrap(), Some(Phase::Flipped));
        assert!(!two.begin_change(wanted("b", 2)).await.unwrap());
        assert!(one.finish("a").await.unwrap());
        assert!(!two.begin_change(wanted("b", 1)).await.unwrap());
        assert!(two.begin_change(wanted("b", 2)).await.unwrap());
        assert_eq!(two.abandon("b").await.unwrap(), Some(Phase::Arming));
        assert_eq!(two.abandon("b").await.unwrap(), None);
        assert!(!two.flip("b", "x", &[]).await.unwrap());
        let history = two.history(10).await.unwrap();
        assert_eq!(
            (history.len(), history[0].epoch, &history[0].entry),
            (1, 2, &entry)
        );
    });
}

#[test]
fn a_change_whose_deadline_is_over_is_flipped_by_nobody_and_gives_way_to_the_next() {
    let postgres = Postgres::start();
    story(async {
        let tables = tables(&postgres);
        tables.initialise("old").await.unwrap();
        let short = Wanted {
            patience: Duration::from_millis(50),
            ..wanted("a", 1)
        };
        assert!(tables.begin_change(short).await.unwrap());
        let is_expired = async || {
            tables
                .look("")
                .await
                .unwrap()
                .change
                .is_some_and(|of| of.expired)
        };
        until("it is expired", is_expired).await;
        assert!(!tables.flip("a", "new", &[]).await.unwrap());
        let look = tables.look("").await.unwrap();
        assert_eq!((look.epoch, look.modes.as_deref()), (1, Some("old")));
        // It is ended by whoever sees that.
        assert!(!tables.begin_change(wanted("b", 1)).await.unwrap());
        assert_eq!(tables.abandon("a").await.unwrap(), Some(Phase::Arming));
        assert!(tables.begin_change(wanted("b", 1)).await.unwrap());
        assert!(!tables.flip("a", "new", &[]).await.unwrap());
        assert!(tables.flip("b", "new", &[]).await.unwrap());
    });
}

#[test]
fn nothing_is_flipped_while_a_living_sidecar_has_not_armed() {
    let postgres = Postgres::start();
    story(async {
        let (one, two) = (tables(&postgres), tables(&postgres));
        one.initialise("old").await.unwrap();
        beat(&one, "one", None).await;
        let look = beat(&two, "two", Some("an older change")).await;
        assert_eq!((&*look.others[0].id, look.others[0].live), ("one", true));
        assert!(one.begin_change(wanted("a", 1)).await.unwrap());
        assert!(!one.flip("a", "new", &[]).await.unwrap());
        beat(&one, "one", Some("a")).await;
        assert!(!one.flip("a", "new", &[]).await.unwrap());
        let look = beat(&two, "two", Some("a")).await;
        assert_eq!(look.others[0].armed.as_deref(), Some("a"));
        // One that comes to life in between, and one that is long gone.
        beat(&one, "three", None).await;
        assert!(!one.flip("a", "new", &[]).await.unwrap());
        two.leave("three").await.unwrap();
        let gone = Beat {
            id: "four",
            name: "gone",
            lease: Duration::ZERO,
            lasts: false,
            number: 1,
            armed: None,
            flipped: None,
        };
        one.beat(gone).await.unwrap();
        assert!(one.flip("a", "new", &[]).await.unwrap());
        let others = two.look("two").await.unwrap().others;
        let said: Vec<_> = others.iter().map(|of| (&*of.id, of.live)).collect();
        assert_eq!(said, [("four", false), ("one", true)]);
    });
}

#[test]
fn one_whose_lease_lasts_is_waited_for_until_it_leaves_or_is_said_to_be_gone() {
    let postgres = Postgres::start();
    story(async {
        let one = tables(&postgres);
        one.initialise("old").await.unwrap();
        let lasting = |number: u64, lasts: bool, armed| Beat {
            id: "lasting",
            name: "the lasting one",
            lease: Duration::ZERO,
            lasts,
            number,
            armed,
            flipped: None,
        };
        one.beat(lasting(2, true, None)).await.unwrap();
        // Sent before that, with the lease that lapses, and come later.
        let late = one.beat(lasting(1, false, Some("a"))).await.unwrap();
        assert!(late.others.is_empty());
        let look = beat(&one, "one", None).await;
        let [of] = &look.others[..] else {
            panic!("{look:?}")
        };
        assert!(of.live && of.lasts && of.armed.is_none(), "{of:?}");

        assert!(one.begin_change(wanted("a", look.epoch)).await.unwrap());
        beat(&one, "one", Some("a")).await;
        assert!(!one.flip("a", "new", &[]).await.unwrap());
        one.beat(lasting(3, true, Some("a"))).await.unwrap();
        assert!(one.flip("a", "new", &[]).await.unwrap());
        let flipped = Beat {
            flipped: Some("a"),
            ..lasting(NUMBERS.fetch_add(1, Ordering::Relaxed), false, Some("a"))
        };
        one.beat(Beat {
            id: "one",
            ..flipped
        })
        .await
        .unwrap();
        // By then the time of the change is over, but for this one.
        let over = "update qd_control.change set deadline = clock_timestamp()";
        postgres.client().await.batch_execute(over).await.unwrap();
        assert!(!one.finish("a").await.unwrap());
        let an_hour = Duration::from_secs(3600);
        assert!(!one.forget("the lasting one", an_hour).await.unwrap());
        assert!(!one.forget("a sidecar", Duration::ZERO).await.unwrap());
        assert!(one.forget("the lasting one", Duration::ZERO).await.unwrap());
        assert!(one.finish("a").await.unwrap());

        // Back to the lease that lapses, by a later beat.
        one.beat(lasting(4, true, None)).await.unwrap();
        one.beat(lasting(5, false, None)).await.unwrap();
        let look = one.look("one").await.unwrap();
        let found = look.others.iter().find(|of| &*of.id == "lasting").unwrap();
        assert!(!found.live && !found.lasts, "{found:?}");
    });
}

#[test]
fn what_changes_is_heard_also_after_the_server_was_away() {
    let mut postgres = Postgres::start();
    story(async {
        let (one, two) = (tables(&postgres), tables(&postgres));
        one.initialise("old").await.unwrap();
        let (tasks, (_sender, stop)) = (Group::default(), StopSender::new());
        let mut changes = two.changes();
        two.start(&tasks, stop);
        for n in 0..2_u64 {
            // That it listens now.
            changes.changed().await.unwrap();
            until("it is quiet", async || {
                let mut quiet = two.changes();
                timeout(Duration::from_millis(300), quiet.changed())
                    .await
                    .is_err()
            })
            .await;
            changes.mark_unchanged();
            let id = ["a", "b"][usize::try_from(n).unwrap()];
            assert!(one.begin_change(wanted(id, 1)).await.unwrap());
            timeout(Duration::from_secs(3), changes.changed())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(one.abandon(id).await.unwrap(), Some(Phase::Arming));
            postgres.stop();
            postgres.start_again();
            until("it is there", async || one.look("").await.is_ok()).await;
        }
    });
}

#[test]
fn facts_are_kept_until_they_are_forgotten() {
    let postgres = Postgres::start();
    story(async {
        let tables = tables(&postgres);
        let fact = async || tables.fact("validated:docs").await.unwrap();
        assert_eq!(fact().await, None);
        for value in ["yes", "no"] {
            tables
                .set_fact("validated:docs", Some(value))
                .await
                .unwrap();
            assert_eq!(fact().await.as_deref(), Some(value));
        }
        let replace = async |was, value| {
            let replaced = tables.replace_fact("validated:docs", was, value);
            replaced.await.unwrap()
        };
        assert!(!replace(Some("yes"), "late").await);
        assert!(!replace(None, "late").await);
        assert!(replace(Some("no"), "so").await);
        assert_eq!(fact().await.as_deref(), Some("so"));
        tables.set_fact("validated:docs", None).await.unwrap();
        assert_eq!(fact().await, None);
        assert!(!replace(Some("so"), "late").await);
        assert!(replace(None, "new").await);
        assert_eq!(fact().await.as_deref(), Some("new"));
    });
}
