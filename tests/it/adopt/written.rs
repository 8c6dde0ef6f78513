//! Points written into adopted tables, where the settings allow it: rows as the table's own program
//! writes them.

use serde_json::{Value, json};

use super::{Scene, ask, ok, scrolled};
use crate::support::sidecar::Sidecar;
use crate::support::story;

const ONE: &str = "11111111-1111-4111-8111-111111111111";
const TWO: &str = "22222222-2222-4222-8222-222222222222";

async fn put(sidecar: &Sidecar, name: &str, points: &Value) {
    let target = format!("/collections/{name}/points?wait=true");
    ok(sidecar, "PUT", &target, &json!({"points": points})).await;
}

async fn row(scene: &Scene, sql: &str) -> Value {
    let rows = scene.rows(sql).await;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    Value::from(rows)
}

#[test]
fn rows_of_mem0_are_written_changed_and_deleted() {
    story(async {
        let sql = "create table mem0 (id uuid primary key, vector vector(2), payload jsonb)";
        let scene = Scene::with(sql).await;
        let sidecar = scene
            .sidecar("[collections.mem0]\nadopt = \"mem0\"\nwritable = true\n")
            .await;
        let all = "select id, vector::text as v, payload from mem0 order by id";
        put(
            &sidecar,
            "mem0",
            &json!([
                {"id": ONE, "vector": [3.0, 4.0], "payload": {"data": "x", "f": 2.0}},
                {"id": TWO, "vector": [1.0, 0.5]},
            ]),
        )
        .await;
        let expected = json!([
            {"id": ONE, "v": "[3,4]", "payload": {"data": "x", "f": 2.0}},
            {"id": TWO, "v": "[1,0.5]", "payload": {}},
        ]);
        assert_eq!(row(&scene, all).await, expected);
        put(
            &sidecar,
            "mem0",
            &json!([{"id": ONE, "vector": {}, "payload": {"data": "y"}}]),
        )
        .await;
        let of = |way: &str| format!("/collections/mem0/points{way}?wait=true");
        let set = json!({"payload": {"b": {"c": 1}}, "points": [ONE]});
        ok(&sidecar, "POST", &of("/payload"), &set).await;
        let set = json!({"payload": {"d": null, "c": 2}, "key": "b", "filter": {"must": [{"key": "data", "match": {"value": "y"}}]}});
        ok(&sidecar, "POST", &of("/payload"), &set).await;
        let delete = json!({"keys": ["data"], "points": [ONE]});
        ok(&sidecar, "POST", &of("/payload/delete"), &delete).await;
        let vectors = json!({"points": [{"id": TWO, "vector": [0.0, 9.0]}]});
        ok(&sidecar, "PUT", &of("/vectors"), &vectors).await;
        let expected = json!([
            {"id": ONE, "v": null, "payload": {"b": {"c": 2}}},
            {"id": TWO, "v": "[0,9]", "payload": {}},
        ]);
        assert_eq!(row(&scene, all).await, expected);
        let seen = scrolled(&sidecar, "mem0").await;
        assert_eq!(seen[1]["vector"], json!([0.0, 1.0]));
        let gone = json!({"points": [TWO], "vector": [""]});
        ok(&sidecar, "POST", &of("/vectors/delete"), &gone).await;
        let put = json!({"payload": {"z": 1}, "points": [ONE, TWO]});
        ok(&sidecar, "PUT", &of("/payload"), &put).await;
        ok(
            &sidecar,
            "POST",
            &of("/payload/clear"),
            &json!({"points": [TWO]}),
        )
        .await;
        let expected = json!([
            {"id": ONE, "v": null, "payload": {"z": 1}}, {"id": TWO, "v": null, "payload": {}},
        ]);
        assert_eq!(row(&scene, all).await, expected);
        let missing =
            json!({"payload": {"a": 1}, "points": ["33333333-3333-4333-8333-333333333333"]});
        ask(&sidecar, "POST", &of("/payload"), &missing)
            .await
            .refusal(404);
        ask(
            &sidecar,
            "PUT",
            &of(""),
            &json!({"points": [{"id": 7, "vector": [1.0, 1.0]}]}),
        )
        .await
        .refusal(400);
        ask(
            &sidecar,
            "PUT",
            &of(""),
            &json!({"points": [{"id": ONE, "vector": [1.0]}]}),
        )
        .await
        .refusal(400);
        let nul = json!({"points": [{"id": ONE, "vector": [1.0, 1.0], "payload": {"a": "\u{0}"}}]});
        ask(&sidecar, "PUT", &of(""), &nul).await.refusal(400);
        assert_eq!(row(&scene, all).await, expected);
        ok(&sidecar, "POST", &of("/delete"), &json!({"points": [ONE]})).await;
        ok(&sidecar, "POST", &of("/delete"), &json!({"filter": {}})).await;
        assert_eq!(row(&scene, all).await, json!([]));
        // The table itself is nobody's to drop.
        ask(&sidecar, "DELETE", "/collections/mem0", &Value::Null)
            .await
            .refusal(403);
    });
}

