//! Areas that cross into a page that is not present.

use super::{FXRSTOR, FXSAVE, XRSTOR, XSAVE, XSAVEC, execute};
use crate::fault::vector;
use crate::vcpu::cr;
use crate::x87::tests::fixture::Fixture;

/// A vCPU in 32-bit mode with paging, whose page at 6000h is not present.
fn paged() -> Fixture {
    let mut guest = Fixture::with_bits(32);
    guest.write(0x3000, &0x4003u32.to_le_bytes());
    for page in 0..8u32 {
        let entry = if page == 6 { 0 } else { page << 12 | 3 };
        guest.write(0x4000 + 4 * u64::from(page), &entry.to_le_bytes());
    }
    guest.cpu.cr3 = 0x3000;
    guest.cpu.cr0 |= cr::CR0_PG;
    guest.cpu.update_mode();
    guest.cpu.gpr[0] = 7;
    guest.cpu.vector.ymm[0] = [1; 4];
    guest
}

#[test]
fn an_absent_second_page_faults_before_the_first_is_written() {
    // The legacy region ends, or the header begins, at the absent page.
    for (bytes, at) in [(FXSAVE, 0x5f00u64), (XSAVE, 0x5e00), (XSAVEC, 0x5e00), (XSAVE, 0x5fc0)] {
        let mut guest = paged();
        guest.cpu.gpr[6] = at;
        let before: [u8; 0x1000] = guest.read(0x5000);
        let fault = guest.execute(bytes).expect_err("the second page is absent");
        assert_eq!((fault.vector, fault.fault_address & !0xfff), (vector::PF, 0x6000), "{bytes:02x?} {at:x}");
        assert!(guest.read::<0x1000>(0x5000) == before);
    }
    for (bytes, at) in [(FXRSTOR, 0x5f00u64), (XRSTOR, 0x5e00)] {
        let mut guest = paged();
        guest.cpu.gpr[6] = at;
        let before = (guest.cpu.x87, guest.cpu.vector);
        let fault = guest.execute(bytes).expect_err("the second page is absent");
        assert_eq!((fault.vector, fault.fault_address & !0xfff), (vector::PF, 0x6000), "{bytes:02x?} {at:x}");
        assert_eq!((guest.cpu.x87, guest.cpu.vector), before);
    }
}

#[test]
fn the_unused_end_of_an_xsavec_image_may_be_absent() {
    // Without AVX state in use XSAVEC ends with the bitmaps, of 16 bytes, of the header.
    let mut guest = paged();
    guest.cpu.vector.ymm[0] = [0; 4];
    guest.cpu.gpr[6] = 0x6000 - 576;
    execute(&mut guest, XSAVEC);
}
