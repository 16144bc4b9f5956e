//! Memory operands: exactly their bytes, alignment, masks, and nothing changed by a fault.

use super::enumerate::{decode, instances};
use super::fixture::{ABSENT, Fixture, PAGE, READ_ONLY, has_avx};
use crate::fault::{Exception, vector};
use iced_x86::{Code, EncodingKind, Mnemonic};

const GP0: Exception = Exception { vector: vector::GP, error_code: Some(0), fault_address: 0, dr6: 0 };

fn page_fault(address: u64, error_code: u32) -> Exception {
    Exception { vector: vector::PF, error_code: Some(error_code), fault_address: address, dr6: 0 }
}

#[test]
fn operands_end_where_they_should() {
    if !has_avx() {
        eprintln!("SKIPPED: AVX instructions, which this host does not have");
    }
    for (&(code, register), bytes) in &instances() {
        let insn = decode(bytes);
        use Mnemonic::*;
        let elsewhere = matches!(insn.mnemonic(), Vmaskmovps | Vmaskmovpd | Vpmaskmovd | Vpmaskmovq)
            || insn.is_vsib()
            || matches!(insn.mnemonic(), Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2);
        let absent = code.encoding() == EncodingKind::VEX && !has_avx();
        if absent || register || elsewhere || insn.op_count() == 0 || insn.memory_base() != iced_x86::Register::R14 {
            continue;
        }
        let size = insn.memory_size().size() as u64;
        let mut guest = Fixture::new();
        guest.cpu.gpr[14] = ABSENT - size;
        assert!(guest.execute(bytes).is_ok(), "{code:?} at the end of a page");
        let mut guest = Fixture::new();
        guest.cpu.gpr[14] = ABSENT - size + 1;
        let (before, memory) = (state(&guest), guest.read::<64>(ABSENT - 64));
        let fault = guest.execute(bytes).expect_err("half of the operand is missing");
        let missing = fault.vector == vector::PF && fault.fault_address == ABSENT;
        assert!(missing || fault == GP0, "{code:?} across the end of a page: {fault:?}");
        assert_eq!(state(&guest), before, "{code:?}");
        assert_eq!(guest.read::<64>(ABSENT - 64), memory, "{code:?}");
    }
}

fn state(guest: &Fixture) -> impl PartialEq + std::fmt::Debug + use<> {
    let cpu = &guest.cpu;
    (cpu.gpr, cpu.vector, cpu.x87, cpu.lazy)
}

#[test]
fn alignment_is_checked_where_the_manual_says() {
    let cases: [(&[u8], bool); 10] = [
        (&[0x41, 0x0f, 0x28, 0x06], false),               // movaps xmm0, [r14]
        (&[0x41, 0x0f, 0x10, 0x06], true),                // movups xmm0, [r14]
        (&[0x66, 0x41, 0x0f, 0xfc, 0x06], false),         // paddb xmm0, [r14]
        (&[0x66, 0x41, 0x0f, 0xe7, 0x06], false),         // movntdq [r14], xmm0
        (&[0xf2, 0x41, 0x0f, 0xf0, 0x06], true),          // lddqu xmm0, [r14]
        (&[0x66, 0x41, 0x0f, 0x3a, 0x63, 0x06, 0], true), // pcmpistri xmm0, [r14], 0
        (&[0x41, 0x0f, 0x53, 0x06], false),               // rcpps xmm0, [r14]
        (&[0xf3, 0x41, 0x0f, 0x53, 0x06], true),          // rcpss xmm0, [r14]
        (&[0xc4, 0xc1, 0x79, 0xfc, 0x06], true),          // vpaddb xmm0, xmm0, [r14]
        (&[0xc4, 0xc1, 0x7c, 0x28, 0x06], false),         // vmovaps ymm0, [r14]
    ];
    for (bytes, free) in cases {
        if bytes[0] == 0xc4 && !has_avx() {
            eprintln!("SKIPPED: {bytes:02x?} needs AVX");
            continue;
        }
        let mut guest = Fixture::new();
        guest.cpu.gpr[14] = PAGE + 8;
        assert_eq!(guest.execute(bytes).err(), (!free).then_some(GP0), "{bytes:02x?}");
        guest.cpu.gpr[14] = PAGE + 32;
        assert_eq!(guest.execute(bytes).err(), None, "{bytes:02x?}");
    }
}

