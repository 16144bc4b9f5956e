//! Which large pages the TLB may hold parts of, so that INVLPG of a small page need not look.

/// log2 of the sizes of large pages.
const SIZES: [u8; 3] = [21, 22, 30];
/// Bits of the filter; a power of two.
const BITS: usize = 4096;

/// A filter: it may say that there are parts of a page where there are none, never the reverse.
#[derive(Clone)]
pub(super) struct LargePages {
    any: bool,
    bits: Box<[u64; BITS / 64]>,
}

impl Default for LargePages {
    fn default() -> Self {
        LargePages { any: false, bits: Box::new([0; BITS / 64]) }
    }
}

/// The bit for the page of 1 << `shift` bytes at `linear`.
const fn bit(linear: u64, shift: u8) -> usize {
    (linear >> shift).wrapping_add(shift as u64 * 0x155) as usize % BITS
}

impl LargePages {
    /// Notes that a part of the page of 1 << `shift` bytes at `linear` is held.
    pub fn note(&mut self, linear: u64, shift: u8) {
        let bit = bit(linear, shift);
        self.any = true;
        self.bits[bit / 64] |= 1 << (bit % 64);
    }

    /// False if no part of a large page at `linear` is held.
    pub fn may_hold(&self, linear: u64) -> bool {
        let noted = |shift| {
            let bit = bit(linear, shift);
            self.bits[bit / 64] >> (bit % 64) & 1 != 0
        };
        self.any && SIZES.into_iter().any(noted)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.any) {
            self.bits.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_by_each_address_of_the_page() {
        for shift in SIZES {
            let mut pages = LargePages::default();
            let at = 0xffff_8880_4000_0000;
            assert!(!pages.may_hold(at));
            pages.note(at + 0x5000, shift);
            assert!(pages.may_hold(at) && pages.may_hold(at + (1 << shift) - 1));
            assert!(!pages.may_hold(at + (1 << shift)));
            pages.clear();
            assert!(!pages.may_hold(at));
        }
    }
}
