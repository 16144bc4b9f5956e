//! Instructions that translated code hands over to the interpreter's code: those that it has no
//! translation for, and accesses to memory that miss the TLB's fast tags.
#![allow(unsafe_code)]

use crate::block::key;
use crate::cache::runs;
use crate::layout::{BUDGET_BIAS, Context, no_smap, vectors_usable, visible_tsc};
use x86::fault::Flow;
use x86::flags::{self, LazyFlags};
use x86::interp::{Ran, finish, goes_on};
use x86::op::{Env, Op};
use x86::vcpu::GPR_PAGE_RIP;
use x86::{GuestPhysAddr, InsnCount, Vcpu};

/// An instruction at its place in a block.
#[derive(Clone, Copy)]
pub struct Site {
    /// The instruction; its own `idx` is 0.
    pub op: Op,
    /// Offset of the code behind it.
    pub resume: u32,
    /// Steps of its block that are charged but not done when it begins, its own included.
    pub ahead: u16,
    /// The data view that the block was made for.
    pub view: u8,
    /// The block uses the host's vector registers.
    pub vectors: bool,
}

/// The flags as translated code keeps them: OF in the low byte, LAHF's above.
pub fn pack_flags(lazy: LazyFlags) -> u64 {
    let bits = lazy.to_bits();
    (bits & 0xd5) << 8 | bits >> 11 & 1
}

/// The flags of a packed word.
pub fn unpack_flags(word: u64) -> LazyFlags {
    LazyFlags::from_bits(word >> 8 & (flags::ARITHMETIC & 0xff) | (word & 1) << 11)
}

/// Executes the instruction of a site by its own code. Returns the address to go on at, or 0 if the run
/// of translated code ends.
///
/// # Safety
/// `context` is the one that translated code was entered with: its pointers are good, and nothing else
/// uses what they point to meanwhile.
pub unsafe extern "sysv64" fn execute(context: *mut Context, site: u64) -> u64 {
    // SAFETY: the caller's word.
    let next = unsafe { go_on(context, site) };
    if next != 0 {
        // SAFETY: translated code waits, and nothing is borrowed from the context any more.
        unsafe { (*context).known.forget_fetches((*(*context).cpu).tlb.take_dropped_fetches()) };
    }
    next
}

/// All of [`execute`] but that what translated code knows is brought up to date.
///
/// # Safety
/// As [`execute`].
unsafe fn go_on(context: *mut Context, site: u64) -> u64 {
    // SAFETY: translated code runs inside of `Cache::enter`, which lends what the pointers point to.
    let (cpu, env, site) = unsafe {
        let Context { cpu, env, sites, site_count, .. } = *context;
        assert!((site as usize) < site_count, "a site that exists");
        (&mut *cpu, &mut *env.cast::<Env<'_>>(), &*sites.add(site as usize))
    };
    // SAFETY: as above; the context itself is apart from all of them.
    let context = unsafe { &mut *context };
    let left = context.budget - BUDGET_BIAS + u64::from(site.ahead);
    cpu.count = InsnCount(context.until - left);
    cpu.gpr[GPR_PAGE_RIP] = context.page_rip;
    cpu.lazy = unpack_flags(context.flags);
    env.leave = false;
    env.extra_steps = 0;
    let outcome = (site.op.exec)(cpu, env, &site.op);
    context.vectors_usable = u64::from(vectors_usable(cpu));
    context.no_smap = no_smap(cpu);
    context.tsc = visible_tsc(cpu, context.board_tsc);
    // Blocks make sure of these on entry.
    context.vectors_wanted = 0;
    let as_before = cpu.mode.view == site.view && context.vectors_usable >= context.vectors_loaded;
    if outcome == Ok(Flow::Next) && !env.leave && as_before && site.resume != 0 {
        context.vectors_wanted = site.vectors.into();
        context.flags = pack_flags(cpu.lazy);
        return context.code + u64::from(site.resume);
    }
    let repeated = matches!(outcome, Ok(Flow::Next | Flow::Leave)) && env.extra_steps > 0 && !env.leave && as_before;
    context.ran = finish(cpu, env, &site.op, outcome);
    debug_assert!(context.ran != Ran::Chained || cpu.count.0 <= context.until);
    // What the instruction asked to be looked at is looked at here and in `elsewhere`.
    if !goes_on(cpu, env, context.ran) {
        return 0;
    }
    context.flags = pack_flags(cpu.lazy);
    if repeated && site.resume != 0 {
        // The rest of the block is charged for; the iterations were not.
        let charged = u64::from(site.ahead) - 1;
        if context.until - cpu.count.0 < charged {
            return 0;
        }
        context.budget = BUDGET_BIAS + (context.until - cpu.count.0 - charged);
        context.vectors_wanted = site.vectors.into();
        return context.code + u64::from(site.resume);
    }
    elsewhere(context, cpu, env).unwrap_or(0)
}

/// The code for the instruction that comes next, anywhere, if it is known: what the translator would do if the
/// run of translated code ended here.
fn elsewhere(context: &mut Context, cpu: &mut Vcpu, env: &mut Env<'_>) -> Option<u64> {
    if !runs(cpu, env) || context.vectors_usable < context.vectors_loaded {
        return None;
    }
    let page = cpu.fetch_page(env, cpu.rip).ok()?;
    if env.mem.has_stale_code() || cpu.count.0 >= context.until {
        return None;
    }
    let at = page.0 | cpu.rip & 0xfff;
    let code = context.known.jump_to(at, key(GuestPhysAddr(at), cpu.mode.view))?;
    cpu.tlb.leave_fetch_page();
    context.page_rip = cpu.rip & !0xfff;
    context.budget = BUDGET_BIAS + (context.until - cpu.count.0);
    Some(code)
}
