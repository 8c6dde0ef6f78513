//! Logs: text on a terminal, JSON elsewhere, always on standard error. `RUST_LOG` is honoured.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::span_fields::JsonSpanFields;
use crate::config::{Log, LogFormat};
use crate::error::{Error, Result};

/// Sets the process's logging up. A panic is logged like everything else.
pub(super) fn begin(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Error::settings(format!("log.filter: {:?} is not a filter", log.filter)).with_source(error)
    })?;
    let as_text = match log.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_span_events(FmtSpan::NONE);
    let begun = if as_text {
        builder.with_ansi(stderr().is_terminal()).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .fmt_fields(JsonSpanFields)
            .try_init()
    };
    begun.map_err(|error| Error::settings("set logging up").with_source(error))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or_default();
        tracing::error!(place, said, "panic");
    }));
    Ok(())
}
