//! The settings as the program uses them: typed, checked, every default filled in.
//!
//! Each key of the file has the field of the same name; `config/default.toml` says what each one
//! does. Whoever holds a `Settings` need not check it again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::cutover::Cutover;
use super::listen::Listen;
use super::mistake::Origin;
use super::secret::Secret;
use super::url::StoreUrl;
use crate::model::{Mode, Role, StoreKind};

/// How long answers of adopted tables are kept where nobody says.
const ADOPTED_TTL: Duration = Duration::from_secs(5);
/// What is in force of a collection's own keys.
const COLLECTION_SERVED: [&str; 15] = [
    "adopt",
    "cache",
    "discriminator",
    "distance",
    "id",
    "mode",
    "payload",
    "size",
    "source",
    "table",
    "tenant_key",
    "trigger",
    "ttl",
    "vector",
    "writable",
];
/// Keys, and whole tables, that are read and checked but do nothing yet. Whatever puts one of them
/// in force takes it out of this list.
const NOT_SERVED_YET: [&str; 4] = [
    "embeddings",
    "grpc_listen",
    "primary.grpc_url",
    "secondary.grpc_url",
];

#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Listen,
    pub admin_listen: Listen,
    pub grpc_listen: Listen,
    pub data_dir: PathBuf,
    /// The mode to start in when none was ever set.
    pub mode: Option<Mode>,
    pub insecure: bool,
    pub qdrant_version: String,
    pub vector_size: Option<u32>,
    /// In bytes.
    pub max_body: u64,
    pub shutdown_grace: Duration,
    pub fence_timeout: Duration,
    /// Whether the follower may answer a read that the authority cannot be asked.
    pub read_failover: bool,
    pub filter_write_max_ids: usize,
    pub server: Server,
    pub primary: Store,
    pub secondary: Option<Store>,
    pub auth: Auth,
    pub log: Log,
    pub cache: Cache,
    pub mirror: Mirror,
    pub shadow: Shadow,
    pub cutover: Cutover,
    pub embeddings: Embeddings,
    pub control: Control,
    pub collections: BTreeMap<String, Collection>,
    /// The keys that somebody set, and where. What is not here has its built-in default.
    pub given: BTreeMap<String, Origin>,
}

impl Settings {
    pub fn store(&self, role: Role) -> Option<&Store> {
        match role {
            Role::Primary => Some(&self.primary),
            Role::Secondary => self.secondary.as_ref(),
        }
    }

    /// The folder of an embedded store.
    pub fn folder(&self, role: Role) -> PathBuf {
        let own = self.store(role).and_then(|store| store.path.clone());
        own.unwrap_or_else(|| match role {
            Role::Primary => self.data_dir.clone(),
            Role::Secondary => self.data_dir.join(role.as_str()),
        })
    }

    /// The collections that are tables of others.
    pub fn adopted(&self) -> BTreeMap<String, Collection> {
        let adopted = self.collections.iter().filter(|(_, own)| own.is_adopted());
        adopted
            .map(|(name, own)| (name.clone(), own.clone()))
            .collect()
    }

