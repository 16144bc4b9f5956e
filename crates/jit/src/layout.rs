//! Where things are while translated code runs: guest registers, the frame on the host's stack, the
//! context that code and translator share.
//!
//! RSP points to the frame, and `RSP & 63` is 12: SHRX by RSP is a shift by the bits of a page offset.
//! RCX, R10 and R11 are free for address checks, R15 is the budget: 2^32 and the number of steps left. The
//! guest's arithmetic flags are the host's.

use crate::asm::{Mem, R8, R9, RSP};
use crate::known::Known;
use std::ffi::c_void;
use std::mem::offset_of;
use x86::Vcpu;
use x86::interp::Ran;
use x86::memory::tlb::{DATA_VIEWS, FastFetch, FastTables, FastView};
use x86::segment::Segment;
use x86::system::msr::Msrs;
use x86::vcpu::{Mode, cr};
use x86::vector::state::VectorState;

/// Where a guest register lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this host register.
    Reg(u8),
    /// In the frame, at this distance from RSP.
    Slot(i32),
}

/// Where each general register of the guest lies.
pub const PLACES: [Place; 16] = [
    Place::Reg(0),
    Place::Reg(R8),
    Place::Reg(2),
    Place::Reg(3),
    Place::Reg(R9),
    Place::Reg(5),
    Place::Reg(6),
    Place::Reg(7),
    Place::Slot(4),
    Place::Slot(12),
    Place::Slot(20),
    Place::Slot(28),
    Place::Reg(12),
    Place::Reg(13),
    Place::Reg(14),
    Place::Slot(36),
];

/// The guest's RSP.
pub const GUEST_RSP: u8 = R9;
/// The guest's RCX.
pub const GUEST_RCX: u8 = R8;

/// Linear address of the page being executed.
pub const PAGE_RIP: Mem = Mem::base(RSP, 44);
/// The vCPU.
pub const CPU: Mem = Mem::base(RSP, 52);
/// Mask of the linear address bits that index the TLB.
pub const INDEX_MASK: Mem = Mem::base(RSP, 60);
/// Mask of the bits of a distance from a page that must be clear for aligned 16-byte operands.
pub const ALIGN16_MASK: Mem = Mem::base(RSP, 68);
/// RIP to leave with.
pub const RIP: Mem = Mem::base(RSP, 84);
/// Where to go on.
pub const RESUME: Mem = Mem::base(RSP, 92);
/// RSP of the caller.
pub const HOST_RSP: Mem = Mem::base(RSP, 100);
/// The [`Context`].
pub const CONTEXT: Mem = Mem::base(RSP, 108);
/// Mask of the bits of a shift count for operands of up to 32 bits.
pub const COUNT31_MASK: Mem = Mem::base(RSP, 116);
/// The same for 64 bits.
pub const COUNT63_MASK: Mem = Mem::base(RSP, 124);
/// A value that must survive an address check.
pub const KEPT: Mem = Mem::base(RSP, 132);
/// 1 while the host's vector registers and MXCSR are the guest's, else 0.
pub const VECTORS: Mem = Mem::base(RSP, 140);
/// MXCSR of the program around translated code.
pub const HOST_MXCSR: Mem = Mem::base(RSP, 148);
/// Mask of all bits but RFLAGS.IF.
pub const IF_MASK: Mem = Mem::base(RSP, 156);
/// Where the low bits of an address go to index a return cache in halves of its places, see [`crate::known`].
pub const RETURN_MASK: Mem = Mem::base(RSP, 164);
/// Places for what the accesses of a span share.
pub const SPANS: usize = 13;
/// Such a place: below the frame, where signal handlers leave 128 bytes alone. It keeps its value until
/// the interpreter's code is called.
pub const fn span(slot: u8) -> Mem {
    Mem::base(RSP, -20 - 8 * slot as i32)
}
/// Bytes of the frame, from an aligned address down.
pub const FRAME_BYTES: i32 = 192;
/// What is added to that to make RSP.
pub const FRAME_BIAS: i32 = 12;

/// The bit of the budget above the steps left.
pub const BUDGET_BIAS: u64 = 1 << 32;

/// What translator and translated code tell each other.
#[repr(C)]
pub struct Context {
    /// The vCPU.
    pub cpu: *mut Vcpu,
    /// See the module's text.
    pub budget: u64,
    /// OF in the low byte, the others as LAHF has them in the next.
    pub flags: u64,
    /// RIP to go on at, where the exit says so.
    pub rip: u64,
    /// Linear address of the page being executed.
    pub page_rip: u64,
    /// The instructions that code may hand over, see [`crate::site`].
    pub sites: *const crate::site::Site,
    /// How many.
    pub site_count: usize,
    /// The interpreter's environment, `Env`.
    pub env: *mut c_void,
    /// The count at which the budget is used up.
    pub until: u64,
    /// The board's time-stamp counter at that count and [`BUDGET_BIAS`], if the counter goes up by one each step; else 0.
    pub board_tsc: u64,
    /// The same as the guest may see it, see [`visible_tsc`].
    pub tsc: u64,
    /// Start of the executable code.
    pub code: u64,
    /// What lies in front of it.
    pub known: Known,
    /// 1 if an interrupt waits, else 0: enabling interrupts then leaves.
    pub interrupt: u64,
    /// 1 if the guest's vector registers may be used natively, see [`vectors_usable`]; else 0.
    pub vectors_usable: u64,
    /// 0 if CR4.SMAP is set, so that RFLAGS.AC decides about the view of ring 0.
    pub no_smap: u64,
    /// 1 if they were in the host's when the run of translated code was interrupted.
    pub vectors_loaded: u64,
    /// 1 if they must be again where it goes on.
    pub vectors_wanted: u64,
    /// What became of the instruction that ended the run of translated code.
    pub ran: Ran,
}

