//! Tests of the loaders of ELF kernels: PVH and vmlinux.

use proptest::prelude::*;

use super::*;

pub(super) const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const CODE: u32 = 5;
const DATA: u32 = 6;

/// A program header: kind, flags, file offset, virtual and physical address, length in file and memory.
pub(super) type Header = (u32, u32, u64, u64, u64, u64, u64);

pub(super) fn elf64(entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    put(&mut file, 18, &62_u16.to_le_bytes());
    put(&mut file, 24, &entry.to_le_bytes());
    put(&mut file, 32, &64_u64.to_le_bytes());
    put(&mut file, 54, &56_u16.to_le_bytes());
    put(&mut file, 56, &(headers.len() as u16).to_le_bytes());
    for (i, &(kind, flags, offset, vaddr, paddr, filesz, memsz)) in headers.iter().enumerate() {
        let at = 64 + 56 * i;
        put(&mut file, at, &kind.to_le_bytes());
        put(&mut file, at + 4, &flags.to_le_bytes());
        for (j, field) in [offset, vaddr, paddr, filesz, memsz, 0x1000].into_iter().enumerate() {
            put(&mut file, at + 8 + 8 * j, &field.to_le_bytes());
        }
    }
    file.resize(0x400, 0);
    file
}

pub(super) fn elf32(entry: u32, headers: &[Header]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    put(&mut file, 18, &3_u16.to_le_bytes());
    put(&mut file, 24, &entry.to_le_bytes());
    put(&mut file, 28, &52_u32.to_le_bytes());
    put(&mut file, 42, &32_u16.to_le_bytes());
    put(&mut file, 44, &(headers.len() as u16).to_le_bytes());
    for (i, &(kind, flags, offset, vaddr, paddr, filesz, memsz)) in headers.iter().enumerate() {
        let fields = [kind, offset as u32, vaddr as u32, paddr as u32, filesz as u32, memsz as u32, flags, 0x1000];
        for (j, field) in fields.into_iter().enumerate() {
            put(&mut file, 52 + 32 * i + 4 * j, &field.to_le_bytes());
        }
    }
    file.resize(0x400, 0);
    file
}

/// Code at 2 MiB, linked high, and a percpu segment linked to address 0.
fn vmlinux() -> Vec<u8> {
    let high = 0xffff_ffff_8000_0000;
    let mut file = elf64(
        0x20_0010,
        &[
            (PT_LOAD, CODE, 0x400, high + 0x20_0000, 0x20_0000, 8, 0x2000),
            (PT_LOAD, DATA, 0x400, 0, 0x30_0000, 8, 0x40_0000),
        ],
    );
    file.extend(b"kernel!!");
    file
}

