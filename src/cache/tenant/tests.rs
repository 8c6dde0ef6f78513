use serde_json::json;

use super::super::generation::Generations;
use super::super::scope::Scope;
use super::*;

fn told(schema: Value, params: Value) -> Vec<u8> {
    let told = json!({"result": {"config": {"params": params}, "payload_schema": schema}});
    told.to_string().into_bytes()
}

fn fields_of(answer: &[u8], configured: Option<&str>) -> Vec<String> {
    let tenancy = Tenancy::parse(answer, configured).unwrap();
    tenancy
        .fields
        .iter()
        .map(|field| field.text.clone())
        .collect()
}

#[test]
fn the_fields_are_those_of_the_settings_and_of_indexes_for_tenants() {
    let schema = json!({
        "user_id": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": true}, "points": 1},
        "kind": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": false}},
        "plain": {"data_type": "keyword", "points": 1},
        "a[].b": {"params": {"is_tenant": true}},
    });
    let answer = told(schema.clone(), json!({}));
    assert_eq!(fields_of(&answer, None), ["user_id"]);
    assert_eq!(
        fields_of(&answer, Some("metadata.team")),
        ["metadata.team", "user_id"]
    );
    assert_eq!(fields_of(&answer, Some("user_id")), ["user_id"]);
    let sharded = told(schema, json!({"sharding_method": "custom"}));
    assert!(fields_of(&sharded, Some("user_id")).is_empty());
    assert!(Tenancy::parse(b"{\"status\":\"ok\"}", Some("user_id")).is_none());
}

#[test]
fn a_vector_with_idf_is_told() {
    let answer = told(
        json!({}),
        json!({"sparse_vectors": {
            "bm25": {"modifier": "idf"}, "plain": {"modifier": "none"}, "bare": {},
        }}),
    );
    let tenancy = Tenancy::parse(&answer, None).unwrap();
    assert!(tenancy.is_idf("bm25") && !tenancy.is_idf("plain"));
    assert!(!tenancy.is_idf("bare") && !tenancy.is_idf(""));
}

#[test]
fn whose_a_point_is_is_one_plain_value_at_the_path() {
    let whose = |path: &str, payload: Value| {
        let field = Field::parse(path).unwrap();
        field.whose(payload.as_object().unwrap())
    };
    let tenants = |text: &str| Whose::Tenants(text.to_owned());
    assert_eq!(whose("u", json!({"u": "a"})), tenants("\"a\""));
    assert_eq!(whose("u", json!({"u": 7})), tenants("7"));
    assert_eq!(whose("u", json!({"u": 7.0})), tenants("7"));
    assert_eq!(whose("u", json!({"u": -0.0})), tenants("0"));
    assert_eq!(whose("u", json!({"u": true})), tenants("true"));
    assert_eq!(whose("m.u", json!({"m": {"u": "a"}})), tenants("\"a\""));
    assert_eq!(whose("m.u", json!({"m.u": "a"})), Whose::Nobodys);
    assert_eq!(whose("m.u", json!({"m": "a"})), Whose::Nobodys);
    assert_eq!(whose("u", json!({"u": null})), Whose::Nobodys);
    for unclear in [
        json!({"u": ["a"]}),
        json!({"u": {"v": 1}}),
        json!({"u": 7.5}),
    ] {
        assert_eq!(whose("u", unclear), Whose::Unclear);
    }
    assert_eq!(whose("m.u", json!({"m": [{"u": "a"}]})), Whose::Unclear);
}

#[test]
fn one_uuid_is_one_tenant_however_it_is_spelt() {
    let text = |text: &str| canonical(&json!(text));
    let plain = text("550e8400-e29b-41d4-a716-446655440000");
    assert_eq!(plain, text("550E8400E29B41D4A716446655440000"));
    assert_ne!(plain, text("550e8400-e29b-41d4-a716-446655440001"));
    assert_ne!(text("7"), canonical(&json!(7)));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_the_settings_name_is_ripe_at_once() {
    let generations = Generations::new(Duration::ZERO);
    let schema = json!({"v": {"params": {"is_tenant": true}}});
    let tenancy = Tenancy::parse(&told(schema, json!({})), Some("u")).unwrap();
    let tenancy = Arc::new(tenancy);
    let tenants = Tenants::new(LEARNED_BY_ALL);
    let seen = generations.see(&[Scope::Shape("docs").slot()]);
    let asker = (Asker::default(), "docs");
    tenants.remember(asker, "docs", Some(Arc::clone(&tenancy)), seen);
    let ripe = tenants.ripe("docs", &tenancy);
    let ripe: Vec<&str> = ripe.iter().map(|field| field.text.as_str()).collect();
    assert_eq!(ripe, ["u"]);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_was_told_stays_known_and_ripens_where_others_write_too() {
    let generations = Generations::new(Duration::ZERO);
    let schema = json!({"u": {"params": {"is_tenant": true}}});
    let tenancy = Arc::new(Tenancy::parse(&told(schema, json!({})), None).unwrap());
    let tenants = Tenants::new(LEARNED_BY_ALL);
    let asker = (Asker::default(), "live");
    let seen = generations.see(&[Scope::Shape("docs").slot()]);
    let forgot = tenants.remember(asker, "docs", Some(Arc::clone(&tenancy)), seen.clone());
    assert_eq!(forgot, Forgot::Nothing);
    let known = || tenants.fields(["docs", "live"].into_iter());
    assert_eq!(known().len(), 1);
    assert!(tenants.ripe("docs", &tenancy).is_empty());
    tokio::time::advance(LEARNED_BY_ALL).await;
    assert_eq!(tenants.ripe("docs", &tenancy), known());
    let now = |name| tenants.told(Asker::default(), name, |seen| generations.in_force(seen));
    assert!(now("live").is_none(), "it was told too long ago");
    tenants.remember(asker, "docs", None, seen);
    assert!(now("live").unwrap().is_none() && now("docs").is_none());
    assert!(
        tenants.told(Asker(1), "live", |_| true).is_none(),
        "that is another caller"
    );
    assert_eq!(known().len(), 1, "kept answers may hang on it");
    generations.renew(&[Scope::Shape("docs").slot()]);
    assert!(now("live").is_none(), "the collection was changed");
}
