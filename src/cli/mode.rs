//! `outrigger mode get|set|check|history`: the modes of a running sidecar.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Flags, desk, exit_code, out};
use crate::config::Settings;
use crate::error::{Error, Result};

/// How much longer than the fence a change may take: what comes before it and after.
const SET_WITHIN: Duration = Duration::from_secs(50);
/// The stores are asked for it.
const CHECKED_WITHIN: Duration = Duration::from_secs(20);
const ASKED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub(super) enum ModeAction {
    /// What is in force, and what comes next.
    Get {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change it, with no restart: primary_only, dual_write, dual_read, cutover, secondary_only.
    Set {
        #[arg(value_name = "MODE")]
        to: String,
        /// For this collection alone, by its real name.
        #[arg(long, value_name = "NAME")]
        collection: Option<String>,
        /// Leave the checks out; never the fence.
        #[arg(long)]
        force: bool,
        /// A sidecar that is waited for though it is silent, and that has ended for good.
        #[arg(long, value_name = "SIDECAR")]
        gone: Vec<String>,
        /// To be kept in the history.
        #[arg(long, default_value = "", value_name = "TEXT")]
        why: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether `mode set cutover` would find the gate open: the table, and what is missing.
    Check {
        /// Of this collection alone, by its real name.
        #[arg(long, value_name = "NAME")]
        collection: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Who changed it, when, from what to what, and why.
    History {
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(flags: &Flags, action: ModeAction) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            out::complain(&mistakes.to_string());
            return ExitCode::from(2);
        }
    };
    match asked(&loaded.settings, action) {
        Ok(code) => code,
        Err(error) => {
            out::complain(&format!("outrigger mode: {}", error.chain()));
            exit_code(&error)
        }
    }
}

fn asked(settings: &Settings, action: ModeAction) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    let (asked, as_json, shown): (_, _, fn(&Value) -> String) = match &action {
        ModeAction::Get { json } => (get("/api/mode"), *json, state),
        ModeAction::History { limit, json } => {
            let path = format!("/api/mode/history?limit={limit}");
            let answer = runtime.block_on(desk::put(settings, get(&path)))?;
            return show(answer, *json, history);
        }
        ModeAction::Check { collection, json } => {
            let query = collection.as_deref().map(|name| {
                let mut query = url::form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
                query.append_pair("collection", name).finish()
            });
            let path = format!("/api/mode/check{}", query.unwrap_or_default());
            let asked = desk::Asked {
                within: CHECKED_WITHIN,
                ..get(&path)
            };
            let answer = runtime.block_on(desk::put(settings, asked))?;
            let is_shut = answer.0.is_success() && answer.1["opens"] != json!(true);
            let code = show(answer, *json, check)?;
            return Ok(if is_shut { ExitCode::from(1) } else { code });
        }
        ModeAction::Set {
            to,
            collection,
            force,
            gone,
            why,
            json,
        } => {
            let body = json!({
                "mode": to, "collection": collection, "force": force, "why": why, "gone": gone,
                "who": "outrigger mode",
            });
            let asked = desk::Asked {
                method: Method::PUT,
                path: "/api/mode",
                body: Some(body),
                within: SET_WITHIN + settings.fence_timeout,
            };
            (asked, *json, set)
        }
    };
    show(
        runtime.block_on(desk::put(settings, asked))?,
        as_json,
        shown,
    )
}

fn get(path: &str) -> desk::Asked<'_> {
    desk::Asked {
        method: Method::GET,
        path,
        body: None,
        within: ASKED_WITHIN,
    }
}

fn show(
    (status, answer): (StatusCode, Value),
    as_json: bool,
    shown: fn(&Value) -> String,
) -> Result<ExitCode> {
    if as_json {
        out::say(&format!("{answer:#}\n"));
    } else if status.is_success() {
        out::say(&shown(&answer));
    } else {
        out::complain(&format!(
            "outrigger mode: {}",
            text(&answer["status"]["error"])
        ));
    }
    match status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Ok(ExitCode::from(2)),
        StatusCode::CONFLICT => Ok(ExitCode::from(1)),
        status if status.is_success() => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::from(3)),
    }
}

