use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::*;
use crate::compare::{Row, Table as Rows};
use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::metrics::Metrics;
use crate::mode::control::{Beat, Control, ControlFuture, Entry, Look, MemoryControl, SidecarId};
use crate::mode::fleet::LEASE;
use crate::mode::follower::{Checked, ModeFuture, Standing};
use crate::mode::passage::{Passage, Permit};
use crate::mode::router::{Plan, Router, Stores};
use crate::mode::table::Table;
use crate::model::{Role, StoreKind};
use crate::store::{PassAnswer, PassCall, Store, StoreFuture};
use crate::task::{self, StopSender};

const FENCE: Duration = Duration::from_secs(3);

/// A store that is there or not.
#[derive(Default)]
struct Place {
    is_away: AtomicBool,
}

impl Store for Place {
    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }

    fn pass(&self, _call: PassCall) -> StoreFuture<'_, PassAnswer> {
        Box::pin(std::future::ready(Err(away())))
    }

    fn probe(&self, _within: Duration) -> StoreFuture<'_, ()> {
        let is_away = self.is_away.load(Ordering::SeqCst);
        Box::pin(std::future::ready(if is_away {
            Err(away())
        } else {
            Ok(())
        }))
    }
}

fn away() -> Error {
    let (kind, origin) = (ErrorKind::Unavailable, Origin::Embedded);
    Error::new(kind, origin, Retry::Safe, "ask a store that is away")
}

/// What is said of the follower, and what becomes of marks.
#[derive(Default)]
struct Follower {
    standing: Mutex<Standing>,
    /// Marks that nobody works off.
    left: AtomicU64,
    panics: AtomicBool,
    followed: Mutex<Vec<Role>>,
    /// What the gate finds missing; of a collection each.
    missing: Mutex<Vec<(&'static str, &'static str)>>,
    has_no_gate: AtomicBool,
    judged: AtomicU64,
}

impl Gate for Follower {
    fn is_in_force(&self) -> bool {
        !self.has_no_gate.load(Ordering::SeqCst)
    }

    fn check<'a>(&'a self, _collection: Option<&'a str>) -> ModeFuture<'a, Result<Vec<Checked>>> {
        self.judged.fetch_add(1, Ordering::SeqCst);
        let missing = self.missing.lock().clone();
        let checked = missing.into_iter().map(|(collection, what)| Checked {
            collection: collection.to_owned(),
            is_empty: false,
            table: Rows {
                rows: vec![Row {
                    what,
                    needed: "more".to_owned(),
                    found: "less".to_owned(),
                    holds: false,
                }],
            },
        });
        Box::pin(std::future::ready(Ok(checked.collect())))
    }
}

impl Readiness for Follower {
    fn standing<'a>(&'a self, _collection: Option<&'a str>) -> ModeFuture<'a, Result<Standing>> {
        Box::pin(std::future::ready(Ok(self.standing.lock().clone())))
    }

    fn to_be_followed<'a>(
        &'a self,
        _collection: Option<&'a str>,
        follower: Role,
    ) -> ModeFuture<'a, Result<()>> {
        self.followed.lock().push(follower);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drain for Follower {
    fn drain<'a>(
        &'a self,
        _collection: Option<&'a str>,
        most: u64,
        until: Instant,
    ) -> ModeFuture<'a, Result<u64>> {
        Box::pin(async move {
            assert!(
                !self.panics.load(Ordering::SeqCst) || most > 0,
                "on purpose"
            );
            while self.left.load(Ordering::SeqCst) > most && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(self.left.load(Ordering::SeqCst))
        })
    }
}

/// The way to the control store, which may be cut.
#[derive(Clone)]
struct Way {
    control: MemoryControl,
    is_cut: Arc<AtomicBool>,
}

impl Way {
    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }

    fn over<'a, T: Send + 'a>(&'a self, call: ControlFuture<'a, T>) -> ControlFuture<'a, T> {
        Box::pin(async move {
            if self.is_cut.load(Ordering::SeqCst) {
                // As when nobody answers.
                return std::future::pending().await;
            }
            call.await
        })
    }
}

impl Control for Way {
    fn lease(&self) -> Option<Duration> {
        self.control.lease()
    }

    fn keeper(&self) -> Option<Role> {
        self.control.keeper()
    }

