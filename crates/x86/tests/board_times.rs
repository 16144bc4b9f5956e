//! The board is told at which step each access happens, wherever a run was cut before.

use x86::bus::{Bus, Signals};
use x86::memory::phys::OwnedMemory;
use x86::segment::seg;
use x86::{CpuModel, Engine, GuestPhysAddr, InsnCount, Interpreter, Vcpu};

/// Notes when memory that is not RAM was read.
#[derive(Default)]
struct Clock {
    reads: Vec<u64>,
}

impl Bus for Clock {
    fn port_read(&mut self, _: u16, _: u8, _: InsnCount) -> u32 {
        0
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32, _: InsnCount) {}
    fn mmio_read(&mut self, _: GuestPhysAddr, _: u8, at: InsnCount) -> u64 {
        self.reads.push(at.0);
        0
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: u8, _: u64, _: InsnCount) {}
    fn msr_read(&mut self, _: u32, _: InsnCount) -> Option<u64> {
        None
    }
    fn msr_write(&mut self, _: u32, _: u64, _: InsnCount) -> Option<()> {
        None
    }
    fn cr8(&mut self) -> u8 {
        0
    }
    fn set_cr8(&mut self, _: u8, _: InsnCount) {}
    fn tsc(&mut self, _: InsnCount) -> u64 {
        0
    }
    fn set_tsc_offset(&mut self, _: u64, _: InsnCount) {}
    fn acknowledge_interrupt(&mut self, _: InsnCount) -> Option<u8> {
        None
    }
    fn signals(&mut self) -> Signals {
        Signals { interrupt: false, attention: false, until: InsnCount(u64::MAX) }
    }
}

/// Runs `code` for ten steps in pieces of `piece` steps, with the stack and the data at the end of
/// RAM, and returns the steps at which what lies behind RAM was read.
fn reads(code: &[u8], piece: u64) -> Vec<u64> {
    const RAM_BYTES: u64 = 0x1_0000;
    let mut ram = OwnedMemory::new(RAM_BYTES);
    assert!(ram.memory.write(GuestPhysAddr(0x1000), code));
    let mut cpu = Vcpu::new(CpuModel::V2, 0, 1);
    for register in &mut cpu.seg[..6] {
        (register.selector, register.base) = (0, 0);
    }
    cpu.seg[seg::SS].base = RAM_BYTES;
    cpu.seg[seg::DS].base = RAM_BYTES - 3;
    cpu.rip = 0x1000;
    (cpu.gpr[1], cpu.gpr[6], cpu.gpr[7]) = (6, 0, 0x2000);
    cpu.update_mode();
    let mut clock = Clock::default();
    let mut interpreter = Interpreter::new();
    while cpu.count.0 < 10 {
        let until = InsnCount((cpu.count.0 + piece).min(10));
        interpreter.run(&mut cpu, &mut ram.memory, &mut clock, until);
    }
    clock.reads
}

#[test]
fn each_iteration_of_a_string_instruction_is_at_its_own_step() {
    // Three bytes of RAM, then three behind it.
    let rep_movsb = [0xf3, 0xa4];
    for piece in [1, 2, 10] {
        assert_eq!(reads(&rep_movsb, piece)[..3], [3, 4, 5], "in pieces of {piece}");
    }
}

#[test]
fn a_system_instruction_in_the_middle_of_other_code_is_at_its_own_step() {
    // NOP, NOP, IRET: three words of the stack, which lies behind RAM.
    for piece in [1, 2, 10] {
        assert_eq!(reads(&[0x90, 0x90, 0xcf], piece)[..3], [2, 2, 2], "in pieces of {piece}");
    }
}
