//! How alike two vectors are: Qdrant's own arithmetic, to the last bit.
//!
//! A sum of floats depends on its order, so the order here is that of Qdrant's loops: one by one
//! below 16 dimensions, four times four lanes from there on, and four times eight with fused
//! multiplication from 32, where the processor has it. On processors other than x86-64 the last
//! digit may differ.
//!
//! Larger is more alike, whatever the distance: what is shown to clients is
//! `Distance::postprocess_score` of it.

use qdrant_edge::{Distance, VectorStorageDatatype};

/// From so many dimensions on Qdrant sums in four lanes, and in eight.
const LANES_4: usize = 16;
const LANES_8: usize = 32;

/// What the numbers of a stored vector are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::store::pgvector) enum Element {
    Float,
    Half,
    Byte,
}

impl Element {
    pub(in crate::store::pgvector) fn of(datatype: Option<VectorStorageDatatype>) -> Self {
        match datatype {
            Some(VectorStorageDatatype::Float16) => Self::Half,
            Some(VectorStorageDatatype::Uint8) => Self::Byte,
            // Kept in full: what four bits would lose is not missed.
            Some(VectorStorageDatatype::Float32 | VectorStorageDatatype::Turbo4) | None => {
                Self::Float
            }
        }
    }

    /// The number as it is once stored.
    pub(in crate::store::pgvector) fn rounded(self, value: f32) -> f32 {
        match self {
            Self::Float => value,
            Self::Half => half(value),
            Self::Byte if value.is_nan() => 0.0,
            Self::Byte => value.clamp(0.0, 255.0).trunc(),
        }
    }

    /// A row as it is stored, and as it is searched with.
    pub(in crate::store::pgvector) fn prepared(self, distance: Distance, row: &[f32]) -> Vec<f32> {
        let row = row.to_vec();
        match self {
            Self::Float => distance.preprocess_vector::<f32>(row),
            Self::Half => {
                let mut row = distance.preprocess_vector::<f32>(row);
                row.iter_mut().for_each(|value| *value = half(*value));
                row
            }
            Self::Byte => row.into_iter().map(|value| self.rounded(value)).collect(),
        }
    }
}

/// Both rows are prepared.
pub(in crate::store::pgvector) fn similarity(
    distance: Distance,
    element: Element,
    one: &[f32],
    other: &[f32],
) -> f32 {
    if element == Element::Byte {
        return of_bytes(distance, one, other);
    }
    match distance {
        Distance::Cosine | Distance::Dot => sum(element, one, other, Term::Product),
        Distance::Euclid => -sum(element, one, other, Term::Square),
        Distance::Manhattan => -sum(element, one, other, Term::Magnitude),
    }
}

#[derive(Clone, Copy)]
enum Term {
    Product,
    Square,
    Magnitude,
}

impl Term {
    fn of(self, one: f32, other: f32) -> f32 {
        match self {
            Self::Product => one * other,
            Self::Square => (one - other) * (one - other),
            Self::Magnitude => (one - other).abs(),
        }
    }

    fn added(self, one: f32, other: f32, sum: f32) -> f32 {
        self.of(one, other) + sum
    }

    /// Adds to the lanes what comes next, fused.
    fn fuse<const N: usize>(self, one: &[f32; N], other: &[f32; N], lanes: &mut [f32; N]) {
        match self {
            Self::Product => fuse(one, other, lanes),
            Self::Square => {
                let differences: [f32; N] = std::array::from_fn(|at| {
                    let pair = one.get(at).zip(other.get(at));
                    pair.map_or(0.0, |(one, other)| one - other)
                });
                fuse(&differences, &differences, lanes);
            }
            Self::Magnitude => {
                for ((lane, one), other) in lanes.iter_mut().zip(one).zip(other) {
                    *lane += (one - other).abs();
                }
            }
        }
    }

    /// Of halves, one by one: whatever comes out on the way is a half again.
    fn of_halves(self, one: f32, other: f32) -> f32 {
        match self {
            Self::Product => half(one * other),
            Self::Square => {
                let difference = half(one - other);
                half(difference * difference)
            }
            Self::Magnitude => half(one - other).abs(),
        }
    }
}

