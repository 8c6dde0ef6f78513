//! The files of the project, as text.

use std::fs;
use std::path::Path;

pub(crate) struct File {
    /// From the top of the project, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// What is compiled into the product.
    pub(crate) fn production(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests").next().unwrap()
    }

    /// The same without comments.
    pub(crate) fn code(&self) -> String {
        let bare = |line: &'_ str| line.split("//").next().unwrap_or_default().to_owned();
        self.production()
            .lines()
            .map(bare)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The module under `src` that this file belongs to; none for the roots.
    pub(crate) fn top_module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?.trim_end_matches(".rs");
        (first != "lib" && first != "main").then(|| first.to_owned())
    }

    /// Whether `name` is how people call this file: its path, or the last words of it
    /// (`limits` or `it::limits` for `tests/it/limits.rs`, `store::breaker` for its file).
    pub(crate) fn is_module(&self, name: &str) -> bool {
        let path = self.path.trim_end_matches(".rs");
        let path = path
            .trim_end_matches("/mod")
            .trim_end_matches("/main")
            .trim_end_matches("/tests");
        let name = name.trim_end_matches("::tests").replace("::", "/");
        path == name || path.ends_with(&format!("/{name}"))
    }

    /// Whether a test of this name stands here, or a story that is told once for each store
    /// (`name: super::story` in `stores!`).
    pub(crate) fn has_test(&self, name: &str) -> bool {
        let head = format!("fn {name}(");
        let story = format!("{name}: super::");
        let is_stores = self.text.contains("\nstores! {");
        let mut is_test = false;
        for line in self.text.lines().map(str::trim) {
            if is_stores && line.starts_with(&story) {
                return true;
            }
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if line.contains(&head) {
                return is_test;
            } else if !line.starts_with("#[") {
                is_test = false;
            }
        }
        false
    }
}

/// The Rust of the product, its files of tests left out.
pub(crate) fn sources() -> Vec<File> {
    let mut files = rust_under("src");
    files.retain(|file| !file.path.ends_with("/tests.rs"));
    files
}

/// Every file that may hold a test.
pub(crate) fn tests() -> Vec<File> {
    let mut files = rust_under("src");
    files.extend(rust_under("tests"));
    files
}

pub(crate) fn rust_under(folder: &str) -> Vec<File> {
    under(folder, |name| name.ends_with(".rs"))
}

/// Whatever people read or run, wherever it lies.
pub(crate) fn texts() -> Vec<File> {
    let folders = ["src", "config", "loadtest", "tests", ".ci"];
    let mut files: Vec<File> = folders
        .into_iter()
        .flat_map(|folder| under(folder, |_| true))
        .collect();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "docker-compose.yml",
    ] {
        files.extend(read(name));
    }
    files
}

/// A file at the top of the project, if it is there and is text.
pub(crate) fn read(path: &str) -> Option<File> {
    let text = fs::read_to_string(top().join(path)).ok()?;
    Some(File {
        path: path.to_owned(),
        text,
    })
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn under(folder: &str, wanted: fn(&str) -> bool) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(top().join(&folder)) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            if entry.path().is_dir() {
                if !name.starts_with("__") && name != "node_modules" {
                    folders.push(path);
                }
            } else if wanted(&name) {
                found.extend(read(&path));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// `a` and `b` of `crate::a::X` and `crate::{a::X, b}`.
pub(crate) fn modules_named(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim_start().chars().take_while(is_word).collect()
    };
    let mut named = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        // `pub(crate)` and the like have no path after them; `$crate::` does.
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(list) => named.extend(heads_of(list).map(word)),
            None => named.push(word(rest)),
        }
    }
    named.retain(|name| name.starts_with(char::is_lowercase));
    named
}

/// The begin of every path in a list, up to the brace that closes it.
fn heads_of(list: &str) -> impl Iterator<Item = &str> {
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, Some(0));
    for (at, letter) in list.char_indices() {
        match letter {
            '}' if depth == 0 => {
                heads.extend(start.map(|from| &list[from..at]));
                break;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.extend(start.map(|from| &list[from..at]));
                start = Some(at + 1);
            }
            _ => (),
        }
    }
    heads.into_iter().filter(|head| !head.trim().is_empty())
}

#[test]
fn modules_are_found_in_every_form_of_import() {
    let check = |code: &str, expected: &[&str]| assert_eq!(modules_named(code), expected, "{code}");
    check("use crate::net::Body;", &["net"]);
    check(
        "use crate::{net::{Body, Edge}, store, task::{self, Group}};",
        &["net", "store", "task"],
    );
    check(
        "use crate::{\n    net::Body,\n    store::Store,\n};",
        &["net", "store"],
    );
    check(
        "let x = crate::task::spawn(crate::model::Mode::ALL);",
        &["task", "model"],
    );
    check("pub(crate) fn a() {}", &[]);
    check("use crate::NAME;", &[]);
}

#[test]
fn a_test_is_known_by_its_module_and_its_name() {
    let text = "//! x\n\n#[test]\nfn one() {}\n\nfn two() {}\n\n#[tokio::test(start_paused = true)]\n\
                async fn three() {}\n";
    let file = File {
        path: "tests/it/limits.rs".to_owned(),
        text: text.to_owned(),
    };
    assert!(file.has_test("one") && file.has_test("three"));
    assert!(!file.has_test("two") && !file.has_test("on"));
    for name in ["limits", "it::limits", "tests::it::limits"] {
        assert!(file.is_module(name), "{name}");
    }
    assert!(!file.is_module("mits") && !file.is_module("it"));
    let text = "stores! {\n    embedded: super::EMBEDDED => {\n        four: super::told,\n";
    let stories = File {
        path: "tests/it/hostile.rs".to_owned(),
        text: format!("\n{text}"),
    };
    assert!(stories.has_test("four") && !stories.has_test("told"));
    let unit = File {
        path: "src/wire/recognise/tests.rs".to_owned(),
        text: String::new(),
    };
    assert!(unit.is_module("wire::recognise") && unit.is_module("wire::recognise::tests"));
}
