//! A user's schema is as it was, whatever is done through the sidecar.

use serde_json::{Value, json};

use super::{Scene, ask, ok};
use crate::support::story;

const TABLE: &str = "create table mem0 (id uuid primary key, vector vector(3), payload jsonb); \
    create index on mem0 using hnsw (vector vector_cosine_ops); \
    insert into mem0 values ('11111111-1111-4111-8111-111111111111', '[0,3,4]', '{\"user_id\": \"a\"}')";

/// All that PostgreSQL knows of what is not ours, and all rows.
const CATALOGUE: [&str; 8] = [
    "select n.nspname, c.relname, c.relkind, c.relhastriggers, c.relhasrules, c.reloptions, \
     c.relacl::text, c.relfilenode from pg_class c join pg_namespace n on n.oid = c.relnamespace \
     where n.nspname not in ('qdc', 'qd', 'qd_data', 'pg_catalog', 'pg_toast', 'information_schema') order by 1, 2",
    "select a.attname, a.atttypid::text, a.atttypmod, a.attnotnull, a.attstorage, a.attoptions \
     from pg_attribute a where a.attrelid = 'mem0'::regclass order by a.attnum",
    "select pg_get_indexdef(indexrelid) as definition from pg_index where indrelid = 'mem0'::regclass order by 1",
    "select tgname from pg_trigger where tgrelid = 'mem0'::regclass",
    "select conname from pg_constraint where conrelid = 'mem0'::regclass",
    "select classid::text, objid::text, deptype from pg_depend where refobjid = 'mem0'::regclass order by 1, 2, 3",
    "select nspname from pg_namespace where nspname !~ '^(pg_|qd)' order by 1",
    "select ctid::text, xmin::text, xmax::text, id, vector::text, payload from mem0 order by id",
];

async fn seen(scene: &Scene) -> Vec<Vec<String>> {
    let mut seen = Vec::new();
    for sql in CATALOGUE {
        seen.push(scene.rows(sql).await);
    }
    seen
}

#[test]
fn a_users_table_and_schema_stay_as_they_were() {
    story(async {
        let scene = Scene::with(TABLE).await;
        let before = seen(&scene).await;
        let sidecar = scene
            .sidecar("[collections.mem0]\nadopt = \"mem0\"\n")
            .await;
        let at = |way: &str| format!("/collections/mem0{way}");
        for field in ["user_id", "agent_id"] {
            let index = json!({"field_name": field, "field_schema": "keyword"});
            ok(&sidecar, "PUT", &at("/index?wait=true"), &index).await;
        }
        let text = json!({"field_name": "data", "field_schema": "text"});
        ok(&sidecar, "PUT", &at("/index?wait=true"), &text).await;
        let patch = json!({"metadata": {"a": 1}, "strict_mode_config": {"enabled": true, "max_query_limit": 5}});
        ok(&sidecar, "PATCH", &at(""), &patch).await;
        let alias = json!({"actions": [{"create_alias": {"collection_name": "mem0", "alias_name": "now"}}]});
        ok(&sidecar, "POST", "/collections/aliases", &alias).await;
        let search = json!({"vector": [1.0, 0.0, 0.0], "limit": 3});
        ok(&sidecar, "POST", "/collections/now/points/search", &search).await;
        ok(&sidecar, "POST", &at("/facet"), &json!({"key": "user_id"})).await;
        ok(
            &sidecar,
            "DELETE",
            &at("/index/agent_id?wait=true"),
            &Value::Null,
        )
        .await;
        let info = ok(&sidecar, "GET", &at(""), &Value::Null).await;
        assert_eq!(info["config"]["metadata"], json!({"a": 1}));
        assert_eq!(info["payload_schema"]["user_id"]["points"], 1);
        assert_eq!(info["payload_schema"].get("agent_id"), None);

        // None of what would change it is done.
        let point =
            json!({"id": "11111111-1111-4111-8111-111111111111", "vector": [1.0, 1.0, 1.0]});
        let ids = json!({"points": ["11111111-1111-4111-8111-111111111111"]});
        let set = json!({"payload": {"x": 1}, "points": ids["points"]});
        let refused = [
            ("PUT", "/points?wait=true", json!({"points": [point]})),
            ("POST", "/points/delete?wait=true", ids.clone()),
            ("POST", "/points/delete?wait=true", json!({"filter": {}})),
            ("POST", "/points/payload?wait=true", set.clone()),
            ("PUT", "/points/payload?wait=true", set.clone()),
            (
                "POST",
                "/points/payload/delete?wait=true",
                json!({"keys": ["user_id"], "points": ids["points"]}),
            ),
            ("POST", "/points/payload/clear?wait=true", ids.clone()),
            (
                "PUT",
                "/points/vectors?wait=true",
                json!({"points": [point]}),
            ),
            (
                "POST",
                "/points/vectors/delete?wait=true",
                json!({"points": ids["points"], "vector": [""]}),
            ),
            (
                "POST",
                "/points/batch?wait=true",
                json!({"operations": [{"upsert": {"points": [point]}}]}),
            ),
        ];
        for (method, way, body) in refused {
            let said = ask(&sidecar, method, &at(way), &body).await.refusal(403);
            assert!(
                said.contains("collection `mem0`") && said.contains("writable = true"),
                "{method} {way}: {said}"
            );
        }
        let others = [
            ("DELETE", "", Value::Null, "take it out of the settings"),
            ("POST", "/snapshots", Value::Null, "pg_dump"),
            (
                "PUT",
                "/vectors/late",
                json!({"dense": {"size": 3, "distance": "Dot"}}),
                "columns of its table",
            ),
        ];
        for (method, way, body, cure) in others {
            let said = ask(&sidecar, method, &at(way), &body).await.refusal(403);
            assert!(
                said.contains("collections.mem0") && said.contains(cure),
                "{said}"
            );
        }
        assert_eq!(seen(&scene).await, before);

        // What clients have set of it is there after a restart.
        drop(sidecar);
        let sidecar = scene
            .sidecar("[collections.mem0]\nadopt = \"mem0\"\n")
            .await;
        let info = ok(&sidecar, "GET", &at(""), &Value::Null).await;
        assert_eq!(info["config"]["metadata"], json!({"a": 1}));
        assert_eq!(info["payload_schema"]["user_id"]["data_type"], "keyword");
        ok(&sidecar, "POST", "/collections/now/points/search", &search).await;

        // A sidecar whose settings do not name it does not show it, and may use the name.
        let other = scene.sidecar("").await;
        ask(&other, "GET", &at(""), &Value::Null).await.refusal(404);
        assert_eq!(seen(&scene).await, before);
        // Nothing of ours keeps its owner from changing it.
        scene
            .run("alter table mem0 alter column payload type json using payload::json; drop table mem0")
            .await;
    });
}
