//! Page walks: 2-level with PSE, PAE, and 4-level paging (SDM Vol. 3A, chapter 4).

use super::phys::GuestMemory;
use crate::fault::{Exception, Trap, vector};
use crate::flags;
use crate::memory::tlb::view;
use crate::units::GuestPhysAddr;
use crate::vcpu::{Vcpu, cr};

/// Physical address bits of every CPU model.
pub const PHYS_BITS: u32 = 40;
/// Mask of physical addresses.
pub const PHYS_MASK: u64 = (1 << PHYS_BITS) - 1;

pub(super) const P: u64 = 1 << 0;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
pub(super) const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;
/// Address bits above [`PHYS_BITS`] and below bit 52.
const RESERVED_HIGH: u64 = ((1 << 52) - 1) & !PHYS_MASK;

/// Page-fault error-code bits (SDM Vol. 3A, figure 4-12).
mod error {
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Load.
    Read,
    /// Store, or a read-modify-write.
    Write,
    /// Instruction fetch.
    Fetch,
}

/// Where a linear page leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical 4 KiB page.
    pub page: GuestPhysAddr,
    /// Writes are allowed and the dirty bit is set.
    pub writable: bool,
    /// log2 of the size of the mapping page.
    pub shift: u8,
    /// The translation is the same in all address spaces.
    pub global: bool,
}

/// What an entry of one paging structure is.
pub(super) struct Level {
    /// log2 of the bytes that one entry maps.
    pub(super) shift: u32,
    /// Bits that must be zero in an entry that points to a table.
    reserved_table: u64,
    /// Bits that must be zero in an entry that maps a page, or `None` if it cannot.
    pub(super) reserved_page: Option<u64>,
}

/// An entry that the walk went through, to get its accessed bit.
#[derive(Clone, Copy, Default)]
struct Visited {
    at: u64,
    value: u64,
}

impl Vcpu {
    /// The view of the TLB for data accesses at privilege level `cpl`.
    pub fn data_view(&self, cpl: u8) -> u8 {
        let ac = self.rflags_system & flags::AC != 0;
        if cpl == 3 {
            if ac && self.cr0 & cr::CR0_AM != 0 { view::USER_ALIGN } else { view::USER }
        } else if ac && self.cr4 & cr::CR4_SMAP != 0 {
            view::SUPERVISOR_AC
        } else {
            view::SUPERVISOR
        }
    }

