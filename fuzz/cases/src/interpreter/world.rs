//! What lies in memory when a run starts: descriptor tables, task states, page tables of all three
//! kinds, handlers, code and data. The script then changes some of it at will.

use x86::Vcpu;
use x86::save::SegmentState;

use super::code;
use crate::script::Script;

/// Bytes of RAM.
pub(super) const RAM_BYTES: usize = 0x4_0000;
/// Global descriptor table.
pub(super) const GDT: u64 = 0x1000;
/// Its limit.
pub(super) const GDT_LIMIT: u32 = 0x1ff;
/// Local descriptor table.
pub(super) const LDT: u64 = 0x1800;
/// Interrupt descriptor table outside IA-32e mode.
pub(super) const IDT32: u64 = 0x2000;
/// Interrupt descriptor table of IA-32e mode.
pub(super) const IDT64: u64 = 0x3000;
/// Task state outside IA-32e mode.
pub(super) const TSS32: u64 = 0x4000;
/// A second one.
const OTHER_TSS32: u64 = 0x4800;
/// Task state of IA-32e mode.
pub(super) const TSS64: u64 = 0x5000;
/// Page-map level 4.
pub(super) const LEVEL4: u64 = 0x6000;
/// The four pointers of PAE paging.
pub(super) const PAE_POINTERS: u64 = 0x8000;
/// The page directory they share with [`LEVEL4`].
pub(super) const PAE_DIRECTORY: u64 = 0x9000;
/// Page directory of 32-bit paging.
pub(super) const PAGE_DIRECTORY: u64 = 0xb000;
/// Handlers of exceptions and interrupts.
const HANDLERS: u64 = 0xe000;
/// Where the code starts.
pub(super) const CODE: u64 = 0x1_0000;
/// Where most registers point.
pub(super) const DATA: u64 = 0x2_0000;

const PRESENT_WRITABLE_USER: u64 = 7;
const GATE_CODE_32: u64 = 0x18;
const GATE_CODE_64: u64 = 0x08;

/// The descriptors of the GDT from its start.
const DESCRIPTORS: [u64; 19] = [
    0,
    0x00af_9b00_0000_ffff,                         // 08 code, 64 bits
    0x00cf_9300_0000_ffff,                         // 10 data
    0x00cf_9b00_0000_ffff,                         // 18 code, 32 bits
    0x0000_9b00_0000_ffff | 0x000f_0000_0000_0000, // 20 code, 16 bits, 1 MiB
    0x0000_9300_0000_ffff,                         // 28 data, 16 bits
    0x00cf_fb00_0000_ffff,                         // 30 code, 32 bits, user
    0x00cf_f300_0000_ffff,                         // 38 data, user
    0x00af_fb00_0000_ffff,                         // 40 code, 64 bits, user
    0x0000_8b00_4000_07ff,                         // 48 the task
    0,
    0x0000_8900_4800_07ff, // 58 another task
    0,
    0x0000_8200_1800_00ff, // 68 LDT
    0,
    0x0000_ec02_0018_e000, // 78 call gate
    0,
    0x0000_e500_0058_0000, // 88 task gate
    0x00cf_9700_0000_0fff, // 90 data, expand-down
];

/// A segment register as loading `selector` from the table would leave it.
pub(super) fn segment(selector: u16) -> SegmentState {
    let loaded = x86::segment::Segment::from_descriptor(selector, DESCRIPTORS[usize::from(selector >> 3)]);
    SegmentState { selector: selector.into(), base: loaded.base, limit: loaded.limit, attr: loaded.attr }
}

/// All of RAM, for a run that starts at `cpu`'s state.
pub(super) fn ram(script: &mut Script<'_>, cpu: &Vcpu) -> Vec<u8> {
    let mut ram = vec![0; RAM_BYTES];
    put_descriptors(&mut ram);
    put_handlers(&mut ram, script);
    put_tasks(&mut ram);
    put_page_tables(&mut ram);
    change(&mut ram, script);
    for (i, byte) in ram[DATA as usize..DATA as usize + 0x1000].iter_mut().enumerate() {
        *byte = (i * 37) as u8;
    }
    code::put(&mut ram, script, cpu);
    ram
}

fn put(ram: &mut [u8], at: u64, word: u64) {
    ram[at as usize..][..8].copy_from_slice(&word.to_le_bytes());
}

fn put_descriptors(ram: &mut [u8]) {
    for (i, descriptor) in (0..).zip(DESCRIPTORS) {
        put(ram, GDT + 8 * i, descriptor);
        put(ram, LDT + 8 * i, descriptor);
    }
    for vector in 0..256 {
        let handler = HANDLERS + 16 * vector;
        // Every fourth gate can be used by user code; every other one leaves interrupts on.
        let access = if vector & 3 == 3 { 0xee } else { 0x8e } + (vector & 1);
        put(ram, IDT32 + 8 * vector, handler | GATE_CODE_32 << 16 | access << 40);
        put(ram, IDT64 + 16 * vector, handler | GATE_CODE_64 << 16 | access << 40 | (vector % 5 % 3) << 32);
        let real = (HANDLERS >> 4 << 16) | (16 * vector);
        ram[4 * vector as usize..][..4].copy_from_slice(&(real as u32).to_le_bytes());
    }
    // A double fault by a task gate.
    put(ram, IDT32 + 8 * 8, 0x0000_8500_0058_0000);
}

