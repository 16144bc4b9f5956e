//! One virtual CPU: everything that the guest's instructions can see or change.

use crate::fault::{Exception, Trap, vector};
use crate::flags::{self, LazyFlags};
use crate::memory::tlb::Tlb;
use crate::model::CpuModel;
use crate::segment::{ATTR_DB, ATTR_L, Segment, TableRegister, seg};
use crate::system::debug::DebugRegisters;
use crate::system::msr::Msrs;
use crate::units::InsnCount;
use crate::vector::state::VectorState;
use crate::x87::state::X87State;

/// Slot of [`Vcpu::gpr`] that always holds zero: "no base" and "no index".
pub const GPR_ZERO: usize = 16;
/// Slot of [`Vcpu::gpr`] that holds [`Vcpu::page_rip`], for RIP-relative addresses.
pub const GPR_PAGE_RIP: usize = 17;

/// Control-register bits.
pub mod cr {
    #![allow(missing_docs)]
    pub const CR0_PE: u64 = 1 << 0;
    pub const CR0_MP: u64 = 1 << 1;
    pub const CR0_EM: u64 = 1 << 2;
    pub const CR0_TS: u64 = 1 << 3;
    pub const CR0_ET: u64 = 1 << 4;
    pub const CR0_NE: u64 = 1 << 5;
    pub const CR0_WP: u64 = 1 << 16;
    pub const CR0_AM: u64 = 1 << 18;
    pub const CR0_NW: u64 = 1 << 29;
    pub const CR0_CD: u64 = 1 << 30;
    pub const CR0_PG: u64 = 1 << 31;
    pub const CR4_VME: u64 = 1 << 0;
    pub const CR4_PVI: u64 = 1 << 1;
    pub const CR4_TSD: u64 = 1 << 2;
    pub const CR4_DE: u64 = 1 << 3;
    pub const CR4_PSE: u64 = 1 << 4;
    pub const CR4_PAE: u64 = 1 << 5;
    pub const CR4_MCE: u64 = 1 << 6;
    pub const CR4_PGE: u64 = 1 << 7;
    pub const CR4_PCE: u64 = 1 << 8;
    pub const CR4_OSFXSR: u64 = 1 << 9;
    pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
    pub const CR4_UMIP: u64 = 1 << 11;
    pub const CR4_FSGSBASE: u64 = 1 << 16;
    pub const CR4_PCIDE: u64 = 1 << 17;
    pub const CR4_OSXSAVE: u64 = 1 << 18;
    pub const CR4_SMEP: u64 = 1 << 20;
    pub const CR4_SMAP: u64 = 1 << 21;
    pub const EFER_SCE: u64 = 1 << 0;
    pub const EFER_LME: u64 = 1 << 8;
    pub const EFER_LMA: u64 = 1 << 10;
    pub const EFER_NXE: u64 = 1 << 11;
}

/// The default size of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CodeSize {
    /// 16-bit code: real mode, v8086, 16-bit segments.
    #[default]
    B16,
    /// 32-bit code.
    B32,
    /// 64-bit mode.
    B64,
}

/// What follows from CR0, CR4, EFER, RFLAGS and the segments, computed when they change
/// (`Vcpu::update_mode`), so that the hot paths need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Default code size.
    pub code: CodeSize,
    /// Current privilege level.
    pub cpl: u8,
    /// Bits of RIP that exist in this mode.
    pub ip_mask: u64,
    /// Bits of RSP that stack operations use.
    pub sp_mask: u64,
    /// Which view of the TLB data accesses use, see [`crate::memory::tlb`].
    pub view: u8,
    /// CR0.PE is clear.
    pub real: bool,
    /// Virtual-8086 mode.
    pub v86: bool,
}

/// Whether the vCPU executes instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Executing.
    #[default]
    Running = 0,
    /// After HLT: waits for an interrupt or NMI.
    Halted = 1,
    /// After INIT on an application processor: waits for a start-up IPI.
    WaitForSipi = 2,
    /// After a triple fault.
    Shutdown = 3,
}

/// Interrupt shadow of the instruction just executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Shadow {
    /// None.
    #[default]
    None = 0,
    /// STI with IF clear before: no maskable interrupt for one instruction.
    Sti = 1,
    /// MOV SS or POP SS: no interrupt, NMI or debug trap for one instruction.
    MovSs = 2,
}

/// A virtual CPU.
///
/// Fields are public to the engines of this workspace; a change of `cr0`, `cr4`, `efer`, the
/// system flags or CS/SS must be followed by [`Vcpu::update_mode`].
#[derive(Clone)]
pub struct Vcpu {
    /// RAX to R15 in encoding order, then the slots [`GPR_ZERO`] and [`GPR_PAGE_RIP`];
    /// the rest is padding that makes a five-bit index always valid.
    pub gpr: [u64; 32],
    /// The six arithmetic flags.
    pub lazy: LazyFlags,
    /// RFLAGS without the six arithmetic flags.
    pub rflags_system: u64,
    /// RIP between instructions. Inside an instruction it is stale unless the instruction
    /// set it; use `op_rip` and `next_rip`.
    pub rip: u64,
    /// What follows from the control state.
    pub mode: Mode,
    /// Steps executed: exact between blocks; inside an instruction use `Env::count_at`.
    pub count: InsnCount,
    /// The exception that a [`Trap`] stands for.
    pub fault: Exception,

