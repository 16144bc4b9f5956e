//! Availability, MXCSR and its exceptions, the approximations, and samples against `std::arch`.

use super::super::approximate::{reciprocal, reciprocal_root};
use super::fixture::{Fixture, PAGE, has_avx};
use crate::fault::{Exception, vector};
use crate::vcpu::cr;

const ADDPS: [u8; 3] = [0x0f, 0x58, 0xc1];
const DIVPS: [u8; 3] = [0x0f, 0x5e, 0xc1];
const MULSS: [u8; 4] = [0xf3, 0x0f, 0x59, 0xc1];
const COMISS: [u8; 3] = [0x0f, 0x2f, 0xc1];
const PADDB_MM: [u8; 3] = [0x0f, 0xfc, 0xc1];
const CVTPI2PS: [u8; 3] = [0x0f, 0x2a, 0xc1];
const EMMS: [u8; 2] = [0x0f, 0x77];
const MOVNTI: [u8; 4] = [0x41, 0x0f, 0xc3, 0x06];
const VPADDB: [u8; 4] = [0xc5, 0xf9, 0xfc, 0xc1];
const VMOVUPS: [u8; 4] = [0xc5, 0xf8, 0x10, 0xc1];
const LDMXCSR: [u8; 4] = [0x41, 0x0f, 0xae, 0x16];

fn raised(bytes: &[u8], prepare: impl Fn(&mut Fixture)) -> Option<u8> {
    let mut guest = Fixture::new();
    prepare(&mut guest);
    guest.cpu.update_mode();
    guest.execute(bytes).err().map(|fault| fault.vector)
}

#[test]
fn the_unit_can_be_unavailable() {
    let no_fxsr = |guest: &mut Fixture| guest.cpu.cr4 &= !cr::CR4_OSFXSR;
    let emulate = |guest: &mut Fixture| guest.cpu.cr0 |= cr::CR0_EM | cr::CR0_TS;
    let switched = |guest: &mut Fixture| guest.cpu.cr0 |= cr::CR0_TS;
    let pending = |guest: &mut Fixture| guest.cpu.x87.status |= 0x80;
    assert_eq!(raised(&ADDPS, no_fxsr), Some(vector::UD));
    assert_eq!(raised(&ADDPS, emulate), Some(vector::UD));
    assert_eq!(raised(&ADDPS, switched), Some(vector::NM));
    assert_eq!(raised(&ADDPS, pending), None);
    assert_eq!(raised(&PADDB_MM, no_fxsr), None);
    assert_eq!(raised(&PADDB_MM, emulate), Some(vector::UD));
    assert_eq!(raised(&PADDB_MM, switched), Some(vector::NM));
    assert_eq!(raised(&PADDB_MM, pending), Some(vector::MF));
    assert_eq!(raised(&CVTPI2PS, no_fxsr), Some(vector::UD));
    assert_eq!(raised(&CVTPI2PS, pending), Some(vector::MF));
    assert_eq!(raised(&EMMS, pending), Some(vector::MF));
    assert_eq!(raised(&MOVNTI, emulate), None);
    assert_eq!(raised(&MOVNTI, no_fxsr), None);
}

#[test]
fn vex_encodings_need_xsave_state() {
    if !has_avx() {
        eprintln!("SKIPPED: AVX instructions, which this host does not have");
        return;
    }
    for bytes in [VPADDB, VMOVUPS] {
        assert_eq!(raised(&bytes, |guest| guest.cpu.cr4 &= !cr::CR4_OSXSAVE), Some(vector::UD));
        assert_eq!(raised(&bytes, |guest| guest.cpu.xcr0 = 3), Some(vector::UD));
        assert_eq!(raised(&bytes, |guest| guest.cpu.cr0 |= cr::CR0_TS), Some(vector::NM));
        assert_eq!(raised(&bytes, |guest| guest.cpu.cr0 |= cr::CR0_EM), None);
        assert_eq!(raised(&bytes, |guest| guest.cpu.cr0 &= !cr::CR0_PE), Some(vector::UD));
    }
}

