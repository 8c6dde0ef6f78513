//! Filters in SQL against the same filters in Qdrant's own engine.
//!
//! A round makes a collection of both kinds with the same random payloads and payload indexes, and
//! asks both for the points of random filters. A round is replayed with
//! `OUTRIGGER_TEST_FILTER_SEED`; `OUTRIGGER_TEST_FILTER_ROUNDS` runs more of them.
//!
//! Qdrant answers a filter in one of two ways, by looking at every point or by listing the points
//! of an index, and these do not always agree. The first is what is compared; it is had by adding
//! an alternative that no index knows of. How often the second disagrees is told at the end.

mod draw;
mod twin;

use std::collections::BTreeSet;

use draw::Draw;
use qdrant_edge::{Condition, FieldCondition, Filter};
use serde_json::{Value, json};
use twin::Twin;

use super::{Param, Params};
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::payload;
use crate::store::pgvector::scratch::setting;

const POINTS: u64 = 48;
const FILTERS: usize = 100;
const ROUNDS: u64 = 12;

fn number(name: &str) -> Option<u64> {
    Some(setting(name)?.parse().unwrap())
}

#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    /// Points in the answers.
    hits: usize,
    /// Filters for which some points are in the answer and some are not.
    parting: usize,
    /// Qdrant's two ways disagree.
    split: usize,
    /// Qdrant's second way breaks off.
    broken: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_filter_finds_the_points_that_qdrants_engine_finds() {
    let (_scratch, client) = twin::connect().await;
    let first = number("OUTRIGGER_TEST_FILTER_SEED");
    let rounds = number("OUTRIGGER_TEST_FILTER_ROUNDS");
    let rounds = rounds.unwrap_or(if first.is_some() { 1 } else { ROUNDS });
    let first = first.unwrap_or(1);
    let seeds = first..first + rounds;
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for seed in seeds {
        round(&client, seed, &mut tally, &mut wrong).await;
        if wrong.len() >= 20 {
            break;
        }
    }
    println!("{tally:?}");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    // Filters that hold for all points or for none would show little.
    assert!(tally.parting * 4 > tally.cases);
}

async fn round(
    client: &tokio_postgres::Client,
    seed: u64,
    tally: &mut Tally,
    wrong: &mut Vec<String>,
) {
    let mut draw = Draw::new(seed);
    let (indexes, unready) = draw.indexes();
    let points: Vec<(Value, Value, Vec<&str>)> = (0..POINTS)
        .map(|number| (draw.id(number), draw.payload(), draw.vectors()))
        .collect();
    let twin = Twin::make(client, &indexes, &unready, &points, draw.coin(2)).await;
    for number in 0..FILTERS {
        let text = draw.question();
        let filter: Filter = match serde_json::from_value(text.clone()) {
            Ok(filter) => filter,
            Err(error) => {
                wrong.push(format!("seed {seed} filter {number}: {text}: {error}"));
                continue;
            }
        };
        let expected =
            twin.edge(&json!({"should": [text, {"key": "nowhere", "match": {"value": 1}}]}));
        let expected = expected.unwrap();
        tally.cases += 1;
        tally.hits += expected.len();
        tally.parting += usize::from(!expected.is_empty() && expected.len() < points.len());
        match twin.edge(&text) {
            Some(listed) => tally.split += usize::from(listed != expected),
            None => tally.broken += 1,
        }
        match twin.postgres(&filter).await {
            Ok(found) if found == expected => {}
            Ok(found) => wrong.push(describe(
                seed, number, &text, &indexes, &points, &expected, &found,
            )),
            Err(error) => wrong.push(format!("seed {seed} filter {number}: {text}\n{error}")),
        }
    }
    twin.drop().await;
}

fn describe(
    seed: u64,
    number: usize,
    filter: &Value,
    indexes: &[(String, Value)],
    points: &[(Value, Value, Vec<&str>)],
    expected: &BTreeSet<String>,
    found: &BTreeSet<String>,
) -> String {
    let mut lines = vec![
        format!("seed {seed} filter {number}: {filter}"),
        format!("indexes {indexes:?}"),
    ];
    for id in expected.symmetric_difference(found).take(3) {
        let is_of = |point: &&(Value, Value, Vec<&str>)| twin::id_text(&point.0) == *id;
        let payload = &points.iter().find(is_of).unwrap().1;
        lines.push(format!(
            "expected {}: {id}: {payload}",
            expected.contains(id)
        ));
    }
    lines.join("\n")
}

