//! Pages of RAM that are absent: their content is somewhere else, and comes when the page is first touched.
//!
//! [`GuestMemory`](super::phys::GuestMemory) asks the source before anyone sees such a page, where a host address is
//! formed: that is where fast tags of the TLB are filled and not where they are used, so pages that are there pay nothing. A page
//! that the source cannot give stays absent: who asked for it is told that there is no RAM, the failure is remembered, and
//! the machine must not run on.

use std::error::Error;

use super::lent::PageBytes;

/// Why a source cannot give a page.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// Where the content of absent pages is.
pub trait PageSource: Send {
    /// Writes the content of the page with this number (offset in RAM divided by 4096) to `to`, which holds anything.
    ///
    /// # Errors
    /// If the content cannot be had; `to` may then hold anything.
    fn load(&mut self, page: u64, to: &mut PageBytes) -> Result<(), SourceError>;
}

/// A page that its source could not give.
#[derive(Debug)]
pub struct LostPage {
    /// Its offset in RAM divided by 4096.
    pub page: u64,
    /// Why.
    pub error: SourceError,
}

/// Which pages are absent, and where they come from.
#[derive(Default)]
pub(super) struct Absent {
    /// A bit for each page; empty: none is absent.
    bits: Vec<u64>,
    source: Option<Box<dyn PageSource>>,
    lost: Option<LostPage>,
}

impl Absent {
    /// Makes pages absent, of `pages` that RAM has; those that are absent already stay so. Returns how many were not.
    pub fn add(&mut self, pages: u64, absent: impl IntoIterator<Item = u64>, source: Box<dyn PageSource>) -> u64 {
        self.bits.resize(pages.div_ceil(64) as usize, 0);
        let mut added = 0;
        for page in absent {
            assert!(page < pages, "page {page} of {pages}");
            let bits = &mut self.bits[page as usize / 64];
            added += u64::from(*bits >> (page % 64) & 1 == 0);
            *bits |= 1 << (page % 64);
        }
        self.source = Some(source);
        self.lost = None;
        added
    }

    /// Whether a page is absent.
    pub fn has(&self, page: u64) -> bool {
        self.bits.get(page as usize / 64).is_some_and(|bits| bits >> (page % 64) & 1 != 0)
    }

    /// A page came from elsewhere; whether it was absent.
    pub fn remove(&mut self, page: u64) -> bool {
        let was = self.has(page);
        if was {
            self.bits[page as usize / 64] &= !(1 << (page % 64));
        }
        was
    }

    /// All that are absent, ascending.
    pub fn pages(&self) -> Vec<u64> {
        let all = self.bits.iter().enumerate();
        let of = |(at, &bits): (usize, &u64)| {
            let mut rest = bits;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at as u64 * 64 + u64::from(bit)
                })
            })
        };
        all.flat_map(of).collect()
    }

    /// Loads an absent page into `to`; whether it could be had.
    pub fn load(&mut self, page: u64, to: &mut PageBytes) -> bool {
        let source = self.source.as_mut().expect("absent pages have a source");
        match source.load(page, to) {
            Ok(()) => self.remove(page),
            Err(error) => {
                // The first failure is the cause of what comes behind it.
                self.lost.get_or_insert(LostPage { page, error });
                false
            }
        }
    }

    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub fn take_lost(&mut self) -> Option<LostPage> {
        self.lost.take()
    }
}
