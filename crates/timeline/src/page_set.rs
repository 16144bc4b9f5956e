//! A set of pages: of those that changed, for example.

/// Some of the pages of one machine.
#[derive(Clone, Debug)]
pub struct PageSet {
    words: Vec<u64>,
    pages: u64,
}

impl PageSet {
    /// None of `pages` pages.
    pub fn none(pages: u64) -> Self {
        PageSet { words: vec![0; pages.div_ceil(64) as usize], pages }
    }

    /// Adds a page; whether it is new.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn insert(&mut self, page: u64) -> bool {
        assert!(page < self.pages, "page {page} of {}", self.pages);
        let (word, bit) = (&mut self.words[page as usize / 64], 1 << (page % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether a page is in it.
    pub fn contains(&self, page: u64) -> bool {
        self.words.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Adds pages.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn extend(&mut self, pages: impl IntoIterator<Item = u64>) {
        for page in pages {
            self.insert(page);
        }
    }

    /// Adds all pages.
    pub fn fill(&mut self) {
        self.words.fill(u64::MAX);
        if let (Some(last), 1..) = (self.words.last_mut(), self.pages % 64) {
            *last = (1 << (self.pages % 64)) - 1;
        }
    }

    /// Takes all pages out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The pages, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().zip(0..).flat_map(|(&word, index)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                // The lowest bit goes.
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(index * 64 + u64::from(bit))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_in_order_and_once() {
        let mut set = PageSet::none(131);
        assert_eq!(set.iter().count(), 0);
        set.extend([130, 0, 63, 64, 0, 63]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 130]);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1000));
        set.fill();
        assert_eq!(set.iter().collect::<Vec<_>>(), (0..131).collect::<Vec<_>>());
        set.clear();
        assert_eq!(set.iter().count(), 0);
        let mut whole = PageSet::none(128);
        whole.fill();
        assert_eq!(whole.iter().count(), 128);
    }
}