    fn forget<'a>(&'a self, name: &'a str, silent: Duration) -> ControlFuture<'a, bool> {
        self.control.forget(name, silent)
    }

    fn initialise<'a>(&'a self, table: &'a Table, who: &'a str) -> ControlFuture<'a, Table> {
        self.control.initialise(table, who)
    }

    fn table(&self) -> ControlFuture<'_, Option<Table>> {
        self.control.table()
    }

    fn beat(&self, beat: Beat) -> ControlFuture<'_, Look> {
        Box::pin(async move {
            if self.is_cut.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            self.control.beat(beat).await
        })
    }

    fn leave(&self, id: SidecarId) -> ControlFuture<'_, ()> {
        self.control.leave(id)
    }

    fn begin(&self, proposal: Proposal) -> ControlFuture<'_, Begun> {
        self.over(self.control.begin(proposal))
    }

    fn flip(&self, change: u64) -> ControlFuture<'_, Flip> {
        Box::pin(async move {
            if self.is_cut.load(Ordering::SeqCst) {
                return Err(away());
            }
            self.control.flip(change).await
        })
    }

    fn finish(&self, change: u64) -> ControlFuture<'_, bool> {
        self.control.finish(change)
    }

    fn abandon(&self, change: u64) -> ControlFuture<'_, bool> {
        Box::pin(async move {
            if self.is_cut.load(Ordering::SeqCst) {
                return Err(away());
            }
            self.control.abandon(change).await
        })
    }

    fn history(&self, limit: usize) -> ControlFuture<'_, Vec<Entry>> {
        self.control.history(limit)
    }

    fn fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, Option<String>> {
        self.control.fact(name)
    }

    fn facts<'a>(&'a self, prefix: &'a str) -> ControlFuture<'a, Vec<(String, String)>> {
        self.control.facts(prefix)
    }

    fn drop_fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, ()> {
        self.control.drop_fact(name)
    }

    fn put_fact<'a>(&'a self, name: &'a str, value: &'a str) -> ControlFuture<'a, ()> {
        self.control.put_fact(name, value)
    }

    fn woken(&self) -> ControlFuture<'_, ()> {
        self.control.woken()
    }
}

struct Sidecar {
    changer: Arc<Changer>,
    passage: Arc<Passage>,
    router: Arc<Router>,
    follower: Arc<Follower>,
    stores: [Arc<Place>; 2],
    way: Way,
    _stop: StopSender,
}

impl Sidecar {
    async fn join(control: &MemoryControl, name: &str) -> Self {
        let stores: [Arc<Place>; 2] = [Arc::default(), Arc::default()];
        let [primary, secondary] = stores.clone();
        let both = Stores {
            primary,
            secondary: Some(secondary),
        };
        let first = Table::of(Mode::PrimaryOnly);
        let router = Arc::new(Router::new(both, first).unwrap());
        let passage = Passage::shared(FENCE, Arc::new(Metrics::new()));
        let way = Way {
            control: control.clone(),
            is_cut: Arc::default(),
        };
        let fleet = Fleet::new(
            Arc::new(way.clone()),
            Arc::clone(&router),
            Arc::clone(&passage),
            name.to_owned(),
            Box::new(|_snapshot| {}),
            Box::new(|_proposal| Box::pin(std::future::ready(true))),
        );
        let (tasks, (stop, stopped)) = (Group::default(), StopSender::new());
        fleet.join(&tasks, stopped).await.unwrap();
        let follower = Arc::new(Follower::default());
        let changer = Changer::new(ChangerParts {
            fleet,
            readiness: Arc::clone(&follower) as Arc<dyn Readiness>,
            drain: Arc::clone(&follower) as Arc<dyn Drain>,
            gate: Arc::clone(&follower) as Arc<dyn Gate>,
            fence_timeout: FENCE,
            hindrance: Box::new(|| None),
            tasks,
            stages: Stages::default(),
        });
        Self {
            changer,
            passage,
            router,
            follower,
            stores,
            way,
            _stop: stop,
        }
    }

    async fn set(&self, to: Mode) -> Result<Done, NotDone> {
        self.changer.set(wish(to)).await
    }

    async fn forced(&self, to: Mode) -> Result<Done, NotDone> {
        let is_forced = true;
        self.changer
            .set(Wish {
                is_forced,
                ..wish(to)
            })
            .await
    }

