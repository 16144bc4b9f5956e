//! Jumps to another page, or to an address that is only known when it happens: the target is looked up as an
//! instruction fetch (see `x86::memory::tlb`), and then in the jump cache by its physical address.

use crate::asm::{Asm, Mem, R10, R11, RCX, RSP, ShortJump};
use crate::buffer::JUMPS_AT;
use crate::cache::KEY_BIAS;
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

/// Goes on at linear address R10, whose physical address is R11; `exit` is the shared code that leaves.
pub fn go(asm: &mut Asm, view: u8, exit: u32) {
    asm.store(layout::RIP, R10);
    asm.shrx(RCX, R10, RSP);
    asm.shlx(RCX, RCX, RSP);
    asm.store(layout::PAGE_RIP, RCX);
    asm.low16(RCX, R11);
    asm.lea_code(R10, JUMPS_AT);
    asm.lea(R10, Mem { index: Some((RCX, 3)), ..Mem::base(R10, 0) });
    asm.lea(R10, Mem { index: Some((RCX, 3)), ..Mem::base(R10, 0) });
    asm.load(RCX, Mem::base(R10, 0));
    let bias = i32::from(view) + KEY_BIAS as i32;
    asm.lea(RCX, Mem { base: Some(RCX), index: Some((R11, 2)), disp: bias, gs: false });
    let hit = asm.jrcxz();
    asm.constant(RCX, leave::LOOKUP);
    asm.jmp(exit);
    asm.land(hit);
    asm.jmp_mem(Mem::base(R10, 8));
}

/// All of it as shared code: jumps to the linear address in R10, or executes the site in RCX if it cannot be
/// fetched from directly.
pub fn jump(asm: &mut Asm, view: u8, slow: u32, exit: u32) {
    asm.store(layout::KEPT, RCX);
    let hit = compare(asm, view);
    asm.load(RCX, layout::KEPT);
    asm.jmp(slow);
    asm.land(hit);
    physical(asm, view);
    go(asm, view, exit);
}
