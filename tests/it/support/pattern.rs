//! Bytes of any length that are known at every place, so that a stream can be checked as it
//! arrives, byte for byte, and be kept nowhere.

/// A prime, so that no buffer of anyone's is a multiple of it.
const BLOCK_BYTES: usize = 65_521;
const SEED: u64 = 0x0DDB_1A5E_5BAD_5EED;

/// Noise that repeats, with the number of the repetition in front of each.
#[derive(Clone)]
pub(crate) struct Pattern {
    noise: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = SEED;
        let mut noise = Vec::with_capacity(BLOCK_BYTES + 8);
        while noise.len() < BLOCK_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend(state.to_le_bytes());
        }
        noise.truncate(BLOCK_BYTES);
        Self { noise }
    }

    /// The first `length` bytes.
    pub(crate) fn first(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(0, &mut bytes);
        bytes
    }

    /// What stands from place `from` on.
    pub(crate) fn fill(&self, from: u64, mut into: &mut [u8]) {
        let mut place = from;
        while !into.is_empty() {
            let expected = self.rest_of_block(place);
            let length = expected.len().min(into.len());
            let (now, later) = into.split_at_mut(length);
            now.copy_from_slice(&expected[..length]);
            place += u64::try_from(length).unwrap();
            into = later;
        }
    }

    /// Whether `given` is what stands from place `from` on.
    pub(crate) fn holds(&self, from: u64, mut given: &[u8]) -> bool {
        let mut place = from;
        while !given.is_empty() {
            let expected = self.rest_of_block(place);
            let length = expected.len().min(given.len());
            let (now, later) = given.split_at(length);
            if now != &expected[..length] {
                return false;
            }
            place += u64::try_from(length).unwrap();
            given = later;
        }
        true
    }

    fn rest_of_block(&self, place: u64) -> Vec<u8> {
        let block_bytes = u64::try_from(BLOCK_BYTES).unwrap();
        let mut block = self.noise.clone();
        block[..8].copy_from_slice(&(place / block_bytes).to_le_bytes());
        block.split_off(usize::try_from(place % block_bytes).unwrap())
    }
}

#[test]
fn a_pattern_knows_itself_at_any_place_and_nothing_else() {
    let pattern = Pattern::new();
    let whole = pattern.first(200_000);
    for from in [0, 1, 65_520, 65_521, 65_528, 131_042] {
        let at = u64::try_from(from).unwrap();
        assert!(pattern.holds(at, &whole[from..]));
        assert!(!pattern.holds(at + 1, &whole[from..]));
        assert!(!pattern.holds(at + 65_521, &whole[from..]));
    }
}
