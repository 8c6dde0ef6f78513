//! Many clients at once, at random, against a reference that knows what each may be told.
//!
//! A history is made from its seed: which clients do what, in which order each. How their calls
//! interleave is the machine's, so a seed that failed may have to be played a few times.
//!
//! | variable | |
//! |---|---|
//! | `OUTRIGGER_MODEL_SEED=n` | plays this one history |
//! | `OUTRIGGER_MODEL_HISTORIES=n` | plays so many new ones, and tells how far it is |

mod history;
mod read;
mod reference;
mod write;

use std::time::Duration;

use outrigger::config::Env;

use crate::support::folder::Folder;
use crate::support::sidecar::Sidecar;
use crate::support::within;

use history::{Dice, Tally, play};

/// For as many histories as anybody may want.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const FIXED: [u64; 6] = [1, 2, 3, 4, 5, 6];
const FRESH: usize = 6;
/// A run in which hardly anything was kept shows nothing. In percent.
const HITS_MIN: usize = 10;

/// What the clients talk to: sidecars over one store.
struct World {
    fronts: Vec<Sidecar>,
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
            back: None,
            _data: data,
        }
    }

    /// Sidecars that find their store by HTTP. Without a second tier that they share there can only
    /// be one: a write at one is not seen by another.
    async fn over_http(fronts: usize) -> Self {
        let data = Folder::new();
        let back = Sidecar::with(&format!("{}cache.enabled = false\n", embedded(&data))).await;
        let url = format!("http://{}", back.proxy());
        let mut all = Vec::new();
        for _ in 0..fronts {
            all.push(Sidecar::before(&url, &format!("{KEYS}{KEPT}")).await);
        }
        Self {
            fronts: all,
            back: Some(back),
            _data: data,
        }
    }

    fn front(&self, client: usize) -> &Sidecar {
        &self.fronts[client % self.fronts.len()]
    }

    /// Waits until nothing is under way anywhere: whatever was sent has had its effect, or never
    /// will.
    async fn comes_to_rest(&self) {
        for sidecar in self.fronts.iter().chain(&self.back) {
            sidecar.at_rest().await;
        }
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
    let worlds = [World::embedded().await, World::over_http(1).await];
    let mut tally = Tally::default();
    for (played, seed) in seeds.enumerate() {
        // By the seed, so that it is played in the same one again.
        let world = &worlds[usize::from(seed % 2 == 1)];
        tally += play(world, seed).await;
        if (played + 1) % tell_every == 0 {
            println!("{} histories, {tally}", played + 1);
        }
    }
    println!("in all {tally}");
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
        let fresh = std::iter::from_fn(|| Some(dice.any()));
        match number("OUTRIGGER_MODEL_HISTORIES") {
            Some(count) => {
                let count = usize::try_from(count).unwrap();
                play_all(fresh.take(count), 100).await;
            }
            None => play_all(FIXED.into_iter().chain(fresh.take(FRESH)), usize::MAX).await,
        }
    });
}
