//! What the demo asks, and how its answers read.

use std::time::Duration;

use serde_json::{Value, json};

use super::data::DataSet;

const QUERY: &str = "/collections/memories/points/query";
const GROUPS: &str = "/collections/memories/points/query/groups";
const FACET: &str = "/collections/memories/facet";

pub(super) struct Search {
    pub(super) title: &'static str,
    /// In a person's words.
    pub(super) asked: String,
    pub(super) path: &'static str,
    pub(super) body: Value,
}

/// A search that was answered.
pub(super) struct Found {
    pub(super) search: Search,
    pub(super) took: Duration,
    pub(super) rows: Vec<Row>,
}

/// One line of an answer: how much, whose or what, and the text.
pub(super) struct Row {
    pub(super) figure: Value,
    pub(super) who: String,
    pub(super) text: String,
}

pub(super) fn searches(data: &DataSet) -> Vec<Search> {
    let hot = "something hot with caffeine early in the day";
    let trip = "plans for a journey to Kyoto or Lisbon";
    let work = "a report for the manager, a deadline at work";
    let mill = "mill road";
    let vector = |text: &str| json!(data.vector(text));
    let words = |text: &str| json!({"text": text, "model": "Qdrant/bm25"});
    vec![
        Search {
            title: "nearest",
            asked: format!("\"{hot}\", by meaning"),
            path: QUERY,
            body: json!({
                "query": vector(hot), "using": "meaning", "limit": 3, "with_payload": true,
            }),
        },
        Search {
            title: "filtered",
            asked: format!("\"{hot}\", Ben's only, importance 2 or more"),
            path: QUERY,
            body: json!({
                "query": vector(hot), "using": "meaning", "limit": 3, "with_payload": true,
                "filter": {"must": [
                    {"key": "user", "match": {"value": "ben"}},
                    {"key": "importance", "range": {"gte": 2}},
                ]},
            }),
        },
        Search {
            title: "text",
            asked: format!("\"{mill}\", by its words (Qdrant/bm25, made in the sidecar)"),
            path: QUERY,
            body: json!({
                "query": words(mill), "using": "words", "limit": 3, "with_payload": true,
            }),
        },
        Search {
            title: "hybrid",
            asked: format!("\"{trip}\", meaning and words fused by rank (RRF)"),
            path: QUERY,
            body: json!({
                "prefetch": [
                    {"query": vector(trip), "using": "meaning", "limit": 10},
                    {"query": words(trip), "using": "words", "limit": 10},
                ],
                "query": {"fusion": "rrf"}, "limit": 4, "with_payload": true,
            }),
        },
        Search {
            title: "grouped",
            asked: format!("\"{work}\", the best of each person"),
            path: GROUPS,
            body: json!({
                "query": vector(work),
                "using": "meaning", "group_by": "user", "group_size": 1, "limit": 3,
                "with_payload": true,
            }),
        },
        Search {
            title: "newest",
            asked: "tasks, the latest first, no vector at all".to_owned(),
            path: QUERY,
            body: json!({
                "query": {"order_by": {"key": "day", "direction": "desc"}},
                "filter": {"must": [{"key": "kind", "match": {"value": "task"}}]},
                "limit": 3, "with_payload": true,
            }),
        },
        Search {
            title: "facet",
            asked: "how many memories there are of each kind".to_owned(),
            path: FACET,
            body: json!({"key": "kind", "exact": true}),
        },
    ]
}

/// Points, groups of points or counted values, whichever the answer holds.
pub(super) fn rows(result: &Value) -> Vec<Row> {
    let list = |key: &str| result[key].as_array().into_iter().flatten();
    let points = list("points").map(of_point);
    let groups = list("groups")
        .flat_map(|group| group["hits"].as_array().into_iter().flatten())
        .map(of_point);
    let values = list("hits").map(|hit| Row {
        figure: hit["count"].clone(),
        who: text(&hit["value"]),
        text: String::new(),
    });
    points.chain(groups).chain(values).collect()
}

fn of_point(point: &Value) -> Row {
    let payload = &point["payload"];
    // In an ordered answer the score says nothing: the value that it is ordered by stands there.
    let figure = match point.get("order_value") {
        None | Some(Value::Null) => point["score"].clone(),
        Some(_) => payload["day"].clone(),
    };
    Row {
        figure,
        who: text(&payload["user"]),
        text: text(&payload["text"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_points_groups_and_counts() {
        let point = json!({"id": 1, "score": 0.5, "payload": {"user": "ana", "text": "tea"}});
        for (result, figure, who) in [
            (json!({"points": [point]}), json!(0.5), "ana"),
            (
                json!({"groups": [{"id": "ana", "hits": [point]}]}),
                json!(0.5),
                "ana",
            ),
            (
                json!({"hits": [{"value": "task", "count": 9}]}),
                json!(9),
                "task",
            ),
        ] {
            let rows = rows(&result);
            let row = rows.first().unwrap();
            assert_eq!(
                (rows.len(), &row.figure, row.who.as_str()),
                (1, &figure, who)
            );
        }
    }
}
