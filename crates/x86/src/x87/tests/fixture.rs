//! A vCPU without paging in any mode, and a way to execute one instruction on it.

use crate::fault::{Exception, Flow};
use crate::memory::phys::OwnedMemory;
use crate::model::CpuModel;
use crate::no_board::NoBoard;
use crate::op::{AddressMode, Env, Op, Repeat};
use crate::segment::{ATTR_CODE, ATTR_DB, ATTR_L, ATTR_P, ATTR_RW, ATTR_S, Segment, seg};
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::{GPR_ZERO, Vcpu, cr};
use iced_x86::{Decoder, DecoderOptions, Register};

/// Where RSI points.
pub const OPERAND: u64 = 0x2000;
/// End of memory: what lies behind is not RAM.
const MEMORY_BYTES: u64 = 0x8000;

/// A vCPU and its memory.
pub struct Fixture {
    pub cpu: Vcpu,
    pub ram: OwnedMemory,
    bits: u32,
}

impl Fixture {
    /// A vCPU in 64-bit mode.
    pub fn new() -> Fixture {
        Self::with_bits(64)
    }

    /// A vCPU in 64-bit mode, in 32-bit protected mode, or, for 16, in real mode.
    pub fn with_bits(bits: u32) -> Fixture {
        let mut cpu = Vcpu::new(CpuModel::V3, 0, 1);
        cpu.cr0 = cr::CR0_NE | cr::CR0_ET | if bits == 16 { 0 } else { cr::CR0_PE };
        cpu.cr4 = cr::CR4_OSFXSR | cr::CR4_OSXSAVE;
        cpu.xcr0 = 7;
        if bits != 16 {
            let attr = ATTR_P | ATTR_S | ATTR_RW | ATTR_DB;
            cpu.seg = [Segment { selector: 0x10, base: 0, limit: u32::MAX, attr }; 8];
            cpu.seg[seg::CS].selector = 8;
            cpu.seg[seg::CS].attr |= ATTR_CODE;
        }
        if bits == 64 {
            cpu.efer = cr::EFER_LMA | cr::EFER_LME;
            cpu.seg[seg::CS].attr = ATTR_P | ATTR_S | ATTR_RW | ATTR_CODE | ATTR_L;
        }
        cpu.gpr[6] = OPERAND;
        cpu.gpr[crate::vcpu::GPR_PAGE_RIP] = 0x1000;
        cpu.x87.initialise();
        cpu.update_mode();
        Fixture { cpu, ram: OwnedMemory::new(MEMORY_BYTES), bits }
    }

    /// Executes one instruction. A memory operand is `[rsi]`.
    pub fn execute(&mut self, bytes: &[u8]) -> Result<Flow, Exception> {
        let op = operation(bytes, self.bits);
        self.run(&op)
    }

    /// Executes a decoded instruction.
    pub fn run(&mut self, op: &Op) -> Result<Flow, Exception> {
        let mut bus = NoBoard;
        let mut env = Env {
            mem: &mut self.ram.memory,
            bus: &mut bus,
            leave: false,
            extra_steps: 0,
            interrupt: false,
            bus_touched: false,
            until: InsnCount(u64::MAX),
        };
        (op.exec)(&mut self.cpu, &mut env, op).map_err(|_| self.cpu.fault)
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        assert!(self.ram.memory.write(GuestPhysAddr(at), data));
    }

    pub fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut out = [0; N];
        assert!(self.ram.memory.read(GuestPhysAddr(at), &mut out));
        out
    }
}

/// Decodes an instruction whose memory operand, if any, is based on RSI.
pub fn operation(bytes: &[u8], bits: u32) -> Op {
    let mut decoder = Decoder::with_ip(bits, bytes, 0, DecoderOptions::NONE);
    let insn = decoder.decode();
    assert!(!insn.is_invalid() && insn.len() == bytes.len(), "{bytes:02x?} is no instruction");
    let base = if insn.memory_base() == Register::None { GPR_ZERO as u8 } else { 6 };
    let amode = match bits {
        64 => AddressMode::Flat64,
        32 => AddressMode::Segment32,
        _ => AddressMode::Segment16,
    };
    let mut op = Op {
        exec: |_, _, _| unreachable!("select sets it"),
        imm: 0,
        disp: insn.memory_displacement64() as i64,
        base,
        index: GPR_ZERO as u8,
        scale: 0,
        seg: seg::DS as u8,
        amode,
        r1: 0,
        r2: 0,
        r3: 0,
        off: 0x10,
        len: bytes.len() as u8,
        idx: 0,
        osize: 4,
        rep: Repeat::None,
        extra: 0,
    };
    let exec = crate::x87::select(&insn, &mut op);
    op.exec = exec.unwrap_or_else(|| panic!("{:?} is not selected", insn.code()));
    op
}
