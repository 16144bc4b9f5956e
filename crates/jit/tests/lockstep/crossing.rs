//! Instructions that cross pages, while the second page is written to, or becomes another one.

use crate::board::Board;
use crate::program::Guest;
use jit::Translator;
use x86::{Engine, InsnCount, Interpreter};

/// The end of a page; the next page is mapped a second time at `AGAIN`.
const BORDER: u64 = 0x1_1000;
const AGAIN: u32 = 0x11_1000;
/// A page that can be mapped in place of the second.
const OTHER: u64 = 0x1_2000;
/// The page-table entry of the second page.
const ENTRY: u32 = 0x4088;

/// A loop around an instruction that crosses; `change` comes behind it each 16th time, in the second page.
fn guest(crossing: &[u8], in_first: u64, change: &[u8]) -> Guest {
    let start = BORDER - in_first;
    // MOV ECX, 300; XOR EAX, EAX; JMP to the instruction
    let mut head = vec![0xb9, 0x2c, 1, 0, 0, 0x31, 0xc0, 0xe9];
    head.extend((start as u32 - 0x1_000c).to_le_bytes());
    // TEST CL, 15; JNE over the change; the change; DEC ECX; JNE to the start; JMP to itself
    let mut tail = vec![0xf6, 0xc1, 15, 0x75, change.len() as u8];
    tail.extend(change);
    tail.extend([0xff, 0xc9, 0x0f, 0x85]);
    let behind = start + (crossing.len() + tail.len() + 4) as u64;
    tail.extend((start as u32).wrapping_sub(behind as u32).to_le_bytes());
    tail.extend([0xeb, 0xfe]);
    let mut guest = Guest::new(1);
    guest.begin_with(&head);
    let code = [crossing, &tail].concat();
    guest.put(start, &code);
    guest.put(OTHER, &code[in_first as usize..]);
    // There the last byte of the instruction is another.
    guest.put(OTHER + crossing.len() as u64 - in_first - 1, &[0x55]);
    guest
}

/// Runs it on both engines, `steps` at a time. Gives the last EAX.
fn compare(what: &str, crossing: &[u8], in_first: u64, change: &[u8], steps: u64) -> u64 {
    let mut translator = Translator::eager(64).expect("a host that can translate");
    let (mut left, mut right) = (guest(crossing, in_first, change), guest(crossing, in_first, change));
    let mut interpreter = Interpreter::new();
    for stop in 1..=3000 / steps {
        let until = InsnCount(stop * steps);
        interpreter.run(&mut left.cpu, &mut left.ram.memory, &mut Board::default(), until);
        translator.run(&mut right.cpu, &mut right.ram.memory, &mut Board::default(), until);
        let (a, b) = (left.cpu.save(), right.cpu.save());
        assert!(a == b, "{what}, {in_first} bytes in the first page, until {until:?}:\n{a:#?}\n{b:#?}");
    }
    left.cpu.gpr[0]
}

#[test]
fn the_second_page_may_change_in_every_way() {
    // ADD EAX, imm32
    let crossing = [0x05, 1, 0, 0, 0x11];
    let entry = ENTRY.to_le_bytes();
    let again = (AGAIN + 0x800).to_le_bytes();
    let flip = [&[0x66, 0x81, 0x34, 0x25][..], &entry, &[0x00, 0x30]].concat();
    let invlpg = [0x0f, 0x01, 0x3c, 0x25, 0x00, 0x10, 0x01, 0x00];
    let reload = [0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda];
    for in_first in 1..5u64 {
        let last = (AGAIN + 4 - in_first as u32).to_le_bytes();
        let changes = [
            ("nothing changes", vec![0x90]),
            ("the byte changes", [&[0xfe, 0x04, 0x25][..], &last].concat()),
            ("another byte of its page changes", [&[0xfe, 0x04, 0x25][..], &again].concat()),
            ("another page, and INVLPG", [&flip[..], &invlpg].concat()),
            ("another page, and CR3 is loaded", [&flip[..], &reload].concat()),
            ("another page, and nobody told", flip.clone()),
        ];
        for (what, change) in changes {
            let sums = [1, 7, 300].map(|steps| compare(what, &crossing, in_first, &change, steps));
            assert_eq!(sums[0], sums[2], "{what}");
            let unchanged = (300 * 0x1100_0001u64) & 0xffff_ffff;
            let same = matches!(
                what,
                "nothing changes" | "another byte of its page changes" | "another page, and nobody told"
            );
            assert_eq!(sums[2] == unchanged, same, "{what}: {:#x}", sums[2]);
        }
    }
}
