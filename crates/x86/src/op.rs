//! The decoded form of an instruction, and what an instruction's code is given.

use crate::bus::Bus;
use crate::fault::{Flow, Trap};
use crate::memory::phys::GuestMemory;
use crate::units::InsnCount;
use crate::vcpu::Vcpu;

/// The code of one instruction form.
pub type Exec = fn(&mut Vcpu, &mut Env<'_>, &Op) -> Result<Flow, Trap>;

/// How the address of a memory operand is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AddressMode {
    /// 64-bit address, segment base zero.
    Flat64,
    /// 64-bit address plus the FS or GS base.
    Based64,
    /// 64-bit mode with a 32-bit address size.
    Truncated64,
    /// 32-bit address in a segment with base, limit and type.
    Segment32,
    /// 16-bit address in such a segment.
    Segment16,
}

/// Repeat prefix of a string instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Repeat {
    /// No prefix.
    None,
    /// F3: REP, REPE.
    WhileEqual,
    /// F2: REPNE.
    WhileNotEqual,
}

/// A decoded instruction: its code and its operands, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// What to call.
    pub exec: Exec,
    /// Immediate (sign-extended), branch displacement, or absolute offset.
    pub imm: u64,
    /// Displacement of the memory operand; for RIP-relative ones counted from the page.
    pub disp: i64,
    /// Base register slot of `Vcpu::gpr`.
    pub base: u8,
    /// Index register slot of `Vcpu::gpr`.
    pub index: u8,
    /// Shift of the index, 0 to 3.
    pub scale: u8,
    /// Segment of the memory operand (see [`crate::segment::seg`]).
    pub seg: u8,
    /// How the address is computed.
    pub amode: AddressMode,
    /// First register operand: a slot of `gpr`, a byte offset into it (8-bit registers),
    /// a segment, vector or other register number.
    pub r1: u8,
    /// Second register operand.
    pub r2: u8,
    /// Third register operand, or a small constant of the form.
    pub r3: u8,
    /// Offset of the instruction's first byte in its page.
    pub off: u16,
    /// Length in bytes, 1 to 15.
    pub len: u8,
    /// Position in its block: steps before it.
    pub idx: u8,
    /// Operand size in bytes where the code does not imply it.
    pub osize: u8,
    /// Repeat prefix.
    pub rep: Repeat,
    /// Index into the engine's table of host-executed instructions, or other per-form data.
    pub extra: u32,
}

/// What surrounds an instruction: memory, the board, and where in the run it stands.
pub struct Env<'a> {
    /// Guest-physical memory.
    pub mem: &'a mut GuestMemory,
    /// The board.
    pub bus: &'a mut dyn Bus,
    /// Set when the current block must not go on after this instruction.
    pub leave: bool,
    /// Set when the board was accessed, so that its signals must be read again.
    pub bus_touched: bool,
    /// The vCPU must stop before this count.
    pub until: InsnCount,
    /// Steps that the current instruction took beyond one (repeated string instructions): those
    /// before the iteration under way, or the one that faulted, or the last one.
    pub extra_steps: u64,
    /// The board has an interrupt for the vCPU, which may not be able to take it yet.
    pub interrupt: bool,
}

impl Env<'_> {
    /// The step count at which `op` executes, the iterations already done included.
    #[inline(always)]
    pub fn count_at(&self, cpu: &Vcpu, op: &Op) -> InsnCount {
        InsnCount(cpu.count.0 + u64::from(op.idx) + self.extra_steps)
    }

    /// Notes that the board is being accessed: the engine asks for its signals afterwards.
    #[inline]
    pub fn touch_bus(&mut self) {
        self.leave = true;
        self.bus_touched = true;
    }
}

impl Vcpu {
    /// RIP of `op`.
    #[inline(always)]
    pub fn op_rip(&self, op: &Op) -> u64 {
        self.gpr[crate::vcpu::GPR_PAGE_RIP].wrapping_add(u64::from(op.off)) & self.mode.ip_mask
    }

    /// RIP behind `op`.
    #[inline(always)]
    pub fn next_rip(&self, op: &Op) -> u64 {
        self.gpr[crate::vcpu::GPR_PAGE_RIP].wrapping_add(u64::from(op.off) + u64::from(op.len)) & self.mode.ip_mask
    }
}
