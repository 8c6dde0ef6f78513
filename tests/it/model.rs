//! Many clients at once, at random, against a reference that knows what each may be told.
//!
//! A history is made from its seed: which clients do what, in which order each. How their calls
//! interleave is the machine's, so a seed that failed may have to be played a few times.
//!
//! | variable | |
//! |---|---|
//! | `OUTRIGGER_MODEL_SEED=n` | plays this one history |
//! | `OUTRIGGER_MODEL_HISTORIES=n` | plays so many new ones, and tells how far it is |
//! | `OUTRIGGER_MODEL_FLEET=1` | of these, only such as two sidecars with one Redis play |

mod history;
mod read;
mod reference;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger::config::Env;
use parking_lot::Mutex;

use crate::support::folder::Folder;
use crate::support::redis::Redis;
use crate::support::sidecar::Sidecar;
use crate::support::within;

use history::{Dice, Tally, play};

/// For as many histories as anybody may want.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const FIXED: [u64; 6] = [1, 2, 3, 4, 5, 6];
const FRESH: usize = 6;
/// A run in which hardly anything was kept shows nothing. In percent.
const HITS_MIN: usize = 10;

/// How long a write may take to be heard of. Later than this whoever has not heard of it knows that
/// he hears nothing, and keeps nothing.
const HEARD_MAX: Duration = Duration::from_secs(5);
/// The same once a connection to Redis was lost, as one is on a machine that is too busy: what was
/// said meanwhile is not counted, for all was forgotten.
const HEARD_MAX_AFTER_LOSS: Duration = Duration::from_millis(500);

/// What the clients talk to: sidecars over one store.
struct World {
    fronts: Vec<Sidecar>,
    /// What each has said and the other has not heard, for it did not listen then.
    unheard: Mutex<Vec<u64>>,
    losses_before: AtomicU64,
    _redis: Option<Redis>,
    /// The store, where it is not in the front itself.
    back: Option<Sidecar>,
    _data: Folder,
}

const KEYS: &str = "auth.api_key = \"full\"\nauth.read_only_api_key = \"reading\"\n";
const KEPT: &str = "cache.enabled = true\ncache.settle_ms = 5\n";

impl World {
    /// One sidecar with the embedded store.
    async fn embedded() -> Self {
        let data = Folder::new();
        let front = Sidecar::with(&format!("{}{KEYS}{KEPT}", embedded(&data))).await;
        Self {
            fronts: vec![front],
            unheard: Mutex::default(),
            losses_before: AtomicU64::new(0),
            _redis: None,
            back: None,
            _data: data,
        }
    }

    /// One that finds its store by HTTP.
    async fn over_http() -> Self {
        Self::fleet(1, None, KEPT).await
    }

    /// Two with one store and one Redis. In the process they forget soon, so that Redis is asked.
    async fn over_redis() -> Self {
        let redis = Redis::start().await;
        let more = format!(
            "{KEPT}cache.redis_url = \"{}\"\ncache.ttl = \"10ms\"\n",
            redis.url()
        );
        let world = Self::fleet(2, Some(redis), &more).await;
        for front in &world.fronts {
            for tier in ["tier=\"l1\"", "tier=\"l2\""] {
                front
                    .until_metric("outrigger_cache_tier_up", &[tier], 1.0)
                    .await;
            }
        }
        world.counts_anew();
        world
    }

    async fn fleet(fronts: usize, redis: Option<Redis>, kept: &str) -> Self {
        let data = Folder::new();
        let back = Sidecar::with(&format!("{}cache.enabled = false\n", embedded(&data))).await;
        let url = format!("http://{}", back.proxy());
        let mut all = Vec::new();
        for _ in 0..fronts {
            all.push(Sidecar::before(&url, &format!("{KEYS}{kept}")).await);
        }
        Self {
            fronts: all,
            unheard: Mutex::default(),
            losses_before: AtomicU64::new(0),
            _redis: redis,
            back: Some(back),
            _data: data,
        }
    }

    /// Which sidecar a client talks to.
    fn front_of(&self, client: usize) -> usize {
        client % self.fronts.len()
    }

