//! Pages that others may copy while the guest runs on: each stays as it was until it first changes, and then its old
//! content is kept for them.
//!
//! Who lends a page writes a number down for it. Whoever takes that number away first decides: a reader that finds it still there
//! after it has copied the page has a good copy, and the guest need not keep one; a guest that is about to write takes it away before,
//! and keeps the old content. Nobody waits for anybody, and the guest can see none of it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::phys::PAGE_SIZE;

/// The bytes of a page.
pub type PageBytes = [u8; PAGE_SIZE as usize];

/// A page as it was when it was lent.
#[derive(Debug)]
pub struct Kept {
    /// The number with which it was lent.
    pub number: u32,
    /// Its offset in RAM divided by 4096.
    pub page: u64,
    /// Its bytes.
    pub bytes: Box<PageBytes>,
}

/// Which pages of one RAM are lent to someone, and what was kept of them.
#[derive(Debug)]
pub struct Lent {
    /// Per page, the number with which it is lent; 0: it is not.
    numbers: Box<[AtomicU32]>,
    // A queue, so that the guest's thread never waits for a lock.
    keep: Sender<Kept>,
    kept: Mutex<Receiver<Kept>>,
    kept_total: AtomicUsize,
    taken_total: AtomicUsize,
    /// Room for pages to be kept, in host memory that was used before: asking the host for it takes longer than the copy.
    spare: Mutex<Vec<Box<PageBytes>>>,
}

impl Lent {
    /// None of `pages` pages.
    pub fn none(pages: u64) -> Self {
        let (keep, kept) = channel();
        Lent {
            numbers: (0..pages).map(|_| AtomicU32::new(0)).collect(),
            keep,
            kept: Mutex::new(kept),
            kept_total: AtomicUsize::new(0),
            taken_total: AtomicUsize::new(0),
            spare: Mutex::default(),
        }
    }

    /// Lends a page; what was to be had of it with another number is lost.
    pub(super) fn lend(&self, page: u64, number: u32) {
        self.numbers[page as usize].store(number, Ordering::Release);
    }

    /// Ends the lending of a page with this number; whether it was lent until now, so that it did not change.
    pub fn claim(&self, page: u64, number: u32) -> bool {
        let number_of = self.numbers.get(page as usize);
        number_of.is_some_and(|n| n.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }

    /// Ends the lending of all pages, and drops what was kept and the spare room.
    pub fn end(&self) {
        for number in &self.numbers {
            number.store(0, Ordering::Release);
        }
        drop(self.take_kept());
        self.spare().clear();
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Box<PageBytes>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives room for further pages to be kept, until there is that for `most` of them.
    pub fn give_rooms(&self, rooms: Vec<Box<PageBytes>>, most: usize) {
        let mut spare = self.spare();
        let fit = most.saturating_sub(spare.len());
        // What does not fit is dropped when the guest's thread need not wait for it.
        let mut rooms = rooms.into_iter();
        spare.extend(rooms.by_ref().take(fit));
        drop(spare);
    }

    /// For how many pages there is room.
    pub fn rooms(&self) -> usize {
        self.spare().len()
    }

    /// A copy of `bytes`, without waiting for anybody.
    fn copy(&self, bytes: &PageBytes) -> Box<PageBytes> {
        let room = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        if let Some(mut room) = room {
            room.copy_from_slice(bytes);
            return room;
        }
        let bytes: Box<[u8]> = Box::from(&bytes[..]);
        bytes.try_into().unwrap_or_else(|_| unreachable!("it has the bytes of a page"))
    }

    /// The page, whose bytes are these, is about to change.
    pub(super) fn before_change(&self, page: usize, bytes: &PageBytes) {
        if self.numbers[page].load(Ordering::Relaxed) == 0 {
            return;
        }
        let number = self.numbers[page].swap(0, Ordering::AcqRel);
        if number != 0 {
            self.kept_total.fetch_add(1, Ordering::Relaxed);
            let bytes = self.copy(bytes);
            // The receiver is here, so it takes it.
            let _ = self.keep.send(Kept { number, page: page as u64, bytes });
        }
    }

    /// Takes the pages that were kept since the last call.
    pub fn take_kept(&self) -> Vec<Kept> {
        let kept: Vec<Kept> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect();
        self.taken_total.fetch_add(kept.len(), Ordering::Relaxed);
        kept
    }

    /// How many pages [`Self::take_kept`] would give.
    pub fn kept_count(&self) -> usize {
        self.kept_total().saturating_sub(self.taken_total.load(Ordering::Relaxed))
    }

    /// How many pages were kept so far: each took the guest's thread a copy.
    pub fn kept_total(&self) -> usize {
        self.kept_total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_first_has_the_page() {
        let lent = Lent::none(4);
        lent.lend(1, 7);
        lent.lend(2, 7);
        assert!(!lent.claim(0, 7) && !lent.claim(1, 6) && !lent.claim(9, 7), "it was not lent so");
        assert!(lent.claim(1, 7) && !lent.claim(1, 7));
        lent.before_change(1, &[1; 4096]);
        lent.before_change(2, &[2; 4096]);
        lent.before_change(2, &[3; 4096]);
        assert!(!lent.claim(2, 7), "it changed");
        assert_eq!(lent.kept_count(), 1);
        let kept = lent.take_kept();
        assert_eq!((kept.len(), kept[0].number, kept[0].page, kept[0].bytes[0]), (1, 7, 2, 2));
        lent.give_rooms(kept.into_iter().map(|kept| kept.bytes).chain([Box::new([9; 4096])]).collect(), 1);
        assert_eq!(lent.rooms(), 1, "no more than was said");
        lent.lend(2, 8);
        lent.lend(3, 8);
        lent.before_change(2, &[5; 4096]);
        assert_eq!((lent.rooms(), lent.take_kept()[0].bytes[..] == [5; 4096]), (0, true), "the room was used");
        lent.end();
        lent.before_change(3, &[4; 4096]);
        assert_eq!((lent.kept_count(), lent.take_kept().len(), lent.kept_total()), (0, 0, 2));
    }
}
