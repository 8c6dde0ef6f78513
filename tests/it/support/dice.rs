//! Chance that is told by a seed: of one seed always the same.

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0d1c_e5ee)
    }

    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.any() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// Below 1, in steps so fine that no two are likely to be the same.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.any() >> 32).unwrap()) / 4_294_967_296.0
    }

    /// From -1 to 1, as a number of 32 bits has it.
    pub(crate) fn float(&mut self) -> f64 {
        let fine = self.fraction() * 2.0 - 1.0;
        (fine * 8_388_608.0).round() / 8_388_608.0
    }
}
