//! Paths into payloads, as SQL.
//!
//! A path stands in the text of a statement, not among its parameters: only so is an index on an
//! expression found, which has the same text. `qdrant-edge` does not show the steps of its paths,
//! so they are read from a path's own text; keys there hold anything but a double quote.

use qdrant_edge::JsonPath;
use serde_json::{Map, Value};

use crate::store::pgvector::payload;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::store::pgvector) struct Path(Vec<Step>);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::store::pgvector) enum Step {
    Key(String),
    Index(usize),
    Each,
}

impl Path {
    pub(in crate::store::pgvector) fn of(path: &JsonPath) -> Self {
        let text = path.to_string();
        let mut steps = Vec::new();
        let mut rest = text.as_str();
        while let Some(sign) = rest.chars().next() {
            // It leads nowhere already, and the SQL of a step is long.
            if steps.len() > payload::DEPTH_MAX {
                break;
            }
            let step;
            (step, rest) = match sign {
                '.' => {
                    rest = &rest[1..];
                    continue;
                }
                '"' => {
                    let (key, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
                    (Step::Key(key.to_owned()), after)
                }
                '[' => {
                    let (index, after) = rest[1..].split_once(']').unwrap_or((&rest[1..], ""));
                    (index.parse().map_or(Step::Each, Step::Index), after)
                }
                _ => {
                    let end = rest.find(['.', '[']).unwrap_or(rest.len());
                    (Step::Key(rest[..end].to_owned()), &rest[end..])
                }
            };
            steps.push(step);
        }
        Self(steps)
    }

    pub(in crate::store::pgvector) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether it leads through keys only, and so to one value at most.
    pub(in crate::store::pgvector) fn is_plain(&self) -> bool {
        let is_key = |step: &Step| matches!(step, Step::Key(_));
        self.0.iter().all(is_key)
    }

    /// Whether it goes on after `[]`.
    pub(in crate::store::pgvector) fn is_through_array(&self) -> bool {
        let through = |pair: &[Step]| matches!(pair, [Step::Each, Step::Key(_)]);
        self.0.windows(2).any(through)
    }

    /// The values that it leads to in a payload.
    pub(in crate::store::pgvector) fn values<'v>(
        &self,
        payload: &'v Map<String, Value>,
    ) -> Vec<&'v Value> {
        let mut steps = self.0.iter();
        let mut values: Vec<&Value> = match steps.next() {
            Some(Step::Key(key)) => payload.get(key).into_iter().collect(),
            Some(Step::Index(_) | Step::Each) | None => Vec::new(),
        };
        for step in steps {
            let next = |value: &'v Value| -> Vec<&'v Value> {
                match (step, value) {
                    (Step::Key(key), Value::Object(map)) => map.get(key).into_iter().collect(),
                    (Step::Index(index), Value::Array(items)) => {
                        items.get(*index).into_iter().collect()
                    }
                    (Step::Each, Value::Array(items)) => items.iter().collect(),
                    (Step::Key(_) | Step::Index(_) | Step::Each, _) => Vec::new(),
                }
            };
            values = values.into_iter().flat_map(next).collect();
        }
        values
    }

    /// The value that a plain path leads to, null when there is none.
    pub(in crate::store::pgvector) fn arrows(&self, root: &str) -> String {
        let mut sql = format!("({root}");
        for step in &self.0 {
            if let Step::Key(key) = step {
                sql.push_str("->");
                sql.push_str(&literal(&payload::escape(key)));
            }
        }
        sql.push(')');
        sql
    }

    /// The literal of a jsonpath. It is strict, so that no array is looked through unasked, and
    /// guarded at every step, so that a step that leads nowhere does not end the whole.
    pub(in crate::store::pgvector) fn jsonpath(&self) -> String {
        let mut path = String::from("strict $");
        for step in &self.0 {
            match step {
                Step::Key(key) => {
                    let mut quoted = String::new();
                    payload::write_string(key, &mut quoted);
                    path.push_str(&format!(" ? (exists(@.{quoted})).{quoted}"));
                }
                Step::Index(index) => {
                    path.push_str(&format!(" ? (exists(@[{index}]))[{index}]"));
                }
                Step::Each => path.push_str(" ? (@.type() == \"array\")[*]"),
            }
        }
        format!("{}::jsonpath", literal(&path))
    }

    /// All values that the path leads to, as a jsonb array.
    pub(in crate::store::pgvector) fn gathered(&self, root: &str) -> String {
        format!(
            "jsonb_path_query_array({root}, {}, '{{}}', true)",
            self.jsonpath()
        )
    }
}

/// A string of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::of(&text.parse().unwrap())
    }

    #[test]
    fn a_path_is_followed_no_deeper_than_a_payload_may_be() {
        let steps = |count: usize| path(&vec!["a"; count].join(".")).0.len();
        assert_eq!(steps(payload::DEPTH_MAX), payload::DEPTH_MAX);
        assert_eq!(steps(100_000), payload::DEPTH_MAX + 1);
    }

    #[test]
    fn the_steps_of_a_path_are_found() {
        let key = |key: &str| Step::Key(key.to_owned());
        let cases = [
            ("a", vec![key("a")]),
            ("a.b-c_d", vec![key("a"), key("b-c_d")]),
            ("a[].b", vec![key("a"), Step::Each, key("b")]),
            ("a[3][]", vec![key("a"), Step::Index(3), Step::Each]),
            (r#""a.b[0]".c"#, vec![key("a.b[0]"), key("c")]),
            (r#"a."é 本'".c"#, vec![key("a"), key("é 本'"), key("c")]),
        ];
        for (text, steps) in cases {
            assert_eq!(path(text).steps(), steps, "{text}");
        }
    }

    #[test]
    fn keys_are_quoted_for_json_and_for_sql() {
        assert_eq!(
            path(r#"a."o'b""#).arrows("c.payload"),
            "(c.payload->'a'->'o''b')"
        );
        assert_eq!(
            path(r#""o'b	"[2]"#.replace("\\t", "\t").as_str()).jsonpath(),
            r#"'strict $ ? (exists(@."o''b\u0009"))."o''b\u0009" ? (exists(@[2]))[2]'::jsonpath"#
        );
    }
}
