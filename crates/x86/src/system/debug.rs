//! Debug registers and what they watch (SDM Vol. 3B, 18.2 and 18.3).
//!
//! Data and I/O breakpoints are traps: an access notes its hit in `Vcpu::debug_pending`, and
//! the engine delivers #DB behind the instruction. Instruction breakpoints are faults: the
//! engine asks for them before each instruction unless RFLAGS.RF is set.

use crate::fault::{Exception, Flow, Trap, vector};
use crate::op::{Env, Exec, Op};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction};

/// DR0 to DR3, DR6 and DR7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugRegisters {
    /// Linear addresses of the four breakpoints.
    pub address: [u64; 4],
    /// DR6: status.
    pub dr6: u64,
    /// DR7: control.
    pub dr7: u64,
}

/// DR6: the breakpoints that were met, B0 to B3.
pub const DR6_B: u64 = 0xf;
/// DR6: a debug register was accessed while DR7.GD was set.
pub const DR6_BD: u64 = 1 << 13;
/// DR6: single step.
pub const DR6_BS: u64 = 1 << 14;
/// DR6: switch to a task whose T flag is set.
pub const DR6_BT: u64 = 1 << 15;
/// DR6 bits of the traps that wait in `Vcpu::debug_pending`.
pub const DR6_TRAPS: u64 = DR6_B | DR6_BS | DR6_BT;
/// DR6 bits that are always one.
const DR6_FIXED: u64 = 0xffff_0ff0;
/// DR7: any access to a debug register faults.
pub const DR7_GD: u64 = 1 << 13;
/// DR7 bit that is always one.
const DR7_FIXED: u64 = 1 << 10;
/// DR7: L, G, LE, GE, GD and the R/W and LEN fields.
const DR7_WRITABLE: u64 = 0xffff_0000 | DR7_GD | 0x3ff;

/// The R/W field of a breakpoint.
const ON_EXECUTION: u64 = 0;
const ON_WRITE: u64 = 1;
const ON_PORT: u64 = 2;

/// One breakpoint of the four.
#[derive(Clone, Copy)]
struct Breakpoint {
    bit: u64,
    address: u64,
    kind: u64,
    bytes: u64,
}

impl Breakpoint {
    fn overlaps(&self, at: u64, bytes: u64) -> bool {
        let start = self.address & !(self.bytes - 1);
        // Wrapping distances: right also at the ends of the address space.
        at.wrapping_sub(start) < self.bytes || start.wrapping_sub(at) < bytes
    }
}

impl DebugRegisters {
    /// The registers after power-on and INIT.
    pub const fn power_on() -> Self {
        DebugRegisters { address: [0; 4], dr6: DR6_FIXED, dr7: DR7_FIXED }
    }

    /// The breakpoints that DR7 enables, locally or globally.
    fn enabled(&self) -> impl Iterator<Item = Breakpoint> {
        (0..4).filter(|i| self.dr7 >> (2 * i) & 3 != 0).map(|i| Breakpoint {
            bit: 1 << i,
            address: self.address[i],
            kind: self.dr7 >> (16 + 4 * i) & 3,
            bytes: [1, 2, 8, 4][(self.dr7 >> (18 + 4 * i) & 3) as usize],
        })
    }

    fn any_enabled(&self) -> bool {
        self.dr7 & 0xff != 0
    }

    /// Loads DR6; its fixed bits stay.
    pub fn set_dr6(&mut self, value: u64) {
        self.dr6 = value & (DR6_B | DR6_BD | DR6_BS | DR6_BT) | DR6_FIXED;
    }

    /// Loads DR7; its fixed bits stay. Call `Tlb::forbid_fast` afterwards.
    pub fn set_dr7(&mut self, value: u64) {
        self.dr7 = value & DR7_WRITABLE | DR7_FIXED;
    }
}

impl Vcpu {
    /// True if a data breakpoint lies in the page of `linear`, so that accesses to it must be seen.
    #[inline]
    pub fn watches_page(&self, linear: u64) -> bool {
        self.debug.any_enabled()
            && self.debug.enabled().any(|b| is_on_data(b.kind) && (b.address ^ linear) & !0xfff == 0)
    }

