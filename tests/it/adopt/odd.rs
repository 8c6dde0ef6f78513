//! What tables hold that Qdrant does not: other ids, missing and empty vectors, names with quotes;
//! and that the table's own indexes are found.

use serde_json::{Value, json};

use super::{Scene, alike, ok, scrolled};
use crate::support::{story, until};

#[test]
fn ids_that_qdrant_has_not_are_made_from_their_text_and_kept_in_the_payload() {
    story(async {
        let ids = ["odd id/1", "7", "ü", "ABCDEF01-2345-4789-8BCD-EF0123456789"];
        let rows =
            ids.map(|id| format!("insert into docs values ('{id}', '[1,2]', '{{\"a\": 1}}');"));
        let sql = format!(
            "create table docs (id varchar primary key, vec vector(2), metadata jsonb); {}",
            rows.concat()
        );
        let scene = Scene::with(&sql).await;
        let toml = "[collections.docs]\nadopt = \"vecs\"\ntable = \"docs\"\n";
        let sidecar = scene.sidecar(toml).await;
        // As uuid.uuid5 of Python makes them in the namespace of the README.
        let made = [
            "608901cd-b89f-5c40-978a-cf63e6f63599",
            "661876d4-e962-5d00-8d11-8d4c7939c4e1",
            "bf9abe4c-28b8-5762-b0f1-76e527c60ffa",
        ];
        let made = made.into_iter().zip(ids);
        let made = made.map(|(uuid, id)| (uuid.to_owned(), json!({"a": 1, "_pg_id": id})));
        let mut expected: Vec<_> = made.collect();
        expected.push((ids[3].to_lowercase(), json!({"a": 1})));
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        let all = scrolled(&sidecar, "docs").await;
        let seen: Vec<_> = all
            .iter()
            .map(|point| {
                (
                    point["id"].as_str().unwrap().to_owned(),
                    point["payload"].clone(),
                )
            })
            .collect();
        assert_eq!(seen, expected);
        let ids: Vec<_> = expected.iter().map(|(id, _)| id).collect();
        let body = json!({"ids": ids});
        let found = ok(&sidecar, "POST", "/collections/docs/points", &body).await;
        assert_eq!(found.as_array().unwrap().len(), 4);
        let filter = json!({"filter": {"must": [{"key": "_pg_id", "match": {"value": "7"}}]}});
        let counted = ok(&sidecar, "POST", "/collections/docs/points/count", &filter).await;
        assert_eq!(counted, json!({"count": 1}));
    });
}

#[test]
fn numbers_are_ids_and_negative_ones_are_not_shown() {
    story(async {
        let sql = "create table items (nr int primary key, name text, v vector(2)); \
                   insert into items values (-1, 'hidden', '[1,1]'), (0, 'zero', '[1,0]'), \
                   (300, 'many', '[0,1]'), (255, 'less', null), (7, 'none', '[0,0]')";
        let scene = Scene::with(sql).await;
        let sidecar = scene
            .sidecar("[collections.items]\ntable = \"items\"\n")
            .await;
        let all = scrolled(&sidecar, "items").await;
        let expected = json!([
            {"id": 0, "payload": {"name": "zero"}, "vector": [1.0, 0.0]},
            {"id": 7, "payload": {"name": "none"}, "vector": [0.0, 0.0]},
            {"id": 255, "payload": {"name": "less"}, "vector": {}},
            {"id": 300, "payload": {"name": "many"}, "vector": [0.0, 1.0]},
        ]);
        assert!(alike(&json!(all), &expected), "{all:#?}");
        // A vector of length 0 is like nothing, and unlike nothing.
        let query = json!({"vector": [-1.0, 1.0], "limit": 10});
        let found = ok(&sidecar, "POST", "/collections/items/points/search", &query).await;
        let half = 0.5_f64.sqrt();
        let expected = [(300, half), (7, 0.0), (0, -half)];
        let expected: Vec<_> = expected
            .map(|(id, score)| json!({"id": id, "score": score, "version": 0}))
            .to_vec();
        assert!(alike(&found, &json!(expected)), "{found:#}");
        let filter = json!({"filter": {"must_not": [{"has_vector": ""}]}});
        let counted = ok(&sidecar, "POST", "/collections/items/points/count", &filter).await;
        assert_eq!(counted, json!({"count": 1}));
        let page = json!({"limit": 2, "offset": 7});
        let page = ok(&sidecar, "POST", "/collections/items/points/scroll", &page).await;
        assert_eq!(page["next_page_offset"], 300);
        let wanted = json!({"ids": [300, -1, 255, 18_446_744_073_709_551_615_u64]});
        let wanted = json!({"ids": [wanted["ids"][0], wanted["ids"][2], wanted["ids"][3]]});
        let found = ok(&sidecar, "POST", "/collections/items/points", &wanted).await;
        assert_eq!(found.as_array().unwrap().len(), 2);
    });
}

