//! RAM page by page, for those who save a machine in parts: which pages changed, which have content,
//! and putting back only some of them.

use std::ops::Range;

use x86::memory::absent::{LostPage, PageSource};
use x86::memory::phys::Preimage;

use crate::machine::Machine;
use crate::memory_map::PAGE_BYTES;
use crate::page_hashes::Page;
use crate::ram::{RamError, RamMapping, RamWriter};
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

    /// The pages that take host memory or are absent, as ascending ranges of indexes; all others are zero.
    ///
    /// # Errors
    /// If the host does not say.
    pub fn populated_pages(&self) -> Result<Vec<Range<u64>>, RamError> {
        let pages = |range: Range<u64>| range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        let mut ranges: Vec<_> = self.ram.populated()?.into_iter().map(pages).collect();
        let absent = self.memory.absent_pages();
        if absent.is_empty() {
            return Ok(ranges);
        }
        ranges.extend(absent.chunk_by(|one, next| one + 1 == *next).map(|run| run[0]..run[0] + run.len() as u64));
        ranges.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Ok(joined)
    }

    /// The page of this index; `None` if there is no such page, or it is absent and cannot be had: the next [`Machine::run`] says so.
    pub fn ram_page(&self, index: u64) -> Option<&Page> {
        self.memory.page_at(index)
    }

    /// Where RAM lies.
    pub fn ram_layout(&self) -> x86::memory::phys::RamLayout {
        self.memory.layout()
    }

    /// Puts back a saved state and leaves the new content of `pages` where it is: `source` is asked for a page when something first
    /// touches it, so that nothing is paid for the others. `source` must know all other absent pages as well. The rest of RAM
    /// stays as it is, and what engines have made of the code there is kept. After it `pages` count as changed.
    ///
    /// The guest cannot tell. A page that cannot be had ends [`Machine::run`] with [`StopReason::PageLost`](crate::StopReason::PageLost).
    ///
    /// # Errors
    /// If the state is not one that such a machine can have; the machine is then not usable.
    pub fn restore_pages_from(
        &mut self,
        state: MachineState,
        pages: &[u64],
        source: Box<dyn PageSource>,
    ) -> Result<(), MachineRestoreError> {
        self.check_fits(state.vcpus.len(), self.ram.len())?;
        self.memory.make_absent(pages, source);
        self.restore_state(state)
    }

    /// How many pages are absent: [`Machine::restore_pages_from`] has left them elsewhere, and nothing has touched them.
    pub fn absent_page_count(&self) -> u64 {
        self.memory.absent_page_count()
    }

    /// Their indexes, ascending.
    pub fn absent_pages(&self) -> Vec<u64> {
        self.memory.absent_pages()
    }

    /// Has all absent pages written, so that RAM is whole: for those who look at all of it. `write` gets their indexes.
    ///
    /// # Errors
    /// Those of `write`; the pages are absent still.
    pub fn load_absent_pages<E>(
        &mut self,
        write: impl FnOnce(&[u64], &RamWriter<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pages = self.memory.absent_pages();
        if !pages.is_empty() {
            write(&pages, &self.ram.writer())?;
            self.memory.make_present(pages);
        }
        Ok(())
    }

    /// The page that could not be had, behind [`StopReason::PageLost`](crate::StopReason::PageLost), and why.
    pub fn take_lost_page(&mut self) -> Option<LostPage> {
        self.memory.take_lost_page()
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
            self.memory.make_present([page]);
        }
        self.memory.take_lost_page();
        write(&mut self.ram)?;
        self.restore_state(state)?;
        Ok(())
    }

    /// Puts back a saved state while `write` changes any part of RAM; the rest stays as it is.
    /// After it all pages count as changed.
    ///
    /// # Errors
    /// As [`Self::restore_pages_with`].
    ///
    /// # Panics
    /// If pages are absent: which of them `write` fills is not known.
    pub fn restore_with<E: From<MachineRestoreError>>(
        &mut self,
        state: MachineState,
        write: impl FnOnce(&mut RamMapping) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_fits(state.vcpus.len(), self.ram.len())?;
        assert_eq!(self.absent_page_count(), 0, "any part of RAM is replaced while pages are absent");
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
    use crate::machine::{Idle, MachineConfig, StopReason};
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

    /// Has the code of [`code`] with these operands at its pages; page 5 it has not.
    struct Source(u8, u8);

    impl PageSource for Source {
        fn load(&mut self, page: u64, to: &mut Page) -> Result<(), x86::memory::absent::SourceError> {
            to.fill(0);
            match code(self.0, self.1).iter().find(|(_, at)| at / PAGE_BYTES == page) {
                Some((bytes, _)) => to[..bytes.len()].copy_from_slice(bytes),
                None => return Err("there is no such page".into()),
            }
            Ok(())
        }
    }

    #[test]
    fn a_machine_runs_on_absent_pages_as_on_others_until_one_is_lost() {
        for kind in [EngineKind::Interpreter, EngineKind::fastest()] {
            let config = MachineConfig::new(1 << 20);
            let mut machine = Machine::executed_by(config, kind).expect("a small machine");
            let mut state = machine.save();
            state.vcpus[0].rip = 0x1000;
            state.vcpus[0].segments[1].base = 0;
            let al = |machine: &mut Machine| {
                let reason = machine.run(InsnCount(1000), Idle::Stop);
                (reason, machine.save().vcpus[0].gpr[0] as u8)
            };
            machine.restore_pages_from(state.clone(), &[1, 2, 5], Box::new(Source(1, 2))).expect("a possible state");
            assert_eq!(machine.populated_pages(), Ok(vec![1..3, 5..6]));
            assert_eq!((al(&mut machine), machine.absent_pages()), ((StopReason::Until, 2), vec![5]));
            machine.restore_pages_from(state.clone(), &[2], Box::new(Source(8, 3))).expect("a possible state");
            assert_eq!((al(&mut machine), machine.absent_pages()), ((StopReason::Until, 3), vec![5]));
            let mut written = Vec::new();
            let full = machine.load_absent_pages(|pages, ram| {
                written.extend(pages);
                ram.write(5, &[7; 4096])
            });
            assert_eq!((full, written, machine.ram_bytes()[5 << 12]), (Ok(()), vec![5], 7));
            state.vcpus[0].rip = 0x5000;
            machine.restore_pages_from(state.clone(), &[5], Box::new(Source(8, 3))).expect("a possible state");
            assert_eq!(al(&mut machine).0, StopReason::PageLost);
            assert_eq!(machine.run(InsnCount(2000), Idle::Stop), StopReason::PageLost);
            assert_eq!(machine.take_lost_page().map(|lost| lost.page), Some(5));
        }
    }
}