    /// Translates a linear address by the page tables, setting accessed and dirty bits.
    ///
    /// # Errors
    /// #PF with its error code. Canonical form is the caller's to check.
    pub fn walk(&mut self, mem: &mut GuestMemory, linear: u64, intent: Intent, view: u8) -> Result<Translation, Trap> {
        if self.cr0 & cr::CR0_PG == 0 {
            let page = GuestPhysAddr(linear & 0xffff_f000 & self.a20_mask);
            return Ok(Translation { page, writable: true, shift: 12, global: false });
        }
        if self.long_mode() {
            let top = self.cr3 & PHYS_MASK & !0xfff;
            self.walk_tables(mem, linear, intent, view, top, &LEVELS_LONG, 8)
        } else if self.cr4 & cr::CR4_PAE != 0 {
            let pdpte = self.pdpte[(linear >> 30 & 3) as usize];
            if pdpte & P == 0 {
                return Err(self.page_fault(linear, intent, view, 0));
            }
            self.walk_tables(mem, linear, intent, view, pdpte & PHYS_MASK & !0xfff, &LEVELS_PAE, 8)
        } else {
            let top = self.cr3 & 0xffff_f000;
            let levels = if self.cr4 & cr::CR4_PSE != 0 { &LEVELS_32_PSE } else { &LEVELS_32 };
            self.walk_tables(mem, linear, intent, view, top, levels, 4)
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn walk_tables(
        &mut self,
        mem: &mut GuestMemory,
        linear: u64,
        intent: Intent,
        view: u8,
        top: u64,
        levels: &[Level],
        entry_bytes: u64,
    ) -> Result<Translation, Trap> {
        let index_mask = 4096 / entry_bytes - 1;
        let nx_reserved = if entry_bytes == 8 && self.efer & cr::EFER_NXE == 0 { NX } else { 0 };
        let mut visited = [Visited::default(); 4];
        let mut rights = W | U;
        let mut no_execute = 0;
        let mut table = top;
        for (depth, level) in levels.iter().enumerate() {
            let at = (table + (linear >> level.shift & index_mask) * entry_bytes) & self.a20_mask;
            let value = read_entry(mem, at, entry_bytes);
            if value & P == 0 {
                return Err(self.page_fault(linear, intent, view, 0));
            }
            let is_page = level.shift == 12 || (value & PS != 0 && level.reserved_page.is_some());
            let reserved = if is_page { level.reserved_page.unwrap_or(0) } else { level.reserved_table };
            if value & (reserved | nx_reserved) != 0 {
                return Err(self.page_fault(linear, intent, view, error::PRESENT | error::RESERVED));
            }
            visited[depth] = Visited { at, value };
            rights &= value;
            no_execute |= value & NX & !nx_reserved;
            if is_page {
                let leaf = Leaf { rights, no_execute: entry_bytes == 8 && no_execute != 0, shift: level.shift as u8 };
                return self.finish_walk(mem, linear, intent, view, &visited[..=depth], leaf, entry_bytes);
            }
            table = value & PHYS_MASK & !0xfff;
            if entry_bytes == 4 {
                table &= 0xffff_f000;
            }
        }
        unreachable!("the last level always maps a page")
    }

    #[allow(clippy::too_many_arguments)]
    fn finish_walk(
        &mut self,
        mem: &mut GuestMemory,
        linear: u64,
        intent: Intent,
        view: u8,
        visited: &[Visited],
        leaf: Leaf,
        entry_bytes: u64,
    ) -> Result<Translation, Trap> {
        let may_write = self
            .check_rights(leaf, intent, view)
            .map_err(|()| self.page_fault(linear, intent, view, error::PRESENT))?;
        let (last, above) = visited.split_last().expect("a walk visits an entry");
        for entry in above.iter().filter(|entry| entry.value & A == 0) {
            write_entry(mem, entry.at, entry.value | A, entry_bytes);
        }
        let dirty = if intent == Intent::Write { D } else { 0 };
        let wanted = last.value | A | dirty;
        if wanted != last.value {
            write_entry(mem, last.at, wanted, entry_bytes);
        }
        let offset_mask = (1u64 << leaf.shift) - 1;
        let base = if entry_bytes == 4 && leaf.shift == 22 {
            (last.value & 0xffc0_0000) | (last.value >> 13 & 0xff) << 32
        } else if entry_bytes == 4 {
            last.value & 0xffff_f000
        } else {
            last.value & PHYS_MASK & !offset_mask
        };
        let page = GuestPhysAddr((base | linear & offset_mask & !0xfff) & self.a20_mask);
        let global = last.value & G != 0 && self.cr4 & cr::CR4_PGE != 0;
        Ok(Translation { page, writable: may_write && wanted & D != 0, shift: leaf.shift, global })
    }

    /// Whether the rights allow the access; on success, whether they allow a write too.
    fn check_rights(&self, leaf: Leaf, intent: Intent, view: u8) -> Result<bool, ()> {
        let user_page = leaf.rights & U != 0;
        let user_access = view >= view::USER;
        if user_access && !user_page {
            return Err(());
        }
        if !user_access && user_page {
            let forbidden = match intent {
                Intent::Fetch => self.cr4 & cr::CR4_SMEP != 0,
                _ => self.cr4 & cr::CR4_SMAP != 0 && view != view::SUPERVISOR_AC,
            };
            if forbidden {
                return Err(());
            }
        }
        let may_write = leaf.rights & W != 0 || (!user_access && self.cr0 & cr::CR0_WP == 0);
        match intent {
            Intent::Write if !may_write => Err(()),
            Intent::Fetch if leaf.no_execute => Err(()),
            _ => Ok(may_write),
        }
    }

    fn page_fault(&mut self, linear: u64, intent: Intent, view: u8, mut code: u32) -> Trap {
        if intent == Intent::Write {
            code |= error::WRITE;
        }
        if view >= view::USER {
            code |= error::USER;
        }
        let nx = self.efer & cr::EFER_NXE != 0 && self.cr4 & cr::CR4_PAE != 0;
        if intent == Intent::Fetch && (nx || self.cr4 & cr::CR4_SMEP != 0) {
            code |= error::FETCH;
        }
        self.fault =
            Exception { vector: vector::PF, error_code: Some(code), fault_address: linear, ..Exception::default() };
        Trap(())
    }

    /// Loads the four PDPTEs from the table at `cr3`, as MOV to CR3 does in PAE paging.
    ///
    /// # Errors
    /// #GP(0) if a present entry has a reserved bit set; nothing is changed then.
    pub fn load_pdptes(&mut self, mem: &GuestMemory, cr3: u64) -> Result<(), Trap> {
        const RESERVED: u64 = 0b1_1110_0110 | !PHYS_MASK;
        let mut loaded = [0; 4];
        for (i, pdpte) in loaded.iter_mut().enumerate() {
            *pdpte = read_entry(mem, ((cr3 & 0xffff_ffe0) + 8 * i as u64) & self.a20_mask, 8);
            if *pdpte & P != 0 && *pdpte & RESERVED != 0 {
                return Err(self.gp0());
            }
        }
        self.pdpte = loaded;
        Ok(())
    }
}

/// The sum of what the entries on the way allow.
#[derive(Clone, Copy)]
struct Leaf {
    rights: u64,
    no_execute: bool,
    shift: u8,
}

pub(super) const LEVELS_LONG: [Level; 4] = [
    Level { shift: 39, reserved_table: RESERVED_HIGH | PS, reserved_page: None },
    Level { shift: 30, reserved_table: RESERVED_HIGH, reserved_page: Some(RESERVED_HIGH | 0x3fff_e000) },
    Level { shift: 21, reserved_table: RESERVED_HIGH, reserved_page: Some(RESERVED_HIGH | 0x001f_e000) },
    Level { shift: 12, reserved_table: 0, reserved_page: Some(RESERVED_HIGH) },
];
/// Bits 62 to 52 are reserved too in PAE paging.
const RESERVED_PAE: u64 = !PHYS_MASK & !NX;
pub(super) const LEVELS_PAE: [Level; 2] = [
    Level { shift: 21, reserved_table: RESERVED_PAE, reserved_page: Some(RESERVED_PAE | 0x001f_e000) },
    Level { shift: 12, reserved_table: 0, reserved_page: Some(RESERVED_PAE) },
];
pub(super) const LEVELS_32: [Level; 2] = [
    Level { shift: 22, reserved_table: 0, reserved_page: None },
    Level { shift: 12, reserved_table: 0, reserved_page: Some(0) },
];
/// PSE-36 gives bits 20:13 of a 4 MiB entry to address bits 39:32; bit 21 is reserved.
pub(super) const LEVELS_32_PSE: [Level; 2] = [
    Level { shift: 22, reserved_table: 0, reserved_page: Some(1 << 21) },
    Level { shift: 12, reserved_table: 0, reserved_page: Some(0) },
];

/// Reads a paging-structure entry; outside RAM it is all ones, as an empty bus is.
pub(super) fn read_entry(mem: &GuestMemory, at: u64, bytes: u64) -> u64 {
    let entry = match bytes {
        4 => mem.read_entry::<u32>(GuestPhysAddr(at)).map(u64::from),
        _ => mem.read_entry::<u64>(GuestPhysAddr(at)),
    };
    entry.unwrap_or(u64::MAX)
}

fn write_entry(mem: &mut GuestMemory, at: u64, value: u64, bytes: u64) {
    // A table outside RAM takes no writes.
    let _is_ram = mem.write_in_page(GuestPhysAddr(at), &value.to_le_bytes()[..bytes as usize]);
}
