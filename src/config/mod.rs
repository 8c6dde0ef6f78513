//! Settings: from four layers of text to one checked value.
//!
//! Built-in defaults, a TOML file, environment variables and flags are laid over one another, a
//! later one winning key by key, and read into `Settings` by getters that know what each key
//! allows. What the room keeps:
//!
//! - Strict: an unknown key, an unknown `OUTRIGGER_` variable and a value of the wrong kind stop
//!   the start. Nothing is guessed, rounded or ignored.
//! - Every mistake in one go, each with its key, its value, where it came from, and what is
//!   allowed.
//! - A secret is never shown: not by `Debug`, not in a mistake, not in the report.
//! - The environment of the process is read in one place, `Env::from_process`.
//!
//! `config/default.toml` is both the defaults and their documentation.

mod build;
mod checks;
mod cutover;
mod env;
mod listen;
mod load;
mod mistake;
mod modes;
mod own_listener;
mod raw;
mod read;
mod read_secret;
mod report;
mod roles;
mod secret;
mod settings;
mod store;
mod units;
mod unknown;
mod url;
mod values;

#[cfg(test)]
mod tests;

pub use cutover::Cutover;
pub use env::Env;
pub use listen::Listen;
pub use load::{Loaded, Sources, load};
pub use mistake::{Mistake, Mistakes, Origin};
pub use modes::FileModes;
pub use own_listener::{configured_addrs, own_listener_check};
pub use report::Report;
pub use secret::{MASK, Secret};
pub use settings::{
    Ack, Adopt, Auth, Cache, Collection, Control, Distance, Embeddings, Log, LogFormat, Mirror,
    Server, Settings, Shadow, Store, TlsFiles,
};
pub use url::StoreUrl;
