//! The state a boot protocol wants the first vCPU to start in.

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSegment {
    /// Selector.
    pub selector: u16,
    /// Base address.
    pub base: u32,
    /// Limit in bytes: the last valid offset.
    pub limit: u32,
    /// Bits 40 to 55 of the descriptor with the limit's bits cleared (Intel SDM vol. 3, figure 3-8):
    /// type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15.
    pub attributes: u16,
}

/// A descriptor table register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootTable {
    /// Linear address of the table.
    pub base: u64,
    /// Last valid offset.
    pub limit: u16,
}

/// The mode in which the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootMode {
    /// 32-bit protected mode with flat 4 GiB segments, paging off.
    Protected32,
    /// 64-bit mode with identity-mapped paging.
    Long64,
}

/// Registers of the first vCPU at entry. Those not named here have their value after reset, general
/// registers zero; A20 is on, interrupts are off and there is no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// Mode; agrees with the control registers below.
    pub mode: BootMode,
    /// Entry point, a linear address.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// A small stack (boot protocols leave it to the kernel; some small kernels rely on one).
    pub rsp: u64,
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RSI.
    pub rsi: u64,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The EFER MSR.
    pub efer: u64,
    /// GDTR.
    pub gdt: BootTable,
    /// IDTR: empty.
    pub idt: BootTable,
    /// CS.
    pub cs: BootSegment,
    /// DS, ES, FS, GS and SS.
    pub data: BootSegment,
    /// TR: a busy 32- or 64-bit TSS at address 0, as VM entries and some kernels demand.
    pub tr: BootSegment,
}

/// Attributes of an accessed flat 32-bit code segment.
pub const ATTR_CODE32: u16 = 0xc09b;
/// Attributes of an accessed 64-bit code segment.
pub const ATTR_CODE64: u16 = 0xa09b;
/// Attributes of an accessed flat writable data segment.
pub const ATTR_DATA32: u16 = 0xc093;
/// Attributes of a busy 32-bit TSS (64-bit in long mode).
pub const ATTR_TSS_BUSY: u16 = 0x008b;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const RFLAGS_FIXED: u64 = 1 << 1;

/// Where a kernel is entered and with which segments; the loaders fill in the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub rip: u64,
    pub rsp: u64,
    pub gdt: BootTable,
    pub code_selector: u16,
    pub data_selector: u16,
    pub tss_selector: u16,
}

impl BootState {
    /// 32-bit protected mode, flat, paging off.
    pub(super) fn protected32(entry: Entry) -> Self {
        Self::common(entry, BootMode::Protected32, ATTR_CODE32)
    }

    /// 64-bit mode with the page tables at `cr3`.
    pub(super) fn long64(entry: Entry, cr3: u64) -> Self {
        let state = Self::common(entry, BootMode::Long64, ATTR_CODE64);
        Self { cr0: state.cr0 | CR0_PG, cr3, cr4: CR4_PAE, efer: EFER_LME | EFER_LMA, ..state }
    }

    fn common(entry: Entry, mode: BootMode, code_attributes: u16) -> Self {
        let flat = |selector, attributes| BootSegment { selector, base: 0, limit: u32::MAX, attributes };
        Self {
            mode,
            rip: entry.rip,
            rflags: RFLAGS_FIXED,
            rsp: entry.rsp,
            rax: 0,
            rbx: 0,
            rsi: 0,
            cr0: CR0_PE | CR0_ET,
            cr3: 0,
            cr4: 0,
            efer: 0,
            gdt: entry.gdt,
            idt: BootTable::default(),
            cs: flat(entry.code_selector, code_attributes),
            data: flat(entry.data_selector, ATTR_DATA32),
            tr: BootSegment { limit: 0x67, ..flat(entry.tss_selector, ATTR_TSS_BUSY) },
        }
    }
}
