//! `outrigger report portability`: what another store would do with the requests that a running
//! sidecar sees.

use std::process::ExitCode;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{Flags, desk, exit_code, out};
use crate::config::Settings;
use crate::error::{Error, Result};

#[derive(Subcommand)]
pub(super) enum ReportAction {
    /// Each shape of request that was seen, and whether the other store serves it.
    Portability {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(flags: &Flags, action: ReportAction) -> ExitCode {
    let ReportAction::Portability { json } = action;
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            out::complain(&mistakes.to_string());
            return ExitCode::from(2);
        }
    };
    match asked(&loaded.settings) {
        Ok(report) => {
            out::say(&if json {
                format!("{report:#}\n")
            } else {
                table(&report)
            });
            ExitCode::from(u8::from(is_refused(&report)))
        }
        Err(error) => {
            out::complain(&format!("outrigger report: {}", error.chain()));
            exit_code(&error)
        }
    }
}

fn asked(settings: &Settings) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    runtime.block_on(desk::ask(settings, Method::GET, "/api/report/portability"))
}

/// Whether something that is asked for is not served at all by one of the stores shown.
fn is_refused(report: &Value) -> bool {
    let summary = report["summary"].as_object();
    let mut shares = summary.into_iter().flat_map(serde_json::Map::values);
    shares.any(|of| of["not_at_all"].as_f64().unwrap_or_default() > 0.0)
}

fn table(report: &Value) -> String {
    let mut text = format!(
        "{} requests looked at, {} passed over\n",
        report["looked_at"], report["passed_over"]
    );
    let shapes = report["shapes"].as_array().map_or(&[][..], Vec::as_slice);
    for kind in report["kinds"].as_array().into_iter().flatten() {
        let kind = kind.as_str().unwrap_or_default();
        text += &format!("\n{kind}\n");
        text += &format!(
            "{:>8}{:>10}  {:<14} shape; why\n",
            "share", "count", "served"
        );
        for shape in shapes {
            let serves = &shape["serves"][kind];
            let told = format!(
                "{:>8}{:>10}  {:<14} {}",
                percent(&shape["share"]),
                shape["count"].as_u64().unwrap_or_default(),
                words(&serves["verdict"]),
                named(shape),
            );
            text += &told;
            let why = list(&serves["why"], "; ");
            if !why.is_empty() {
                text += &format!("; {why}");
            }
            text.push('\n');
        }
        if let Some(others @ 1..) = report["others"].as_u64() {
            text += &format!("{:>8}{others:>10}  {:<14} further shapes\n", "", "unknown");
        }
        let summary = &report["summary"][kind];
        text += &format!(
            "{kind}: {} exactly, {} approximately, {} not at all, {} unknown\n",
            percent(&summary["exactly"]),
            percent(&summary["approximately"]),
            percent(&summary["not_at_all"]),
            percent(&summary["unknown"]),
        );
    }
    text
}

fn named(shape: &Value) -> String {
    let operation = shape["operation"].as_str().unwrap_or_default();
    match list(&shape["features"], ", ") {
        features if features.is_empty() => operation.to_owned(),
        features => format!("{operation}: {features}"),
    }
}

fn list(of: &Value, between: &str) -> String {
    let words = of.as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    words.join(between)
}

fn words(verdict: &Value) -> String {
    verdict.as_str().unwrap_or_default().replace('_', " ")
}

fn percent(share: &Value) -> String {
    format!("{:.1}%", share.as_f64().unwrap_or_default() * 100.0)
}
