//! When instructions fault, and that they change nothing then.

use super::fixture::Fixture;
use crate::fault::vector;
use crate::vcpu::cr;
use crate::x87::number::ONE;
use crate::x87::state::status;

/// What each of the two bits does to FADD, FWAIT and FNINIT.
#[test]
fn em_and_ts_make_the_unit_unavailable() {
    let cases = [
        (cr::CR0_EM, true, false, true),
        (cr::CR0_TS, true, false, true),
        (cr::CR0_MP, false, false, false),
        (cr::CR0_TS | cr::CR0_MP, true, true, true),
        (cr::CR0_EM | cr::CR0_MP, true, false, true),
    ];
    for (bits, add, wait, init) in cases {
        for (bytes, faults) in [(&[0xd8u8, 0xc0][..], add), (&[0x9b], wait), (&[0xdb, 0xe3], init)] {
            let mut guest = Fixture::new();
            guest.cpu.cr0 |= bits;
            let before = guest.cpu.x87;
            let result = guest.execute(bytes);
            assert_eq!(result.is_err(), faults, "{bytes:02x?} with {bits:x}");
            if let Err(fault) = result {
                assert_eq!((fault.vector, fault.error_code), (vector::NM, None));
                assert_eq!(guest.cpu.x87, before);
            }
        }
    }
}

#[test]
fn a_pending_exception_is_raised_by_what_waits() {
    let waiting: [&[u8]; 8] = [
        &[0x9b],
        &[0xd8, 0xc0],
        &[0xd9, 0xd0],
        &[0xd9, 0x2e],
        &[0xdd, 0x26],
        &[0xd9, 0xee],
        &[0xdd, 0x1e],
        &[0xdf, 0xf0],
    ];
    let other: [&[u8]; 7] =
        [&[0xdb, 0xe3], &[0xdb, 0xe2], &[0xdf, 0xe0], &[0xdd, 0x3e], &[0xd9, 0x3e], &[0xd9, 0x36], &[0xdd, 0x36]];
    for (forms, faults) in [(&waiting[..], true), (&other[..], false)] {
        for bytes in forms {
            let mut guest = Fixture::new();
            guest.cpu.x87.set_control(0x37b);
            guest.cpu.x87.push(ONE);
            // 1 / 0
            guest.cpu.x87.push(0);
            guest.execute(&[0xd8, 0xf9]).expect("the division only leaves its exception");
            assert_ne!(guest.cpu.x87.status & status::SUMMARY, 0);
            let before = guest.cpu.x87;
            let result = guest.execute(bytes);
            assert_eq!(result.map_err(|fault| fault.vector).err(), faults.then_some(vector::MF), "{bytes:02x?}");
            assert!(!faults || guest.cpu.x87 == before);
        }
    }
}

#[test]
fn a_memory_fault_changes_nothing() {
    // A segment too short by one byte for each operand.
    let forms: [(&[u8], u32); 12] = [
        (&[0xd9, 0x06], 4),
        (&[0xd9, 0x1e], 4),
        (&[0xdd, 0x06], 8),
        (&[0xdd, 0x1e], 8),
        (&[0xdb, 0x2e], 10),
        (&[0xdb, 0x3e], 10),
        (&[0xdf, 0x36], 10),
        (&[0xde, 0x06], 2),
        (&[0xd9, 0x36], 28),
        (&[0xd9, 0x26], 28),
        (&[0xdd, 0x36], 108),
        (&[0xdd, 0x26], 108),
    ];
    for (bytes, size) in forms {
        for (limit, faults) in [(0x2000 + size - 1, false), (0x2000 + size - 2, true)] {
            let mut guest = Fixture::with_bits(32);
            guest.cpu.seg[crate::segment::seg::DS].limit = limit;
            guest.cpu.x87.push(ONE);
            let before = guest.cpu.x87;
            let result = guest.execute(bytes);
            let vector = result.map_err(|fault| fault.vector).err();
            assert_eq!(vector, faults.then_some(vector::GP), "{bytes:02x?} limit {limit:x}");
            assert!(!faults || guest.cpu.x87 == before, "{bytes:02x?}");
        }
    }
}
