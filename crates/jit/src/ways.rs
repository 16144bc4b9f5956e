//! Which way code went before it was translated: behind the beginnings of blocks that the interpreter ran, where the
//! next one began. A block is translated along the way that was seen, see [`crate::translate`].

use crate::block::key;
use crate::table::hash;
use x86::GuestPhysAddr;
use x86::memory::touched::touched;

/// Places for beginnings of blocks. They may share one, which only makes guesses worse.
const PLACES: usize = 1 << 16;
/// How often in a row a way must have been seen to be believed.
const BELIEVED: u16 = 2;
/// A place has an offset in the page in the low 12 bits, and how often in a row it was seen above.
const OFFSET_BITS: u32 = 12;
const MOST_SEEN: u16 = 15;

/// See the module's text.
pub struct Ways {
    places: Vec<u16>,
    /// The block that the interpreter runs now, or ran last.
    running: Option<(GuestPhysAddr, u8)>,
    /// Ways are chosen by the addresses of jumps, whatever was seen.
    scattered: bool,
}

const fn place(at: GuestPhysAddr, view: u8) -> usize {
    hash(key(at, view)) % PLACES
}

impl Ways {
    /// Nothing was seen. With `scattered` jumps are taken to go whatever way their addresses say, for tests.
    pub fn new(scattered: bool) -> Ways {
        let mut places = vec![0; PLACES];
        touched(&mut places, 0);
        Ways { places, running: None, scattered }
    }

    /// The guest is at `at`, a beginning of a block.
    #[inline]
    pub fn arrive(&mut self, at: GuestPhysAddr) {
        let Some((from, view)) = self.running.take() else { return };
        if (from.0 ^ at.0) >> 12 != 0 {
            return;
        }
        let seen = &mut self.places[place(from, view)];
        let offset = (at.0 & 0xfff) as u16;
        let before = if *seen & 0xfff == offset { *seen >> OFFSET_BITS } else { 0 };
        *seen = (before + 1).min(MOST_SEEN) << OFFSET_BITS | offset;
    }

    /// The interpreter runs the block at `at` next.
    #[inline]
    pub fn depart(&mut self, at: GuestPhysAddr, view: u8) {
        self.running = Some((at, view));
    }

    /// Where in the page the block at `at` goes on, if it went there each time it was met.
    pub fn behind(&self, at: GuestPhysAddr, view: u8) -> Option<u16> {
        let seen = self.places[place(at, view)];
        (seen >> OFFSET_BITS >= BELIEVED).then_some(seen & 0xfff)
    }

    /// Whether the conditional jump at offset `from`, to offset `to`, is expected to jump, where its block is expected to go
    /// to `expected`.
    pub fn jumps(&self, expected: Option<u16>, from: u16, to: u16) -> bool {
        if self.scattered {
            return (from ^ to).count_ones() % 2 == 1;
        }
        expected == Some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: GuestPhysAddr = GuestPhysAddr(0x1234);

    fn go(ways: &mut Ways, to: u64) {
        ways.depart(FROM, 2);
        ways.arrive(GuestPhysAddr(to));
    }

    #[test]
    fn a_way_is_believed_once_it_was_taken_twice_in_a_row() {
        let mut ways = Ways::new(false);
        go(&mut ways, 0x1300);
        assert_eq!(ways.behind(FROM, 2), None);
        go(&mut ways, 0x1300);
        assert_eq!(ways.behind(FROM, 2), Some(0x300));
        assert_eq!(ways.behind(FROM, 0), None, "another view");
        assert!(ways.jumps(Some(0x300), 0x240, 0x300));
        assert!(!ways.jumps(Some(0x300), 0x240, 0x302));
        go(&mut ways, 0x1340);
        assert_eq!(ways.behind(FROM, 2), None, "it went another way");
    }

    #[test]
    fn what_lies_in_another_page_or_was_not_come_to_from_a_block_is_no_way() {
        let mut ways = Ways::new(false);
        for _ in 0..3 {
            go(&mut ways, 0x2300);
            ways.arrive(GuestPhysAddr(0x1300));
        }
        assert_eq!(ways.behind(FROM, 2), None);
    }
}
