//! What is refused, and how that is said.

use std::path::PathBuf;

use super::{TempFile, loaded, mistakes};
use crate::config::{Secret, Sources, TlsFiles, load};

#[test]
fn every_mistake_is_shown_at_once_with_what_is_allowed() {
    let text = r#"
listen = ":6333"
max_body = "a lot"
fence_timeout = 3
[cache]
memory_mb = "128"
ttl = "5 parsecs"
redis_url = "mysql://u:s3cret@h/d"
[shadow]
sample = 2
[mirror]
ack = "none"
[auth]
api_key = 5
admin_token = { env = "NO_SUCH_TOKEN" }
read_only_api_key = { file = "/no/such/file" }
[primary]
url = "postgres://u:s3cret/@h/d"
"#;
    let variables = [
        ("OUTRIGGER_CACHE__MEMORY_MB", "lots"),
        ("OUTRIGGER_CACHE__ENABLED", "perhaps"),
        ("VECTOR_SIZE", "-1"),
        ("VECTOR_STORE_MODE", "dual"),
    ];
    let expected = [
        "listen: \":6333\" is not allowed (from file FILE:2); allowed: HOST:PORT, as in \
         \"127.0.0.1:6333\", \"localhost:6333\" or \"[::1]:6333\"",
        "mode: \"dual\" is not allowed (from env VECTOR_STORE_MODE); allowed: primary_only, \
         dual_write, dual_read, cutover, secondary_only",
        "vector_size: \"-1\" is out of range (from env VECTOR_SIZE); allowed: 1 to 65536",
        "max_body: \"a lot\" is not a size (from file FILE:3); allowed: bytes as a number, or \
         with a unit as in \"256MiB\", from 1KiB to 16GiB",
        "fence_timeout: 3 is not a duration (from file FILE:4); allowed: a duration such as \
         \"300ms\" or \"5m\", from 1ms to 1m",
        "primary.url: \"postgres://u:***@h/d\" has a port that is no number, or characters to be \
         escaped (from file FILE:18); allowed: postgres://USER@HOST/DATABASE",
        "auth.api_key: *** is not a text (from file FILE:14); allowed: a text, { env = \"NAME\" } \
         or { file = \"PATH\" }",
        "auth.read_only_api_key: names the file /no/such/file, which cannot be read: No such file \
         or directory (os error 2) (from file FILE:16); a relative path starts in the working \
         directory",
        "auth.admin_token: names the environment variable NO_SUCH_TOKEN, which is not set or \
         empty (from file FILE:15); set NO_SUCH_TOKEN, or remove the setting",
        "cache.enabled: \"perhaps\" is neither true nor false (from env \
         OUTRIGGER_CACHE__ENABLED); allowed: true, false",
        "cache.memory_mb: \"lots\" is not a whole number of MiB (from env \
         OUTRIGGER_CACHE__MEMORY_MB); allowed: 1 to 1048576",
        "cache.ttl: \"5 parsecs\" is not a duration (from file FILE:7); allowed: a duration such \
         as \"300ms\" or \"5m\", from 1ms to 30days",
        "cache.redis_url: \"mysql://u:***@h/d\" is neither redis:// nor rediss://, with -cluster \
         or -sentinel (from file FILE:8); allowed: redis://HOST:PORT/NUMBER or rediss://, also \
         with -cluster or -sentinel",
        "mirror.ack: \"none\" is not allowed (from file FILE:12); allowed: authority, both",
        "shadow.sample: 2 is not a share (from file FILE:10); allowed: 0.0 (none) to 1.0 (all)",
    ];
    assert_eq!(mistakes("all", text, &variables), expected);
}

#[test]
fn a_number_in_quotes_is_a_mistake_in_a_file_and_right_in_a_variable() {
    let found = mistakes("quotes", "cache.memory_mb = '128'\n", &[]);
    assert!(found[0].contains("write it without quotes"), "{found:?}");
    assert!(loaded("unquoted", "", &[("OUTRIGGER_CACHE__MEMORY_MB", " 128 ")]).is_ok());
}

