//! Images against the host's, round trips, and every rule for headers and faults.
#![allow(unsafe_code)]

mod paging;

use crate::fault::vector;
use crate::vcpu::cr;
use crate::x87::number::ONE;
use crate::x87::state::X87State;
use crate::x87::tests::fixture::{Fixture, OPERAND};
use crate::x87::tests::native::Machine;
use crate::x87::tests::values::{Random, state};

const FXSAVE: &[u8] = &[0x0f, 0xae, 0x06];
const FXSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x06];
const FXRSTOR: &[u8] = &[0x0f, 0xae, 0x0e];
const FXRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x0e];
const XSAVE: &[u8] = &[0x0f, 0xae, 0x26];
const XRSTOR: &[u8] = &[0x0f, 0xae, 0x2e];
const XSAVEOPT: &[u8] = &[0x0f, 0xae, 0x36];
const XSAVEC: &[u8] = &[0x0f, 0xc7, 0x26];
const XSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x26];
const XRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x2e];

const PATTERN: u8 = 0xaa;

/// A vCPU all of whose components are in use, asking for `rfbm`, over an area of a pattern
/// with an empty header.
fn busy(rfbm: u64) -> Fixture {
    let mut random = Random(0x7777_1234_4321_9999);
    let mut guest = Fixture::new();
    guest.cpu.x87 = X87State { ip: 0x1234_5678_9abc, dp: 0x4321_8765, ..state(&mut random) };
    guest.cpu.vector.ymm = std::array::from_fn(|_| std::array::from_fn(|_| random.next()));
    guest.cpu.vector.mxcsr = 0x1fa0;
    guest.cpu.gpr[0] = rfbm;
    guest.write(OPERAND, &[PATTERN; 1024]);
    guest.write(OPERAND + 512, &[0; 64]);
    guest
}

fn execute(guest: &mut Fixture, bytes: &[u8]) {
    guest.execute(bytes).expect("nothing faults");
}

/// The vector that an instruction raises, having changed nothing.
fn fault(guest: &mut Fixture, bytes: &[u8]) -> Option<u8> {
    let before = (guest.cpu.x87, guest.cpu.vector, guest.read::<1024>(OPERAND));
    let vector = guest.execute(bytes).map_err(|fault| fault.vector).err();
    let after = (guest.cpu.x87, guest.cpu.vector, guest.read::<1024>(OPERAND));
    assert!(vector.is_none() || before == after, "{bytes:02x?} changed something");
    vector
}

#[test]
fn fxsave_writes_what_the_host_writes() {
    let mut random = Random(0x1111_2222_3333_4444);
    for _ in 0..200 {
        let mut fpu = state(&mut random);
        (fpu.ip, fpu.dp, fpu.opcode) = (random.next() >> 17, random.next() >> 17, random.next() as u16 & 0x7ff);
        let host = Machine::new(&fpu, &[], 2);
        let mut guest = Fixture::new();
        guest.cpu.x87 = fpu;
        let quad = |at: usize| u64::from_le_bytes(host.image[at..at + 8].try_into().expect("eight bytes"));
        for (i, register) in guest.cpu.vector.ymm.iter_mut().enumerate() {
            (register[0], register[1]) = (quad(160 + 16 * i), quad(168 + 16 * i));
        }
        guest.cpu.vector.mxcsr = quad(24) as u32;
        let vectors = guest.cpu.vector;
        execute(&mut guest, FXSAVE64);
        assert_eq!(guest.read::<416>(OPERAND)[..], host.image[..416]);
        // And back.
        guest.cpu.x87 = X87State::INITIAL;
        guest.cpu.vector = Default::default();
        execute(&mut guest, FXRSTOR64);
        assert_eq!((guest.cpu.x87, guest.cpu.vector), (fpu, vectors));
    }
}

