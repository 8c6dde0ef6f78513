//! Where the engine leaves its own answer open, and shows it: a filter that it answers in two ways,
//! by an index and by a look at each point; points of one score, of which any may be the last that
//! goes up from a prefetch or into a group, or that an offset skips; words and values that it still
//! finds in, or counts for, points that do not have them any more. Each is shown by asking the
//! engine again, or it is no excuse.

use serde_json::{Value, json};

use super::equal::{rank, same, stripped};
use super::filter::looked_at_each;
use super::{Asked, NAME, Twins};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Excuse {
    /// The engine says the same as pgvector once it looks at each point.
    EngineDisagreesWithItself,
    /// The engine says the same as pgvector once it is given the same points afresh: its index of
    /// sparse vectors keeps entries of vectors that were written over, finds points by them and
    /// counts them in what a rare word weighs; its index of values counts values that were written
    /// over; its index of `o[0].v` keeps the value when `o[].v` is deleted, for it takes out of an
    /// index only what is deleted by the very path of the index.
    EngineCountsWhatIsGone,
    /// Points of one score, somewhere below.
    Ties,
    /// Asked the same again, the engine says now the one and now the other.
    EngineTossesUp,
    /// A formula fails for several points, and each names another.
    FormulaFails,
}

/// So often a query is asked again: of two answers that are as likely, both come.
const TOSSES: usize = 40;

impl Twins {
    pub(super) async fn excuse(
        &mut self,
        asked: &Asked,
        embedded: &(u16, Value),
        pgvector: &(u16, Value),
    ) -> Option<Excuse> {
        // Of points of one score any may be the ones that are skipped: all are asked for.
        let mut whole = asked.clone();
        if asked.target.ends_with("/scroll") || !without_offset(&mut whole.body) {
            return self.excuse_whole(asked, embedded, pgvector).await;
        }
        let embedded = self.embedded.ask(&whole).await;
        let pgvector = self.pgvector.ask(&whole).await;
        let (one, other) = (stripped(asked, &embedded.1), stripped(asked, &pgvector.1));
        if embedded.0 == pgvector.0 && same(&one, &other) {
            return Some(Excuse::Ties);
        }
        self.excuse_whole(&whole, &embedded, &pgvector).await
    }

    async fn excuse_whole(
        &mut self,
        asked: &Asked,
        embedded: &(u16, Value),
        pgvector: &(u16, Value),
    ) -> Option<Excuse> {
        let fails = |answer: &(u16, Value)| {
            let text = answer.1["status"]["error"].as_str().unwrap_or_default();
            text.contains("non-finite number")
                || text.contains("in the payload and/or in the formula")
        };
        if fails(embedded) && fails(pgvector) {
            return Some(Excuse::FormulaFails);
        }
        let mut again = asked.clone();
        if rewritten(&mut again.body) {
            let plain = self.embedded.ask(&again).await;
            let is_same = plain.0 == pgvector.0
                && same(&stripped(asked, &plain.1), &stripped(asked, &pgvector.1));
            if is_same {
                return Some(Excuse::EngineDisagreesWithItself);
            }
        }
        if self.is_told_afresh(asked, pgvector).await {
            return Some(Excuse::EngineCountsWhatIsGone);
        }
        let collection = asked
            .target
            .split("/points")
            .next()
            .unwrap_or_default()
            .to_owned();
        if asked.target.contains("/points/query") && self.ties(&collection, &again.body).await {
            return Some(Excuse::Ties);
        }
        if self.ties_before_groups(asked).await {
            return Some(Excuse::Ties);
        }
        let tosses_up = self.tosses_up(asked, embedded, pgvector).await;
        tosses_up.then_some(Excuse::EngineTossesUp)
    }

