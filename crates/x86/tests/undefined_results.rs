//! Holds the results that the architecture leaves undefined to the one definition that
//! `docs/undefined-results.md` gives them: the campaign against the host cannot, since hosts differ.

use x86::bus::{Bus, Signals};
use x86::flags::{AF, ARITHMETIC, CF, OF, PF, SF, ZF};
use x86::memory::phys::OwnedMemory;
use x86::segment::{Segment, seg};
use x86::vcpu::cr;
use x86::{CpuModel, Engine, GuestPhysAddr, InsnCount, Interpreter, Vcpu};

/// Registers before and after: EAX, ECX, EDX.
type Registers = [u32; 3];

/// An instruction of 32-bit code, what it starts from (flags and registers) and what it must leave.
struct Case {
    what: &'static str,
    code: &'static [u8],
    flags: u64,
    registers: Registers,
    flags_after: u64,
    registers_after: Registers,
}

const ALL: u64 = ARITHMETIC;

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { what: "and eax, ecx: AF clear", code: &[0x21, 0xc8], flags: ALL, registers: [0xf0, 0x3c, 0], flags_after: PF, registers_after: [0x30, 0x3c, 0] },
    Case { what: "shl eax, 4: OF by sign and CF, AF clear", code: &[0xc1, 0xe0, 4], flags: ALL, registers: [0x0800_0001, 0, 0], flags_after: OF | SF, registers_after: [0x8000_0010, 0, 0] },
    Case { what: "shl al, 12: CF 0 beyond the operand", code: &[0xc0, 0xe0, 12], flags: ALL, registers: [0xff, 0, 0], flags_after: ZF | PF, registers_after: [0, 0, 0] },
    Case { what: "shr eax, 2: OF by the two highest bits", code: &[0xc1, 0xe8, 2], flags: ALL, registers: [0xffff_ffff, 0, 0], flags_after: CF | PF, registers_after: [0x3fff_ffff, 0, 0] },
    Case { what: "sar eax, 2: OF clear", code: &[0xc1, 0xf8, 2], flags: ALL, registers: [0x8000_0003, 0, 0], flags_after: CF | SF | PF, registers_after: [0xe000_0000, 0, 0] },
    Case { what: "rol eax, 4: OF by sign and CF", code: &[0xc1, 0xc0, 4], flags: 0, registers: [0x1800_0000, 0, 0], flags_after: CF, registers_after: [0x8000_0001, 0, 0] },
    Case { what: "ror eax, 4: OF by the two highest bits", code: &[0xc1, 0xc8, 4], flags: 0, registers: [0x8, 0, 0], flags_after: CF | OF, registers_after: [0x8000_0000, 0, 0] },
    Case { what: "shld eax, ecx, 4: OF as the sign changed, AF clear", code: &[0x0f, 0xa4, 0xc8, 4], flags: ALL, registers: [0x0800_0000, 0xf000_0000, 0], flags_after: OF | SF | PF, registers_after: [0x8000_000f, 0xf000_0000, 0] },
    Case { what: "shld ax, cx, 20: a ring of 16-bit operands", code: &[0x66, 0x0f, 0xa4, 0xc8, 20], flags: 0, registers: [0x1234, 0xabcd, 0], flags_after: OF | SF | PF, registers_after: [0xbcd1, 0xabcd, 0] },
    Case { what: "mul ecx: SF, ZF, PF by the low half", code: &[0xf7, 0xe1], flags: ALL, registers: [0x8000_0000, 3, 0], flags_after: CF | OF | SF | PF, registers_after: [0x8000_0000, 3, 1] },
    Case { what: "div ecx: flags unchanged", code: &[0xf7, 0xf1], flags: CF | AF | SF, registers: [100, 7, 0], flags_after: CF | AF | SF, registers_after: [14, 7, 2] },
    Case { what: "bsf eax, ecx: other flags clear", code: &[0x0f, 0xbc, 0xc1], flags: ALL, registers: [9, 0x10, 0], flags_after: 0, registers_after: [4, 0x10, 0] },
    Case { what: "bsr eax, ecx of zero: the destination stays", code: &[0x0f, 0xbd, 0xc1], flags: 0, registers: [9, 0, 0], flags_after: ZF, registers_after: [9, 0, 0] },
    Case { what: "bts eax, 3: flags but CF unchanged", code: &[0x0f, 0xba, 0xe8, 3], flags: ALL, registers: [0, 0, 0], flags_after: ALL & !CF, registers_after: [8, 0, 0] },
    Case { what: "lzcnt eax, ecx: other flags clear", code: &[0xf3, 0x0f, 0xbd, 0xc1], flags: ALL, registers: [0, 1, 0], flags_after: 0, registers_after: [31, 1, 0] },
    Case { what: "daa: OF clear", code: &[0x27], flags: OF, registers: [0x79, 0, 0], flags_after: 0, registers_after: [0x79, 0, 0] },
    Case { what: "aaa: SF, ZF, PF by AL, OF clear", code: &[0x37], flags: OF | SF, registers: [0x0a, 0, 0], flags_after: CF | AF | ZF | PF, registers_after: [0x100, 0, 0] },
    Case { what: "aam: CF, OF, AF clear", code: &[0xd4, 10], flags: ALL, registers: [57, 0, 0], flags_after: 0, registers_after: [0x507, 0, 0] },
    Case { what: "bswap ax: zero", code: &[0x66, 0x0f, 0xc8], flags: 0, registers: [0x1234_5678, 0, 0], flags_after: 0, registers_after: [0x1234_0000, 0, 0] },
];

/// A board with nothing on it.
struct Nothing;

impl Bus for Nothing {
    fn port_read(&mut self, _: u16, _: u8, _: InsnCount) -> u32 {
        unreachable!("no case reads a port")
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32, _: InsnCount) {}
    fn mmio_read(&mut self, _: GuestPhysAddr, _: u8, _: InsnCount) -> u64 {
        unreachable!("no case leaves RAM")
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

/// A vCPU in flat 32-bit protected mode about to run the code at 1000h.
fn vcpu(case: &Case) -> Vcpu {
    let mut cpu = Vcpu::new(CpuModel::V3, 0, 1);
    let flat = |attr| Segment { selector: 8, base: 0, limit: u32::MAX, attr };
    cpu.cr0 = cr::CR0_PE | cr::CR0_ET;
    cpu.seg[seg::CS] = flat(0xc09b);
    for register in [seg::DS, seg::ES, seg::SS] {
        cpu.seg[register] = flat(0xc093);
    }
    cpu.rip = 0x1000;
    for (register, value) in case.registers.into_iter().enumerate() {
        cpu.gpr[register] = value.into();
    }
    cpu.set_rflags(case.flags);
    cpu
}

#[test]
fn undefined_results_are_what_the_table_says() {
    let mut wrong = Vec::new();
    for case in CASES {
        let mut ram = OwnedMemory::new(1 << 20);
        assert!(ram.memory.write(GuestPhysAddr(0x1000), case.code));
        let mut cpu = vcpu(case);
        Interpreter::new().run(&mut cpu, &mut ram.memory, &mut Nothing, InsnCount(1));
        let registers = [0, 1, 2].map(|register| cpu.gpr[register] as u32);
        let left = (cpu.rip, registers, cpu.rflags() & ARITHMETIC);
        let wanted = (0x1000 + case.code.len() as u64, case.registers_after, case.flags_after);
        if left != wanted {
            wrong.push(format!("{}: left {left:x?}, the table says {wanted:x?}", case.what));
        }
    }
    assert!(wrong.is_empty(), "(RIP, EAX ECX EDX, flags):\n{}", wrong.join("\n"));
}