    /// The keys that somebody set and that this version does not act on: the start warns of them.
    pub fn not_served_yet(&self) -> Vec<String> {
        let is_idle = |key: &&String| {
            if let Some(own) = key.strip_prefix("collections.") {
                let field = own.rsplit('.').next().unwrap_or_default();
                return !COLLECTION_SERVED.contains(&field) && !own.contains(".vectors.");
            }
            NOT_SERVED_YET.iter().any(|idle| {
                key.strip_prefix(idle)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        self.given.keys().filter(is_idle).cloned().collect()
    }
}

#[derive(Clone, Debug)]
pub struct Server {
    pub tls: Option<TlsFiles>,
    /// From the start of a request to the end of its head.
    pub header_timeout: Duration,
    /// The longest pause between two pieces of a body, either way.
    pub body_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    pub connections_max: usize,
    /// Requests in flight.
    pub requests_max: usize,
    /// `None`: as many as there are processors.
    pub threads: Option<usize>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// One of the two stores.
#[derive(Clone, Debug)]
pub struct Store {
    pub kind: StoreKind,
    /// Present unless the store is embedded.
    pub url: Option<StoreUrl>,
    /// Of an embedded one only. Absent: see [`Settings::folder`].
    pub path: Option<PathBuf>,
    /// Of a Qdrant only.
    pub grpc_url: Option<StoreUrl>,
    /// Of a Qdrant only. Absent: the client's own key is passed on.
    pub api_key: Option<Secret>,
    /// For `http://`, HTTP/2 without asking first; for `https://`, by ALPN.
    pub http2: bool,
    pub tls_ca: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    /// For snapshots, and for calls that we do not know.
    pub slow_timeout: Duration,
    pub idle_timeout: Duration,
    pub idle_connections_max: usize,
    /// Of PostgreSQL only.
    pub pool_size: usize,
    /// Of stores of our own: how hard a search tries that does not say.
    pub ef_search: Option<usize>,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long the breaker stays open at first; it doubles up to `breaker_open_max`.
    pub breaker_open: Duration,
    pub breaker_open_max: Duration,
}

#[derive(Clone, Debug)]
pub struct Auth {
    pub api_key: Option<Secret>,
    pub read_only_api_key: Option<Secret>,
    pub admin_token: Option<Secret>,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// As `RUST_LOG` is written.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

#[derive(Clone, Debug)]
pub struct Cache {
    pub enabled: bool,
    pub memory_mb: u64,
    pub ttl: Duration,
    pub max_entry_kb: u64,
    pub redis_url: Option<StoreUrl>,
    pub redis_password: Option<Secret>,
    pub redis_ttl: Duration,
    /// The key `settle_ms`.
    pub settle: Duration,
    /// Zero: the first tier is off while the channel to the other sidecars is lost.
    pub l1_ttl_when_blind: Duration,
    pub stale_while_revalidate: Option<Duration>,
    pub stale_if_error: Option<Duration>,
    pub vector_rounding: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Mirror {
    pub ack: Ack,
    /// How long a write whose reply was lost may still be applied.
    pub doubt: Duration,
    /// Check each write against a secondary that does not follow yet.
    pub dry_run: bool,
}

/// Whose word a mirrored write waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ack {
    Authority,
    Both,
}

#[derive(Clone, Debug)]
pub struct Shadow {
    /// The share of reads that also run at the other store. None: nothing is compared.
    pub sample: f64,
    /// The share of those that run at the read store a second time, exactly.
    pub baseline: f64,
    /// Whether reads are compared in `cutover` as well.
    pub cutover: bool,
    /// Reads that may wait to be compared.
    pub queue: usize,
    /// Reads that are compared at one time.
    pub workers: usize,
    /// How long either store may take over one call.
    pub timeout: Duration,
    /// How far back the figures go.
    pub window: Duration,
    /// How many of the worst reads of a collection are kept.
    pub worst: usize,
    /// Whether these are kept with what was asked and answered, payloads and all.
    pub keep_payloads: bool,
}

#[derive(Clone, Debug)]
pub struct Embeddings {
    pub url: StoreUrl,
    pub model: Option<String>,
    pub api_key: Option<Secret>,
    pub cache: bool,
}

#[derive(Clone, Debug)]
pub struct Control {
    pub url: Option<StoreUrl>,
}

/// What one collection has of its own. What is absent is as for all.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    pub mode: Option<Mode>,
    pub cache: Option<bool>,
    pub ttl: Option<Duration>,
    pub tenant_key: Option<String>,
    /// The keys from here on say which table is shown as this collection, and how.
    pub adopt: Option<Adopt>,
    pub table: Option<String>,
    /// The framework's own name of the collection, or the value of the discriminator.
    pub source: Option<String>,
    pub discriminator: Option<String>,
    pub id: Option<String>,
    pub vector: Option<String>,
    /// Further vectors: the name that clients know, and the column.
    pub vectors: BTreeMap<String, String>,
    pub size: Option<u32>,
    pub payload: Option<String>,
    pub distance: Option<Distance>,
    pub writable: Option<bool>,
    /// Whether the table gets triggers, the only thing of ours in it, that tell of every write.
    pub trigger: Option<bool>,
}

impl Collection {
    /// Whether it is a table that was there already.
    pub fn is_adopted(&self) -> bool {
        self.adopt.is_some() || self.table.is_some()
    }

    /// How long its answers are kept, where those of others are kept for `common`; none where it
    /// is no different.
    pub fn ttl_beside(&self, common: Duration) -> Option<Duration> {
        // Others write to such a table too, and do not tell, unless it has triggers.
        let is_untold = self.is_adopted() && self.trigger != Some(true);
        let adopted = is_untold.then_some(ADOPTED_TTL.min(common));
        self.ttl.or(adopted)
    }
}

/// Who made a table, and so how its rows look as points.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Adopt {
    Mem0,
    Langchain,
    LangchainJs,
    Llamaindex,
    Dify,
    OpenWebui,
    Anythingllm,
    Vecs,
    /// Somebody, by hand.
    Table,
}

impl Adopt {
    pub const ALL: [Self; 9] = [
        Self::Mem0,
        Self::Langchain,
        Self::LangchainJs,
        Self::Llamaindex,
        Self::Dify,
        Self::OpenWebui,
        Self::Anythingllm,
        Self::Vecs,
        Self::Table,
    ];

    /// As it is written in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mem0 => "mem0",
            Self::Langchain => "langchain",
            Self::LangchainJs => "langchain_js",
            Self::Llamaindex => "llamaindex",
            Self::Dify => "dify",
            Self::OpenWebui => "open_webui",
            Self::Anythingllm => "anythingllm",
            Self::Vecs => "vecs",
            Self::Table => "table",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Distance {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}
