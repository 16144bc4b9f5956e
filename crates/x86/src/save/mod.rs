//! The saved state of a vCPU: everything that the guest can see, the TLB model included, as
//! numbered fields.
//!
//! Configuration (model, APIC id) is not in it: a state is restored into a vCPU made with the
//! same configuration. Neither is what follows from the rest: the mode, the TLB's fast tags,
//! the lazy form of the flags. Equal vCPUs give equal bytes, so that a digest can be taken.
//!
//! A file may come from anyone. [`Vcpu::restore`] lets in only what executing instructions
//! could have produced, as far as anything later relies on it.

mod parts;
mod tlb;

pub use parts::{DebugState, MsrState, SegmentState, TableState, VectorRegisters, X87Registers};
pub use tlb::{ContextState, TlbState};

use crate::flags;
use crate::memory::paging::PHYS_BITS;
use crate::system::debug::DR6_TRAPS;
use crate::units::InsnCount;
use crate::vcpu::{Activity, Shadow, Vcpu, cr};

/// The state of a vCPU.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CpuState {
    /// RAX to R15.
    #[prost(fixed64, repeated, tag = "1")]
    pub gpr: Vec<u64>,
    /// RFLAGS.
    #[prost(uint64, tag = "2")]
    pub rflags: u64,
    /// RIP.
    #[prost(fixed64, tag = "3")]
    pub rip: u64,
    /// Steps executed.
    #[prost(uint64, tag = "4")]
    pub count: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    #[prost(message, repeated, tag = "5")]
    pub segments: Vec<SegmentState>,
    /// GDTR.
    #[prost(message, required, tag = "6")]
    pub gdtr: TableState,
    /// IDTR.
    #[prost(message, required, tag = "7")]
    pub idtr: TableState,
    /// CR0.
    #[prost(uint64, tag = "8")]
    pub cr0: u64,
    /// CR2.
    #[prost(fixed64, tag = "9")]
    pub cr2: u64,
    /// CR3.
    #[prost(uint64, tag = "10")]
    pub cr3: u64,
    /// CR4.
    #[prost(uint64, tag = "11")]
    pub cr4: u64,
    /// EFER.
    #[prost(uint64, tag = "12")]
    pub efer: u64,
    /// XCR0.
    #[prost(uint64, tag = "13")]
    pub xcr0: u64,
    /// The cached PDPTEs of PAE paging.
    #[prost(fixed64, repeated, tag = "14")]
    pub pdpte: Vec<u64>,
    /// Model-specific registers.
    #[prost(message, required, tag = "15")]
    pub msrs: MsrState,
    /// Debug registers.
    #[prost(message, required, tag = "16")]
    pub debug: DebugState,
    /// Vector registers.
    #[prost(message, required, tag = "17")]
    pub vector: VectorRegisters,
    /// x87 registers.
    #[prost(message, required, tag = "18")]
    pub x87: X87Registers,
    /// [`Activity`] as a number.
    #[prost(uint32, tag = "19")]
    pub activity: u32,
    /// [`Shadow`] as a number.
    #[prost(uint32, tag = "20")]
    pub shadow: u32,
    /// NMIs that wait, 0 to 2.
    #[prost(uint32, tag = "21")]
    pub nmi_pending: u32,
    /// NMIs are blocked until IRET.
    #[prost(bool, tag = "22")]
    pub nmi_blocked: bool,
    /// #DB traps to be delivered, as DR6 bits.
    #[prost(uint64, tag = "23")]
    pub debug_pending: u64,
    /// The address armed by MONITOR.
    #[prost(fixed64, optional, tag = "24")]
    pub monitor: Option<u64>,
    /// The A20 gate forces address bit 20 to zero.
    #[prost(bool, tag = "25")]
    pub a20_closed: bool,
    /// The TLB model.
    #[prost(message, required, tag = "26")]
    pub tlb: TlbState,
}

