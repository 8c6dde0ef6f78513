//! Two sidecars, one over the engine embedded in it and one over PostgreSQL, are told and asked the
//! same at random, and answer the same.
//!
//! A round is made from its seed: collections, points, and then writes and reads in turn. What may
//! differ is what the conformance replay leaves open (`equal`), and what the engine is shown to
//! leave open by its own account (`excuse`).
//!
//! | variable | |
//! |---|---|
//! | `OUTRIGGER_TWINS_SEED=n` | plays this one round, and shows every difference in full |
//! | `OUTRIGGER_TWINS_CASES=n` | plays new rounds until so many answers were compared |

mod draw;
mod equal;
mod excuse;
mod filter;
mod query;
mod read;
mod shape;
mod write;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use outrigger::config::Env;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::sidecar::Sidecar;
use crate::support::wire::Wire;
use crate::support::within;

use draw::Draw;
use equal::{difference, same, short, stripped};
use excuse::Excuse;

/// For as many rounds as anybody may want.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const FIXED: [u64; 6] = [1, 2, 3, 4, 5, 6];
const FRESH: usize = 2;
const STEPS: usize = 120;
/// Where these are found the cause is one, most likely; more of them tell nothing.
const DIFFERENCES_MAX: usize = 12;
/// Excuses are for what is rare: of so many answers one.
const EXCUSED_ONE_IN: usize = 40;

const NAME: &str = "docs";
const OTHER: &str = "other";

/// A request.
#[derive(Clone, Debug)]
struct Asked {
    kind: &'static str,
    method: &'static str,
    target: String,
    body: Value,
}

impl Asked {
    fn new(kind: &'static str, method: &'static str, target: String, body: Value) -> Self {
        Self {
            kind,
            method,
            target,
            body,
        }
    }
}

/// A sidecar and a connection to it.
struct Twin {
    sidecar: Sidecar,
    wire: Wire,
}

impl Twin {
    async fn over(store: &str) -> Self {
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ncache.enabled = false\n{store}"
        );
        let sidecar = Sidecar::with(&toml).await;
        let wire = sidecar.connect().await;
        Self { sidecar, wire }
    }

    async fn ask(&mut self, asked: &Asked) -> (u16, Value) {
        let mut ask = Ask::new(asked.method, &asked.target);
        if !asked.body.is_null() {
            ask = ask.json(&asked.body);
        }
        let answer = ask.over(&mut self.wire).await;
        if answer
            .head
            .field("connection")
            .is_some_and(|said| said == "close")
        {
            self.wire = self.sidecar.connect().await;
        }
        let read = serde_json::from_slice(&answer.body);
        (
            answer.status(),
            read.unwrap_or_else(|_| json!(answer.text())),
        )
    }
}

struct Twins {
    embedded: Twin,
    pgvector: Twin,
    tally: Tally,
    _postgres: Postgres,
    _folders: [Folder; 2],
}

#[derive(Default)]
struct Tally {
    cases: usize,
    refusals: usize,
    /// Answers that hold nothing.
    empty: usize,
    kinds: BTreeMap<&'static str, usize>,
    excuses: BTreeMap<Excuse, usize>,
    differences: Vec<String>,
}

impl Tally {
    fn told(&self) -> String {
        let Self {
            cases,
            refusals,
            empty,
            kinds,
            excuses,
            differences,
        } = self;
        let differ = differences.len();
        format!(
            "{cases} answers, {refusals} of them refusals and {empty} empty, {differ} differ, \
             left open by the engine {excuses:?}; {kinds:?}"
        )
    }
}

impl Twins {
    async fn new() -> Self {
        let folders = [Folder::new(), Folder::new()];
        let postgres = Postgres::start();
        let data = folders[0].path().display();
        let embedded = format!("primary.kind = \"embedded\"\ndata_dir = \"{data}\"\n");
        Self {
            embedded: Twin::over(&embedded).await,
            pgvector: Twin::over(&postgres.toml(&folders[1])).await,
            tally: Tally::default(),
            _postgres: postgres,
            _folders: folders,
        }
    }

