//! RAM page by page, for those who save a machine in parts: which pages changed, which have content,
//! and putting back only some of them.

use std::ops::Range;

use x86::memory::phys::Preimage;

use crate::machine::Machine;
use crate::memory_map::PAGE_BYTES;
use crate::ram::{RamError, RamMapping};
use crate::save::{MachineRestoreError, MachineState};

impl Machine {
    /// Takes the indexes of the pages (offset in [`Machine::ram_bytes`] / 4096, ascending) that may have
    /// changed since the last call; at first, and after a restore, that is all of them.
    ///
    /// The guest cannot tell: only what the host knows beside the machine's state changes.
    pub fn take_dirty_pages(&mut self) -> Vec<u64> {
        self.see_all_writes();
        self.memory.take_dirty_pages()
    }

    /// The same for whoever takes snapshots: the pages that may have changed since the last call of this.
    pub fn take_pages_for_snapshot(&mut self) -> Vec<u64> {
        self.see_all_writes();
        self.memory.take_pages_for_snapshot()
    }

    fn see_all_writes(&mut self) {
        for vcpu in &mut self.vcpus {
            vcpu.tlb.forbid_all_fast_writes();
        }
    }

    /// How many pages [`Self::take_dirty_pages`] would name.
    pub fn dirty_page_count(&self) -> u64 {
        self.memory.dirty_page_count() as u64
    }

    /// Lets RAM be copied as it stands now while the machine runs on: from now on keeps the content of each of `pages` when
    /// it first changes. Copy each page for which [`Self::unwatch_page`] is true, and take the others from
    /// [`Self::take_preimages`].
    pub fn watch_pages(&mut self, pages: impl IntoIterator<Item = u64>) {
        self.see_all_writes();
        self.memory.watch_pages(pages);
    }

    /// Ends the watch of all pages, and forgets what was kept of them.
    pub fn unwatch_pages(&mut self) {
        self.memory.unwatch_pages();
    }

    /// Ends the watch of one page; whether it is as it was when the watch began.
    pub fn unwatch_page(&mut self, page: u64) -> bool {
        self.memory.unwatch_page(page)
    }

    /// Takes the pages that changed while they were watched, as they were.
    pub fn take_preimages(&mut self) -> Vec<Preimage> {
        self.memory.take_preimages()
    }

    /// The pages that take host memory, as ascending ranges of indexes; all others are zero.
    ///
    /// # Errors
    /// If the host does not say.
    pub fn populated_pages(&self) -> Result<Vec<Range<u64>>, RamError> {
        let pages = |range: Range<u64>| range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        Ok(self.ram.populated()?.into_iter().map(pages).collect())
    }

    /// Puts back a saved state while `write` changes `pages` of RAM, and nothing else of it. What engines have made of the code in
    /// other pages is kept. After it `pages` count as changed.
    ///
    /// # Errors
    /// Those of `write`, and if the state is not one that such a machine can have; the machine is
    /// then not usable.
    pub fn restore_pages_with<E: From<MachineRestoreError>>(
        &mut self,
        state: MachineState,
        pages: impl IntoIterator<Item = u64>,
        write: impl FnOnce(&mut RamMapping) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_fits(state.vcpus.len(), self.ram.len())?;
        for page in pages {
            self.memory.note_replaced(page);
        }
        write(&mut self.ram)?;
        self.restore_state(state)?;
        Ok(())
    }

    /// Puts back a saved state while `write` changes any part of RAM; the rest stays as it is.
    /// After it all pages count as changed.
    ///
    /// # Errors
    /// As [`Self::restore_pages_with`].
    pub fn restore_with<E: From<MachineRestoreError>>(
        &mut self,
        state: MachineState,
        write: impl FnOnce(&mut RamMapping) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_fits(state.vcpus.len(), self.ram.len())?;
        write(&mut self.ram)?;
        self.restore_state(state)?;
        self.forget_ram();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineKind;
    use crate::machine::{Idle, MachineConfig};
    use x86::InsnCount;

    /// Real-mode code at 1000h, then at 2000h: MOV AL, `first`; JMP 2000h; MOV AL, `second`; JMP to itself.
    fn code(first: u8, second: u8) -> [([u8; 5], u64); 2] {
        [([0xb0, first, 0xe9, 0xfb, 0x0f], 0x1000), ([0xb0, second, 0xeb, 0xfe, 0x90], 0x2000)]
    }

    #[test]
    fn code_that_a_restore_replaces_is_not_executed_any_more() {
        for kind in [EngineKind::Interpreter, EngineKind::fastest()] {
            let config = MachineConfig::new(1 << 20);
            let mut machine = Machine::executed_by(config, kind).expect("a small machine");
            let mut state = machine.save();
            state.vcpus[0].rip = 0x1000;
            state.vcpus[0].segments[1].base = 0;
            let mut al = |pages: &[u64], first, second, insns| {
                let write = |ram: &mut RamMapping| -> Result<(), MachineRestoreError> {
                    for (bytes, at) in code(first, second).iter().filter(|(_, at)| pages.contains(&(at / PAGE_BYTES))) {
                        ram.write(*at, bytes)?;
                    }
                    Ok(())
                };
                machine.restore_pages_with(state.clone(), pages.iter().copied(), write).expect("a possible state");
                machine.run(InsnCount(insns), Idle::Stop);
                machine.save().vcpus[0].gpr[0] as u8
            };
            assert_eq!(al(&[1, 2], 1, 2, 1000), 2);
            assert_eq!(al(&[2], 9, 3, 1000), 3, "the page that was replaced");
            assert_eq!(al(&[], 9, 9, 1), 1, "the page that was not");
            assert_eq!(al(&[1], 4, 9, 1), 4);
            assert_eq!(al(&[], 9, 9, 1000), 3);
        }
    }
}