#[test]
fn an_unknown_key_is_refused_and_the_right_one_proposed() {
    let check = |text: &str, variables: &[(&str, &str)], expected: &str| {
        let found = mistakes("unknown", text, variables);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(expected), "{found:?}");
        assert!(!found[0].contains("s3cret"), "{found:?}");
    };
    check("cache.memroy_mb = 1", &[], "did you mean cache.memory_mb?");
    check("api_key = 's3cret'", &[], "did you mean auth.api_key?");
    check("[server]\nlisten = ':1'", &[], "did you mean listen?");
    check(
        "[collections.a]\ntll = '1s'",
        &[],
        "did you mean collections.a.ttl?",
    );
    check(
        "nonsense_of_all_kinds = 1",
        &[],
        "config/default.toml lists every setting",
    );
    check(
        "cache = 5",
        &[],
        "cache: is a table of settings, and was given a value (from file FILE:1)",
    );
    check("[cahce]", &[], "config/default.toml lists every setting");
    check(
        "[[secondary]]\nkind = 'qdrant'",
        &[],
        "was given a value (from file FILE:1)",
    );
    let of = |variable| [(variable, "s3cret")];
    check(
        "",
        &of("OUTRIGGER_CACHE_MEMORY_MB"),
        "did you mean OUTRIGGER_CACHE__MEMORY_MB?",
    );
    check(
        "",
        &of("OUTRIGGER_API_KEY"),
        "did you mean OUTRIGGER_AUTH__API_KEY?",
    );
    check(
        "",
        &of("OUTRIGGER_AUTH__API_KEY_FILE"),
        "did you mean OUTRIGGER_AUTH__API_KEY?",
    );
    check(
        "",
        &of("OUTRIGGER_DATABASE_URL"),
        "did you mean DATABASE_URL?",
    );
    check("", &of("OUTRIGGER_REDIS_URL"), "did you mean REDIS_URL?");
    check(
        "",
        &of("OUTRIGGER_QDRANT_ULR"),
        "did you mean OUTRIGGER_QDRANT_URL?",
    );
    assert_eq!(
        mistakes("empty tables", "[cache]\n[collections]\n[server]\n", &[]),
        [""; 0]
    );
}

#[test]
fn secrets_come_from_text_variable_or_file() {
    let held = TempFile::new("held", "from-file\r\n\n");
    let path = held.path.display().to_string();
    let text = format!(
        "[auth]\napi_key = 'plain'\nread_only_api_key = {{ env = 'K' }}\n\
         admin_token = {{ file = '{path}' }}\n"
    );
    let auth = loaded("secrets", &text, &[("K", "from-env")])
        .unwrap()
        .settings
        .auth;
    let secrets = [auth.api_key, auth.read_only_api_key, auth.admin_token];
    let secrets = secrets.map(|secret| secret.unwrap().expose().to_owned());
    assert_eq!(secrets, ["plain", "from-env", "from-file"]);

    let by_variable = [("OUTRIGGER_AUTH__API_KEY__FILE", path.as_str())];
    let auth = loaded(
        "override",
        &text,
        &[&by_variable[..], &[("K", "r")]].concat(),
    );
    assert_eq!(
        auth.unwrap().settings.auth.api_key.unwrap().expose(),
        "from-file"
    );
}

#[test]
fn an_empty_key_is_none_and_a_named_source_must_hold_something() {
    let auth = loaded("empty", "auth.api_key = ''", &[])
        .unwrap()
        .settings
        .auth;
    assert!(auth.api_key.is_none());
    let found = mistakes(
        "empty variable",
        "auth.api_key = { env = 'K' }",
        &[("K", "")],
    );
    assert!(
        found[0].contains("K, which is not set or empty"),
        "{found:?}"
    );
    let hollow = TempFile::new("hollow", "\n");
    let text = format!("auth.api_key = {{ file = '{}' }}", hollow.path.display());
    assert!(mistakes("empty file", &text, &[])[0].contains("which is empty"));
    let both = "auth.api_key = { env = 'K', file = 'F' }";
    assert!(mistakes("both", both, &[("K", "k")])[0].contains("in more than one way"));
    let odd = mistakes("odd", "auth.api_key = \"s3\\ncret\"", &[]);
    assert!(odd[0].contains("an HTTP header cannot carry"), "{odd:?}");
    assert!(!odd[0].contains("s3"), "{odd:?}");
    assert!(!mistakes("space", "auth.api_key = 's3cret '", &[]).is_empty());
    let auth = loaded("line break", "", &[("OUTRIGGER_AUTH__API_KEY", "s3cret\n")]);
    assert_eq!(
        auth.unwrap().settings.auth.api_key,
        Some(Secret::new("s3cret"))
    );
}