#[test]
fn emms_empties_the_registers() {
    let mut guest = Fixture::new();
    guest.cpu.x87.status = 0x3800;
    guest.execute(&PADDB_MM).unwrap();
    assert_eq!((guest.cpu.x87.status, guest.cpu.x87.valid), (0, 0xff));
    guest.execute(&EMMS).unwrap();
    assert_eq!((guest.cpu.x87.status, guest.cpu.x87.valid), (0, 0));
    assert_eq!(guest.cpu.x87.regs[0] >> 64, 0xffff);
}

/// Runs with two numbers in XMM0 and XMM1 and gives XMM0, MXCSR and the fault.
fn float(bytes: &[u8], a: f32, b: f32, mxcsr: u32) -> (u64, u32, Option<Exception>) {
    let mut guest = Fixture::new();
    guest.cpu.vector.mxcsr = mxcsr;
    guest.cpu.vector.ymm[0] = [u64::from(a.to_bits()), 0, 5, 6];
    guest.cpu.vector.ymm[1] = [u64::from(b.to_bits()) | u64::from(1f32.to_bits()) << 32, 0x3f80_0000_3f80_0000, 7, 8];
    let fault = guest.execute(bytes).err();
    assert_eq!(guest.cpu.vector.ymm[0][2..], [5, 6]);
    (guest.cpu.vector.ymm[0][0], guest.cpu.vector.mxcsr, fault)
}

#[test]
fn unmasked_exceptions_leave_the_destination_alone() {
    let xm = Some(Exception { vector: vector::XM, ..Exception::default() });
    let one = u64::from(1f32.to_bits());
    // Division by zero: masked, unmasked, and with only the others unmasked.
    assert_eq!(float(&DIVPS, 1.0, 0.0, 0x1f80).1, 0x1f84);
    assert_eq!(float(&DIVPS, 1.0, 0.0, 0x1d80), (one, 0x1d84, xm));
    assert_eq!(float(&DIVPS, 1.0, 0.0, 0x0200), (u64::from(f32::INFINITY.to_bits()), 0x0204, None));
    // Precision, found after the computation.
    assert_eq!(float(&DIVPS, 1.0, 3.0, 0x0f80), (one, 0x0fa0, xm));
    // A flag that is set already raises nothing.
    assert_eq!(float(&DIVPS, 1.0, 1.0, 0x003f).2, None);
    // An exact tiny result is an underflow only when that is unmasked; flush-to-zero plays no part then.
    let tiny = u64::from((f32::MIN_POSITIVE / 2.0).to_bits());
    assert_eq!(float(&MULSS, f32::MIN_POSITIVE, 0.5, 0x1f80), (tiny, 0x1f80, None));
    let smallest = u64::from(f32::MIN_POSITIVE.to_bits());
    assert_eq!(float(&MULSS, f32::MIN_POSITIVE, 0.5, 0x1780), (smallest, 0x1790, xm));
    assert_eq!(float(&MULSS, f32::MIN_POSITIVE, 0.5, 0x9780), (smallest, 0x9790, xm));
    assert_eq!(float(&MULSS, f32::MIN_POSITIVE, 0.5, 0x9f80), (0, 0x9fb0, None));
    // COMISS with a NaN.
    assert_eq!(float(&COMISS, f32::NAN, 0.0, 0x1f00).2, xm);
}

#[test]
fn without_osxmmexcpt_an_exception_is_an_invalid_opcode() {
    let fault = raised(&DIVPS, |guest| {
        guest.cpu.cr4 &= !cr::CR4_OSXMMEXCPT;
        guest.cpu.vector.mxcsr = 0;
    });
    assert_eq!(fault, Some(vector::UD));
}

