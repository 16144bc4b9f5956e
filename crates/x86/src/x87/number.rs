//! Numbers in the 80-bit format, held in the low 80 bits of a `u128`: their classes, and the
//! conversions that need no arithmetic.

use super::state::exception;

/// The default response to an invalid operation: a quiet NaN (SDM Vol. 1, 4.8.3.7).
pub const INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;
/// +1.
pub const ONE: u128 = 0x3fff_8000_0000_0000_0000;
/// Plus infinity.
pub const INFINITY: u128 = 0x7fff_8000_0000_0000_0000;
/// The sign.
pub const SIGN: u128 = 1 << 79;
/// The integer bit of the significand.
pub const INTEGER_BIT: u64 = 1 << 63;
/// The bit of the significand that makes a NaN quiet.
pub const QUIET_BIT: u64 = 1 << 62;
/// The exponent of infinities and NaNs.
pub const EXPONENT_MAX: u16 = 0x7fff;

/// What kind of number an encoding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An encoding that the 80387 and its successors do not know: unnormals, pseudo-NaNs,
    /// pseudo-infinities (SDM Vol. 1, 8.2.2).
    Unsupported,
    /// Zero.
    Zero,
    /// Denormals and pseudo-denormals.
    Denormal,
    /// Finite and normal.
    Normal,
    /// Infinity.
    Infinity,
    /// A quiet NaN.
    Quiet,
    /// A signalling NaN.
    Signalling,
}

/// The 80-bit number of these parts.
pub const fn pack(negative: bool, exponent: u16, significand: u64) -> u128 {
    (negative as u128) << 79 | (exponent as u128) << 64 | significand as u128
}

/// The biased exponent.
pub const fn exponent(value: u128) -> u16 {
    (value >> 64) as u16 & EXPONENT_MAX
}

/// The sign.
pub const fn is_negative(value: u128) -> bool {
    value >> 79 & 1 != 0
}

/// The class of an encoding.
pub const fn class(value: u128) -> Class {
    let significand = value as u64;
    match exponent(value) {
        0 if significand == 0 => Class::Zero,
        0 => Class::Denormal,
        _ if significand & INTEGER_BIT == 0 => Class::Unsupported,
        EXPONENT_MAX if significand == INTEGER_BIT => Class::Infinity,
        EXPONENT_MAX if significand & QUIET_BIT != 0 => Class::Quiet,
        EXPONENT_MAX => Class::Signalling,
        _ => Class::Normal,
    }
}

/// A finite number other than zero with its significand shifted up to the integer bit: the
/// biased exponent that goes with it (below 1 for denormals), and the significand.
pub const fn normalised(value: u128) -> (i32, u64) {
    let significand = value as u64;
    let shift = significand.leading_zeros();
    let exponent = exponent(value) as i32;
    let exponent = if exponent == 0 { 1 } else { exponent };
    (exponent - shift as i32, significand << shift)
}

/// An integer, exactly.
pub const fn from_i64(value: i64) -> u128 {
    if value == 0 {
        return 0;
    }
    let magnitude = value.unsigned_abs();
    let shift = magnitude.leading_zeros();
    pack(value < 0, (0x403e - shift) as u16, magnitude << shift)
}

/// A binary32 number and the exceptions of loading it.
pub const fn from_binary32(bits: u32) -> (u128, u16) {
    let fraction = (bits as u64 & 0x7f_ffff) << 40;
    from_parts(bits >> 31 != 0, bits as i32 >> 23 & 0xff, 0xff, 127, fraction)
}

/// A binary64 number and the exceptions of loading it.
pub const fn from_binary64(bits: u64) -> (u128, u16) {
    let fraction = (bits & 0xf_ffff_ffff_ffff) << 11;
    from_parts(bits >> 63 != 0, (bits >> 52 & 0x7ff) as i32, 0x7ff, 1023, fraction)
}

/// `fraction` lies right below the integer bit.
const fn from_parts(negative: bool, exponent: i32, largest: i32, bias: i32, fraction: u64) -> (u128, u16) {
    if exponent == largest {
        let signalling = fraction != 0 && fraction & QUIET_BIT == 0;
        let quiet = if signalling { QUIET_BIT } else { 0 };
        let flags = if signalling { exception::INVALID } else { 0 };
        return (pack(negative, EXPONENT_MAX, INTEGER_BIT | fraction | quiet), flags);
    }
    if exponent != 0 {
        return (pack(negative, (exponent - bias + 0x3fff) as u16, INTEGER_BIT | fraction), 0);
    }
    if fraction == 0 {
        return (pack(negative, 0, 0), 0);
    }
    let shift = fraction.leading_zeros();
    let exponent = 1 - bias + 0x3fff - shift as i32;
    (pack(negative, exponent as u16, fraction << shift), exception::DENORMAL)
}

/// A packed decimal integer of eighteen digits and a sign, exactly. Digits above nine count
/// with their value, as on Intel's processors.
pub const fn from_bcd(bytes: u128) -> u128 {
    let mut magnitude = 0u64;
    let mut digit = 18;
    while digit > 0 {
        digit -= 1;
        magnitude = magnitude * 10 + (bytes >> (4 * digit) & 15) as u64;
    }
    from_i64(magnitude as i64) | (bytes & SIGN)
}
