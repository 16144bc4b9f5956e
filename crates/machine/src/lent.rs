//! RAM that another thread copies while the guest runs on, page by page: the machine lends it what is to be copied.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::{Errno, pread};
use x86::memory::lent::{Kept, Lent, PageBytes};

use crate::machine::Machine;
use crate::memory_map::PAGE_BYTES;
use crate::ram::RamError;

/// A reader of one machine's RAM. Pages are lent to it by [`Machine::lend_pages`]; it may be read on other threads, also when the
/// machine is gone.
#[derive(Debug)]
pub struct LentRam {
    file: OwnedFd,
    len_bytes: u64,
    lent: Arc<Lent>,
}

impl LentRam {
    /// Copies the pages from `first` on into `to`, which has room for whole pages. They are as they were lent if
    /// [`Self::claim`] says so afterwards, or if the machine stands still.
    ///
    /// # Panics
    /// If there are not so many pages.
    pub fn read(&self, first: u64, to: &mut [u8]) {
        let start = first * PAGE_BYTES;
        assert!(start + to.len() as u64 <= self.len_bytes, "pages of RAM");
        let mut done = 0;
        while done < to.len() {
            match pread(&self.file, &mut to[done..], start + done as u64) {
                Ok(read) if read > 0 => done += read,
                Err(Errno::INTR) => {}
                result => panic!("reading a memory file of our own cannot fail: {result:?}"),
            }
        }
    }

    /// Ends the lending of a page with this number; whether it did not change until now. If it did, it is among
    /// [`Self::take_kept`], now or soon.
    pub fn claim(&self, page: u64, number: u32) -> bool {
        self.lent.claim(page, number)
    }

    /// Takes the pages that changed while they were lent, as they were. The next ones go into `room`, which is empty.
    pub fn take_kept(&self, room: Vec<Kept>) -> Vec<Kept> {
        self.lent.take_kept(room)
    }

    /// How many pages [`Self::take_kept`] would give.
    pub fn kept_count(&self) -> usize {
        self.lent.kept_count()
    }

    /// How many pages were kept so far.
    pub fn kept_total(&self) -> usize {
        self.lent.kept_total()
    }

    /// Gives room for further pages that the guest changes, until there is that for `most` of them. What does not fit stays in `rooms`.
    pub fn give_rooms(&self, rooms: &mut Vec<Box<PageBytes>>, most: usize) {
        self.lent.give_rooms(rooms, most);
    }

    /// For how many pages there is room.
    pub fn rooms(&self) -> usize {
        self.lent.rooms()
    }

    /// Ends the lending of all pages.
    pub fn end(&self) {
        self.lent.end();
    }
}

impl Machine {
    /// A reader of RAM, to which nothing is lent yet.
    ///
    /// # Errors
    /// If the host has no further file descriptor.
    pub fn lent_ram(&mut self) -> Result<LentRam, RamError> {
        let len_bytes = self.ram.len() as u64;
        Ok(LentRam { file: self.ram.file()?, len_bytes, lent: self.memory.lender() })
    }

    /// Lends `pages` as they stand now, with a `number` that is not 0. The dirty pages must have been taken
    /// ([`Machine::take_dirty_pages`]) right before.
    ///
    /// The guest cannot tell.
    pub fn lend_pages(&mut self, ram: &LentRam, number: u32, pages: &[u64]) {
        self.memory.lend_pages(&ram.lent, number, pages);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Machine, MachineConfig};

    #[test]
    fn what_changes_is_kept_and_the_rest_can_be_read() {
        let mut machine = Machine::new(MachineConfig::new(1 << 20)).expect("a small machine");
        machine.ram.write(0x3000, &[3; 0x2000]).expect("within RAM");
        machine.take_dirty_pages();
        let ram = machine.lent_ram().expect("a reader");
        machine.lend_pages(&ram, 1, &[3, 4]);
        machine.memory.write(x86::units::GuestPhysAddr(0x4000), &[9; 8]);
        let mut bytes = vec![0; 0x2000];
        ram.read(3, &mut bytes);
        assert!(ram.claim(3, 1) && bytes[..0x1000] == [3; 0x1000]);
        assert!(!ram.claim(4, 1) && bytes[0x1000] == 9);
        drop(machine);
        ram.read(3, &mut bytes);
        assert_eq!(bytes[0x1000], 9, "the memory file outlives the machine");
        let kept = ram.take_kept(Vec::new());
        assert_eq!((kept.len(), kept[0].page, kept[0].bytes[0]), (1, 4, 3));
    }
}
