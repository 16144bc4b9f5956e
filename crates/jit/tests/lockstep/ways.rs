//! Blocks that follow conditional jumps: jumps that later go the other way, and stores into what lies at their targets, from
//! other blocks and from the block itself.

use crate::board::Board;
use crate::compare;
use crate::program::{Guest, Random};
use jit::{Policy, Translator};
use x86::{Engine, InsnCount, Interpreter};

/// Code, as offsets from where the guest begins and what lies there.
type Pieces = &'static [(usize, &'static [u8])];

/// The parity of both offsets of the first jump of each is odd, so that an eager translator follows it.
#[rustfmt::skip]
const CODE: &[(&str, Pieces)] = &[
    ("another block stores into what lies at the target of a loop's jump", &[
        (0x00, &[0x31, 0xc9, 0xff, 0xc1, 0x83, 0xf9, 0x40]), // XOR ECX, ECX; 02: INC ECX; CMP ECX, 64
        (0x07, &[0x72, 0x78, 0xeb, 0xfe]), // JB 81; JMP to itself
        (0x81, &[0x83, 0xc0, 0x01, 0x83, 0xf9, 0x20]), // ADD EAX, 1; CMP ECX, 32
        (0x87, &[0x74, 0x78, 0xe9, 0x74, 0xff, 0xff, 0xff]), // JE 101; JMP 02
        (0x101, &[0xc6, 0x04, 0x25, 0x83, 0x00, 0x01, 0x00, 0x05]), // MOV BYTE [10083], 5
        (0x109, &[0xe9, 0xf4, 0xfe, 0xff, 0xff]), // JMP 02
    ]),
    ("a block stores into what lies at the target of its own jump", &[
        (0x00, &[0xff, 0xc1, 0x88, 0x0c, 0x25, 0x82, 0x00, 0x01, 0x00]), // INC ECX; MOV [10082], CL
        (0x09, &[0x80, 0xf9, 0x40, 0x72, 0x72, 0xeb, 0xfe]), // CMP CL, 64; JB 80; JMP to itself
        (0x80, &[0x83, 0xc0, 0x00]), // ADD EAX, what was stored
        (0x83, &[0xe9, 0x78, 0xff, 0xff, 0xff]), // JMP 00
    ]),
    ("a jump that goes one way for long and then the other", &[
        (0x00, &[0xff, 0xc1, 0xf6, 0xc1, 0x20, 0x75, 0x79]), // INC ECX; TEST CL, 32; JNE 80
        (0x07, &[0xff, 0xc0, 0x89, 0x44, 0x24, 0xf0, 0xeb, 0xf1]), // INC EAX; MOV [RSP-16], EAX; JMP 00
        (0x80, &[0x01, 0xc8, 0x89, 0x44, 0x24, 0xf8, 0xe9, 0x75, 0xff, 0xff, 0xff]), // ADD EAX, ECX; MOV [RSP-8], EAX; JMP 00
    ]),
];

fn translators() -> [Translator; 2] {
    let cold = Policy { cold_runs: 2, ..Policy::default() };
    [Translator::eager(64), Translator::with_policy(cold)].map(|it| it.expect("a host that can translate"))
}

fn guest(pieces: Pieces) -> Guest {
    let mut guest = Guest::new(1);
    for (offset, bytes) in pieces {
        guest.put(0x1_0000 + *offset as u64, bytes);
    }
    (guest.cpu.gpr[0], guest.cpu.gpr[1]) = (0, 0);
    guest
}

#[test]
fn stores_and_changes_of_way_do_the_same() {
    for (what, pieces) in CODE {
        for (kind, translator) in translators().iter_mut().enumerate() {
            let (mut left, mut right) = (guest(pieces), guest(pieces));
            let mut random = Random(7);
            let (mut until, mut interpreter) = (0, Interpreter::new());
            while until < 1000 {
                // Far at first: where a bound cuts a block, the interpreter decodes it as well, and notes all of it.
                until += if until == 0 { 600 } else { [1, 5, 40][random.below(3)] + random.below(9) as u64 };
                interpreter.run(&mut left.cpu, &mut left.ram.memory, &mut Board::default(), InsnCount(until));
                translator.run(&mut right.cpu, &mut right.ram.memory, &mut Board::default(), InsnCount(until));
                assert!(left.cpu.save() == right.cpu.save(), "{what}, translator {kind}, at {until}");
            }
            assert!(left.cpu.gpr[0] > 100, "{what}: the code ran");
        }
    }
}

#[test]
fn random_code_does_the_same_along_the_ways_that_were_seen() {
    let [_, mut translator] = translators();
    let steps: u64 = (2000..2150).map(|seed| compare(seed, &mut translator)).sum();
    assert!(steps > 250_000, "{steps} steps: the guests ended early");
}
