//! Tests of the bzImage loader.

use proptest::prelude::*;

use super::*;
use crate::boot::state::{ATTR_CODE32, ATTR_CODE64};

/// A small file with every field that the loader reads: 2 setup sectors, 4 KiB of kernel, wanted at 2 MiB.
fn image() -> Vec<u8> {
    let mut file = vec![0; 3 * 512];
    file[0x1f1] = 2;
    put(&mut file, 0x1fe, &[0x55, 0xaa, 0xeb, 0x66]);
    put(&mut file, 0x202, b"HdrS");
    put(&mut file, 0x206, &0x020f_u16.to_le_bytes());
    file[0x211] = 1;
    put(&mut file, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut file, 0x230, &0x20_0000_u32.to_le_bytes());
    file[0x234] = 1;
    file[0x236] = 1;
    put(&mut file, 0x238, &2047_u32.to_le_bytes());
    put(&mut file, 0x258, &0x20_0000_u64.to_le_bytes());
    put(&mut file, 0x260, &0x10_0000_u32.to_le_bytes());
    file.extend((0..4096).map(|i| i as u8));
    file
}

#[test]
fn a_kernel_is_entered_as_the_protocol_says() {
    let file = image();
    let initrd = [7; 5000];
    let request =
        BootRequest { initrds: &[super::initrd(&initrd)], rsdp: Some(GuestPhysAddr(0xe_0000)), ..request(&file) };
    let (ram, state) = load_into_64_mib(&request);
    let state = state.expect("a sound kernel");
    assert_eq!(
        (state.mode, state.rip, state.cs.selector, state.data.selector),
        (BootMode::Long64, 0x20_0200, 0x10, 0x18)
    );
    assert_eq!((state.cs.attributes, state.rflags), (ATTR_CODE64, 2));
    assert_eq!(ram.bytes(0x20_0000 + 0x200), [0, 1, 2, 3]);
    let info = state.rsi;
    assert_eq!(ram.bytes(info + 0x202), *b"HdrS");
    assert_eq!(ram.bytes(info + 0x1ef), [0], "the sentinel");
    assert_eq!(ram.bytes(info + 0x210), [0xff]);
    assert_eq!(ram.u64(info + 0x70), 0xe_0000);
    assert_eq!(ram.string(ram.u32(info + 0x228).into()), "a=1 b");
    let initrd_at = u64::from(ram.u32(info + 0x218));
    assert_eq!((initrd_at, ram.u32(info + 0x21c)), (0x3ff_e000, 5000));
    assert_eq!(ram.bytes(initrd_at + 4996), [7, 7, 7, 7, 0]);
    assert_eq!(ram.bytes(info + 0x1e8), [5]);
    assert_eq!((ram.u64(info + 0x2d0 + 60), ram.u64(info + 0x2d0 + 68)), (0x10_0000, 63 << 20));
}

#[test]
fn the_tables_map_and_describe_what_the_state_says() {
    let (ram, state) = load_into_64_mib(&request(&image()));
    let state = state.expect("a sound kernel");
    for address in [0, 0x20_0200, 0xfee0_0000_u64] {
        let pdpt = ram.u64(state.cr3 + 8 * (address >> 39)) & !0xfff;
        let directory = ram.u64(pdpt + 8 * (address >> 30 & 511)) & !0xfff;
        let entry = ram.u64(directory + 8 * (address >> 21 & 511));
        assert_eq!(entry, address & !0x1f_ffff | 0x83);
    }
    let code = ram.u64(state.gdt.base + 0x10);
    assert_eq!(code, 0x00af_9b00_0000_ffff);
    assert_eq!(ram.u64(state.gdt.base + 0x18), 0x00cf_9300_0000_ffff);
    assert_eq!(state.gdt.limit, 47);
    assert_eq!(ram.bytes(0x400), [0xf8, 3]);
}

#[test]
fn a_32_bit_kernel_is_entered_in_protected_mode() {
    let mut file = image();
    file[0x236] = 0;
    let (_, state) = load_into_64_mib(&request(&file));
    let state = state.expect("a sound kernel");
    assert_eq!((state.mode, state.rip, state.cr0), (BootMode::Protected32, 0x20_0000, 0x11));
    assert_eq!((state.cs.attributes, state.cs.selector), (ATTR_CODE32, 0x10));
}

#[test]
fn too_much_for_the_machine_is_said() {
    let file = image();
    let long = "x".repeat(2048);
    let too_long = load_into_64_mib(&BootRequest { command_line: &long, ..request(&file) }).1;
    assert!(matches!(too_long, Err(BootError::CommandLineTooLong { len: 2048, max: 2047, .. })));
    let initrd = vec![0; 64 << 20];
    let too_large = load_into_64_mib(&BootRequest { initrds: &[super::initrd(&initrd)], ..request(&file) }).1;
    assert!(matches!(too_large, Err(BootError::NoRoom { what: "initrd", .. })));
    let mut small = TestRam::new(2);
    assert!(matches!(load(&mut small.0, &request(&file)), Err(BootError::NotRam { .. })));
    let mut old = file.clone();
    old[0x206] = 5;
    assert!(matches!(load_into_64_mib(&request(&old)).1, Err(BootError::BadKernel { .. })));
    assert!(matches!(load_into_64_mib(&request(&file[..0x300])).1, Err(BootError::Truncated { .. })));
}

#[test]
fn an_initrd_stays_below_its_limit() {
    let mut file = image();
    put(&mut file, 0x22c, &0x37_ffff_u32.to_le_bytes());
    let (ram, state) = load_into_64_mib(&BootRequest { initrds: &[super::initrd(b"initrd")], ..request(&file) });
    let info = state.expect("a sound kernel").rsi;
    assert_eq!(ram.u32(info + 0x218), 0x37_f000);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics(edits in prop::collection::vec((0x1f1_usize..0x270, any::<u8>()), 0..12), len in 0..5632_usize) {
        let mut file = image();
        for (at, byte) in edits {
            file[at] = byte;
        }
        let initrd = [1; 100];
        for cut in [len, file.len()] {
            let _ = load_into_64_mib(&BootRequest { initrds: &[super::initrd(&initrd)], ..request(&file[..cut]) });
        }
    }
}
