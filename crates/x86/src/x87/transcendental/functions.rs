//! The functions themselves, on [`Wide`] numbers: argument reduction and series.

use super::tables::{ARC_TANGENT, HALF_PI, LN_2, LOG2, LOG2_FIRST, PI, POWER, TWO_LOG2_E};
use super::wide::{FIXED_ONE, Wide, fixed_mul};

/// π as the processor reduces angles with it: 66 bits, in units of 2^-66 (SDM Vol. 1, 8.3.8).
const PI_66: u128 = 0xc_90fd_aa22_168c_234c;

/// An angle reduced to the nearest multiple of π/2.
pub struct Angle {
    /// What is left, at most π/4 in magnitude, not zero.
    pub rest: Wide,
    /// The multiple, modulo 4.
    pub quadrant: u8,
}

/// Reduces an angle that is not zero and below 2^63 in magnitude.
pub fn reduce(angle: Wide) -> Angle {
    if angle.exponent < -1 {
        return Angle { rest: angle, quadrant: 0 };
    }
    // In units of 2^-67, of which π/2 has PI_66, the angle is an integer of at most 131 bits:
    // 64 of significand and at least three zeros. It is divided in two steps.
    let significand = angle.significand >> 64;
    let shift = (angle.exponent + 4) as u32;
    let (first, second) = (shift.min(58), shift.saturating_sub(58));
    let upper = significand << first;
    let lower = (upper % PI_66) << second;
    let quotient = ((upper / PI_66) << second) + lower / PI_66;
    let rest = lower % PI_66;
    let (rest, quotient, negative) =
        if rest > PI_66 / 2 { (PI_66 - rest, quotient + 1, true) } else { (rest, quotient, false) };
    let quadrant = (quotient & 3) as u8;
    Angle {
        rest: Wide::normal(negative ^ angle.negative, 127 - 67, rest),
        quadrant: if angle.negative { quadrant.wrapping_neg() & 3 } else { quadrant },
    }
}

/// A series that starts with one and whose next term is to be subtracted; never quite one, so
/// that tiny arguments are rounded to the right side.
fn below_one(series: u128) -> u128 {
    series.min(FIXED_ONE - 1)
}

/// The sine of a reduced angle.
pub fn sine(rest: Wide) -> Wide {
    let square = rest.mul(rest).to_fixed();
    let series =
        (1..=17u128).rev().fold(FIXED_ONE, |sum, k| FIXED_ONE - fixed_mul(square, sum) / (2 * k * (2 * k + 1)));
    rest.mul(Wide::from_fixed(below_one(series)))
}

/// The cosine of a reduced angle.
pub fn cosine(rest: Wide) -> Wide {
    let square = rest.mul(rest).to_fixed();
    let series =
        (1..=17u128).rev().fold(FIXED_ONE, |sum, k| FIXED_ONE - fixed_mul(square, sum) / ((2 * k - 1) * 2 * k));
    Wide::from_fixed(below_one(series))
}

/// The angle of the point (`x`, `y`); neither is zero.
pub fn arc_tangent(y: Wide, x: Wide) -> Wide {
    let (above, left) = (y.abs(), x.negative);
    let right = x.abs();
    let flat = !right.sub(above).negative;
    let (small, large) = if flat { (above, right) } else { (right, above) };
    let ratio = small.div(large);
    // The nearest multiple of 1/16, of a ratio of at most one.
    let k = ((ratio.to_fixed() >> 122) as i32 + 1) >> 1;
    let angle = if k == 0 {
        small_arc_tangent(ratio)
    } else {
        let step = Wide::ratio(k, 4);
        let rest = small.sub(step.mul(large)).div(large.add(step.mul(small)));
        ARC_TANGENT[k as usize - 1].add(small_arc_tangent(rest))
    };
    let angle = if flat { angle } else { HALF_PI.sub(angle) };
    let angle = if left { PI.sub(angle) } else { angle };
    angle.negate_if(y.negative)
}

/// arctan of at most 1/32.
pub(super) fn small_arc_tangent(t: Wide) -> Wide {
    let square = t.mul(t).to_fixed();
    let last = FIXED_ONE / 29;
    let series = (1..=14u128).rev().fold(last, |sum, k| FIXED_ONE / (2 * k - 1) - fixed_mul(square, sum));
    t.mul(Wide::from_fixed(below_one(series)))
}

/// log2 of a positive number other than one.
pub fn log2(x: Wide) -> Wide {
    // x = 2^e m with m between about 0.7 and 1.4, near c = k/32.
    const SQRT_2: u128 = 0xb504_f333 << 96;
    let (e, m) = if x.significand >= SQRT_2 {
        (x.exponent + 1, Wide { exponent: -1, ..x })
    } else {
        (x.exponent, Wide { exponent: 0, ..x })
    };
    let k = ((m.to_fixed() >> 121) as u32 + 1) >> 1;
    let c = Wide::ratio(k as i32, 5);
    let near = if k == 32 { Wide::ZERO } else { LOG2[(k - LOG2_FIRST) as usize] };
    Wide::ratio(e, 0).add(near).add(log2_quotient(m.sub(c), m.add(c)))
}

/// log2(1 + x) for x above -1 and not zero, and whether it is exact.
pub fn log2_plus_one(x: Wide) -> (Wide, bool) {
    if x.exponent < -6 {
        return (log2_quotient(x, x.add(Wide::ratio(2, 0))), false);
    }
    let sum = x.add(Wide::ratio(1, 0));
    // Of larger x the one is cut off.
    let power_of_two = sum.significand << 1 == 0 && x.exponent < 127;
    (log2(sum), power_of_two)
}

/// log2((1 + s) / (1 - s)) with s = `above` / `below`, at most about 1/64.
pub(super) fn log2_quotient(above: Wide, below: Wide) -> Wide {
    let s = above.div(below);
    let square = s.mul(s).to_fixed();
    let last = FIXED_ONE / 25;
    let series = (1..=12u128).rev().fold(last, |sum, k| FIXED_ONE / (2 * k - 1) + fixed_mul(square, sum));
    s.mul(Wide::from_fixed(series)).mul(TWO_LOG2_E)
}

/// 2^x - 1 for x between -1 and 1, none of -1, 0 and 1.
pub fn power_minus_one(x: Wide) -> Wide {
    let steps = ((x.to_fixed() >> 122) as i32 + 1) >> 1;
    let k = if x.negative { -steps } else { steps };
    let rest = x.sub(Wide::ratio(k, 4));
    if k == 0 {
        return small_power(rest);
    }
    // 2^(k/16) (1 + p) - 1 = t + p + t p
    let t = POWER[(k + 16) as usize];
    let p = small_power(rest);
    t.add(p.add(t.mul(p)))
}

/// 2^x - 1 for |x| of at most 1/32.
fn small_power(x: Wide) -> Wide {
    let z = x.mul(LN_2);
    let magnitude = z.to_fixed();
    let series = (2..=18u128).rev().fold(FIXED_ONE, |sum, n| {
        let term = fixed_mul(magnitude, sum) / n;
        if z.negative { FIXED_ONE - term } else { FIXED_ONE + term }
    });
    z.mul(Wide::from_fixed(series))
}
