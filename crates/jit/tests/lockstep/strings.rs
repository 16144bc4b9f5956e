//! Repeated string instructions: overlaps, ends of pages, both directions, no and many iterations, faults and bounds in
//! the middle, code and devices as source and target.

use crate::program::{Guest, Random};
use crate::{Runs, compare_seeds, side_by_side};
use jit::Translator;

const CODE: u64 = 0x1_0000;
/// The handler of faults goes on with the piece that the number of faults names.
const PIECES: u64 = 256;
const PIECE_BYTES: u64 = 64;
/// Six pages, the fourth of them read-only, then a device; nothing is mapped before the first and behind the device.
const DATA: u64 = 0x2_0000;

/// An address that an instruction may be given.
fn address(random: &mut Random) -> u64 {
    match random.below(10) {
        // About the end of a page.
        0..=3 => DATA + 4096 * random.below(8) as u64 + random.below(120) as u64 - 60,
        // The beginning of one.
        4 => DATA + 4096 * random.below(3) as u64,
        // Code, which is mapped twice.
        5 => CODE + [0, 0x10_0000][random.below(2)] + random.below(0x4000) as u64,
        6 => 0x7fff_ffff_ffc0 + random.below(80) as u64,
        _ => DATA + random.below(0x5000) as u64,
    }
}

fn count(random: &mut Random) -> u64 {
    match random.below(12) {
        0 => 0,
        1 => random.next(),
        2 => 1 << 32 | random.below(3) as u64,
        3..=4 => [512, 4096, 1024, 2048][random.below(4)] + random.below(3) as u64 - 1,
        5..=6 => random.below(700) as u64,
        _ => random.below(40) as u64,
    }
}

/// MOV of a constant to a register below R8.
fn set(code: &mut Vec<u8>, register: u8, value: u64) {
    code.extend([0x48, 0xb8 | register]);
    code.extend(value.to_le_bytes());
}

/// One string instruction with its registers set, flags before it, and something that looks at them behind it.
fn piece(random: &mut Random) -> Vec<u8> {
    let mut code = Vec::new();
    let source = address(random);
    let target = match random.below(3) {
        0 => source.wrapping_add(random.below(26) as u64).wrapping_sub(13),
        _ => address(random),
    };
    // The target can be a second view of the source's page.
    let again = if source < DATA && random.below(2) == 0 { 0x10_0000 } else { 0 };
    set(&mut code, 6, source);
    set(&mut code, 7, target ^ again);
    set(&mut code, 1, count(random));
    // CMP ESI, EDI; CLD or STD
    code.extend([0x39, 0xfe, 0xfc | u8::from(random.below(6) == 0)]);
    match random.below(20) {
        0 => code.push(0x67),
        1 => code.push(0x65),
        _ => {}
    }
    let opcode = [0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xac, 0xae]
        [random.below(30).min(6) % 4 + 3 * usize::from(random.below(12) == 0)];
    match random.below(4) {
        0 => code.extend([0xf3, opcode]),
        1 => code.extend([0x66, 0xf3, opcode]),
        _ => code.extend([0xf3, 0x48, opcode]),
    }
    // JE over INC EDX; ADC RAX, RCX; MOV [RBX + 8], RSI
    code.extend([0x74, 2, 0xff, 0xc2, 0x48, 0x11, 0xc8, 0x48, 0x89, 0x73, 8]);
    code
}

fn guest(seed: u64) -> Guest {
    let mut random = Random(seed);
    let mut guest = Guest::new(seed);
    for number in 0..PIECES {
        let mut code = piece(&mut random);
        // To the next one, and from the last to the first.
        let next = CODE + (number + 1) % PIECES * PIECE_BYTES;
        let behind = CODE + number * PIECE_BYTES + code.len() as u64 + 5;
        code.push(0xe9);
        code.extend((next as u32).wrapping_sub(behind as u32).to_le_bytes());
        assert!(code.len() as u64 <= PIECE_BYTES);
        guest.put(CODE + number * PIECE_BYTES, &code);
    }
    guest
}

const RUNS: Runs = Runs { most: 30, steps: [20, 300, 5000, 100_000], periods: &[0, 0, 211] };

fn compare(seed: u64, translator: &mut Translator) -> u64 {
    side_by_side(seed, Random(!seed), || guest(seed), &RUNS, translator)
}

#[test]
fn repeated_string_instructions_do_the_same() {
    let steps = compare_seeds(0..60, compare);
    assert!(steps > 3_000_000, "{steps} steps: the guests ended early");
}

#[test]
#[ignore = "takes minutes: cargo test -p jit --release -- --ignored"]
fn many_repeated_string_instructions_do_the_same() {
    compare_seeds(1000..4000, compare);
}
