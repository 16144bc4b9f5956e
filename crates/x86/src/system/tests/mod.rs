//! System instructions, one at a time on a hand-made vCPU with a recording bus.

mod control;
mod debug;
mod flags;
mod msrs;
mod ports;
mod save;
mod tlb;

use crate::bus::{Bus, Signals};
use crate::fault::{Exception, Flow, vector};
use crate::memory::phys::OwnedMemory;
use crate::model::CpuModel;
use crate::op::{AddressMode, Env, Op, Repeat};
use crate::segment::{ATTR_DB, ATTR_L, seg};
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::{GPR_ZERO, Vcpu, cr};
use iced_x86::{Decoder, DecoderOptions, OpKind, Register};

/// A board that answers ports with their number and remembers what was written.
#[derive(Default)]
struct Board {
    written: Vec<(u16, u8, u32)>,
    cr8: u8,
    apic_base: u64,
    offset: u64,
}

impl Bus for Board {
    fn port_read(&mut self, port: u16, _size: u8, _at: InsnCount) -> u32 {
        0xdead_0000 | u32::from(port)
    }
    fn port_write(&mut self, port: u16, size: u8, value: u32, _at: InsnCount) {
        self.written.push((port, size, value));
    }
    fn mmio_read(&mut self, _addr: GuestPhysAddr, _size: u8, _at: InsnCount) -> u64 {
        u64::MAX
    }
    fn mmio_write(&mut self, _addr: GuestPhysAddr, _size: u8, _value: u64, _at: InsnCount) {}
    fn msr_read(&mut self, msr: u32, _at: InsnCount) -> Option<u64> {
        (msr == 0x1b).then_some(self.apic_base)
    }
    fn msr_write(&mut self, msr: u32, value: u64, _at: InsnCount) -> Option<()> {
        (msr == 0x1b).then(|| self.apic_base = value)
    }
    fn cr8(&mut self) -> u8 {
        self.cr8
    }
    fn set_cr8(&mut self, priority: u8, _at: InsnCount) {
        self.cr8 = priority;
    }
    fn tsc(&mut self, at: InsnCount) -> u64 {
        at.0
    }
    fn set_tsc_offset(&mut self, offset: u64, _at: InsnCount) {
        self.offset = offset;
    }
    fn acknowledge_interrupt(&mut self, _at: InsnCount) -> Option<u8> {
        None
    }
    fn signals(&mut self) -> Signals {
        Signals { interrupt: false, attention: false, until: InsnCount(u64::MAX) }
    }
}

/// A vCPU with RAM and a board.
struct Rig {
    cpu: Vcpu,
    ram: OwnedMemory,
    board: Board,
}

/// How wide the code is.
#[derive(Clone, Copy, PartialEq)]
enum Code {
    Real,
    Protected32,
    Long64,
}

impl Rig {
    /// A vCPU in a mode, at privilege level `cpl`, with page tables for 64-bit mode that map
    /// the first 2 MiB to themselves.
    fn new(code: Code, cpl: u8) -> Self {
        let mut rig =
            Rig { cpu: Vcpu::new(CpuModel::V3, 0, 2), ram: OwnedMemory::new(4 << 20), board: Board::default() };
        let cpu = &mut rig.cpu;
        cpu.cr0 = cr::CR0_ET;
        if code != Code::Real {
            cpu.cr0 |= cr::CR0_PE;
            for segment in &mut cpu.seg[..6] {
                segment.base = 0;
                segment.limit = u32::MAX;
                segment.attr |= ATTR_DB | u32::from(cpl) << 5;
            }
        }
        if code == Code::Long64 {
            cpu.cr0 |= cr::CR0_PG;
            cpu.cr4 = cr::CR4_PAE;
            cpu.efer = cr::EFER_LME | cr::EFER_LMA;
            cpu.cr3 = 0x10_0000;
            cpu.seg[seg::CS].attr = cpu.seg[seg::CS].attr & !ATTR_DB | ATTR_L;
            for (at, entry) in [(0x10_0000, 0x10_1007u64), (0x10_1000, 0x10_2007), (0x10_2000, 0x87)] {
                assert!(rig.ram.memory.write(GuestPhysAddr(at), &entry.to_le_bytes()));
            }
        }
        cpu.update_mode();
        assert_eq!(cpu.mode.cpl, cpl);
        rig
    }

    /// Executes one instruction. A memory operand must be a base register alone.
    fn run(&mut self, bytes: &[u8]) -> Result<Flow, Exception> {
        let bits = match () {
            () if self.cpu.is_64bit() => 64,
            () if self.cpu.seg[seg::CS].has(ATTR_DB) => 32,
            () => 16,
        };
        let insn = Decoder::new(bits, bytes, DecoderOptions::NONE).decode();
        assert_eq!(insn.len(), bytes.len(), "one whole instruction");
        let slot = |register: Register| match register {
            Register::None => GPR_ZERO as u8,
            register => register.number() as u8,
        };
        let immediate = (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Immediate8);
        let mut op = Op {
            exec: |_, _, _| unreachable!("not selected"),
            imm: if immediate { u64::from(insn.immediate8()) } else { 0 },
            disp: insn.memory_displacement64() as i64,
            base: slot(insn.memory_base()),
            index: GPR_ZERO as u8,
            scale: 0,
            seg: seg::DS as u8,
            amode: match bits {
                64 => AddressMode::Flat64,
                32 => AddressMode::Segment32,
                _ => AddressMode::Segment16,
            },
            r1: 0,
            r2: 0,
            r3: 0,
            off: 0,
            len: bytes.len() as u8,
            idx: 0,
            osize: 0,
            rep: if insn.has_rep_prefix() { Repeat::WhileEqual } else { Repeat::None },
            extra: 0,
        };
        op.exec = super::select(&insn, &mut op).expect("a system instruction");
        let mut env = Env {
            mem: &mut self.ram.memory,
            bus: &mut self.board,
            leave: false,
            bus_touched: false,
            until: InsnCount(u64::MAX),
            extra_steps: 0,
            interrupt: false,
        };
        (op.exec)(&mut self.cpu, &mut env, &op).map_err(|_| self.cpu.fault)
    }

    /// The vector of the fault that one instruction must raise.
    fn fault(&mut self, bytes: &[u8]) -> u8 {
        self.run(bytes).expect_err("a fault").vector
    }

    /// MOV to CR `n` from RAX.
    fn mov_cr(&mut self, n: u8, value: u64) -> Result<Flow, Exception> {
        self.cpu.gpr[0] = value;
        self.run(&[0x0f, 0x22, 0xc0 | n << 3])
    }

    /// MOV to DR `n` from RAX.
    fn mov_dr(&mut self, n: u8, value: u64) -> Result<Flow, Exception> {
        self.cpu.gpr[0] = value;
        self.run(&[0x0f, 0x23, 0xc0 | n << 3])
    }

    fn poke(&mut self, at: u64, bytes: &[u8]) {
        assert!(self.ram.memory.write(GuestPhysAddr(at), bytes));
    }

    fn peek<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(self.ram.memory.read(GuestPhysAddr(at), &mut bytes));
        bytes
    }
}

/// True for #GP(0).
fn is_gp0<T: std::fmt::Debug>(result: Result<T, Exception>) -> bool {
    matches!(result, Err(Exception { vector: vector::GP, error_code: Some(0), .. }))
}
