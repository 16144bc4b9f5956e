//! Jumps to another page, or to an address that is only known when it happens.
//!
//! The target is looked up as an instruction fetch (see `x86::memory::tlb`), and then in the jump cache by its
//! physical address. What was found is kept in a far link or a return cache ([`crate::known`]), which the jump
//! looks at first.

use crate::asm::{Asm, Mem, R10, R11, RCX, RSP, ShortJump};
use crate::block::KEY_BIAS;
use crate::known::{JUMP_MASK_AT, JUMPS_AT, MIX, SET_SHIFT, epoch_at, log_at, returns_at};
use crate::layout::{self, leave};

/// Looks the target in R10 up among the fast tags for fetches of code with data view `view`: a jump to where
/// it is there. R11 is then the index. Uses RCX.
pub fn compare(asm: &mut Asm, view: u8) -> ShortJump {
    asm.pext(R11, R10, layout::INDEX_MASK);
    asm.load(RCX, Mem::table(R11, layout::fetch_tag_offset(view)));
    asm.lea(RCX, Mem::sum(RCX, R10));
    asm.shrx(RCX, RCX, RSP);
    asm.jrcxz()
}

/// Behind [`compare`]: the target's physical address, in R11.
pub fn physical(asm: &mut Asm, view: u8) {
    asm.load(R11, Mem::table(R11, layout::fetch_addend_offset(view)));
    asm.lea(R11, Mem::sum(R11, R10));
}

/// Asks the far link at `link`: a jump to where it holds. R10 is then the address of the page.
pub fn ask_link(asm: &mut Asm, view: u8, link: i32) -> ShortJump {
    asm.load_code(RCX, link);
    asm.load(R10, layout::PAGE_RIP);
    asm.lea(RCX, Mem::sum(RCX, R10));
    asm.load_code(R11, epoch_at(view));
    asm.lea(RCX, Mem::sum(RCX, R11));
    asm.jrcxz()
}

/// Goes on at `offset` from the page in R10, which is another page, by the far link at `link`.
pub fn follow_link(asm: &mut Asm, offset: i32, link: i32) {
    asm.lea(R10, Mem::base(R10, offset & !0xfff));
    asm.store(layout::PAGE_RIP, R10);
    asm.jmp_code(link + 8);
}

/// Asks the return cache for the linear address in R10: a jump to where it is known. R11 is the place in
/// the cache.
pub fn ask_returns(asm: &mut Asm, view: u8) -> ShortJump {
    // Twice the index: a place has 16 bytes.
    asm.pdep(R11, R10, layout::RETURN_MASK);
    asm.lea_code(RCX, returns_at(view));
    asm.lea(R11, Mem { index: Some((R11, 3)), ..Mem::base(RCX, 0) });
    asm.load(RCX, Mem::base(R11, 0));
    asm.lea(RCX, Mem::sum(RCX, R10));
    asm.jrcxz()
}

/// Goes on at linear address R10, by the place of the return cache in R11.
pub fn follow_return(asm: &mut Asm) {
    asm.shrx(RCX, R10, RSP);
    asm.shlx(RCX, RCX, RSP);
    asm.store(layout::PAGE_RIP, RCX);
    asm.jmp_mem(Mem::base(R11, 8));
}

/// What happens where nothing is known of a target.
#[derive(Clone, Copy)]
pub enum Otherwise {
    /// The site in ECX is executed by this shared code.
    Site(u32),
    /// The run of translated code ends before the target, by this shared code.
    Leave(u32),
}

/// Shared code that is called to renew the far link at address R11 for the target R10; comes back as a jump of
/// [`ask_link`]'s does.
pub fn renew_link(asm: &mut Asm, view: u8, otherwise: Otherwise) {
    find(asm, view, otherwise);
    asm.load(R10, layout::PAGE_RIP);
    asm.load_code(RCX, epoch_at(view));
    asm.lea(RCX, Mem::sum(RCX, R10));
    remember(asm);
    come_back(asm);
}

/// Shared code that is called to put the target R10 into the place R11 of the return cache, or to execute the site
/// in ECX; comes back with both as they were.
pub fn renew_return(asm: &mut Asm, view: u8, slow: u32) {
    find(asm, view, Otherwise::Site(slow));
    asm.load(RCX, layout::RESUME);
    remember(asm);
    // The log: its number of entries, and the place.
    asm.lea_code(R10, log_at(view));
    asm.load(RCX, Mem::base(R10, 0));
    asm.lea(RCX, Mem::base(RCX, 1));
    asm.store(Mem::base(R10, 0), RCX);
    asm.low8(RCX, RCX);
    asm.store(Mem { index: Some((RCX, 3)), ..Mem::base(R10, 0) }, R11);
    asm.load(R10, layout::RESUME);
    come_back(asm);
}

/// Looks the target R10 up in full, and stores the address of its code behind the word at R11, which it
/// keeps; R10 is then in [`layout::RESUME`].
fn find(asm: &mut Asm, view: u8, otherwise: Otherwise) {
    // The frame lies where it always does; the return address below it stays.
    asm.lea(RSP, Mem::base(RSP, 8));
    asm.store(layout::KEPT, RCX);
    asm.store(layout::RIP, R11);
    asm.store(layout::RESUME, R10);
    let fetched = compare(asm, view);
    let unfetched = asm.jmp_later();
    asm.land(fetched);
    physical(asm, view);
    asm.lea_code(R10, JUMP_MASK_AT);
    asm.rorx(RCX, R11, MIX);
    asm.lea(RCX, Mem::sum(RCX, R11));
    asm.pext(RCX, RCX, Mem::base(R10, 0));
    asm.rorx(RCX, RCX, 64 - SET_SHIFT);
    asm.lea_code(R10, JUMPS_AT);
    asm.lea(R10, Mem::sum(R10, RCX));
    let bias = i32::from(view) + KEY_BIAS as i32;
    let ask = |asm: &mut Asm| {
        asm.load(RCX, Mem::base(R10, 0));
        asm.lea(RCX, Mem { base: Some(RCX), index: Some((R11, 2)), disp: bias, gs: false });
        asm.jrcxz()
    };
    let first = ask(asm);
    asm.lea(R10, Mem::base(R10, 16));
    let second = ask(asm);
    asm.land_long(unfetched);
    match otherwise {
        Otherwise::Site(slow) => {
            asm.load(RCX, layout::KEPT);
            asm.jmp(slow);
        }
        Otherwise::Leave(exit) => {
            asm.load(R10, layout::RESUME);
            asm.store(layout::RIP, R10);
            asm.constant(RCX, leave::LOOKUP);
            asm.jmp(exit);
        }
    }
    asm.land(first);
    asm.land(second);
    asm.load(R10, Mem::base(R10, 8));
    asm.load(R11, layout::RIP);
    asm.store(Mem::base(R11, 8), R10);
}

/// Stores RCX, negated, to where R11 points.
fn remember(asm: &mut Asm) {
    asm.not(RCX);
    asm.lea(RCX, Mem::base(RCX, 1));
    asm.store(Mem::base(R11, 0), RCX);
}

/// Returns from shared code.
fn come_back(asm: &mut Asm) {
    asm.lea(RSP, Mem::base(RSP, -8));
    asm.byte(0xc3);
}
