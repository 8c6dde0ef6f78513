//! Shares between 0 and 1, counted in steps of a hundredth. Of fixed size, however many are added.

/// One bin for each hundredth, 0 and 1 included.
const BINS: usize = 101;

#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bins: [u64; BINS],
    count: u64,
    sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: [0; BINS],
            count: 0,
            sum: 0.0,
        }
    }
}

impl Histogram {
    /// Takes what is outside as the nearest bound, and leaves out what is no number.
    pub fn add(&mut self, share: f64) {
        if share.is_nan() {
            return;
        }
        let share = share.clamp(0.0, 1.0);
        let mut bounds = 0_u32..;
        let bin = self.bins.iter_mut().find(|_| {
            bounds
                .next()
                .is_some_and(|bin| f64::from(bin) + 0.5 > share * 100.0)
        });
        if let Some(bin) = bin {
            *bin += 1;
            self.count += 1;
            self.sum += share;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            *bin += more;
        }
        self.count += other.count;
        self.sum += other.sum;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Exact: not of the bins.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// To the nearest hundredth, and between two values by the straight line, as numpy has it.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let at = last.checked_mul(percent.min(100))?;
        let below = self.value(at / 100)?;
        let above = self.value((at / 100 + 1).min(last))?;
        Some(below + (above - below) * (at % 100) as f64 / 100.0)
    }

    /// The value and the count of each bin that holds any.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        (0_u32..)
            .zip(&self.bins)
            .filter(|(_, count)| **count > 0)
            .map(|(bin, count)| (f64::from(bin) / 100.0, *count))
    }

    /// The value at a place in the order of all values.
    fn value(&self, place: u64) -> Option<f64> {
        let mut before = 0;
        self.bins()
            .find(|(_, count)| {
                before += count;
                before > place
            })
            .map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shares: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        for share in shares {
            histogram.add(*share);
        }
        histogram
    }

    fn near(found: Option<f64>, known: f64) {
        assert!(
            (found.unwrap() - known).abs() < 1e-9,
            "{found:?}, known {known}"
        );
    }

    /// Against `numpy.percentile` and `numpy.mean`.
    #[test]
    fn percentiles_are_those_of_numpy() {
        let ten = of(&[0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0]);
        near(ten.percentile(5), 0.545);
        near(ten.percentile(50), 0.9);
        near(ten.percentile(0), 0.5);
        near(ten.percentile(100), 1.0);
        near(ten.mean(), 0.84);
        let mixed: Vec<f64> = (0..101).map(|i| f64::from(i * 37 % 101) / 100.0).collect();
        near(of(&mixed).percentile(5), 0.05);
        near(of(&mixed).mean(), 0.5);
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        assert_eq!(of(&[]).mean(), None);
        assert_eq!(of(&[]).percentile(50), None);
        assert_eq!(of(&[f64::NAN]).count(), 0);
    }

    #[test]
    fn the_bounds_are_counted_and_what_is_beyond_them() {
        let bounds = of(&[0.0, 1.0, -3.0, 7.0, 0.004, 0.996]);
        assert_eq!(bounds.bins().collect::<Vec<_>>(), [(0.0, 3), (1.0, 3)]);
    }

    #[test]
    fn two_are_as_one() {
        let mut left = of(&[0.1, 0.9]);
        left.merge(&of(&[0.5]));
        assert_eq!(left, of(&[0.1, 0.9, 0.5]));
    }
}
