//! Mappings that do not fit end the start, with a sentence that says what to do.

use outrigger::app;
use outrigger::error::ErrorKind;
use serde_json::json;

use super::{Scene, ask, ok};
use crate::support::sidecar::settings;
use crate::support::story;

const TABLES: &str = "create table mem (id uuid primary key, vector vector(3), payload jsonb); \
    create table plain (id uuid primary key, note text); \
    create table untyped (id uuid primary key, v vector); \
    create table two (id uuid primary key, a vector(2), b vector(2)); \
    create table keyless (id uuid, v vector(2)); \
    create table floats (id float8 primary key, v vector(2)); \
    create view seen as select * from mem; \
    create table parts (id int primary key, v vector(2)) partition by range (id); \
    create schema a; create schema b; \
    create table a.twice (id int primary key, v vector(2)); \
    create table b.twice (id int primary key, v vector(2)); \
    create table langchain_pg_collection (uuid uuid primary key, name varchar, cmetadata json); \
    insert into langchain_pg_collection values (gen_random_uuid(), 'facts', null); \
    create table langchain_pg_embedding (id varchar primary key, collection_id uuid, \
    embedding vector, document varchar, cmetadata jsonb); \
    create table document_chunk (id text primary key, vector vector(2), collection_name text, \
    text bytea, vmetadata bytea);";

#[test]
fn a_mapping_that_does_not_fit_ends_the_start_with_its_cure() {
    story(async {
        let scene = Scene::with(TABLES).await;
        let cases = [
            (
                "adopt = \"mem0\"",
                "collections.docs: there is no table docs (or this role does not \
              see it); create it, or name the right one with table",
            ),
            ("table = \"nowhere.mem\"", "there is no table nowhere.mem"),
            (
                "table = \"a.b.c\"",
                "a.b.c is no name of a table; write SCHEMA.TABLE",
            ),
            (
                "adopt = \"mem0\"\ntable = \"plain\"",
                "the table public.plain has no column \"payload\" \
              (it has id, note); name the right one with payload, or another table",
            ),
            (
                "table = \"plain\"",
                "the table public.plain has no column of type vector or halfvec; \
              name another table with table",
            ),
            (
                "table = \"mem\"\nvector = \"payload\"",
                "the table public.mem has \"payload\" of type \
              jsonb, where vector or halfvec is needed; name another column with vector",
            ),
            (
                "table = \"mem\"\npayload = \"vector\"",
                "where json or jsonb is needed",
            ),
            (
                "table = \"untyped\"",
                "the table public.untyped has no dimension in \"v\", and no row to \
              tell it; say it with size",
            ),
            (
                "table = \"mem\"\nsize = 4",
                "has vectors of 3 dimensions in \"vector\", and size asks for 4",
            ),
            (
                "table = \"two\"",
                "has several vectors (a, b); name one with vector, or each with vectors",
            ),
            (
                "table = \"keyless\"",
                "has no primary key of one column; name the column of the id with id",
            ),
            ("table = \"floats\"", "has ids of type float8 in \"id\""),
            ("table = \"seen\"", "is a view; adopt the table behind it"),
            (
                "table = \"parts\"",
                "is partitioned; adopt its partitions one by one",
            ),
            (
                "table = \"twice\"",
                "there are several tables twice (a.twice, b.twice)",
            ),
            (
                "adopt = \"langchain\"",
                "holds no collection \"docs\" (there is facts); name one with source",
            ),
            (
                "adopt = \"open_webui\"",
                "has \"text\" of type bytea, where a text is needed",
            ),
            (
                "adopt = \"langchain\"\nsource = \"facts\"",
                "say it with size",
            ),
        ];
        for (toml, expected) in cases {
            let toml = scene.toml(&format!("[collections.docs]\n{toml}\n"));
            let error = app::start(settings(&toml)).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings, "{toml}");
            let said = error.chain();
            assert!(said.starts_with("collections.docs: "), "{said}");
            assert!(said.contains(expected), "{said}\nwanted: {expected}");
        }
        // One that fits, and the size that an application embeds in.
        let toml = scene.toml("vector_size = 4\n[collections.mem]\nadopt = \"mem0\"\n");
        let error = app::start(settings(&toml)).await.err().unwrap();
        assert!(
            error
                .chain()
                .contains("collection \"mem\" holds vectors of size 3")
        );
    });
}

#[test]
fn a_collection_of_the_stores_own_is_not_hidden_by_a_table() {
    story(async {
        let scene = Scene::with(TABLES).await;
        let sidecar = scene.sidecar("").await;
        let config = json!({"vectors": {"size": 2, "distance": "Dot"}});
        ok(&sidecar, "PUT", "/collections/mem", &config).await;
        let toml = scene.toml("[collections.mem]\nadopt = \"mem0\"\n");
        let error = app::start(settings(&toml)).await.err().unwrap();
        assert!(
            error
                .chain()
                .contains("has a collection \"mem\" of its own"),
            "{}",
            error.chain()
        );
    });
}

#[test]
fn a_table_that_goes_away_is_an_error_in_the_envelope_and_nothing_else_suffers() {
    story(async {
        let scene = Scene::with(TABLES).await;
        let sidecar = scene.sidecar("[collections.mem]\nadopt = \"mem0\"\n").await;
        let target = "/collections/mem/points/count";
        assert_eq!(
            ok(&sidecar, "POST", target, &json!({})).await,
            json!({"count": 0})
        );
        // Nothing of ours keeps the owner from it.
        scene.run("drop view seen; drop table mem").await;
        let said = ask(&sidecar, "POST", target, &json!({})).await.refusal(500);
        assert!(said.contains("mem"), "{said}");
        let all = ok(&sidecar, "GET", "/collections", &json!(null)).await;
        assert!(all.to_string().contains("\"mem\""));
        scene
            .run("create table mem (id uuid primary key, vector vector(3), payload jsonb)")
            .await;
        assert_eq!(
            ok(&sidecar, "POST", target, &json!({})).await,
            json!({"count": 0})
        );
    });
}
