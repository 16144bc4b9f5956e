//! RFLAGS: the bits, and the lazy form in which the arithmetic ones are kept.
//!
//! An arithmetic instruction stores its result and its carries; a flag is computed only
//! when someone asks. The six lazy flags are CF, PF, AF, ZF, SF and OF; all other bits
//! live in `Vcpu::rflags_system`.

/// Carry.
pub const CF: u64 = 1 << 0;
/// Always one.
pub const FIXED: u64 = 1 << 1;
/// Parity.
pub const PF: u64 = 1 << 2;
/// Auxiliary carry.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Trap: single step.
pub const TF: u64 = 1 << 8;
/// Interrupts enabled.
pub const IF: u64 = 1 << 9;
/// Direction.
pub const DF: u64 = 1 << 10;
/// Overflow.
pub const OF: u64 = 1 << 11;
/// I/O privilege level, two bits.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Resume: instruction breakpoints are off for one instruction.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check, and SMAP override in supervisor mode.
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// CPUID can be used.
pub const ID: u64 = 1 << 21;

/// The six flags kept lazily.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/// Every bit that exists.
pub const ALL: u64 = ARITHMETIC | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;

/// The six arithmetic flags, as a result and its carries.
///
/// `result` is the result of the last flag-setting instruction, sign-extended to 64 bits:
/// ZF is `result == 0`, SF its sign, PF the parity of its low byte. `aux` holds the
/// carries: bit 63 is CF, bits 63 and 62 differ when OF is set, bit 3 is AF. Flags that
/// were loaded rather than computed need not fit any result, so bits 8 to 15 of `aux` are
/// XORed to the byte whose parity is PF, and bit 16 flips SF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LazyFlags {
    /// The sign-extended result.
    pub result: u64,
    /// The carries and corrections, as described above.
    pub aux: u64,
}

const AUX_CF: u64 = 1 << 63;
const AUX_SF_FLIP: u64 = 1 << 16;
const AUX_AF: u64 = 1 << 3;

impl LazyFlags {
    /// The flags of a result of `BITS` bits whose carry-out vector is `carries`
    /// (bit i set when bit i produced a carry or borrow).
    #[inline(always)]
    pub fn from_carries<const BITS: u32>(result: u64, carries: u64) -> Self {
        LazyFlags {
            result: sign_extend::<BITS>(result),
            aux: ((carries << (64 - BITS)) & (3 << 62)) | (carries & AUX_AF),
        }
    }

    /// The flags of a logical result: CF, OF and AF clear.
    #[inline(always)]
    pub fn logical<const BITS: u32>(result: u64) -> Self {
        LazyFlags { result: sign_extend::<BITS>(result), aux: 0 }
    }

    /// The flags of a result with CF and OF given and AF clear.
    #[inline(always)]
    pub fn with_cf_of<const BITS: u32>(result: u64, cf: bool, of: bool) -> Self {
        let aux = u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
        LazyFlags { result: sign_extend::<BITS>(result), aux }
    }

    /// The lazy form of given RFLAGS bits; bits other than the six are ignored.
    pub fn from_bits(bits: u64) -> Self {
        let result = if bits & ZF != 0 { 0 } else { 0x100 };
        let (cf, of) = (bits & CF != 0, bits & OF != 0);
        let mut aux = u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
        if bits & PF == 0 {
            aux |= 1 << 8;
        }
        if bits & SF != 0 {
            aux |= AUX_SF_FLIP;
        }
        if bits & AF != 0 {
            aux |= AUX_AF;
        }
        LazyFlags { result, aux }
    }

    /// The six flags at their places in RFLAGS.
    #[inline]
    pub fn to_bits(self) -> u64 {
        u64::from(self.cf())
            | u64::from(self.pf()) << 2
            | u64::from(self.af()) << 4
            | u64::from(self.zf()) << 6
            | u64::from(self.sf()) << 7
            | u64::from(self.of()) << 11
    }

    /// The one form that equal flags share, whatever computed them.
    pub fn canonical(self) -> Self {
        Self::from_bits(self.to_bits())
    }

    /// Carry flag.
    #[inline(always)]
    pub fn cf(self) -> bool {
        self.aux >> 63 != 0
    }
    /// Overflow flag.
    #[inline(always)]
    pub fn of(self) -> bool {
        (self.aux ^ (self.aux << 1)) >> 63 != 0
    }
    /// Zero flag.
    #[inline(always)]
    pub fn zf(self) -> bool {
        self.result == 0
    }
    /// Sign flag.
    #[inline(always)]
    pub fn sf(self) -> bool {
        (self.result >> 63 != 0) ^ (self.aux & AUX_SF_FLIP != 0)
    }
    /// Auxiliary carry flag.
    #[inline(always)]
    pub fn af(self) -> bool {
        self.aux & AUX_AF != 0
    }
    /// Parity flag.
    #[inline(always)]
    pub fn pf(self) -> bool {
        (self.result as u8 ^ (self.aux >> 8) as u8).count_ones() & 1 == 0
    }

    /// Sets CF and leaves the others alone.
    #[inline]
    pub fn set_cf(&mut self, cf: bool) {
        let of = self.of();
        self.aux = (self.aux & !(3 << 62)) | u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
    }

    /// Replaces the flags in `mask` by those of `bits`.
    pub fn replace(&mut self, mask: u64, bits: u64) {
        *self = Self::from_bits((self.to_bits() & !mask) | (bits & mask));
    }

    /// Evaluates condition code `CC` (the low four bits of Jcc, SETcc, CMOVcc opcodes).
    #[inline(always)]
    pub fn condition<const CC: u8>(self) -> bool {
        let holds = match CC >> 1 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        holds ^ (CC & 1 != 0)
    }
}

/// Sign-extends the low `BITS` bits to 64.
#[inline(always)]
pub const fn sign_extend<const BITS: u32>(value: u64) -> u64 {
    ((value << (64 - BITS)) as i64 >> (64 - BITS)) as u64
}

const _: () = assert!(AUX_CF == 1 << 63);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_survives_the_lazy_form() {
        for i in 0..64u64 {
            let bits = ((i & 1) * CF)
                | (((i >> 1) & 1) * PF)
                | (((i >> 2) & 1) * AF)
                | (((i >> 3) & 1) * ZF)
                | (((i >> 4) & 1) * SF)
                | (((i >> 5) & 1) * OF);
            let mut lazy = LazyFlags::from_bits(bits);
            assert_eq!(lazy.to_bits(), bits);
            lazy.set_cf(true);
            assert_eq!(lazy.to_bits(), bits | CF);
            lazy.replace(AF | SF, SF);
            assert_eq!(lazy.to_bits(), (bits | CF | SF) & !AF);
        }
    }
}
