//! FNSTENV, FNSAVE and their loads: against the host in the layouts that 64-bit mode has,
//! by hand in those of real and protected mode; FNSTSW AX and what has no operand.

use super::fixture::{Fixture, OPERAND};
use super::native::{Machine, Native};
use super::values::{Random, state};
use crate::x87::state::X87State;

const LOADS: [&[u8]; 4] = [&[0xd9, 0x26], &[0x66, 0xd9, 0x26], &[0xdd, 0x26], &[0x66, 0xdd, 0x26]];
const STORES: [&[u8]; 4] = [&[0xd9, 0x36], &[0x66, 0xd9, 0x36], &[0xdd, 0x36], &[0x66, 0xdd, 0x36]];

fn with_pointers(random: &mut Random) -> X87State {
    let mut fpu = state(random);
    fpu.opcode = random.next() as u16 & 0x7ff;
    // FXRSTOR takes canonical addresses only.
    fpu.ip = random.next() >> 17;
    fpu.dp = random.next() >> 17;
    fpu
}

#[test]
fn stores_agree_with_the_host() {
    let mut random = Random(0xfeed_5eed_0bad_cafe);
    let mut guest = Fixture::new();
    for bytes in STORES {
        let native = Native::new(bytes);
        for _ in 0..2000 {
            let mut fpu = with_pointers(&mut random);
            // These do not wait, so exceptions may pend.
            fpu.status |= random.next() as u16 & 0x7f;
            fpu.update_summary();
            let mut host = Machine::new(&fpu, &[], 2);
            native.run(&mut host);
            guest.cpu.x87 = fpu;
            guest.write(OPERAND, &[0; 128]);
            guest.execute(bytes).expect("nothing faults");
            assert_eq!(guest.read::<128>(OPERAND), host.memory, "{bytes:02x?} {fpu:x?}");
            assert_eq!(guest.cpu.x87, host.state(), "{bytes:02x?} {fpu:x?}");
        }
    }
}

#[test]
fn loads_agree_with_the_host() {
    let mut random = Random(0x0dd5_eed5_1234_5678);
    let mut guest = Fixture::new();
    for bytes in LOADS {
        let native = Native::new(bytes);
        for _ in 0..2000 {
            let fpu = with_pointers(&mut random);
            let memory: [u8; 112] = std::array::from_fn(|_| random.next() as u8);
            let mut host = Machine::new(&fpu, &memory, 2);
            native.run(&mut host);
            guest.cpu.x87 = fpu;
            guest.write(OPERAND, &memory);
            guest.execute(bytes).expect("nothing faults");
            let got = X87State { cs: 0, ds: 0, ..guest.cpu.x87 };
            assert_eq!(got, host.state(), "{bytes:02x?} {memory:02x?}");
        }
    }
}

fn pointing() -> X87State {
    X87State { opcode: 0x5a5, ip: 0x12345, dp: 0x6789a, cs: 0x1111, ds: 0x2222, ..X87State::INITIAL }
}

fn stored<const N: usize>(bits: u32, bytes: &[u8]) -> [u8; N] {
    let mut guest = Fixture::with_bits(bits);
    guest.cpu.x87 = pointing();
    guest.execute(bytes).expect("nothing faults");
    guest.read(OPERAND)
}

#[test]
fn protected_mode_keeps_selectors_and_offsets() {
    let wide: [u8; 28] = stored(32, &[0xd9, 0x36]);
    assert_eq!(&wide[12..28], [0x45, 0x23, 1, 0, 0x11, 0x11, 0xa5, 5, 0x9a, 0x78, 6, 0, 0x22, 0x22, 0xff, 0xff]);
    let narrow: [u8; 14] = stored(32, &[0x66, 0xd9, 0x36]);
    assert_eq!(narrow, [0x7f, 3, 0, 0, 0xff, 0xff, 0x45, 0x23, 0x11, 0x11, 0x9a, 0x78, 0x22, 0x22]);
}

#[test]
fn real_mode_keeps_linear_addresses_and_the_opcode() {
    // FIP is 11110h + 12345h = 23455h, FDP 22220h + 6789Ah = 89ABAh. In 16-bit code [bp]'s
    // encoding 36h is a direct address, so the operand is [si].
    let narrow: [u8; 14] = stored(16, &[0xd9, 0x34]);
    assert_eq!(narrow, [0x7f, 3, 0, 0, 0xff, 0xff, 0x55, 0x34, 0xa5, 0x25, 0xba, 0x9a, 0, 0x80]);
    let wide: [u8; 28] = stored(16, &[0x66, 0xd9, 0x34]);
    assert_eq!(&wide[12..28], [0x55, 0x34, 0xff, 0xff, 0xa5, 0x25, 0, 0, 0xba, 0x9a, 0xff, 0xff, 0, 0x80, 0, 0]);
}

#[test]
fn real_mode_loads_what_it_stored() {
    for (store, load) in [([0xd9u8, 0x34], [0xd9u8, 0x24]), ([0xdd, 0x34], [0xdd, 0x24])] {
        let mut guest = Fixture::with_bits(16);
        guest.cpu.x87 = pointing();
        guest.execute(&store).expect("nothing faults");
        let image: [u8; 94] = guest.read(OPERAND);
        guest.execute(&load).expect("nothing faults");
        let fpu = guest.cpu.x87;
        assert_eq!((fpu.ip, fpu.dp, fpu.opcode, fpu.control), (0x23455, 0x89aba, 0x5a5, 0x37f));
        guest.execute(&store).expect("nothing faults");
        assert_eq!(guest.read::<94>(OPERAND), image);
    }
}

#[test]
fn the_pointers_follow_the_instructions() {
    let mut guest = Fixture::with_bits(32);
    // fld dword [esi]; then a control instruction; then one without memory operand.
    guest.execute(&[0xd9, 0x06]).expect("nothing faults");
    let fpu = guest.cpu.x87;
    assert_eq!((fpu.ip, fpu.cs, fpu.dp, fpu.ds, fpu.opcode), (0x1010, 8, OPERAND, 0x10, 0));
    guest.execute(&[0xd9, 0x3e]).expect("nothing faults");
    assert_eq!(guest.cpu.x87, fpu);
    guest.cpu.gpr[crate::vcpu::GPR_PAGE_RIP] = 0x3000;
    guest.execute(&[0xd9, 0xe0]).expect("nothing faults");
    let fpu = guest.cpu.x87;
    assert_eq!((fpu.ip, fpu.dp), (0x3010, OPERAND));
    // An unmasked exception leaves the opcode.
    guest.cpu.x87.control = 0x37e;
    guest.execute(&[0xd8, 0xc1]).expect("the exception only pends");
    assert_eq!(guest.cpu.x87.opcode, 0x0c1);
    let mut guest = Fixture::new();
    guest.execute(&[0xd9, 0x06]).expect("nothing faults");
    assert_eq!((guest.cpu.x87.cs, guest.cpu.x87.ds), (0, 0));
}

#[test]
fn the_status_word_goes_to_ax() {
    let mut guest = Fixture::new();
    guest.cpu.gpr[0] = u64::MAX;
    guest.cpu.x87.status = 0x4123;
    guest.execute(&[0xdf, 0xe0]).expect("nothing faults");
    assert_eq!(guest.cpu.gpr[0], 0xffff_ffff_ffff_4123);
}