#[test]
fn mxcsr_has_sixteen_bits() {
    let mut guest = Fixture::new();
    guest.write(PAGE, &0xffffu32.to_le_bytes());
    guest.execute(&LDMXCSR).unwrap();
    assert_eq!(guest.cpu.vector.mxcsr, 0xffff);
    guest.write(PAGE, &0x1_0000u32.to_le_bytes());
    assert_eq!(guest.execute(&LDMXCSR).unwrap_err().vector, vector::GP);
    assert_eq!(guest.cpu.vector.mxcsr, 0xffff);
}

#[test]
fn approximations_are_within_the_architectural_bound() {
    let mut x = 0x0080_0000u32;
    while x < 0x7f80_0000 {
        let exact = 1.0 / f64::from(f32::from_bits(x));
        let error = (f64::from(f32::from_bits(reciprocal(x))) / exact - 1.0).abs();
        assert!(error <= 1.5 / 4096.0 || reciprocal(x) == 0 && x > 0x7e80_0000, "1/{x:x}");
        let exact = 1.0 / f64::from(f32::from_bits(x)).sqrt();
        let error = (f64::from(f32::from_bits(reciprocal_root(x))) / exact - 1.0).abs();
        assert!(error <= 1.5 / 4096.0, "1/sqrt({x:x})");
        x += 0x1_2345;
    }
    let special = [
        (0, 0x7f80_0000, 0x7f80_0000),
        (0x8000_0000, 0xff80_0000, 0xff80_0000),
        (0x0000_0001, 0x7f80_0000, 0x7f80_0000),
        (0x8000_0001, 0xff80_0000, 0xff80_0000),
        (0x7f80_0000, 0, 0),
        (0xff80_0000, 0x8000_0000, 0xffc0_0000),
        (0xbf80_0000, 0xbf80_0000, 0xffc0_0000),
        (0x7f80_0001, 0x7fc0_0001, 0x7fc0_0001),
        (0xffc0_0123, 0xffc0_0123, 0xffc0_0123),
        (0x7f00_0000, 0, 0x1fb5_04f3),
    ];
    for (x, inverse, root) in special {
        assert_eq!((reciprocal(x), reciprocal_root(x)), (inverse, root), "{x:x}");
    }
}

#[test]
#[allow(unsafe_code)]
fn samples_agree_with_the_compiler() {
    use std::arch::x86_64::{__m128, __m128i, _mm_add_ps, _mm_madd_epi16, _mm_sad_epu8, _mm_unpacklo_epi8};
    use std::mem::transmute;
    type Two = [u64; 2];
    let (a, b): (Two, Two) =
        ([0x3f80_0000_4048_f5c3, 0x1234_5678_9abc_def0], [0x4000_0000_bf80_0000, 0x0fed_cba9_8765_4321]);
    let run = |bytes: &[u8]| -> Two {
        let mut guest = Fixture::new();
        guest.cpu.vector.ymm[0][..2].copy_from_slice(&a);
        guest.cpu.vector.ymm[1][..2].copy_from_slice(&b);
        guest.execute(bytes).unwrap();
        [guest.cpu.vector.ymm[0][0], guest.cpu.vector.ymm[0][1]]
    };
    // SAFETY: SSE2 is part of x86-64, and these vectors are plain bits.
    unsafe {
        let (x, y) = (transmute::<Two, __m128>(a), transmute::<Two, __m128>(b));
        assert_eq!(run(&ADDPS), transmute::<__m128, Two>(_mm_add_ps(x, y)));
        let (x, y) = (transmute::<Two, __m128i>(a), transmute::<Two, __m128i>(b));
        assert_eq!(run(&[0x66, 0x0f, 0xf5, 0xc1]), transmute::<__m128i, Two>(_mm_madd_epi16(x, y)));
        assert_eq!(run(&[0x66, 0x0f, 0xf6, 0xc1]), transmute::<__m128i, Two>(_mm_sad_epu8(x, y)));
        assert_eq!(run(&[0x66, 0x0f, 0x60, 0xc1]), transmute::<__m128i, Two>(_mm_unpacklo_epi8(x, y)));
    }
}
