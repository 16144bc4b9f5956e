//! The state a run starts from: one of the processor's modes, in the world of [`super::world`], with
//! everything else as the script says.

use x86::flags;
use x86::save::{CpuState, SegmentState, TableState};
use x86::vcpu::cr;
use x86::{CpuModel, Vcpu};

use super::world;
use crate::script::Script;

/// The kinds of state; their numbers are part of the committed inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Real,
    Protected16,
    Protected32,
    Paged32,
    Pae32,
    Virtual86,
    Long64,
    Compatibility,
}

const KINDS: [Kind; 12] = [
    Kind::Long64,
    Kind::Real,
    Kind::Protected32,
    Kind::Pae32,
    Kind::Long64,
    Kind::Virtual86,
    Kind::Paged32,
    Kind::Compatibility,
    Kind::Protected16,
    Kind::Long64,
    Kind::Real,
    Kind::Protected32,
];

/// Bits of CR0, CR4 and RFLAGS that every mode can have.
const CR0_FREE: u64 = cr::CR0_MP | cr::CR0_EM | cr::CR0_TS | cr::CR0_NE | cr::CR0_WP | cr::CR0_AM | cr::CR0_CD;
const CR4_FREE: u64 = cr::CR4_VME
    | cr::CR4_PVI
    | cr::CR4_TSD
    | cr::CR4_DE
    | cr::CR4_PSE
    | cr::CR4_MCE
    | cr::CR4_PGE
    | cr::CR4_PCE
    | cr::CR4_UMIP
    | cr::CR4_FSGSBASE;
/// All pages are user pages: with these, little runs.
const CR4_SELDOM: u64 = cr::CR4_SMEP | cr::CR4_SMAP;
const CR4_VECTOR: u64 = cr::CR4_OSFXSR | cr::CR4_OSXMMEXCPT | cr::CR4_OSXSAVE;
const RFLAGS_FREE: u64 = flags::ALL & !flags::VM & !flags::TF & !flags::RF;

const REAL_SEGMENT: u32 = 0x93;
const TSS_SELECTOR: u16 = 0x48;

/// The first state.
pub(super) fn first(script: &mut Script<'_>, model: CpuModel) -> Vcpu {
    let mut cpu = Vcpu::new(model, 0, 2);
    let mut state = cpu.save();
    let kind = script.pick(&KINDS);
    let user = script.one_in(4);
    set_mode(&mut state, kind, user);
    set_tables(&mut state, kind);
    set_free_bits(&mut state, kind, script);
    set_registers(&mut state, script);
    set_units(&mut state, script, model);
    set_events(&mut state, script);
    cpu.restore(&state).unwrap_or_else(|error| panic!("a state that can be is refused: {error}"));
    cpu
}

/// Paging, privilege and segments.
fn set_mode(state: &mut CpuState, kind: Kind, user: bool) {
    let rpl = if user { 3 } else { 0 };
    let (control, cr3, code, data) = match kind {
        Kind::Real | Kind::Virtual86 => ((0, 0, 0), world::PAGE_DIRECTORY, 0, 0),
        Kind::Protected16 => ((cr::CR0_PE, 0, 0), 0, 0x20, 0x28),
        Kind::Protected32 => ((cr::CR0_PE, 0, 0), 0, if user { 0x30 } else { 0x18 }, if user { 0x38 } else { 0x10 }),
        Kind::Paged32 => (
            (cr::CR0_PE | cr::CR0_PG, 0, 0),
            world::PAGE_DIRECTORY,
            if user { 0x30 } else { 0x18 },
            if user { 0x38 } else { 0x10 },
        ),
        Kind::Pae32 => (
            (cr::CR0_PE | cr::CR0_PG, cr::CR4_PAE, 0),
            world::PAE_POINTERS,
            if user { 0x30 } else { 0x18 },
            if user { 0x38 } else { 0x10 },
        ),
        Kind::Long64 | Kind::Compatibility => (
            (cr::CR0_PE | cr::CR0_PG, cr::CR4_PAE, cr::EFER_LME | cr::EFER_LMA),
            world::LEVEL4,
            match (kind == Kind::Long64, user) {
                (true, false) => 0x08,
                (true, true) => 0x40,
                (false, false) => 0x18,
                (false, true) => 0x30,
            },
            if user { 0x38 } else { 0x10 },
        ),
    };
    let (cr0, cr4, efer) = control;
    state.cr0 = cr::CR0_ET | cr0;
    state.cr3 = cr3;
    state.cr4 = cr4;
    state.efer = efer;
    if kind == Kind::Pae32 {
        state.pdpte = vec![world::PAE_DIRECTORY | 1, 0, 0, 0];
    }
    let segment = |selector: u16| match kind {
        Kind::Real | Kind::Virtual86 => {
            let attr = if kind == Kind::Real { REAL_SEGMENT } else { REAL_SEGMENT | 3 << 5 };
            SegmentState { selector: 0x1000, base: world::CODE, limit: 0xffff, attr }
        }
        _ => world::segment(selector | rpl),
    };
    state.segments[..6].fill(segment(data));
    state.segments[1] = segment(code);
    if kind == Kind::Virtual86 {
        state.cr0 |= cr::CR0_PE | cr::CR0_PG;
        state.rflags |= flags::VM;
    }
    let bases_are_zero = !matches!(kind, Kind::Real | Kind::Virtual86);
    state.rip = if bases_are_zero { world::CODE } else { 0 };
}

