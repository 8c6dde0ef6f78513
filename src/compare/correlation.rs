//! Rank correlation of two orders of the same things: Kendall's tau-b and Spearman's rho.
//!
//! Both as scipy has them, ties included. Both are undefined, and so `None`, for fewer than two
//! things, and where one of the orders ties all of them: there is no order to agree with then.

/// Kendall's tau-b of pairs (place in the one order, place in the other); equal places are ties.
///
/// Knight's way, by counting the exchanges of a merge sort: ten thousand pairs take milliseconds
/// where comparing every two of them takes fifty million steps.
pub fn kendall_tau_b(places: &[(u64, u64)]) -> Option<f64> {
    let mut places = places.to_vec();
    places.sort_unstable();
    let tied_in_one = tied(&places, |one, other| one.0 == other.0);
    let tied_in_both = tied(&places, |one, other| one == other);
    let mut order: Vec<u64> = places.iter().map(|place| place.1).collect();
    let exchanges = sort_counting(&mut order);
    let tied_in_other = tied(&order, |one, other| one == other);

    let all = pairs_of(places.len());
    let scale = ((all - tied_in_one) as f64).sqrt() * ((all - tied_in_other) as f64).sqrt();
    let ordered_in_both = (all + tied_in_both) - (tied_in_one + tied_in_other);
    (scale > 0.0)
        .then(|| ((ordered_in_both as f64 - 2.0 * exchanges as f64) / scale).clamp(-1.0, 1.0))
}

/// Spearman's rho of pairs (place in the one order, place in the other): Pearson's correlation of
/// the ranks, where things that are tied share the mean of the ranks that they take up.
pub fn spearman_rho(places: &[(u64, u64)]) -> Option<f64> {
    let mut ranks: Vec<(f64, f64)> = places.iter().map(|(x, y)| (*x as f64, *y as f64)).collect();
    rank(&mut ranks, |pair| &mut pair.0);
    rank(&mut ranks, |pair| &mut pair.1);
    let mean = (ranks.len() as f64 + 1.0) / 2.0;
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (x, y) in ranks {
        let (x, y) = (x - mean, y - mean);
        both += x * y;
        one += x * x;
        other += y * y;
    }
    let scale = one.sqrt() * other.sqrt();
    (scale > 0.0).then(|| (both / scale).clamp(-1.0, 1.0))
}

/// Replaces places by ranks from 1 on.
fn rank(pairs: &mut [(f64, f64)], of: fn(&mut (f64, f64)) -> &mut f64) {
    let place = |pair: &(f64, f64)| {
        let mut pair = *pair;
        *of(&mut pair)
    };
    pairs.sort_unstable_by(|one, other| place(one).total_cmp(&place(other)));
    let mut before = 0.0;
    for run in pairs.chunk_by_mut(|one, other| place(one) == place(other)) {
        let count = run.len() as f64;
        for pair in run {
            *of(pair) = before + (count + 1.0) / 2.0;
        }
        before += count;
    }
}

fn pairs_of(count: usize) -> u64 {
    let count = count as u64;
    count * count.saturating_sub(1) / 2
}

/// How many pairs of a sorted list are tied.
fn tied<T>(sorted: &[T], same: impl FnMut(&T, &T) -> bool) -> u64 {
    sorted.chunk_by(same).map(|run| pairs_of(run.len())).sum()
}

/// Sorts, and tells how many pairs stood the wrong way round.
fn sort_counting(list: &mut [u64]) -> u64 {
    if list.len() < 2 {
        return 0;
    }
    let (left, right) = list.split_at_mut(list.len() / 2);
    let mut exchanges = sort_counting(left) + sort_counting(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    while let (Some(&&one), Some(&&other)) = (left.peek(), right.peek()) {
        if other < one {
            exchanges += left.len() as u64;
            merged.push(other);
            right.next();
        } else {
            merged.push(one);
            left.next();
        }
    }
    merged.extend(left);
    merged.extend(right);
    list.copy_from_slice(&merged);
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `scipy.stats.kendalltau(one, other)` and `scipy.stats.spearmanr(one, other)` of
    /// scipy 1.17.1.
    fn check(one: &[u64], other: &[u64], tau: Option<f64>, rho: Option<f64>) {
        let places: Vec<_> = one.iter().copied().zip(other.iter().copied()).collect();
        let turned: Vec<_> = places.iter().map(|(x, y)| (*y, *x)).collect();
        let near = |found: Option<f64>, known: Option<f64>| match (found, known) {
            (Some(found), Some(known)) => (found - known).abs() < 1e-12,
            (found, known) => found.is_none() && known.is_none(),
        };
        for places in [places, turned] {
            let (found_tau, found_rho) = (kendall_tau_b(&places), spearman_rho(&places));
            assert!(near(found_tau, tau), "tau {found_tau:?}, known {tau:?}");
            assert!(near(found_rho, rho), "rho {found_rho:?}, known {rho:?}");
        }
    }

    #[test]
    fn orders_without_ties_are_as_scipy_has_them() {
        check(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], Some(1.0), Some(1.0));
        check(&[1, 2, 3, 4, 5], &[5, 4, 3, 2, 1], Some(-1.0), Some(-1.0));
        check(&[1, 2, 3, 4, 5], &[2, 1, 3, 4, 5], Some(0.8), Some(0.9));
        check(
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            &[3, 1, 2, 6, 4, 5, 10, 7, 9, 8],
            Some(0.644_444_444_444_444_4),
            Some(0.842_424_242_424_242_3),
        );
    }

    #[test]
    fn ties_are_as_scipy_has_them() {
        check(
            &[1, 1, 2, 3, 4],
            &[1, 2, 3, 4, 5],
            Some(0.948_683_298_050_513_8),
            Some(0.974_679_434_480_896_3),
        );
        check(
            &[1, 2, 2, 3, 4, 4, 4],
            &[2, 1, 2, 3, 3, 4, 5],
            Some(0.723_339_349_297_054_3),
            Some(0.847_965_226_537_960_4),
        );
    }

    #[test]
    fn what_has_no_order_has_no_correlation() {
        check(&[], &[], None, None);
        check(&[1], &[1], None, None);
        check(&[1, 1, 1], &[1, 2, 3], None, None);
        check(&[7, 7], &[7, 7], None, None);
    }

    #[test]
    fn ten_thousand_are_as_scipy_has_them() {
        // one = [i // 7 ...], other = [(i * 7919) % 10007 // 10 ...] for i in range(10000)
        let one: Vec<u64> = (0..10_000).map(|i| i / 7).collect();
        let other: Vec<u64> = (0..10_000).map(|i| i * 7919 % 10_007 / 10).collect();
        check(
            &one,
            &other,
            Some(-0.000_649_832_052_607_078_6),
            Some(-0.000_735_220_237_119_309_8),
        );
    }
}