fn pvh() -> Vec<u8> {
    let mut file =
        elf64(0, &[(PT_NOTE, 4, 0x408, 0, 0, 48, 48), (PT_LOAD, CODE, 0x400, 0x20_0000, 0x20_0000, 8, 0x2000)]);
    file.extend(b"kernel!!");
    for (kind, content) in [(6_u32, &b"linux"[..]), (18, &[0x20, 0, 0x20, 0, 0, 0, 0, 0])] {
        file.extend([4, content.len() as u32, kind].map(u32::to_le_bytes).concat());
        file.extend(b"Xen\0");
        file.extend(content);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    file
}

#[test]
fn vmlinux_is_entered_in_64_bit_mode() {
    let file = vmlinux();
    let request = BootRequest { initrds: &[initrd(b"abc")], ..request(&file) };
    let mut ram = TestRam::new(64);
    ram.0.write(0x20_0008, &[0xff; 0x100]).expect("RAM");
    let state = load(&mut ram.0, &request).expect("a sound kernel");
    assert_eq!((state.mode, state.rip), (BootMode::Long64, 0x20_0010));
    assert_eq!(ram.bytes(0x20_0000), *b"kernel!!\0\0\0\0");
    assert_eq!(ram.u32(state.rsi + 0x21c), 3);
    assert_eq!(ram.bytes(state.rsi + 0x202), *b"HdrS");
    assert_eq!(ram.string(ram.u32(state.rsi + 0x228).into()), "a=1 b");
}

#[test]
fn a_virtual_entry_point_is_translated() {
    let mut file = vmlinux();
    put(&mut file, 24, &0xffff_ffff_8020_0004_u64.to_le_bytes());
    assert_eq!(load_into_64_mib(&request(&file)).1.map(|state| state.rip), Ok(0x20_0004));
}

#[test]
fn pvh_is_entered_at_its_note() {
    let file = pvh();
    let request = BootRequest { initrds: &[initrd(b"abcde")], rsdp: Some(GuestPhysAddr(0xe_0000)), ..request(&file) };
    let (ram, state) = load_into_64_mib(&request);
    let state = state.expect("a sound kernel");
    assert_eq!((state.mode, state.rip, state.cr0, state.cr4), (BootMode::Protected32, 0x20_0020, 0x11, 0));
    let info = state.rbx;
    assert_eq!([0, 4, 8, 12].map(|at| ram.u32(info + at)), [0x336e_c578, 1, 0, 1]);
    assert_eq!(ram.string(ram.u64(info + 24)), "a=1 b");
    assert_eq!(ram.u64(info + 32), 0xe_0000);
    let module = ram.u64(info + 16);
    assert_eq!((ram.bytes(ram.u64(module)), ram.u64(module + 8)), (*b"abcde", 5));
    let map = ram.u64(info + 40);
    assert_eq!((ram.u32(info + 48), ram.u64(map), ram.u64(map + 8), ram.u32(map + 16)), (5, 0, 0x9_fc00, 1));
}

#[test]
fn bad_files_are_described() {
    let load = |file: &[u8]| load_into_64_mib(&request(file)).1.expect_err("a bad kernel");
    let outside = elf64(0, &[(PT_LOAD, CODE, 0, 0, 0x9_f000, 8, 0x2000)]);
    assert!(matches!(load(&outside), BootError::NotRam { start: 0x9_f000, end: 0xa_1000, .. }));
    let twice = (PT_LOAD, CODE, 0, 0, 0x20_0000, 8, 8);
    assert!(matches!(load(&elf64(0, &[twice, twice])), BootError::NotRam { .. }));
    let wrapping = elf64(0, &[(PT_LOAD, CODE, 0, 0, u64::MAX, 0, u64::MAX)]);
    assert!(matches!(load(&wrapping), BootError::NotRam { .. }));
    let shrinking = elf64(0, &[(PT_LOAD, CODE, 0, 0, 0x20_0000, 8, 7)]);
    assert!(load(&shrinking).to_string().contains("longer in the file"));
    assert!(load(&elf64(0, &[])).to_string().contains("nothing to load"));
    assert!(load(&elf32(0, &[twice])).to_string().contains("32-bit"));
    assert!(matches!(load(&elf64(0, &[(PT_NOTE, 4, 0x3f0, 0, 0, 99, 99)])), BootError::Truncated { .. }));
    assert!(load(&elf64(0, &[(3, 4, 0, 0, 0, 1, 1)])).to_string().contains("dynamic linker"));
    let mut arm = vmlinux();
    arm[18] = 183;
    assert!(load(&arm).to_string().contains("another processor"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics(edits in prop::collection::vec((4_usize..0x450, any::<u8>()), 0..12), len in 4..0x450_usize) {
        for mut file in [vmlinux(), pvh()] {
            file.resize(0x450, 0);
            for &(at, byte) in &edits {
                file[at] = byte;
            }
            let initrd = [1; 100];
            for cut in [len, file.len()] {
                let _ = load_into_64_mib(&BootRequest { initrds: &[super::initrd(&initrd)], ..request(&file[..cut]) });
            }
        }
    }
}