    /// Whether the engine, with nothing written in between, gives pgvector's answer to a query and
    /// then its own again. A cut through points of one score inside of a query of queries shows in
    /// nothing else.
    async fn tosses_up(
        &mut self,
        asked: &Asked,
        embedded: &(u16, Value),
        pgvector: &(u16, Value),
    ) -> bool {
        if !asked.target.contains("/points/query") {
            return false;
        }
        let told = |answer: &(u16, Value)| (answer.0, stripped(asked, &answer.1));
        let is =
            |one: &(u16, Value), other: &(u16, Value)| one.0 == other.0 && same(&one.1, &other.1);
        let mut wanted = [told(pgvector), told(embedded)].into_iter().peekable();
        for _ in 0..TOSSES {
            let answer = self.embedded.ask(asked).await;
            let _seen = wanted.next_if(|wanted| is(&told(&answer), wanted));
        }
        wanted.peek().is_none()
    }

    /// Whether of points that score the same only some are looked at for a first time, to be put
    /// into groups: those that have no key there leave it to the others whether there is a group.
    async fn ties_before_groups(&mut self, asked: &Asked) -> bool {
        let Some(target) = asked.target.strip_suffix("/groups") else {
            return false;
        };
        let query = &asked.body["query"];
        if target.ends_with("/query") && (query.is_null() || query.get("order_by").is_some()) {
            // Not ordered by scores, but by ids in the end.
            return false;
        }
        let mut body = asked.body.clone();
        let count = |key: &str| asked.body[key].as_u64().unwrap_or(1);
        let (groups, size) = (count("limit"), count("group_size"));
        let mut filters = vec![json!({
            "must_not": [{"is_empty": {"key": body["group_by"]}}],
        })];
        filters.extend(body.get("filter").filter(|own| !own.is_null()).cloned());
        body["filter"] = json!({"must": filters});
        body["limit"] = json!(groups * size + 1);
        widen(&mut body, groups);
        for key in ["group_by", "group_size", "with_lookup", "with_vector"] {
            body.as_object_mut().unwrap().remove(key);
        }
        let plain = Asked::new("ties", "POST", target.to_owned(), body);
        let found = self.embedded.ask(&plain).await.1;
        let result = &found["result"];
        let hits = result["points"].as_array().or(result.as_array());
        let Some(hits) = hits else { return false };
        let cut = usize::try_from(groups * size).unwrap();
        match (hits.get(cut.wrapping_sub(1)), hits.get(cut)) {
            (Some(last), Some(next)) => are_tied(last, next),
            _ => false,
        }
    }

    /// Whether the engine says what pgvector says, of a collection that it is given as it now
    /// stands.
    async fn is_told_afresh(&mut self, asked: &Asked, pgvector: &(u16, Value)) -> bool {
        let own = format!("/collections/{NAME}");
        let Some(rest) = asked.target.strip_prefix(&own) else {
            return false;
        };
        if !rest.starts_with("/facet") && !rest.starts_with("/points/") {
            return false;
        }
        let info = self.tell("GET", own.clone(), Value::Null).await;
        let params = &info["config"]["params"];
        let afresh = "/collections/afresh";
        self.tell("DELETE", afresh.to_owned(), Value::Null).await;
        let config = json!({
            "vectors": params["vectors"], "sparse_vectors": params["sparse_vectors"],
        });
        self.tell("PUT", afresh.to_owned(), config).await;
        for (field, schema) in info["payload_schema"].as_object().into_iter().flatten() {
            let mut index = schema["params"].clone();
            if index.is_null() {
                index = schema["data_type"].clone();
            }
            let index = json!({"field_name": field, "field_schema": index});
            self.tell("PUT", format!("{afresh}/index?wait=true"), index)
                .await;
        }
        let all = json!({"limit": 1000, "with_payload": true, "with_vector": true});
        let all = self.tell("POST", format!("{own}/points/scroll"), all).await;
        if all["points"] != json!([]) {
            let points = json!({"points": all["points"]});
            self.tell("PUT", format!("{afresh}/points?wait=true"), points)
                .await;
        }
        let mut again = asked.clone();
        again.target = format!("{afresh}{rest}");
        let mut is_same = false;
        for _ in 0..2 {
            let answer = self.embedded.ask(&again).await;
            is_same |= answer.0 == pgvector.0
                && same(&stripped(asked, &answer.1), &stripped(asked, &pgvector.1));
            // And, as above, with a look at each point.
            rewritten(&mut again.body);
        }
        self.tell("DELETE", afresh.to_owned(), Value::Null).await;
        is_same
    }

