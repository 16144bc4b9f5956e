//! Operands for random tests: special encodings, and numbers near enough to each other that
//! something happens.

use crate::x87::number::{INDEFINITE, INFINITY, ONE, SIGN, pack};
use crate::x87::state::X87State;

/// A xorshift generator: tests need variety, not quality.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const TOP: u64 = 1 << 63;

/// One of each class, and neighbours of the limits.
pub const SPECIAL: [u128; 30] = [
    0,
    SIGN,
    ONE,
    ONE | SIGN,
    INFINITY,
    INFINITY | SIGN,
    INDEFINITE,
    pack(false, 0x7fff, TOP | 1),
    pack(true, 0x7fff, TOP | 0x1234),
    pack(false, 0x7fff, 0xc000_0000_0000_0001),
    pack(true, 0x7fff, u64::MAX),
    pack(false, 0x7fff, 0),
    pack(false, 0x7fff, 1),
    pack(true, 0x7fff, 0x4000_0000_0000_0000),
    pack(false, 0, 1),
    pack(true, 0, 0x7fff_ffff_ffff_ffff),
    pack(false, 0, TOP),
    pack(true, 0, u64::MAX),
    pack(false, 1, TOP),
    pack(false, 1, 0),
    pack(true, 0x3fff, 0x7fff_ffff_ffff_ffff),
    pack(false, 0x7ffe, u64::MAX),
    pack(true, 0x7ffe, TOP),
    pack(false, 0x3ffe, TOP),
    pack(false, 0x3ffe, u64::MAX),
    pack(false, 0x4000, 0xc90f_daa2_2168_c235),
    pack(true, 0x403e, TOP),
    pack(false, 0x403d, u64::MAX),
    pack(false, 0x3fff, TOP | 1),
    pack(true, 0x400d, 0xffff_0000_0000_0000),
];

fn significand(random: &mut Random) -> u64 {
    match random.below(5) {
        0 => TOP,
        1 => TOP | 1 << random.below(63),
        2 => u64::MAX << random.below(63),
        // Few bits: integers and exact results.
        3 => TOP | random.next() << 50,
        _ => TOP | random.next(),
    }
}

/// A number of any class.
pub fn number(random: &mut Random) -> u128 {
    let negative = random.one_in(2);
    match random.below(10) {
        0 | 1 => SPECIAL[random.below(SPECIAL.len() as u64) as usize],
        2 => pack(negative, random.next() as u16 & 0x7fff, random.next()),
        3 => pack(negative, 0, random.next() >> random.below(64)),
        4 => pack(negative, 0x3fff + random.below(70) as u16, significand(random)),
        5 => pack(negative, (0x3fff - 1023 - 60 + random.below(70)) as u16, significand(random)),
        6 => pack(negative, (0x3fff - 126 - 30 + random.below(40)) as u16, significand(random)),
        7 => pack(negative, (0x3fff + 120 + random.below(16)) as u16, significand(random)),
        _ => pack(negative, (0x3fff - 3 + random.below(8)) as u16, significand(random)),
    }
}

/// A finite normal number between 2^`low` and 2^`high`.
pub fn normal_between(random: &mut Random, low: i32, high: i32) -> u128 {
    let exponent = low + random.below((high - low) as u64) as i32;
    pack(random.one_in(2), (0x3fff + exponent) as u16, significand(random))
}

/// A state without pending exceptions: any rounding, precision and masks, any TOP, few
/// empty registers.
pub fn state(random: &mut Random) -> X87State {
    let masks = if random.one_in(2) { 0x3f } else { random.next() as u16 & 0x3f };
    let control = random.next() as u16 & 0x0f00 | masks | 0x40;
    let flags = random.next() as u16 & masks & random.next() as u16;
    let codes = random.next() as u16 & 0x4740;
    let mut fpu = X87State { control, status: flags | codes, ..X87State::INITIAL };
    fpu.set_top(random.below(8) as usize);
    fpu.valid = if random.one_in(4) { random.next() as u8 } else { 0xff };
    // Loads want room above.
    if random.one_in(2) {
        fpu.valid &= !(1 << fpu.slot(7));
    }
    fpu.regs = std::array::from_fn(|_| number(random));
    fpu
}

/// Bytes of a memory operand that holds something of interest in any format.
pub fn memory(random: &mut Random) -> [u8; 16] {
    let raw = match random.below(8) {
        0 => {
            let special = [0u32, 1 << 31, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0001, 1, 0x807f_ffff, 0x3f80_0000];
            u128::from(special[random.below(8) as usize])
        }
        1 => {
            let special: [u64; 8] = [
                0,
                1 << 63,
                0x7ff0 << 48,
                0xfff0_0000_0000_0001,
                0x7ff8_0000_0000_0001,
                1,
                0x800f_ffff_ffff_ffff,
                0x3ff0 << 48,
            ];
            u128::from(special[random.below(8) as usize])
        }
        2 => u128::from((1f32 + random.next() as f32 / 1e19).to_bits()),
        3 => u128::from((1f64 + random.next() as f64 / 1e19).to_bits()),
        4 => u128::from(random.below(1000)),
        5 => number(random),
        _ => u128::from(random.next()) | u128::from(random.next()) << 64,
    };
    raw.to_le_bytes()
}
