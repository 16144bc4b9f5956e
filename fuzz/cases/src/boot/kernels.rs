//! Small kernels of every kind that can be booted, and changes to them.

use crate::script::Script;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// A program header: kind, file offset, address, length in the file and in memory.
type Header = (u32, u64, u64, u64, u64);

/// The script's kernel.
pub(super) fn kernel(script: &mut Script<'_>) -> Vec<u8> {
    let mut file = match script.u8() % 8 {
        0 | 1 => bz_image(),
        2 => elf(true, &[(PT_LOAD, 0x400, 0x20_0000, 8, 0x2000), (PT_LOAD, 0x400, 0x30_0000, 8, 0x4_0000)]),
        3 => pvh(),
        4 => multiboot_elf(true),
        5 => multiboot_elf(false),
        6 => multiboot_flat(),
        _ => return script.rest().to_vec(),
    };
    while !script.is_over() {
        change(&mut file, script);
    }
    file
}

fn change(file: &mut Vec<u8>, script: &mut Script<'_>) {
    let at = usize::from(script.u16()) % file.len().max(1);
    let value = script.value();
    let len = match script.u8() % 16 {
        0 => {
            file.truncate(at);
            return;
        }
        1 => {
            fix_checksum(file);
            return;
        }
        2..6 => 8,
        6..11 => 4,
        11..13 => 2,
        _ => 1,
    };
    // Numbers stand where their size divides the offset, mostly.
    let at = if script.flag() { at / len * len } else { at };
    put(file, at, &value.to_le_bytes()[..len]);
}

/// Makes the multiboot header valid again after its flags changed.
fn fix_checksum(file: &mut [u8]) {
    let magic = 0x1bad_b002_u32;
    let Some(at) = file.windows(4).position(|word| word == magic.to_le_bytes()) else { return };
    if let Some(&[a, b, c, d]) = file.get(at + 4..at + 8) {
        let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(u32::from_le_bytes([a, b, c, d]));
        if let Some(to) = file.get_mut(at + 8..at + 12) {
            to.copy_from_slice(&checksum.to_le_bytes());
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn bz_image() -> Vec<u8> {
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
    file.resize(file.len() + 0x1000, 0x90);
    file
}

/// An ELF file with its headers in the first 400h bytes.
fn elf(is_64: bool, headers: &[Header]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1];
    let (machine, start, size, at_start, at_size) = if is_64 { (62_u16, 64, 56, 32, 54) } else { (3, 52, 32, 28, 42) };
    put(&mut file, 18, &machine.to_le_bytes());
    put(&mut file, 24, &0x20_0004_u32.to_le_bytes());
    put(&mut file, at_start, &(start as u32).to_le_bytes());
    put(&mut file, at_size, &(size as u16).to_le_bytes());
    put(&mut file, at_size + 2, &(headers.len() as u16).to_le_bytes());
    for (i, &(kind, offset, address, in_file, in_memory)) in headers.iter().enumerate() {
        let at = start + size * i;
        if is_64 {
            put(&mut file, at, &(u64::from(kind) | 5 << 32).to_le_bytes());
            for (j, field) in [offset, address, address, in_file, in_memory, 0x1000].into_iter().enumerate() {
                put(&mut file, at + 8 + 8 * j, &field.to_le_bytes());
            }
        } else {
            let fields = [kind.into(), offset, address, address, in_file, in_memory, 5, 0x1000];
            for (j, field) in fields.into_iter().enumerate() {
                put(&mut file, at + 4 * j, &(field as u32).to_le_bytes());
            }
        }
    }
    file.resize(0x400, 0);
    file.resize(0x480, 0x90);
    file
}

fn pvh() -> Vec<u8> {
    let mut file = elf(true, &[(PT_NOTE, 0x440, 0, 24, 24), (PT_LOAD, 0x400, 0x20_0000, 8, 0x2000)]);
    let note = [4_u32, 8, 18, u32::from_le_bytes(*b"Xen\0"), 0x20_0002, 0];
    put(&mut file, 0x440, &note.map(u32::to_le_bytes).concat());
    file
}

fn put_multiboot(file: &mut Vec<u8>, at: usize, flags: u32, addresses: &[u32]) {
    let header = [0x1bad_b002, flags, 0];
    for (i, word) in header.iter().chain(addresses).enumerate() {
        put(file, at + 4 * i, &word.to_le_bytes());
    }
    fix_checksum(file);
}

fn multiboot_elf(is_64: bool) -> Vec<u8> {
    let mut file = elf(is_64, &[(PT_LOAD, 0x400, 0x20_0000, 0x80, 0x5000)]);
    put_multiboot(&mut file, 0x440, 7, &[]);
    file
}

fn multiboot_flat() -> Vec<u8> {
    let mut file = vec![0xcc; 0x80];
    put_multiboot(&mut file, 0x30, 1 << 16 | 7, &[0x20_0010, 0x20_0000, 0x20_0050, 0x20_0100, 0x20_0044]);
    file
}
