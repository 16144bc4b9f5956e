//! The guest that the cases of this folder run in: 64-bit mode, everything mapped several times, and handlers that
//! let the code go on behind whatever faulted.
//!
//! The first 4 MiB of linear space are 4 KiB pages over two page tables that the guest can edit. The first MiB is RAM at
//! its own addresses, and RAM again at [`ALIAS`] and, by the same tables, at [`HIGH`]; a 2 MiB page at [`LARGE`] shows RAM to the
//! supervisor whatever those tables say. A device lies at [`DEVICE`].

use x86::flags;
use x86::save::{CpuState, SegmentState, TableState};
use x86::vcpu::cr;
use x86::{CpuModel, Vcpu};

mod handlers;

/// Bytes of RAM.
pub const RAM_BYTES: usize = 0x8_0000;
/// Where code lies, eight pages.
pub const CODE: u64 = 0x2_0000;
/// Bytes of code, a power of two.
pub const CODE_BYTES: u64 = 0x8000;
/// Where data lies, eight pages.
pub const DATA: u64 = 0x3_0000;
/// Bytes of data.
pub const DATA_BYTES: u64 = 0x8000;
/// Behind the last byte of the user's stack, two pages.
pub const STACK_TOP: u64 = 0x3_a000;
/// RAM that nothing uses, for pages that are mapped elsewhere.
pub const SPARE: u64 = 0x4_0000;
/// RAM once more.
pub const ALIAS: u64 = 0x20_0000;
/// RAM as the supervisor's large page shows it.
pub const LARGE: u64 = 0x40_0000;
/// RAM at the top of linear space.
pub const HIGH: u64 = 0xffff_ff80_0000_0000;
/// A page of a device.
pub const DEVICE: u64 = 0x10_0000;
/// The two tables of the first 4 MiB, one behind the other.
pub const TABLES: u64 = 0x4000;
/// What handlers count and remember: eight-byte words.
pub const VARIABLES: u64 = 0x9000;

/// Word of [`VARIABLES`]: faults so far.
const FAULTS: u64 = 0;
/// Interrupts so far.
const INTERRUPTS: u64 = 8;
/// System calls so far.
const CALLS: u64 = 16;
/// Linear address of the code's first byte.
const CODE_BASE: u64 = 24;

const PML4: u64 = 0x1000;
const POINTERS: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const GDT: u64 = 0x6000;
const TSS: u64 = 0x6800;
/// That of a second CPU.
const OTHER_TSS: u64 = 0x6900;
const IDT: u64 = 0x7000;
const HANDLERS: u64 = 0x8000;
const COMMON: u64 = HANDLERS + 0x200;
const INTERRUPT: u64 = HANDLERS + 0x400;
const SYSCALL: u64 = HANDLERS + 0x480;
const TO_KERNEL: u64 = HANDLERS + 0x500;
const TO_USER: u64 = HANDLERS + 0x580;
const DEBUG: u64 = HANDLERS + 0x600;
/// For each byte of code, the offset of the next instruction, two bytes each.
const NEXT: u64 = 0x1_0000;
const STACKS: u64 = 0x3_c000;
const OTHER_STACKS: u64 = 0xb000;

/// Selectors.
const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
const USER_DATA: u16 = 0x23;
const USER_CODE: u16 = 0x2b;
/// Compatibility mode.
const USER_CODE_32: u16 = 0x1b;
const DESCRIPTORS: [u64; 6] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];

/// INT with this vector goes on in ring 0.
pub const INT_TO_KERNEL: i32 = 0x81;
/// INT with this vector goes on in ring 3.
pub const INT_TO_USER: i32 = 0x82;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;
const ALL: u64 = PRESENT | WRITABLE | USER;

