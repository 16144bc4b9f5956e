//! Page walks for who looks at a guest from outside: they set no bit, fill no TLB and fault nowhere.

use super::paging::{LEVELS_32, LEVELS_32_PSE, LEVELS_LONG, LEVELS_PAE, Level, P, PHYS_MASK, PS, read_entry};
use super::phys::GuestMemory;
use crate::units::GuestPhysAddr;
use crate::vcpu::{Vcpu, cr};

impl Vcpu {
    /// Where a linear address leads by the page tables as they are now, whatever rights they give; `None` if nowhere.
    ///
    /// A guest with a stale TLB entry can see another place.
    pub fn look_up(&self, mem: &GuestMemory, linear: u64) -> Option<GuestPhysAddr> {
        if self.cr0 & cr::CR0_PG == 0 {
            return Some(GuestPhysAddr(linear & 0xffff_ffff & self.a20_mask));
        }
        let (top, levels, entry_bytes): (u64, &[Level], u64) = if self.long_mode() {
            (self.cr3 & PHYS_MASK & !0xfff, &LEVELS_LONG, 8)
        } else if self.cr4 & cr::CR4_PAE != 0 {
            let pdpte = self.pdpte[(linear >> 30 & 3) as usize];
            if pdpte & P == 0 {
                return None;
            }
            (pdpte & PHYS_MASK & !0xfff, &LEVELS_PAE, 8)
        } else {
            let levels = if self.cr4 & cr::CR4_PSE != 0 { &LEVELS_32_PSE } else { &LEVELS_32 };
            (self.cr3 & 0xffff_f000, levels, 4)
        };
        let mut table = top;
        for level in levels {
            let index = linear >> level.shift & (4096 / entry_bytes - 1);
            let entry = read_entry(mem, (table + index * entry_bytes) & self.a20_mask, entry_bytes);
            if entry & P == 0 {
                return None;
            }
            if level.shift == 12 || (entry & PS != 0 && level.reserved_page.is_some()) {
                let offset = (1 << level.shift) - 1;
                // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32.
                let high = if entry_bytes == 4 && level.shift == 22 { (entry >> 13 & 0xff) << 32 } else { 0 };
                let frame = if entry_bytes == 4 { entry & 0xffff_ffff } else { entry & PHYS_MASK };
                return Some(GuestPhysAddr((frame & !offset | high | linear & offset) & self.a20_mask));
            }
            table = if entry_bytes == 4 { entry & 0xffff_f000 } else { entry & PHYS_MASK & !0xfff };
        }
        None
    }
}
