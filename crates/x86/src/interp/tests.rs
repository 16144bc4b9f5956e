//! The loop around the instructions: what comes between them, wherever the run is cut.

use super::Interpreter;
use crate::bus::{Bus, Signals};
use crate::engine::{Engine, Exit};
use crate::fault::vector;
use crate::memory::phys::OwnedMemory;
use crate::model::CpuModel;
use crate::segment::{ATTR_DB, ATTR_L, Segment, seg};
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::{Vcpu, cr};

const CODE: u64 = 0x1000;
const HANDLER: u16 = 0x2000;
const INTERRUPT: u8 = 0x20;
const RCX: usize = 1;
const RDI: usize = 7;

/// A board that may have an interrupt that waits, and hears FERR#.
#[derive(Default)]
struct Board {
    interrupt: bool,
    /// The step counts at which FERR# was asserted.
    numeric_errors: Vec<u64>,
}

impl Bus for Board {
    fn port_read(&mut self, _port: u16, _size: u8, _at: InsnCount) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, _port: u16, _size: u8, _value: u32, _at: InsnCount) {}
    fn mmio_read(&mut self, _addr: GuestPhysAddr, _size: u8, _at: InsnCount) -> u64 {
        u64::MAX
    }
    fn mmio_write(&mut self, _addr: GuestPhysAddr, _size: u8, _value: u64, _at: InsnCount) {}
    fn msr_read(&mut self, _msr: u32, _at: InsnCount) -> Option<u64> {
        None
    }
    fn msr_write(&mut self, _msr: u32, _value: u64, _at: InsnCount) -> Option<()> {
        None
    }
    fn cr8(&mut self) -> u8 {
        0
    }
    fn set_cr8(&mut self, _priority: u8, _at: InsnCount) {}
    fn tsc(&mut self, at: InsnCount) -> u64 {
        at.0
    }
    fn set_tsc_offset(&mut self, _offset: u64, _at: InsnCount) {}
    fn acknowledge_interrupt(&mut self, _at: InsnCount) -> Option<u8> {
        std::mem::take(&mut self.interrupt).then_some(INTERRUPT)
    }
    fn numeric_error(&mut self, at: InsnCount) {
        self.numeric_errors.push(at.0);
    }
    fn signals(&mut self) -> Signals {
        Signals { interrupt: self.interrupt, attention: false, until: InsnCount(u64::MAX) }
    }
}

fn poke(ram: &mut OwnedMemory, at: u64, bytes: &[u8]) {
    assert!(ram.memory.write(GuestPhysAddr(at), bytes));
}

/// A vCPU in real mode at [`CODE`], interrupts off, every vector leading to a HLT at [`HANDLER`].
fn real_mode(code: &[u8]) -> (Vcpu, OwnedMemory) {
    let mut ram = OwnedMemory::new(4 << 20);
    for vector in 0..256 {
        poke(&mut ram, 4 * vector, &u32::from(HANDLER).to_le_bytes());
    }
    poke(&mut ram, u64::from(HANDLER), &[0xf4]);
    poke(&mut ram, CODE, code);
    let mut cpu = Vcpu::new(CpuModel::V2, 0, 1);
    cpu.seg[seg::CS] = Segment::real(0);
    cpu.rip = CODE;
    cpu.gpr[4] = 0x8000;
    cpu.update_mode();
    (cpu, ram)
}

#[test]
fn an_interrupt_held_back_by_sti_comes_behind_the_first_iteration() {
    // STI, REP STOSB, HLT, cut before each step of it and not at all.
    for cut in (0..6).map(InsnCount).chain([InsnCount(u64::MAX)]) {
        let (mut cpu, mut ram) = real_mode(&[0xfb, 0xf3, 0xaa, 0xf4]);
        cpu.gpr[RCX] = 10;
        cpu.gpr[RDI] = 0x3000;
        let (mut engine, mut board) = (Interpreter::new(), Board { interrupt: true, ..Board::default() });
        let mut exit = engine.run(&mut cpu, &mut ram.memory, &mut board, cut);
        if exit == Exit::Until {
            exit = engine.run(&mut cpu, &mut ram.memory, &mut board, InsnCount(u64::MAX));
        }
        assert_eq!((exit, cpu.rip), (Exit::Halted, u64::from(HANDLER) + 1), "cut before {cut:?}");
        assert_eq!(cpu.gpr[RCX], 9, "cut before {cut:?}");
    }
}

/// The vector and error code of the fault that the first instruction raises: whatever handles it faults too.
fn fault_of_first_step(cpu: &mut Vcpu, ram: &mut OwnedMemory) -> (u8, Option<u32>) {
    let mut board = Board::default();
    let exit = Interpreter::new().run(cpu, &mut ram.memory, &mut board, InsnCount(1));
    assert_eq!(exit, Exit::Until);
    (cpu.fault.vector, cpu.fault.error_code)
}

