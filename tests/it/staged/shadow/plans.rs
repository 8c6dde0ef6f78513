//! How PostgreSQL finds what it answers with, for whoever asks both stores now.

use serde_json::{Value, json};

use super::{Shadowed, points};
use crate::staged::{DOCS, Primary};
use crate::support::ask::Ask;
use crate::support::{story, until};

/// The plans of the statements that the authority sends, and those without values.
async fn told(shadowed: &Shadowed, operation: &str, body: &Value) -> (String, String) {
    let asked = json!({"collection": "docs", "operation": operation, "body": body});
    let told = shadowed.facing(&asked).await;
    // The other store is none in PostgreSQL.
    assert_eq!(told["stores"]["follower"]["sql"], Value::Null);
    let statements = told["stores"]["authority"]["sql"].as_array().unwrap();
    assert!(!statements.is_empty(), "{told}");
    let lines = |of: &Value| -> Vec<String> {
        let lines = of["plan"].as_array().unwrap().iter();
        lines
            .map(|line| line.as_str().unwrap().to_owned())
            .collect()
    };
    let plans: Vec<String> = statements.iter().flat_map(lines).collect();
    let texts = statements
        .iter()
        .map(|of| of["statement"].as_str().unwrap());
    (plans.join("\n"), texts.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_plan_of_a_search_names_the_index_that_it_goes_by_and_its_text_no_value() {
    story(async {
        let shadowed = Shadowed::new(Primary::Pgvector, "").await;
        let small = json!({"optimizers_config": {"indexing_threshold": 1}});
        let ask = Ask::new("PATCH", DOCS).json(&small);
        shadowed.world.sidecar.ask(&ask).await.ok();
        shadowed
            .world
            .write("PUT", "/points", points(1..=3_000))
            .await;
        until("the index is there", async || {
            let look = Ask::get(DOCS);
            let told = shadowed.world.sidecar.ask(&look).await.ok().json();
            told["result"]["status"] == "green" && told["result"]["indexed_vectors_count"] == 3_000
        })
        .await;
        let search = json!({"query": [0.8125, 0.0625], "limit": 3});
        let (plan, text) = told(&shadowed, "points/query", &search).await;
        assert!(plan.contains("_hnsw"), "{plan}");
        assert!(
            text.contains("$1::vector") && !text.contains("8125"),
            "{text}"
        );
        let mut exact = search.clone();
        exact["params"] = json!({"exact": true});
        let (plan, _) = told(&shadowed, "points/query", &exact).await;
        assert!(!plan.contains("_hnsw"), "{plan}");
        // Several statements in one snapshot, and a look by id.
        let filter = json!({"must": [{"key": "name", "match": {"value": "secret 7"}}]});
        let both = json!({"prefetch": [search, {"filter": filter}], "query": {"fusion": "rrf"}});
        let (plan, text) = told(&shadowed, "points/query", &both).await;
        assert!(
            plan.contains("_hnsw") && !text.contains("secret"),
            "{plan}\n{text}"
        );
        let by_id = json!({"ids": [1, 2]});
        let (plan, _) = told(&shadowed, "points", &by_id).await;
        assert!(plan.contains("Scan"), "{plan}");
        // Nobody else is told, and nothing of it is left behind.
        let answer = shadowed.ask("/points/query", &search).await.json();
        assert_eq!(answer["result"]["points"].as_array().unwrap().len(), 3);
    });
}
