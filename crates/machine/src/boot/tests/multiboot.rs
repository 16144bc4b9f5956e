//! Tests of the multiboot loader.

use proptest::prelude::*;

use super::elf::{PT_LOAD, elf32, elf64};
use super::*;

/// Puts a multiboot header with `flags` at `at`.
fn put_header(file: &mut Vec<u8>, at: usize, flags: u32, addresses: &[u32]) {
    let checksum = 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
    for (i, word) in [0x1bad_b002, flags, checksum].iter().chain(addresses).enumerate() {
        put(file, at + 4 * i, &word.to_le_bytes());
    }
}

pub(super) fn elf_kernel(is_64: bool) -> Vec<u8> {
    let segment = (PT_LOAD, 5, 0x400, 0xc010_0000, 0x10_0000, 0x30, 0x5000);
    let mut file = if is_64 { elf64(0xc010_0010, &[segment]) } else { elf32(0xc010_0010, &[segment]) };
    file.resize(0x430, 0x90);
    put_header(&mut file, 0x400, 7, &[]);
    file
}

/// A flat binary: header 10h bytes into the image, which starts 20h bytes into the file.
fn flat_kernel(load_end: u32, bss_end: u32) -> Vec<u8> {
    let mut file = vec![0xcc; 0x80];
    put_header(&mut file, 0x30, 1 << 16, &[0x20_0010, 0x20_0000, load_end, bss_end, 0x20_0044]);
    file
}

#[test]
pub(super) fn elf_kernels_are_told_of_the_machine() {
    for is_64 in [false, true] {
        let file = elf_kernel(is_64);
        let modules = [initrd(b"first"), Initrd { name: "two", content: &[2; 5000] }, initrd(b"third")];
        let (ram, state) = load_into_64_mib(&BootRequest { initrds: &modules, ..request(&file) });
        let state = state.expect("a sound kernel");
        assert_eq!((state.mode, state.rip, state.rax), (BootMode::Protected32, 0x10_0010, 0x2bad_b002));
        assert_eq!((state.cr0, state.data.limit, state.cs.attributes), (0x11, u32::MAX, ATTR_CODE32));
        let field = |offset| ram.u32(state.rbx + offset);
        assert_eq!((field(0), field(4), field(8)), (0x24d, 639, 63 << 10));
        assert_eq!(ram.string(field(16).into()), "vm/kernel a=1 b");
        assert_eq!(ram.string(field(64).into()), "chronovisor");
        assert_eq!(field(20), 3);
        let module = |i: u64| [0, 4, 8].map(|at| u64::from(ram.u32(u64::from(field(24)) + 16 * i + at)));
        assert_eq!(module(0)[..2], [0x10_5000, 0x10_5005]);
        assert_eq!(module(1)[..2], [0x10_6000, 0x10_6000 + 5000]);
        assert_eq!(module(2)[0], 0x10_8000);
        assert_eq!(ram.string(module(1)[2]), "two");
        assert_eq!(ram.bytes(0x10_8000), *b"third");
        let map = u64::from(field(48));
        assert_eq!((field(44), ram.u32(map), ram.u64(map + 12), ram.u32(map + 20)), (5 * 24, 20, 0x9_fc00, 1));
    }
}

#[test]
fn flat_kernels_go_where_their_header_says() {
    let (ram, state) = load_into_64_mib(&request(&flat_kernel(0x20_0050, 0x20_0100)));
    assert_eq!(state.map(|state| state.rip), Ok(0x20_0044));
    assert_eq!(ram.u32(0x20_0010), 0x1bad_b002);
    assert_eq!((ram.bytes(0x20_004f), ram.bytes(0x20_0050)), ([0xcc], [0]));
    let (ram, state) = load_into_64_mib(&request(&flat_kernel(0, 0)));
    assert!(state.is_ok());
    assert_eq!((ram.bytes(0x20_005f), ram.bytes(0x20_0060)), ([0xcc], [0]));
}

#[test]
fn loaders_structures_avoid_the_kernel() {
    // This one fills conventional memory, where the structures usually lie.
    let mut file = vec![0; 0x1000];
    put_header(&mut file, 0, 1 << 16, &[0x600, 0x600, 0, 0x9_f000, 0x600]);
    let (ram, state) = load_into_64_mib(&request(&file));
    let state = state.expect("a sound kernel");
    assert!(state.rbx >= 0x9_f000 && state.gdt.base >= 0x9_f000 && state.rsp >= 0x10_0000);
    assert_eq!(ram.string(ram.u32(state.rbx + 16).into()), "vm/kernel a=1 b");
}

#[test]
fn bad_files_are_described() {
    let load = |file: &[u8]| load_into_64_mib(&request(file)).1.expect_err("a bad kernel");
    let mut file = vec![0; 0x100];
    put_header(&mut file, 0, 8, &[]);
    assert!(load(&file).to_string().contains("demands features"));
    put_header(&mut file, 0, 3, &[]);
    assert!(load(&file).to_string().contains("no load addresses"));
    assert!(matches!(load(&flat_kernel(0x20_0061, 0)), BootError::Truncated { .. }));
    assert!(load(&flat_kernel(0x10_0000, 0)).to_string().contains("load end"));
    assert!(matches!(load(&flat_kernel(0, u32::MAX)), BootError::NotRam { .. }));
    let mut astray = flat_kernel(0, 0);
    put(&mut astray, 0x30 + 28, &0x9420_0044_u32.to_le_bytes());
    assert!(matches!(load(&astray), BootError::NotRam { what: "entry point", .. }));
    assert!(matches!(load(&flat_kernel(0, 0)[..0x40]), BootError::Truncated { .. }));
    let mut late = vec![0; 0x3000];
    put_header(&mut late, 8192 - 8, 0, &[]);
    assert!(matches!(load(&late), BootError::UnknownFormat { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics(
        flags in any::<u16>(),
        addresses in prop::collection::vec(prop_oneof![any::<u32>(), 0x1f_fff0..0x20_1000_u32], 5),
        edits in prop::collection::vec((0_usize..0x430, any::<u8>()), 0..12),
    ) {
        let mut flat = vec![0; 0x80];
        put_header(&mut flat, 0x20, u32::from(flags & 7) | 1 << 16, &addresses);
        let _ = load_into_64_mib(&request(&flat));
        for is_64 in [false, true] {
            let mut file = elf_kernel(is_64);
            for &(at, byte) in &edits {
                file[at] = byte;
            }
            put_header(&mut file, 0x400, u32::from(flags & 7), &[]);
            let _ = load_into_64_mib(&request(&file));
        }
    }
}