/// What may vary.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The CPU.
    pub model: CpuModel,
    /// Whether the code starts in ring 3.
    pub user: bool,
    /// 32-bit code in compatibility mode (ring 3).
    pub compatibility: bool,
    /// Where RAM appears that code and data are addressed in: 0, [`ALIAS`] or [`HIGH`].
    pub base: u64,
    /// Whether #PF makes the page accessible, every other time, instead of skipping the instruction.
    pub mends_pages: bool,
    /// Whether it executes INVLPG then.
    pub flushes: bool,
    /// Bits of CR4 beside those that are needed.
    pub cr4: u64,
    /// Whether ring 3 may write to the page tables.
    pub open_tables: bool,
}

impl World {
    /// RAM with `code` in it; `starts` are the offsets of its instructions, in order.
    pub fn ram(&self, code: &[u8], starts: &[usize]) -> Vec<u8> {
        let mut ram = vec![0; RAM_BYTES];
        self.put_page_tables(&mut ram);
        put_tables(&mut ram);
        self.put_handlers(&mut ram);
        put_code(&mut ram, code, starts);
        put(&mut ram, VARIABLES + CODE_BASE, self.base + CODE);
        for (i, byte) in ram[DATA as usize..(DATA + DATA_BYTES) as usize].iter_mut().enumerate() {
            *byte = (i * 37 + (i >> 8) * 11) as u8;
        }
        ram
    }

    /// The entry of a page table for the RAM page of `physical`.
    fn entry(&self, physical: u64) -> u64 {
        let users = CODE..STACK_TOP;
        let tables = TABLES..TABLES + 0x2000;
        let user = users.contains(&physical) || physical >= SPARE || self.open_tables && tables.contains(&physical);
        physical | PRESENT | WRITABLE | if user { USER } else { 0 }
    }

    fn put_page_tables(&self, ram: &mut [u8]) {
        put(ram, PML4, POINTERS | ALL);
        put(ram, PML4 + 8 * 511, POINTERS | ALL);
        put(ram, POINTERS, DIRECTORY | ALL);
        put(ram, DIRECTORY, TABLES | ALL);
        put(ram, DIRECTORY + 8, (TABLES + 0x1000) | ALL);
        put(ram, DIRECTORY + 16, PRESENT | WRITABLE | 1 << 7);
        for page in (0..RAM_BYTES as u64).step_by(4096) {
            put(ram, TABLES + (page >> 9), self.entry(page));
            put(ram, TABLES + 0x1000 + (page >> 9), self.entry(page));
        }
        put(ram, TABLES + (DEVICE >> 9), 0xf000_0000 | ALL);
    }

    /// The CPU at the first instruction of the code.
    pub fn cpu(&self) -> Vcpu {
        let mut cpu = Vcpu::new(self.model, 0, 1);
        let mut state = cpu.save();
        state.cr0 = cr::CR0_PE | cr::CR0_ET | cr::CR0_MP | cr::CR0_NE | cr::CR0_WP | cr::CR0_AM | cr::CR0_PG;
        state.cr3 = PML4;
        state.cr4 = cr::CR4_PAE | cr::CR4_OSFXSR | cr::CR4_OSXMMEXCPT | cr::CR4_OSXSAVE | self.cr4;
        state.efer = cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE | cr::EFER_SCE;
        state.xcr0 = self.model.xcr0_supported();
        state.rflags = flags::FIXED | flags::IF;
        self.set_segments(&mut state);
        state.gdtr = TableState { base: GDT, limit: 0x3f };
        state.idtr = TableState { base: IDT, limit: 0xfff };
        state.msrs.star = 0x0018_0008 << 32;
        state.msrs.lstar = SYSCALL;
        state.msrs.fmask = flags::IF;
        state.msrs.kernel_gs_base = self.base + DATA + 0x40;
        state.gpr = (0..16).map(|i| self.base + DATA + 0x410 * i).collect();
        state.gpr[4] = self.base + STACK_TOP - 0x200;
        state.rip = self.base + CODE;
        // Far from where it could overflow, and not zero, so that code that counts from zero is found out.
        state.count = 1_000_003;
        cpu.restore(&state).unwrap_or_else(|error| panic!("a state that can be is refused: {error}"));
        cpu
    }

