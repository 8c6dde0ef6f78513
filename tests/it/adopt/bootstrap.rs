//! `outrigger bootstrap --adopt`: what it prints is taken as it is.

use serde_json::{Value, json};

use super::{Scene, ok, scrolled};
use crate::support::process;
use crate::support::story;

const TABLES: &str = "create table \"My Mem\" (id uuid primary key, vector vector(3), payload jsonb); \
    insert into \"My Mem\" values ('11111111-1111-4111-8111-111111111111', '[1,2,3]', '{}'), \
    ('22222222-2222-4222-8222-222222222222', null, '{}'); \
    create table langchain_pg_collection (uuid uuid primary key, name varchar, cmetadata json); \
    insert into langchain_pg_collection values ('00000000-0000-0000-0000-000000000001', 'it''s \"lc\"', null), \
    ('00000000-0000-0000-0000-000000000002', 'empty', null); \
    create table langchain_pg_embedding (id varchar primary key, collection_id uuid, \
    embedding vector, document varchar, cmetadata jsonb); \
    insert into langchain_pg_embedding values ('odd', '00000000-0000-0000-0000-000000000001', '[1,2]', 'd', '{}'); \
    create schema vecs; create table vecs.\"a.b\" (id varchar primary key, vec vector(2), metadata jsonb); \
    create table data_ll (id bigserial primary key, text varchar, metadata_ json, node_id varchar, embedding vector(2)); \
    create table two (nr int primary key, a vector(2), b halfvec(4), name text); \
    insert into two values (1, '[1,1]', '[1,1,1,1]', 'x'), (-1, '[1,1]', null, 'y'); \
    create table no_vectors (id int primary key)";

#[test]
fn the_settings_that_bootstrap_prints_are_taken_as_they_are() {
    story(async {
        let scene = Scene::with(TABLES).await;
        let url = scene.postgres.url();
        let before = scene
            .rows("select nspname from pg_namespace order by 1")
            .await;
        let printed = process::run(&["bootstrap", "--adopt", &url], &[]).await;
        assert_eq!(printed.code, Some(0), "{}", printed.err);
        assert_eq!(
            scene
                .rows("select nspname from pg_namespace order by 1")
                .await,
            before
        );
        for note in [
            "# public.My Mem: 2 rows; vector(3) in \"vector\", Cosine, no index for it",
            "# 1 rows have no vector in \"vector\"",
            "# 1 rows are not shown: their ids are negative",
            "# Left out: collections.empty: the table public.langchain_pg_embedding has no dimension",
        ] {
            assert!(printed.out.contains(note), "{note}\n{}", printed.out);
        }
        let sidecar = scene.sidecar(&printed.out).await;
        let all = ok(&sidecar, "GET", "/collections", &Value::Null).await;
        let names = all["collections"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["My Mem", "a.b", "it's _lc_", "ll", "two"]);
        assert_eq!(scrolled(&sidecar, "My%20Mem").await.len(), 2);
        let two = scrolled(&sidecar, "two").await;
        assert_eq!(two.len(), 1);
        assert_eq!(two[0]["vector"]["b"], json!([0.5, 0.5, 0.5, 0.5]));
    });
}

#[test]
fn a_database_without_such_tables_is_told_from_one_that_does_not_answer() {
    story(async {
        let scene = Scene::with("create table no_vectors (id int primary key)").await;
        let of =
            async |url: &str| process::run(&["bootstrap", "--adopt", url, "--json"], &[]).await;
        let none = of(&scene.postgres.url()).await;
        assert_eq!(
            (none.code, none.out.as_str()),
            (Some(1), "[]\n"),
            "{}",
            none.err
        );
        let wrong = of("mysql://user:s3cret@host/db").await;
        assert_eq!(wrong.code, Some(2), "{}", wrong.err);
        assert!(!wrong.err.contains("s3cret"), "{}", wrong.err);
        let away = of("postgres://postgres@127.0.0.1:1/postgres?sslmode=disable").await;
        assert_eq!(away.code, Some(3), "{}", away.err);
    });
}