#[test]
fn documents_of_langchain_are_written_and_what_has_no_room_is_refused() {
    story(async {
        let sql = "create table langchain_pg_collection (uuid uuid primary key, name varchar, cmetadata json); \
            insert into langchain_pg_collection values ('00000000-0000-0000-0000-000000000001', 'lc', null); \
            create table langchain_pg_embedding (id varchar primary key, collection_id uuid, \
            embedding vector(2), document varchar, cmetadata jsonb)";
        let scene = Scene::with(sql).await;
        let sidecar = scene
            .sidecar("[collections.lc]\nadopt = \"langchain\"\nwritable = true\n")
            .await;
        let payload = json!({"page_content": "tea", "metadata": {"a": 1}});
        put(
            &sidecar,
            "lc",
            &json!([{"id": ONE, "vector": [3.0, 4.0], "payload": payload}]),
        )
        .await;
        let all = "select *, embedding::text as v from langchain_pg_embedding";
        let expected = json!([{"id": ONE, "collection_id": "00000000-0000-0000-0000-000000000001",
            "embedding": "[3,4]", "v": "[3,4]", "document": "tea", "cmetadata": {"a": 1}}]);
        assert_eq!(row(&scene, all).await, expected);
        for payload in [
            json!({"page_content": 5}),
            json!({"metadata": {}}),
            json!({"page_content": "x", "more": 1}),
        ] {
            let body = json!({"points": [{"id": ONE, "vector": [3.0, 4.0], "payload": payload}]});
            let said = ask(&sidecar, "PUT", "/collections/lc/points?wait=true", &body)
                .await
                .refusal(400);
            assert!(
                said.contains("langchain_pg_embedding") && said.contains("page_content"),
                "{said}"
            );
        }
        let set = json!({"payload": {"other": 1}, "points": [ONE]});
        ask(
            &sidecar,
            "POST",
            "/collections/lc/points/payload?wait=true",
            &set,
        )
        .await
        .refusal(400);
        assert_eq!(row(&scene, all).await, expected);
        let set = json!({"payload": {"b": 2}, "key": "metadata", "points": [ONE]});
        ok(
            &sidecar,
            "POST",
            "/collections/lc/points/payload?wait=true",
            &set,
        )
        .await;
        assert_eq!(
            row(&scene, all).await[0]["cmetadata"],
            json!({"a": 1, "b": 2})
        );
    });
}

#[test]
fn nodes_of_llamaindex_and_rows_made_by_hand_are_written() {
    story(async {
        let sql = "create table data_ll (id bigserial primary key, text varchar not null, \
            metadata_ json, node_id varchar, embedding vector(2)); \
            create table items (id bigint primary key, v halfvec(2) not null, name text, tags text[], \
            at timestamptz, kind text not null)";
        let scene = Scene::with(sql).await;
        let toml = "[collections.ll]\nadopt = \"llamaindex\"\nwritable = true\n\
                    [collections.items]\ntable = \"items\"\nwritable = true\n\
                    discriminator = \"kind\"\nsource = \"k\"\n";
        let sidecar = scene.sidecar(toml).await;
        let node = json!({"id_": ONE, "text": "tea"}).to_string();
        let payload = json!({"_node_content": node, "doc_id": "d"});
        put(
            &sidecar,
            "ll",
            &json!([{"id": ONE, "vector": [1.0, 1.0], "payload": payload}]),
        )
        .await;
        let written = row(&scene, "select text, metadata_, node_id from data_ll").await;
        assert_eq!(written[0]["text"], "tea");
        assert_eq!(written[0]["metadata_"]["doc_id"], "d");
        let content = written[0]["metadata_"]["_node_content"].as_str().unwrap();
        let content: Value = serde_json::from_str(content).unwrap();
        assert_eq!(content, json!({"id_": ONE, "text": ""}));
        let seen = scrolled(&sidecar, "ll").await;
        let content = seen[0]["payload"]["_node_content"].as_str().unwrap();
        let content: Value = serde_json::from_str(content).unwrap();
        assert_eq!(content, json!({"id_": ONE, "text": "tea"}));

        let payload = json!({"name": "n", "tags": ["a", "b"], "at": "2024-01-02T03:04:05+00:00"});
        let mut expected = payload.clone();
        expected["kind"] = json!("k");
        put(
            &sidecar,
            "items",
            &json!([{"id": 5, "vector": [3.0, 4.0], "payload": payload}]),
        )
        .await;
        assert_eq!(scrolled(&sidecar, "items").await[0]["payload"], expected);
        let all = "select id, v::text as v, tags, kind from items";
        assert_eq!(
            row(&scene, all).await,
            json!([{"id": 5, "v": "[3,4]", "tags": ["a", "b"], "kind": "k"}])
        );
        for point in [
            json!({"id": 6, "vector": {}}),
            json!({"id": 6, "vector": [1.0, 1.0], "payload": {"odd": 1}}),
        ] {
            let body = json!({"points": [point]});
            ask(
                &sidecar,
                "PUT",
                "/collections/items/points?wait=true",
                &body,
            )
            .await
            .refusal(400);
        }
    });
}
