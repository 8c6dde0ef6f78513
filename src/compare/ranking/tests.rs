use super::*;

fn ranking(ids: &[u32]) -> Vec<Hit<u32>> {
    // Scores that fall evenly, so that none are tied.
    let scores = (0_u32..).map(|place| 1.0 - f64::from(place) / 1000.0);
    scored(&ids.iter().copied().zip(scores).collect::<Vec<_>>())
}

fn scored(rows: &[(u32, f64)]) -> Vec<Hit<u32>> {
    let rows = rows.iter();
    rows.map(|(id, score)| Hit {
        id: *id,
        score: *score,
    })
    .collect()
}

fn near(found: f64, known: f64) {
    assert!((found - known).abs() < 1e-9, "{found}, known {known}");
}

#[test]
fn overlap_is_the_common_share_of_the_first_k() {
    let check = |one: &[u32], other: &[u32], k, known| {
        near(overlap(&ranking(one), &ranking(other), k), known);
        near(overlap(&ranking(other), &ranking(one), k), known);
    };
    check(&[1, 2, 3, 4], &[4, 3, 2, 1], 4, 1.0);
    check(&[1, 2, 3, 4], &[4, 3, 2, 1], 2, 0.0);
    check(&[1, 2, 3, 4], &[4, 3, 2, 1], 3, 2.0 / 3.0);
    check(&[1, 2, 3, 4], &[1, 2, 3, 5], 10, 0.75);
    // Half the list is cut off.
    check(&[1, 2, 3, 4], &[1, 2], 10, 0.5);
    check(&[1, 2, 3, 4], &[1, 2], 2, 1.0);
    check(&[1, 2], &[], 10, 0.0);
    check(&[], &[], 10, 1.0);
    check(&[1], &[2], 0, 1.0);
}

/// Against `rbo.RankingSimilarity(one, other).rbo_ext(p)` of the Python package rbo 0.1.3, and
/// against equation 32 written out in Python; the two agree.
#[test]
fn rank_biased_overlap_is_that_of_webber() {
    let check = |one: &[u32], other: &[u32], p, known| {
        near(rbo_ext(&ranking(one), &ranking(other), p), known);
        near(rbo_ext(&ranking(other), &ranking(one), p), known);
    };
    check(&[1, 2, 3], &[1, 2, 3], 0.9, 1.0);
    check(&[1, 2, 3], &[3, 2, 1], 0.9, 0.855);
    check(&[1, 2, 3], &[4, 5, 6], 0.9, 0.0);
    check(&[1, 2], &[1, 3, 2, 4, 5], 0.9, 0.726_445);
    check(
        &[2, 1, 3, 4, 5, 6, 7, 8, 9, 11],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        0.9,
        0.861_257_951_1,
    );
    check(&[1, 2, 3, 4], &[2, 1, 3, 4, 5, 6], 0.98, 0.98);
    check(&[], &[1], 0.9, 0.0);
    check(&[], &[], 0.9, 1.0);
}

#[test]
fn a_whole_agreement_of_two_uneven_lists() {
    let one = scored(&[(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)]);
    let other = scored(&[(2, 0.9), (1, 0.9), (5, 0.8), (3, 0.7)]);
    let found = Agreement::new(&one, &other, 3);
    assert_eq!(found.common, 3);
    assert_eq!(found.missing, [4]);
    assert_eq!(found.extra, [5]);
    near(found.overlap, 2.0 / 3.0);
    // 2 leads the other list, and is worse than 1 in the one.
    assert!(!found.top1);
    // Places 0 1 2 and 0 0 1 of the ids 1 2 3: scipy.stats.kendalltau([0, 1, 2], [0, 0, 1]) and
    // scipy.stats.spearmanr of the same.
    near(found.kendall.unwrap(), 0.816_496_580_927_726_1);
    near(found.spearman.unwrap(), 0.866_025_403_784_438_6);
    // Scores of 1, 2 and 3: 0.9 0.9, 0.8 0.9, 0.7 0.7.
    near(found.drift.max, 0.1);
    near(found.drift.mean, 0.1 / 3.0);
    near(found.drift.relative_max, 0.1 / 0.9);
    near(found.drift.relative_mean, 0.1 / 0.9 / 3.0);
}

