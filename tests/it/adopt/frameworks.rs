//! Each framework's table beside a collection of the points that the framework's Qdrant provider
//! writes for the same documents.

use serde_json::{Value, json};

use super::{Scene, alike, ask, ok};
use crate::support::sidecar::Sidecar;
use crate::support::story;

const IDS: [&str; 3] = [
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
    "b84d7fc6-83ea-415c-bb3a-9019acf2cff2",
];
const VECTORS: [[f32; 3]; 3] = [[0.0, 3.0, 4.0], [1.0, 0.0, 0.0], [2.0, 2.0, -1.0]];

/// One framework: the SQL that it makes tables with, the settings, the payloads of the twins.
struct Case {
    name: &'static str,
    sql: String,
    toml: &'static str,
    payloads: [Value; 3],
    /// A field that the framework filters by, and a value.
    field: (&'static str, Value),
}

fn vector(at: usize) -> String {
    format!("'{}'", json!(VECTORS[at]))
}

fn meta(at: usize) -> Value {
    let metas = [
        json!({"src": "a", "n": 1, "f": 1.0, "nested": {"k": [1, null, "ü'\""]}}),
        json!({"src": "b", "n": 2, "tags": ["x", "y"], "none": null}),
        json!({}),
    ];
    metas[at].clone()
}

fn text(at: usize) -> &'static str {
    ["likes 'tea' ü \"q\"", "plain", ""][at]
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn mem0() -> Case {
    let rows = (0..3).map(|at| {
        let payload = quoted(&meta(at).to_string());
        format!(
            "insert into mem0 values ('{}', {}, {payload});",
            IDS[at],
            vector(at)
        )
    });
    Case {
        name: "mem0",
        sql: format!(
            "create table mem0 (id uuid primary key, vector vector(3), payload jsonb); \
             create index on mem0 using hnsw (vector vector_cosine_ops); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"mem0\"\n",
        payloads: [0, 1, 2].map(meta),
        field: ("src", json!("a")),
    }
}

fn langchain() -> Case {
    let rows = (0..3).map(|at| {
        // One of the ids is written without hyphens.
        let id = match at {
            2 => IDS[at].replace('-', ""),
            _ => IDS[at].to_owned(),
        };
        format!(
            "insert into langchain_pg_embedding values ('{id}', \
             '00000000-0000-0000-0000-000000000001', {}, {}, {});",
            vector(at),
            quoted(text(at)),
            quoted(&meta(at).to_string())
        )
    });
    Case {
        name: "lc%20facts",
        sql: format!(
            "create table langchain_pg_collection (uuid uuid primary key, \
             name varchar not null unique, cmetadata json); \
             create table langchain_pg_embedding (id varchar primary key, \
             collection_id uuid references langchain_pg_collection(uuid) on delete cascade, \
             embedding vector, document varchar, cmetadata jsonb); \
             create index ix_cmetadata_gin on langchain_pg_embedding using gin (cmetadata jsonb_path_ops); \
             insert into langchain_pg_collection values \
             ('00000000-0000-0000-0000-000000000001', 'lc facts', null), \
             ('00000000-0000-0000-0000-000000000002', 'other', null); \
             insert into langchain_pg_embedding values ('elsewhere', \
             '00000000-0000-0000-0000-000000000002', '[1,2]', 'of another size', '{{}}'); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"langchain\"\n",
        payloads: [0, 1, 2].map(|at| json!({"page_content": text(at), "metadata": meta(at)})),
        field: ("metadata.src", json!("a")),
    }
}

fn langchain_store() -> Case {
    let rows = (0..3).map(|at| {
        let src = meta(at)["src"].as_str().map_or("null".to_owned(), quoted);
        format!(
            "insert into lc_v2 values ('{}', {}, {}, {src}, '2024-01-02T03:04:05Z', '{{\"rest\": {at}}}');",
            IDS[at],
            quoted(text(at)),
            vector(at)
        )
    });
    let payload = |at: usize| {
        json!({"page_content": text(at), "metadata": {
            "src": meta(at)["src"], "when": "2024-01-02T03:04:05+00:00", "rest": at,
        }})
    };
    Case {
        name: "lc_v2",
        sql: format!(
            "create table lc_v2 (langchain_id uuid primary key, content text not null, \
             embedding vector(3) not null, src text, \"when\" timestamptz, langchain_metadata json); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"langchain\"\ntable = \"lc_v2\"\n",
        payloads: [0, 1, 2].map(payload),
        field: ("metadata.src", json!("b")),
    }
}

fn llamaindex() -> Case {
    // As the framework writes it: spaces behind colons and commas.
    let node = |at: usize, text: &str| {
        let text = serde_json::to_string(text).unwrap();
        format!(
            "{{\"id_\": \"{}\", \"metadata\": {{}}, \"text\": {text}, \"z\": [1, 2]}}",
            IDS[at]
        )
    };
    let flat = |at: usize, text: &str| {
        let mut flat = meta(at);
        flat["_node_content"] = json!(node(at, text));
        flat["_node_type"] = json!("TextNode");
        flat["doc_id"] = json!("None");
        flat
    };
    let rows = (0..3).map(|at| {
        format!(
            "insert into data_ll_facts (text, metadata_, node_id, embedding) values ({}, {}, '{}', {});",
            quoted(text(at)),
            quoted(&flat(at, "").to_string()),
            IDS[at],
            vector(at)
        )
    });
    Case {
        name: "LL_Facts",
        sql: format!(
            "create table data_ll_facts (id bigserial primary key, text varchar not null, \
             metadata_ json, node_id varchar, embedding vector(3)); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"llamaindex\"\n",
        payloads: [0, 1, 2].map(|at| flat(at, text(at))),
        field: ("doc_id", json!("None")),
    }
}

fn dify() -> Case {
    let meta = |at: usize| {
        let mut all = meta(at);
        let key = if at == 2 { "app_id" } else { "dataset_id" };
        all[key] = json!("ds-1");
        all
    };
    let rows = (0..3).map(|at| {
        format!(
            "insert into embedding_vector_index_0b7e4f6c_5a3d_4f0e_9d5b_3c1a2b4d5e6f_node values ('{}', {}, {}, {});",
            IDS[at],
            quoted(text(at)),
            quoted(&meta(at).to_string()),
            vector(at)
        )
    });
    Case {
        name: "Vector_index_0b7e4f6c_5a3d_4f0e_9d5b_3c1a2b4d5e6f_Node",
        sql: format!(
            "create table embedding_Vector_index_0b7e4f6c_5a3d_4f0e_9d5b_3c1a2b4d5e6f_Node (id uuid primary key, text text not null, \
             meta jsonb not null, embedding vector(3) not null); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"dify\"\n",
        payloads: [0, 1, 2]
            .map(|at| json!({"page_content": text(at), "metadata": meta(at), "group_id": "ds-1"})),
        field: ("group_id", json!("ds-1")),
    }
}

fn open_webui() -> Case {
    let rows = (0..3).map(|at| {
        format!(
            "insert into document_chunk values ('{}', {}, 'file-{at}', {}, {});",
            IDS[at],
            vector(at).replace("]'", ",0,0]'"),
            quoted(text(at)),
            quoted(&meta(at).to_string())
        )
    });
    Case {
        name: "open-webui_files",
        sql: format!(
            "create table document_chunk (id text primary key, vector vector(5), \
             collection_name text not null, text text, vmetadata jsonb); \
             insert into document_chunk values ('m', null, 'user-memory-1', 'no file', '{{}}'); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"open_webui\"\nsize = 3\n",
        payloads: [0, 1, 2].map(
            |at| json!({"text": text(at), "metadata": meta(at), "tenant_id": format!("file-{at}")}),
        ),
        field: ("tenant_id", json!("file-1")),
    }
}

fn anythingllm() -> Case {
    let rows = (0..3).map(|at| {
        format!(
            "insert into anythingllm_vectors values ('{}', 'ws', {}, {});",
            IDS[at],
            vector(at),
            quoted(&meta(at).to_string())
        )
    });
    Case {
        name: "ws",
        sql: format!(
            "create table anythingllm_vectors (id uuid primary key, namespace text, \
             embedding vector(3), metadata jsonb, created_at timestamp default now()); \
             insert into anythingllm_vectors values (gen_random_uuid(), 'another', '[1,1,1]', '{{}}'); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"anythingllm\"\n",
        payloads: [0, 1, 2].map(meta),
        field: ("src", json!("b")),
    }
}

fn vecs() -> Case {
    let rows = (0..3).map(|at| {
        format!(
            "insert into vecs.\"My.Docs\" values ('{}', {}, {});",
            IDS[at],
            vector(at),
            quoted(&meta(at).to_string())
        )
    });
    Case {
        name: "My.Docs",
        sql: format!(
            "create schema vecs; create table vecs.\"My.Docs\" (id varchar primary key, \
             vec vector(3) not null, metadata jsonb not null default '{{}}'); {}",
            rows.collect::<String>()
        ),
        toml: "adopt = \"vecs\"\n",
        payloads: [0, 1, 2].map(meta),
        field: ("src", json!("a")),
    }
}

fn by_hand() -> Case {
    let rows = (0..3).map(|at| {
        let src = meta(at)["src"].as_str().map_or("null".to_owned(), quoted);
        format!(
            "insert into shop.products values ('{}', {}, {src}, {at}, array['a', 'b']);",
            IDS[at],
            vector(at)
        )
    });
    Case {
        name: "products",
        sql: format!(
            "create schema shop; create table shop.products (sku uuid primary key, \
             embedding halfvec(3), src text, price int, tags text[]); {}",
            rows.collect::<String>()
        ),
        toml: "table = \"shop.products\"\n",
        payloads: [0, 1, 2]
            .map(|at| json!({"src": meta(at)["src"], "price": at, "tags": ["a", "b"]})),
        field: ("src", json!("b")),
    }
}

/// Whoever may run in several processes at once does.
const PARALLEL: &str = "alter database postgres set debug_parallel_query = on; \
    alter database postgres set parallel_setup_cost = 0; \
    alter database postgres set parallel_tuple_cost = 0;";

/// The same question to the adopted collection and to the twin's.
async fn same(sidecar: &Sidecar, name: &str, way: &str, body: &Value) {
    let target = format!("/collections/{name}/{way}");
    let adopted = ask(sidecar, "POST", &target, body).await;
    let twin = ask(sidecar, "POST", &format!("/collections/twin/{way}"), body).await;
    assert_eq!(
        adopted.status(),
        twin.status(),
        "{target}: {}",
        adopted.text()
    );
    let (adopted, twin) = (
        adopted.json()["result"].clone(),
        twin.json()["result"].clone(),
    );
    assert!(
        alike(&adopted, &twin),
        "{target} {body}\n{adopted:#}\n{twin:#}"
    );
}

async fn compare(case: &Case) {
    let scene = Scene::with(&format!("{PARALLEL} {}", case.sql)).await;
    let name = case.name.replace("%20", " ");
    let sidecar = scene
        .sidecar(&format!("[collections.\"{name}\"]\n{}", case.toml))
        .await;
    let config = json!({"vectors": {"size": 3, "distance": "Cosine"}});
    ok(&sidecar, "PUT", "/collections/twin", &config).await;
    let points = (0..3)
        .map(|at| json!({"id": IDS[at], "vector": VECTORS[at], "payload": case.payloads[at]}));
    let points = json!({"points": points.collect::<Vec<_>>()});
    ok(
        &sidecar,
        "PUT",
        "/collections/twin/points?wait=true",
        &points,
    )
    .await;
    let (field, value) = &case.field;
    for with_index in [false, true] {
        if with_index {
            let index = json!({"field_name": field, "field_schema": "keyword"});
            for name in [case.name, "twin"] {
                ok(
                    &sidecar,
                    "PUT",
                    &format!("/collections/{name}/index?wait=true"),
                    &index,
                )
                .await;
            }
        }
        let held = json!({"must": [{"key": field, "match": {"value": value}}]});
        let some = json!({"must": [{"has_id": [IDS[0], IDS[2]]}, {"has_vector": ""}]});
        let query = [0.5, 0.5, 0.25];
        let asked = [
            (
                "points",
                json!({"ids": IDS, "with_vector": true, "with_payload": true}),
            ),
            (
                "points",
                json!({"ids": [IDS[1], 7, "33333333-3333-4333-8333-333333333333"]}),
            ),
            ("points/scroll", json!({"with_vector": true})),
            ("points/scroll", json!({"limit": 1, "offset": IDS[1]})),
            ("points/scroll", json!({"filter": held})),
            (
                "points/scroll",
                json!({"filter": {"must_not": [{"is_empty": {"key": field}}]}}),
            ),
            (
                "points/scroll",
                json!({"filter": some, "with_payload": [field]}),
            ),
            ("points/count", json!({"exact": true, "filter": held})),
            ("points/count", json!({})),
            ("facet", json!({"key": field})),
            (
                "points/search",
                json!({"vector": query, "limit": 2, "with_payload": true, "with_vector": true}),
            ),
            (
                "points/search",
                json!({"vector": query, "limit": 5, "filter": held, "score_threshold": 0.1}),
            ),
            (
                "points/query",
                json!({"query": {"nearest": query}, "using": "", "limit": 3, "params": {"exact": true}}),
            ),
            ("points/query", json!({"query": IDS[0], "limit": 3})),
            (
                "points/query",
                json!({"query": {"recommend": {"positive": [IDS[0]], "negative": [IDS[1]],
                "strategy": "best_score"}}, "with_payload": true}),
            ),
            (
                "points/query",
                json!({"query": {"nearest": query, "mmr": {"diversity": 0.5}}, "limit": 2}),
            ),
            (
                "points/query",
                json!({"prefetch": {"query": query, "limit": 3}, "query": {"fusion": "rrf"}}),
            ),
            (
                "points/query",
                json!({"prefetch": {"query": query}, "query": {"formula":
                {"sum": ["$score", {"key": field, "match": {"value": value}}]}}, "with_payload": true}),
            ),
            (
                "points/query/groups",
                json!({"query": query, "group_by": field, "limit": 3}),
            ),
            ("points/search", json!({"vector": [1.0], "limit": 1})),
        ];
        for (way, body) in asked {
            same(&sidecar, case.name, way, &body).await;
        }
    }
    let info = ok(
        &sidecar,
        "GET",
        &format!("/collections/{}", case.name),
        &Value::Null,
    )
    .await;
    assert_eq!(info["points_count"], 3);
    assert_eq!(
        info["config"]["params"]["vectors"],
        json!({"size": 3, "distance": "Cosine"})
    );
    assert_eq!(info["payload_schema"][*field]["data_type"], "keyword");
    let all = ok(&sidecar, "GET", "/collections", &Value::Null).await;
    assert!(all.to_string().contains(&name), "{all}");
    let exists = format!("/collections/{}/exists", case.name);
    assert_eq!(
        ok(&sidecar, "GET", &exists, &Value::Null).await,
        json!({"exists": true})
    );
    let made = ask(
        &sidecar,
        "PUT",
        &format!("/collections/{}", case.name),
        &config,
    )
    .await;
    made.refusal(409);
}

#[test]
fn a_table_of_mem0_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&mem0()).await });
}

#[test]
fn a_table_of_langchain_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&langchain()).await });
}

#[test]
fn a_table_of_langchains_store_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&langchain_store()).await });
}

#[test]
fn a_table_of_llamaindex_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&llamaindex()).await });
}

#[test]
fn a_table_of_dify_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&dify()).await });
}

#[test]
fn a_table_of_open_webui_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&open_webui()).await });
}

#[test]
fn a_table_of_anythingllm_answers_as_its_qdrant_provider_writes() {
    story(async { compare(&anythingllm()).await });
}

#[test]
fn a_table_of_vecs_answers_as_payloads_of_its_metadata() {
    story(async { compare(&vecs()).await });
}

#[test]
fn a_table_made_by_hand_answers_with_its_columns() {
    story(async { compare(&by_hand()).await });
}
