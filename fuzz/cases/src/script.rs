//! Bytes read as a series of decisions. Behind the end everything is zero, so that every input is a
//! whole script.

/// The decisions that are left.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Script { rest: bytes }
    }

    /// True if only zeros follow.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes, or as many as there are.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// One bit of a byte.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// True once in `n` times, and not behind the end.
    pub fn one_in(&mut self, n: u8) -> bool {
        self.u8() % n == n - 1
    }

    /// A number below `bound`, which is 1 to 65,536.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!((1..=1 << 16).contains(&bound), "two bytes decide it");
        if bound <= 256 { usize::from(self.u8()) % bound } else { usize::from(self.u16()) % bound }
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// A number of the kind that finds mistakes: small, a single bit, about a boundary, or any.
    pub fn value(&mut self) -> u64 {
        let kind = self.u8();
        let near = |at: u64, offset: u8| at.wrapping_add(u64::from(offset)).wrapping_sub(0x80);
        match kind % 12 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(self.u8()),
            3 => 1 << (self.u8() % 64),
            4 => near(1 << (self.u8() % 64), self.u8()),
            5 => near(1 << 47, self.u8()),
            6 => near(0xffff_8000_0000_0000, self.u8()),
            7 => u64::from(self.u16()),
            8 => u64::from(self.u32()),
            9 => self.u32() as i32 as u64,
            10 => near(u64::from(self.u16()) << 12, self.u8()),
            _ => self.u64(),
        }
    }
}

/// A generator of fixed pseudo-random numbers (splitmix64), for what a script leaves open.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
