//! Floating point with a 128-bit significand, in integer arithmetic: twice as wide as the
//! results, so that truncating every operation still leaves far less than one unit in the
//! last place of a 64-bit significand.

use super::super::host::Outcome;
use super::super::number::{self, INFINITY};
use super::super::state::{exception, status};

/// A number: `significand` / 2^127 × 2^`exponent`, with bit 127 of the significand set; or
/// zero, when the significand is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    /// Below zero.
    pub negative: bool,
    /// Unbiased.
    pub exponent: i32,
    /// Normalised.
    pub significand: u128,
}

/// One, as a fixed-point number with 127 bits behind the point.
pub const FIXED_ONE: u128 = 1 << 127;

/// The product of two fixed-point numbers.
pub fn fixed_mul(a: u128, b: u128) -> u128 {
    high_product(a, b) << 1
}

/// Bits 255 to 128 of a product.
fn high_product(a: u128, b: u128) -> u128 {
    let (a1, a0) = (a >> 64, a & u128::from(u64::MAX));
    let (b1, b0) = (b >> 64, b & u128::from(u64::MAX));
    let (low, mid1, mid2) = (a0 * b0, a1 * b0, a0 * b1);
    let carry = (low >> 64) + (mid1 & u128::from(u64::MAX)) + (mid2 & u128::from(u64::MAX));
    a1 * b1 + (mid1 >> 64) + (mid2 >> 64) + (carry >> 64)
}

impl Wide {
    /// Zero.
    pub const ZERO: Wide = Wide { negative: false, exponent: 0, significand: 0 };

    /// A finite 80-bit number, exactly; denormals included.
    pub fn from_number(value: u128) -> Self {
        if value as u64 == 0 {
            return Wide { negative: number::is_negative(value), ..Wide::ZERO };
        }
        let (exponent, significand) = number::normalised(value);
        Wide {
            negative: number::is_negative(value),
            exponent: exponent - 0x3fff,
            significand: u128::from(significand) << 64,
        }
    }

    /// An integer divided by 2^`shift`, exactly.
    pub fn ratio(value: i32, shift: i32) -> Self {
        Self::normal(value < 0, 127 - shift, u128::from(value.unsigned_abs()))
    }

    /// Brings a significand that may have leading zeros up.
    pub fn normal(negative: bool, exponent: i32, significand: u128) -> Self {
        if significand == 0 {
            return Wide::ZERO;
        }
        let shift = significand.leading_zeros();
        Wide { negative, exponent: exponent - shift as i32, significand: significand << shift }
    }

    /// True for zero.
    pub fn is_zero(&self) -> bool {
        self.significand == 0
    }

    /// The number without its sign.
    pub fn abs(self) -> Self {
        Wide { negative: false, ..self }
    }

    /// The number with its sign flipped if `flip`.
    pub fn negate_if(self, flip: bool) -> Self {
        Wide { negative: self.negative ^ flip, ..self }
    }

    /// The magnitude in fixed point with 127 bits behind the point; below two.
    pub fn to_fixed(self) -> u128 {
        assert!(self.exponent <= 0 || self.is_zero(), "a fixed-point number is below two");
        self.significand.checked_shr(self.exponent.unsigned_abs()).unwrap_or(0)
    }

    /// A fixed-point number as a `Wide`.
    pub fn from_fixed(value: u128) -> Self {
        Self::normal(false, 0, value)
    }

    /// The product, truncated.
    pub fn mul(self, other: Self) -> Self {
        let product = high_product(self.significand, other.significand);
        Self::normal(self.negative ^ other.negative, self.exponent + other.exponent + 1, product)
    }

    /// The quotient, truncated; `other` is not zero.
    pub fn div(self, other: Self) -> Self {
        let (mut rest, mut quotient) = (self.significand, 0u128);
        let mut exponent = self.exponent - other.exponent;
        if rest < other.significand {
            exponent -= 1;
        } else {
            rest -= other.significand;
            quotient = 1;
        }
        // Each step yields a bit; the first one is set after at most one shift.
        while quotient >> 127 == 0 && !self.is_zero() {
            let carry = rest >> 127 != 0;
            rest <<= 1;
            quotient <<= 1;
            if carry || rest >= other.significand {
                rest = rest.wrapping_sub(other.significand);
                quotient |= 1;
            }
        }
        Self::normal(self.negative ^ other.negative, exponent, quotient)
    }