/// Why a saved state was refused: the first part of it that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved CPU state is damaged or from another CPU model: {0} cannot have this value")]
pub struct InvalidState(pub &'static str);

/// `Err` with the name of what is wrong unless `ok`.
fn check(ok: bool, what: &'static str) -> Result<(), InvalidState> {
    if ok { Ok(()) } else { Err(InvalidState(what)) }
}

/// An array of exactly the right length.
fn exactly<T: Copy, const N: usize>(list: &[T], what: &'static str) -> Result<[T; N], InvalidState> {
    list.try_into().map_err(|_| InvalidState(what))
}

/// Mask of the A20 gate when it is closed.
const A20_CLOSED: u64 = !(1 << 20);
/// A count that no run reaches, far from where adding to it, or those of eight vCPUs, could overflow.
const COUNT_LIMIT: u64 = 1 << 60;

impl Vcpu {
    /// The state, as of between two instructions.
    pub fn save(&self) -> CpuState {
        let Self {
            gpr,
            lazy: _,
            rflags_system: _,
            rip,
            mode: _,
            count,
            fault: _,
            seg,
            gdtr,
            idtr,
            cr0,
            cr2,
            cr3,
            cr4,
            efer,
            xcr0,
            pdpte,
            msrs,
            debug,
            vector,
            x87,
            activity,
            shadow,
            nmi_pending,
            nmi_blocked,
            debug_pending,
            monitor,
            a20_mask,
            tlb,
            model: _,
            apic_id: _,
            vcpus: _,
        } = self;
        CpuState {
            gpr: gpr[..16].to_vec(),
            rflags: self.rflags(),
            rip: *rip,
            count: count.0,
            segments: seg.iter().map(SegmentState::save).collect(),
            gdtr: TableState::save(gdtr),
            idtr: TableState::save(idtr),
            cr0: *cr0,
            cr2: *cr2,
            cr3: *cr3,
            cr4: *cr4,
            efer: *efer,
            xcr0: *xcr0,
            pdpte: pdpte.to_vec(),
            msrs: MsrState::save(msrs),
            debug: DebugState::save(debug),
            vector: VectorRegisters::save(vector),
            x87: X87Registers::save(x87),
            activity: *activity as u32,
            shadow: *shadow as u32,
            nmi_pending: u32::from(*nmi_pending),
            nmi_blocked: *nmi_blocked,
            debug_pending: *debug_pending,
            monitor: *monitor,
            a20_closed: *a20_mask == A20_CLOSED,
            tlb: TlbState::save(tlb),
        }
    }

    /// Puts a saved state in place of this one. `self` must have been made with the same
    /// configuration as the vCPU that was saved.
    ///
    /// # Errors
    /// Names what cannot be; the vCPU is unchanged then.
    pub fn restore(&mut self, state: &CpuState) -> Result<(), InvalidState> {
        let mut cpu = Vcpu::new(self.model, self.apic_id, self.vcpus);
        cpu.restore_control(state)?;
        cpu.gpr[..16].copy_from_slice(&exactly::<u64, 16>(&state.gpr, "gpr")?);
        cpu.rip = state.rip;
        check(state.count < COUNT_LIMIT, "count")?;
        cpu.count = InsnCount(state.count);
        let segments: [&SegmentState; 8] = exactly(&state.segments.iter().collect::<Vec<_>>(), "segments")?;
        for (to, from) in cpu.seg.iter_mut().zip(segments) {
            *to = from.restore()?;
        }
        cpu.gdtr = state.gdtr.restore()?;
        cpu.idtr = state.idtr.restore()?;
        cpu.msrs = state.msrs.restore()?;
        cpu.debug = state.debug.restore()?;
        cpu.vector = state.vector.restore(self.model)?;
        cpu.x87 = state.x87.restore()?;
        cpu.activity = match state.activity {
            0 => Activity::Running,
            1 => Activity::Halted,
            2 => Activity::WaitForSipi,
            3 => Activity::Shutdown,
            _ => return Err(InvalidState("activity")),
        };
        cpu.shadow = match state.shadow {
            0 => Shadow::None,
            1 => Shadow::Sti,
            2 => Shadow::MovSs,
            _ => return Err(InvalidState("shadow")),
        };
        // HLT ends the shadow that it is executed in; a vCPU that waits in one could not be woken.
        check(cpu.activity != Activity::Halted || cpu.shadow == Shadow::None, "shadow")?;
        check(state.nmi_pending <= 2, "nmi_pending")?;
        cpu.nmi_pending = state.nmi_pending as u8;
        cpu.nmi_blocked = state.nmi_blocked;
        check(state.debug_pending & !DR6_TRAPS == 0, "debug_pending")?;
        cpu.debug_pending = state.debug_pending;
        cpu.monitor = state.monitor;
        cpu.a20_mask = if state.a20_closed { A20_CLOSED } else { u64::MAX };
        cpu.set_rflags(state.rflags);
        // Last: computing the mode can drop the fetch page.
        cpu.tlb = state.tlb.restore()?;
        *self = cpu;
        Ok(())
    }

    /// The control registers and RFLAGS, in combinations that can exist.
    fn restore_control(&mut self, state: &CpuState) -> Result<(), InvalidState> {
        let paging = state.cr0 & cr::CR0_PG != 0;
        let long = paging && state.efer & cr::EFER_LME != 0;
        check(Self::is_valid_cr0(state.cr0), "cr0")?;
        check(state.cr3 >> PHYS_BITS == 0, "cr3")?;
        check(Self::is_valid_cr4(state.cr4, long), "cr4")?;
        let efer_bits = cr::EFER_SCE | cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE;
        let lma = state.efer & cr::EFER_LMA != 0;
        check(state.efer & !efer_bits == 0 && lma == long, "efer")?;
        check(self.is_valid_xcr0(state.xcr0), "xcr0")?;
        let vm = state.rflags & flags::VM != 0;
        let impossible_vm = vm && (long || state.cr0 & cr::CR0_PE == 0);
        check(state.rflags & !flags::ALL == flags::FIXED && !impossible_vm, "rflags")?;
        check(long || state.rip >> 32 == 0, "rip")?;
        self.cr0 = state.cr0;
        self.cr2 = state.cr2;
        self.cr3 = state.cr3;
        self.cr4 = state.cr4;
        self.efer = state.efer;
        self.xcr0 = state.xcr0;
        self.pdpte = exactly(&state.pdpte, "pdpte")?;
        Ok(())
    }
}