    /// ES, CS, SS, DS, FS, GS, LDTR, TR (see [`seg`]).
    pub seg: [Segment; 8],
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// XCR0.
    pub xcr0: u64,
    /// PDPTEs cached by MOV to CR3 in PAE paging (SDM Vol. 3A, 4.4.1).
    pub pdpte: [u64; 4],
    /// Model-specific registers that belong to the CPU.
    pub msrs: Msrs,
    /// DR0 to DR7.
    pub debug: DebugRegisters,
    /// XMM and YMM registers, MXCSR.
    pub vector: VectorState,
    /// x87 and MMX.
    pub x87: X87State,

    /// Running, halted, ...
    pub activity: Activity,
    /// Interrupt shadow.
    pub shadow: Shadow,
    /// NMIs that wait, 0 to 2: see [`Vcpu::latch_nmi`].
    pub nmi_pending: u8,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// #DB traps (DR6 bits) to be delivered before the next instruction.
    pub debug_pending: u64,
    /// The address range armed by MONITOR, if any.
    pub monitor: Option<u64>,

    /// Physical address bits that pass the A20 gate.
    pub a20_mask: u64,
    /// The software TLB.
    pub tlb: Tlb,

    /// Configuration: which CPU this is.
    pub model: CpuModel,
    /// Configuration: local APIC id, as CPUID reports it.
    pub apic_id: u32,
    /// Configuration: number of vCPUs of the machine, as CPUID reports it.
    pub vcpus: u32,
}

impl Vcpu {
    /// RFLAGS as PUSHF would push it (with RF and VM as they are).
    pub fn rflags(&self) -> u64 {
        self.rflags_system | self.lazy.to_bits() | flags::FIXED
    }

    /// Loads RFLAGS; bits that do not exist are dropped. Recomputes the mode.
    pub fn set_rflags(&mut self, value: u64) {
        self.lazy = LazyFlags::from_bits(value);
        self.rflags_system = value & flags::ALL & !flags::ARITHMETIC;
        self.update_mode();
    }

    /// True if paging, EFER.LME and CR0.PG make this IA-32e mode.
    #[inline(always)]
    pub fn long_mode(&self) -> bool {
        self.efer & cr::EFER_LMA != 0
    }

    /// True in 64-bit mode (not in compatibility mode).
    #[inline(always)]
    pub fn is_64bit(&self) -> bool {
        self.mode.code == CodeSize::B64
    }

    /// An NMI arrives. While NMIs are blocked one is remembered; else one that is about to be
    /// delivered and one behind it.
    pub fn latch_nmi(&mut self) {
        let most = if self.nmi_blocked { 1 } else { 2 };
        self.nmi_pending = (self.nmi_pending + 1).min(most);
    }

    /// Recomputes [`Mode`] from the control state.
    pub fn update_mode(&mut self) {
        let real = self.cr0 & cr::CR0_PE == 0;
        let v86 = !real && self.rflags_system & flags::VM != 0;
        let cs = &self.seg[seg::CS];
        let ss = &self.seg[seg::SS];
        let code = match () {
            () if real && !cs.has(ATTR_DB) || v86 => CodeSize::B16,
            () if self.long_mode() && cs.has(ATTR_L) => CodeSize::B64,
            () if cs.has(ATTR_DB) => CodeSize::B32,
            () => CodeSize::B16,
        };
        let cpl = if real {
            0
        } else if v86 {
            3
        } else {
            ss.dpl()
        };
        let ip_mask = match code {
            CodeSize::B64 => u64::MAX,
            CodeSize::B32 | CodeSize::B16 => 0xffff_ffff,
        };
        let sp_mask = match code {
            CodeSize::B64 => u64::MAX,
            _ if ss.has(ATTR_DB) && !v86 => 0xffff_ffff,
            _ => 0xffff,
        };
        let view = self.data_view(cpl);
        let mode = Mode { code, cpl, ip_mask, sp_mask, view, real, v86 };
        if (mode.cpl == 3) != (self.mode.cpl == 3) {
            self.tlb.leave_fetch_page();
        }
        self.mode = mode;
    }

    /// Raises an exception without error code.
    #[cold]
    pub fn raise(&mut self, vector: u8) -> Trap {
        self.fault = Exception { vector, ..Exception::default() };
        Trap(())
    }

    /// Raises an exception with an error code.
    #[cold]
    pub fn raise_with(&mut self, vector: u8, error_code: u32) -> Trap {
        self.fault = Exception { vector, error_code: Some(error_code), ..Exception::default() };
        Trap(())
    }

    /// #GP(0).
    #[cold]
    pub fn gp0(&mut self) -> Trap {
        self.raise_with(vector::GP, 0)
    }

    /// #UD.
    #[cold]
    pub fn ud(&mut self) -> Trap {
        self.raise(vector::UD)
    }
}
