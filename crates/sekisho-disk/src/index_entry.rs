/// A record's place: the first eight bytes of its key, its segment, and the offset of its frame behind three bits of
/// its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub prefix: u64,
    pub segment: u32,
    pub place: u32,
}

impl Entry {
    pub(crate) const fn new(key: u128, segment: u32, offset: u32, class: u8) -> Self {
        Self { prefix: prefix_of(key), segment, place: offset | (class as u32 & 7) << 29 }
    }

    pub(crate) const fn class(self) -> u8 {
        (self.place >> 29) as u8
    }

    /// Segment and offset of the frame.
    pub(crate) const fn frame(self) -> (u32, u32) {
        (self.segment, self.place & ((1 << 29) - 1))
    }
}

pub(crate) const fn prefix_of(key: u128) -> u64 {
    (key >> 64) as u64
}