/// An XSAVE area that this host filled with ST(0) = 1 and vectors of the caller.
fn host_area() -> Option<[u8; 832]> {
    if !std::is_x86_feature_detected!("avx") || !std::is_x86_feature_detected!("xsave") {
        return None;
    }
    #[repr(C, align(64))]
    struct Area([u8; 8192]);
    let mut area = Area([0; 8192]);
    // SAFETY: XSAVE of three components writes 832 bytes; FNINIT leaves the unit as the ABI
    // wants it.
    unsafe {
        std::arch::asm!(
            "vpcmpeqb xmm1, xmm1, xmm1", "vinsertf128 ymm1, ymm1, xmm1, 1",
            "fninit", "fld1", "xsave64 [{area}]", "fninit",
            area = in(reg) &raw mut area, in("eax") 7, in("edx") 0, out("xmm1") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
        );
    }
    Some(area.0[..832].try_into().expect("the length asked for"))
}

#[test]
fn an_area_of_the_host_survives_xrstor_and_xsave() {
    let Some(area) = host_area() else {
        eprintln!("skipped: this host has no AVX");
        return;
    };
    let mut guest = busy(7);
    guest.write(OPERAND, &area);
    execute(&mut guest, XRSTOR64);
    assert_eq!(guest.cpu.x87.st(0), ONE);
    assert_eq!(guest.cpu.vector.ymm[1], [u64::MAX; 4]);
    guest.write(OPERAND, &[0; 832]);
    execute(&mut guest, XSAVE64);
    let mut expected = area;
    // The host may count a component as in use that is not.
    expected[512] = guest.read::<832>(OPERAND)[512];
    assert!(area[512] & expected[512] == expected[512]);
    assert!(guest.read::<832>(OPERAND) == expected);
}

/// Which of x87, MXCSR, XMM and YMM bytes, and which bitmaps, a save wrote.
fn written(guest: &Fixture) -> (bool, bool, bool, bool, u64, u64) {
    let area: [u8; 1024] = guest.read(OPERAND);
    let wrote = |at: usize| area[at..at + 8] != [PATTERN; 8];
    let quad = |at: usize| u64::from_le_bytes(area[at..at + 8].try_into().expect("eight bytes"));
    // The reserved bytes and what lies behind stay.
    assert!(area[416..512].iter().chain(&area[832..]).all(|&byte| byte == PATTERN));
    assert_eq!(wrote(0), wrote(152), "the stack goes with the control word");
    (wrote(0), wrote(24), wrote(160), wrote(576), quad(512), quad(520))
}