#[test]
fn no_lists_agree_wholly_and_have_no_order() {
    let found = Agreement::<u32>::new(&[], &[], 10);
    assert!(found.top1);
    near(found.overlap, 1.0);
    near(found.rbo, 1.0);
    assert_eq!((found.kendall, found.spearman), (None, None));
    assert_eq!(found.drift, Drift::default());
    let found = Agreement::new(&ranking(&[1]), &[], 10);
    assert!(!found.top1);
    assert_eq!(found.missing, [1]);
}

#[test]
fn the_order_among_equal_scores_is_no_order() {
    let one = scored(&[(1, 0.9), (2, 0.900_000_1), (3, 0.5)]);
    let other = scored(&[(2, 0.900_000_1), (1, 0.9), (3, 0.5)]);
    let found = Agreement::new(&one, &other, 10);
    assert!(found.top1);
    near(found.kendall.unwrap(), 1.0);
    near(found.spearman.unwrap(), 1.0);
}

#[test]
fn small_steps_do_not_make_one_long_tie() {
    let rows: Vec<_> = (0..100)
        .map(|id| (id, 1.0 - f64::from(id) * 0.9e-5))
        .collect();
    let turned: Vec<_> = rows.iter().rev().copied().collect();
    let found = Agreement::new(&scored(&rows), &scored(&turned), 10);
    assert!(found.kendall.unwrap() < -0.95, "{:?}", found.kendall);
}

#[test]
fn a_first_that_scores_the_same_is_as_good() {
    let one = scored(&[(1, 0.9), (2, 0.9), (3, 0.5)]);
    assert!(top1(&one, &scored(&[(2, 0.9), (1, 0.9)])));
    assert!(!top1(&one, &scored(&[(3, 0.5), (1, 0.9)])));
    // The score of another, put to an id that has it not.
    assert!(!top1(&one, &scored(&[(3, 0.9), (1, 0.5)])));
    assert!(!top1(&one, &scored(&[(9, 0.9), (1, 0.9)])));
    // All that is known scores the same, so one not listed may as well.
    let flat = scored(&[(1, 0.9), (2, 0.9)]);
    assert!(top1(&flat, &scored(&[(9, 0.9), (1, 0.9)])));
}

#[test]
fn an_id_that_comes_twice_is_two() {
    let one = ranking(&[1, 2, 1]);
    let other = ranking(&[1, 1, 1]);
    let found = Agreement::new(&one, &other, 3);
    assert_eq!((found.missing, found.extra), (vec![2], vec![1]));
    near(found.overlap, 2.0 / 3.0);
    near(rbo_ext(&one, &one, 0.9), 1.0);
}

#[test]
fn a_score_that_is_no_number_equals_its_like_only() {
    assert!(same_score(f64::NAN, f64::NAN));
    assert!(!same_score(f64::NAN, 0.5));
    assert!(same_score(f64::INFINITY, f64::INFINITY));
    assert!(!same_score(f64::INFINITY, f64::NEG_INFINITY));
    assert!(!same_score(f64::INFINITY, 1.0));
    let found = Agreement::new(&scored(&[(1, f64::NAN)]), &scored(&[(1, 0.5)]), 1);
    assert!(found.drift.max.is_infinite());
}

#[test]
fn scores_are_equal_to_the_fifth_place() {
    assert!(same_score(0.5, 0.500_009_9));
    assert!(!same_score(0.5, 0.500_010_1));
    assert!(same_score(1e3, 1_000.009_9));
    assert!(!same_score(1e3, 1_000.010_1));
}

#[test]
fn ten_thousand_are_compared_without_comparing_every_two() {
    let one: Vec<u32> = (0..10_000).collect();
    // The permutation of i -> 7919 i modulo the prime 10007, without what is out of range.
    let other: Vec<u32> = (0..10_007)
        .map(|i| i * 7919 % 10_007)
        .filter(|id| *id < 10_000)
        .collect();
    let rows = |ids: &[u32]| -> Vec<_> {
        let scores = (0_u32..).map(|place| 1e6 - 100.0 * f64::from(place));
        scored(&ids.iter().copied().zip(scores).collect::<Vec<_>>())
    };
    let found = Agreement::new(&rows(&one), &rows(&other), 10_000);
    near(found.overlap, 1.0);
    near(found.kendall.unwrap(), KENDALL);
    near(found.spearman.unwrap(), SPEARMAN);
}

/// `order = [i * 7919 % 10007 for i in range(10007)]` without what is 10000 or more, against
/// `range(10000)`, by scipy 1.17.1.
const KENDALL: f64 = -0.000_995_779_577_957_795_6;
const SPEARMAN: f64 = -0.000_778_111_483_781_114_7;
