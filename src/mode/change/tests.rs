mod authority;
mod fence;
mod fleet;
mod gate;

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

    fn replace_fact<'a>(
        &'a self,
        name: &'a str,
        was: Option<&'a str>,
        value: &'a str,
    ) -> ControlFuture<'a, bool> {
        self.control.replace_fact(name, was, value)
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