    fn mode(&self) -> Mode {
        self.router.snapshot().table().mode
    }

    /// As the proxy does it.
    async fn begin_write(&self) -> Result<(Permit, Arc<Plan>)> {
        let permit = self.passage.enter().await?;
        let plan = Arc::clone(self.router.snapshot().plan(None));
        Ok((permit, plan))
    }

    async fn writes_to(&self) -> Role {
        self.begin_write().await.unwrap().1.authority_role
    }
}

fn wish(to: Mode) -> Wish {
    Wish {
        to,
        collection: None,
        who: "a test".to_owned(),
        why: "to see".to_owned(),
        is_forced: false,
        gone: Vec::new(),
        only_at: None,
    }
}

async fn alone() -> Sidecar {
    Sidecar::join(&MemoryControl::new(LEASE), "one").await
}

async fn two() -> (MemoryControl, Sidecar, Sidecar) {
    let control = MemoryControl::new(LEASE);
    let one = Sidecar::join(&control, "one").await;
    let other = Sidecar::join(&control, "other").await;
    (control, one, other)
}

async fn go(sidecar: &Sidecar, modes: &[Mode]) {
    for mode in modes {
        sidecar.set(*mode).await.unwrap();
    }
}

const THERE: [Mode; 4] = [
    Mode::DualWrite,
    Mode::DualRead,
    Mode::Cutover,
    Mode::SecondaryOnly,
];
const BACK: [Mode; 4] = [
    Mode::Cutover,
    Mode::DualRead,
    Mode::DualWrite,
    Mode::PrimaryOnly,
];