/// Multiplies and adds, rounded once.
///
/// The instruction for it is not there on every processor that this is built for, and without it one
/// number takes a call. A product of two `f32` is exact as `f64`, and what it makes with the lane is
/// rounded there to so many digits that rounding again gives the same, unless it then lies just
/// halfway between two `f32` or is too small to have all of their digits: only those take the call.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the nearest f32 is what is meant"
)]
fn fuse<const N: usize>(one: &[f32; N], other: &[f32; N], lanes: &mut [f32; N]) {
    const DROPPED: u64 = 0x1fff_ffff;
    const HALFWAY: u64 = 0x1000_0000;
    let mut next = *lanes;
    let mut is_close = false;
    for ((lane, one), other) in next.iter_mut().zip(one).zip(other) {
        let sum = f64::from(*one) * f64::from(*other) + f64::from(*lane);
        let is_tiny = sum.abs() < f64::from(f32::MIN_POSITIVE) && sum != 0.0;
        is_close |= is_tiny | (sum.to_bits() & DROPPED == HALFWAY);
        *lane = sum as f32;
    }
    if is_close {
        for ((lane, one), other) in lanes.iter_mut().zip(one).zip(other) {
            *lane = one.mul_add(*other, *lane);
        }
    } else {
        *lanes = next;
    }
}

fn sum(element: Element, one: &[f32], other: &[f32], term: Term) -> f32 {
    let dimensions = one.len();
    if dimensions >= LANES_8 && has_fused() {
        return in_lanes::<LANES_8>(element, one, other, term);
    }
    if dimensions >= LANES_4 && cfg!(target_arch = "x86_64") {
        return in_lanes::<LANES_4>(element, one, other, term);
    }
    let pairs = one.iter().zip(other);
    if element == Element::Half {
        pairs.map(|(one, other)| term.of_halves(*one, *other)).sum()
    } else {
        pairs.map(|(one, other)| term.of(*one, *other)).sum()
    }
}

