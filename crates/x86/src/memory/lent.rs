//! Pages that others may copy while the guest runs on: each stays as it was until it first changes, and then its old
//! content is kept for them.
//!
//! Who lends a page writes a number down for it. Whoever takes that number away first decides: a reader that finds it still there
//! after it has copied the page has a good copy, and the guest need not keep one; a guest that is about to write takes it away before,
//! and keeps the old content. Nobody waits for anybody, and the guest can see none of it.
//!
//! Each of the two threads frees what it has allocated, as far as that can be had: memory that goes back to the other one's heap needs the
//! lock of that heap, and a thread that finds it taken sleeps a hundred times as long as it is held.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
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
    /// Nobody holds its lock for longer than it takes to move some pointers.
    keeping: Mutex<Keeping>,
    /// Nothing is lent any more, whatever the numbers say.
    ended: AtomicBool,
    kept_total: AtomicUsize,
    taken_total: AtomicUsize,
}

/// What goes from one thread to the other.
#[derive(Debug, Default)]
struct Keeping {
    kept: Vec<Kept>,
    /// Room for pages to be kept, in host memory that was used before: asking the host for it takes longer than the copy.
    rooms: Vec<Box<PageBytes>>,
}

impl Lent {
    /// None of `pages` pages.
    pub fn none(pages: u64) -> Self {
        Lent {
            numbers: (0..pages).map(|_| AtomicU32::new(0)).collect(),
            keeping: Mutex::default(),
            ended: AtomicBool::new(false),
            kept_total: AtomicUsize::new(0),
            taken_total: AtomicUsize::new(0),
        }
    }

    /// Lends a page; what was to be had of it with another number is lost.
    pub(super) fn lend(&self, page: u64, number: u32) {
        debug_assert!(!self.ended.load(Ordering::Relaxed), "lending has ended");
        self.numbers[page as usize].store(number, Ordering::Release);
    }

    /// Ends the lending of a page with this number; whether it was lent until now, so that it did not change.
    pub fn claim(&self, page: u64, number: u32) -> bool {
        let number_of = self.numbers.get(page as usize);
        number_of.is_some_and(|n| n.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }

    /// Ends the lending of all pages for good, and drops what was kept and the spare room.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        drop(self.take_kept(Vec::new()));
        drop(std::mem::take(&mut self.keeping().rooms));
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives room for further pages to be kept, until there is that for `most` of them. What does not fit stays in `rooms`.
    pub fn give_rooms(&self, rooms: &mut Vec<Box<PageBytes>>, most: usize) {
        let mut keeping = self.keeping();
        let fit = most.saturating_sub(keeping.rooms.len()).min(rooms.len());
        keeping.rooms.extend(rooms.drain(rooms.len() - fit..));
    }

    /// For how many pages there is room.
    pub fn rooms(&self) -> usize {
        self.keeping().rooms.len()
    }

    /// A copy of `bytes`.
    fn copy(&self, bytes: &PageBytes) -> Box<PageBytes> {
        let room = self.keeping().rooms.pop();
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
        if number != 0 && !self.ended.load(Ordering::Acquire) {
            self.kept_total.fetch_add(1, Ordering::Relaxed);
            let bytes = self.copy(bytes);
            self.keeping().kept.push(Kept { number, page: page as u64, bytes });
        }
    }

    /// Takes the pages that were kept since the last call. The next ones go into `room`, which is empty.
    pub fn take_kept(&self, room: Vec<Kept>) -> Vec<Kept> {
        let kept = std::mem::replace(&mut self.keeping().kept, room);
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
        let kept = lent.take_kept(Vec::new());
        assert_eq!((kept.len(), kept[0].number, kept[0].page, kept[0].bytes[0]), (1, 7, 2, 2));
        let mut rooms = kept.into_iter().map(|kept| kept.bytes).chain([Box::new([9; 4096])]).collect();
        lent.give_rooms(&mut rooms, 1);
        assert_eq!((lent.rooms(), rooms.len()), (1, 1), "no more than was said");
        lent.lend(2, 8);
        lent.lend(3, 8);
        lent.before_change(2, &[5; 4096]);
        assert_eq!(
            (lent.rooms(), lent.take_kept(Vec::new())[0].bytes[..] == [5; 4096]),
            (0, true),
            "the room was used"
        );
        lent.end();
        lent.before_change(3, &[4; 4096]);
        assert_eq!((lent.kept_count(), lent.take_kept(Vec::new()).len(), lent.kept_total()), (0, 0, 2));
    }
}
