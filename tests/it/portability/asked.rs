//! One request for every operation, and for every feature of a body.

use serde_json::{Value, json};

pub(super) struct Row {
    pub(super) method: &'static str,
    /// `SNAPSHOT` stands for the one that was made last.
    pub(super) target: String,
    pub(super) body: Value,
}

impl Row {
    /// To put a snapshot back takes a file: that it is asked for says that it is served.
    pub(super) fn lacks_a_file(&self, text: &str) -> bool {
        let takes_one = ["/recover", "/upload"];
        let is_recovery = takes_one.iter().any(|end| self.target.ends_with(end));
        is_recovery && !text.contains("does not serve")
    }
}

const POINTS: &str = "/collections/docs/points";

pub(super) fn rows() -> Vec<Row> {
    let all = [
        collections(),
        writes(),
        reads(),
        queries(),
        filters(),
        insides(),
        snapshots(),
        last(),
    ];
    all.into_iter()
        .flatten()
        .map(|(method, target, body)| Row {
            method,
            target,
            body,
        })
        .collect()
}

type Asked = (&'static str, String, Value);

fn at(method: &'static str, target: &str, body: Value) -> Asked {
    (method, target.to_owned(), body)
}

fn of_points(method: &'static str, target: &str, body: Value) -> Asked {
    (method, format!("{POINTS}{target}"), body)
}

fn collections() -> Vec<Asked> {
    let made = json!({
        "vectors": {
            "": {"size": 2, "distance": "Dot"},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {}},
    });
    let small =
        json!({"size": 2, "distance": "Dot", "quantization_config": {"scalar": {"type": "int8"}}});
    let sharded = json!({"vectors": {"size": 2, "distance": "Dot"}, "sharding_method": "custom"});
    let index = |name: &str, schema: Value| {
        let body = json!({"field_name": name, "field_schema": schema});
        at("PUT", "/collections/docs/index?wait=true", body)
    };
    let text = json!({"type": "text", "tokenizer": "word", "phrase_matching": true});
    let alias =
        json!({"actions": [{"create_alias": {"collection_name": "docs", "alias_name": "live"}}]});
    vec![
        at("PUT", "/collections/docs", made),
        at("PUT", "/collections/other", json!({"vectors": small})),
        at("PUT", "/collections/sharded", sharded),
        at(
            "PATCH",
            "/collections/docs",
            json!({"optimizers_config": {"indexing_threshold": 5000}}),
        ),
        index("user", json!("keyword")),
        index("n", json!("integer")),
        index("text", text),
        index("gone", json!("keyword")),
        at("DELETE", "/collections/docs/index/gone", Value::Null),
        at(
            "PUT",
            "/collections/other/vectors/more",
            json!({"dense": {"size": 2, "distance": "Dot"}}),
        ),
        at("DELETE", "/collections/other/vectors/more", Value::Null),
        at("POST", "/collections/aliases", alias),
        at("GET", "/collections", Value::Null),
        at("GET", "/collections/docs", Value::Null),
        at("GET", "/collections/docs/exists", Value::Null),
        at("GET", "/collections/docs/aliases", Value::Null),
        at("GET", "/aliases", Value::Null),
    ]
}

fn writes() -> Vec<Asked> {
    let point = |id: u64| {
        let payload = json!({"user": format!("u{}", id % 3), "n": id, "text": "the fox runs",
            "at": "2024-01-01T00:00:00Z", "place": {"lat": 52.0, "lon": 13.0},
            "parts": [{"k": 1}, {"k": 2}], "nothing": null});
        let vector = json!({"": [id, 1.0], "rows": [[1.0, id], [0.5, 2.0]],
            "words": {"indices": [1, id + 1], "values": [1.0, 0.5]}});
        json!({"id": id, "vector": vector, "payload": payload})
    };
    let points = json!({"points": (1..=20).map(point).collect::<Vec<_>>()});
    let plain = json!({"points": [{"id": 1, "vector": [1.0, 1.0]}]});
    let columns = json!({"batch": {"ids": [30, 31], "vectors": [[1.0, 2.0], [2.0, 1.0]]}});
    let guarded = json!({"points": [{"id": 30, "vector": [1.0, 1.0]}], "update_mode": "upsert",
        "update_filter": {"must": [{"key": "n", "range": {"gte": 1}}]}});
    let text = |model: &str| {
        let text = json!({"text": "a fox", "model": model});
        json!({"points": [{"id": 32, "vector": {"words": text}}]})
    };
    let by_filter = json!({"filter": {"must": [{"key": "n", "match": {"value": 31}}]}});
    let batch = json!({"operations": [{"set_payload": {"points": [1], "payload": {"b": 1}}},
        {"delete": {"points": [31]}}]});
    let sharded = json!({"points": [1], "shard_key": "k"});
    vec![
        of_points("PUT", "?wait=true&ordering=strong", points),
        at("PUT", "/collections/other/points?wait=true", plain),
        of_points("PUT", "?wait=true", columns),
        of_points("PUT", "?wait=true", guarded),
        of_points("PUT", "?wait=true", text("qdrant/bm25")),
        of_points("PUT", "?wait=true", text("openai/any")),
        of_points(
            "PUT",
            "/vectors?wait=true",
            json!({"points": [{"id": 30, "vector": [2.0, 2.0]}]}),
        ),
        of_points(
            "POST",
            "/vectors/delete?wait=true",
            json!({"points": [31], "vector": [""]}),
        ),
        of_points(
            "POST",
            "/payload?wait=true",
            json!({"points": [30], "payload": {"c": 1}, "key": "a"}),
        ),
        of_points(
            "PUT",
            "/payload?wait=true",
            json!({"points": [30], "payload": {"c": 1}}),
        ),
        of_points(
            "POST",
            "/payload/delete?wait=true",
            json!({"points": [30], "keys": ["c"]}),
        ),
        of_points("POST", "/payload/clear?wait=true", json!({"points": [30]})),
        of_points("POST", "/batch?wait=true", batch),
        of_points("POST", "/delete?wait=true", by_filter),
        of_points("POST", "/delete?wait=true", sharded),
    ]
}

fn reads() -> Vec<Asked> {
    vec![
        of_points("GET", "/1", Value::Null),
        of_points(
            "POST",
            "",
            json!({"ids": [1, 2], "with_vector": true, "with_payload": ["n"]}),
        ),
        of_points("POST", "/scroll?consistency=majority", json!({"limit": 2})),
        of_points("POST", "/scroll", json!({"limit": 2, "order_by": "n"})),
        of_points("POST", "/scroll", json!({"limit": 2, "shard_key": "k"})),
        of_points("POST", "/count", json!({"exact": false})),
        of_points("POST", "/count", json!({})),
        at("POST", "/collections/docs/facet", json!({"key": "user"})),
        at(
            "POST",
            "/collections/docs/facet",
            json!({"key": "user", "exact": true}),
        ),
        of_points(
            "POST",
            "/search/matrix/pairs",
            json!({"sample": 4, "limit": 2}),
        ),
        of_points(
            "POST",
            "/search/matrix/offsets",
            json!({"sample": 4, "limit": 2}),
        ),
    ]
}

fn queries() -> Vec<Asked> {
    let query = |body: Value| of_points("POST", "/query", body);
    let words = json!({"indices": [1, 2], "values": [1.0, 1.0]});
    let pair = json!({"positive": 2, "negative": 3});
    let leaf = json!({"query": [1.0, 0.5], "limit": 5});
    let feedback = json!({"target": [1.0, 0.5], "strategy": {"naive": {"a": 1.0, "b": 1.0, "c": 1.0}},
        "feedback": [{"example": 2, "score": 0.5}]});
    let tuned = json!({"hnsw_ef": 32, "indexed_only": true, "acorn": {"enable": true},
        "quantization": {"rescore": true}});
    let search = json!({"vector": [1.0, 0.5], "limit": 3});
    let recommend = json!({"positive": [1], "negative": [2], "limit": 3});
    let discover = json!({"target": 1, "context": [pair], "limit": 3});
    let groups = json!({"vector": [1.0, 0.5], "group_by": "user", "limit": 2, "group_size": 2});
    let by_recommend = json!({"positive": [1], "group_by": "user", "limit": 2, "group_size": 2});
    let of =
        |strategy: &str| json!({"query": {"recommend": {"positive": [1], "strategy": strategy}}});
    let two = json!([leaf, {"query": words, "using": "words", "limit": 5}]);
    vec![
        query(json!({"query": [1.0, 0.5], "params": tuned})),
        query(
            json!({"query": [1.0, 0.5], "params": {"exact": true}, "score_threshold": 0.1, "offset": 1}),
        ),
        query(json!({"query": 1, "with_payload": {"include": ["n"]}})),
        query(json!({"query": words, "using": "words"})),
        query(json!({"query": [[1.0, 0.5], [1.0, 0.25]], "using": "rows"})),
        query(json!({"query": {"text": "fox", "model": "qdrant/bm25"}, "using": "words"})),
        query(json!({"query": {"text": "fox", "model": "openai/any"}})),
        query(json!({"query": {"nearest": [1.0, 0.5], "mmr": {"diversity": 0.5}}})),
        query(of("average_vector")),
        query(of("best_score")),
        query(of("sum_scores")),
        query(json!({"query": {"discover": {"target": [1.0, 0.5], "context": pair}}})),
        query(json!({"query": {"context": [pair]}})),
        query(json!({"query": {"relevance_feedback": feedback}})),
        query(json!({"query": {"order_by": "n"}})),
        query(json!({"query": {"sample": "random"}})),
        query(json!({"query": {"fusion": "rrf"}, "prefetch": two})),
        query(json!({"query": {"rrf": {"k": 5}}, "prefetch": two})),
        query(json!({"query": {"fusion": "dbsf"}, "prefetch": two})),
        query(json!({"query": {"formula": {"sum": ["$score", 1.0]}}, "prefetch": leaf})),
        query(json!({"query": 1, "lookup_from": {"collection": "other"}})),
        query(json!({"query": [1.0, 0.5], "shard_key": ["k"]})),
        query(json!({"query": 1, "lookup_from": {"collection": "other", "shard_key": "k"}})),
        of_points("POST", "/query/batch", json!({"searches": [leaf, {}]})),
        of_points(
            "POST",
            "/query/groups",
            json!({"query": [1.0, 0.5], "group_by": "user", "limit": 2}),
        ),
        of_points(
            "POST",
            "/query/groups",
            json!({"query": [1.0, 0.5], "group_by": "n", "with_lookup": "other", "limit": 2}),
        ),
        of_points("POST", "/search", search.clone()),
        of_points(
            "POST",
            "/search",
            json!({"vector": {"name": "words", "vector": words}, "limit": 3}),
        ),
        of_points("POST", "/search/batch", json!({"searches": [search]})),
        of_points("POST", "/search/groups", groups),
        of_points("POST", "/recommend", recommend.clone()),
        of_points("POST", "/recommend/batch", json!({"searches": [recommend]})),
        of_points("POST", "/recommend/groups", by_recommend),
        of_points("POST", "/discover", discover.clone()),
        of_points("POST", "/discover/batch", json!({"searches": [discover]})),
    ]
}

fn filters() -> Vec<Asked> {
    let place = json!({"lat": 52.0, "lon": 13.0});
    let ring = json!({"points": [{"lat": 50.0, "lon": 10.0}, {"lat": 54.0, "lon": 10.0},
        {"lat": 54.0, "lon": 16.0}, {"lat": 50.0, "lon": 10.0}]});
    let around =
        json!({"top_left": {"lat": 54.0, "lon": 10.0}, "bottom_right": {"lat": 50.0, "lon": 16.0}});
    let nested = json!({"key": "parts", "filter": {"must": [{"key": "k", "match": {"value": 1}}]}});
    let conditions = [
        json!({"key": "user", "match": {"value": "u1"}}),
        json!({"key": "user", "match": {"any": ["u1", "u2"]}}),
        json!({"key": "user", "match": {"except": ["u1"]}}),
        json!({"key": "text", "match": {"text": "fox"}}),
        json!({"key": "text", "match": {"text_any": "fox cat"}}),
        json!({"key": "text", "match": {"phrase": "fox runs"}}),
        json!({"key": "n", "range": {"gte": 3, "lt": 9}}),
        json!({"key": "at", "range": {"gte": "2023-01-01T00:00:00Z"}}),
        json!({"key": "place", "geo_bounding_box": around}),
        json!({"key": "place", "geo_radius": {"center": place, "radius": 1000.0}}),
        json!({"key": "place", "geo_polygon": {"exterior": ring}}),
        json!({"key": "parts", "values_count": {"gte": 2}}),
        json!({"is_empty": {"key": "none"}}),
        json!({"is_null": {"key": "nothing"}}),
        json!({"has_id": [1, 2]}),
        json!({"has_vector": "words"}),
        json!({"nested": nested}),
    ];
    let some = json!({"conditions": [conditions[0], conditions[6]], "min_count": 1});
    let many = vec![conditions[0].clone(); 2_001];
    let mut filters: Vec<Value> = conditions.map(|one| json!({"must": [one]})).to_vec();
    filters.push(json!({"min_should": some}));
    filters.push(json!({"should": many}));
    let by = |filter: &Value| {
        let body = json!({"query": [1.0, 0.5], "params": {"exact": true}, "filter": filter});
        of_points("POST", "/query", body)
    };
    filters.iter().map(by).collect()
}

/// What concerns nodes, shards and the inside of a server.
fn insides() -> Vec<Asked> {
    let get = |target: &str| at("GET", target, Value::Null);
    let key = json!({"shard_key": "k"});
    let shard = "/collections/docs/shards/0";
    vec![
        get("/metrics"),
        get("/telemetry"),
        get("/issues"),
        at("DELETE", "/issues", Value::Null),
        get("/logger"),
        at("POST", "/logger", json!({})),
        get("/stacktrace"),
        get("/debugger"),
        at("PATCH", "/debugger", json!({})),
        get("/profiler/slow_requests"),
        at("POST", "/audit/logs", json!({})),
        get("/cluster"),
        get("/cluster/telemetry"),
        at("POST", "/cluster/recover", Value::Null),
        at("DELETE", "/cluster/peer/1", Value::Null),
        get("/cluster/metadata/keys"),
        get("/cluster/metadata/keys/k"),
        at("PUT", "/cluster/metadata/keys/k", json!({})),
        at("DELETE", "/cluster/metadata/keys/k", Value::Null),
        get("/collections/docs/optimizations"),
        get("/collections/docs/memory"),
        get("/collections/docs/cluster"),
        at(
            "POST",
            "/collections/docs/cluster",
            json!({"drop_replica": {"shard_id": 0, "peer_id": 1}}),
        ),
        at(
            "POST",
            "/collections/docs/truncate_unapplied_wal",
            Value::Null,
        ),
        get("/collections/docs/shards"),
        at("PUT", "/collections/docs/shards", key.clone()),
        at("POST", "/collections/docs/shards/delete", key),
        at("POST", &format!("{shard}/points"), json!({"ids": [1]})),
        at(
            "POST",
            &format!("{shard}/points/scroll"),
            json!({"limit": 1}),
        ),
        at("POST", &format!("{shard}/points/count"), json!({})),
        at("POST", &format!("{shard}/cleanup"), Value::Null),
        get(&format!("{shard}/wal")),
        get(&format!("{shard}/recovery_point")),
        get("/nowhere"),
    ]
}

fn snapshots() -> Vec<Asked> {
    let mut all = Vec::new();
    for home in ["/collections/docs", "/collections/docs/shards/0", ""] {
        all.push(at("POST", &format!("{home}/snapshots"), Value::Null));
        all.push(at("GET", &format!("{home}/snapshots"), Value::Null));
        all.push(at(
            "GET",
            &format!("{home}/snapshots/SNAPSHOT"),
            Value::Null,
        ));
        all.push(at(
            "DELETE",
            &format!("{home}/snapshots/SNAPSHOT"),
            Value::Null,
        ));
        if !home.is_empty() {
            let nowhere = json!({"location": "file:///nowhere"});
            all.push(at("PUT", &format!("{home}/snapshots/recover"), nowhere));
            all.push(at("POST", &format!("{home}/snapshots/upload"), Value::Null));
        }
    }
    let shard = "/collections/docs/shards/0/snapshot";
    all.push(at("GET", shard, Value::Null));
    for end in ["create", "recover", "recover_from"] {
        all.push(at("POST", &format!("{shard}/partial/{end}"), Value::Null));
    }
    all.push(at("GET", &format!("{shard}/partial/manifest"), Value::Null));
    all
}

fn last() -> Vec<Asked> {
    vec![at("DELETE", "/collections/sharded", Value::Null)]
}