    /// What the engine says to a request that it does not refuse.
    async fn tell(&mut self, method: &'static str, target: String, body: Value) -> Value {
        let asked = Asked::new("excuse", method, target, body);
        let (status, answer) = self.embedded.ask(&asked).await;
        assert_eq!(status, 200, "{asked:?}: {answer}");
        answer["result"].clone()
    }

    /// Whether points score the same in what a query is made from.
    async fn ties(&mut self, collection: &str, body: &Value) -> bool {
        for search in body
            .get("searches")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if Box::pin(self.ties(collection, search)).await {
                return true;
            }
        }
        let mut parts = match body.get("prefetch") {
            Some(Value::Array(parts)) => parts.clone(),
            Some(Value::Null) | None => Vec::new(),
            Some(part) => vec![part.clone()],
        };
        let query = &body["query"];
        if query.get("mmr").is_some() {
            // What novelty chooses from.
            let mut nearest = body.clone();
            nearest["query"] = query["nearest"].clone();
            let most = query["mmr"]["candidates_limit"].as_u64();
            nearest["limit"] = json!(most.or(body["limit"].as_u64()).unwrap_or(10));
            nearest.as_object_mut().unwrap().remove("offset");
            parts.push(nearest);
        }
        for part in parts {
            if Box::pin(self.ties(collection, &part)).await {
                return true;
            }
            let mut alone = part.clone();
            let merged = [&part["filter"], &body["filter"]].map(Clone::clone);
            alone["filter"] =
                json!({"must": merged.iter().filter(|f| !f.is_null()).collect::<Vec<_>>()});
            alone["limit"] = json!(part["limit"].as_u64().unwrap_or(10) + 1);
            for key in [
                "with_vector",
                "with_payload",
                "group_by",
                "group_size",
                "with_lookup",
            ] {
                alone.as_object_mut().unwrap().remove(key);
            }
            let asked = Asked::new("ties", "POST", format!("{collection}/points/query"), alone);
            let found = self.embedded.ask(&asked).await.1;
            let hits = found["result"]["points"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            // In the order of their ids all score 1, and tie in nothing.
            let is_ranked = !part["query"].is_null();
            let near = |pair: &[Value]| are_tied(&pair[0], &pair[1]);
            if is_ranked && hits.windows(2).any(near) {
                return true;
            }
        }
        false
    }
}

/// Whether a search may put either of two hits before the other.
fn are_tied(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (rank(one), rank(other)) else {
        return false;
    };
    one.total_cmp(&other).is_eq()
        || (one - other).abs() <= 1e-6 * one.abs().max(other.abs()).max(1e-2)
}

/// Lets the prefetches of a search find points for so many groups, as the engine does.
fn widen(body: &mut Value, groups: u64) {
    let mut parts: Vec<&mut Value> = match body.get_mut("prefetch") {
        Some(Value::Array(parts)) => parts.iter_mut().collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(part) => vec![part],
    };
    for part in &mut parts {
        let limit = part["limit"].as_u64().unwrap_or(10);
        part["limit"] = json!(limit * groups);
        widen(part, groups);
    }
}

/// Makes a request, and each of those in a batch, one that skips nothing. Whether any did.
fn without_offset(body: &mut Value) -> bool {
    let mut has_any = false;
    let searches = body.get_mut("searches").and_then(Value::as_array_mut);
    for search in searches.into_iter().flatten() {
        has_any |= without_offset(search);
    }
    let offset = body["offset"].as_u64().unwrap_or(0);
    if offset > 0 {
        let limit = body["limit"].as_u64().unwrap_or(10);
        body["limit"] = json!(limit + offset);
        body["offset"] = json!(0);
        has_any = true;
    }
    has_any
}

/// Puts every filter of a request into the form in which each point is looked at.
fn rewritten(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => {
            let mut has_any = false;
            for (key, inner) in map.iter_mut() {
                if key == "filter" && inner.is_object() {
                    *inner = looked_at_each(inner);
                    has_any = true;
                } else {
                    has_any |= rewritten(inner);
                }
            }
            has_any
        }
        Value::Array(items) => {
            let mut has_any = false;
            for item in items {
                has_any |= rewritten(item);
            }
            has_any
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
