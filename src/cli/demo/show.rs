//! The demo's outcome, for a person or for a program.

use std::time::Duration;

use serde_json::{Value, json};

use super::searches::{Found, Row};

/// What was done before the first search, and how long it took.
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) took: Duration,
}

pub(super) struct Outcome {
    pub(super) points: usize,
    pub(super) steps: Vec<Step>,
    pub(super) found: Vec<Found>,
    pub(super) total: Duration,
}

impl Outcome {
    /// A search without an answer means that something is wrong: there is one for each.
    pub(super) fn is_complete(&self) -> bool {
        self.found.iter().all(|found| !found.rows.is_empty())
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "{} memories of three people, in the embedded store, asked over Qdrant's REST API.\n\n",
            self.points
        );
        for step in &self.steps {
            line(&mut text, &timed(step.what, step.took));
        }
        for Found { search, took, rows } in &self.found {
            text.push('\n');
            line(&mut text, &timed(search.title, *took));
            line(&mut text, &search.asked);
            for row in rows {
                let words = format!("{:>10}  {:<10}  {}", figure(row), row.who, row.text);
                line(&mut text, words.trim_end());
            }
            if rows.is_empty() {
                line(
                    &mut text,
                    "          nothing, and there should be something",
                );
            }
        }
        text.push('\n');
        line(
            &mut text,
            &format!(
                "All of it in {}; what it stored is removed again.",
                shown(self.total)
            ),
        );
        line(
            &mut text,
            "The vectors are the demo's own, made from the words; yours come from a model.",
        );
        line(
            &mut text,
            "Next: `outrigger serve`, and a Qdrant client at http://127.0.0.1:6333",
        );
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| json!({"what": step.what, "milliseconds": milliseconds(step.took)}))
            .collect();
        let searches: Vec<Value> = self
            .found
            .iter()
            .map(|found| {
                let rows = found.rows.iter();
                let rows: Vec<Value> = rows
                    .map(|row| json!({"figure": row.figure, "who": row.who, "text": row.text}))
                    .collect();
                json!({
                    "name": found.search.title,
                    "asked": found.search.asked,
                    "path": found.search.path,
                    "milliseconds": milliseconds(found.took),
                    "rows": rows,
                })
            })
            .collect();
        json!({
            "store": "embedded",
            "points": self.points,
            "steps": steps,
            "searches": searches,
            "milliseconds": milliseconds(self.total),
            "complete": self.is_complete(),
        })
    }
}

fn line(text: &mut String, words: &str) {
    text.push_str("  ");
    text.push_str(words);
    text.push('\n');
}

fn figure(row: &Row) -> String {
    match row.figure.as_f64() {
        Some(score) if row.figure.is_f64() => format!("{score:.3}"),
        Some(_) => row.figure.to_string(),
        None => row.figure.as_str().unwrap_or_default().to_owned(),
    }
}

fn timed(what: &str, took: Duration) -> String {
    format!("{what:<68}{:>10}", shown(took))
}

fn shown(took: Duration) -> String {
    format!("{:.1} ms", milliseconds(took))
}

/// To the hundredth.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}