/// As deep as the parser of requests lets a filter be.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deep_filter_is_answered() {
    let (_scratch, client) = twin::connect().await;
    let object = json!({"o": [{"o": [{"o": [{"v": 5}]}]}]});
    let twin = Twin::make(&client, &[], &[], &[(json!(1), object, vec![])], true).await;
    let mut inner = json!({"must": [{"key": "v", "match": {"value": 5}}]});
    for _ in 0..3 {
        inner = json!({"must": [{"nested": {"key": "o", "filter": inner}}]});
    }
    for _ in 0..50 {
        inner = json!({"must": [inner]});
    }
    let filter: Filter = serde_json::from_value(inner).unwrap();
    assert_eq!(twin.postgres(&filter).await.unwrap().len(), 1);
    let mut inner = json!({"must": [{"key": "v", "match": {"value": 5}}]});
    for _ in 0..30 {
        inner = json!({"must_not": [{"nested": {"key": "o", "filter": inner}}]});
    }
    let filter: Filter = serde_json::from_value(inner).unwrap();
    assert_eq!(twin.postgres(&filter).await.unwrap().len(), 0);
    twin.drop().await;
}

/// Every string that can stand for a date, read by both.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_date_is_read_as_qdrant_reads_it() {
    use qdrant_edge::DateTimeWrapper;

    let (_scratch, client) = twin::connect().await;
    let mut draw = Draw::new(7);
    let texts: Vec<String> = (0..20_000).map(|_| draw.date_like()).collect();
    let rows = client
        .query(
            "select qd.micros(t), qd.moment(t)::text from unnest($1::text[]) with ordinality u(t, o) \
             order by o",
            &[&texts.iter().map(|text| payload::escape(text).into_owned()).collect::<Vec<_>>()],
        )
        .await
        .unwrap();
    let mut read = 0;
    for (text, row) in texts.iter().zip(rows) {
        let expected = text.parse::<DateTimeWrapper>().ok();
        read += usize::from(expected.is_some());
        let micros: Option<i64> = row.get(0);
        assert_eq!(micros, expected.map(|date| date.timestamp()), "{text:?}");
        let moment: Option<String> = row.get(1);
        assert_eq!(
            moment,
            expected.map(|date| super::value::decimal(&date)),
            "{text:?}"
        );
    }
    println!("{read} of {} are dates", texts.len());
    assert!(read > texts.len() / 20);
}

/// Places at the very edge of circles and polygons, looked at by both.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_place_is_inside_where_qdrant_has_it_inside() {
    let (_scratch, client) = twin::connect().await;
    let mut draw = Draw::new(11);
    let (mut inside, mut outside) = (0, 0);
    for round in 0..3000 {
        let (region, mut place) = match round % 2 {
            0 => draw.circle_and_edge(),
            _ => draw.polygon_and_edge(),
        };
        // What a payload with it holds when it has been stored.
        loop {
            let stored: Value = serde_json::from_str(&place.to_string()).unwrap();
            if stored == place {
                break;
            }
            place = stored;
        }
        let condition: FieldCondition = serde_json::from_value(region.clone()).unwrap();
        let point = serde_json::from_value(place.clone()).unwrap();
        let expected = match (&condition.geo_radius, &condition.geo_polygon) {
            (Some(circle), _) => circle.check_point(&point),
            (None, Some(polygon)) => polygon.convert().check_point(&point),
            (None, None) => false,
        };
        let filter = Filter::new_must(Condition::Field(condition));
        let mut params = Params::new();
        let known = Known::of_test(1, &twin::sample_config(), &[]);
        let sql = super::condition(&filter, &known, &mut params).unwrap();
        let payload = payload::encode_value(&json!({"p": place}));
        let payload = params.push(Param::Json(payload));
        let sql = format!("select {sql} from (select {payload} as payload) c");
        let found: bool = client.query_one(&sql, &params.refs()).await.unwrap().get(0);
        assert_eq!(found, expected, "{region} {place}");
        *if expected { &mut inside } else { &mut outside } += 1;
    }
    println!("{inside} inside, {outside} outside");
    assert!(inside > 500 && outside > 500);
}
