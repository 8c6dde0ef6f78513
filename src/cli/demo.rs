//! `outrigger demo`: a whole sidecar on ports of its own, over the embedded store in a temporary
//! folder; a small data set is loaded, searches run over HTTP as any client sends them, and a
//! table shows what came back. Afterwards nothing is left.
//!
//! It must never touch a store of the user's: no file and no variable is read.

mod client;
mod data;
mod searches;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{Flags, exit_code, logging, out};
use crate::app::{self, Running};
use crate::config::{Env, Settings, Sources, load};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use client::Client;
use data::DataSet;
use searches::{Found, rows, searches};
use show::{Outcome, Step};

/// The engine warns of what nobody can do anything about.
const LOG: &str = "warn,qdrant_edge=error";

const COLLECTION: &str = "/collections/memories";

pub(super) fn run(flags: &Flags, json: bool) -> ExitCode {
    if let Some(flag) = foreign(flags) {
        out::complain(&format!(
            "outrigger demo: {flag} has no place here: the demo runs on ports and in a folder of its own"
        ));
        return ExitCode::from(2);
    }
    match outcome(flags) {
        Ok(outcome) => {
            out::say(&if json {
                format!("{:#}\n", outcome.to_json())
            } else {
                outcome.to_text()
            });
            if outcome.is_complete() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            }
        }
        Err(error) => {
            out::complain(&format!("outrigger demo: {}", error.chain()));
            exit_code(&error)
        }
    }
}

/// A flag that would mean a sidecar other than the demo's own.
fn foreign(flags: &Flags) -> Option<&'static str> {
    let given = [
        (flags.config.is_some(), "--config"),
        (flags.listen.is_some(), "--listen"),
        (flags.admin_listen.is_some(), "--admin-listen"),
        (flags.data_dir.is_some(), "--data-dir"),
        (flags.mode.is_some(), "--mode"),
    ];
    given
        .into_iter()
        .find_map(|(is_given, flag)| is_given.then_some(flag))
}

fn outcome(flags: &Flags) -> Result<Outcome> {
    let folder = Folder::new()?;
    let log = flags.log.as_deref().unwrap_or(LOG);
    let settings = settings(&folder.0, log)?;
    logging::begin(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    let outcome = runtime.block_on(until_interrupted(settings));
    // Waits for what still runs off the async threads: it may be writing in the folder.
    drop(runtime);
    outcome
}

/// Built-in defaults, but for what must not be shared with anybody.
fn settings(folder: &Path, log: &str) -> Result<Settings> {
    let data_dir = folder.display().to_string();
    let own = [
        ("listen", "127.0.0.1:0"),
        ("admin_listen", "127.0.0.1:0"),
        ("data_dir", &data_dir),
        ("primary.kind", "embedded"),
        ("log.filter", log),
    ];
    let flags = own.map(|(key, value)| (key.to_owned(), value.to_owned(), "demo".to_owned()));
    let sources = Sources {
        file: None,
        default_file: None,
        env: Env::default(),
        flags: flags.to_vec(),
    };
    let loaded = load(sources).map_err(|mistakes| Error::settings(mistakes.to_string()))?;
    Ok(loaded.settings)
}

async fn until_interrupted(settings: Settings) -> Result<Outcome> {
    let listen = |kind| {
        signal(kind).map_err(|error| Error::settings("listen for signals").with_source(error))
    };
    let (mut term, mut int) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let began = Instant::now();
    let running = app::start(settings).await?;
    let outcome = tokio::select! {
        outcome = journey(&running, began) => outcome,
        _ = term.recv() => Err(interrupted()),
        _ = int.recv() => Err(interrupted()),
    };
    running.stop().await;
    let mut outcome = outcome?;
    outcome.total = began.elapsed();
    Ok(outcome)
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Origin::Proxy,
        Retry::Safe,
        "interrupted; nothing is left",
    )
}

async fn journey(running: &Running, began: Instant) -> Result<Outcome> {
    let data = DataSet::read()?;
    let mut client = Client::connect(running.proxy).await?;
    let mut steps = vec![Step {
        what: "start the sidecar",
        took: began.elapsed(),
    }];

    let before = Instant::now();
    client
        .call(Method::PUT, COLLECTION, &collection(&data))
        .await?;
    for index in indexes() {
        let path = format!("{COLLECTION}/index?wait=true");
        client.call(Method::PUT, &path, &index).await?;
    }
    let what = "create a collection: dense and sparse vectors, four payload indexes";
    steps.push(Step {
        what,
        took: before.elapsed(),
    });

    let path = format!("{COLLECTION}/points?wait=true");
    let loaded = client.call(Method::PUT, &path, &points(&data)).await?;
    steps.push(Step {
        what: "load the points",
        took: loaded.took,
    });

    let mut found = Vec::new();
    for search in searches(&data) {
        let answer = client.call(Method::POST, search.path, &search.body).await?;
        let rows = rows(&answer.result);
        found.push(Found {
            search,
            took: answer.took,
            rows,
        });
    }
    Ok(Outcome {
        points: data.memories.len(),
        steps,
        found,
        total: began.elapsed(),
    })
}

fn collection(data: &DataSet) -> Value {
    json!({
        "vectors": {"meaning": {"size": data.vector_size(), "distance": "Cosine"}},
        "sparse_vectors": {"words": {"modifier": "idf"}},
    })
}

fn indexes() -> [Value; 4] {
    [
        json!({"field_name": "user", "field_schema": {"type": "keyword", "is_tenant": true}}),
        json!({"field_name": "kind", "field_schema": "keyword"}),
        json!({"field_name": "day", "field_schema": "datetime"}),
        json!({"field_name": "importance", "field_schema": "integer"}),
    ]
}

fn points(data: &DataSet) -> Value {
    let points: Vec<Value> = data
        .memories
        .iter()
        .map(|memory| {
            json!({
                "id": memory.id,
                "payload": memory,
                "vector": {
                    "meaning": data.vector(&memory.text),
                    "words": {"text": memory.text, "model": "Qdrant/bm25"},
                },
            })
        })
        .collect();
    json!({ "points": points })
}

/// A folder that goes when this goes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let name = format!("outrigger-demo-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|error| {
            Error::settings(format!("make the folder {}", path.display())).with_source(error)
        })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            out::complain(&format!(
                "outrigger demo: {} stays behind: {error}",
                self.0.display()
            ));
        }
    }
}
