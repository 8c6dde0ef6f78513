use super::*;

fn lists(one: &[(u32, f64)], other: &[(u32, f64)], asked: usize) -> Lists<u32> {
    let hits = |rows: &[(u32, f64)]| -> Vec<Hit<u32>> {
        let rows = rows.iter();
        rows.map(|(id, score)| Hit {
            id: *id,
            score: *score,
        })
        .collect()
    };
    Lists {
        one: hits(one),
        other: hits(other),
        asked: Some(asked),
        ties: Ties::Scores,
    }
}

/// Whether two lists differ, if by ties only.
fn check(one: &[(u32, f64)], other: &[(u32, f64)], none: bool, tied: bool) {
    for lists in [lists(one, other, one.len()), lists(other, one, other.len())] {
        let found = lists.apart();
        assert_eq!((found.is_none(), found.tied), (none, tied), "{found:?}");
    }
}

#[test]
fn rows_that_score_as_the_last_are_exchangeable() {
    check(&[(1, 0.9), (2, 0.5)], &[(1, 0.9), (2, 0.5)], true, false);
    check(&[(1, 0.9), (2, 0.5)], &[(1, 0.9), (3, 0.5)], true, true);
    check(
        &[(1, 0.9), (2, 0.5)],
        &[(1, 0.9), (3, 0.500_004)],
        true,
        true,
    );
    check(
        &[(1, 0.9), (2, 0.5)],
        &[(1, 0.9), (3, 0.500_02)],
        false,
        false,
    );
    check(&[(1, 0.5), (2, 0.5)], &[(3, 0.5), (4, 0.5)], true, true);
    // Of a Euclidean distance.
    check(&[(1, 0.1), (2, 0.5)], &[(1, 0.1), (3, 0.5)], true, true);
}

#[test]
fn a_row_above_the_cut_is_not_exchangeable() {
    let found = lists(
        &[(1, 0.9), (2, 0.8), (3, 0.5)],
        &[(1, 0.9), (3, 0.5), (4, 0.5)],
        3,
    )
    .apart();
    assert_eq!((found.missing, found.extra), (vec![2], vec![4]));
    // One of two that are missing is tied, and so is one of the two that stand in.
    let found = lists(
        &[(1, 0.9), (2, 0.8), (3, 0.5)],
        &[(1, 0.9), (4, 0.5), (5, 0.5)],
        3,
    )
    .apart();
    assert_eq!((found.missing, found.extra), (vec![2], vec![4]));
    assert!(found.tied);
    assert!((found.overlap - 2.0 / 3.0).abs() < 1e-9);
}

#[test]
fn a_list_that_was_not_cut_has_no_ties_at_the_cut() {
    let mut uncut = lists(&[(1, 0.9), (2, 0.5)], &[(1, 0.9), (3, 0.5)], 3);
    assert_eq!(uncut.apart().missing, [2]);
    uncut.asked = None;
    assert_eq!(uncut.apart().missing, [2]);
    let uneven = lists(&[(1, 0.9), (2, 0.5)], &[(1, 0.9)], 2);
    assert_eq!(uneven.apart().missing, [2]);
}

#[test]
fn the_order_of_equal_scores_is_free_and_no_other() {
    let sorted = [(1, 0.9), (2, 0.9), (3, 0.5), (4, 0.4)];
    check(
        &sorted,
        &[(2, 0.9), (1, 0.9), (3, 0.5), (4, 0.4)],
        true,
        true,
    );
    let found = lists(&sorted, &[(1, 0.9), (3, 0.5), (2, 0.9), (4, 0.4)], 4).apart();
    assert!(found.moved && !found.tied && found.rescored.is_empty());
}

#[test]
fn small_steps_back_add_up() {
    // Each is tied with its neighbour, but the first and the last are not.
    let one = [(1, 0.500_018), (2, 0.500_009), (3, 0.5)];
    let turned = [(3, 0.5), (2, 0.500_009), (1, 0.500_018)];
    assert!(lists(&one, &turned, 3).apart().moved);
}