    /// The sum, truncated.
    pub fn add(self, other: Self) -> Self {
        if other.is_zero() {
            return self;
        }
        if self.is_zero() {
            return other;
        }
        let (big, small) = if self.magnitude_below(&other) { (other, self) } else { (self, other) };
        let distance = (big.exponent - small.exponent) as u32;
        // A difference is taken one bit up at the cost of none: the larger one is halved only
        // for sums, which may carry.
        if big.negative == small.negative {
            let small = small.significand.checked_shr(distance).unwrap_or(0);
            let (sum, carry) = big.significand.overflowing_add(small);
            let (significand, exponent) =
                if carry { (sum >> 1 | 1 << 127, big.exponent + 1) } else { (sum, big.exponent) };
            return Wide { negative: big.negative, exponent, significand };
        }
        // What is cut off the subtrahend makes the true difference smaller: one unit more goes.
        let kept = small.significand.checked_shr(distance).unwrap_or(0);
        let lost = kept.checked_shl(distance).unwrap_or(0) != small.significand;
        let difference = big.significand - kept - u128::from(lost);
        Self::normal(big.negative, big.exponent, difference)
    }

    /// The difference, truncated.
    pub fn sub(self, other: Self) -> Self {
        self.add(other.negate_if(true))
    }

    fn magnitude_below(&self, other: &Self) -> bool {
        (self.exponent, self.significand) < (other.exponent, other.significand)
    }

    /// Rounds to the 80-bit format as the control word's rounding control says; its precision
    /// control does not concern transcendental instructions. The number is not zero, and is
    /// the magnitude cut off: bits below it follow unless it is `exact`. The precision
    /// exception is signalled in any case, as Intel's processors do.
    pub fn round(self, control: u16, exact: bool) -> Outcome {
        let biased = self.exponent + 0x3fff;
        let rounded = self.round_at(0, control, exact);
        if biased + i32::from(rounded.carry) >= 0x7fff {
            return self.overflowed(control, exact);
        }
        if biased + i32::from(rounded.carry) >= 1 {
            return rounded.outcome(self.negative, biased, 0);
        }
        if control & exception::UNDERFLOW == 0 {
            return rounded.outcome(self.negative, biased + 0x6000, exception::UNDERFLOW);
        }
        let denormal = self.round_at((1 - biased) as u32, control, exact);
        // A carry out of a denormal makes the smallest normal number by itself.
        let exponent = u16::from(denormal.significand >> 63 != 0);
        Outcome {
            value: number::pack(self.negative, exponent, denormal.significand),
            status: exception::UNDERFLOW | exception::PRECISION | denormal.code(),
        }
    }

    fn overflowed(self, control: u16, exact: bool) -> Outcome {
        if control & exception::OVERFLOW == 0 {
            let biased = self.exponent + 0x3fff - 0x6000;
            return self.round_at(0, control, exact).outcome(self.negative, biased, exception::OVERFLOW);
        }
        let flags = exception::OVERFLOW | exception::PRECISION;
        let away = match control >> 10 & 3 {
            0 => true,
            1 => self.negative,
            2 => !self.negative,
            _ => false,
        };
        let sign = number::pack(self.negative, 0, 0);
        if away {
            Outcome { value: sign | INFINITY, status: flags | status::C1 }
        } else {
            Outcome { value: sign | number::pack(false, 0x7ffe, u64::MAX), status: flags }
        }
    }

    /// Rounds the upper 64 bits of the significand after shifting it right.
    fn round_at(self, shift: u32, control: u16, exact: bool) -> Rounded {
        let kept = self.significand.checked_shr(shift).unwrap_or(0);
        let lost = !exact || kept.checked_shl(shift).unwrap_or(0) != self.significand;
        let (significand, rest) = ((kept >> 64) as u64, kept as u64);
        const HALF: u64 = 1 << 63;
        let above = match control >> 10 & 3 {
            0 => rest > HALF || rest == HALF && (lost || significand & 1 != 0),
            1 => self.negative && (rest != 0 || lost),
            2 => !self.negative && (rest != 0 || lost),
            _ => false,
        };
        let (significand, carry) = significand.overflowing_add(u64::from(above));
        Rounded { significand: if carry { HALF } else { significand }, carry, above }
    }
}

/// A significand after rounding.
struct Rounded {
    significand: u64,
    /// The exponent goes up by one.
    carry: bool,
    /// The magnitude was rounded up, which C1 tells.
    above: bool,
}

impl Rounded {
    fn code(&self) -> u16 {
        if self.above { status::C1 } else { 0 }
    }

    fn outcome(&self, negative: bool, biased: i32, flags: u16) -> Outcome {
        // A scaled exponent can leave the range only for products of the most extreme
        // operands; the largest and smallest exponents stand in then.
        let exponent = (biased + i32::from(self.carry)).clamp(1, 0x7ffe) as u16;
        Outcome {
            value: number::pack(negative, exponent, self.significand),
            status: flags | exception::PRECISION | self.code(),
        }
    }
}
