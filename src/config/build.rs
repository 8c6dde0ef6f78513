//! From the layers to `Settings`: every key is asked for here, once, with what it allows.
//!
//! Where a value was wrong its place is taken by some harmless one, only so that the reading can
//! go on: settings with mistakes are never handed out.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::cutover::cutover;
use super::listen::Listen;
use super::mistake::Mistake;
use super::raw::Key;
use super::read::{Reader, Section};
use super::read_secret::Alphabet;
use super::settings::{
    Ack, Adopt, Auth, Cache, Collection, Control, Distance, Embeddings, Log, LogFormat, Mirror,
    Server, Settings, Shadow, TlsFiles,
};
use super::store::{read_primary, read_secondary};
use super::url::StoreUrl;
use crate::model::Mode;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);
const GIB: u64 = 1 << 30;

/// Past this, a timeout is a slip of the pen.
pub(super) const TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=DAY;
const LIFETIME: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(30 * 24 * 3600);

const LISTEN: &str = "HOST:PORT, as in \"127.0.0.1:6333\", \"localhost:6333\" or \"[::1]:6333\"";
const POSTGRES: &str = "postgres://USER@HOST/DATABASE";
const REDIS: &str = "redis://HOST:PORT/NUMBER or rediss://, also with -cluster or -sentinel";
const SERVICE: &str = "http:// or https://, a host, and a path";
/// Qdrant's own rules for the name of a collection.
const NAME_BYTES_MAX: usize = 255;
const NAME_FORBIDDEN: [char; 11] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*', '\0', '\u{1F}'];

pub(super) fn build(reader: &mut Reader<'_>) -> Settings {
    let mut top = reader.section(Key::default());
    Settings {
        listen: listen(&mut top, "listen"),
        admin_listen: listen(&mut top, "admin_listen"),
        grpc_listen: listen(&mut top, "grpc_listen"),
        data_dir: top.path("data_dir"),
        mode: mode(&mut top),
        insecure: top.switch("insecure"),
        qdrant_version: top
            .parsed("qdrant_version", "a version such as \"1.18.3\"", version)
            .unwrap_or_default(),
        vector_size: top.maybe_whole("vector_size", "", 1..=65536),
        max_body: top.bytes("max_body", 1024..=16 * GIB),
        shutdown_grace: top.duration("shutdown_grace", Duration::ZERO..=HOUR),
        fence_timeout: top.duration("fence_timeout", MILLISECOND..=Duration::from_secs(60)),
        read_failover: top.switch("read_failover"),
        filter_write_max_ids: top.whole("filter_write_max_ids", "of ids", 0..=100_000_000),
        server: server(reader.section(Key::of("server"))),
        primary: read_primary(reader),
        secondary: read_secondary(reader),
        auth: auth(reader.section(Key::of("auth"))),
        log: log(reader.section(Key::of("log"))),
        cache: cache(reader.section(Key::of("cache"))),
        mirror: mirror(reader.section(Key::of("mirror"))),
        shadow: shadow(reader.section(Key::of("shadow"))),
        cutover: cutover(reader.section(Key::of("cutover"))),
        embeddings: embeddings(reader.section(Key::of("embeddings"))),
        control: Control {
            url: reader.section(Key::of("control")).maybe_url(
                "url",
                POSTGRES,
                StoreUrl::parse_postgres,
            ),
        },
        collections: collections(reader),
        given: BTreeMap::new(),
    }
}

fn listen(section: &mut Section<'_, '_>, name: &str) -> Listen {
    section
        .parsed(name, LISTEN, Listen::parse)
        .unwrap_or_else(Listen::free_loopback)
}

fn mode(section: &mut Section<'_, '_>) -> Option<Mode> {
    section.maybe_choice("mode", &Mode::ALL.map(|mode| (mode.as_str(), mode)))
}

fn version(text: &str) -> Option<String> {
    let numbers = text
        .split('.')
        .filter(|word| word.parse::<u32>().is_ok())
        .count();
    (numbers == 3 && text.split('.').count() == 3).then(|| text.to_owned())
}

fn server(mut section: Section<'_, '_>) -> Server {
    let cert = section.maybe_path("tls.cert");
    let key = section.maybe_path("tls.key");
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => one_tls_file(&mut section, "tls.key", "tls.cert"),
        (None, Some(_)) => one_tls_file(&mut section, "tls.cert", "tls.key"),
    };
    Server {
        tls,
        header_timeout: section.duration("header_timeout", TIMEOUT),
        body_timeout: section.duration("body_timeout", TIMEOUT),
        idle_timeout: section.duration("idle_timeout", TIMEOUT),
        connections_max: section.whole("connections_max", "of connections", 1..=1_000_000),
        requests_max: section.whole("requests_max", "of requests", 1..=1_000_000),
        threads: section.maybe_whole("threads", "of threads", 1..=1024),
    }
}

fn one_tls_file(section: &mut Section<'_, '_>, missing: &str, given: &str) -> Option<TlsFiles> {
    // A path that was given and wrong has its own mistake already.
    if !section.is_present(missing) {
        let given = section.prefix.join(given);
        let mistake = section.mistake(missing, format!("is missing, though {given} is given"));
        section
            .reader
            .mistake(mistake.hint("give both files, or neither for plain HTTP"));
    }
    None
}

