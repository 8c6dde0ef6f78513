//! `outrigger stats`: what the cache of a running sidecar keeps and saves, and what one of another
//! size would.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::{Flags, desk, exit_code, out};
use crate::config::Settings;
use crate::error::{Error, Result};

/// The lifetime for which the table shows other sizes.
const SHOWN_TTL: &str = "5m";

pub(super) fn run(flags: &Flags, json: bool) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            out::complain(&mistakes.to_string());
            return ExitCode::from(2);
        }
    };
    match asked(&loaded.settings) {
        Ok((cache, estimate)) => {
            out::say(&if json {
                format!("{:#}\n", json!({ "cache": cache, "estimate": estimate }))
            } else {
                table(&cache, &estimate)
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            out::complain(&format!("outrigger stats: {}", error.chain()));
            exit_code(&error)
        }
    }
}

fn asked(settings: &Settings) -> Result<(Value, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    runtime.block_on(async {
        let cache = desk::ask(settings, Method::GET, "/api/cache").await?;
        let estimate = desk::ask(settings, Method::GET, "/api/cache/estimate").await?;
        Ok((cache, estimate))
    })
}

fn table(cache: &Value, estimate: &Value) -> String {
    let mut text = String::new();
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let tiers = &cache["tiers"];
    let (l1, l2) = (count(&tiers["l1"]["hits"]), count(&tiers["l2"]["hits"]));
    let (coalesced, misses) = (count(&cache["coalesced"]), count(&cache["misses"]));
    let saved = l1 + l2 + coalesced;
    let answers = count(&tiers["l1"]["entries"]);
    let (bytes, room) = (
        count(&tiers["l1"]["bytes"]),
        count(&cache["settings"]["memory_bytes"]),
    );
    let state = if cache["enabled"] == json!(true) {
        "on"
    } else {
        "off"
    };
    let second = &tiers["l2"];
    let redis = match (&second["configured"], &second["up"]) {
        (Value::Bool(true), Value::Bool(true)) => "up",
        (Value::Bool(true), _) => "away, answers are served without",
        (_, _) => "none",
    };
    let rows = [
        ("cache", state.to_owned()),
        ("Redis", redis.to_owned()),
        ("answers kept", answers.to_string()),
        ("memory", format!("{} of {}", mib(bytes), mib(room))),
        (
            "let go for room",
            count(&tiers["l1"]["evictions"]).to_string(),
        ),
        ("hits in memory", l1.to_string()),
        ("hits in Redis", l2.to_string()),
        ("near hits", count(&cache["near_hits"]).to_string()),
        ("coalesced", coalesced.to_string()),
        ("misses", misses.to_string()),
        ("saved", percent(saved, saved + misses)),
        ("not looked for or kept", told(&cache["bypasses"])),
        (
            "narrow writes",
            count(&cache["writes"]["narrow"]).to_string(),
        ),
        ("broad writes", told(&cache["writes"]["broad"])),
    ];
    for (name, value) in rows {
        lines(&mut text, &format!("{name:<24}{value}"));
    }
    let reads = estimate["reads"].as_f64().unwrap_or_default();
    lines(&mut text, "");
    let head = format!("estimate over {reads:.0} reads, answers kept for {SHOWN_TTL}");
    lines(&mut text, &head);
    let head = format!(
        "{:>10}{:>12}{:>16}{:>14}",
        "memory", "hit rate", "tenant-wise", "ms saved"
    );
    lines(&mut text, &head);
    let all = estimate["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let shown = |row: &&Value| row["ttl"] == SHOWN_TTL && row["tenant_wise"] == json!(false);
    for row in all.iter().filter(shown) {
        let is_twin = |twin: &&Value| {
            twin["ttl"] == row["ttl"]
                && twin["memory_mb"] == row["memory_mb"]
                && twin["tenant_wise"] == json!(true)
        };
        let twin = all.iter().find(is_twin).unwrap_or(&Value::Null);
        let rate = |row: &Value| row["hit_rate"].as_f64().unwrap_or_default() * 100.0;
        let line = format!(
            "{:>6} MiB{:>11.1}%{:>15.1}%{:>14.0}",
            count(&row["memory_mb"]),
            rate(row),
            rate(twin),
            twin["saved_ms"].as_f64().unwrap_or_default(),
        );
        lines(&mut text, &line);
    }
    text
}

fn lines(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => format!("{}%", part.saturating_mul(100) / whole),
    }
}

fn told(counts: &Value) -> String {
    let pairs = counts.as_object().into_iter().flatten();
    let told: Vec<String> = pairs
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if told.is_empty() {
        "-".to_owned()
    } else {
        told.join(", ")
    }
}