#[test]
fn stores_to_read_only_pages_fault() {
    let mut guest = Fixture::new();
    guest.cpu.gpr[14] = READ_ONLY;
    let fault = guest.execute(&[0x41, 0x0f, 0x11, 0x06]).unwrap_err();
    assert_eq!(fault, page_fault(READ_ONLY, 3));
    assert!(guest.execute(&[0x41, 0x0f, 0x10, 0x06]).is_ok());
}

#[test]
fn masked_elements_do_not_fault() {
    // vmaskmovps xmm0, xmm5, [r14] and vmaskmovps [r14], xmm5, xmm0
    let (load, store) = ([0xc4, 0xc2, 0x51, 0x2c, 0x06], [0xc4, 0xc2, 0x51, 0x2e, 0x06]);
    let mut guest = Fixture::new();
    guest.write(ABSENT - 8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    guest.cpu.gpr[14] = ABSENT - 8;
    guest.cpu.vector.ymm[0] = [u64::MAX; 4];
    guest.cpu.vector.ymm[5] = [0x8000_0000_0000_0000, 0x7fff_ffff_7fff_ffff, u64::MAX, u64::MAX];
    guest.execute(&load).unwrap();
    assert_eq!(guest.cpu.vector.ymm[0], [0x0807_0605_0000_0000, 0, 0, 0]);
    guest.cpu.vector.ymm[0][0] = 0x1111_1111_2222_2222;
    guest.execute(&store).unwrap();
    assert_eq!(guest.read::<8>(ABSENT - 8), [1, 2, 3, 4, 0x11, 0x11, 0x11, 0x11]);
    // With the third element too, nothing is stored.
    guest.cpu.vector.ymm[5][1] = 0x8000_0000;
    guest.cpu.vector.ymm[0][0] = 0;
    assert_eq!(guest.execute(&store).unwrap_err(), page_fault(ABSENT, 2));
    assert_eq!(guest.read::<8>(ABSENT - 8), [1, 2, 3, 4, 0x11, 0x11, 0x11, 0x11]);
    // An empty mask reaches nothing.
    guest.cpu.vector.ymm[5] = [0; 4];
    guest.cpu.gpr[14] = 1 << 60;
    guest.execute(&load).unwrap();
    guest.execute(&store).unwrap();
}

#[test]
fn a_gather_that_faults_goes_on_behind_what_it_has() {
    // vpgatherdd xmm0, [r14+xmm1], xmm5
    let bytes = [0xc4, 0xc2, 0x51, 0x90, 0x04, 0x0e];
    assert_eq!(decode(&bytes).code(), Code::VEX_Vpgatherdd_xmm_vm32x_xmm);
    let mut guest = Fixture::new();
    guest.write(PAGE, &[0xaa; 16]);
    guest.cpu.vector.ymm[0] = [7; 4];
    guest.cpu.vector.ymm[1] = [0x4_0000_0000, 0x1000, 0, 0];
    guest.cpu.vector.ymm[5] = [u64::MAX, 0x8000_0000_8000_0000, u64::MAX, u64::MAX];
    assert_eq!(guest.execute(&bytes).unwrap_err(), page_fault(ABSENT, 0));
    assert_eq!(guest.cpu.vector.ymm[0], [0xaaaa_aaaa_aaaa_aaaa, 7, 0, 0]);
    assert_eq!(guest.cpu.vector.ymm[5], [0, u64::MAX, 0, 0]);
    guest.cpu.vector.ymm[1][1] = 0;
    guest.execute(&bytes).unwrap();
    assert_eq!(guest.cpu.vector.ymm[0], [0xaaaa_aaaa_aaaa_aaaa, 0xaaaa_aaaa_aaaa_aaaa, 0, 0]);
    assert_eq!(guest.cpu.vector.ymm[5], [0; 4]);
}
