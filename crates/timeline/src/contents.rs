//! Single pages of a recording that stay in memory, by number: the first that are met, and then those that are asked for.

use std::collections::{HashMap, VecDeque};

use crate::page_map::Page;

/// Single contents by number.
#[derive(Default)]
pub struct Contents {
    known: HashMap<u64, Content>,
    /// Their numbers; the first is the next to go, if nobody has asked for it since it was asked about last.
    order: VecDeque<u64>,
}

struct Content {
    bytes: Box<Page>,
    was_used: bool,
}

impl Contents {
    /// How many there are.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// Whether the one with this number is there.
    pub fn has(&self, number: u64) -> bool {
        self.known.contains_key(&number)
    }

    /// A content, which stays longer for having been asked for.
    pub fn get(&mut self, number: u64) -> Option<&Page> {
        let content = self.known.get_mut(&number)?;
        content.was_used = true;
        Some(&content.bytes)
    }

    /// Puts a new one in, and takes another out if there are `most`.
    pub fn insert(&mut self, number: u64, bytes: &Page, most: u64) {
        while self.known.len() as u64 >= most
            && let Some(first) = self.order.pop_front()
        {
            match self.known.get_mut(&first) {
                Some(content) if content.was_used => {
                    content.was_used = false;
                    self.order.push_back(first);
                }
                _ => drop(self.known.remove(&first)),
            }
        }
        let content = Content { bytes: Box::new(*bytes), was_used: false };
        if self.known.insert(number, content).is_none() {
            self.order.push_back(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::PAGE_BYTES;

    #[test]
    fn contents_that_are_asked_for_stay() {
        let mut contents = Contents::default();
        for number in 1..=100 {
            contents.insert(number, &[number as u8; PAGE_BYTES], 10);
            assert!(contents.get(1).is_some_and(|page| page[9] == 1), "after {number}");
            assert!(contents.known.len() <= 10 && contents.known.len() == contents.order.len());
        }
        assert!(contents.get(50).is_none() && contents.get(100).is_some());
    }
}