/// Descriptor tables, LDT and task state.
fn set_tables(state: &mut CpuState, kind: Kind) {
    let long = matches!(kind, Kind::Long64 | Kind::Compatibility);
    let idt = match kind {
        Kind::Real => TableState { base: 0, limit: 0x3ff },
        _ if long => TableState { base: world::IDT64, limit: 0xfff },
        _ => TableState { base: world::IDT32, limit: 0x7ff },
    };
    state.idtr = idt;
    state.gdtr = TableState { base: world::GDT, limit: world::GDT_LIMIT };
    let tss = if long { world::TSS64 } else { world::TSS32 };
    let task = SegmentState { selector: TSS_SELECTOR.into(), base: tss, limit: 0x7ff, attr: 0x8b };
    state.segments[7] = task;
    state.segments[6] = SegmentState { selector: 0x68, base: world::LDT, limit: 0xff, attr: 0x82 };
}

fn set_free_bits(state: &mut CpuState, kind: Kind, script: &mut Script<'_>) {
    if script.flag() {
        state.cr0 |= u64::from(script.u32()) & CR0_FREE;
        state.cr4 |= u64::from(script.u32()) & CR4_FREE;
        if script.one_in(8) {
            state.cr4 |= u64::from(script.u32()) & CR4_SELDOM;
        }
        if kind == Kind::Long64 {
            state.cr4 |= u64::from(script.u32()) & cr::CR4_PCIDE;
        }
    }
    let vector = script.u8();
    if vector & 3 != 0 {
        state.cr4 |= CR4_VECTOR;
    }
    state.xcr0 = if vector & 3 == 3 { 3 } else { 1 };
    state.efer |= u64::from(script.u8()) & cr::EFER_SCE;
    state.efer |= if script.flag() { cr::EFER_NXE } else { 0 };
    state.rflags |= u64::from(script.u32()) & RFLAGS_FREE;
}

fn set_registers(state: &mut CpuState, script: &mut Script<'_>) {
    for (i, gpr) in state.gpr.iter_mut().enumerate() {
        *gpr = match script.u8() % 4 {
            // Most stay where memory is.
            0 | 1 => world::DATA + 0x100 * i as u64,
            2 => world::DATA + u64::from(script.u16()),
            _ => script.value(),
        };
    }
    if script.one_in(8) {
        let segment = script.below(6);
        state.segments[segment].limit = script.value() as u32;
    }
    for (msr, value) in [world::CODE + 0x800, world::CODE + 0x900, world::DATA + 0x4000].into_iter().enumerate() {
        match msr {
            0 => state.msrs.lstar = value,
            1 => state.msrs.sysenter_eip = value,
            _ => state.msrs.sysenter_esp = value,
        }
    }
    state.msrs.star = 0x0030_0008_0000_0000 | (world::CODE + 0xa00);
    state.msrs.sysenter_cs = 8 * u64::from(script.u8() % 8);
}

/// x87 and vector registers.
fn set_units(state: &mut CpuState, script: &mut Script<'_>, model: CpuModel) {
    let kind = script.u8();
    if kind & 1 != 0 {
        for i in 0..8 {
            state.x87.significands[i] = script.value();
            state.x87.exponents[i] = script.value() as u16 as u32;
        }
        state.x87.control = script.u16().into();
        state.x87.status = script.u16().into();
        state.x87.valid = script.u8().into();
    }
    if kind & 2 != 0 {
        for (i, word) in state.vector.ymm.iter_mut().enumerate() {
            if i % 4 < 2 || model == CpuModel::V3 && kind & 4 != 0 {
                *word = script.value();
            }
        }
        state.vector.mxcsr = script.u16().into();
    }
}

/// Breakpoints, single steps, shadows, NMIs.
fn set_events(state: &mut CpuState, script: &mut Script<'_>) {
    let kind = script.u8();
    if kind & 1 != 0 {
        for address in &mut state.debug.address {
            let near = if script.flag() { world::DATA } else { world::CODE };
            *address = near + u64::from(script.u16() % 0x800);
        }
        state.debug.dr7 |= u64::from(script.u32()) & 0xffff_03ff;
    }
    if kind & 2 != 0 {
        state.rflags |= flags::TF;
    }
    if kind & 4 != 0 {
        state.rflags |= flags::RF;
    }
    if kind & 8 != 0 {
        state.shadow = u32::from(script.u8() % 3);
        state.nmi_pending = u32::from(script.u8() % 3);
        state.nmi_blocked = script.flag();
    }
    if kind & 16 != 0 {
        state.activity = u32::from(script.u8() % 2);
        if state.activity == 1 {
            // A halted vCPU is in no shadow.
            state.shadow = 0;
        }
    }
    if kind & 32 != 0 {
        state.debug_pending = 1 << 14;
    }
    if kind & 64 != 0 {
        state.a20_closed = true;
    }
    // Not zero, so that code that counts from zero is found out; far from where it could overflow.
    state.count = u64::from(script.u8()) << script.below(40);
}