#[test]
fn each_save_writes_what_its_rules_say() {
    const C: u64 = 1 << 63;
    // The instruction, RFBM, what is in use beside MXCSR's value, and what is written: as
    // observed on Intel's processors, but for the x87 state, which they always count as used.
    type Row = (&'static [u8], u64, u64, u32, (bool, bool, bool, bool, u64, u64));
    let rows: [Row; 16] = [
        (XSAVE, 1, 7, 0x1fa0, (true, false, false, false, 1, 0)),
        (XSAVE, 2, 0, 0x1f80, (false, true, true, false, 0, 0)),
        (XSAVE, 2, 0, 0x1fa0, (false, true, true, false, 2, 0)),
        (XSAVE, 4, 0, 0x1fa0, (false, true, false, true, 0, 0)),
        (XSAVE, 7, 7, 0x1f80, (true, true, true, true, 7, 0)),
        (XSAVE, 7, 0, 0x1f80, (true, true, true, true, 0, 0)),
        (XSAVEOPT, 7, 0, 0x1f80, (false, true, false, false, 0, 0)),
        (XSAVEOPT, 7, 0, 0x1fa0, (false, true, true, false, 2, 0)),
        (XSAVEOPT, 4, 0, 0x1fa0, (false, true, false, false, 0, 0)),
        (XSAVEOPT, 1, 7, 0x1fa0, (true, false, false, false, 1, 0)),
        (XSAVEOPT, 7, 7, 0x1fa0, (true, true, true, true, 7, 0)),
        (XSAVEC, 7, 7, 0x1fa0, (true, true, true, true, 7, C | 7)),
        (XSAVEC, 7, 0, 0x1f80, (false, false, false, false, 0, C | 7)),
        (XSAVEC, 6, 0, 0x1fa0, (false, true, true, false, 2, C | 6)),
        (XSAVEC, 5, 4, 0x1fa0, (false, false, false, true, 4, C | 5)),
        (XSAVEC, !6, 7, 0x1f80, (true, false, false, false, 1, C | 1)),
    ];
    for (bytes, rfbm, in_use, mxcsr, expected) in rows {
        let mut guest = busy(rfbm);
        let cpu = &mut guest.cpu;
        cpu.vector.mxcsr = mxcsr;
        if in_use & 1 == 0 {
            cpu.x87 = X87State::INITIAL;
        }
        for register in &mut cpu.vector.ymm {
            if in_use & 2 == 0 {
                register[..2].fill(0);
            }
            if in_use & 4 == 0 {
                register[2..].fill(0);
            }
        }
        assert_eq!(super::xinuse(cpu), in_use);
        execute(&mut guest, bytes);
        assert_eq!(written(&guest), expected, "{bytes:02x?} {rfbm:x} {in_use} {mxcsr:x}");
    }
}

#[test]
fn saved_state_comes_back() {
    for (save, restore) in [(XSAVE64, XRSTOR64), (XSAVEOPT, XRSTOR), (XSAVEC, XRSTOR), (XSAVE, XRSTOR)] {
        let mut guest = busy(7);
        // The narrow forms keep 32 bits of the pointers.
        guest.cpu.x87.ip &= if save == XSAVE64 { u64::MAX } else { 0xffff_ffff };
        let before = (guest.cpu.x87, guest.cpu.vector);
        execute(&mut guest, save);
        guest.cpu.x87 = X87State::default();
        guest.cpu.vector = Default::default();
        execute(&mut guest, restore);
        assert_eq!((guest.cpu.x87, guest.cpu.vector), before);
        // What is not present is initialised, what is not asked for stays.
        guest.write(OPERAND + 512, &[0]);
        guest.cpu.gpr[0] = 5;
        execute(&mut guest, restore);
        assert_eq!(guest.cpu.x87, X87State::INITIAL);
        let expected = before.1.ymm.map(|[a, b, ..]| [a, b, 0, 0]);
        assert_eq!((guest.cpu.vector.ymm, guest.cpu.vector.mxcsr), (expected, 0x1fa0));
    }
}

#[test]
fn the_formats_treat_mxcsr_differently() {
    // Present is nothing: XRSTOR of SSE loads MXCSR in the standard format, and initialises
    // it in the compacted one.
    for (format, rfbm, expected) in
        [(0u64, 2, 0x1f00), (0, 4, 0x1f00), (1 << 63 | 6, 2, 0x1f80), (1 << 63 | 6, 4, 0x1fa0)]
    {
        let mut guest = busy(rfbm);
        guest.write(OPERAND + 24, &0x1f00u32.to_le_bytes());
        guest.write(OPERAND + 520, &format.to_le_bytes());
        execute(&mut guest, XRSTOR);
        assert_eq!(guest.cpu.vector.mxcsr, expected, "{format:x} {rfbm}");
    }
}

#[test]
fn the_instruction_pointer_is_made_canonical() {
    let mut guest = busy(1);
    guest.write(OPERAND, &[0; 512]);
    guest.write(OPERAND + 8, &0x1234_9234_5678_9abc_u64.to_le_bytes());
    guest.write(OPERAND + 16, &0x1234_9234_5678_9abc_u64.to_le_bytes());
    execute(&mut guest, FXRSTOR64);
    let fpu = guest.cpu.x87;
    assert_eq!((fpu.ip, fpu.dp), (0xffff_9234_5678_9abc, 0x1234_9234_5678_9abc));
}

#[test]
fn bad_headers_and_bits_are_refused() {
    // An offset in the area, what is written there, and whether XRSTOR of everything faults.
    let cases: [(&[(u64, u64)], bool); 12] = [
        (&[(512, 7)], false),
        (&[(512, 8)], true),
        (&[(520, 1)], true),
        (&[(528, 1)], true),
        (&[(536, 1)], false),
        (&[(24, 0x1_0000)], true),
        (&[(520, 1 << 63 | 7)], false),
        (&[(520, 1 << 63 | 15)], true),
        (&[(520, 1 << 63 | 3), (512, 4)], true),
        (&[(520, 1 << 63 | 3), (512, 1 << 63)], true),
        (&[(520, 1 << 63 | 7), (536, 1)], true),
        (&[(520, 1 << 63 | 7), (568, 1 << 32)], true),
    ];
    for (fields, faults) in cases {
        let mut guest = busy(7);
        guest.write(OPERAND, &[0; 832]);
        for (at, value) in fields {
            guest.write(OPERAND + at, &value.to_le_bytes());
        }
        assert_eq!(fault(&mut guest, XRSTOR), faults.then_some(vector::GP), "{fields:x?}");
    }
    let mut guest = busy(7);
    guest.write(OPERAND + 24, &0x1_0000u32.to_le_bytes());
    assert_eq!(fault(&mut guest, FXRSTOR), Some(vector::GP));
}

#[test]
fn the_control_registers_and_alignment_are_checked() {
    for bytes in [FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR] {
        let fx = bytes == FXSAVE || bytes == FXRSTOR;
        let prepared = || {
            let mut guest = busy(7);
            guest.write(OPERAND, &[0; 1024]);
            guest
        };
        let mut guest = prepared();
        guest.cpu.gpr[6] += if fx { 8 } else { 16 };
        assert_eq!(fault(&mut guest, bytes), Some(vector::GP), "{bytes:02x?}");
        let mut guest = prepared();
        guest.cpu.cr0 |= cr::CR0_TS;
        assert_eq!(fault(&mut guest, bytes), Some(vector::NM));
        let mut guest = prepared();
        guest.cpu.cr0 |= cr::CR0_EM;
        assert_eq!(fault(&mut guest, bytes), fx.then_some(vector::NM));
        let mut guest = prepared();
        guest.cpu.cr4 &= !cr::CR4_OSXSAVE;
        assert_eq!(fault(&mut guest, bytes), (!fx).then_some(vector::UD));
    }
}

#[test]
fn without_osfxsr_only_the_x87_part_is_moved() {
    let mut guest = busy(0);
    guest.cpu.cr4 &= !cr::CR4_OSFXSR;
    execute(&mut guest, FXSAVE);
    let image: [u8; 512] = guest.read(OPERAND);
    assert!(image[24..32].iter().chain(&image[160..]).all(|&byte| byte == PATTERN || byte == 0));
    assert_ne!(image[0], PATTERN);
    let vectors = guest.cpu.vector;
    guest.write(OPERAND + 24, &[0xff; 4]);
    execute(&mut guest, FXRSTOR);
    assert_eq!(guest.cpu.vector, vectors);
}

#[test]
fn legacy_modes_know_eight_vector_registers() {
    let mut guest = Fixture::with_bits(32);
    guest.cpu.vector.ymm[8] = [1; 4];
    assert_eq!(super::xinuse(&guest.cpu), 0);
    guest.cpu.vector.ymm[7] = [1; 4];
    let before = guest.cpu.vector;
    guest.cpu.gpr[0] = 7;
    execute(&mut guest, XSAVE);
    let area: [u8; 832] = guest.read(OPERAND);
    assert!(area[288..416].iter().chain(&area[704..]).all(|&byte| byte == 0));
    guest.write(OPERAND + 512, &[0]);
    execute(&mut guest, XRSTOR);
    assert_eq!(guest.cpu.vector.ymm[7], [0; 4]);
    assert_eq!(guest.cpu.vector.ymm[8], before.ymm[8]);
}
