//! Instructions with random operands, here and on the host.

use super::enumerate::{decode, instances};
use super::fixture::{Fixture, PAGE, Random};
use super::native::{self, Registers};
use iced_x86::{Code, EncodingKind, Mnemonic, OpKind, Register};

/// A buffer for the host's memory operand.
#[repr(C, align(64))]
struct Operand([u8; 64]);

fn has_avx() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[test]
fn results_are_those_of_the_host() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut skipped = 0;
    for (&(code, _), bytes) in &instances() {
        let vex = code.encoding() == EncodingKind::VEX;
        if vex && !has_avx() {
            skipped += 1;
            continue;
        }
        if has_another_reference(code) {
            continue;
        }
        for round in 0..24 {
            compare(code, bytes, &mut random, round);
        }
    }
    if skipped > 0 {
        eprintln!("SKIPPED: {skipped} AVX instructions, which this host does not have");
    }
}

/// Approximations are not the host's; MASKMOVQ stores through RDI and LDMXCSR needs a valid operand.
fn has_another_reference(code: Code) -> bool {
    use Mnemonic::*;
    matches!(
        code.mnemonic(),
        Rcpps
            | Rcpss
            | Rsqrtps
            | Rsqrtss
            | Vrcpps
            | Vrcpss
            | Vrsqrtps
            | Vrsqrtss
            | Maskmovq
            | Maskmovdqu
            | Vmaskmovdqu
            | Ldmxcsr
            | Vldmxcsr
            | Emms
            | Vgatherdps
            | Vgatherdpd
            | Vgatherqps
            | Vgatherqpd
            | Vpgatherdd
            | Vpgatherdq
            | Vpgatherqd
            | Vpgatherqq
    )
}

/// Numbers that arithmetic treats in special ways, as well as random ones.
fn value(random: &mut Random) -> u64 {
    const SINGLE: [u32; 14] = [
        0,
        0x8000_0000,
        0x3f80_0000,
        0xbf80_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_1234,
        0x7f80_0001,
        1,
        0x8000_0fff,
        0x0080_0000,
        0x7f7f_ffff,
        0x4f00_0000,
        0x4048_f5c3,
    ];
    const DOUBLE: [u64; 12] = [
        0,
        1 << 63,
        0x3ff0_0000_0000_0000,
        0xc000_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff8_0000_0000_1234,
        0x7ff0_0000_0000_0001,
        1,
        0x0010_0000_0000_0000,
        0x7fef_ffff_ffff_ffff,
        0x41e0_0000_0000_0000,
        0x4009_21fb_5444_2d18,
    ];
    let pick = random.next();
    let mut single = || u64::from(SINGLE[(random.next() % 14) as usize]);
    match pick % 8 {
        0 | 1 => single() | single() << 32,
        2 | 3 => DOUBLE[(random.next() % 12) as usize],
        4 => random.next() & 0x0000_0007_0000_0007,
        5 => u64::from((f64::from(random.next() as i32) / 7.0) as f32 as u32) | random.next() << 32,
        6 => (f64::from(random.next() as i32) / 3.0).to_bits(),
        _ => random.next(),
    }
}

fn compare(code: Code, bytes: &[u8], random: &mut Random, round: u64) {
    let mut bytes = bytes.to_vec();
    let insn = decode(&bytes);
    if (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Immediate8) {
        *bytes.last_mut().unwrap() = random.next() as u8;
    }
    let mut guest = Fixture::with_values(random, value);
    guest.cpu.vector.mxcsr = 0x1f80 | [0, 0x40, 0x8000, 0x8040][(round % 4) as usize] | (random.next() as u32 & 0x603f);
    let mut memory = Operand([0; 64]);
    for chunk in memory.0.chunks_mut(8) {
        chunk.copy_from_slice(&value(random).to_le_bytes());
    }
    guest.write(PAGE, &memory.0);
    let mut host = registers(&guest);
    host.gpr[14] = memory.0.as_mut_ptr() as u64;
    let result = guest.execute(&bytes);
    assert!(result.is_ok(), "{code:?} {bytes:02x?} raised {result:?}");
    native::execute(&bytes, &mut host, has_avx());
    let mut ours = registers(&guest);
    ours.gpr[14] = host.gpr[14];
    (ours.gpr[4], ours.gpr[15], ours.mxcsr_host) = (host.gpr[4], host.gpr[15], host.mxcsr_host);
    if insn.rflags_modified() == 0 {
        ours.flags = host.flags;
    }
    ours.flags &= 0x8d5;
    host.flags &= 0x8d5;
    if !has_avx() {
        for (ours, host) in ours.ymm.iter_mut().zip(&host.ymm) {
            ours[2..].copy_from_slice(&host[2..]);
        }
    }
    assert!(ours == host, "{code:?} {bytes:02x?}\n ours {ours:x?}\n host {host:x?}");
    assert_eq!(guest.read::<64>(PAGE), memory.0, "{code:?} {bytes:02x?}: memory");
    check_mmx(&guest, &insn, code);
}

fn registers(guest: &Fixture) -> Registers {
    let cpu = &guest.cpu;
    Registers {
        ymm: cpu.vector.ymm,
        mm: cpu.x87.regs.map(|register| register as u64),
        gpr: std::array::from_fn(|i| cpu.gpr[i]),
        flags: cpu.lazy.to_bits(),
        mxcsr: cpu.vector.mxcsr,
        mxcsr_host: 0,
    }
}

/// MMX instructions set TOP and the tags, and the exponent of what they write.
fn check_mmx(guest: &Fixture, insn: &iced_x86::Instruction, code: Code) {
    let touches = (0..insn.op_count()).any(|i| insn.op_register(i).is_mm());
    let x87 = &guest.cpu.x87;
    let (status, valid) = if touches { (0x0041, 0xff) } else { (0x2841, 0x12) };
    assert_eq!((x87.status, x87.valid), (status, valid), "{code:?}");
    let writes = iced_x86::InstructionInfoFactory::new().info(insn).op0_access() != iced_x86::OpAccess::Read;
    for i in 0..8u32 {
        let written = writes && insn.op0_register() == Register::MM0 + i;
        let exponent = if written { 0xffff } else { 0 };
        assert_eq!((x87.regs[i as usize] >> 64) as u16, exponent, "{code:?} MM{i}");
    }
}
