use super::*;
use crate::config::{self, Env, Sources};

/// As the settings are read.
fn url(text: &str) -> StoreUrl {
    let env = [("OUTRIGGER_CACHE__REDIS_URL".to_owned(), text.to_owned())];
    let sources = Sources {
        file: None,
        default_file: None,
        env: Env::from_iter(env),
        flags: Vec::new(),
    };
    let loaded = config::load(sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    loaded.settings.cache.redis_url.unwrap()
}

fn parse(text: &str, password: Option<&str>) -> Result<RedisSettings> {
    let password = password.map(Secret::new);
    RedisSettings::new(&url(text), password.as_ref(), Vec::new())
}

fn shown(login: &Login) -> (Option<&str>, Option<&str>, i64) {
    let password = login.password.as_ref().map(Secret::expose);
    (login.user.as_deref(), password, login.number)
}

#[test]
fn an_address_says_how_redis_is_reached() {
    let alone = parse("redis://me:p%40ss@cache:6380/3?prefix=blue:", None).unwrap();
    assert!(matches!(alone.layout, Layout::Alone) && !alone.is_tls);
    assert_eq!(alone.nodes, [("cache".to_owned(), 6380)]);
    assert_eq!(shown(&alone.node_login), (Some("me"), Some("p@ss"), 3));
    assert_eq!(alone.prefix, "blue:");
    let cluster = parse("rediss-cluster://a?node=b:7001&node=c:7002", Some("pw")).unwrap();
    assert!(matches!(cluster.layout, Layout::Cluster) && cluster.is_tls);
    let nodes = [("a", 6379), ("b", 7001), ("c", 7002)];
    assert_eq!(
        cluster.nodes,
        nodes.map(|(host, port)| (host.to_owned(), port))
    );
    assert_eq!(shown(&cluster.node_login), (None, Some("pw"), 0));
    let text = "redis-sentinel://watch:word@s:26379/2?master=blue";
    let sentinels = parse(text, Some("pw")).unwrap();
    assert!(matches!(&sentinels.layout, Layout::Sentinels { master } if master == "blue"));
    assert_eq!(shown(&sentinels.node_login), (None, Some("pw"), 2));
    let theirs = shown(&sentinels.sentinel_login);
    assert_eq!(theirs, (Some("watch"), Some("word"), 0));
}

#[test]
fn what_cannot_be_meant_is_refused_and_no_password_is_told() {
    for wrong in [
        "redis://:s3cret@h/db",
        "redis://:s3cret@h/-1",
        "redis-cluster://:s3cret@h/1",
        "redis-cluster://:s3cret@h?node=b",
        "redis://:s3cret@h?proto=3",
    ] {
        let error = parse(wrong, None).unwrap_err();
        assert!(!error.chain().contains("s3cret"), "{}", error.chain());
    }
    let settings = parse("redis://:s3cret@h", Some("s3cret")).unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"));
}