fn state(answer: &Value) -> String {
    let mut rows = vec![
        ("mode", text(&answer["mode"])),
        ("reads and writes go to", text(&answer["authority"])),
        ("follower", text(&answer["follower"])),
        ("next", text(&answer["next"])),
        ("previous", text(&answer["previous"])),
        ("epoch", text(&answer["epoch"])),
    ];
    let change = &answer["change"];
    if change.is_object() {
        let (from, to) = (text(&change["from"]), text(&change["to"]));
        let phase = text(&change["phase"]);
        rows.push(("under way", format!("{from} to {to}, {phase}")));
    }
    let mut shown: String = rows.iter().map(|(name, value)| row(name, value)).collect();
    for (name, mode) in answer["collections"].as_object().into_iter().flatten() {
        shown.push_str(&row(&format!("  of {name}"), &text(mode)));
    }
    let sidecars = answer["sidecars"].as_array().map_or(&[][..], Vec::as_slice);
    let live = sidecars.iter().filter(|one| one["live"] == json!(true));
    shown.push_str(&row("sidecars", &live.count().to_string()));
    shown
}

fn set(answer: &Value) -> String {
    let of = answer["collection"].as_str();
    let of = of.map(|name| format!(" for {name}")).unwrap_or_default();
    let mode = text(&answer["mode"]);
    if answer["changed"] == json!(false) {
        return format!("{mode} is in force{of} already\n");
    }
    let held = match answer["held_ms"].as_u64() {
        Some(held) => format!("; writes were held for {held} ms"),
        None => String::new(),
    };
    let from = text(&answer["from"]);
    let mut shown = format!("{mode} is in force{of}, {from} was before{held}\n");
    if let Some(note) = answer["note"].as_str() {
        shown.push_str(note);
        shown.push('\n');
    }
    shown
}

fn check(answer: &Value) -> String {
    let mut shown = String::new();
    let collections = answer["collections"].as_array();
    for of in collections.into_iter().flatten() {
        let name = text(&of["collection"]);
        shown.push_str(&match of["empty"] == json!(true) {
            true => format!("{name} (empty: there is nothing to read)\n"),
            false => format!("{name}\n"),
        });
        let line = |row: [&str; 4]| {
            let [what, needed, found, holds] = row;
            let line = format!("  {what:<26}{needed:<26}{found:<26}{holds}");
            format!("{}\n", line.trim_end())
        };
        shown.push_str(&line(["", "needed", "found", "holds"]));
        for row in of["rows"].as_array().into_iter().flatten() {
            let [what, needed, found] = ["row", "needed", "found"].map(|key| text(&row[key]));
            let holds = match row["holds"] == json!(true) {
                true => "yes",
                false => "NO",
            };
            shown.push_str(&line([&what, &needed, &found, holds]));
        }
        shown.push('\n');
    }
    let verdict = match answer["opens"] == json!(true) {
        true => "the gate is open",
        false => "the gate is shut",
    };
    shown.push_str(verdict);
    if let Some(reason) = answer["reason"].as_str() {
        shown.push_str(&format!(": {reason}"));
    }
    if answer["gate"] == json!(false) {
        shown.push_str(" (and is not asked: cutover.gate = false)");
    }
    shown.push('\n');
    shown
}

fn history(answer: &Value) -> String {
    let mut shown = format!(
        "{:<26}{:<16}{:<16}{:<18}{:<16}{}\n",
        "when", "from", "to", "collection", "who", "why"
    );
    for one in answer["history"].as_array().into_iter().flatten() {
        let collection = one["collection"].as_str().unwrap_or("*");
        let forced = if one["forced"] == json!(true) {
            "(forced) "
        } else {
            ""
        };
        let line = format!(
            "{:<26}{:<16}{:<16}{collection:<18}{:<16}{forced}{}",
            text(&one["at"]),
            text(&one["from"]),
            text(&one["to"]),
            text(&one["who"]),
            text(&one["why"]),
        );
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    shown
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<24}{value}\n")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
