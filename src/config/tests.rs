//! The room as a whole: the documents that come with it, and what wins over what.

mod mistakes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::build::build;
use super::env::put_env;
use super::load::DEFAULTS;
use super::raw::{Key, Layers};
use super::read::{Need, Reader};
use super::*;
use crate::model::{Mode, StoreKind};

fn env(variables: &[(&str, &str)]) -> Env {
    variables.iter().copied().collect()
}

fn repository_file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).join(name)
}

/// A settings file that is gone when the test ends.
struct TempFile {
    path: PathBuf,
}

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("outrigger-config-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self { path }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Loads a file with this text, and the lines of what is wrong, its path written as `FILE`.
fn loaded(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let file = TempFile::new(name, text);
    let path = file.path.display().to_string();
    let file = Some(file.path.clone());
    let outcome = load(Sources {
        file,
        env: env(variables),
        ..Sources::default()
    });
    outcome.map_err(|mistakes| {
        mistakes
            .to_string()
            .replace(&path, "FILE")
            .lines()
            .map(str::to_owned)
            .collect()
    })
}

fn mistakes(name: &str, text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    loaded(name, text, variables).err().unwrap_or_default()
}

#[test]
fn without_any_settings_everything_has_its_documented_default() {
    let settings = load(Sources::default()).unwrap().settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:6333");
    assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:6330");
    assert_eq!(settings.grpc_listen.to_string(), "127.0.0.1:6334");
    assert_eq!(settings.data_dir, PathBuf::from("outrigger_data"));
    assert_eq!(settings.mode, None);
    assert_eq!(settings.primary.kind, StoreKind::Embedded);
    assert!(settings.secondary.is_none());
    assert_eq!(settings.max_body, 256 << 20);
    assert_eq!(settings.fence_timeout, Duration::from_secs(3));
    assert!(!settings.read_failover);
    assert_eq!(settings.cache.memory_mb, 128);
    assert!(settings.cache.redis_url.is_none());
    assert_eq!(settings.mirror.ack, Ack::Authority);
    assert_eq!(settings.primary.idle_timeout, Duration::from_secs(4));
    assert!(settings.given.is_empty());
    assert_eq!(settings.not_served_yet(), Vec::<String>::new());
}

/// The keys of `default.toml`: those that have a value, and those that are commented out.
fn documented() -> BTreeMap<String, Need> {
    let mut table = String::new();
    let mut keys = BTreeMap::new();
    for line in DEFAULTS.lines() {
        let (is_comment, line) = match line.strip_prefix("# ") {
            Some(line) => (true, line),
            None => (false, line),
        };
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            table = format!("{name}.");
            continue;
        }
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        let is_key = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
        if is_key {
            let need = if is_comment {
                Need::Optional
            } else {
                Need::Default
            };
            keys.insert(format!("{table}{name}"), need);
        }
    }
    keys
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_read() {
    let env = env(&[("OUTRIGGER_COLLECTIONS__memories__TTL", "1s")]);
    let mut layers = Layers::default();
    assert_eq!(layers.put_document(DEFAULTS, |_| Origin::Default), vec![]);
    assert_eq!(put_env(&mut layers, &env), vec![]);
    let mut reader = Reader::new(&layers, &env);
    build(&mut reader);
    let asked: BTreeMap<String, Need> = reader
        .asked
        .iter()
        .map(|(key, need)| (key.to_string(), *need))
        .collect();
    assert_eq!(asked, documented());
}

#[test]
fn commented_out_keys_are_right_when_the_comment_is_removed() {
    let example = DEFAULTS
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.starts_with('[') && setting.ends_with(']') => setting,
            Some(setting)
                if setting
                    .split_once(" = ")
                    .is_some_and(|(name, _)| !name.contains(' ') && !name.contains('.')) =>
            {
                setting
            }
            Some(_) | None => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
        // An embedded store has none of the things that are shown for the others, http has no CA,
        // and the secret's file is not here.
        .replace("kind = \"embedded\"", "kind = \"qdrant\"")
        .replacen(
            "url = \"http://127.0.0.1:6343\"",
            "url = \"https://10.0.0.9\"",
            1,
        )
        .replacen(
            "url = \"http://127.0.0.1:6343\"",
            "url = \"https://10.0.0.8\"",
            1,
        )
        .replace(
            "{ file = \"/run/secrets/outrigger_admin_token\" }",
            "\"token\"",
        );
    let secrets = [
        ("OUTRIGGER_QDRANT_API_KEY", "q"),
        ("OUTRIGGER_API_KEY", "k"),
        ("OUTRIGGER_READ_ONLY_API_KEY", "r"),
        ("REDIS_PASSWORD", "p"),
        ("OPENAI_API_KEY", "o"),
    ];
    let mut found = mistakes("uncommented", &example, &secrets);
    // Both stores are Qdrants here.
    found.retain(|mistake| {
        !mistake.contains("no store is of kind pgvector")
            && !mistake.contains("ary.path: is given")
            && !mistake.contains("ary.ef_search: is given")
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_example_is_right_and_is_of_its_mode() {
    for mode in Mode::ALL {
        let file = repository_file(&format!("example.{mode}.toml"));
        let text = std::fs::read_to_string(&file).unwrap();
        // Every secret that it names, and the one address it leaves out.
        let named = text
            .lines()
            .filter_map(|line| Some(line.split_once("env = \"")?.1));
        let named = named.map(|rest| rest.split_once('"').unwrap().0);
        let secrets = named.map(|name| (name, format!("s3cret of {name}")));
        let database = "postgres://outrigger:s3cret@127.0.0.1/app".to_owned();
        let env = secrets.chain([("DATABASE_URL", database)]).collect();
        let loaded = load(Sources {
            file: Some(file),
            env,
            ..Sources::default()
        });
        let Loaded { settings, report } = loaded.unwrap_or_else(|wrong| panic!("{mode}: {wrong}"));
        assert_eq!(settings.mode, Some(mode));
        assert_eq!(settings.secondary.is_some(), mode.needs_secondary());
        let shown = format!("{report} {} {settings:?}", report.to_json());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let folder = std::fs::read_dir(repository_file("")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name.ends_with(".toml")).collect();
    let known = Mode::ALL.map(|mode| format!("example.{mode}.toml"));
    let unknown: Vec<_> = names
        .iter()
        .filter(|name| *name != "default.toml" && !known.contains(name))
        .collect();
    assert!(unknown.is_empty(), "no test reads {unknown:?}");
}

#[test]
fn the_outline_of_the_design_is_right() {
    let text = r#"
listen = "127.0.0.1:6333"
admin_listen = "127.0.0.1:6330"
data_dir = "outrigger_data"
mode = "dual_read"                     # only until a mode has been set

[primary]
kind = "pgvector"                      # pgvector | qdrant | embedded
url = "postgres://outrigger@127.0.0.1/app"
[secondary]
kind = "qdrant"
url = "http://127.0.0.1:6343"
grpc_url = "http://127.0.0.1:6344"     # optional, for the bulk paths
api_key = { env = "OUTRIGGER_QDRANT_API_KEY" }

[cache]
enabled = true
memory_mb = 128
ttl = "5m"
redis_url = "redis://127.0.0.1:6379/0"
redis_ttl = "1h"
[mirror]
ack = "authority"
[shadow]
sample = 0.1
[embeddings]
url = "https://api.openai.com/v1"
model = "text-embedding-3-small"
[auth]
api_key = { env = "OUTRIGGER_API_KEY" }
[collections.memories]
mode = "dual_write"
tenant_key = "user_id"
ttl = "30s"
"#;
    let secrets = [
        ("OUTRIGGER_QDRANT_API_KEY", "q"),
        ("OUTRIGGER_API_KEY", "k"),
    ];
    let settings = loaded("outline", text, &secrets).unwrap().settings;
    assert_eq!(
        settings.primary.url.unwrap().expose(),
        "postgresql://outrigger@127.0.0.1/app"
    );
    let secondary = settings.secondary.unwrap();
    assert_eq!(secondary.grpc_url.unwrap().authority(), "127.0.0.1:6344");
    assert_eq!(secondary.api_key.unwrap().expose(), "q");
    assert_eq!(settings.auth.api_key.unwrap().expose(), "k");
    let memories = &settings.collections["memories"];
    assert_eq!(
        (memories.mode, memories.ttl),
        (Some(Mode::DualWrite), Some(Duration::from_secs(30)))
    );
}

#[test]
fn a_later_layer_wins_and_the_report_says_which() {
    let text = "listen = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:2'\n[cache]\nttl = '90s'\n\
                memory_mb = 64\n[auth]\napi_key = { env = 'MY_KEY' }\n";
    let file = TempFile::new("layers", text);
    let variables = [
        ("OUTRIGGER_ADMIN_LISTEN", "127.0.0.1:3"),
        ("OUTRIGGER_LISTEN", "127.0.0.1:4"),
        ("OUTRIGGER_CACHE__MEMORY_MB", "256"),
        ("OUTRIGGER_SHADOW__SAMPLE", "1"),
        ("OUTRIGGER_INSECURE", "yes"),
        ("MY_KEY", "s3cret"),
        ("DATABASE_URL", "postgres://u:s3cret@h/d"),
        ("RUST_LOG", "debug"),
    ];
    let flags = vec![
        (
            "listen".to_owned(),
            "127.0.0.1:5".to_owned(),
            "--listen".to_owned(),
        ),
        (
            "log.filter".to_owned(),
            "warn".to_owned(),
            "--log".to_owned(),
        ),
    ];
    let file_path = Some(file.path.clone());
    let sources = Sources {
        file: file_path,
        env: env(&variables),
        flags,
        ..Sources::default()
    };
    let Loaded { settings, report } = load(sources).unwrap();
    assert_eq!(settings.listen.port(), 5);
    assert_eq!(settings.cache.memory_mb, 256);

    let shown = report
        .to_string()
        .replace(&file.path.display().to_string(), "FILE");
    let lines: Vec<String> = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for expected in [
        "listen = \"127.0.0.1:5\" # from flag --listen",
        "admin_listen = \"127.0.0.1:3\" # from env OUTRIGGER_ADMIN_LISTEN",
        "cache.ttl = \"90s\" # from file FILE:4",
        "cache.memory_mb = 256 # from env OUTRIGGER_CACHE__MEMORY_MB",
        "cache.max_entry_kb = 1024 # from default",
        "shadow.sample = 1.0 # from env OUTRIGGER_SHADOW__SAMPLE",
        "insecure = true # from env OUTRIGGER_INSECURE",
        "auth.api_key = \"***\" # from file FILE:7, env MY_KEY",
        "primary.kind = \"pgvector\" # from env DATABASE_URL",
        "primary.url = \"postgresql://u:***@h/d\" # from env DATABASE_URL",
        "log.filter = \"debug\" # from env RUST_LOG",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}\n{shown}"
        );
    }
    assert!(!shown.contains("secondary."), "there is none");
    assert!(
        lines.is_sorted_by_key(|line| line.split(' ').next().map(str::to_owned)),
        "{shown}"
    );
    let json = report.to_json();
    assert_eq!(json["settings"]["cache.memory_mb"]["value"], 256);
    assert_eq!(json["settings"]["listen"]["from"], "flag --listen");
}

#[test]
fn what_is_set_and_does_nothing_yet_is_named() {
    let text = "listen = '127.0.0.1:1'\n[cache]\nttl = '1s'\n[primary]\nurl = 'http://q'\n\
                grpc_url = 'http://q'\n[collections.a]\nttl = '1s'\nmode = 'primary_only'\n";
    let settings = loaded("idle", text, &[("REDIS_URL", "redis://h")])
        .unwrap()
        .settings;
    let expected = ["primary.grpc_url"];
    assert_eq!(settings.not_served_yet(), expected);
}

#[test]
fn answers_of_adopted_tables_are_kept_for_five_seconds_unless_told() {
    let of = |own: &str| {
        let text = format!(
            "[primary]\nkind = 'pgvector'\nurl = 'postgres://u@h/d'\n[collections.a]\n{own}\n"
        );
        let settings = loaded("adopted ttl", &text, &[]).unwrap().settings;
        settings.collections["a"].ttl_beside(settings.cache.ttl)
    };
    let seconds = |count| Some(Duration::from_secs(count));
    assert_eq!(of("adopt = 'mem0'"), seconds(5));
    assert_eq!(of("adopt = 'mem0'\nttl = '60s'"), seconds(60));
    assert_eq!(of("adopt = 'mem0'\ntrigger = true"), None);
    assert_eq!(of("tenant_key = 'user_id'"), None);
}

#[test]
fn variables_that_are_not_used_are_noted() {
    let report = loaded(
        "notes",
        "primary.kind = 'embedded'",
        &[("QDRANT_URL", "http://q")],
    );
    let report = report.unwrap().report;
    assert_eq!(
        report.notes,
        ["QDRANT_URL is not used: no store is of kind qdrant"]
    );
    assert!(
        report
            .to_string()
            .ends_with("\n# QDRANT_URL is not used: no store is of kind qdrant\n")
    );
}

#[test]
fn keys_are_written_so_that_toml_reads_them_back() {
    let key = Key::of("collections").child("my docs.v2").child("ttl");
    let mut layers = Layers::default();
    let text = format!("{key} = '1s'\n");
    assert_eq!(layers.put_document(&text, |_| Origin::Default), vec![]);
    assert!(layers.get(&key).is_some());
}