#[cfg(target_arch = "x86_64")]
fn has_fused() -> bool {
    std::arch::is_x86_feature_detected!("avx") && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_fused() -> bool {
    false
}

/// `N` is the lanes of four registers together.
fn in_lanes<const N: usize>(element: Element, one: &[f32], other: &[f32], term: Term) -> f32 {
    let mut lanes = [0.0_f32; N];
    let (ones, ones_left) = one.as_chunks::<N>();
    let (others, others_left) = other.as_chunks::<N>();
    for (one, other) in ones.iter().zip(others) {
        if N == LANES_8 {
            term.fuse(one, other, &mut lanes);
            continue;
        }
        for ((lane, one), other) in lanes.iter_mut().zip(one).zip(other) {
            *lane = term.added(*one, *other, *lane);
        }
    }
    let mut sum = if N == LANES_8 && element == Element::Float {
        eights_together(&lanes)
    } else {
        let registers = lanes.chunks_exact(N / 4).map(across);
        registers.reduce(|sum, next| sum + next).unwrap_or_default()
    };
    for (one, other) in ones_left.iter().zip(others_left) {
        sum += term.of(*one, *other);
    }
    sum
}

/// Four registers of eight: first with each other, then across.
fn eights_together(lanes: &[f32]) -> f32 {
    let mut registers = lanes.chunks_exact(8);
    let mut next = || registers.next().unwrap_or(&[]);
    let (a, b, c, d) = (next(), next(), next(), next());
    let mut total = [0.0; 8];
    let parts = a.iter().zip(b).zip(c.iter().zip(d));
    for (total, ((a, b), (c, d))) in total.iter_mut().zip(parts) {
        *total = (a + b) + (c + d);
    }
    across(&total)
}

/// The sum across one register.
fn across(register: &[f32]) -> f32 {
    match *register {
        [a, b, c, d, e, f, g, h] => ((e + a) + (f + b)) + ((g + c) + (h + d)),
        [a, b, c, d] => (a + c) + (b + d),
        _ => register.iter().sum(),
    }
}

/// Whole numbers, summed without loss.
fn of_bytes(distance: Distance, one: &[f32], other: &[f32]) -> f32 {
    let total = |term: Term| -> f64 {
        let pairs = one.iter().zip(other);
        pairs
            .map(|(one, other)| f64::from(term.of(*one, *other)))
            .sum()
    };
    match distance {
        Distance::Dot => nearest(total(Term::Product)),
        Distance::Euclid => -nearest(total(Term::Square)),
        Distance::Manhattan => -nearest(total(Term::Magnitude)),
        Distance::Cosine => {
            let square =
                |row: &[f32]| -> f64 { row.iter().map(|value| f64::from(*value).powi(2)).sum() };
            let (ones, others) = (nearest(square(one)), nearest(square(other)));
            if ones == 0.0 || others == 0.0 {
                return 0.0;
            }
            nearest(total(Term::Product)) / (ones * others).sqrt()
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the nearest is what is meant"
)]
fn nearest(value: f64) -> f32 {
    value as f32
}

/// The nearest number that 16 bits hold, halves to even. Beyond them, infinity.
fn half(value: f32) -> f32 {
    /// The least number that is kept with all of its digits, and half of the last of these.
    const NORMAL_MIN: f32 = 6.103_515_6e-5;
    const STEP_MIN: f32 = 5.960_464_5e-8;
    /// Halfway from the largest to what would be next.
    const OVERFLOW: f32 = 65_520.0;
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    let magnitude = value.abs();
    if magnitude >= OVERFLOW {
        return f32::INFINITY.copysign(value);
    }
    if magnitude < NORMAL_MIN {
        return ((magnitude / STEP_MIN).round_ties_even() * STEP_MIN).copysign(value);
    }
    // 13 of the 23 digits go.
    let bits = magnitude.to_bits();
    let odd = (bits >> 13) & 1;
    f32::from_bits((bits + 0xfff + odd) & !0x1fff).copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_the_nearest() {
        let check = |value: f32, expected: f32| {
            assert_eq!(half(value).to_bits(), expected.to_bits(), "{value}");
        };
        check(0.1, 0.099_975_586);
        check(0.447_213_6, 0.447_265_62);
        check(1.0, 1.0);
        check(65_519.0, 65_504.0);
        check(70_000.0, f32::INFINITY);
        check(-70_000.0, f32::NEG_INFINITY);
        check(5.960_464_5e-8, 5.960_464_5e-8);
        check(2.0e-8, 0.0);
        check(-0.0, -0.0);
    }

    #[test]
    fn bytes_are_cut_off_and_never_out_of_range() {
        let check = |value: f32, expected: f32| {
            assert_eq!(Element::Byte.rounded(value), expected, "{value}");
        };
        check(1.9, 1.0);
        check(300.0, 255.0);
        check(-3.0, 0.0);
        check(f32::NAN, 0.0);
    }

    #[test]
    fn what_is_fused_is_rounded_once() {
        let check = |one: f32, other: f32, lane: f32| {
            let mut lanes = [lane; 8];
            fuse(&[one; 8], &[other; 8], &mut lanes);
            let expected = one.mul_add(other, lane);
            let is_same = lanes[3].to_bits() == expected.to_bits();
            assert!(is_same || expected.is_nan(), "{one:e} {other:e} {lane:e}");
        };
        // As `f64` these lie just halfway between two `f32`, and in truth a little beside it.
        let ulp = f32::EPSILON;
        for sign in [1.0, -1.0] {
            for tiny in [1.0e-20_f32, 1.0e-30] {
                check(1.0 + ulp, 1.0, sign * tiny);
                check(ulp / 2.0, 1.0 + sign * ulp, 1.0);
                check(sign * tiny, tiny, 1.0 + ulp);
                check(tiny, tiny, sign * f32::MIN_POSITIVE);
            }
        }
        for large in [f32::MAX, f32::INFINITY, f32::NAN] {
            check(large, 1.0, large);
            check(large, 2.0, -large);
        }
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..200_000 {
            // Few digits and near exponents: sums that lie halfway come often.
            let [one, other, lane] = [(); 3].map(|()| {
                let bits = next();
                let digits = (bits & 0x7f_f000) | (bits >> 40 & 1);
                let exponent = 60 + (bits >> 32 & 0x3f);
                let sign = bits >> 63 << 31;
                f32::from_bits(u32::try_from(sign | exponent << 23 | digits).unwrap())
            });
            check(one, other, lane);
        }
    }

    #[test]
    fn what_was_seen_of_qdrant_comes_out() {
        let check = |distance, element: Element, one: &[f32], other: &[f32], expected: f32| {
            let one = element.prepared(distance, one);
            let other = element.prepared(distance, other);
            let score = similarity(distance, element, &one, &other);
            assert_eq!(distance.postprocess_score(score), expected);
        };
        let float = Element::Float;
        check(
            Distance::Cosine,
            float,
            &[1.0, 0.0, 0.0],
            &[1.0, 2.0, 3.0],
            0.267_261_24,
        );
        check(
            Distance::Euclid,
            float,
            &[1.0, 2.0, 3.0],
            &[1.0, 1.0, 1.0],
            2.236_068,
        );
        check(Distance::Manhattan, float, &[1.0, 1.0], &[3.0, 4.0], 5.0);
        check(
            Distance::Cosine,
            Element::Half,
            &[1.0, 2.0],
            &[0.1, 0.2],
            1.000_366_2,
        );
        check(
            Distance::Cosine,
            Element::Byte,
            &[100.0, 200.0],
            &[1.0, 255.0],
            0.896_174_1,
        );
        check(Distance::Cosine, float, &[0.0, 0.0], &[0.1, 0.2], 0.0);
    }
}