/// True if SSE instructions raise nothing before they look at their operands, and no floating-point
/// exception that they meet is unmasked.
pub fn vectors_usable(cpu: &Vcpu) -> bool {
    const MASKS: u32 = 0x1f80;
    let enabled = cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) == 0 && cpu.cr4 & cr::CR4_OSFXSR != 0;
    enabled && cpu.vector.mxcsr & MASKS == MASKS
}

/// See [`Context::no_smap`].
pub fn no_smap(cpu: &Vcpu) -> u64 {
    u64::from(cpu.cr4 & cr::CR4_SMAP == 0)
}

/// [`Context::tsc`]: from this and the budget follows what RDTSC gives. 0 if it faults or is not so simple.
pub fn visible_tsc(cpu: &Vcpu, board_tsc: u64) -> u64 {
    let forbidden = cpu.cr4 & cr::CR4_TSD != 0;
    if forbidden || board_tsc == 0 { 0 } else { board_tsc.wrapping_add(cpu.msrs.tsc_adjust) }
}

/// Offset of an XMM register in [`Vcpu`].
pub const fn xmm_offset(register: u8) -> i32 {
    (offset_of!(Vcpu, vector) + offset_of!(VectorState, ymm) + 32 * register as usize) as i32
}

/// Offset of MXCSR in [`Vcpu`].
pub const MXCSR_OFFSET: i32 = (offset_of!(Vcpu, vector) + offset_of!(VectorState, mxcsr)) as i32;

/// Offset of RFLAGS, but for the arithmetic flags, in [`Vcpu`].
pub const SYSTEM_FLAGS_OFFSET: i32 = offset_of!(Vcpu, rflags_system) as i32;

/// Offset of IA32_KERNEL_GS_BASE in [`Vcpu`].
pub const KERNEL_GS_BASE_OFFSET: i32 = (offset_of!(Vcpu, msrs) + offset_of!(Msrs, kernel_gs_base)) as i32;

/// Offset of the current data view in [`Vcpu`].
pub const VIEW_OFFSET: i32 = (offset_of!(Vcpu, mode) + offset_of!(Mode, view)) as i32;

/// Offset of a segment's selector in [`Vcpu`].
pub const fn selector_offset(segment: u8) -> i32 {
    (offset_of!(Vcpu, seg) + size_of::<Segment>() * segment as usize + offset_of!(Segment, selector)) as i32
}

/// Offset of a guest register in [`Vcpu`].
pub const fn gpr_offset(register: u8) -> i32 {
    (offset_of!(Vcpu, gpr) + 8 * register as usize) as i32
}

/// Offset of a segment's base in [`Vcpu`].
pub const fn segment_base_offset(segment: u8) -> i32 {
    (offset_of!(Vcpu, seg) + size_of::<Segment>() * segment as usize + offset_of!(Segment, base)) as i32
}

/// Offset of the read or write tags of a data view in the fast tables.
pub const fn tag_offset(view: u8, write: bool) -> i32 {
    let field = if write { offset_of!(FastView, write) } else { offset_of!(FastView, read) };
    (size_of::<FastView>() * view as usize + field) as i32
}

/// Offset of the addends of a data view.
pub const fn addend_offset(view: u8) -> i32 {
    (size_of::<FastView>() * view as usize + offset_of!(FastView, addend)) as i32
}

/// Index of the view for fetches that belongs to a data view.
pub const fn fetch_of(view: u8) -> usize {
    (view >= x86::memory::tlb::view::USER) as usize
}

/// Offset of the tags for fetches of code that runs with data view `view`.
pub const fn fetch_tag_offset(view: u8) -> i32 {
    let table = offset_of!(FastTables, fetch) + size_of::<FastFetch>() * fetch_of(view);
    (table + offset_of!(FastFetch, tag)) as i32
}

/// Offset of their addends.
pub const fn fetch_addend_offset(view: u8) -> i32 {
    let table = offset_of!(FastTables, fetch) + size_of::<FastFetch>() * fetch_of(view);
    (table + offset_of!(FastFetch, addend)) as i32
}

const _: () = assert!(offset_of!(FastTables, data) == 0 && DATA_VIEWS == 4);

/// Why translated code came back, in the low bits of what it returns; an id above.
pub mod leave {
    /// An instruction ran by its own code and ended the run: [`super::Context::ran`].
    pub const RAN: u64 = 0;
    /// Go on at [`super::Context::rip`].
    pub const LOOKUP: u64 = 1;
    /// Go on at the link with this id.
    pub const LINK: u64 = 2;
    /// The budget does not suffice for the block with this id.
    pub const EXPIRED: u64 = 3;
    /// Bits of the reason.
    pub const BITS: u32 = 2;
}