    #[expect(
        clippy::print_stdout,
        reason = "a long run is looked at while it goes on"
    )]
    /// Asks both. Whether they say the same is for the tally.
    async fn ask(&mut self, seed: u64, step: usize, asked: &Asked) {
        let embedded = self.embedded.ask(asked).await;
        let pgvector = self.pgvector.ask(asked).await;
        self.tally.cases += 1;
        *self.tally.kinds.entry(asked.kind).or_default() += 1;
        self.tally.refusals += usize::from(embedded.0 >= 400);
        let result = &embedded.1["result"];
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        self.tally.empty += usize::from(is_empty(result) || is_empty(&result["points"]));
        let (one, other) = (stripped(asked, &embedded.1), stripped(asked, &pgvector.1));
        if embedded.0 == pgvector.0 && same(&one, &other) {
            return;
        }
        if let Some(excuse) = self.excuse(asked, &embedded, &pgvector).await {
            *self.tally.excuses.entry(excuse).or_default() += 1;
            return;
        }
        let mut text = format!(
            "seed {seed} step {step} {}: {} {} {}\n",
            asked.kind,
            asked.method,
            asked.target,
            short(&asked.body)
        );
        for (status, answer) in [&embedded, &pgvector] {
            writeln!(text, "  {status} {}", answer["status"]).unwrap();
        }
        write!(text, "  {}", difference(&one, &other, "")).unwrap();
        if number("OUTRIGGER_TWINS_SEED").is_some() {
            write!(text, "\n  in full\n{one}\n{other}").unwrap();
        }
        println!("{text}\n");
        self.tally.differences.push(text);
    }

    async fn round(&mut self, seed: u64) {
        let mut draw = Draw::new(seed);
        let shape = draw.shape();
        let mut step = 0;
        let other = if draw.dice.one_in(3) {
            draw.shape()
        } else {
            shape.clone()
        };
        for (name, shape) in [(NAME, &shape), (OTHER, &other)] {
            let target = format!("/collections/{name}");
            for asked in [
                Asked::new("clear", "DELETE", target.clone(), Value::Null),
                Asked::new("create", "PUT", target.clone(), shape.config()),
            ] {
                self.ask(seed, step, &asked).await;
            }
            for _ in 0..draw.dice.below(9) {
                let asked = draw.write_index(name);
                self.ask(seed, step, &asked).await;
            }
            for _ in 0..4 {
                let points: Vec<Value> = (0..10).map(|_| draw.point(shape)).collect();
                let target = format!("{target}/points?wait=true");
                let asked = Asked::new("fill", "PUT", target, json!({"points": points}));
                self.ask(seed, step, &asked).await;
            }
        }
        let before = self.tally.differences.len();
        while step < STEPS && self.tally.differences.len() < before + 3 {
            step += 1;
            let asked = if draw.dice.one_in(4) {
                draw.write(NAME, &shape)
            } else {
                draw.read(NAME, &shape)
            };
            self.ask(seed, step, &asked).await;
            if step % 20 == 0 {
                // Whatever was written, to the last point.
                let all = json!({"limit": 1000, "with_payload": true, "with_vector": true});
                let target = format!("/collections/{NAME}/points/scroll");
                let asked = Asked::new("all", "POST", target, all);
                self.ask(seed, step, &asked).await;
            }
        }
    }

    #[expect(
        clippy::print_stdout,
        reason = "the figures of a long run are for a person"
    )]
    async fn play(&mut self, seeds: impl Iterator<Item = u64>, cases: usize) {
        for (played, seed) in seeds.enumerate() {
            self.round(seed).await;
            if (played + 1) % 20 == 0 {
                println!("{} rounds, {}", played + 1, self.tally.told());
            }
            if self.tally.cases >= cases || self.tally.differences.len() >= DIFFERENCES_MAX {
                break;
            }
        }
        println!("in all {}", self.tally.told());
        let differences = &self.tally.differences;
        assert!(
            differences.is_empty(),
            "{} differences:\n{}",
            differences.len(),
            differences.join("\n\n")
        );
        let excused: usize = self.tally.excuses.values().sum();
        assert!(
            excused * EXCUSED_ONE_IN <= self.tally.cases,
            "too much is left open"
        );
        let says_something =
            self.tally.refusals * 2 < self.tally.cases && self.tally.empty * 3 < self.tally.cases;
        assert!(says_something, "hardly any answer says anything");
    }
}

fn number(name: &str) -> Option<u64> {
    let env = Env::from_process();
    env.get(name).map(|text| text.parse().expect("a number"))
}

#[test]
fn pgvector_answers_as_the_embedded_engine_does() {
    within(LASTS_MAX, async {
        let mut twins = Twins::new().await;
        if let Some(seed) = number("OUTRIGGER_TWINS_SEED") {
            return twins.play(std::iter::once(seed), usize::MAX).await;
        }
        let fresh = std::iter::repeat_with(rand::random::<u64>);
        match number("OUTRIGGER_TWINS_CASES") {
            Some(cases) => twins.play(fresh, usize::try_from(cases).unwrap()).await,
            None => {
                let seeds = FIXED.into_iter().chain(fresh.take(FRESH));
                twins.play(seeds, usize::MAX).await;
            }
        }
    });
}