#[test]
fn a_broken_file_is_reported_with_what_is_wrong_elsewhere() {
    let text = "listen = \n[cache\nmode = 'dual_write'\n";
    let found = mistakes(
        "broken",
        text,
        &[("OUTRIGGER_CACHE__TTL", "x"), ("MODE", "y")],
    );
    assert!(
        found[0].starts_with("settings file: ") && found[0].contains("FILE:1"),
        "{found:?}"
    );
    assert!(
        found.last().unwrap().starts_with("cache.ttl: \"x\""),
        "{found:?}"
    );
    // The file may have named a second store, as the mode needs, and the variable of a secret.
    let found = mistakes(
        "broken too",
        "x = ",
        &[
            ("VECTOR_STORE_MODE", "dual_write"),
            ("OUTRIGGER_API_KEY", "k"),
        ],
    );
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_file_is_required_only_when_it_is_named() {
    let missing = || Some(PathBuf::from("/no/such/outrigger.toml"));
    assert!(
        load(Sources {
            default_file: missing(),
            ..Sources::default()
        })
        .is_ok()
    );
    let wrong = load(Sources {
        file: missing(),
        ..Sources::default()
    })
    .unwrap_err();
    assert!(
        wrong
            .to_string()
            .starts_with("settings file: /no/such/outrigger.toml cannot be read")
    );

    let default = TempFile::new("default", "listen = '127.0.0.1:9'");
    let default_file = Some(default.path.clone());
    let settings = load(Sources {
        default_file,
        ..Sources::default()
    })
    .unwrap()
    .settings;
    assert_eq!(settings.listen.port(), 9);
}

#[test]
fn a_store_has_what_its_kind_needs_and_nothing_else() {
    let check = |text: &str, expected: &[&str]| {
        let found = mistakes("store", text, &[]);
        assert_eq!(found.len(), expected.len(), "{text} {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    };
    check(
        "primary.kind = 'qdrant'",
        &["primary.url: is missing, and a store of kind qdrant needs one"],
    );
    check(
        "primary.kind = 'pgvector'",
        &["primary.url: is missing, and a store of kind pgvector"],
    );
    check(
        "primary.kind = 'chroma'",
        &["primary.kind: \"chroma\" is not allowed"],
    );
    check(
        "primary.url = 'chroma://x'",
        &["primary.kind: is missing, though something is set"],
    );
    check(
        "[secondary]\nread_timeout = '1s'",
        &["secondary.kind: is missing, though something"],
    );
    check(
        "[primary]\nkind = 'embedded'\nurl = 'http://q'\ngrpc_url = 'http://q'\n",
        &[
            "primary.url: is given, and a store of kind embedded",
            "primary.grpc_url: is given, and",
        ],
    );
    check(
        "[primary]\nurl = 'postgres://h/d'\napi_key = 'k'\nhttp2 = true\n",
        &[
            "primary.api_key: is given, and a store of kind pgvector has none",
            "primary.http2: is given",
        ],
    );
    check(
        "[primary]\nurl = 'http://q'\ntls_ca = 'ca.pem'\n",
        &["primary.tls_ca: is given, and the url"],
    );
    check(
        "[primary]\nbreaker_open = '1m'\n",
        &["primary.breaker_open: is longer"],
    );
    check(
        "[primary]\nbreaker_open_max = '1ms'\n",
        &["primary.breaker_open_max: is shorter"],
    );
}

#[test]
fn tls_takes_both_files_or_none() {
    let both = "[server.tls]\ncert = 'c'\nkey = 'k'\n";
    let tls = loaded("tls", both, &[]).unwrap().settings.server.tls;
    assert_eq!(
        tls,
        Some(TlsFiles {
            cert: "c".into(),
            key: "k".into()
        })
    );
    let found = mistakes("half", "[server.tls]\ncert = 'c'\n", &[]);
    assert!(
        found[0].starts_with("server.tls.key: is missing, though server.tls.cert"),
        "{found:?}"
    );
}

#[test]
fn a_collection_is_named_as_qdrant_allows() {
    let found = mistakes("names", "[collections.\"a/b\"]\nttl = '1s'\n", &[]);
    assert!(
        found[0].starts_with("collections.\"a/b\": is no name for a collection"),
        "{found:?}"
    );
    let settings = loaded("dots", "[collections.\"a.b\"]\ncache = false\n", &[])
        .unwrap()
        .settings;
    assert_eq!(settings.collections["a.b"].cache, Some(false));
}

#[test]
fn a_table_is_adopted_as_a_whole_and_by_a_store_that_has_tables() {
    let text = "[collections.a]\nid = 'x'\n[collections.b]\ntable = 't'\nsource = 's'\n\
                [collections.c]\nadopt = 'mem1'\n[collections.d.vectors]\n'a.b' = 'v'\n\
                [collections.e]\nadopt = 'mem0'\ncolumn = 'x'\n";
    let of = |kind: &str| mistakes("adopted", &format!("{text}[primary]\n{kind}\n"), &[]);
    let found = of("kind = 'pgvector'\nurl = 'postgres://u@h/d'");
    for expected in [
        "collections.c.adopt: \"mem1\" is not allowed",
        "collections.e.column: is not a setting",
        "collections.a.id: is given, and neither adopt nor table is",
        "collections.b.source: is given, and discriminator is not",
        "collections.d.vectors: is given, and neither adopt nor table is",
    ] {
        let has = found.iter().any(|mistake| mistake.contains(expected));
        assert!(has, "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
    let found = of("kind = 'embedded'");
    let expected = "collections.e.adopt: adopts a table, and no store is of kind pgvector";
    assert!(
        found.iter().any(|mistake| mistake.contains(expected)),
        "{found:#?}"
    );
}

#[test]
fn a_gate_that_could_never_open_and_a_guard_that_sees_nothing_are_mistakes() {
    let check = |more: &str, expected: &[&str]| {
        let text = format!(
            "primary.kind = 'embedded'\nsecondary.kind = 'qdrant'\nsecondary.url = 'http://h:1'\n{more}"
        );
        let found = mistakes("cutover", &text, &[]);
        assert_eq!(found, expected, "{more}");
    };
    let never = "cutover.window: goes further back than what shadow.window keeps, so the gate would \
                 never open (from file FILE:4); make it shorter, or shadow.window longer";
    check("cutover.window = '7h'\n", &[never]);
    let cure = "set shadow.cutover = true and shadow.sample above 0, or guard = false";
    let unseen = format!(
        "cutover.guard: judges by reads that are compared in cutover, and shadow.cutover is false \
         (from file FILE:4); {cure}"
    );
    check("cutover.guard = true\nshadow.cutover = false\n", &[&unseen]);
    let none = format!(
        "cutover.guard: judges by reads that are compared in cutover, and shadow.sample is 0 (from \
         file FILE:4); {cure}"
    );
    check("cutover.guard = true\nshadow.sample = 0.0\n", &[&none]);
    check(
        "cutover.top1 = 80\ncutover.guard_latency = 0.5\ncutover.guard_errors = '1%'\n",
        &[
            "cutover.top1: 80 is not a share (from file FILE:4); allowed: 0.0 (none) to 1.0 (all)",
            "cutover.guard_errors: \"1%\" is not a share (from file FILE:6); allowed: 0.0 (none) to \
             1.0 (all)",
            "cutover.guard_latency: 0.5 is out of range (from file FILE:5); allowed: 1.0 to 1000.0",
        ],
    );
    let off = "cutover.gate = false\ncutover.window = '7h'\nshadow.cutover = false\n";
    let both = format!(
        "primary.kind = 'embedded'\nsecondary.kind = 'qdrant'\nsecondary.url = 'http://h:1'\n{off}"
    );
    assert!(loaded("cutover", &both, &[]).is_ok());
}
