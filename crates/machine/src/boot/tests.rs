//! What all loaders are tested with, and the tests of recognition.

mod bzimage;
mod elf;
mod multiboot;

use x86::GuestPhysAddr;

use super::*;

/// RAM for a test, with reads by guest-physical address.
pub(super) struct TestRam(pub RamMapping);

impl TestRam {
    pub fn new(mib: u64) -> Self {
        Self(RamMapping::new(mib << 20).expect("RAM for a test"))
    }

    pub fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let offset = self.0.layout().offset_of(GuestPhysAddr(at), N as u64).expect("an address in RAM");
        let mut bytes = [0; N];
        self.0.read(offset, &mut bytes).expect("an offset in RAM");
        bytes
    }

    pub fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    pub fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    /// The C string at `at`.
    pub fn string(&self, at: u64) -> String {
        (at..).map(|at| self.bytes::<1>(at)[0]).take_while(|&byte| byte != 0).map(char::from).collect()
    }
}

/// Writes `bytes` into `file` at `offset`, making it longer if need be.
pub(super) fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn initrd(content: &[u8]) -> Initrd<'_> {
    Initrd { name: "initrd.gz", content }
}

pub(super) fn request(kernel: &[u8]) -> BootRequest<'_> {
    BootRequest { kernel_path: "vm/kernel", kernel, initrds: &[], command_line: "a=1 b", rsdp: None }
}

/// Loads `kernel` into a machine of 64 MiB.
pub(super) fn load_into_64_mib(request: &BootRequest) -> (TestRam, Result<BootState, BootError>) {
    let mut ram = TestRam::new(64);
    let result = load(&mut ram.0, request);
    (ram, result)
}

#[test]
fn what_no_loader_knows_is_refused() {
    for file in [&b""[..], b"#!/bin/sh\n", &[0; 70_000]] {
        let (_, result) = load_into_64_mib(&request(file));
        assert_eq!(result, Err(BootError::UnknownFormat { kernel: "vm/kernel".into() }));
    }
}

#[test]
fn requests_are_checked_first() {
    let with_nul = BootRequest { command_line: "a\0b", ..request(b"") };
    assert_eq!(load_into_64_mib(&with_nul).1, Err(BootError::CommandLineNul));
    let empty_initrd = BootRequest { initrds: &[initrd(b"x"), Initrd { name: "no", content: b"" }], ..request(b"") };
    assert_eq!(load_into_64_mib(&empty_initrd).1, Err(BootError::EmptyInitrd { name: "no".into() }));
}

#[test]
fn initrds_are_joined_on_four_bytes() {
    assert_eq!(joined_initrds(&[initrd(b"abcde"), initrd(b"f")]), b"abcde\0\0\0f");
    assert!(joined_initrds(&[]).is_empty());
}

#[test]
fn real_mode_finds_vectors_a_tick_and_a_way_to_reset() {
    let kernel = multiboot::elf_kernel(false);
    let (ram, state) = load_into_64_mib(&request(&kernel));
    state.expect("a sound kernel");
    let at = |vector: u64| {
        let far = ram.u32(4 * vector);
        u64::from(far >> 16) * 16 + u64::from(far & 0xffff)
    };
    assert_eq!(ram.bytes(at(0x10)), [0xcf], "IRET");
    assert_eq!(at(0x10), at(0xff));
    assert_ne!(at(8), at(0x10));
    assert_eq!(ram.bytes(0xf_fff0), [0xea, 0x5b, 0xe0, 0x00, 0xf0]);
}
