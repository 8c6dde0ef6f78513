//! The same question, asked so that the store does not guess.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::side::Question;
use crate::compare::{Order, Questions};
use crate::model::Operation;

/// Whether the store may guess at any of these.
pub(super) fn may_guess(questions: &Questions) -> bool {
    let counts = is_count(questions.operation());
    let mut each = questions.each().iter();
    each.any(|asked| !asked.exact && (counts || asked.order == Order::Ranked))
}

/// Whether it is a search, or several, at which the store does not guess as it is.
pub(super) fn asks_exactly(question: &Question) -> bool {
    let questions = Questions::read(question.operation, &question.body);
    let is_ranked = questions.is_some_and(|questions| {
        let mut each = questions.each().iter();
        each.any(|asked| asked.order == Order::Ranked)
    });
    // To its last prefetch: nothing is left to be asked more exactly.
    is_ranked
        && exactly(question.operation, &question.body).is_some_and(|exact| {
            let [own, exact] =
                [&question.body, &exact].map(|body| serde_json::from_slice(body).ok());
            own == exact as Option<Value>
        })
}

fn is_count(operation: Operation) -> bool {
    [Operation::CountPoints, Operation::Facet].contains(&operation)
}

/// The body of the exact question. `None`: it is no JSON that can be asked so.
pub(super) fn exactly(operation: Operation, body: &[u8]) -> Option<Bytes> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    if is_count(operation) {
        body.as_object_mut()?
            .insert("exact".to_owned(), Value::Bool(true));
    } else if let Some(searches) = body.get_mut("searches") {
        for search in searches.as_array_mut()? {
            search_exactly(search);
        }
    } else {
        search_exactly(&mut body);
    }
    Some(body.to_string().into())
}

/// Goes as deep as a parsed value is, which serde_json bounds.
fn search_exactly(search: &mut Value) {
    let Some(search) = search.as_object_mut() else {
        return;
    };
    let params = search.entry("params").or_insert(Value::Null);
    if params.is_null() {
        *params = Value::Object(Map::new());
    }
    if let Some(params) = params.as_object_mut() {
        params.insert("exact".to_owned(), Value::Bool(true));
    }
    match search.get_mut("prefetch") {
        Some(Value::Array(all)) => all.iter_mut().for_each(search_exactly),
        Some(one) => search_exactly(one),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(operation: Operation, body: &Value, wanted: &Value) {
        let exact = exactly(operation, body.to_string().as_bytes()).unwrap();
        let exact: Value = serde_json::from_slice(&exact).unwrap();
        assert_eq!(exact, *wanted);
        let questions = |body: &Value| Questions::read(operation, body.to_string().as_bytes());
        assert!(may_guess(&questions(body).unwrap()));
        assert!(!may_guess(&questions(&exact).unwrap()));
    }

    #[test]
    fn every_search_in_a_question_becomes_exact() {
        check(
            Operation::SearchPoints,
            &json!({"vector": [1.0], "limit": 3, "params": {"hnsw_ef": 4}}),
            &json!({"vector": [1.0], "limit": 3, "params": {"hnsw_ef": 4, "exact": true}}),
        );
        check(
            Operation::QueryBatch,
            &json!({"searches": [{"query": [1.0]}, {"query": 7, "params": null}]}),
            &json!({"searches": [
                {"query": [1.0], "params": {"exact": true}},
                {"query": 7, "params": {"exact": true}},
            ]}),
        );
        let deep = json!({"query": [1.0], "prefetch": {"query": [2.0], "limit": 9}});
        let deep = json!({"prefetch": [deep, {"query": [3.0]}], "query": {"fusion": "rrf"}});
        let exact = json!({"exact": true});
        check(
            Operation::QueryPoints,
            &deep,
            &json!({
                "prefetch": [
                    {
                        "query": [1.0],
                        "prefetch": {"query": [2.0], "limit": 9, "params": exact},
                        "params": exact,
                    },
                    {"query": [3.0], "params": exact},
                ],
                "query": {"fusion": "rrf"},
                "params": exact,
            }),
        );
        check(
            Operation::CountPoints,
            &json!({"exact": false}),
            &json!({"exact": true}),
        );
    }

    #[test]
    fn what_is_no_question_stays_unasked() {
        assert_eq!(exactly(Operation::SearchPoints, b"no JSON"), None);
        assert_eq!(exactly(Operation::CountPoints, b"[]"), None);
    }
}
