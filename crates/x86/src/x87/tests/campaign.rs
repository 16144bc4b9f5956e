//! Every opcode of the unit with random operands: the guest's and the host's states agree.

use super::fixture::{Fixture, OPERAND, operation};
use super::native::{Machine, Native};
use super::values::{Random, memory, state};
use crate::flags::{ARITHMETIC, LazyFlags};
use crate::x87::state::{X87State, status};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

/// Opcodes that the machine has in software on purpose, and tests elsewhere.
fn is_transcendental(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, F2xm1 | Fyl2x | Fyl2xp1 | Fptan | Fpatan | Fsin | Fcos | Fsincos)
}

fn mnemonic(bytes: &[u8]) -> Mnemonic {
    Decoder::new(64, bytes, DecoderOptions::NONE).decode().mnemonic()
}

/// Every form with registers or no operand, and with `[rsi]` as memory operand.
fn every_form() -> Vec<[u8; 2]> {
    let modrms = (0..8u8).map(|reg| reg << 3 | 6).chain(0xc0..=0xff);
    (0xd8..=0xdfu8)
        .flat_map(|opcode| modrms.clone().map(move |modrm| [opcode, modrm]))
        .filter(|bytes| mnemonic(bytes) != Mnemonic::INVALID)
        .collect()
}

/// What the two must agree on: everything but the pointers, which the host has elsewhere.
fn comparable(fpu: &X87State) -> X87State {
    X87State { ip: 0, dp: 0, cs: 0, ds: 0, opcode: 0, ..*fpu }
}

struct Case {
    bytes: [u8; 2],
    fpu: X87State,
    memory: [u8; 16],
    rflags: u64,
}

/// Runs a case on both; tells how they differ.
fn compare(native: &Native, guest: &mut Fixture, case: &Case) -> Result<(), String> {
    let mut host = Machine::new(&case.fpu, &case.memory, case.rflags | 2);
    native.run(&mut host);
    guest.cpu.x87 = case.fpu;
    guest.cpu.lazy = LazyFlags::from_bits(case.rflags);
    guest.write(OPERAND, &[0; 128]);
    guest.write(OPERAND, &case.memory);
    guest.execute(&case.bytes).expect("nothing pends and nothing faults");
    let (expected, got) = (host.state(), guest.cpu.x87);
    let opcode_shown = expected.status & status::SUMMARY != 0 && expected.opcode != 0;
    let same = comparable(&got) == comparable(&expected)
        && guest.read::<128>(OPERAND) == host.memory
        && guest.cpu.lazy.to_bits() == host.rflags & ARITHMETIC
        && (!opcode_shown || got.opcode == expected.opcode);
    if same {
        return Ok(());
    }
    Err(format!(
        "{:?} {:02x?} memory {:02x?} -> {:02x?}, host {:02x?}\nflags {:x} -> {:x}, host {:x}\nbefore {:x?}\nguest  {:x?}\nhost   {:x?}",
        mnemonic(&case.bytes),
        case.bytes,
        case.memory,
        &guest.read::<16>(OPERAND),
        &host.memory[..16],
        case.rflags,
        guest.cpu.lazy.to_bits(),
        host.rflags & ARITHMETIC,
        case.fpu,
        got,
        expected,
    ))
}

#[test]
fn every_form_agrees_with_the_host() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut guest = Fixture::new();
    let (mut forms, mut differences) = (0, Vec::new());
    for bytes in every_form() {
        // FNSTENV, FNSAVE and their loads show pointers, and FNSTSW AX changes a register.
        use Mnemonic::{Fldenv, Fnsave, Fnstenv, Fnstsw, Frstor};
        let name = mnemonic(&bytes);
        if is_transcendental(name)
            || matches!(name, Fldenv | Fnstenv | Frstor | Fnsave)
            || name == Fnstsw && bytes[1] == 0xe0
        {
            continue;
        }
        forms += 1;
        operation(&bytes, 64);
        let native = Native::new(&bytes);
        for _ in 0..3000 {
            let case = Case {
                bytes,
                fpu: state(&mut random),
                memory: memory(&mut random),
                rflags: random.next() & ARITHMETIC,
            };
            if let Err(difference) = compare(&native, &mut guest, &case) {
                differences.push(difference);
                break;
            }
        }
    }
    let few: Vec<_> = differences.iter().take(8).cloned().collect();
    assert!(few.is_empty(), "{} forms of {forms} differ:\n{}", differences.len(), few.join("\n"));
    assert!(forms > 400, "{forms} forms");
}