#[tokio::test(start_paused = true)]
async fn all_sidecars_go_there_and_back_together() {
    let (control, one, other) = two().await;
    for (step, mode) in THERE.into_iter().chain(BACK).enumerate() {
        let (asked, watching) = if step % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let done = asked.set(mode).await.unwrap();
        assert_eq!((done.to, asked.mode(), watching.mode()), (mode, mode, mode));
        assert_eq!(one.writes_to().await, mode.authority());
        assert_eq!(other.writes_to().await, mode.authority());
    }
    let history = control.history(99).await.unwrap();
    let gone: Vec<Mode> = history.iter().rev().map(|entry| entry.to).collect();
    assert_eq!(gone, [THERE, BACK].concat());
    assert!(
        history
            .iter()
            .all(|entry| entry.who == "a test" && entry.why == "to see")
    );
    let followed = [
        one.follower.followed.lock().clone(),
        other.follower.followed.lock().clone(),
    ];
    // The secondary when it is followed with first, the primary whenever the way leads to cutover.
    assert_eq!(followed.concat().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_fence_waits_for_writes_at_every_sidecar_and_those_held_go_by_the_new_mode() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (permit, plan) = other.begin_write().await.unwrap();
    let changer = Arc::clone(&one.changer);
    let change = task::spawn(
        "change",
        async move { changer.set(wish(Mode::Cutover)).await },
    );
    while other.passage.enter().now_or_never().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (passage, router) = (Arc::clone(&other.passage), Arc::clone(&other.router));
    let held = task::spawn("held", async move {
        let _permit = passage.enter().await.unwrap();
        router.snapshot().plan(None).authority_role
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!change.is_finished() && !held.is_finished());
    assert_eq!(
        (plan.authority_role, permit.check().is_ok()),
        (Role::Primary, true)
    );
    drop(permit);
    let done = change.await.unwrap().unwrap();
    assert!(done.held.unwrap() >= Duration::from_secs(1));
    assert_eq!(held.await.unwrap(), Role::Secondary);
}

#[tokio::test(start_paused = true)]
async fn past_its_time_a_change_is_given_up_and_says_what_was_left() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.left.store(12, Ordering::SeqCst);
    let began = Instant::now();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(not_done.reason.contains("12 ids were left"), "{not_done:?}");
    assert!(
        not_done.held.unwrap() < FENCE + Duration::from_millis(200),
        "{not_done:?}"
    );
    assert!(began.elapsed() < FENCE + Duration::from_secs(1));
    assert_eq!(
        (one.mode(), one.writes_to().await),
        (Mode::DualWrite, Role::Primary)
    );
    // Force leaves out the checks, never the fence.
    assert!(one.forced(Mode::Cutover).await.is_err());
    one.follower.left.store(0, Ordering::SeqCst);
    one.set(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_does_not_end_is_named_with_its_sidecar() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (_permit, _plan) = other.begin_write().await.unwrap();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(not_done.reason.contains("other did not"), "{not_done:?}");
    let (_permit, _plan) = one.begin_write().await.unwrap();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(
        not_done.reason.contains("1 writes are under way here"),
        "{not_done:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_fence_releases_the_writes_at_once() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.panics.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(not_done.reason.contains("a bug"), "{not_done:?}");
    for sidecar in [&one, &other] {
        assert_eq!(sidecar.writes_to().await, Role::Primary);
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    one.follower.panics.store(false, Ordering::SeqCst);
    one.set(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_jump_is_refused_and_names_what_has_to_come_first() {
    let one = alone().await;
    for from in [Mode::PrimaryOnly].into_iter().chain(THERE) {
        one.set(from).await.unwrap();
        for to in Mode::ALL {
            if let Step::Refused { first } = Mode::step(from, to) {
                // Force does not make it a step.
                let not_done = one.forced(to).await.unwrap_err();
                assert_eq!(not_done.first, Some(first));
                assert!(not_done.reason.contains(first.as_str()), "{not_done:?}");
            }
        }
        assert_eq!(one.mode(), from);
    }
    let stale = one.set(Mode::DualRead).await.unwrap_err();
    assert!(stale.reason.contains("stale"), "{stale:?}");
    assert!(
        one.set(Mode::Cutover)
            .await
            .unwrap()
            .note
            .unwrap()
            .contains("stale")
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_not_equal_or_not_there_is_not_flipped_to() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    let standing = |change: fn(&mut Standing)| {
        let mut standing = Standing::default();
        change(&mut standing);
        *one.follower.standing.lock() = standing;
    };
    type Change = fn(&mut Standing);
    let cases: [(Change, &str); 3] = [
        (
            |of| of.sweeps.push("no backfill yet".to_owned()),
            "no backfill yet",
        ),
        (|of| of.dead_letters = 3, "3 ids were refused"),
        (
            |of| of.validation = Some("the last validation failed".to_owned()),
            "validation failed",
        ),
    ];
    for (change, said) in cases {
        standing(change);
        let not_done = one.set(Mode::Cutover).await.unwrap_err();
        assert!(not_done.reason.contains(said), "{not_done:?}");
        assert_eq!(not_done.held, None);
    }
    standing(|_| {});
    one.stores[1].is_away.store(true, Ordering::SeqCst);
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(
        not_done.reason.contains("the follower does not answer"),
        "{not_done:?}"
    );
    one.forced(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_gone_can_be_let_go_of_by_force_only() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite, Mode::Cutover]).await;
    one.follower.left.store(5, Ordering::SeqCst);
    one.stores[0].is_away.store(true, Ordering::SeqCst);
    assert!(one.set(Mode::SecondaryOnly).await.is_err());
    assert!(one.forced(Mode::DualWrite).await.is_err());
    one.forced(Mode::SecondaryOnly).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_at_one_time_one_is_made() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (first, second) = tokio::join!(one.set(Mode::Cutover), other.set(Mode::DualRead));
    assert_eq!(
        usize::from(first.is_ok()) + usize::from(second.is_ok()),
        1,
        "{first:?} {second:?}"
    );
    assert_eq!(one.mode(), other.mode());
    let (first, second) = tokio::join!(one.set(Mode::PrimaryOnly), one.set(Mode::PrimaryOnly));
    assert!(first.is_ok() != second.is_ok() || one.mode() == Mode::Cutover);
}

async fn begun(control: &MemoryControl, to: Mode) -> Change {
    let look = control.table().await.unwrap().unwrap();
    let begun = control.begin(Proposal {
        epoch: look.epoch,
        collection: None,
        from: look.mode,
        to,
        is_fenced: true,
        is_forced: false,
        who: "who is gone".to_owned(),
        why: String::new(),
        lasts: FENCE,
    });
    match begun.await.unwrap() {
        Begun::Yes(change) => change,
        other @ (Begun::Busy(_) | Begun::Moved) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_maker_is_gone_is_abandoned_and_writes_go_on() {
    let (control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let began = Instant::now();
    begun(&control, Mode::Cutover).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(one.passage.enter().now_or_never().is_none());
    assert_eq!(one.writes_to().await, Role::Primary);
    assert_eq!(other.writes_to().await, Role::Primary);
    assert!(
        began.elapsed() < FENCE + Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    one.set(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flipped_change_whose_maker_is_gone_is_brought_to_its_end() {
    let (control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let change = begun(&control, Mode::Cutover).await;
    while control.flip(change.id).await.unwrap() != Flip::Done {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    assert_eq!(one.writes_to().await, Role::Secondary);
    assert_eq!(other.writes_to().await, Role::Secondary);
    assert!(began.elapsed() < Duration::from_secs(1));
    one.set(Mode::DualWrite).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_is_cut_off_stops_writing_before_the_others_go_on_without_it() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (permit, _plan) = other.begin_write().await.unwrap();
    other.way.cut(true);
    // As long as it counts as live it is waited for.
    assert!(one.set(Mode::Cutover).await.is_err());
    assert!(permit.check().is_ok());
    tokio::time::sleep(LEASE).await;
    assert!(permit.check().is_err());
    assert!(other.begin_write().await.is_err());
    one.set(Mode::Cutover).await.unwrap();
    assert_eq!(other.mode(), Mode::DualWrite);
    other.way.cut(false);
    assert_eq!(other.writes_to().await, Role::Secondary);
    // What began before that is not said to be done.
    assert!(permit.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_was_paused_looks_before_it_reads() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    other.way.cut(true);
    tokio::time::sleep(LEASE).await;
    one.set(Mode::Cutover).await.unwrap();
    // Woken: it knows nothing yet.
    other.way.cut(false);
    assert_eq!(other.mode(), Mode::DualWrite);
    other.passage.reading().await;
    assert_eq!(other.mode(), Mode::Cutover);
}

#[tokio::test(start_paused = true)]
async fn a_control_store_that_is_gone_ends_writes_and_not_reads() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite, Mode::Cutover]).await;
    one.way.cut(true);
    tokio::time::sleep(LEASE).await;
    let began = Instant::now();
    one.passage.reading().await;
    assert!(began.elapsed() <= Duration::from_secs(1));
    assert_eq!(one.mode(), Mode::Cutover);
    let error = one.begin_write().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(one.set(Mode::DualWrite).await.is_err());
    one.way.cut(false);
    assert_eq!(one.writes_to().await, Role::Secondary);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_while_a_change_is_on_is_waited_for_or_comes_to_the_new_mode() {
    let control = MemoryControl::new(LEASE);
    let one = Sidecar::join(&control, "one").await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.left.store(1, Ordering::SeqCst);
    let changer = Arc::clone(&one.changer);
    let change = task::spawn(
        "change",
        async move { changer.set(wish(Mode::Cutover)).await },
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = Sidecar::join(&control, "late").await;
    assert!(
        late.passage.enter().now_or_never().is_none(),
        "its gate is closed from the start"
    );
    one.follower.left.store(0, Ordering::SeqCst);
    change.await.unwrap().unwrap();
    assert_eq!(late.writes_to().await, Role::Secondary);
}

fn sees_a_change(sidecar: &Sidecar) -> bool {
    let looks = sidecar.changer.fleet().looks();
    let look = looks.borrow().clone();
    look.is_some_and(|look| look.change.is_some())
}

#[tokio::test(start_paused = true)]
async fn a_change_that_holds_no_write_is_not_over_before_the_last_that_goes_by_the_old_modes() {
    let (_control, one, other) = two().await;
    let (permit, plan) = other.begin_write().await.unwrap();
    assert_eq!(plan.mode, Mode::PrimaryOnly);
    one.set(Mode::DualWrite).await.unwrap();
    tokio::time::sleep(10 * LEASE).await;
    assert!(sees_a_change(&one) && sees_a_change(&other));
    // Who came later goes by the new ones, and is not waited for.
    let (later, plan) = other.begin_write().await.unwrap();
    assert_eq!(plan.mode, Mode::DualWrite);
    drop(permit);
    tokio::time::sleep(LEASE / 2).await;
    assert!(!sees_a_change(&one) && !sees_a_change(&other));
    drop(later);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_holds_no_write_waits_for_a_sidecar_as_long_as_that_may_write() {
    let (_control, one, other) = two().await;
    other.way.cut(true);
    one.set(Mode::DualWrite).await.unwrap();
    let began = Instant::now();
    while other.begin_write().await.is_ok() {
        assert!(sees_a_change(&one), "{:?}", began.elapsed());
        assert_eq!(other.mode(), Mode::PrimaryOnly);
        tokio::time::sleep(FENCE / 10).await;
    }
    tokio::time::sleep(LEASE).await;
    assert!(!sees_a_change(&one));
}

#[tokio::test(start_paused = true)]
async fn what_the_follower_refuses_while_the_fence_is_up_keeps_the_authority_where_it_is() {
    for lacking in [
        Standing {
            dead_letters: 1,
            ..Standing::default()
        },
        Standing {
            sweeps: vec!["docs: too many marks".to_owned()],
            ..Standing::default()
        },
        Standing {
            absent: vec!["other".to_owned()],
            ..Standing::default()
        },
    ] {
        let one = alone().await;
        one.set(Mode::DualWrite).await.unwrap();
        one.follower.left.store(1, Ordering::SeqCst);
        let changer = Arc::clone(&one.changer);
        let change = task::spawn(
            "change",
            async move { changer.set(wish(Mode::Cutover)).await },
        );
        tokio::time::sleep(FENCE / 2).await;
        *one.follower.standing.lock() = lacking;
        one.follower.left.store(0, Ordering::SeqCst);
        let refused = change.await.unwrap().unwrap_err();
        assert!(refused.held.is_some(), "{}", refused.reason);
        assert!(refused.reason.contains("not in sync"), "{}", refused.reason);
        assert_eq!(one.writes_to().await, Role::Primary);
        one.forced(Mode::Cutover).await.unwrap();
    }
}

/// Three whose control store is in the database of the secondary.
async fn kept_by_the_follower() -> (Sidecar, Sidecar, Sidecar) {
    let control = MemoryControl::new(LEASE).kept_by(Role::Secondary);
    let mut all = Vec::new();
    for name in ["one", "other", "third"] {
        all.push(Sidecar::join(&control, name).await);
    }
    let (third, other, one) = (all.pop(), all.pop(), all.pop());
    (one.unwrap(), other.unwrap(), third.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_takes_the_control_store_with_it_stops_no_write_and_every_change() {
    let (one, other, third) = kept_by_the_follower().await;
    one.set(Mode::DualWrite).await.unwrap();
    one.way.cut(true);
    tokio::time::sleep(10 * LEASE).await;
    let (permit, plan) = one.begin_write().await.unwrap();
    assert_eq!(plan.authority_role, Role::Primary);
    // Not by those who still reach it either, with force or without.
    for made in [
        other.set(Mode::Cutover).await,
        other.forced(Mode::Cutover).await,
        other.set(Mode::PrimaryOnly).await,
    ] {
        let reason = made.unwrap_err().reason;
        assert!(reason.contains("--gone one"), "{reason}");
    }
    permit.check().unwrap();
    drop(permit);
    one.way.cut(false);
    tokio::time::sleep(LEASE).await;
    other.set(Mode::Cutover).await.unwrap();
    assert_eq!(one.writes_to().await, Role::Secondary);

    // Where the store with the control store is written first, nobody goes on without it.
    third.way.cut(true);
    tokio::time::sleep(2 * LEASE).await;
    assert!(third.begin_write().await.is_err());
    other.set(Mode::DualWrite).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_and_has_just_fallen_silent_is_waited_for_to_the_end() {
    let (one, other, _third) = kept_by_the_follower().await;
    one.way.cut(true);
    // Not fenced: it is in force for those who have heard of it, and not over before all have.
    other.set(Mode::DualWrite).await.unwrap();
    assert_eq!(one.mode(), Mode::PrimaryOnly);
    tokio::time::sleep(10 * LEASE).await;
    let refused = other.set(Mode::Cutover).await.unwrap_err().reason;
    assert!(refused.contains("under way"), "{refused}");
    one.way.cut(false);
    tokio::time::sleep(LEASE).await;
    assert_eq!(one.mode(), Mode::DualWrite);
    one.way.cut(true);
    let held = other.set(Mode::Cutover).await.unwrap_err();
    assert!(held.held.is_some(), "{}", held.reason);
    assert_eq!(one.writes_to().await, Role::Primary);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_ended_for_good_is_not_waited_for_once_somebody_says_so() {
    let (one, other, third) = kept_by_the_follower().await;
    one.set(Mode::DualWrite).await.unwrap();
    let gone = |name: &str| Wish {
        gone: vec![name.to_owned()],
        ..wish(Mode::Cutover)
    };
    one.way.cut(true);
    // Of one that was heard of a moment ago it is not believed.
    let refused = other.changer.set(gone("one")).await.unwrap_err().reason;
    assert!(refused.contains("has been silent"), "{refused}");
    tokio::time::sleep(2 * LEASE).await;
    let refused = other.changer.set(gone("third")).await.unwrap_err().reason;
    assert!(refused.contains("has been silent"), "{refused}");
    other.changer.set(gone("one")).await.unwrap();
    assert_eq!(third.writes_to().await, Role::Secondary);
}

#[tokio::test(start_paused = true)]
async fn what_was_wished_for_in_other_modes_is_not_done() {
    let (_control, one, _other) = two().await;
    let at = |only_at| Wish {
        only_at: Some(only_at),
        ..wish(Mode::DualWrite)
    };
    let epoch = one.router.snapshot().epoch();
    one.set(Mode::DualWrite).await.unwrap();
    one.set(Mode::PrimaryOnly).await.unwrap();
    let refused = one.changer.set(at(epoch)).await.unwrap_err().reason;
    assert!(refused.contains("it was wished for at epoch"), "{refused}");
    assert_eq!(one.mode(), Mode::PrimaryOnly);
    let now = one.router.snapshot().epoch();
    one.changer.set(at(now)).await.unwrap();
    assert_eq!(one.mode(), Mode::DualWrite);
}

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

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_shut_refuses_cutover_before_any_write_is_held() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    let rows = [
        ("docs", "queries"),
        ("other", "window"),
        ("third", "spearman"),
        ("fourth", "queries"),
        ("fifth", "queries"),
    ];
    *one.follower.missing.lock() = rows.to_vec();
    let refused = one.set(Mode::Cutover).await.unwrap_err();
    let told = "the gate before cutover is shut: docs: queries is less (needed: more); other: \
                window is less (needed: more); third: spearman is less (needed: more); and 2 more \
                collections; `outrigger mode check` shows the whole table, and --force leaves it out";
    assert_eq!(refused.reason, told);
    assert_eq!((refused.held, one.mode()), (None, Mode::DualWrite));
    let check = one.changer.check(None).await.unwrap();
    assert_eq!(check.verdict, Verdict::Shut);
    one.follower.missing.lock().clear();
    assert_eq!(one.set(Mode::Cutover).await.unwrap().to, Mode::Cutover);
}

#[tokio::test(start_paused = true)]
async fn the_gate_is_left_out_with_force_and_where_it_is_off() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.missing.lock().push(("docs", "queries"));
    assert_eq!(one.forced(Mode::Cutover).await.unwrap().to, Mode::Cutover);
    go(&one, &[Mode::DualRead]).await;
    assert!(one.set(Mode::Cutover).await.is_err());
    one.follower.has_no_gate.store(true, Ordering::SeqCst);
    assert_eq!(one.set(Mode::Cutover).await.unwrap().to, Mode::Cutover);
}

#[tokio::test(start_paused = true)]
async fn the_gate_is_asked_only_where_the_authority_moves_to_the_secondary() {
    let one = alone().await;
    go(&one, &THERE).await;
    assert_eq!(one.follower.judged.swap(0, Ordering::SeqCst), 1);
    one.follower.missing.lock().push(("docs", "queries"));
    go(&one, &BACK).await;
    assert_eq!(one.follower.judged.load(Ordering::SeqCst), 0);
    let verdict = async || one.changer.check(None).await.unwrap().verdict;
    assert_eq!(verdict().await, Verdict::First(Mode::DualWrite));
    go(&one, &[Mode::DualWrite]).await;
    one.forced(Mode::Cutover).await.unwrap();
    assert_eq!(verdict().await, Verdict::NotAsked);
}