#[test]
fn scores_put_to_other_rows_are_seen() {
    let one = [(1, 0.9), (2, 0.7), (3, 0.5)];
    let found = lists(&one, &[(1, 0.5), (2, 0.7), (3, 0.9)], 3).apart();
    assert_eq!(found.rescored, [1, 3]);
    assert!((found.drift - 0.4).abs() < 1e-9);
    assert!(!found.is_none());
}

#[test]
fn an_order_that_is_not_of_scores_is_taken_as_it_stands() {
    let varied = [(1, 0.9), (2, 0.5), (3, 0.7)];
    check(&varied, &varied, true, false);
    assert!(
        lists(&varied, &[(1, 0.9), (3, 0.7), (2, 0.5)], 3)
            .apart()
            .moved
    );
    assert!(!lists(&varied, &varied, 3).is_sorted());
    // And it has no cut.
    let found = lists(&varied, &[(1, 0.9), (2, 0.5), (4, 0.7)], 3).apart();
    assert_eq!((found.missing, found.extra), (vec![3], vec![4]));
}

#[test]
fn ids_in_order_are_never_tied() {
    let mut by_id = lists(&[(1, 0.0), (2, 0.0)], &[(1, 0.0), (3, 0.0)], 2);
    by_id.ties = Ties::Never;
    assert_eq!(by_id.apart().missing, [2]);
    by_id.other = vec![Hit { id: 2, score: 0.0 }, Hit { id: 1, score: 0.0 }];
    assert!(by_id.apart().moved);
}

#[test]
fn values_are_tied_only_if_they_are_equal() {
    let mut by_value = lists(&[(1, 1e9), (2, 2e9)], &[(1, 1e9), (3, 2_000_000_001.0)], 2);
    by_value.ties = Ties::Values;
    assert_eq!(by_value.apart().missing, [2]);
    by_value.ties = Ties::Scores;
    assert!(by_value.apart().is_none());
}

#[test]
fn a_row_that_goes_excuses_what_moved_up_and_no_more() {
    let row = |id: u32| (id, 1.0 - f64::from(id) / 100.0);
    let rows = |ids: &[u32]| ids.iter().copied().map(row).collect::<Vec<_>>();
    // 1 is new at the one; 5 moved up at the other.
    let new = lists(&rows(&[1, 2, 3, 4]), &rows(&[2, 3, 4, 5]), 4);
    assert!(new.without(|id| *id == 1).apart().is_none());
    // 3 was deleted at the one.
    let deleted = lists(&rows(&[1, 2, 4, 5]), &rows(&[1, 2, 3, 4]), 4);
    assert!(deleted.without(|id| *id == 3).apart().is_none());
    // 2 is missing besides, and nothing excuses it.
    let both = lists(&rows(&[1, 2, 3, 4]), &rows(&[3, 4, 5, 6]), 4);
    assert_eq!(both.without(|id| *id == 1).apart().missing, [2]);
    // The other list was not cut: it has shown all it has, and 4 is not there.
    let short = lists(&rows(&[1, 2, 3, 4]), &rows(&[2, 3]), 4);
    let rest = short.without(|id| *id == 1);
    assert_eq!(rest.apart().missing, [4]);
    assert_eq!(rest.shorter(), Some(Side::Other));
    // With nothing to take out, it stays as it is.
    assert_eq!(new.without(|_| false), new);
}

#[test]
fn the_shorter_list_is_told() {
    let row = |id: u32| (id, 0.5);
    let told = |one: u32, other: u32, asked| {
        let rows = |count| (0..count).map(row).collect::<Vec<_>>();
        lists(&rows(one), &rows(other), asked).shorter()
    };
    assert_eq!(told(4, 4, 4), None);
    assert_eq!(told(4, 3, 4), Some(Side::Other));
    assert_eq!(told(3, 4, 4), Some(Side::One));
    assert_eq!(told(3, 3, 4), None);
    // Enough is enough.
    assert_eq!(told(6, 4, 4), None);
}