    /// Another CPU at the same place, in ring 3 or, if the code allows it, in ring 0, with stacks of its own.
    pub fn second_cpu(&self, user: bool) -> Vcpu {
        let first = World { user: user || self.compatibility, ..*self }.cpu();
        let mut state = first.save();
        state.segments[7].base = OTHER_TSS;
        state.gpr[4] -= 0x800;
        state.gpr[8..].iter_mut().for_each(|gpr| *gpr ^= 0xff8);
        let mut cpu = Vcpu::new(self.model, 1, 2);
        cpu.restore(&state).unwrap_or_else(|error| panic!("a state that can be is refused: {error}"));
        cpu
    }

    fn set_segments(&self, state: &mut CpuState) {
        let (code, data) = match () {
            () if self.compatibility => (USER_CODE_32, USER_DATA),
            () if self.user => (USER_CODE, USER_DATA),
            () => (KERNEL_CODE, KERNEL_DATA),
        };
        state.segments[..6].fill(segment(data));
        state.segments[1] = segment(code);
        state.segments[4].base = self.base + 0x30;
        state.segments[5].base = self.base + DATA;
        state.segments[7] = SegmentState { selector: 0x30, base: TSS, limit: 0x67, attr: 0x8b };
        if self.compatibility {
            (state.segments[4].base, state.segments[5].base) = (0, 0);
        }
    }
}

/// A segment register as loading `selector` would leave it.
fn segment(selector: u16) -> SegmentState {
    let loaded = x86::segment::Segment::from_descriptor(selector, DESCRIPTORS[usize::from(selector >> 3)]);
    SegmentState { selector: selector.into(), base: loaded.base, limit: loaded.limit, attr: loaded.attr }
}

fn put(ram: &mut [u8], at: u64, word: u64) {
    ram[at as usize..][..8].copy_from_slice(&word.to_le_bytes());
}

fn put_tables(ram: &mut [u8]) {
    for (i, descriptor) in (0..).zip(DESCRIPTORS) {
        put(ram, GDT + 8 * i, descriptor);
    }
    // The task's descriptor.
    put(ram, GDT + 0x30, 0x0000_8b00_0000_0067 | (TSS & 0xffff) << 16);
    for (tss, stacks) in [(TSS, STACKS), (OTHER_TSS, OTHER_STACKS)] {
        put(ram, tss + 4, stacks);
        for stack in 1..=7 {
            put(ram, tss + 0x1c + 8 * stack, stacks + 0x800 * stack);
        }
        put(ram, tss + 0x66, 0x68);
    }
    for vector in 0..256 {
        // Faults, interrupts, INTs and NMIs each have a stack of their own: the code's may be anywhere.
        let (target, stack, rights) = match vector {
            1 => (DEBUG, 5, 0x8e),
            2 => (INTERRUPT, 4, 0x8e),
            3 | 4 => (HANDLERS + 16 * vector, 1, 0xee),
            0..32 => (HANDLERS + 16 * vector, 1, 0x8e),
            0x81 => (TO_KERNEL, 3, 0xee),
            0x82 => (TO_USER, 3, 0xee),
            _ => (INTERRUPT, 2, 0x8e),
        };
        put(ram, IDT + 16 * vector, target | u64::from(KERNEL_CODE) << 16 | stack << 32 | rights << 40);
    }
}

fn put_code(ram: &mut [u8], code: &[u8], starts: &[usize]) {
    assert!(code.len() <= CODE_BYTES as usize, "{} bytes of code", code.len());
    ram[CODE as usize..][..code.len()].copy_from_slice(code);
    let mut next = starts.iter().copied().peekable();
    for at in 0..CODE_BYTES as usize {
        while next.next_if(|&start| start <= at).is_some() {}
        // Behind the last instruction comes the first.
        let target = next.peek().copied().unwrap_or(0) as u16;
        ram[NEXT as usize + 2 * at..][..2].copy_from_slice(&target.to_le_bytes());
    }
}
