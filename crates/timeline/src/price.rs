//! What packing a page costs, learned from what was packed: processor time, and bytes of the file.
//!
//! Blocks are written when they are full, and a busy host makes a single job dear: so these are averages over some
//! thousand pages, and the time stays near what is usual whatever was measured.

/// What packing a page is taken to cost before any was measured, in nanoseconds.
pub const FIRST_PAGE_NS: u64 = 6_000;
/// Bytes that a page is taken to have in the file before any was written.
const FIRST_PAGE_BYTES: u64 = 1500;
/// The guesses above count like so many pages that were packed.
const FIRST_WEIGHT: u64 = 1024;
/// Of more pages than these the older ones count half.
const MOST_WEIGHT: u64 = 8192;
/// The time of a page is between one part in this many of the first guess, and as many times that.
const MOST_OFF: u64 = 4;

/// Averages over the pages packed last.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    pages: u64,
    ns: u64,
    bytes: u64,
    /// What is measured counts one part in this many.
    discount: u64,
}

impl Default for Price {
    fn default() -> Self {
        let pages = FIRST_WEIGHT;
        Price { pages, ns: pages * FIRST_PAGE_NS, bytes: pages * FIRST_PAGE_BYTES, discount: 1 }
    }
}

impl Price {
    /// Where only one part in `discount` of the time counts.
    pub fn with_discount(discount: u64) -> Self {
        Price { discount: discount.max(1), ..Price::default() }
    }

    /// So many pages took so much processor time and so many bytes of the file.
    pub fn learn(&mut self, pages: u64, ns: u64, bytes: u64) {
        self.pages = self.pages.saturating_add(pages);
        self.ns = self.ns.saturating_add(ns);
        self.bytes = self.bytes.saturating_add(bytes);
        while self.pages > MOST_WEIGHT {
            (self.pages, self.ns, self.bytes) = (self.pages / 2, self.ns / 2, self.bytes / 2);
        }
    }

    /// What packing so many pages counts, in nanoseconds.
    pub fn ns(&self, pages: u64) -> u64 {
        let page_ns = (self.ns / self.pages).clamp(FIRST_PAGE_NS / MOST_OFF, FIRST_PAGE_NS * MOST_OFF);
        pages.saturating_mul(page_ns) / self.discount
    }

    /// The bytes of so many pages in the file.
    pub fn bytes(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.bytes / self.pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lump_changes_little_and_many_pages_change_all() {
        let mut price = Price::default();
        assert_eq!((price.ns(10), price.bytes(10)), (60_000, 15_000));
        // A full block was written for a few pages, at a moment when the host had other things to do.
        price.learn(64, 64 * 100_000, 64 * 20_000);
        assert!(price.ns(1) < 13_000 && price.bytes(1) < 2600, "{price:?}");
        for _ in 0..1000 {
            price.learn(64, 64 * 3000, 64 * 300);
        }
        assert!((2900..3100).contains(&price.ns(1)) && (290..310).contains(&price.bytes(1)), "{price:?}");
    }

    #[test]
    fn the_time_of_a_page_is_bounded_and_discounted() {
        let mut price = Price::with_discount(8);
        assert_eq!(price.ns(8), FIRST_PAGE_NS);
        price.learn(u64::MAX, u64::MAX, 0);
        assert_eq!(price.bytes(5), 0);
        price.learn(64, u64::MAX, 0);
        assert_eq!(price.ns(8), 4 * FIRST_PAGE_NS);
        for _ in 0..100 {
            price.learn(8000, 1, 0);
        }
        assert_eq!(price.ns(8), FIRST_PAGE_NS / 4);
    }
}