#[test]
fn names_with_quotes_in_them_stay_names() {
    story(async {
        let sql = r#"create schema "s"";--"; create table "s"";--"."t'; drop table x;--" (
            "id"";" uuid primary key, "v'""" vector(2), "p\'" json, "kind'" text);
            insert into "s"";--"."t'; drop table x;--" values
            ('11111111-1111-4111-8111-111111111111', '[3,4]', '{"a''": "''; --"}', 'x''y'),
            ('22222222-2222-4222-8222-222222222222', '[3,4]', '{}', 'z')"#;
        let scene = Scene::with(sql).await;
        // Literal strings of TOML may span lines, and then hold their own mark.
        let toml = "[collections.odd]\ntable = '''\"s\"\";--\".\"t'; drop table x;--\"'''\n";
        let more = "id = 'id\";'\nvector = \"v'\\\"\"\npayload = \"p\\\\'\"\n\
                    discriminator = \"kind'\"\nsource = \"x'y\"\n";
        let sidecar = scene.sidecar(&format!("{toml}{more}")).await;
        let all = scrolled(&sidecar, "odd").await;
        let expected = json!([{"id": "11111111-1111-4111-8111-111111111111",
            "payload": {"a'": "'; --"}, "vector": [0.6, 0.8]}]);
        assert!(alike(&json!(all), &expected), "{all:#?}");
        let query = json!({"vector": [3.0, 4.0], "limit": 3});
        let found = ok(&sidecar, "POST", "/collections/odd/points/search", &query).await;
        assert_eq!(found.as_array().unwrap().len(), 1);
    });
}

#[test]
fn several_columns_are_several_vectors() {
    story(async {
        let sql = "create table pages (id bigint primary key, title vector(2), body vector(3), \
                   lang text); insert into pages values (1, '[3,4]', '[1,0,0]', 'en'), \
                   (2, null, '[0,2,0]', 'de')";
        let scene = Scene::with(sql).await;
        let toml = "[collections.pages]\ntable = \"pages\"\n[collections.pages.vectors]\n\
                    title = \"title\"\n\"the body\" = \"body\"\n";
        let sidecar = scene.sidecar(toml).await;
        let all = scrolled(&sidecar, "pages").await;
        let expected = json!([
            {"id": 1, "payload": {"lang": "en"},
             "vector": {"title": [0.6, 0.8], "the body": [1.0, 0.0, 0.0]}},
            {"id": 2, "payload": {"lang": "de"}, "vector": {"the body": [0.0, 1.0, 0.0]}},
        ]);
        assert!(alike(&json!(all), &expected), "{all:#?}");
        let query = json!({"query": [0.0, 1.0, 0.0], "using": "the body", "limit": 1});
        let found = ok(&sidecar, "POST", "/collections/pages/points/query", &query).await;
        assert_eq!(found["points"][0]["id"], 2);
    });
}

const MANY: &str = "select setseed(0.5); \
    create table langchain_pg_collection (uuid uuid primary key, name varchar, cmetadata json); \
    insert into langchain_pg_collection values ('00000000-0000-0000-0000-000000000001', 'many', null); \
    create table langchain_pg_embedding (id varchar primary key, collection_id uuid, \
    embedding vector, document varchar, cmetadata jsonb); \
    insert into langchain_pg_embedding select gen_random_uuid()::text, \
    '00000000-0000-0000-0000-000000000001', array[random(), random(), random()]::vector, 'd', \
    jsonb_build_object('n', i) from generate_series(1, 3000) i; \
    create index near on langchain_pg_embedding using hnsw ((embedding::vector(3)) vector_cosine_ops) \
    where collection_id = '00000000-0000-0000-0000-000000000001'; \
    create table mem (id uuid primary key, vector vector(3), payload jsonb); \
    insert into mem select gen_random_uuid(), array[random(), random(), random()]::vector, \
    jsonb_build_object('n', i) from generate_series(1, 3000) i; \
    create index mem_near on mem using ivfflat (vector vector_cosine_ops) with (lists = 20); \
    analyze langchain_pg_embedding; analyze mem;";