/// Each handler is 16 bytes: most return, some are what the script says.
fn put_handlers(ram: &mut [u8], script: &mut Script<'_>) {
    let usual: &[u8] = script.pick(&[
        &[0x48, 0xcf][..],                        // IRETQ (DEC EAX and IRET elsewhere)
        &[0xcf],                                  // IRET
        &[0x48, 0x83, 0xc4, 8, 0x48, 0xcf],       // drop the error code
        &[0x83, 0xc4, 4, 0xcf],                   // the same in 32-bit code
        &[0x48, 0x83, 0x04, 0x24, 1, 0x48, 0xcf], // skip a byte
        &[0xf4, 0xcf],                            // wait first
        &[0xe9, 0xfb, 0x1f, 0, 0],                // on to the code
    ]);
    for vector in 0..256 {
        ram[(HANDLERS + 16 * vector) as usize..][..usual.len()].copy_from_slice(usual);
    }
    for _ in 0..script.u8() % 8 {
        let vector = u64::from(script.u8() % 64);
        let own = script.bytes(16);
        ram[(HANDLERS + 16 * vector) as usize..][..own.len()].copy_from_slice(own);
    }
}

fn put_tasks(ram: &mut [u8]) {
    // ESP0, SS0 and so on.
    for (i, stack) in [0x2_4000_u64, 0x2_5000, 0x2_6000].into_iter().enumerate() {
        put(ram, TSS32 + 4 + 8 * i as u64, stack | 0x10 << 32);
        put(ram, TSS64 + 4 + 8 * i as u64, stack);
        put(ram, TSS64 + 0x24 + 8 * i as u64, stack + 0x800);
    }
    for tss in [TSS32, OTHER_TSS32, TSS64] {
        // The I/O permission bitmap.
        put(ram, tss + 0x64, 0x88 << 16);
    }
    let fields = [(0x1c, LEVEL4), (0x20, CODE + 0x400), (0x24, 2), (0x38, 0x2_7000), (0x48, 0x10), (0x4c, 0x18)];
    for (field, value) in fields {
        ram[(OTHER_TSS32 + field) as usize..][..4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    for field in [0x50, 0x54, 0x58, 0x5c] {
        ram[(OTHER_TSS32 + field) as usize] = 0x10;
    }
}

/// The first 2 MiB are mapped to themselves by 4 KiB pages and again at 2 MiB by a large page, by
/// all three kinds; the last ones of each table, to itself.
fn put_page_tables(ram: &mut [u8]) {
    const POINTERS: u64 = LEVEL4 + 0x1000;
    const PAE_TABLE: u64 = PAE_DIRECTORY + 0x1000;
    const TABLE32: u64 = PAGE_DIRECTORY + 0x1000;
    const LARGE: u64 = 1 << 7;
    let all = PRESENT_WRITABLE_USER;
    put(ram, LEVEL4, POINTERS | all);
    put(ram, LEVEL4 + 511 * 8, LEVEL4 | all);
    put(ram, POINTERS, PAE_DIRECTORY | all);
    put(ram, POINTERS + 8, LARGE | all);
    put(ram, PAE_POINTERS, PAE_DIRECTORY | 1);
    put(ram, PAE_DIRECTORY, PAE_TABLE | all);
    put(ram, PAE_DIRECTORY + 8, LARGE | all);
    put(ram, PAGE_DIRECTORY, TABLE32 | all | (LARGE | all) << 32);
    for page in 0..512 {
        put(ram, PAE_TABLE + 8 * page, page << 12 | all);
        ram[(TABLE32 + 4 * page) as usize..][..4].copy_from_slice(&((page << 12 | all) as u32).to_le_bytes());
    }
}

/// Changes words of the tables.
fn change(ram: &mut [u8], script: &mut Script<'_>) {
    for _ in 0..script.u8() % 16 {
        let at = usize::from(script.u16()) & 0xfff8;
        let word = script.u64();
        match script.u8() % 4 {
            0 => put(ram, at as u64, word),
            1 => ram[at] = word as u8,
            2 => ram[at + 1] = word as u8,
            _ => ram[at + 5] = word as u8,
        }
    }
    // Page-table entries by page, with all the bits that matter.
    for _ in 0..script.u8() % 8 {
        let page = u64::from(script.u8() % 64);
        let table = script.pick(&[PAE_DIRECTORY + 0x1000, PAE_DIRECTORY, LEVEL4, LEVEL4 + 0x1000]);
        let bits = u64::from(script.u16()) & 0x1ff;
        let high = u64::from(script.u8()) << 56;
        put(ram, table + 8 * page, u64::from(script.u8()) << 12 | bits | high);
    }
}