    /// While nothing is under way.
    fn counts_anew(&self) {
        let told = [0, 1].map(|at| &self.fronts[at].metrics().cache);
        let unheard = [0, 1].map(|at| told[at].renewals.get() - told[1 - at].messages.get());
        *self.unheard.lock() = unheard.to_vec();
    }

    /// Waits until every other sidecar has heard of what was answered at this one.
    async fn is_heard(&self, front: usize) {
        if self.fronts.len() == 1 {
            return;
        }
        let [own, other] = [front, 1 - front].map(|at| &self.fronts[at].metrics().cache);
        let heard = async {
            let mut said = None;
            loop {
                // What is answered is told, or at least waits to be.
                if said.is_none() && own.unshared.get() == 0 {
                    said = Some(own.renewals.get() - self.unheard.lock()[front]);
                }
                if said.is_some_and(|said| other.messages.get() >= said) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let most = if self.losses() == self.losses_before.load(Ordering::SeqCst) {
            HEARD_MAX
        } else {
            HEARD_MAX_AFTER_LOSS
        };
        drop(tokio::time::timeout(most, heard).await);
    }

    /// Waits until nothing is under way anywhere: whatever was sent has had its effect, or never
    /// will.
    async fn comes_to_rest(&self) {
        for sidecar in self.fronts.iter().chain(&self.back) {
            sidecar.at_rest().await;
        }
        for front in 0..self.fronts.len() {
            self.is_heard(front).await;
        }
        if self.fronts.len() > 1 {
            self.counts_anew();
        }
        self.losses_before.store(self.losses(), Ordering::SeqCst);
    }

    /// How often a connection to Redis was given up.
    fn losses(&self) -> u64 {
        let of = |front: &Sidecar| {
            let errors = |kind| front.metrics().cache.redis_errors(kind);
            errors("lost") + errors("silent") + errors("timeout")
        };
        self.fronts.iter().map(of).sum()
    }
}

fn embedded(data: &Folder) -> String {
    let folder = data.path().display();
    format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprimary.kind = \"embedded\"\n\
         data_dir = \"{folder}\"\n"
    )
}

#[expect(
    clippy::print_stdout,
    reason = "the figures of a long run are for a person"
)]
async fn play_all(seeds: impl Iterator<Item = u64>, tell_every: usize) {
    let worlds = [
        World::embedded().await,
        World::over_redis().await,
        World::over_http().await,
        World::over_redis().await,
    ];
    let mut tally = Tally::default();
    for (played, seed) in seeds.enumerate() {
        // By the seed, so that it is played in the same one again.
        let world = &worlds[usize::try_from(seed % 4).unwrap()];
        tally += play(world, seed).await;
        if (played + 1) % tell_every == 0 {
            println!("{} histories, {tally}", played + 1);
        }
    }
    println!("in all {tally}");
    let fleets = worlds.iter().filter(|world| world.fronts.len() > 1);
    let told = fleets.flat_map(|world| &world.fronts);
    let from_redis: f64 = told
        .map(|front| front.metric("outrigger_cache_hits_total", &["tier=\"l2\""]))
        .sum();
    println!("{from_redis} hits in Redis");
    assert!(from_redis > 0.0, "Redis has answered nothing");
    assert!(
        tally.hits * 100 >= tally.reads * HITS_MIN,
        "hardly anything was kept: {tally}"
    );
}

fn number(name: &str) -> Option<u64> {
    let env = Env::from_process();
    env.get(name).map(|text| text.parse().expect("a number"))
}

#[test]
fn nobody_is_told_what_cannot_have_been_so() {
    within(LASTS_MAX, async {
        let mut dice = Dice::fresh();
        if let Some(seed) = number("OUTRIGGER_MODEL_SEED") {
            let again = std::iter::repeat_n(seed, 20);
            return play_all(again, 1).await;
        }
        let fleet = u64::from(number("OUTRIGGER_MODEL_FLEET").is_some());
        let fresh = std::iter::from_fn(|| Some(dice.any() | fleet));
        match number("OUTRIGGER_MODEL_HISTORIES") {
            Some(count) => {
                let count = usize::try_from(count).unwrap();
                play_all(fresh.take(count), 100).await;
            }
            None => play_all(FIXED.into_iter().chain(fresh.take(FRESH)), usize::MAX).await,
        }
    });
}
