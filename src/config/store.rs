//! The settings of one store, which are the same for both roles. Which keys make sense depends on
//! the kind: one that is given and does not fit is a mistake, not ignored.

use std::time::Duration;

use super::build::TIMEOUT;
use super::mistake::{Mistake, Origin};
use super::raw::Key;
use super::read::{Reader, Section};
use super::read_secret::Alphabet;
use super::settings::Store;
use super::url::{QDRANT_GRPC_PORT, QDRANT_REST_PORT, StoreUrl};
use crate::model::{Role, StoreKind};

const QDRANT: &str = "http://HOST:PORT or https://, a path allowed, 6333 where no port is given";
const QDRANT_GRPC: &str = "http://HOST:PORT or https://, 6334 where no port is given";
const POSTGRES: &str = "postgres://USER@HOST/DATABASE";

/// Keys that only some kinds of store have.
const OF_KINDS: [(&str, &[StoreKind]); 7] = [
    ("path", &[StoreKind::Embedded]),
    ("ef_search", &[StoreKind::Embedded, StoreKind::Pgvector]),
    ("url", &[StoreKind::Qdrant, StoreKind::Pgvector]),
    ("grpc_url", &[StoreKind::Qdrant]),
    ("api_key", &[StoreKind::Qdrant]),
    ("http2", &[StoreKind::Qdrant]),
    ("tls_ca", &[StoreKind::Qdrant, StoreKind::Pgvector]),
];

/// `roles` has seen to it that there is a kind; where it is a wrong one, that is a mistake already.
pub(super) fn read_primary(reader: &mut Reader<'_>) -> Store {
    read_role(reader, Role::Primary).1
}

/// The secondary, if there is one. Its keys are known either way.
pub(super) fn read_secondary(reader: &mut Reader<'_>) -> Option<Store> {
    let (kind, store) = read_role(reader, Role::Secondary);
    if kind.is_none() {
        reader.hide(&Key::of(Role::Secondary.as_str()));
    }
    kind.map(|_| store)
}

fn read_role(reader: &mut Reader<'_>, role: Role) -> (Option<StoreKind>, Store) {
    let prefix = Key::of(role.as_str());
    let mut section = reader.section(prefix.clone());
    let kinds = StoreKind::ALL.map(|kind| (kind.as_str(), kind));
    let kind = section.maybe_choice("kind", &kinds);
    let store = read(&mut section, kind);
    if let Some(kind) = kind {
        misfits(&mut section, kind);
        check(&mut section, &store);
    } else if !section.is_present("kind")
        && let Some(given) = reader.layers.given_below(&prefix)
    {
        let problem = format!("is missing, though something is set in {prefix}");
        let mistake = Mistake::new(prefix.child("kind").to_string(), problem);
        let kinds = StoreKind::ALL.map(StoreKind::as_str).join(", ");
        reader.mistake(mistake.origin(Some(given.origin.clone())).allowed(kinds));
    }
    (kind, store)
}

fn read(section: &mut Section<'_, '_>, kind: Option<StoreKind>) -> Store {
    let url = match kind {
        Some(StoreKind::Pgvector) => section.maybe_url("url", POSTGRES, StoreUrl::parse_postgres),
        Some(StoreKind::Qdrant) => section.maybe_url("url", QDRANT, |text| {
            StoreUrl::parse_qdrant(text, QDRANT_REST_PORT)
        }),
        // There is nothing to check it by; that it should not be there is said elsewhere.
        Some(StoreKind::Embedded) | None => {
            section.maybe_url("url", "", |text| Ok(StoreUrl::unchecked(text)))
        }
    };
    Store {
        kind: kind.unwrap_or(StoreKind::Embedded),
        url,
        path: section.maybe_path("path"),
        grpc_url: section.maybe_url("grpc_url", QDRANT_GRPC, |text| {
            StoreUrl::parse_qdrant(text, QDRANT_GRPC_PORT)
        }),
        api_key: section.maybe_secret("api_key", Alphabet::Header),
        http2: section.switch("http2"),
        tls_ca: section.maybe_path("tls_ca"),
        connect_timeout: section.duration("connect_timeout", TIMEOUT),
        read_timeout: section.duration("read_timeout", TIMEOUT),
        write_timeout: section.duration("write_timeout", TIMEOUT),
        slow_timeout: section.duration("slow_timeout", TIMEOUT),
        idle_timeout: section.duration("idle_timeout", TIMEOUT),
        idle_connections_max: section.whole("idle_connections_max", "of connections", 0..=100_000),
        pool_size: section.whole("pool_size", "of connections", 1..=1_000),
        ef_search: section.maybe_whole("ef_search", "of candidates", 1..=1_000),
        breaker_failures: section.whole("breaker_failures", "of failures", 1..=1_000_000),
        breaker_open: section.duration("breaker_open", TIMEOUT),
        breaker_open_max: section.duration("breaker_open_max", TIMEOUT),
    }
}

fn misfits(section: &mut Section<'_, '_>, kind: StoreKind) {
    for (name, kinds) in OF_KINDS {
        let given = section
            .reader
            .layers
            .given_under(&section.prefix.child(name));
        let Some(given) = given.filter(|_| !kinds.contains(&kind)) else {
            continue;
        };
        let origin = given.origin.clone();
        let problem = format!("is given, and a store of kind {kind} has none");
        let mistake = section.mistake(name, problem).origin(Some(origin));
        section.reader.mistake(mistake.hint(format!(
            "remove it, or set {} to {}",
            section.prefix.child("kind"),
            kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ")
        )));
    }
}

fn check(section: &mut Section<'_, '_>, store: &Store) {
    if !section.is_present("url") {
        let variables = match store.kind {
            StoreKind::Qdrant => Some("OUTRIGGER_QDRANT_URL"),
            StoreKind::Pgvector => Some("DATABASE_URL"),
            StoreKind::Embedded => None,
        };
        if let Some(variable) = variables {
            let key = section.prefix.child("url");
            let problem = format!("is missing, and a store of kind {} needs one", store.kind);
            let mistake = section
                .mistake("url", problem)
                .origin(section.origin_of("kind"));
            section
                .reader
                .mistake(mistake.hint(format!("set {key}, or {variable}")));
        }
    }
    let is_plain_http = store.url.as_ref().is_some_and(|url| !url.is_tls());
    if store.kind == StoreKind::Qdrant && store.tls_ca.is_some() && is_plain_http {
        let problem = "is given, and the url is http://, which has no TLS";
        let mistake = section.mistake("tls_ca", problem);
        section
            .reader
            .mistake(mistake.hint("write https:// in the url, or remove it"));
    }
    // Zero stands for a value that was wrong, and has its mistake.
    let is_wrong = store.breaker_open_max == Duration::ZERO;
    if store.breaker_open > store.breaker_open_max && !is_wrong {
        let mistake = if section.origin_of("breaker_open") == Some(Origin::Default) {
            section.mistake("breaker_open_max", "is shorter than breaker_open")
        } else {
            section.mistake("breaker_open", "is longer than breaker_open_max")
        };
        section.reader.mistake(mistake);
    }
}
