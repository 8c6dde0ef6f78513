use super::*;

fn layers_of(file: &str, variables: &[(&str, &str)]) -> (Layers, Vec<Mistake>) {
    let mut layers = Layers::default();
    let at = |line| Origin::File {
        path: "a.toml".to_owned(),
        line,
    };
    assert_eq!(layers.put_document(file, at), vec![]);
    let mistakes = put_env(&mut layers, &variables.iter().copied().collect());
    (layers, mistakes)
}

#[test]
fn every_key_has_a_variable() {
    let variables = [
        ("OUTRIGGER_LISTEN", "a"),
        ("OUTRIGGER_CACHE__MEMORY_MB", "b"),
        ("OUTRIGGER_server__TLS__Cert", "c"),
        ("OUTRIGGER_CACHE__TTL", ""),
        ("LISTEN", "d"),
    ];
    let (layers, mistakes) = layers_of("", &variables);
    assert_eq!(mistakes, vec![]);
    let found: Vec<_> = layers
        .iter()
        .map(|(key, given)| (key.to_string(), given.text().unwrap()))
        .collect();
    let expected = [
        ("cache.memory_mb", "b"),
        ("listen", "a"),
        ("server.tls.cert", "c"),
    ];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
    let variable = |key| variable_of(&Key::of(key));
    assert_eq!(variable("server.tls.cert"), "OUTRIGGER_SERVER__TLS__CERT");
    assert_eq!(
        variable("collections.memories.ttl"),
        "OUTRIGGER_COLLECTIONS__memories__TTL"
    );
}

#[test]
fn the_own_name_of_a_setting_gives_way_to_the_full_one() {
    let variables = [
        ("REDIS_URL", "redis://a"),
        ("VECTOR_STORE_MODE", "dual_read"),
    ];
    let (layers, _) = layers_of("[cache]\nredis_url = 'redis://f'\n", &variables);
    let text = |layers: &Layers, key: &str| layers.get(&Key::of(key)).unwrap().value.show();
    assert_eq!(text(&layers, "cache.redis_url"), "\"redis://a\"");
    assert_eq!(text(&layers, "mode"), "\"dual_read\"");

    let variables = [
        ("REDIS_URL", "redis://a"),
        ("OUTRIGGER_CACHE__REDIS_URL", "redis://b"),
    ];
    let (layers, _) = layers_of("", &variables);
    assert_eq!(text(&layers, "cache.redis_url"), "\"redis://b\"");
}

#[test]
fn a_collection_is_found_whatever_an_environment_name_can_hold() {
    let check = |file: &str, variable: &str, expected: &str| {
        let (layers, mistakes) = layers_of(file, &[(variable, "30s")]);
        assert_eq!(mistakes, vec![], "{variable}");
        let found = layers
            .iter()
            .find(|(_, given)| given.text() == Some("30s"))
            .unwrap()
            .0;
        assert_eq!(found.to_string(), expected, "{variable}");
    };
    check(
        "",
        "OUTRIGGER_COLLECTIONS__memories__TTL",
        "collections.memories.ttl",
    );
    check(
        "",
        "OUTRIGGER_COLLECTIONS__MEMORIES__TTL",
        "collections.memories.ttl",
    );
    check(
        "",
        "OUTRIGGER_COLLECTIONS__MyDocs__TTL",
        "collections.MyDocs.ttl",
    );
    check(
        "",
        "OUTRIGGER_COLLECTIONS__team__docs__TTL",
        "collections.team__docs.ttl",
    );
    let named = "[collections.\"my-docs.v2\"]\n[collections.MEMORIES]\n";
    check(
        named,
        "OUTRIGGER_COLLECTIONS__MY_DOCS_V2__TTL",
        "collections.\"my-docs.v2\".ttl",
    );
    check(
        named,
        "OUTRIGGER_COLLECTIONS__memories__TTL",
        "collections.MEMORIES.ttl",
    );
    check(
        named,
        "OUTRIGGER_COLLECTIONS__MEMORIES__TTL",
        "collections.MEMORIES.ttl",
    );

    let two = "[collections.my-docs]\n[collections.\"my.docs\"]\n";
    let (_, mistakes) = layers_of(two, &[("OUTRIGGER_COLLECTIONS__MY_DOCS__TTL", "1s")]);
    assert!(
        mistakes[0]
            .to_string()
            .contains("\"my-docs\" or \"my.docs\"")
    );
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let variables = [
        ("OUTRIGGER_SERVICE_HOST", "10.0.0.1"),
        ("OUTRIGGER_SERVICE_PORT", "6333"),
        ("OUTRIGGER_SERVICE_PORT_HTTP", "6333"),
        ("OUTRIGGER_PORT", "tcp://10.0.0.1:6333"),
        ("OUTRIGGER_PORT_6333_TCP", "tcp://10.0.0.1:6333"),
        ("OUTRIGGER_PORT_6333_TCP_ADDR", "10.0.0.1"),
        ("OUTRIGGER_ADMIN_SERVICE_PORT", "6330"),
        ("OUTRIGGER_TEST_POSTGRES", "x"),
        ("OUTRIGGER_BINARY", "x"),
        ("OUTRIGGER_LOG", "debug"),
        ("OUTRIGGER_LOG_FORMAT", "json"),
        ("OUTRIGGER_QDRANT_URL", "http://a"),
    ];
    let (layers, mistakes) = layers_of("", &variables);
    assert_eq!((layers.iter().count(), mistakes), (0, vec![]));
    let (layers, _) = layers_of("", &[("OUTRIGGER_PORT", "6333"), ("OUTRIGGER_LOG__X", "1")]);
    assert_eq!(
        layers.iter().count(),
        2,
        "these look like settings, and will be judged"
    );
}

#[test]
fn one_key_by_two_variables_is_a_mistake_unless_they_agree() {
    let twice = |a, b| layers_of("", &[("OUTRIGGER_LISTEN", a), ("OUTRIGGER_listen", b)]).1;
    assert_eq!(twice("a:1", "a:1"), vec![]);
    let shown = twice("a:1", "a:2")[0].to_string();
    assert!(
        shown.starts_with("listen: is set twice, also by OUTRIGGER_LISTEN"),
        "{shown}"
    );
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_no_text_is_a_mistake_only_when_it_is_ours() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(vec![0xff]);
    let env = Env::from_os([
        ("OUTRIGGER_LISTEN".into(), bad()),
        ("OTHER".into(), bad()),
        (bad(), "x".into()),
    ]);
    let mistakes = put_env(&mut Layers::default(), &env);
    assert_eq!(mistakes.len(), 1);
    assert_eq!(
        mistakes[0].to_string(),
        "OUTRIGGER_LISTEN: is not UTF-8 text"
    );
}

#[test]
fn debug_shows_no_values() {
    let env: Env = [("OPENAI_API_KEY", "s3cret")].into_iter().collect();
    assert_eq!(format!("{env:?}"), "{\"OPENAI_API_KEY\"}");
}
