//! Words typed by a person, and what comes back: text, and an exit code that scripts can go by.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::process::{Process, run, run_in};
use crate::support::story;
use crate::support::wire::Wire;

const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

#[test]
fn with_no_settings_at_all_both_ports_open_and_the_store_is_there() {
    story(async {
        for words in [&["serve"][..], &[]] {
            let arguments = [words, &FREE].concat();
            let process = Process::serve(&arguments, &[], Folder::new()).await;
            let answer = Ask::get("/collections")
                .over(&mut Wire::connect(process.proxy).await)
                .await;
            assert_eq!(answer.status(), 200);
            let asked = async |path| {
                Ask::get(path)
                    .over(&mut Wire::connect(process.admin).await)
                    .await
            };
            assert_eq!(asked("/healthz").await.status(), 200);
            assert_eq!(asked("/readyz").await.status(), 200);
            process.signal("TERM");
            assert_eq!(process.exit_code().await, Some(0));
        }
    });
}

#[test]
fn the_file_in_its_usual_place_is_read_without_being_named() {
    story(async {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        folder.put("config/outrigger.toml", "max_body = \"77MiB\"\n");
        let run = run_in(folder, &["config", "check"], &[]).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(
            run.out.contains("77MiB") && run.out.contains("config/outrigger.toml:1"),
            "{}",
            run.out
        );
    });
}

#[test]
fn a_file_that_is_named_and_not_there_is_refused() {
    story(async {
        let run = run(&["serve", "--config", "not/there.toml"], &[]).await;
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains("not/there.toml"), "{}", run.err);
    });
}

#[test]
fn a_check_shows_what_is_in_force_and_where_it_is_from() {
    story(async {
        let folder = Folder::new();
        let file = folder.put(
            "some.toml",
            "shutdown_grace = \"7s\"\n\nserver.requests_max = 55\n",
        );
        let arguments = [
            "config",
            "check",
            "--config",
            file.to_str().unwrap(),
            "--listen",
            "127.0.0.1:4444",
        ];
        let variables = [
            ("QDRANT_URL", "http://qdrant.test:6333"),
            ("OUTRIGGER_CACHE__MEMORY_MB", "99"),
        ];
        let run = run_in(folder, &arguments, &variables).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        let line = |key: &str| {
            let found = run
                .out
                .lines()
                .find(|line| line.trim_start().starts_with(key));
            found.unwrap_or_else(|| panic!("{key} is not shown:\n{}", run.out))
        };
        for (key, value, origin) in [
            ("shutdown_grace", "7s", "some.toml:1"),
            ("server.requests_max", "55", "some.toml:3"),
            ("listen", "127.0.0.1:4444", "--listen"),
            ("primary.url", "http://qdrant.test:6333", "QDRANT_URL"),
            ("cache.memory_mb", "99", "OUTRIGGER_CACHE__MEMORY_MB"),
            ("admin_listen", "127.0.0.1:6330", "default"),
        ] {
            let line = line(key);
            assert!(line.contains(value) && line.contains(origin), "{line}");
        }
    });
}

const SECRETS: [(&str, &str); 6] = [
    ("OUTRIGGER_AUTH__API_KEY", "secret-one"),
    ("OUTRIGGER_AUTH__READ_ONLY_API_KEY", "secret-two"),
    ("OUTRIGGER_AUTH__ADMIN_TOKEN", "secret-three"),
    ("OUTRIGGER_QDRANT_API_KEY", "secret-four"),
    ("REDIS_PASSWORD", "secret-five"),
    ("OPENAI_API_KEY", "secret-six"),
];

#[test]
fn a_check_masks_secrets() {
    story(async {
        let mut variables = SECRETS.to_vec();
        variables.push(("OUTRIGGER_QDRANT_URL", "http://qdrant.test:6333"));
        variables.push(("REDIS_URL", "redis://user:secret-seven@redis.test:6379/0"));
        for arguments in [&["config", "check"][..], &["config", "check", "--json"]] {
            let run = run(arguments, &variables).await;
            assert_eq!(run.code, Some(0), "{run:?}");
            assert!(run.out.contains("redis.test"), "{}", run.out);
            assert!(!run.out.contains("secret-"), "{}", run.out);
            assert!(!run.err.contains("secret-"), "{}", run.err);
        }
    });
}

#[test]
fn wrong_settings_that_hold_secrets_are_refused_without_telling_them() {
    story(async {
        let mut variables = SECRETS.to_vec();
        variables.push(("OUTRIGGER_AUTH__APIKEY", "secret-eight"));
        variables.push(("DATABASE_URL", "postgres://user:secret-nine@h:port/db"));
        variables.push(("OUTRIGGER_QDRANT_URL", "http://user:secret-ten@qdrant.test"));
        let run = run(&["serve"], &variables).await;
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(!run.err.contains("secret-"), "{}", run.err);
    });
}

#[test]
fn a_check_for_programs_is_json() {
    story(async {
        let run = run(&["config", "check", "--json"], &[]).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        let report: Value = serde_json::from_str(&run.out).unwrap();
        assert!(report.to_string().contains("127.0.0.1:6333"), "{report}");
    });
}

