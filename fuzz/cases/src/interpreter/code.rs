//! The code of a run: raw bytes of the script, with openings of rarely met instructions between them.

use x86::Vcpu;
use x86::vcpu::CodeSize;

use super::world::{CODE, RAM_BYTES};
use crate::script::Script;

/// Openings of instructions that random bytes seldom make; what follows them is random.
const OPENINGS: [&[u8]; 64] = [
    &[0x0f, 0x01],       // LGDT and its group
    &[0x0f, 0x00],       // LLDT, LTR, VERR
    &[0x0f, 0x22, 0xc0], // MOV CR0
    &[0x0f, 0x22, 0xd8], // MOV CR3
    &[0x0f, 0x22, 0xe0], // MOV CR4
    &[0x44, 0x0f, 0x22, 0xc0],
    &[0x0f, 0x20],
    &[0x0f, 0x23], // MOV DR
    &[0x0f, 0x21],
    &[0x0f, 0x30], // WRMSR
    &[0x0f, 0x32],
    &[0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32], // EFER
    &[0x0f, 0x05],                               // SYSCALL
    &[0x0f, 0x07],
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x34], // SYSENTER
    &[0x0f, 0x35],
    &[0xcf], // IRET
    &[0x48, 0xcf],
    &[0x66, 0xcf],
    &[0xcd],                                     // INT
    &[0xcc],                                     // INT3
    &[0xf1],                                     // INT1
    &[0xce],                                     // INTO
    &[0xea, 0x00, 0x00, 0x01, 0x00],             // JMP far
    &[0x9a, 0x00, 0x00, 0x01, 0x00, 0x78, 0x00], // CALL far, gate
    &[0x9a, 0x00, 0x00, 0x01, 0x00, 0x58, 0x00], // CALL far, task
    &[0x9a, 0x00, 0x00, 0x01, 0x00, 0x88, 0x00], // CALL far, task gate
    &[0xff],                                     // indirect
    &[0xcb],                                     // RETF
    &[0xca],
    &[0x8e],       // MOV to segment
    &[0x8e, 0xd0], // MOV SS
    &[0x17],       // POP SS
    &[0x0f, 0xb2], // LSS
    &[0x0f, 0xa1], // POP FS
    &[0x9d],       // POPF
    &[0x9c],
    &[0xfa],
    &[0xfb],
    &[0xf4],
    &[0xf3, 0x90],       // PAUSE
    &[0x0f, 0xae],       // FXSAVE and its group
    &[0x0f, 0xc7],       // CMPXCHG8B, XSAVEC
    &[0x0f, 0x01, 0xd1], // XSETBV
    &[0x0f, 0x01, 0xf8], // SWAPGS
    &[0x0f, 0x01, 0xc8], // MONITOR
    &[0x0f, 0x01, 0xc9],
    &[0x66, 0x0f, 0x38, 0x82], // INVPCID
    &[0xf3, 0xa4],             // REP MOVS
    &[0xf3, 0xab],
    &[0xf2, 0xae],
    &[0xf3, 0xa6],
    &[0xf3, 0x6c], // REP INS
    &[0xf3, 0x6e],
    &[0xc8], // ENTER
    &[0x0f, 0xc7, 0x0f],
    &[0xf0, 0x0f, 0xb1],
    &[0xdb], // x87
    &[0xd9],
    &[0xdd],
    &[0x0f, 0x38], // the vector maps
    &[0xc5],
    &[0xc4, 0xe2],
];

/// Puts code where `cpu` starts, filled up with jumps back to it, in places near page ends.
pub(super) fn put(ram: &mut [u8], script: &mut Script<'_>, cpu: &Vcpu) {
    // So that instructions cross pages, with the mapping of the second changed by the script.
    let start = CODE as usize + if script.one_in(4) { 0xfe0 + usize::from(script.u8() % 32) } else { 0 };
    let openings = script.flag();
    let mut at = start;
    // Two bytes of NOP and jump lead from the entry to the code.
    ram[CODE as usize] = 0xe9;
    let entry = match cpu.mode.code {
        CodeSize::B16 => 3,
        CodeSize::B32 | CodeSize::B64 => 5,
    };
    let distance = (start - CODE as usize) as i32 - entry;
    if start == CODE as usize {
        ram[CODE as usize] = 0;
    } else {
        ram[CODE as usize + 1..][..4].copy_from_slice(&distance.to_le_bytes());
    }
    while !script.is_over() && at + 32 < RAM_BYTES {
        let opening: &[u8] = if openings && !script.one_in(3) { script.pick(&OPENINGS) } else { &[] };
        let free = if openings { usize::from(script.u8() % 16) } else { usize::MAX };
        let bytes = script.bytes(free.min(RAM_BYTES - 32 - at));
        for part in [opening, bytes] {
            ram[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }
    // Back to the start.
    ram[at] = if cpu.mode.code == CodeSize::B16 { 0x66 } else { 0x90 };
    ram[at + 1] = 0xe9;
    let back = start as i64 - (at as i64 + 6);
    ram[at + 2..at + 6].copy_from_slice(&(back as i32).to_le_bytes());
}