fn auth(mut section: Section<'_, '_>) -> Auth {
    Auth {
        api_key: section.maybe_secret("api_key", Alphabet::Header),
        read_only_api_key: section.maybe_secret("read_only_api_key", Alphabet::Header),
        admin_token: section.maybe_secret("admin_token", Alphabet::Header),
    }
}

fn log(mut section: Section<'_, '_>) -> Log {
    let formats = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
    ];
    Log {
        format: section
            .choice("format", &formats)
            .unwrap_or(LogFormat::Auto),
        filter: section.name("filter"),
    }
}

fn cache(mut section: Section<'_, '_>) -> Cache {
    Cache {
        enabled: section.switch("enabled"),
        memory_mb: section.whole("memory_mb", "of MiB", 1..=1_048_576),
        ttl: section.duration("ttl", LIFETIME),
        max_entry_kb: section.whole("max_entry_kb", "of KiB", 1..=1_048_576),
        redis_url: section.maybe_url("redis_url", REDIS, StoreUrl::parse_redis),
        redis_password: section.maybe_secret("redis_password", Alphabet::Any),
        redis_ttl: section.duration("redis_ttl", LIFETIME),
        settle: Duration::from_millis(section.whole("settle_ms", "of milliseconds", 0..=3_600_000)),
        l1_ttl_when_blind: section.duration("l1_ttl_when_blind", Duration::ZERO..=HOUR),
        stale_while_revalidate: section.maybe_duration("stale_while_revalidate", LIFETIME),
        stale_if_error: section.maybe_duration("stale_if_error", LIFETIME),
        vector_rounding: section.maybe_whole("vector_rounding", "of decimals", 1..=9),
    }
}

fn mirror(mut section: Section<'_, '_>) -> Mirror {
    let acks = [("authority", Ack::Authority), ("both", Ack::Both)];
    Mirror {
        ack: section.choice("ack", &acks).unwrap_or(Ack::Authority),
        doubt: section.duration("doubt", Duration::from_secs(1)..=HOUR),
        dry_run: section.switch("dry_run"),
    }
}

fn shadow(mut section: Section<'_, '_>) -> Shadow {
    Shadow {
        sample: section.share("sample"),
        baseline: section.share("baseline"),
        cutover: section.switch("cutover"),
        queue: section.whole("queue", "of reads", 1..=100_000),
        workers: section.whole("workers", "of reads", 1..=256),
        timeout: section.duration("timeout", TIMEOUT),
        window: section.duration("window", Duration::from_secs(60)..=30 * DAY),
        worst: section.whole("worst", "of reads", 0..=1000),
        keep_payloads: section.switch("keep_payloads"),
    }
}

fn embeddings(mut section: Section<'_, '_>) -> Embeddings {
    Embeddings {
        url: section
            .url("url", SERVICE, StoreUrl::parse_service)
            .unwrap_or_else(|| StoreUrl::unchecked("")),
        model: section.maybe_name("model"),
        api_key: section.maybe_secret("api_key", Alphabet::Header),
        cache: section.switch("cache"),
    }
}

fn collections(reader: &mut Reader<'_>) -> BTreeMap<String, Collection> {
    let table = Key::of("collections");
    reader.section(table.clone());
    let mut all = BTreeMap::new();
    for name in reader.layers.names_under("collections") {
        let prefix = table.child(&name);
        let is_bad = |c: char| NAME_FORBIDDEN.contains(&c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(is_bad) {
            let origin = reader
                .layers
                .given_under(&prefix)
                .map(|given| given.origin.clone());
            let mistake = Mistake::new(prefix.to_string(), "is no name for a collection");
            let allowed = "1 to 255 bytes, none of < > : \" / \\ | ? *";
            reader.mistake(mistake.origin(origin).allowed(allowed));
        }
        let collection = collection(reader.section(prefix));
        all.insert(name, collection);
    }
    all
}

fn collection(mut section: Section<'_, '_>) -> Collection {
    let makers = Adopt::ALL.map(|maker| (maker.as_str(), maker));
    let distances = [
        ("Cosine", Distance::Cosine),
        ("Dot", Distance::Dot),
        ("Euclid", Distance::Euclid),
        ("Manhattan", Distance::Manhattan),
    ];
    Collection {
        mode: mode(&mut section),
        cache: section.maybe_switch("cache"),
        ttl: section.maybe_duration("ttl", LIFETIME),
        tenant_key: section.maybe_name("tenant_key"),
        adopt: section.maybe_choice("adopt", &makers),
        table: section.maybe_name("table"),
        source: section.maybe_name("source"),
        discriminator: section.maybe_name("discriminator"),
        id: section.maybe_name("id"),
        vector: section.maybe_name("vector"),
        vectors: named_vectors(&mut section),
        size: section.maybe_whole("size", "of dimensions", 1..=16_000),
        payload: section.maybe_name("payload"),
        distance: section.maybe_choice("distance", &distances),
        writable: section.maybe_switch("writable"),
        trigger: section.maybe_switch("trigger"),
    }
}

/// `vectors.NAME = "COLUMN"`, the names being anybody's.
fn named_vectors(section: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    let prefix = section.prefix.child("vectors");
    let names = section.reader.layers.names_below(&prefix);
    let mut of = section.reader.section(prefix);
    let columns = names.into_iter().filter_map(|name| {
        let column = of.maybe_child(&name)?;
        Some((name, column))
    });
    columns.collect()
}
