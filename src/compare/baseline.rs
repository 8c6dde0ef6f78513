//! Overlap between two stores, less the noise of the one that it is measured by.
//!
//! Approximate search misses some of the true answer, so two stores that hold the same points
//! overlap less than wholly though neither is at fault. A share of the reads runs at the read store
//! twice, approximate and exact, and the overlap of these two answers is its own:
//!
//! ```text
//! own        the part of the true answer that the read store finds
//! observed   the part of the read store's answer that the other store finds
//! corrected  observed / own, at most 1: the part of the true answer that the other store finds
//! ```
//!
//! Because: if what the two stores miss is independent, the other store finds of the read store's
//! answer just what it finds of the true part of it, `observed = own × other`. So an exact other
//! store has 1, and one as noisy as the read store has `own`. Where both stores miss the same points
//! (the hard ones are hard for both), or fill the gaps with the same next best, `observed` is higher
//! than the product, so the figure is rather too high than too low: it takes the read store's noise
//! out, it does not prove the other store. Recall against exact answers does.
//!
//! The corrected mean is the quotient of the two means, each over all reads it is known of, and not
//! the mean of quotients: single quotients are above 1 as often as noise makes them.

use super::histogram::Histogram;

/// The overlaps of many reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlaps {
    observed: Histogram,
    own: Histogram,
    corrected: Histogram,
}

impl Overlaps {
    /// The overlap of the two stores in one read, and that of the read store with itself if the
    /// read ran there twice.
    pub fn add(&mut self, observed: f64, own: Option<f64>) {
        self.observed.add(observed);
        if let Some(own) = own {
            self.own.add(own);
            if own > 0.0 {
                self.corrected.add(observed / own);
            }
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.observed.merge(&other.observed);
        self.own.merge(&other.own);
        self.corrected.merge(&other.corrected);
    }

    pub fn observed(&self) -> &Histogram {
        &self.observed
    }

    pub fn own(&self) -> &Histogram {
        &self.own
    }

    /// The distribution over the reads that ran twice, each for itself. To be looked at; its mean
    /// is lower than [`Overlaps::corrected`], for it cuts off what is above 1.
    pub fn corrected_each(&self) -> &Histogram {
        &self.corrected
    }

    /// See the header; `None` until a read has run twice.
    pub fn corrected(&self) -> Option<f64> {
        let (observed, own) = (self.observed.mean()?, self.own.mean()?);
        // A read store that finds nothing of its own exact answer is no measure.
        (own > 0.0).then(|| (observed / own).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, known: f64, within: f64) {
        assert!(
            (found.unwrap() - known).abs() < within,
            "{found:?}, known {known}"
        );
    }

    #[test]
    fn the_read_stores_noise_is_taken_out() {
        let mut overlaps = Overlaps::default();
        assert_eq!(overlaps.corrected(), None);
        overlaps.add(0.9, None);
        assert_eq!(overlaps.corrected(), None);
        overlaps.add(0.7, Some(0.8));
        overlaps.add(0.8, Some(1.0));
        near(overlaps.observed().mean(), 0.8, 1e-9);
        near(overlaps.own().mean(), 0.9, 1e-9);
        near(overlaps.corrected(), 0.8 / 0.9, 1e-9);
        let each: Vec<_> = overlaps.corrected_each().bins().collect();
        assert_eq!(each, [(0.8, 1), (0.87, 1)]);
    }

    #[test]
    fn agreement_beyond_the_noise_is_whole_and_not_more() {
        let mut overlaps = Overlaps::default();
        overlaps.add(1.0, Some(0.9));
        near(overlaps.corrected(), 1.0, 1e-9);
        let mut blind = Overlaps::default();
        blind.add(0.5, Some(0.0));
        assert_eq!(blind.corrected(), None);
    }

    /// Two stores that each find a true row by chance, and fill up with rows of their own.
    #[test]
    fn what_the_other_store_finds_comes_out() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut chance = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 1_000_000) as f64 / 1e6
        };
        for (one, other) in [(0.95, 0.9), (0.8, 0.8), (0.9, 1.0), (0.99, 0.5)] {
            let mut overlaps = Overlaps::default();
            for read in 0..4000 {
                let found: Vec<(bool, bool)> = (0..10)
                    .map(|_| (chance() < one, chance() < other))
                    .collect();
                let share =
                    |is: fn(&&(bool, bool)) -> bool| found.iter().filter(is).count() as f64 / 10.0;
                // Only every tenth read runs twice.
                let own = (read % 10 == 0).then(|| share(|row| row.0));
                overlaps.add(share(|row| row.0 && row.1), own);
            }
            near(overlaps.corrected(), other, 0.02);
        }
    }
}
