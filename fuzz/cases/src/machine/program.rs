//! The guest of a run: flat 32-bit code that talks to devices, interrupt handlers that
//! acknowledge, and a start-up page for the other vCPUs.

use machine::{Machine, MachineConfig, MachineState};
use x86::save::{CpuState, SegmentState, TableState};

use super::RAM_BYTES;
use crate::devices;
use crate::script::Script;

const IDT: usize = 0x1000;
const GDT: usize = 0x2000;
const HANDLER: usize = 0x3000;
/// Page 4 is what a start-up IPI with vector 4 starts at.
const STARTUP: usize = 0x4000;
const CODE: usize = 0x1_0000;
const CODE_END: usize = 0x2_0000;
const STACK: usize = 0x9_0000;

const CODE_SELECTOR: u32 = 8;
const DATA_SELECTOR: u32 = 16;

/// The machine's state at the start of the program, and its RAM.
pub(crate) fn start(config: MachineConfig, script: &mut Script<'_>) -> (MachineState, Vec<u8>) {
    let machine = Machine::new(config).expect("a small machine");
    let mut state = machine.save();
    enter(&mut state.vcpus[0]);
    let mut ram = vec![0; RAM_BYTES as usize];
    put_tables(&mut ram);
    let startup = usize::from(script.u8() % 32);
    let startup = [&[0xfb][..], script.bytes(startup), &[0xf3, 0x90, 0xeb, 0xfc]].concat();
    ram[STARTUP..STARTUP + startup.len()].copy_from_slice(&startup);
    let mut code = Vec::new();
    while !script.is_over() && code.len() < CODE_END - CODE - 64 {
        instruction(&mut code, script);
    }
    code.extend([0xfb, 0xf4, 0xeb, 0xfc]); // STI, HLT, again
    ram[CODE..CODE + code.len()].copy_from_slice(&code);
    (state, ram)
}

/// Flat 32-bit protected mode.
fn enter(cpu: &mut CpuState) {
    let flat = |selector, attr| SegmentState { selector, base: 0, limit: u32::MAX, attr };
    cpu.cr0 = 0x11;
    cpu.segments[..6].fill(flat(DATA_SELECTOR, 0xc093));
    cpu.segments[1] = flat(CODE_SELECTOR, 0xc09b);
    cpu.gdtr = TableState { base: GDT as u64, limit: 23 };
    cpu.idtr = TableState { base: IDT as u64, limit: 0x7ff };
    cpu.rip = CODE as u64;
    cpu.gpr[4] = STACK as u64;
}

fn put_tables(ram: &mut [u8]) {
    for (i, descriptor) in [0, 0x00cf_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff].into_iter().enumerate() {
        ram[GDT + 8 * i..][..8].copy_from_slice(&descriptor.to_le_bytes());
    }
    for vector in 0..256 {
        // Faults skip the error code that some of them have; interrupts are acknowledged.
        let handler = if vector < 32 { HANDLER } else { HANDLER + 0x100 } as u64;
        let gate = handler | u64::from(CODE_SELECTOR) << 16 | 0x8e << 40;
        ram[IDT + 8 * vector..][..8].copy_from_slice(&gate.to_le_bytes());
    }
    // A fault goes on at the end of the code: CLI; HLT cannot be woken, so STI first.
    let fault = [0xbc, 0, 0, 9, 0, 0xfb, 0xf4, 0xeb, 0xfd];
    ram[HANDLER..HANDLER + fault.len()].copy_from_slice(&fault);
    let mut acknowledge = vec![0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x31, 0xc0];
    acknowledge.extend([0xa3, 0xb0, 0x00, 0xe0, 0xfe, 0x58, 0xcf]);
    ram[HANDLER + 0x100..HANDLER + 0x100 + acknowledge.len()].copy_from_slice(&acknowledge);
}

/// Adds one thing to do.
fn instruction(code: &mut Vec<u8>, script: &mut Script<'_>) {
    let load = |code: &mut Vec<u8>, register: u8, value: u32| {
        code.push(0xb8 + register);
        code.extend(value.to_le_bytes());
    };
    let (eax, ecx, edx) = (0, 1, 2);
    match script.u8() % 16 {
        0..4 => {
            load(code, edx, devices::port(script).into());
            load(code, eax, script.value() as u32);
            code.extend(script.pick(&[&[0xee][..], &[0xee], &[0x66, 0xef], &[0xef]]));
        }
        4 | 5 => {
            load(code, edx, devices::port(script).into());
            code.extend(script.pick(&[&[0xec][..], &[0x66, 0xed], &[0xed]]));
        }
        6..9 => {
            load(code, eax, script.value() as u32);
            code.push(0xa3);
            code.extend((devices::register(script).0 as u32).to_le_bytes());
        }
        9 => {
            code.push(0xa1);
            code.extend((devices::register(script).0 as u32).to_le_bytes());
        }
        10 => {
            load(code, ecx, script.pick(&[0x1b, 0x6e0, 0x10, 0x3b, 0x830, 0x832, 0x838, 0x80b]));
            load(code, eax, script.value() as u32);
            load(code, edx, u32::from(script.u8() % 4));
            code.extend(script.pick(&[[0x0f, 0x30], [0x0f, 0x32]]));
        }
        11 => {
            // Starts or signals other vCPUs.
            load(code, eax, script.pick(&[0x000c_4500, 0x000c_4604, 0x000c_0040, 0x0008_0050, 0x000c_0400]));
            code.extend([0xa3, 0x00, 0x03, 0xe0, 0xfe]);
        }
        12 => {
            load(code, ecx, 1 + u32::from(script.u8()));
            code.extend([0xe2, 0xfe]); // LOOP to itself
        }
        13 => code.extend(script.pick(&[&[0xfb, 0xf4][..], &[0xfb], &[0xfa], &[0xf3, 0x90], &[0x0f, 0x31]])),
        14 => {
            load(code, eax, 0x1f0); // local APIC on, spurious vector
            code.extend([0xa3, 0xf0, 0x00, 0xe0, 0xfe]);
        }
        _ => {
            let len = script.below(16);
            code.extend(script.bytes(len));
        }
    }
}
