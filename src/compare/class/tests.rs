use super::*;
use crate::compare::{Questions, Reply, Sample, compare};
use crate::model::Operation;

type Rows = Vec<(u64, f64)>;

/// The ids with scores that fall with the id, as an honest store has them.
fn rows(ids: impl IntoIterator<Item = u64>) -> Rows {
    let ids = ids.into_iter();
    ids.map(|id| (id, 1.0 - id as f64 / 100.0)).collect()
}

fn list(rows: &[(u64, f64)]) -> String {
    let rows = rows.iter();
    let rows = rows.map(|(id, score)| {
        format!(r#"{{"id":{id},"version":0,"score":{score},"payload":{{"n":{id}}}}}"#)
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

fn seen(operation: Operation, body: &str, one: &str, other: &str) -> Difference {
    let questions = Questions::read(operation, body.as_bytes()).unwrap();
    let envelope = |result: &str| format!(r#"{{"result":{result},"status":"ok","time":0.0}}"#);
    let (one, other) = (envelope(one), envelope(other));
    let reply = |body: &'static str| Reply {
        status: 200,
        body: body.as_bytes(),
    };
    let mut found = compare(
        &questions,
        reply(String::leak(one)),
        reply(String::leak(other)),
    );
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn search(one: &Rows, other: &Rows) -> Difference {
    search_with(r#"{"limit":10}"#, one, other)
}

fn search_with(body: &str, one: &Rows, other: &Rows) -> Difference {
    seen(Operation::SearchPoints, body, &list(one), &list(other))
}

fn keys(ids: &[u64]) -> HashSet<PointKey> {
    ids.iter().copied().map(PointKey::Number).collect()
}

fn lag(dirty: &[u64]) -> Circumstances {
    Circumstances {
        lag: Lag {
            dirty: keys(dirty),
            waiting: dirty.len() as u64,
            barrier: false,
        },
        ..Circumstances::default()
    }
}

/// Someone looked, and found these apart; the read store is as good as this.
fn looked(apart: &[u64], own: f64) -> Circumstances {
    Circumstances {
        looked: Some(keys(apart)),
        baseline: Some(Baseline {
            own,
            ..Baseline::default()
        }),
        ..Circumstances::default()
    }
}

fn indexing(apart: &[u64]) -> Circumstances {
    Circumstances {
        indexing: true,
        ..looked(apart, 1.0)
    }
}

fn check(seen: &Difference, known: &Circumstances, class: Class) {
    assert_eq!(classify(seen, known), class, "{seen:?} {known:?}");
}

/// Every excuse there is but a mark of the point at fault and a look.
fn every_excuse() -> Circumstances {
    Circumstances {
        lag: Lag {
            dirty: keys(&[77]),
            waiting: 1,
            barrier: false,
        },
        looked: None,
        baseline: Some(Baseline {
            own: 0.5,
            other: Some(1.0),
            drift: 0.0,
        }),
        indexing: true,
    }
}

#[test]
fn equal_answers_need_no_excuse() {
    let ten = rows(1..=10);
    check(&search(&ten, &ten), &Circumstances::default(), Class::Equal);
    check(&search(&ten, &ten), &every_excuse(), Class::Equal);
    let empty = Rows::new();
    check(
        &search(&empty, &empty),
        &Circumstances::default(),
        Class::Equal,
    );
}

#[test]
fn rows_of_equal_score_are_a_tie_even_while_others_lag() {
    let mut one = rows(1..=10);
    let mut other = one.clone();
    one.last_mut().unwrap().0 = 20;
    other.last_mut().unwrap().0 = 30;
    check(&search(&one, &other), &Circumstances::default(), Class::Tie);
    check(&search(&one, &other), &lag(&[20]), Class::Tie);
    let sample = Sample::new(&search(&one, &other), Class::Tie).unwrap();
    assert!((sample.overlap - 1.0).abs() < 1e-9);
}

#[test]
fn marked_points_lag_with_what_moved_up_for_them() {
    let new = search(&rows(1..=10), &rows(2..=11));
    check(&new, &lag(&[1]), Class::Lagging);
    check(&new, &lag(&[2]), Class::Real);
    let gone = search(&rows(2..=11), &rows(1..=10));
    check(&gone, &lag(&[1]), Class::Lagging);
    let mut stale = rows(1..=10);
    stale.first_mut().unwrap().1 = 0.995;
    check(&search(&rows(1..=10), &stale), &lag(&[1]), Class::Lagging);
    // What else differs is not excused by the marks.
    let both = search(&rows(1..=10), &rows(3..=12));
    check(&both, &lag(&[1]), Class::Real);
    check(&both, &lag(&[1, 2]), Class::Lagging);
    let found = Circumstances {
        looked: Some(keys(&[1])),
        ..lag(&[1])
    };
    check(&new, &found, Class::Lagging);
}

#[test]
fn nothing_is_said_of_a_collection_that_is_marked_itself() {
    let mut known = Circumstances::default();
    known.lag.barrier = true;
    check(&search(&rows(1..=10), &Rows::new()), &known, Class::Lagging);
}

#[test]
fn missing_points_are_real_whatever_else_is_so() {
    let missing = search(&rows(1..=10), &rows((1..=11).filter(|id| *id != 4)));
    check(&missing, &Circumstances::default(), Class::Real);
    check(&missing, &every_excuse(), Class::Real);
    check(&missing, &looked(&[4], 0.5), Class::Real);
    check(&missing, &indexing(&[4]), Class::Real);
    // There are only three, and one is not there: short, but not for want of looking.
    let few = search(&rows(1..=3), &rows(1..=2));
    check(&few, &looked(&[3], 0.9), Class::Real);
}

#[test]
fn stale_payloads_are_real_whatever_else_is_so() {
    let fresh = list(&rows(1..=10));
    let stale = fresh.replace(r#"{"n":4}"#, r#"{"n":3}"#);
    let seen = seen(Operation::SearchPoints, r#"{"limit":10}"#, &fresh, &stale);
    check(&seen, &Circumstances::default(), Class::Real);
    check(&seen, &every_excuse(), Class::Real);
    check(&seen, &looked(&[], 0.5), Class::Real);
    check(&seen, &lag(&[4]), Class::Lagging);
}

#[test]
fn shuffled_scores_are_real_whatever_else_is_so() {
    let one = rows(1..=10);
    let mut shuffled = one.clone();
    let scores: Vec<f64> = one.iter().rev().map(|row| row.1).collect();
    for (row, score) in shuffled.iter_mut().zip(scores) {
        row.1 = score;
    }
    let mut sorted = shuffled.clone();
    sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
    let mut turned = one.clone();
    turned.reverse();
    for other in [shuffled, sorted, turned] {
        check(&search(&one, &other), &looked(&[], 0.5), Class::Real);
        check(&search(&one, &other), &every_excuse(), Class::Real);
    }
}

#[test]
fn another_distance_is_real_whatever_else_is_so() {
    let one = rows(1..=10);
    let euclid: Rows = one.iter().map(|(id, score)| (*id, 1.0 - score)).collect();
    check(&search(&one, &euclid), &looked(&[], 0.5), Class::Real);
    check(&search(&one, &euclid), &every_excuse(), Class::Real);
    // It ranks by length, and shows no point that the one does.
    let others: Rows = rows(20..=29);
    check(&search(&one, &others), &looked(&[], 0.9), Class::Real);
    check(&search(&one, &others), &looked(&[], 0.2), Class::Real);
}

#[test]
fn misses_of_approximate_search_are_noise() {
    let one = rows(1..=10);
    let two_others = rows((1..=12).filter(|id| *id != 4 && *id != 7));
    let noise = search(&one, &two_others);
    check(&noise, &looked(&[], 1.0), Class::Noise);
    check(&noise, &looked(&[], 0.9), Class::Noise);
    // More than a store so good explains, and less than one so bad.
    let four_others = rows((1..=14).filter(|id| ![3, 4, 6, 7].contains(id)));
    let bad = search(&one, &four_others);
    check(&bad, &looked(&[], 0.95), Class::Real);
    check(&bad, &looked(&[], 0.85), Class::Noise);
    // Of this very question the exact answer is known, and the other store is nearer to it.
    let mut exact = looked(&[], 0.6);
    let baseline = |own, other| Baseline {
        own,
        other: Some(other),
        drift: 0.0,
    };
    exact.baseline = Some(baseline(0.6, 1.0));
    check(&bad, &exact, Class::Noise);
    exact.baseline = Some(baseline(1.0, 0.6));
    check(&bad, &exact, Class::Real);
    exact.baseline = Some(baseline(1.0, 0.8));
    check(&bad, &exact, Class::Noise);
}

#[test]
fn a_baseline_is_made_of_three_answers() {
    let exact = rows(1..=10);
    let one = rows((1..=11).filter(|id| *id != 4));
    let mut other = rows((1..=12).filter(|id| *id != 5 && *id != 6));
    other.last_mut().unwrap().1 += 0.001;
    let (own, others) = (search(&one, &exact), search(&exact, &other));
    let found = Baseline::new(&own, &others);
    assert!(
        (found.own - 0.9).abs() < 1e-9 && found.drift == 0.0,
        "{found:?}"
    );
    assert!((found.other.unwrap() - 0.8).abs() < 1e-9, "{found:?}");
    let seen = search(&one, &other);
    let sample = Sample::new(&seen, Class::Noise).unwrap();
    let sample = sample.with_exact(&own, &others);
    assert!((sample.own.unwrap() - 0.9).abs() < 1e-9, "{sample:?}");
    assert!((sample.recall.unwrap() - 0.8).abs() < 1e-9, "{sample:?}");
    let mut tied = exact.clone();
    tied.last_mut().unwrap().0 = 99;
    let sample = sample.with_exact(&search(&tied, &exact), &others);
    assert!((sample.own.unwrap() - 1.0).abs() < 1e-9, "{sample:?}");
}

#[test]
fn without_a_baseline_a_look_or_an_index_there_is_no_noise() {
    let one = rows(1..=10);
    let others = rows((1..=11).filter(|id| *id != 4));
    let mut known = looked(&[], 0.9);
    known.looked = None;
    check(&search(&one, &others), &known, Class::Real);
    known = looked(&[], 0.9);
    known.baseline = None;
    check(&search(&one, &others), &known, Class::Real);
    let exact = r#"{"limit":10,"params":{"exact":true}}"#;
    check(
        &search_with(exact, &one, &others),
        &looked(&[], 0.9),
        Class::Real,
    );
    let page = |rows: &Rows| format!(r#"{{"points":{},"next_page_offset":null}}"#, list(rows));
    let scroll = seen(Operation::ScrollPoints, "{}", &page(&one), &page(&others));
    check(&scroll, &looked(&[], 0.9), Class::Real);
}

#[test]
fn of_three_points_or_fewer_none_is_noise_by_itself() {
    assert_eq!([0, 3, 4, 9, 10, 100].map(slack), [0, 0, 1, 1, 2, 20]);
    let seen = search_with(r#"{"limit":3}"#, &rows([1, 2, 3]), &rows([1, 2, 4]));
    check(&seen, &looked(&[], 1.0), Class::Real);
    check(&seen, &looked(&[], 0.8), Class::Noise);
}

#[test]
fn scores_may_drift_as_far_as_the_read_stores_own() {
    let one = rows(1..=10);
    let compressed: Rows = one.iter().map(|(id, score)| (*id, score + 0.003)).collect();
    let mut known = looked(&[], 0.9);
    check(&search(&one, &compressed), &known, Class::Real);
    known.baseline.as_mut().unwrap().drift = 0.004;
    check(&search(&one, &compressed), &known, Class::Noise);
    known.baseline.as_mut().unwrap().drift = 0.002;
    check(&search(&one, &compressed), &known, Class::Real);
}

#[test]
fn truncated_results_are_short() {
    let one = rows(1..=10);
    check(&search(&one, &rows(1..=5)), &looked(&[], 1.0), Class::Short);
    check(&search(&one, &Rows::new()), &looked(&[], 1.0), Class::Short);
    // Also if the read store is the one that gave too few.
    check(&search(&rows(1..=5), &one), &looked(&[], 1.0), Class::Short);
    // What it does hold has to be right.
    check(
        &search(&one, &rows([1, 2, 30, 31])),
        &looked(&[], 1.0),
        Class::Real,
    );
    check(
        &search(&one, &rows([1, 2, 3, 4, 5, 30])),
        &looked(&[], 0.9),
        Class::Short,
    );
    // Marked points besides are taken out first.
    let mut known = looked(&[], 1.0);
    known.lag = lag(&[1]).lag;
    check(&search(&one, &rows(2..=5)), &known, Class::Short);
}

#[test]
fn an_index_being_built_excuses_what_is_not_found() {
    let one = rows(1..=10);
    for other in [
        rows(1..=3),
        rows(8..=17),
        rows((1..=11).filter(|id| *id != 4)),
    ] {
        check(&search(&one, &other), &indexing(&[]), Class::Index);
    }
}

#[test]
fn marked_points_before_the_offset_shift_the_page() {
    let page = r#"{"limit":5,"offset":5}"#;
    let shifted = search_with(page, &rows(6..=10), &rows(7..=11));
    let mut known = looked(&[], 1.0);
    check(&shifted, &known, Class::Noise);
    known.lag.waiting = 1;
    check(&shifted, &known, Class::Lagging);
    let first = search_with(r#"{"limit":5}"#, &rows(6..=10), &rows(7..=11));
    check(&first, &known, Class::Noise);
    known.looked = Some(keys(&[6]));
    check(&shifted, &known, Class::Real);
}

#[test]
fn counts_may_differ_by_what_waits() {
    let count = |body: &str, one: u32, other: u32| {
        let told = |count| format!(r#"{{"count":{count}}}"#);
        seen(Operation::CountPoints, body, &told(one), &told(other))
    };
    let mut known = Circumstances::default();
    check(&count("{}", 5, 5), &known, Class::Equal);
    check(&count("{}", 5, 3), &known, Class::Real);
    known.lag.waiting = 1;
    check(&count("{}", 5, 3), &known, Class::Real);
    known.lag.waiting = 2;
    check(&count("{}", 5, 3), &known, Class::Lagging);
    check(&count("{}", 5, 3), &indexing(&[]), Class::Index);
    // An estimate is as good as the read store's.
    let estimate = r#"{"exact":false}"#;
    check(&count(estimate, 100, 91), &looked(&[], 0.95), Class::Noise);
    check(&count(estimate, 100, 90), &looked(&[], 0.95), Class::Real);
    check(&count("{}", 100, 99), &looked(&[], 0.95), Class::Real);
}

#[test]
fn a_marked_point_takes_its_whole_group_along() {
    let group = |id: &str, rows: &Rows| format!(r#"{{"id":"{id}","hits":{}}}"#, list(rows));
    let groups = |groups: &[String]| format!(r#"{{"groups":[{}]}}"#, groups.join(","));
    let body = r#"{"group_by":"k","limit":2,"group_size":2}"#;
    let told = |one: &[String], other: &[String]| {
        seen(Operation::SearchGroups, body, &groups(one), &groups(other))
    };
    let (a, b) = (group("a", &rows([1, 4])), group("b", &rows([2, 3])));
    // Without its best point, `a` falls behind `b`.
    let seen = told(
        &[a.clone(), b.clone()],
        &[b.clone(), group("a", &rows([4, 5]))],
    );
    check(&seen, &looked(&[], 0.9), Class::Real);
    check(&seen, &lag(&[1]), Class::Lagging);
    // And `c` comes up where `a` was one alone.
    let c = group("c", &rows([6]));
    let seen = told(&[group("a", &rows([1])), b.clone()], &[b.clone(), c]);
    check(&seen, &lag(&[1]), Class::Lagging);
    check(&seen, &lag(&[3]), Class::Real);
    let seen = told(&[a.clone(), b], &[a, group("b", &rows([2, 7]))]);
    check(&seen, &looked(&[], 1.0), Class::Noise);
    check(&seen, &looked(&[3], 1.0), Class::Real);
}

#[test]
fn a_store_that_does_not_answer_is_real_but_for_what_it_waits_for() {
    let failed = |status| Difference {
        answers: Answers::Failed {
            one: Outcome::Answered,
            other: Outcome::Refused(status),
        },
        ..search(&Rows::new(), &Rows::new())
    };
    let plain = looked(&[], 0.5);
    check(&failed(503), &plain, Class::Real);
    check(&failed(503), &indexing(&[]), Class::Real);
    check(&failed(503), &lag(&[1]), Class::Real);
    check(&failed(404), &plain, Class::Real);
    check(&failed(404), &lag(&[1]), Class::Lagging);
    check(&failed(400), &plain, Class::Real);
    check(&failed(400), &indexing(&[]), Class::Index);
    let sample = Sample::new(&failed(503), Class::Real).unwrap();
    assert!((sample.overlap, sample.top1) == (0.0, false));
}

#[test]
fn what_is_not_ranked_gives_no_sample() {
    let list = list(&rows(1..=3));
    let page = format!(r#"{{"points":{list}}}"#);
    let scroll = seen(Operation::ScrollPoints, "{}", &page, &page);
    assert_eq!(Sample::new(&scroll, Class::Equal), None);
    let count = seen(
        Operation::CountPoints,
        "{}",
        r#"{"count":1}"#,
        r#"{"count":1}"#,
    );
    assert_eq!(Sample::new(&count, Class::Equal), None);
}

#[test]
fn classes_have_names_of_their_own() {
    let names: HashSet<_> = Class::ALL.map(Class::as_str).into_iter().collect();
    assert_eq!(names.len(), Class::ALL.len());
    assert!(Class::ALL.is_sorted());
}
