//! `outrigger serve`: opens the listeners and serves until it is told to stop.
//!
//! The first SIGTERM or SIGINT drains; a second one ends at once. SIGHUP has the settings file
//! looked at for another mode.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::watch::Watch;
use super::{Flags, exit_code, logging, out};
use crate::app;
use crate::config::Settings;
use crate::error::{Error, Result};

pub(super) fn run(flags: &Flags) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            out::complain(&mistakes.to_string());
            return ExitCode::from(2);
        }
    };
    let settings = loaded.settings;
    match logging::begin(&settings.log).and_then(|()| serve(settings, flags.file())) {
        Ok(code) => code,
        Err(error) => {
            out::complain(&format!("outrigger: {}", error.chain()));
            exit_code(&error)
        }
    }
}

/// A filter nested as deep as JSON may be (128 levels) is read and run by functions that call
/// themselves. What is not used of a stack costs nothing.
const STACK_BYTES: usize = 16 * 1024 * 1024;

fn serve(settings: Settings, file: PathBuf) -> Result<ExitCode> {
    for key in settings.not_served_yet() {
        warn!(key, "this setting is set and has no effect in this version");
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = settings.server.threads {
        builder.worker_threads(threads);
    }
    let runtime = builder
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    let code = runtime.block_on(until_stopped(settings, file));
    // What is still blocked is let go: the drain is over, or a second signal cut it short.
    runtime.shutdown_background();
    code
}

async fn until_stopped(settings: Settings, file: PathBuf) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let watch = Watch::begin(file)?;
    let running = app::start(settings).await?;
    let changer = Arc::clone(running.changer());
    let first = tokio::select! {
        first = signals.next() => first,
        () = watch.keep(changer) => "the end of the watch",
    };
    info!(signal = first, "asked to stop");
    tokio::select! {
        () = running.stop() => Ok(ExitCode::SUCCESS),
        second = signals.next() => {
            warn!(signal = second, "asked to stop a second time; ending at once");
            Ok(ExitCode::from(3))
        }
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::settings("listen for signals").with_source(error))
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
