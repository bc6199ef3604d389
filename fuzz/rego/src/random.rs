/// SplitMix64: small, seedable, good enough to choose by.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that only the seed determines.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True once in `count`, on average.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of several.
    ///
    /// # Panics
    /// Where there is none.
    pub fn pick<'b, T: ?Sized>(&mut self, of: &[&'b T]) -> &'b T {
        of[self.below(of.len())]
    }
}
