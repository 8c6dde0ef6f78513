//! `outrigger config check`: what is in force and where each value is from, or every mistake.

use std::process::ExitCode;

use super::{Flags, out};
use crate::app;
use crate::config::{Mistakes, configured_addrs, own_listener_check};

pub(super) fn run(flags: &Flags, json: bool) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            out::complain(&mistakes.to_string());
            return ExitCode::from(2);
        }
    };
    let settings = &loaded.settings;
    let own = configured_addrs(settings, app::resolve);
    let mistakes = own_listener_check(settings, &own, app::resolve);
    if !mistakes.is_empty() {
        out::complain(&Mistakes::from(mistakes).to_string());
        return ExitCode::from(2);
    }
    if json {
        out::say(&format!("{:#}\n", loaded.report.to_json()));
    } else {
        out::say(&loaded.report.to_string());
    }
    ExitCode::SUCCESS
}
