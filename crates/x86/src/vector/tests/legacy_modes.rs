//! Vector instructions outside 64-bit mode: segments, address sizes, fewer registers.

use super::fixture::{Fixture, PAGE, has_avx};
use crate::fault::vector;
use crate::segment::{ATTR_DB, ATTR_L, seg};
use crate::vcpu::cr;

/// 32-bit code in compatibility mode; DS and FS start at [`PAGE`] and are 64 bytes long.
fn compatible() -> Fixture {
    let mut guest = Fixture::new();
    guest.cpu.seg[seg::CS].attr = guest.cpu.seg[seg::CS].attr & !ATTR_L | ATTR_DB;
    for segment in [seg::DS, seg::FS] {
        guest.cpu.seg[segment].base = PAGE;
        guest.cpu.seg[segment].limit = 63;
    }
    guest.cpu.update_mode();
    guest.write(PAGE, &std::array::from_fn::<u8, 64, _>(|i| i as u8));
    guest
}

#[test]
fn operands_obey_segment_limits() {
    let mut guest = compatible();
    let load = [0x0f, 0x10, 0x06]; // movups xmm0, [esi]
    guest.cpu.gpr[6] = 48;
    guest.execute(&load).unwrap();
    assert_eq!(guest.cpu.vector.ymm[0][0], 0x3736_3534_3332_3130);
    guest.cpu.gpr[6] = 49;
    assert_eq!(guest.execute(&load).unwrap_err().vector, vector::GP);
    let add = [0x0f, 0xfc, 0x46, 0x08]; // paddb mm0, [esi+8]
    assert_eq!(guest.execute(&add).unwrap_err().vector, vector::GP);
    assert_eq!(guest.cpu.x87.valid, 0);
}

#[test]
fn byte_masks_choose_within_a_segment() {
    let mut guest = compatible();
    guest.cpu.gpr[7] = 0xffff_0038;
    guest.cpu.vector.ymm[1] = [0x1122_3344_5566_7788, 0x99, 0, 0];
    guest.cpu.vector.ymm[2] = [0x8080, 0, 0, 0];
    // addr16 maskmovdqu fs:[di], xmm1, xmm2
    let store = [0x64, 0x67, 0x66, 0x0f, 0xf7, 0xca];
    guest.execute(&store).unwrap();
    assert_eq!(guest.read::<4>(PAGE + 56), [0x88, 0x77, 58, 59]);
    // A chosen byte behind the limit: nothing is stored.
    guest.cpu.vector.ymm[2] = [0x8000_0000_0000_0000, 0x80, 0, 0];
    assert_eq!(guest.execute(&store).unwrap_err().vector, vector::GP);
    assert_eq!(guest.read::<1>(PAGE + 63), [63]);
}

#[test]
fn gathers_wrap_in_the_address_size() {
    if !has_avx() {
        eprintln!("SKIPPED: gathers need AVX");
        return;
    }
    let mut guest = compatible();
    guest.cpu.gpr[6] = 16;
    guest.cpu.vector.ymm[1] = [0xffff_fff0_0000_0000, 0x2c_0000_0004, 0, 0];
    guest.cpu.vector.ymm[5] = [u64::MAX; 4];
    // vpgatherdd xmm0, [esi+xmm1], xmm5
    guest.execute(&[0xc4, 0xe2, 0x51, 0x90, 0x04, 0x0e]).unwrap();
    assert_eq!(guest.cpu.vector.ymm[0], [0x0302_0100_1312_1110, 0x3f3e_3d3c_1716_1514, 0, 0]);
}

#[test]
fn only_eight_registers_exist() {
    if !has_avx() {
        eprintln!("SKIPPED: VZEROALL needs AVX");
        return;
    }
    let mut guest = compatible();
    guest.cpu.vector.ymm = [[1; 4]; 16];
    guest.execute(&[0xc5, 0xf8, 0x77]).unwrap();
    assert_eq!((guest.cpu.vector.ymm[7], guest.cpu.vector.ymm[8]), ([1, 1, 0, 0], [1; 4]));
    guest.execute(&[0xc5, 0xfc, 0x77]).unwrap();
    assert_eq!((guest.cpu.vector.ymm[7], guest.cpu.vector.ymm[8]), ([0; 4], [1; 4]));
}

#[test]
fn real_mode_has_sse_but_no_avx() {
    let mut guest = Fixture::new();
    guest.cpu.cr0 &= !(cr::CR0_PE | cr::CR0_PG);
    guest.cpu.efer = 0;
    guest.cpu.seg[seg::CS].attr &= !(ATTR_L | ATTR_DB);
    guest.cpu.update_mode();
    guest.cpu.gpr[0] = 0x1234_5678;
    guest.execute(&[0x66, 0x0f, 0x6e, 0xc0]).unwrap();
    assert_eq!(guest.cpu.vector.ymm[0], [0x1234_5678, 0, 0, 0]);
    assert_eq!(guest.execute(&[0xc5, 0xf8, 0x10, 0xc1]).unwrap_err().vector, vector::UD);
}
