//! Values worth trying: boundaries of integers and floats, pointers, and plain random ones.

use crate::layout::*;
use crate::rng::Rng;

const INTEGERS: [u64; 32] = [
    0,
    1,
    2,
    3,
    7,
    8,
    0xf,
    0x10,
    0x1f,
    0x20,
    0x3f,
    0x40,
    0x7e,
    0x7f,
    0x80,
    0x81,
    0xfe,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x9999_9999_9999_9999,
    0x0706_0504_0302_0100,
];

/// A 64-bit integer: often at a boundary of some size.
pub fn integer(rng: &mut Rng) -> u64 {
    let value = match rng.below(8) {
        0..=2 => rng.pick(&INTEGERS),
        3 => rng.below(64),
        4 => rng.bits() >> rng.below(64),
        5 => u64::from_le_bytes([rng.bits() as u8; 8]),
        _ => rng.bits(),
    };
    match rng.below(8) {
        0 => !value,
        1 => value.wrapping_neg(),
        _ => value,
    }
}

const F32: [u32; 24] = [
    0,
    1,
    0x0040_0000,
    0x007f_ffff,
    0x0080_0000,
    0x0080_0001,
    0x3380_0000,
    0x3f00_0000,
    0x3f7f_ffff,
    0x3f80_0000,
    0x3f80_0001,
    0x3fc0_0000,
    0x4020_0000,
    0x4b00_0000,
    0x4eff_ffff,
    0x4f00_0000,
    0x4f80_0000,
    0x5f00_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0x7f80_0001,
    0x7fbf_ffff,
    0x7fc0_0000,
    0x7fff_ffff,
];

fn binary32(rng: &mut Rng) -> u32 {
    let value = match rng.below(4) {
        0 | 1 => rng.pick(&F32),
        2 => 0x3f80_0000 + (rng.bits() as u32 & 0x07ff_ffff),
        _ => rng.bits() as u32,
    };
    value ^ (rng.bits() as u32 & 0x8000_0000)
}

const F64: [u64; 22] = [
    0,
    1,
    0x0008_0000_0000_0000,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x3690_0000_0000_0000,
    0x380f_ffff_f000_0000,
    0x3810_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x3fef_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x3ff8_0000_0000_0000,
    0x41df_ffff_ffc0_0000,
    0x41e0_0000_0000_0000,
    0x43e0_0000_0000_0000,
    0x47ef_ffff_e000_0000,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0x7ff8_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
];

fn binary64(rng: &mut Rng) -> u64 {
    let value = match rng.below(4) {
        0 | 1 => rng.pick(&F64),
        2 => 0x3ff0_0000_0000_0000 + (rng.bits() & 0x00ff_ffff_ffff_ffff),
        _ => rng.bits(),
    };
    value ^ (rng.bits() & 1 << 63)
}

/// Sixteen bytes: floats, integers or noise.
pub fn lane(rng: &mut Rng) -> [u64; 2] {
    match rng.below(5) {
        0 | 1 => std::array::from_fn(|_| u64::from(binary32(rng)) | u64::from(binary32(rng)) << 32),
        2 | 3 if rng.one_in(2) => std::array::from_fn(|_| binary64(rng)),
        2 | 3 => std::array::from_fn(|_| integer(rng)),
        _ => std::array::from_fn(|_| rng.bits()),
    }
}

/// An 80-bit float: normal numbers mostly, and every other encoding.
pub fn extended(rng: &mut Rng) -> u128 {
    let significand = match rng.below(6) {
        0 => 1 << 63,
        1 => rng.pick(&[0, 1, 1 << 62, 3 << 62, u64::MAX, (1 << 63) | 1, 0xbfff_ffff_ffff_ffff]),
        2 => (1 << 63) | rng.bits() << rng.below(64),
        3 => rng.bits(),
        _ => rng.bits() | 1 << 63,
    };
    let exponent = match rng.below(8) {
        0 => rng.pick(&[0, 1, 0x3c00, 0x3f80, 0x3ffe, 0x3fff, 0x4000, 0x403e, 0x43ff, 0x7ffe, 0x7fff]),
        1 => rng.bits() & 0x7fff,
        2 => 0x3fff,
        3 => 0x3fff + rng.below(70),
        _ => 0x3fff - 20 + rng.below(40),
    };
    let sign = rng.bits() & 0x8000;
    u128::from(significand) | u128::from(exponent | sign) << 64
}

/// An address in the data pages, low or high: anywhere, aligned, across pages, across the
/// border to the read-only or to an unmapped page.
pub fn data_address(rng: &mut Rng) -> u64 {
    let base = if rng.one_in(2) { DATA } else { DATA_HIGH };
    let end = WRITABLE_PAGES * PAGE;
    let offset = match rng.below(32) {
        0..=9 => (64 + rng.below(end - 256)) & !15,
        10..=13 => (64 + rng.below(end - 256)) & !31,
        14..=23 => 64 + rng.below(end - 256),
        24..=27 => PAGE.wrapping_sub(rng.below(33)),
        28 => end.wrapping_sub(rng.below(40)),
        29 => end + rng.below(PAGE - 64),
        30 => (end + PAGE).wrapping_sub(rng.below(40)),
        _ => 8u64.wrapping_sub(rng.below(40)),
    };
    base.wrapping_add(offset)
}

/// An address that is wrong in some way: not canonical, unmapped, or across such a border.
pub fn bad_address(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => 0x8000_0000_0000u64.wrapping_sub(rng.below(40)),
        1 => rng.bits(),
        2 => rng.below(64),
        _ => 1 << 63 | data_address(rng),
    }
}

/// What a general register holds when no operand needs anything of it.
pub fn register(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => data_address(rng),
        _ => integer(rng),
    }
}

/// Bytes for the data pages: the values above at their natural places.
pub fn fill(rng: &mut Rng, bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(16) {
        let words = match rng.below(8) {
            0 => {
                let value = extended(rng);
                [value as u64, (value >> 64) as u64]
            }
            1 => std::array::from_fn(|_| data_address(rng)),
            _ => lane(rng),
        };
        chunk[..8].copy_from_slice(&words[0].to_le_bytes());
        chunk[8..].copy_from_slice(&words[1].to_le_bytes());
    }
}
