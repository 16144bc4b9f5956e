//! The software functions beside the host's instructions: the same special cases, flags and
//! tags, and values within two units in the last place.

use super::fixture::Fixture;
use super::native::{Machine, Native};
use super::values::{Random, normal_between, state};
use crate::x87::number::{Class, class, exponent, is_negative};
use crate::x87::state::{X87State, exception, status};

const F2XM1: [u8; 2] = [0xd9, 0xf0];
const FYL2X: [u8; 2] = [0xd9, 0xf1];
const FPTAN: [u8; 2] = [0xd9, 0xf2];
const FPATAN: [u8; 2] = [0xd9, 0xf3];
const FYL2XP1: [u8; 2] = [0xd9, 0xf9];
const FSINCOS: [u8; 2] = [0xd9, 0xfb];
const FSIN: [u8; 2] = [0xd9, 0xfe];
const FCOS: [u8; 2] = [0xd9, 0xff];
const ALL: [[u8; 2]; 8] = [F2XM1, FYL2X, FPTAN, FPATAN, FYL2XP1, FSINCOS, FSIN, FCOS];

/// Units in the last place between two numbers; equal encodings of any class have none.
fn distance(a: u128, b: u128) -> u128 {
    let finite = |x| !matches!(class(x), Class::Infinity | Class::Quiet | Class::Signalling | Class::Unsupported);
    if a == b {
        return 0;
    }
    if !finite(a) || !finite(b) || is_negative(a) != is_negative(b) {
        return u128::MAX;
    }
    // A number's place among all, whose significands have 63 bits below the integer bit.
    let place = |x: u128| u128::from(exponent(x)) << 63 | x & ((1 << 63) - 1);
    place(a).abs_diff(place(b))
}

fn difference(got: &X87State, expected: &X87State) -> Option<String> {
    // Where the last bit differs, so can C1, and whether a result lies just outside the range
    // of normal numbers, which unmasked gives a scaled result.
    let limits = exception::UNDERFLOW | exception::OVERFLOW;
    let ignored = status::C1 | limits;
    let limited = (got.status ^ expected.status) & limits;
    let at_limit = |&x: &u128| matches!(exponent(x), 0 | 1 | 0x7ffe) && x as u64 != 0;
    if limited != 0 {
        if !got.regs.iter().chain(&expected.regs).any(at_limit) {
            return Some("overflow or underflow".into());
        }
        if !got.masks(limited) {
            return None;
        }
    }
    if (got.status ^ expected.status) & !ignored != 0 || got.valid != expected.valid {
        return Some("status or tags".into());
    }
    let far = (0..8).map(|i| distance(got.regs[i], expected.regs[i])).max().unwrap_or(0);
    (far > 2).then(|| format!("{far} units"))
}

fn compare(bytes: [u8; 2], native: &Native, guest: &mut Fixture, fpu: X87State) -> Result<(), String> {
    let mut host = Machine::new(&fpu, &[], 2);
    native.run(&mut host);
    guest.cpu.x87 = fpu;
    guest.execute(&bytes).expect("nothing pends");
    let (got, expected) = (guest.cpu.x87, host.state());
    match difference(&got, &expected) {
        None => Ok(()),
        Some(what) => Err(format!("{bytes:02x?} {what}\nbefore {fpu:x?}\nguest  {got:x?}\nhost   {expected:x?}")),
    }
}

#[test]
fn any_operands_give_what_the_host_gives() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut guest = Fixture::new();
    let mut differences = Vec::new();
    for bytes in ALL {
        let native = Native::new(&bytes);
        let failure = (0..20_000).find_map(|_| compare(bytes, &native, &mut guest, state(&mut random)).err());
        differences.extend(failure);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Powers of two between which operands lie.
type Exponents = (i32, i32);

#[test]
fn ordinary_operands_are_within_two_units_of_the_host() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut guest = Fixture::new();
    let mut differences = Vec::new();
    // The exponents of ST(0) and ST(1).
    let ranges: [([u8; 2], Exponents, Exponents); 9] = [
        (F2XM1, (-70, 0), (0, 1)),
        (FYL2X, (-100, 100), (-10, 10)),
        (FYL2X, (-1, 1), (-10, 10)),
        (FYL2XP1, (-70, -1), (-10, 10)),
        (FPATAN, (-10, 10), (-10, 10)),
        (FPTAN, (-40, 62), (0, 1)),
        (FSINCOS, (-40, 62), (0, 1)),
        (FSIN, (-70, 8), (0, 1)),
        (FCOS, (-70, 8), (0, 1)),
    ];
    for (bytes, first, second) in ranges {
        let native = Native::new(&bytes);
        let failure = (0..20_000).find_map(|_| {
            let mut fpu = X87State::INITIAL;
            fpu.control |= (random.below(4) as u16) << 10;
            fpu.push(normal_between(&mut random, second.0, second.1));
            fpu.push(normal_between(&mut random, first.0, first.1));
            compare(bytes, &native, &mut guest, fpu).err()
        });
        differences.extend(failure);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn values_known_to_many_digits_are_rounded_to_the_last_bit() {
    let mut guest = Fixture::new();
    // sin 1, cos 1, tan 1, 2^(1/2) - 1, log2 3, arctan 2, from tables of 30 digits.
    let one = 0x3fff_8000_0000_0000_0000;
    let cases: [([u8; 2], u128, u128, u128); 6] = [
        (FSIN, one, one, 0x3ffe_d76a_a478_4867_7021),
        (FCOS, one, one, 0x3ffe_8a51_407d_a834_5c92),
        (FPTAN, one, one, one),
        (F2XM1, 0x3ffe_8000_0000_0000_0000, one, 0x3ffd_d413_cccf_e779_9211),
        (FYL2X, 0x4000_c000_0000_0000_0000, one, 0x3fff_cae0_0d1c_fdeb_43d0),
        (FPATAN, one, 0x4000_8000_0000_0000_0000, 0x3fff_8db7_0c97_5df2_2363),
    ];
    for (bytes, first, second, expected) in cases {
        guest.cpu.x87 = X87State::INITIAL;
        guest.cpu.x87.push(second);
        guest.cpu.x87.push(first);
        guest.execute(&bytes).expect("nothing pends");
        let got = guest.cpu.x87.st(0);
        assert!(distance(got, expected) == 0, "{bytes:02x?}: {got:x}, not {expected:x}");
        assert!(guest.cpu.x87.status & exception::PRECISION != 0);
    }
}
