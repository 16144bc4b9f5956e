//! Instructions with random operands, here and on the host.

use super::enumerate::{decode, instances};
use super::fixture::{Fixture, PAGE, Random, has_avx};
use super::native::{self, Registers};
use iced_x86::{Code, Encoder, EncodingKind, Instruction, Mnemonic, OpKind, Register};

/// A buffer for the host's memory operand.
#[repr(C, align(64))]
struct Operand([u8; 64]);

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

#[test]
fn gathers_and_byte_masks_are_those_of_the_host() {
    if !has_avx() {
        eprintln!("SKIPPED: gathers, which this host does not have");
        return;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let gathers = instances().into_iter().filter(|((code, _), _)| format!("{code:?}").contains("gather"));
    for ((code, _), bytes) in gathers {
        for _ in 0..50 {
            // [r14+xmm1] with mask register 5 and destination 0.
            let index = std::array::from_fn(|_| random.next() & 0x0000_0017_0000_0017);
            let index = if format!("{code:?}").contains("gatherq") { index.map(|i| i & 0x1f) } else { index };
            compare_as(code, &bytes, &mut random, |guest| guest.cpu.vector.ymm[1] = index);
        }
    }
    for bytes in [&[0x0f, 0xf7, 0xca][..], &[0x66, 0x0f, 0xf7, 0xca], &[0xc5, 0xf9, 0xf7, 0xca]] {
        for _ in 0..50 {
            compare_as(decode(bytes).code(), bytes, &mut random, |_| {});
        }
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
    let insn = vary(decode(bytes), random);
    let mut encoder = Encoder::new(64);
    encoder.encode(&insn, 0).unwrap_or_else(|error| panic!("{code:?}: {error}"));
    let bytes = encoder.take_buffer();
    let control = [0, 0x40, 0x8000, 0x8040][(round % 4) as usize] | (random.next() as u32 & 0x603f);
    compare_as(code, &bytes, random, |guest| guest.cpu.vector.mxcsr |= control);
}

fn compare_as(code: Code, bytes: &[u8], random: &mut Random, prepare: impl Fn(&mut Fixture)) {
    let insn = decode(bytes);
    let mut guest = Fixture::with_values(random, value);
    prepare(&mut guest);
    guest.cpu.gpr[7] = PAGE;
    let mut memory = Operand([0; 64]);
    for chunk in memory.0.chunks_mut(8) {
        chunk.copy_from_slice(&value(random).to_le_bytes());
    }
    guest.write(PAGE, &memory.0);
    let mut host = registers(&guest);
    (host.gpr[7], host.gpr[14]) = (memory.0.as_mut_ptr() as u64, memory.0.as_mut_ptr() as u64);
    let result = guest.execute(bytes);
    assert!(result.is_ok(), "{code:?} {bytes:02x?} raised {result:?}");
    native::execute(bytes, &mut host, has_avx());
    let mut ours = registers(&guest);
    ours.gpr[14] = host.gpr[14];
    if ours.gpr[7] == PAGE {
        ours.gpr[7] = host.gpr[7];
    }
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

/// The same instruction with other registers (never RSP, RDI, R14 and R15) and another immediate.
fn vary(mut insn: Instruction, random: &mut Random) -> Instruction {
    for i in 0..insn.op_count() {
        if insn.op_kind(i) == OpKind::Immediate8 {
            insn.set_immediate8(random.next() as u8);
        }
        if insn.op_kind(i) != OpKind::Register {
            continue;
        }
        let old = insn.op_register(i);
        let number = (random.next() % 16) as u32;
        let gpr = if matches!(number, 4 | 7 | 14 | 15) { 9 } else { number };
        insn.set_op_register(
            i,
            match () {
                () if old.is_xmm() => Register::XMM0 + number,
                () if old.is_ymm() => Register::YMM0 + number,
                () if old.is_mm() => Register::MM0 + number % 8,
                () if old.is_gpr32() => Register::EAX + gpr,
                () => Register::RAX + gpr,
            },
        );
    }
    insn
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
fn check_mmx(guest: &Fixture, insn: &Instruction, code: Code) {
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