#[test]
fn every_wrong_setting_is_told_at_once() {
    story(async {
        let folder = Folder::new();
        let text = "lisen = \"127.0.0.1:1\"\nshutdown_grace = \"soon\"\n\
                    server.requests_max = 0\nprimary.kind = \"milvus\"\nmax_body = \"a lot\"\n";
        let file = folder.put("wrong.toml", text);
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let run = run_in(folder, &arguments, &[("OUTRIGGER_CACHE__TTL", "5")]).await;
        assert_eq!(run.code, Some(2), "{run:?}");
        for (key, says) in [
            ("lisen", "did you mean listen"),
            ("shutdown_grace", "\"soon\""),
            ("server.requests_max", "0"),
            ("primary.kind", "qdrant, pgvector, embedded"),
            ("max_body", "\"a lot\""),
            ("cache.ttl", "OUTRIGGER_CACHE__TTL"),
        ] {
            let line = run.err.lines().find(|line| line.contains(key));
            let line = line.unwrap_or_else(|| panic!("{key} is not told:\n{}", run.err));
            assert!(says.split(", ").all(|word| line.contains(word)), "{line}");
        }
    });
}

#[test]
fn a_taken_port_is_told_with_its_cure() {
    story(async {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for flag in ["--listen", "--admin-listen"] {
            let other = if flag == "--listen" {
                "--admin-listen"
            } else {
                "--listen"
            };
            let run = run(&["serve", flag, &address, other, "127.0.0.1:0"], &[]).await;
            assert_eq!(run.code, Some(2), "{run:?}");
            for word in [address.as_str(), "taken", flag] {
                assert!(run.err.contains(word), "{word} in {}", run.err);
            }
        }
    });
}

#[test]
fn listening_beyond_loopback_without_a_key_is_refused_with_its_cure() {
    story(async {
        let url = ("QDRANT_URL", "http://127.0.0.1:1");
        for listen in ["0.0.0.0:0", "[::]:0", "198.51.100.1:0"] {
            for flag in ["--listen", "--admin-listen"] {
                let other = if flag == "--listen" {
                    "--admin-listen"
                } else {
                    "--listen"
                };
                let arguments = ["serve", flag, listen, other, "127.0.0.1:0"];
                let run = run(&arguments, &[url]).await;
                assert_eq!(run.code, Some(2), "{run:?}");
                let secret = if flag == "--listen" {
                    "auth.api_key"
                } else {
                    "auth.admin_token"
                };
                for word in [secret, "insecure"] {
                    assert!(run.err.contains(word), "{word} in {}", run.err);
                }
            }
        }
    });
}

#[test]
fn listening_beyond_loopback_is_allowed_with_a_key_or_when_somebody_says_so() {
    story(async {
        let url = ("QDRANT_URL", "http://127.0.0.1:1");
        let key = [
            ("OUTRIGGER_AUTH__API_KEY", "k"),
            ("OUTRIGGER_AUTH__ADMIN_TOKEN", "t"),
            url,
        ];
        let said = [("OUTRIGGER_INSECURE", "true"), url];
        for variables in [&key[..], &said] {
            let arguments = [
                "serve",
                "--listen",
                "0.0.0.0:0",
                "--admin-listen",
                "0.0.0.0:0",
            ];
            let process = Process::serve(&arguments, variables, Folder::new()).await;
            process.signal("TERM");
            assert_eq!(process.exit_code().await, Some(0));
        }
    });
}

#[test]
fn words_that_mean_nothing_are_wrong_usage() {
    story(async {
        for arguments in [&["frobnicate"][..], &["serve", "--frobnicate"], &["config"]] {
            let run = run(arguments, &[]).await;
            assert_eq!(run.code, Some(2), "{run:?}");
            assert!(!run.err.is_empty());
        }
    });
}

#[test]
fn help_and_version_are_no_failure() {
    story(async {
        for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
            let run = run(arguments, &[]).await;
            assert_eq!(run.code, Some(0), "{run:?}");
            assert!(run.out.contains("outrigger"), "{}", run.out);
        }
        let version = run(&["--version"], &[]).await;
        assert!(
            version.out.contains(env!("CARGO_PKG_VERSION")),
            "{}",
            version.out
        );
    });
}

#[test]
fn a_certificate_that_cannot_be_read_stops_the_start() {
    story(async {
        let folder = Folder::new();
        folder.put("cert.pem", "no certificate");
        folder.put("key.pem", "no key");
        let variables = [
            ("OUTRIGGER_SERVER__TLS__CERT", "cert.pem"),
            ("OUTRIGGER_SERVER__TLS__KEY", "key.pem"),
            ("QDRANT_URL", "http://127.0.0.1:1"),
        ];
        let arguments = [&["serve"][..], &FREE].concat();
        let run = run_in(folder, &arguments, &variables).await;
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains("cert.pem"), "{}", run.err);
    });
}

#[test]
fn a_setting_without_effect_yet_is_told_at_the_start() {
    story(async {
        let arguments = [&["serve"][..], &FREE].concat();
        let variables = [
            ("OUTRIGGER_EMBEDDINGS__MODEL", "m"),
            ("QDRANT_URL", "http://127.0.0.1:1"),
        ];
        let process = Process::serve(&arguments, &variables, Folder::new()).await;
        let line = process.says("no effect").await;
        assert!(line.contains("embeddings.model"), "{line}");
    });
}