    /// Notes a data breakpoint that an access of `bytes` bytes hits, for delivery after the instruction.
    #[inline]
    pub fn watch(&mut self, linear: u64, bytes: u64, write: bool) {
        if !self.debug.any_enabled() {
            return;
        }
        for b in self.debug.enabled() {
            if is_on_data(b.kind) && (write || b.kind != ON_WRITE) && b.overlaps(linear, bytes) {
                self.debug_pending |= b.bit;
            }
        }
    }

    /// Notes an I/O breakpoint that an access to a port hits. They exist only with CR4.DE.
    pub(super) fn watch_port(&mut self, port: u16, bytes: u8) {
        if self.cr4 & cr::CR4_DE == 0 || !self.debug.any_enabled() {
            return;
        }
        for b in self.debug.enabled() {
            if b.kind == ON_PORT && b.overlaps(u64::from(port), u64::from(bytes)) {
                self.debug_pending |= b.bit;
            }
        }
    }

    /// True if some instruction has a breakpoint: [`Self::instruction_breakpoint`] must be asked.
    #[inline]
    pub fn has_instruction_breakpoints(&self) -> bool {
        self.debug.any_enabled() && self.debug.enabled().any(|b| b.kind == ON_EXECUTION)
    }

    /// The DR6 bits of the breakpoints on the instruction that starts at `linear`, if there are any.
    pub fn instruction_breakpoint(&self, linear: u64) -> Option<u64> {
        let linear = if self.is_64bit() { linear } else { linear & 0xffff_ffff };
        let hits = self.debug.enabled().filter(|b| b.kind == ON_EXECUTION && b.address == linear);
        match hits.fold(0, |bits, b| bits | b.bit) {
            0 => None,
            bits => Some(bits),
        }
    }

    /// The checks that all moves from and to debug registers share, and the register meant:
    /// DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE takes them away.
    fn debug_register(&mut self, number: u8) -> Result<u8, Trap> {
        let alias = matches!(number, 4 | 5);
        if number > 7 || alias && self.cr4 & cr::CR4_DE != 0 {
            return Err(self.ud());
        }
        self.require_cpl0()?;
        if self.debug.dr7 & DR7_GD != 0 {
            self.fault = Exception { vector: vector::DB, dr6: DR6_BD, ..Exception::default() };
            return Err(Trap(()));
        }
        Ok(if alias { number + 2 } else { number })
    }
}

/// True for breakpoints on data writes, and on data reads and writes.
fn is_on_data(kind: u64) -> bool {
    kind & ON_WRITE != 0
}

/// The code of MOV from and to debug registers: `r1` is the general register, `r2` the
/// debug register.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let wide = matches!(insn.code(), Code::Mov_r64_dr | Code::Mov_dr_r64);
    let (general, debug, exec): (_, _, Exec) = match insn.code() {
        Code::Mov_r32_dr | Code::Mov_r64_dr => (insn.op0_register(), insn.op1_register(), mov_from),
        Code::Mov_dr_r32 | Code::Mov_dr_r64 => (insn.op1_register(), insn.op0_register(), mov_to),
        _ => return None,
    };
    op.r1 = general.number() as u8;
    op.r2 = debug.number() as u8;
    op.osize = if wide { 8 } else { 4 };
    Some(exec)
}

fn mov_from(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = match cpu.debug_register(op.r2)? {
        6 => cpu.debug.dr6,
        7 => cpu.debug.dr7,
        n => cpu.debug.address[usize::from(n & 3)],
    };
    cpu.gpr[usize::from(op.r1 & 15)] = if op.osize == 8 { value } else { value & 0xffff_ffff };
    Ok(Flow::Next)
}

fn mov_to(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let number = cpu.debug_register(op.r2)?;
    let raw = cpu.gpr[usize::from(op.r1 & 15)];
    let value = if op.osize == 8 { raw } else { raw & 0xffff_ffff };
    if number >= 6 && value >> 32 != 0 {
        return Err(cpu.gp0());
    }
    match number {
        6 => cpu.debug.set_dr6(value),
        7 => cpu.debug.set_dr7(value),
        n => cpu.debug.address[usize::from(n & 3)] = value,
    }
    if number != 6 {
        cpu.tlb.forbid_fast();
    }
    Ok(Flow::Leave)
}
