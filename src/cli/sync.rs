//! `outrigger sync`: how far the follower of a running sidecar is behind, what it refuses, and the
//! full comparison.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::Value;
use url::form_urlencoded;

use super::{Flags, desk, exit_code, out};
use crate::config::Settings;
use crate::error::{Error, Result};

#[derive(Subcommand)]
pub(super) enum SyncAction {
    /// What waits to be brought to the follower. Exit code 1 while it is not in sync.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The points that the follower refuses for good, and why.
    Dead {
        /// Of this collection only.
        #[arg(long)]
        collection: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Has the points that were refused tried again.
    Retry {
        /// Of this collection only.
        #[arg(long)]
        collection: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compares the two stores whole and repairs what differs. Waits for the end; interrupting does
    /// no harm, the sidecar goes on.
    Sweep {
        /// This collection only.
        #[arg(long)]
        collection: Option<String>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(flags: &Flags, action: SyncAction) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            out::complain(&mistakes.to_string());
            return ExitCode::from(2);
        }
    };
    match carried_out(&loaded.settings, action) {
        Ok(code) => code,
        Err(error) => {
            out::complain(&format!("outrigger sync: {}", error.chain()));
            exit_code(&error)
        }
    }
}

fn carried_out(settings: &Settings, action: SyncAction) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    runtime.block_on(async {
        match action {
            SyncAction::Status { json } => {
                let state = desk::ask(settings, Method::GET, "/api/sync").await?;
                show(&state, json, status);
                Ok(code(state["in_sync"] == true))
            }
            SyncAction::Dead {
                collection,
                limit,
                json,
            } => {
                let path = format!("/api/sync/dead?limit={limit}{}", of(collection.as_deref()));
                let answer = desk::ask(settings, Method::GET, &path).await?;
                show(&answer, json, dead);
                Ok(ExitCode::SUCCESS)
            }
            SyncAction::Retry { collection, json } => {
                let path = format!("/api/sync/retry?{}", of(collection.as_deref()));
                let answer = desk::ask(settings, Method::POST, &path).await?;
                show(&answer, json, |answer| {
                    format!("{} points are tried again\n", answer["retried"])
                });
                Ok(ExitCode::SUCCESS)
            }
            SyncAction::Sweep {
                collection,
                no_wait,
                json,
            } => sweep(settings, collection.as_deref(), no_wait, json).await,
        }
    })
}

async fn sweep(
    settings: &Settings,
    collection: Option<&str>,
    no_wait: bool,
    json: bool,
) -> Result<ExitCode> {
    let path = format!("/api/sync/sweep?{}", of(collection));
    let asked = desk::ask(settings, Method::POST, &path).await?;
    if no_wait {
        show(&asked, json, |_| "the sweep is asked for\n".to_owned());
        return Ok(ExitCode::SUCCESS);
    }
    let mut said = String::new();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let state = desk::ask(settings, Method::GET, "/api/sync").await?;
        let followed = listed(&state["directions"]).filter(|of| of["followed"] == true);
        let open: Vec<&Value> = followed
            .filter(|of| listed(&of["sweeps"]).next().is_some() || of["waiting"] != 0)
            .collect();
        if open.is_empty() {
            show(&state, json, status);
            return Ok(code(state["in_sync"] == true));
        }
        let now = progress(open.first().copied().unwrap_or(&Value::Null));
        if now != said {
            out::complain(&now);
            said = now;
        }
    }
}

fn progress(of: &Value) -> String {
    let sweeping = &of["sweeping"];
    if sweeping.is_null() {
        return format!("{} points wait to be copied", of["waiting"]);
    }
    format!(
        "{}: {} compared, {} differ; {} wait to be copied",
        text(&sweeping["collection"]),
        sweeping["compared"],
        sweeping["differing"],
        of["waiting"]
    )
}

fn code(is_yes: bool) -> ExitCode {
    if is_yes {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn of(collection: Option<&str>) -> String {
    match collection {
        None => String::new(),
        Some(name) => form_urlencoded::Serializer::new("&".to_owned())
            .append_pair("collection", name)
            .finish(),
    }
}

fn show(answer: &Value, json: bool, as_text: impl Fn(&Value) -> String) {
    let text = if json {
        format!("{answer:#}\n")
    } else {
        as_text(answer)
    };
    out::say(&text);
}

fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn status(state: &Value) -> String {
    let mut told = String::new();
    for of in listed(&state["directions"]) {
        if of["followed"] != true && of["in_sync"] == true {
            continue;
        }
        told += &format!("{} -> {}\n", text(&of["authority"]), text(&of["follower"]));
        let oldest = of["oldest_seconds"].as_f64();
        let oldest = oldest.map_or(String::new(), |age| format!(", the oldest for {age:.1} s"));
        told += &format!("  waiting        {}{oldest}\n", of["waiting"]);
        for one in listed(&of["collections"]) {
            told += &format!("    {:<24} {}\n", text(&one["collection"]), one["waiting"]);
        }
        told += &format!("  dead letters   {}\n", of["dead_letters"]);
        for due in listed(&of["sweeps"]) {
            let whose = due["collection"].as_str().unwrap_or("all collections");
            told += &format!("  to be swept    {whose}: {}\n", text(&due["reason"]));
        }
        for one in listed(&of["blocked"]) {
            let (whose, why) = (text(&one["collection"]), text(&one["reason"]));
            told += &format!("  not mirrored   {whose}: {why}\n");
        }
        if let Some(why) = of["failing"].as_str() {
            told += &format!("  failing        {why}\n");
        }
    }
    if told.is_empty() {
        told += "no store follows another\n";
    }
    let dry = &state["dry_run"];
    if !dry.is_null() {
        let (checked, refused) = (&dry["checked"], &dry["refused"]);
        told += &format!("dry run: {checked} writes checked, {refused} would be refused\n");
        for one in listed(&dry["reasons"]) {
            let (whose, what) = (text(&one["collection"]), text(&one["operation"]));
            told += &format!(
                "  {} x {whose} {what}: {}\n",
                one["count"],
                text(&one["reason"])
            );
        }
    }
    told
}

fn dead(answer: &Value) -> String {
    let letters = listed(&answer["dead_letters"]);
    let told: Vec<String> = letters
        .map(|of| {
            let (collection, id) = (text(&of["collection"]), text(&of["id"]));
            format!("{collection} {id}: {}\n", text(&of["reason"]))
        })
        .collect();
    if told.is_empty() {
        return "none\n".to_owned();
    }
    told.concat()
}