#[test]
fn an_instruction_across_the_end_of_the_lower_half_is_gp() {
    let (mut cpu, mut ram) = real_mode(&[]);
    // Every linear page is the first 2 MiB; a table of gates at 3000h leads each vector to HANDLER.
    for (at, entry) in [(0x10_0000, 0x10_1007u64), (0x10_0000 + 8 * 255, 0x10_1007), (0x10_0000 + 8 * 256, 0x10_1007)] {
        poke(&mut ram, at, &entry.to_le_bytes());
    }
    for i in 0..512 {
        poke(&mut ram, 0x10_1000 + 8 * i, &0x10_2007u64.to_le_bytes());
        poke(&mut ram, 0x10_2000 + 8 * i, &0x87u64.to_le_bytes());
    }
    for vector in 0..32 {
        let gate = u64::from(HANDLER) | 0x08 << 16 | 0x8e00 << 32;
        poke(&mut ram, 0x3000 + 16 * vector, &gate.to_le_bytes());
    }
    poke(&mut ram, 0x4008, &0x0020_9b00_0000_0000u64.to_le_bytes());
    cpu.idtr.base = 0x3000;
    cpu.gdtr.base = 0x4000;
    cpu.cr0 = cr::CR0_ET | cr::CR0_PE | cr::CR0_PG;
    cpu.cr3 = 0x10_0000;
    cpu.cr4 = cr::CR4_PAE;
    cpu.efer = cr::EFER_LME | cr::EFER_LMA;
    cpu.seg[seg::CS].attr = cpu.seg[seg::CS].attr & !ATTR_DB | ATTR_L;
    cpu.update_mode();
    // MOV EAX, imm32 with its first three bytes before the end.
    poke(&mut ram, 0x1f_fffd, &[0xb8, 0, 0]);
    cpu.rip = 0x7fff_ffff_fffd;
    assert_eq!(fault_of_first_step(&mut cpu, &mut ram), (vector::GP, Some(0)));
}

#[test]
fn an_instruction_across_the_limit_is_gp_before_its_second_page_is_looked_at() {
    let (mut cpu, mut ram) = real_mode(&[]);
    // Protected mode with paging of which only the first 4 KiB-page table's first 64 KiB exist.
    poke(&mut ram, 0x10_0000, &0x10_1007u32.to_le_bytes());
    for page in 0..16u32 {
        poke(&mut ram, 0x10_1000 + 4 * u64::from(page), &(page << 12 | 7).to_le_bytes());
    }
    for vector in 0..32 {
        let gate = u64::from(HANDLER) | 0x08 << 16 | 0x8e00 << 32;
        poke(&mut ram, 0x3000 + 8 * vector, &gate.to_le_bytes());
    }
    poke(&mut ram, 0x4008, &0x00cf_9b00_0000_ffffu64.to_le_bytes());
    cpu.idtr.base = 0x3000;
    cpu.gdtr.base = 0x4000;
    cpu.cr0 = cr::CR0_ET | cr::CR0_PE | cr::CR0_PG;
    cpu.cr3 = 0x10_0000;
    cpu.seg[seg::CS].limit = 0xffff;
    cpu.update_mode();
    // MOV AX, imm16 with its first byte at the limit.
    poke(&mut ram, 0xffff, &[0xb8]);
    cpu.rip = 0xffff;
    assert_eq!(fault_of_first_step(&mut cpu, &mut ram), (vector::GP, Some(0)));
}

/// FNINIT; FLDCW with division by zero unmasked; FLD1; FLDZ; FDIVP; then `waiting` and HLT.
fn dividing_by_zero(waiting: &[u8]) -> (Vcpu, OwnedMemory) {
    let before = [0xdb, 0xe3, 0xd9, 0x2e, 0x00, 0x30, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9];
    let (cpu, mut ram) = real_mode(&[&before, waiting, &[0xf4]].concat());
    poke(&mut ram, 0x3000, &0x37b_u16.to_le_bytes());
    (cpu, ram)
}

#[test]
fn without_ne_an_x87_exception_waits_for_the_board_step_by_step() {
    // FWAIT, FLD1, PADDB MM0, MM0.
    for waiting in [&[0x9b][..], &[0xd9, 0xe8], &[0x0f, 0xfc, 0xc0]] {
        let (mut cpu, mut ram) = dividing_by_zero(waiting);
        let (mut engine, mut board) = (Interpreter::new(), Board::default());
        cpu.cr4 |= cr::CR4_OSFXSR;
        for until in [7, 20, 1000] {
            assert_eq!(engine.run(&mut cpu, &mut ram.memory, &mut board, InsnCount(until)), Exit::Until);
            assert_eq!((cpu.count.0, cpu.rip), (until, CODE + 12), "{waiting:02x?}");
        }
        assert_eq!(board.numeric_errors, (5..1000).collect::<Vec<_>>());
        assert_ne!(cpu.x87.status & 0x80, 0);
        // IGNNE#: it goes on behind, to HLT. With NE set the same instruction is #MF.
        for (ne, end) in [(0, CODE + 13 + waiting.len() as u64), (cr::CR0_NE, u64::from(HANDLER) + 1)] {
            let (mut cpu, before) = (cpu.clone(), board.numeric_errors.len());
            cpu.ignore_numeric_error();
            cpu.cr0 |= ne;
            assert_eq!(engine.run(&mut cpu, &mut ram.memory, &mut board, InsnCount(2000)), Exit::Halted);
            assert_eq!((cpu.rip, board.numeric_errors.len()), (end, before), "{waiting:02x?}");
        }
    }
}

#[test]
fn an_interrupt_comes_while_an_x87_exception_waits_for_the_board() {
    let (mut cpu, mut ram) = dividing_by_zero(&[0x9b]);
    let (mut engine, mut board) = (Interpreter::new(), Board::default());
    assert_eq!(engine.run(&mut cpu, &mut ram.memory, &mut board, InsnCount(10)), Exit::Until);
    cpu.rflags_system |= crate::flags::IF;
    board.interrupt = true;
    assert_eq!(engine.run(&mut cpu, &mut ram.memory, &mut board, InsnCount(100)), Exit::Halted);
    let mut frame = [0; 2];
    assert!(ram.memory.read(GuestPhysAddr(0x8000 - 6), &mut frame));
    assert_eq!((cpu.rip, u64::from(u16::from_le_bytes(frame))), (u64::from(HANDLER) + 1, CODE + 12));
}
