//! RAM page by page, for those who save a machine in parts: which pages changed, which have content,
//! and putting back only some of them.

use std::ops::Range;

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
        for vcpu in &mut self.vcpus {
            vcpu.tlb.forbid_all_fast_writes();
        }
        self.memory.take_dirty_pages()
    }

    /// The pages that take host memory, as ascending ranges of indexes; all others are zero.
    ///
    /// # Errors
    /// If the host does not say.
    pub fn populated_pages(&self) -> Result<Vec<Range<u64>>, RamError> {
        let pages = |range: Range<u64>| range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        Ok(self.ram.populated()?.into_iter().map(pages).collect())
    }

    /// Puts back a saved state while `write` changes whatever differs in RAM; the rest stays as it is.
    /// After it all pages count as changed.
    ///
    /// # Errors
    /// Those of `write`, and if the state is not one that such a machine can have; the machine is
    /// then not usable.
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
