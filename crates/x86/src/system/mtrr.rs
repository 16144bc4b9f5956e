//! Memory types: IA32_PAT and the memory-type range registers (SDM Vol. 3A, 11.11 and 11.12).
//! They are checked and kept; there is no cache whose behaviour they could change.

use super::msr::within;
use crate::memory::paging::PHYS_MASK;

/// Pairs of variable-range registers.
pub const VARIABLE: usize = 8;
/// Fixed-range registers.
pub const FIXED: usize = 11;

/// The registers, as RDMSR shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mtrrs {
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_MTRR_DEF_TYPE.
    pub default: u64,
    /// The fixed ranges, in the order of addresses.
    pub fixed: [u64; FIXED],
    /// IA32_MTRR_PHYSBASE0 and following.
    pub base: [u64; VARIABLE],
    /// IA32_MTRR_PHYSMASK0 and following.
    pub mask: [u64; VARIABLE],
}

/// IA32_PAT at power-on.
const PAT_POWER_ON: u64 = 0x0007_0406_0007_0406;
const CAPABILITIES: u32 = 0xfe;
const FIRST_VARIABLE: u32 = 0x200;
const LAST_VARIABLE: u32 = FIRST_VARIABLE + 2 * VARIABLE as u32 - 1;
const PAT: u32 = 0x277;
const DEFAULT_TYPE: u32 = 0x2ff;
const FIXED_INDEX: [u32; FIXED] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// Fixed ranges and write-combining exist.
const CAPABILITIES_VALUE: u64 = VARIABLE as u64 | 1 << 8 | 1 << 10;
/// IA32_MTRR_DEF_TYPE: all ranges are on.
const ENABLE: u64 = 1 << 11;
/// IA32_MTRR_DEF_TYPE: the fixed ranges are on.
const ENABLE_FIXED: u64 = 1 << 10;
/// IA32_MTRR_PHYSMASKn: the range is on.
const VALID: u64 = 1 << 11;
const UNCACHEABLE: u64 = 0;
const WRITE_BACK: u64 = 6;

impl Mtrrs {
    /// The registers at power-on: no ranges.
    pub fn power_on() -> Self {
        Mtrrs { pat: PAT_POWER_ON, ..Mtrrs::default() }
    }

    /// What firmware sets up: everything is write-back, but for the VGA window and the
    /// physical range from `hole` (a multiple of 16 MiB) up to 4 GiB.
    pub fn set_as_firmware(&mut self, hole: u32) {
        assert!(hole.is_multiple_of(1 << 24), "eight ranges cover the hole");
        *self = Mtrrs { pat: self.pat, ..Mtrrs::default() };
        self.fixed = [WRITE_BACK * 0x0101_0101_0101_0101; FIXED];
        self.fixed[2] = UNCACHEABLE;
        self.default = ENABLE | ENABLE_FIXED | WRITE_BACK;
        // Each range is as large as the alignment of its base lets it be.
        let mut at = hole;
        for (base, mask) in self.base.iter_mut().zip(&mut self.mask) {
            if at == 0 {
                break;
            }
            let size = 1 << at.trailing_zeros();
            *base = u64::from(at) | UNCACHEABLE;
            *mask = PHYS_MASK & !0xfff & !(u64::from(size) - 1) | VALID;
            at = at.wrapping_add(size);
        }
    }

    /// RDMSR; `None` if the register is none of these.
    pub(super) fn read(&self, index: u32) -> Option<u64> {
        match index {
            CAPABILITIES => Some(CAPABILITIES_VALUE),
            PAT => Some(self.pat),
            DEFAULT_TYPE => Some(self.default),
            FIRST_VARIABLE..=LAST_VARIABLE => {
                let n = (index - FIRST_VARIABLE) as usize;
                Some(if n.is_multiple_of(2) { self.base[n / 2] } else { self.mask[n / 2] })
            }
            _ => fixed_number(index).map(|n| self.fixed[n]),
        }
    }

    /// WRMSR; `None` if the register is none of these or the value is not allowed.
    pub(super) fn write(&mut self, index: u32, value: u64) -> Option<()> {
        match index {
            PAT => self.pat = value.to_le_bytes().into_iter().all(is_page_type).then_some(value)?,
            DEFAULT_TYPE => {
                within(value, ENABLE | ENABLE_FIXED | 0xff)?;
                self.default = is_range_type(value as u8).then_some(value)?;
            }
            FIRST_VARIABLE..=LAST_VARIABLE => self.write_variable((index - FIRST_VARIABLE) as usize, value)?,
            _ => {
                let n = fixed_number(index)?;
                self.fixed[n] = value.to_le_bytes().into_iter().all(is_range_type).then_some(value)?;
            }
        }
        Some(())
    }

    fn write_variable(&mut self, n: usize, value: u64) -> Option<()> {
        let address = PHYS_MASK & !0xfff;
        if n.is_multiple_of(2) {
            within(value, address | 0xff)?;
            self.base[n / 2] = is_range_type(value as u8).then_some(value)?;
        } else {
            self.mask[n / 2] = within(value, address | VALID)?;
        }
        Some(())
    }

    /// True if every register holds what WRMSR would let in.
    pub(crate) fn is_valid(&self) -> bool {
        let mut copy = *self;
        let mut ok = copy.write(PAT, self.pat).is_some() && copy.write(DEFAULT_TYPE, self.default).is_some();
        for (index, value) in FIXED_INDEX.into_iter().zip(self.fixed) {
            ok &= copy.write(index, value).is_some();
        }
        for (n, (base, mask)) in self.base.into_iter().zip(self.mask).enumerate() {
            ok &= copy.write_variable(2 * n, base).is_some() && copy.write_variable(2 * n + 1, mask).is_some();
        }
        ok
    }
}

fn fixed_number(index: u32) -> Option<usize> {
    FIXED_INDEX.iter().position(|&n| n == index)
}

/// UC, WC, WT, WP, WB.
fn is_range_type(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

/// The same and UC-.
fn is_page_type(kind: u8) -> bool {
    is_range_type(kind) || kind == 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_types_and_bits_are_refused() {
        let mut mtrrs = Mtrrs::power_on();
        assert!(mtrrs.write(PAT, 0x0707_0707).is_some());
        assert!(mtrrs.write(PAT, 0x0200).is_none());
        assert!(mtrrs.write(0x250, 7).is_none());
        assert!(mtrrs.write(DEFAULT_TYPE, 0x1006).is_none());
        assert!(mtrrs.write(0x200, 0x100).is_none());
        assert!(mtrrs.write(0x20f, 1 << 40).is_none());
        assert!(mtrrs.write(0x210, 0).is_none());
        assert!(mtrrs.write(0x20f, 0xff_c000_0800).is_some());
        assert_eq!(mtrrs.read(0x20f), Some(0xff_c000_0800));
        assert_eq!(mtrrs.pat, 0x0707_0707);
    }

    #[test]
    fn firmware_leaves_the_hole_uncached() {
        let mut mtrrs = Mtrrs::power_on();
        mtrrs.set_as_firmware(0xb000_0000);
        assert_eq!((mtrrs.base[0], mtrrs.mask[0]), (0xb000_0000, 0xff_f000_0800));
        assert_eq!((mtrrs.base[1], mtrrs.mask[1]), (0xc000_0000, 0xff_c000_0800));
        assert_eq!((mtrrs.base[2], mtrrs.mask[2]), (0, 0));
        assert!(mtrrs.is_valid());
    }
}
