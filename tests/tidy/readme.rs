//! The README's tables, as rows of cells.
//!
//! A table is found by its heading (`## Metrics`, at any depth). What a program reads of it stands
//! in backticks: the name of a metric in the first column of **Metrics**; in the last column of
//! **Guarantees** one `module::test_name` or more, where the module is as much of the path of a
//! file under `tests` or `src` as tells it apart (`limits`, `store::breaker`).

use crate::tree;

pub(crate) struct Readme {
    text: String,
}

impl Readme {
    pub(crate) fn read() -> Self {
        let file = tree::read("README.md").expect("there is a README.md");
        Self { text: file.text }
    }

    /// The rows of the first table under the heading, without its own head.
    pub(crate) fn table(&self, heading: &str) -> Vec<Vec<String>> {
        rows(&self.text, heading).unwrap_or_else(|| panic!("no table {heading} in the README"))
    }
}

fn rows(text: &str, heading: &str) -> Option<Vec<Vec<String>>> {
    let is_heading =
        |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
    let after = text.lines().skip_while(|line| !is_heading(line)).skip(1);
    let section = after.take_while(|line| !line.starts_with('#'));
    let table = section.skip_while(|line| !line.starts_with('|'));
    let mut lines = table.take_while(|line| line.starts_with('|'));
    // The names of the columns, and the line below them.
    lines.next()?;
    lines.next()?;
    Some(lines.map(cells).collect())
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// The one piece of code in a cell. Labels in braces after the name of a metric do not count.
pub(crate) fn code_in(cell: &str) -> String {
    let all = all_code_in(cell);
    let first = all
        .first()
        .unwrap_or_else(|| panic!("no name in backticks in {cell:?}"));
    first.split('{').next().unwrap().to_owned()
}

pub(crate) fn all_code_in(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_table_is_found_under_its_heading() {
    let text = "# A\n\n| no | this |\n|--|--|\n| x | y |\n\n## Metrics\n\nWords.\n\n\
                | name | meaning |\n|---|:--|\n| `a_total{b}` | x |\n| `c` | `d` and `e::f` |\n\nMore.\n";
    let found = rows(text, "Metrics").unwrap();
    assert_eq!(found, [["`a_total{b}`", "x"], ["`c`", "`d` and `e::f`"]]);
    assert_eq!(code_in(&found[0][0]), "a_total");
    assert_eq!(all_code_in(&found[1][1]), ["d", "e::f"]);
    assert!(rows(text, "Guarantees").is_none());
}
