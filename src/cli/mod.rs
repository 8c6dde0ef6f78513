//! Words typed by a person: one file a command family.
//!
//! Exit codes: 0 done, 1 the answer is no, 2 wrong usage or settings, 3 something outside failed.

mod bootstrap;
mod config_check;
mod demo;
mod desk;
mod logging;
mod mode;
mod out;
mod report;
mod serve;
mod span_fields;
mod stats;
mod sync;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Env, Loaded, Mistakes, Sources, load};
use crate::error::{Error, ErrorKind};

/// Where the file is looked for when none is named.
const DEFAULT_FILE: &str = "config/outrigger.toml";

#[derive(Parser)]
#[command(
    name = "outrigger",
    version,
    about = "Qdrant to its clients, whatever stores the points"
)]
struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Action {
    /// Open the proxy and the admin side (the default).
    Serve,
    /// The settings.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// A sidecar of its own, a small data set, searches, a table; nothing is left afterwards.
    Demo {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Looks for tables with vectors in a database, and prints settings that show them as collections.
    Bootstrap {
        /// The database: postgres://USER@HOST/DATABASE. Nothing in it is changed.
        #[arg(long, value_name = "URL")]
        adopt: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// How far the follower is behind, what it refuses, and the full comparison.
    Sync {
        #[command(subcommand)]
        action: sync::SyncAction,
    },
    /// The mode of a running sidecar: which store answers, which one follows.
    Mode {
        #[command(subcommand)]
        action: mode::ModeAction,
    },
    /// What is to be known before points are moved to another store.
    Report {
        #[command(subcommand)]
        action: report::ReportAction,
    },
    /// What the cache of a running sidecar keeps and saves, and what another size would.
    Stats {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Print what is in force, secrets masked, and where each value is from.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The settings that have a flag; each wins over the file and the environment.
#[derive(Args)]
struct Flags {
    /// The settings file [default: config/outrigger.toml, when it exists].
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Where Qdrant's clients connect.
    #[arg(long, global = true, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where operators connect.
    #[arg(long, global = true, value_name = "HOST:PORT")]
    admin_listen: Option<String>,
    /// Where the sidecar keeps its own files.
    #[arg(long, global = true, value_name = "PATH")]
    data_dir: Option<String>,
    /// The mode to start in when none was ever set.
    #[arg(long, global = true, value_name = "MODE")]
    mode: Option<String>,
    /// What to log, as in RUST_LOG.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Flags {
    /// The file that is read, if it is there.
    fn file(&self) -> PathBuf {
        let own = self.config.clone();
        own.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    fn load(&self) -> Result<Loaded, Mistakes> {
        let given = [
            ("listen", &self.listen, "--listen"),
            ("admin_listen", &self.admin_listen, "--admin-listen"),
            ("data_dir", &self.data_dir, "--data-dir"),
            ("mode", &self.mode, "--mode"),
            ("log.filter", &self.log, "--log"),
        ];
        let flags = given
            .into_iter()
            .filter_map(|(key, value, flag)| {
                Some((key.to_owned(), value.clone()?, flag.to_owned()))
            })
            .collect();
        load(Sources {
            file: self.config.clone(),
            default_file: Some(PathBuf::from(DEFAULT_FILE)),
            env: Env::from_process(),
            flags,
        })
    }
}

/// Runs the command line to its end.
pub fn run() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            // Help and version come this way too; clap knows which stream is right.
            drop(error.print());
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match command.action.unwrap_or(Action::Serve) {
        Action::Serve => serve::run(&command.flags),
        Action::Config {
            action: ConfigAction::Check { json },
        } => config_check::run(&command.flags, json),
        Action::Bootstrap { adopt, json } => bootstrap::run(&adopt, json),
        Action::Mode { action } => mode::run(&command.flags, action),
        Action::Sync { action } => sync::run(&command.flags, action),
        Action::Report { action } => report::run(&command.flags, action),
        Action::Stats { json } => stats::run(&command.flags, json),
        Action::Demo { json } => demo::run(&command.flags, json),
    }
}

/// The exit code that an error deserves.
fn exit_code(error: &Error) -> ExitCode {
    if error.kind() == ErrorKind::Settings {
        ExitCode::from(2)
    } else {
        ExitCode::from(3)
    }
}