/// What the statements that really ran have used: counted by PostgreSQL.
#[test]
fn searches_and_lookups_go_by_the_tables_own_indexes() {
    story(async {
        let scene = Scene::with(MANY).await;
        let toml =
            "[collections.many]\nadopt = \"langchain\"\n[collections.mem]\nadopt = \"mem0\"\n";
        let sidecar = scene.sidecar(toml).await;
        let id = scene
            .rows("select id from langchain_pg_embedding limit 1")
            .await;
        let id: Value = serde_json::from_str(&id[0]).unwrap();
        let mem = scene.rows("select id from mem limit 1").await;
        let mem: Value = serde_json::from_str(&mem[0]).unwrap();
        let used = async |index: &str, times: i64| {
            let sql = format!(
                "select 1 as x from pg_stat_user_indexes where indexrelname = '{index}' and idx_scan >= {times}"
            );
            !scene.rows(&sql).await.is_empty()
        };
        let scans = "select relname, seq_scan from pg_stat_user_tables \
                     where relname in ('mem', 'langchain_pg_embedding') order by 1";
        // What came before is counted by then.
        until("the start is counted", async || {
            used("langchain_pg_embedding_pkey", 0).await
        })
        .await;
        scene.run("select pg_stat_force_next_flush()").await;
        let before = scene.rows(scans).await;
        let search = json!({"vector": [1.0, 0.5, 0.0], "limit": 5, "with_payload": true, "with_vector": true});
        for (name, id) in [("many", &id["id"]), ("mem", &mem["id"])] {
            let at = |way: &str| format!("/collections/{name}/points{way}");
            let found = ok(&sidecar, "POST", &at("/search"), &search).await;
            assert_eq!(found.as_array().unwrap().len(), 5);
            let found = ok(&sidecar, "POST", &at(""), &json!({"ids": [id]})).await;
            assert_eq!(found.as_array().unwrap().len(), 1);
            let filter = json!({"filter": {"must": [{"has_id": [id]}]}});
            let found = ok(&sidecar, "POST", &at("/scroll"), &filter).await;
            assert_eq!(found["points"].as_array().unwrap().len(), 1);
        }
        let page = json!({"limit": 10, "offset": mem["id"]});
        ok(&sidecar, "POST", "/collections/mem/points/scroll", &page).await;
        for (index, times) in [
            ("near", 1),
            ("mem_near", 1),
            ("langchain_pg_embedding_pkey", 2),
            ("mem_pkey", 3),
        ] {
            until(&format!("{index} is used"), async || {
                used(index, times).await
            })
            .await;
        }
        assert_eq!(
            scene.rows(scans).await,
            before,
            "a table was read from end to end"
        );

        // The index finds what looking at everything finds.
        for name in ["many", "mem"] {
            let target = format!("/collections/{name}/points/query");
            let query = json!({"query": [1.0, 0.5, 0.0], "limit": 10});
            let near = ok(&sidecar, "POST", &target, &query).await;
            let mut exact = query.clone();
            exact["params"] = json!({"exact": true});
            let exact = ok(&sidecar, "POST", &target, &exact).await;
            assert!(alike(&near, &exact), "{near:#}\n{exact:#}");
        }
    });
}

#[test]
fn answers_of_adopted_tables_are_kept_for_a_short_time_only() {
    story(async {
        let sql = "create table items (id int primary key, v vector(2)); \
                   insert into items values (1, '[1,1]')";
        let scene = Scene::with(sql).await;
        let toml = "cache.enabled = true\n[collections.items]\ntable = \"items\"\nttl = \"50ms\"\n";
        let sidecar = scene.sidecar(toml).await;
        let count = async || {
            let target = "/collections/items/points/count";
            ok(&sidecar, "POST", target, &json!({})).await["count"].clone()
        };
        assert_eq!(count().await, 1);
        // Written past us.
        scene.run("insert into items values (2, '[1,2]')").await;
        until("the other's write is seen", async || count().await == 2).await;
    });
}

#[test]
fn words_are_found_in_texts_with_an_index() {
    story(async {
        let sql = "create table embedding_d (id uuid primary key, text text, meta jsonb, \
                   embedding vector(2)); insert into embedding_d values \
                   ('11111111-1111-4111-8111-111111111111', 'Grüner Tee, HEISS', '{}', '[1,1]'), \
                   ('22222222-2222-4222-8222-222222222222', 'teetasse', '{}', '[1,1]')";
        let scene = Scene::with(sql).await;
        let sidecar = scene.sidecar("[collections.d]\nadopt = \"dify\"\n").await;
        let index = json!({"field_name": "page_content", "field_schema": {"type": "text",
            "tokenizer": "multilingual", "lowercase": true}});
        ok(&sidecar, "PUT", "/collections/d/index?wait=true", &index).await;
        for (text, expected) in [
            ("tee", 1),
            ("heiss tee", 1),
            ("tee kaffee", 0),
            ("teetasse", 1),
        ] {
            let filter =
                json!({"filter": {"must": [{"key": "page_content", "match": {"text": text}}]}});
            let found = ok(&sidecar, "POST", "/collections/d/points/count", &filter).await;
            assert_eq!(found, json!({"count": expected}), "{text}");
        }
    });
}

#[test]
fn a_row_that_jsonb_cannot_hold_is_shown_as_it_is() {
    story(async {
        let sql = r#"create table docs (id int primary key, v vector(2), payload json);
            insert into docs values (1, '[1,1]', '{"a": "x\u0000\u0000y", "b": "\\u0000", "c": "\\\u0000"}'),
            (2, '[1,1]', '{"a": "plain"}')"#;
        let scene = Scene::with(sql).await;
        let toml = "[collections.docs]\ntable = \"docs\"\npayload = \"payload\"\n";
        let sidecar = scene.sidecar(toml).await;
        let all = scrolled(&sidecar, "docs").await;
        let expected = json!({"a": "x\u{0}\u{0}y", "b": "\\u0000", "c": "\\\u{0}"});
        assert_eq!(all[0]["payload"], expected);
        let filter =
            json!({"filter": {"must": [{"key": "a", "match": {"value": "x\u{0}\u{0}y"}}]}});
        let counted = ok(&sidecar, "POST", "/collections/docs/points/count", &filter).await;
        assert_eq!(counted, json!({"count": 1}));
    });
}
