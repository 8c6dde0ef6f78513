//! Two stores, one truth: whatever happens to them, to the sidecars and to the modes while clients
//! write, when it is over both stores hold the same, and every write that was acknowledged.
//!
//! A history is made from its seed: what each client does, what fails, is killed and is changed.
//! How all of that interleaves is the machine's, so a seed that failed may have to be played a few
//! times.
//!
//! | variable | |
//! |---|---|
//! | `OUTRIGGER_CONVERGE_SEED=n` | plays this one history, twenty times |
//! | `OUTRIGGER_CONVERGE_HISTORIES=n` | plays so many new ones with each pair, and tells how far it is |
//! | `OUTRIGGER_CONVERGE_PAIR=name` | with this pair only: `pgvector-embedded`, `embedded-pgvector`, `embedded-embedded`; or with one store alone: `embedded`, `pgvector` |
//! | `OUTRIGGER_CONVERGE_SPOIL=1` | takes a point away in the end, so that it fails |

mod call;
mod chaos;
mod client;
mod draw;
mod equal;
mod history;
mod known;
mod proof;
mod world;

use std::sync::Arc;
use std::time::Duration;

use outrigger::config::Env;
use tokio::time::Instant;

use crate::support::postgres::Postgres;
use crate::support::within;

use history::{Tally, play};
use world::{Pair, World};

/// For as many histories as anybody may want.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const FIXED: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const FRESH: usize = 2;

#[expect(
    clippy::print_stdout,
    reason = "the figures of a long run are for a person"
)]
async fn play_all(pair: Pair, seeds: Vec<u64>, tell_every: usize, postgres: &Arc<Postgres>) {
    let world = World::new(pair, postgres).await;
    let name = pair.name;
    let is_spoilt = variable("OUTRIGGER_CONVERGE_SPOIL").is_some();
    let began = Instant::now();
    let mut tally = Tally::default();
    for (seed, played) in seeds.into_iter().zip(1_u32..) {
        tally += play(&world, seed, is_spoilt).await;
        if usize::try_from(played).unwrap().is_multiple_of(tell_every) {
            let each = (began.elapsed() / played).as_secs_f64();
            println!(
                "{name}: {played} histories, {each:.2} s each, the last of seed {seed}; {tally}"
            );
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{name}: in all {seconds:.1} s; {tally}\nnot done:\n{}",
        tally.reasons()
    );
    assert!(
        tally.acknowledged > 0 && tally.compared > 0,
        "nothing was done: {tally}"
    );
}

fn variable(name: &str) -> Option<String> {
    Env::from_process().get(name).map(ToOwned::to_owned)
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| text.parse().expect("a number"))
}

#[test]
fn both_stores_are_equal_whatever_happens() {
    run(&Pair::ALL);
}

#[test]
fn no_acknowledged_write_is_lost_with_one_store() {
    run(&Pair::ALONE);
}

/// Plays what the variables ask for; without them the fixed seeds and some fresh ones, over the
/// pairs in turn.
fn run(pairs: &[Pair]) {
    let postgres = Arc::new(Postgres::start());
    let only = variable("OUTRIGGER_CONVERGE_PAIR").map(|name| Pair::named(&name));
    let pairs: Vec<Pair> = match only {
        None => pairs.to_vec(),
        Some(only) => pairs.iter().copied().filter(|pair| *pair == only).collect(),
    };
    within(LASTS_MAX, async {
        let fresh = |count| (0..count).map(|_| rand::random::<u64>() >> 16);
        if let Some(seed) = number("OUTRIGGER_CONVERGE_SEED") {
            for pair in pairs {
                play_all(pair, vec![seed; 20], 1, &postgres).await;
            }
            return;
        }
        if let Some(count) = number("OUTRIGGER_CONVERGE_HISTORIES") {
            let count = usize::try_from(count).unwrap();
            for pair in pairs {
                play_all(pair, fresh(count).collect(), 20, &postgres).await;
            }
            return;
        }
        let seeds: Vec<u64> = FIXED.into_iter().chain(fresh(FRESH)).collect();
        let count = pairs.len();
        for (at, pair) in pairs.into_iter().enumerate() {
            let own = seeds.iter().copied().skip(at).step_by(count);
            play_all(pair, own.collect(), usize::MAX, &postgres).await;
        }
    });
}
