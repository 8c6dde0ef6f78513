//! The shape of the source tree and of the README, checked like any other behaviour.
//!
//! It reads text, not types: a path hidden behind a re-export can fool it. That is enough for
//! people of good will.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

mod readme;
mod tree;

use std::collections::BTreeSet;

use tree::File;

/// Lowest first. A module names modules of lower floors only, never a neighbour.
const FLOORS: &[&[&str]] = &[
    &["error", "clock", "task", "stage"],
    &["model"],
    &["compare", "config", "metrics", "wire"],
    &["net"],
    &["store", "cache", "journal"],
    &["mode", "sync"],
    &["shadow", "portability"],
    &["proxy"],
    &["admin"],
    &["app"],
    &["cli"],
];

/// Production lines of one file; its tests do not count.
const LINES_MAX: usize = 500;

/// Names that gather whatever has no place of its own.
const NO_NAMES: [&str; 5] = ["util", "utils", "common", "types", "helpers"];

fn floor_of(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| panic!("give {module} a floor in tests/tidy"))
}

#[test]
fn modules_name_lower_floors_only() {
    let mut wrong = Vec::new();
    for file in tree::sources() {
        let code = file.code();
        let Some(home) = file.top_module() else {
            continue;
        };
        for named in tree::modules_named(&code) {
            if named != home && floor_of(&named) >= floor_of(&home) {
                wrong.push(format!("{home} names {named} in {}", file.path));
            }
        }
        if code.contains("super::super") {
            wrong.push(format!("super::super hides a floor in {}", file.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_floor_and_every_floor_its_modules() {
    let modules: BTreeSet<String> = tree::sources()
        .iter()
        .filter_map(File::top_module)
        .collect();
    let placed: BTreeSet<String> = FLOORS
        .iter()
        .flat_map(|floor| floor.iter())
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(modules, placed);
}

#[test]
fn the_crates_map_shows_the_floors_as_they_are() {
    let sources = tree::sources();
    let root = sources
        .iter()
        .find(|file| file.path == "src/lib.rs")
        .unwrap();
    let map = root
        .text
        .split("```")
        .nth(1)
        .expect("a map in the header of lib.rs");
    let rows = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! ").filter(|row| !row.is_empty()));
    let shown: Vec<BTreeSet<&str>> = rows.map(first_words).collect();
    // The map may put two of our floors in one row, saying in which order they stand.
    let mut floors = FLOORS
        .iter()
        .rev()
        .map(|floor| floor.iter().copied().collect::<BTreeSet<_>>());
    for row in shown {
        let mut told = BTreeSet::new();
        while told.len() < row.len() {
            told.extend(
                floors
                    .next()
                    .unwrap_or_else(|| panic!("{row:?} is no floor of ours")),
            );
        }
        assert_eq!(told, row, "the map of lib.rs and the floors differ");
    }
    assert_eq!(floors.next(), None, "a floor is not on the map of lib.rs");
}

/// The modules at the begin of a row of the map: words two spaces apart, then, after more, prose.
fn first_words(row: &str) -> BTreeSet<&str> {
    let modules = row.split("   ").next().unwrap();
    modules.split_whitespace().collect()
}

#[test]
fn a_file_is_read_in_one_sitting() {
    let long: Vec<String> = tree::sources()
        .iter()
        .map(|file| (file, file.production().lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect();
    assert!(
        long.is_empty(),
        "over {LINES_MAX} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    // A file of tests belongs to the file it tests.
    let own = |file: &&File| !file.path.ends_with("/tests.rs");
    let silent: Vec<String> = tree::sources()
        .iter()
        .chain(&tree::rust_under("tests"))
        .filter(own)
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path.clone())
        .collect();
    assert!(silent.is_empty(), "no header in {silent:?}");
}

#[test]
fn no_file_is_a_drawer_for_everything() {
    for file in tree::sources() {
        let words = file
            .path
            .split('/')
            .map(|word| word.trim_end_matches(".rs"));
        for word in words {
            assert!(
                !NO_NAMES.contains(&word),
                "{} says nothing of what is in it",
                file.path
            );
        }
    }
}

#[test]
fn no_file_speaks_of_the_machine_it_was_written_on() {
    // Written so that this file does not hold them itself.
    let words = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["Clau", "de"],
        ["Chat", "GPT"],
    ];
    let words = words.map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for file in tree::texts() {
        for word in &words {
            if file.text.contains(word.as_str()) {
                wrong.push(format!("{word} in {}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_readmes_table_of_metrics_is_the_table_of_the_code() {
    let readme = readme::Readme::read();
    let told: Vec<String> = readme
        .table("Metrics")
        .into_iter()
        .map(|row| readme::code_in(&row[0]))
        .collect();
    let listed: BTreeSet<&String> = told.iter().collect();
    assert_eq!(
        listed.len(),
        told.len(),
        "a metric stands twice in {told:?}"
    );
    let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    let named: BTreeSet<&str> = outrigger::metrics::NAMES
        .iter()
        .map(|name| name.name)
        .collect();
    let missing: Vec<_> = named.difference(&told).collect();
    let invented: Vec<_> = told.difference(&named).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    assert!(invented.is_empty(), "only in the README: {invented:?}");
}

#[test]
fn every_guarantee_of_the_readme_names_a_test_that_exists() {
    let tests = tree::tests();
    let rows = readme::Readme::read().table("Guarantees");
    assert!(!rows.is_empty(), "the README guarantees nothing");
    for row in rows {
        let named = readme::all_code_in(row.last().unwrap());
        assert!(!named.is_empty(), "no test is named for: {}", row[0]);
        for name in named {
            let (module, test) = name
                .rsplit_once("::")
                .unwrap_or_else(|| panic!("{name} is no `module::test_name`, for: {}", row[0]));
            let found = tests
                .iter()
                .any(|file| file.is_module(module) && file.has_test(test));
            assert!(found, "there is no test {name}, for: {}", row[0]);
        }
    }
}
