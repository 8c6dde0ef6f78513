use super::*;
use crate::compare::{Apart, Kind};
use crate::model::Operation;

fn ok(result: &str) -> String {
    format!(r#"{{"result":{result},"status":"ok","time":0.001}}"#)
}

fn both(operation: Operation, body: &str, one: (u16, &str), other: (u16, &str)) -> Vec<Difference> {
    let questions = Questions::read(operation, body.as_bytes()).unwrap();
    let reply = |(status, body): (u16, &'static str)| Reply {
        status,
        body: body.as_bytes(),
    };
    let leak = |(status, body): (u16, &str)| {
        let body: &'static str = String::leak(body.to_owned());
        reply((status, body))
    };
    compare(&questions, leak(one), leak(other))
}

/// What two results of one question have apart.
fn apart(operation: Operation, body: &str, one: &str, other: &str) -> Apart {
    let found = both(operation, body, (200, &ok(one)), (200, &ok(other)));
    assert_eq!(found.len(), 1, "{found:?}");
    found.first().unwrap().apart()
}

fn check(operation: Operation, body: &str, one: &str, other: &str, kind: Kind) {
    for (one, other) in [(one, other), (other, one)] {
        let found = apart(operation, body, one, other);
        assert_eq!(found.kind(), kind, "{operation} {one} {other}: {found:?}");
    }
}

#[test]
fn two_ways_to_write_one_answer_are_no_difference() {
    let uuid = "7d1b0ca2-0a0b-4c0d-8e0f-000000000001";
    let plain = uuid.replace('-', "").to_uppercase();
    check(
        Operation::SearchPoints,
        "{}",
        &format!(r#"[{{"id":"{uuid}","version":3,"score":0.5,"payload":{{"a":1,"b":2}}}}]"#),
        &format!(
            r#"[{{"payload":{{"b":2.0,"a":1}},"score":0.500001,"id":"{plain}","version":0}}]"#
        ),
        Kind::None,
    );
    check(
        Operation::GetPoints,
        "{}",
        r#"[{"id":1,"vector":[0.6,0.8],"payload":{}}]"#,
        r#"[{"id":1,"vector":[0.60000002,0.8],"payload":null}]"#,
        Kind::None,
    );
    check(
        Operation::QueryPoints,
        r#"{"query":[1]}"#,
        r#"{"points":[{"id":1,"score":1}]}"#,
        r#"{"points":[{"id":1,"score":1.0}]}"#,
        Kind::None,
    );
}

#[test]
fn every_search_is_a_ranking() {
    let list = r#"[{"id":1,"score":0.9},{"id":2,"score":0.8}]"#;
    let other = r#"[{"id":1,"score":0.9},{"id":3,"score":0.7}]"#;
    let page = |list: &str| format!(r#"{{"points":{list}}}"#);
    let listed = [
        Operation::SearchPoints,
        Operation::RecommendPoints,
        Operation::DiscoverPoints,
    ];
    for operation in listed {
        let found = apart(operation, r#"{"limit":2}"#, list, other);
        assert_eq!(found.missing, [PointKey::Number(2)], "{operation}");
        assert_eq!(found.extra, [PointKey::Number(3)], "{operation}");
    }
    let asked = r#"{"query":[1],"limit":2}"#;
    check(
        Operation::QueryPoints,
        asked,
        &page(list),
        &page(other),
        Kind::Ids,
    );
    let batches = [
        (Operation::SearchBatch, list.to_owned(), other.to_owned()),
        (Operation::RecommendBatch, list.to_owned(), other.to_owned()),
        (Operation::DiscoverBatch, list.to_owned(), other.to_owned()),
        (Operation::QueryBatch, page(list), page(other)),
    ];
    for (operation, list, other) in batches {
        let body = format!(r#"{{"searches":[{asked},{asked}]}}"#);
        let one = ok(&format!("[{list},{list}]"));
        let other = ok(&format!("[{list},{other}]"));
        let found = both(operation, &body, (200, &one), (200, &other));
        let kinds: Vec<_> = found
            .iter()
            .map(|part| (part.index, part.apart().kind()))
            .collect();
        assert_eq!(kinds, [(0, Kind::None), (1, Kind::Ids)], "{operation}");
        assert!((found.last().unwrap().agreement(10).unwrap().overlap - 0.5).abs() < 1e-9);
    }
}

#[test]
fn contents_scores_and_order_are_told_apart() {
    let search = |one: &str, other: &str, kind| {
        check(Operation::SearchPoints, "{}", one, other, kind);
    };
    let list = r#"[{"id":1,"score":0.9,"payload":{"a":1}},{"id":2,"score":0.8}]"#;
    search(list, &list.replace(r#""a":1"#, r#""a":2"#), Kind::Contents);
    search(list, &list.replace("0.9", "0.91"), Kind::Scores);
    search(list, &list.replace("0.9", "null"), Kind::Scores);
    let turned = r#"[{"id":2,"score":0.8},{"id":1,"score":0.9,"payload":{"a":1}}]"#;
    assert_eq!(
        apart(Operation::SearchPoints, "{}", list, turned).kind(),
        Kind::Order
    );
}

#[test]
fn a_question_for_a_random_sample_is_left_out() {
    let body = r#"{"searches":[{"query":{"sample":"random"}},{"query":[1]}]}"#;
    let one = ok(r#"[{"points":[{"id":1,"score":1.0}]},{"points":[]}]"#);
    let other = ok(r#"[{"points":[{"id":2,"score":1.0}]},{"points":[]}]"#);
    let found = both(Operation::QueryBatch, body, (200, &one), (200, &other));
    assert_eq!(found.iter().map(|part| part.index).collect::<Vec<_>>(), [1]);
}

#[test]
fn points_in_the_order_of_ids_are_not_tied_by_their_score() {
    let list = |id: u32| format!(r#"{{"points":[{{"id":{id},"score":1.0}}]}}"#);
    let by_id = r#"{"limit":1}"#;
    check(Operation::QueryPoints, by_id, &list(1), &list(2), Kind::Ids);
    let by_score = r#"{"query":[1],"limit":1}"#;
    check(
        Operation::QueryPoints,
        by_score,
        &list(1),
        &list(2),
        Kind::Tied,
    );
    let row = |id: u32, value: u32| {
        format!(r#"{{"points":[{{"id":{id},"score":1.0,"order_value":{value}}}]}}"#)
    };
    let by_value = r#"{"query":{"order_by":"n"},"limit":1}"#;
    check(
        Operation::QueryPoints,
        by_value,
        &row(1, 7),
        &row(2, 7),
        Kind::Tied,
    );
    check(
        Operation::QueryPoints,
        by_value,
        &row(1, 7),
        &row(2, 8),
        Kind::Ids,
    );
    check(
        Operation::QueryPoints,
        by_value,
        &row(1, 7),
        &row(1, 8),
        Kind::Scores,
    );
    let found = both(
        Operation::QueryPoints,
        by_id,
        (200, &ok(&list(1))),
        (200, &ok(&list(1))),
    );
    assert_eq!(found.first().unwrap().agreement(10), None);
}

#[test]
fn a_page_is_compared_with_what_follows_it() {
    let scroll = |one: &str, other: &str, kind| {
        check(Operation::ScrollPoints, r#"{"limit":2}"#, one, other, kind);
    };
    let page = r#"{"points":[{"id":1},{"id":2}],"next_page_offset":3}"#;
    scroll(page, page, Kind::None);
    scroll(page, &page.replace(":3", ":4"), Kind::Ids);
    scroll(page, &page.replace(":3", ":null"), Kind::Ids);
    scroll(
        page,
        r#"{"points":[{"id":1},{"id":3}],"next_page_offset":4}"#,
        Kind::Ids,
    );
    scroll(
        page,
        r#"{"points":[{"id":1},{"id":2,"payload":{"a":1}}],"next_page_offset":3}"#,
        Kind::Contents,
    );
}

#[test]
fn a_point_that_is_not_there_is_an_answer() {
    let missing =
        r#"{"status":{"error":"Not found: Point with id 7 does not exists!"},"time":0.0}"#;
    let collection =
        r#"{"status":{"error":"Not found: Collection `a` doesn't exist!"},"time":0.0}"#;
    let found = ok(r#"{"id":7,"payload":{}}"#);
    let told = |one: (u16, &str), other: (u16, &str)| {
        let told = both(Operation::GetPoint, "", one, other);
        told.first().unwrap().apart()
    };
    let apart = told((200, &found), (404, missing));
    assert_eq!(apart.missing, [PointKey::Number(7)]);
    assert_eq!(told((404, missing), (404, missing)).kind(), Kind::None);
    assert_eq!(told((200, &found), (404, collection)).kind(), Kind::Failed);
    assert_eq!(told((200, &found), (200, &found)).kind(), Kind::None);
}

#[test]
fn numbers_are_compared_as_such() {
    let count = |one: u64, other: u64| {
        let told = |count| format!(r#"{{"count":{count}}}"#);
        apart(Operation::CountPoints, "{}", &told(one), &told(other))
    };
    assert_eq!(count(7, 7).kind(), Kind::None);
    let found = count(100, 98);
    assert_eq!((found.kind(), found.number), (Kind::Numbers, 2.0));
    assert!((found.overlap - 0.98).abs() < 1e-9);
}

#[test]
fn the_order_of_values_with_equal_counts_is_free() {
    let facet = |limit: u32, one: &[(&str, u32)], other: &[(&str, u32)]| {
        let told = |rows: &[(&str, u32)]| {
            let rows = rows.iter();
            let rows = rows.map(|(value, count)| format!(r#"{{"value":{value},"count":{count}}}"#));
            format!(r#"{{"hits":[{}]}}"#, rows.collect::<Vec<_>>().join(","))
        };
        let body = format!(r#"{{"key":"k","limit":{limit}}}"#);
        apart(Operation::Facet, &body, &told(one), &told(other))
    };
    let list = [("\"a\"", 5), ("7", 3), ("true", 3)];
    assert_eq!(facet(10, &list, &list).kind(), Kind::None);
    let turned = [("\"a\"", 5), ("true", 3), ("7", 3)];
    assert_eq!(facet(10, &list, &turned).kind(), Kind::Tied);
    // Cut at three, of which any may be shown; not cut, all have to be.
    let cut = [("\"a\"", 5), ("7", 3), ("\"c\"", 3)];
    assert_eq!(facet(3, &list, &cut).kind(), Kind::Tied);
    assert_eq!(facet(10, &list, &cut).kind(), Kind::Numbers);
    let fewer = facet(10, &list, &[("\"a\"", 4), ("7", 3), ("true", 3)]);
    assert_eq!((fewer.kind(), fewer.number), (Kind::Numbers, 1.0));
    // 8 less than the last of a list that was cut is no more than 5 that can be told of.
    let hidden = facet(2, &[("1", 9), ("2", 8)], &[("1", 9), ("3", 4)]);
    assert_eq!(hidden.number, 4.0);
    // A number and a text are two values.
    assert_eq!(facet(10, &[("7", 3)], &[("\"7\"", 3)]).number, 3.0);
}

#[test]
fn groups_are_compared_and_the_points_within() {
    let body = r#"{"query":[1],"group_by":"k","limit":2,"group_size":2}"#;
    let groups = |groups: &[(&str, &[(u32, f64)])]| {
        let groups = groups.iter().map(|(id, hits)| {
            let hits = hits.iter();
            let hits = hits.map(|(id, score)| format!(r#"{{"id":{id},"score":{score}}}"#));
            let hits = hits.collect::<Vec<_>>().join(",");
            format!(r#"{{"id":{id},"hits":[{hits}]}}"#)
        });
        format!(r#"{{"groups":[{}]}}"#, groups.collect::<Vec<_>>().join(","))
    };
    let a: (&str, &[(u32, f64)]) = ("\"a\"", &[(1, 0.9), (2, 0.5)]);
    let b: (&str, &[(u32, f64)]) = ("7", &[(3, 0.8), (4, 0.7)]);
    let c: (&str, &[(u32, f64)]) = ("8", &[(5, 0.6)]);
    let told =
        |one: &[_], other: &[_]| apart(Operation::QueryGroups, body, &groups(one), &groups(other));
    assert_eq!(told(&[a, b], &[a, b]).kind(), Kind::None);
    let lost = told(&[a, b], &[a, c]);
    assert_eq!(lost.missing, [PointKey::Number(3), PointKey::Number(4)]);
    assert_eq!(lost.extra, [PointKey::Number(5)]);
    assert!((lost.overlap - 0.5).abs() < 1e-9);
    let inner = told(&[a, b], &[a, ("7", &[(3, 0.8), (6, 0.6)])]);
    assert_eq!(
        (inner.missing, inner.extra),
        (vec![PointKey::Number(4)], vec![PointKey::Number(6)])
    );
    let tied = told(&[a, b], &[a, ("7", &[(3, 0.8), (6, 0.7)])]);
    assert_eq!(tied.kind(), Kind::Tied);
    assert_eq!(told(&[a, b], &[b, a]).kind(), Kind::Order);
    let drifted = told(&[a, b], &[a, ("7", &[(3, 0.8), (4, 0.71)])]);
    assert_eq!(drifted.kind(), Kind::Scores);
    for operation in [Operation::SearchGroups, Operation::RecommendGroups] {
        check(operation, body, &groups(&[a]), &groups(&[b]), Kind::Ids);
    }
}

#[test]
fn what_is_looked_up_for_a_group_is_compared() {
    let group = |color: &str| {
        format!(
            r#"{{"groups":[{{"id":1,"hits":[{{"id":1,"score":0.9}}],
            "lookup":{{"id":9,"payload":{{"color":"{color}"}}}}}}]}}"#
        )
    };
    let body = r#"{"group_by":"k"}"#;
    check(
        Operation::SearchGroups,
        body,
        &group("red"),
        &group("red"),
        Kind::None,
    );
    check(
        Operation::SearchGroups,
        body,
        &group("red"),
        &group("blue"),
        Kind::Contents,
    );
}

#[test]
fn only_equal_failures_are_equal() {
    let empty = ok("[]");
    let fail = |one: (u16, &str), other: (u16, &str)| {
        let found = both(Operation::SearchPoints, "{}", one, other);
        let part = found.first().unwrap();
        (part.apart().kind(), part.answers.clone())
    };
    let refusal = r#"{"status":{"error":"Wrong input"},"time":0.0}"#;
    assert_eq!(fail((400, refusal), (400, "other words")).0, Kind::None);
    assert_eq!(fail((400, refusal), (404, refusal)).0, Kind::Failed);
    let (kind, answers) = fail((200, &empty), (500, refusal));
    assert_eq!(kind, Kind::Failed);
    let (one, other) = (Outcome::Answered, Outcome::Refused(500));
    assert_eq!(answers, Answers::Failed { one, other });
    for nonsense in [
        "",
        "{",
        "[]",
        r#"{"result":7}"#,
        r#"{"result":[{"id":-1}]}"#,
    ] {
        assert_eq!(
            fail((200, &empty), (200, nonsense)).0,
            Kind::Failed,
            "{nonsense}"
        );
        assert_eq!(
            fail((200, nonsense), (200, nonsense)).0,
            Kind::Failed,
            "{nonsense}"
        );
    }
}

#[test]
fn a_batch_with_too_few_answers_is_none() {
    let body = r#"{"searches":[{},{}]}"#;
    let (two, one) = (ok("[[],[]]"), ok("[[]]"));
    let found = both(Operation::SearchBatch, body, (200, &two), (200, &one));
    let (one, other) = (Outcome::Answered, Outcome::Unreadable);
    let told: Vec<_> = found.iter().map(|part| &part.answers).collect();
    assert_eq!(told, [&Answers::Failed { one, other }]);
}

#[test]
fn payloads_past_any_depth_do_not_overflow() {
    let row = |deep: &str| format!(r#"[{{"id":1,"score":1,"payload":{deep}}}]"#);
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let (one, other) = (row(&deep(9000)), row(&deep(9001)));
    check(Operation::SearchPoints, "{}", &one, &one, Kind::None);
    check(Operation::SearchPoints, "{}", &one, &other, Kind::Contents);
}
