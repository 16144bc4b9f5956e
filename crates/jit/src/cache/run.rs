//! Running translated code: entering it, and what comes when it is left.
#![allow(unsafe_code)]

use super::{Cache, RECENT};
use crate::known::FETCHES;
use crate::layout::{BUDGET_BIAS, Context, leave, no_smap, vectors_usable, visible_tsc};
use crate::site::{pack_flags, unpack_flags};
use std::ptr::{from_mut, null, null_mut};
use x86::interp::Ran;
use x86::interp::accelerator::Accelerator;
use x86::op::Env;
use x86::vcpu::CodeSize;
use x86::{GuestPhysAddr, InsnCount, Vcpu};

impl Cache {
    /// Runs translated code from block `id` on. `None` if the interpreter is to go on at RIP.
    fn run_block(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, mut id: u32) -> Option<Ran> {
        let mut context = self.context(cpu, env);
        loop {
            let block = self.blocks[id as usize];
            context.cpu = from_mut(cpu);
            context.env = from_mut(env).cast();
            context.sites = self.sites.as_ptr();
            context.site_count = self.sites.len();
            self.buffer.known().forget_fetches(cpu.tlb.take_dropped_fetches());
            let word = self.enter(&mut context, block.code);
            let reason = word & ((1 << leave::BITS) - 1);
            if reason == leave::RAN {
                return Some(context.ran);
            }
            cpu.lazy = unpack_flags(context.flags);
            let named = word >> leave::BITS;
            match reason {
                leave::LOOKUP => cpu.rip = context.rip,
                leave::LINK => {
                    let link = self.links.near(named as usize);
                    cpu.rip = context.page_rip | link.target.0 & 0xfff;
                    let generation = self.generation;
                    let target = if link.careful {
                        self.find_careful(cpu, env, link.target)
                    } else {
                        self.find(cpu, env, link.target)
                    };
                    if let Some(target) = target {
                        // Everything may have been dropped to make room.
                        if generation == self.generation {
                            self.buffer.patch_jump(link.place, self.blocks[target as usize].code);
                        }
                        if u64::from(self.blocks[target as usize].len) <= context.budget - BUDGET_BIAS {
                            id = target;
                            continue;
                        }
                    }
                }
                _ => {
                    let block = self.blocks[named as usize];
                    context.budget += u64::from(block.len);
                    cpu.rip = context.page_rip | block.at.0 & 0xfff;
                }
            }
            let before = cpu.count;
            cpu.count = InsnCount(context.until - (context.budget - BUDGET_BIAS));
            // A block that cannot even begin is the interpreter's.
            return (cpu.count > before).then_some(Ran::Chained);
        }
    }

    fn context(&self, cpu: &Vcpu, env: &mut Env<'_>) -> Context {
        let left = (env.until - cpu.count).min(BUDGET_BIAS - 1);
        // It never goes up by more than one, so that it does so at each step if it does so on the whole.
        let (first, last) = (env.bus.tsc(cpu.count), env.bus.tsc(cpu.count + left));
        let board_tsc = if last.wrapping_sub(first) == left { last.wrapping_add(BUDGET_BIAS) } else { 0 };
        Context {
            budget: BUDGET_BIAS + left,
            flags: pack_flags(cpu.lazy),
            rip: 0,
            page_rip: cpu.rip & !0xfff,
            sites: null(),
            site_count: 0,
            interrupt: u64::from(env.interrupt),
            vectors_usable: u64::from(vectors_usable(cpu)),
            no_smap: no_smap(cpu),
            vectors_loaded: 0,
            vectors_wanted: 0,
            until: cpu.count.0 + left,
            board_tsc,
            tsc: visible_tsc(cpu, board_tsc),
            code: self.buffer.execute() as u64,
            known: self.buffer.known(),
            ran: Ran::Chained,
            cpu: null_mut(),
            env: null_mut(),
        }
    }

    /// Points GS to the fast tables of `cpu`, for the thread that calls.
    pub fn use_tables(&mut self, cpu: &Vcpu) {
        let tables = cpu.tlb.fast_tables();
        self.host.set_gs_base(tables.cast());
        if std::mem::replace(&mut self.tables, tables as usize) != tables as usize {
            // What is known of one vCPU's TLB says nothing of another's. (A new one at the same address says so itself.)
            self.buffer.known().forget_fetches([true; FETCHES]);
        }
    }

    fn enter(&mut self, context: &mut Context, code: u32) -> u64 {
        let at = |offset: u32| self.buffer.execute().wrapping_add(offset as usize);
        // SAFETY: `enter` is the offset of a function of this type, and `code` that of a block. The
        // context's pointers are to the vCPU, the environment and the sites that the caller holds; they are
        // used through the context alone until the call returns. GS points to the vCPU's fast tables.
        unsafe {
            let enter: unsafe extern "sysv64" fn(*mut Context, *const u8) -> u64 =
                std::mem::transmute(at(self.thunks.enter));
            enter(context, at(code))
        }
    }
}

/// True if the CPU's next instruction can be translated code's. The view of a block stands for the privilege level, which
/// rings 1 and 2 would make untrue.
pub fn runs(cpu: &Vcpu, env: &Env<'_>) -> bool {
    cpu.mode.code == CodeSize::B64 && !matches!(cpu.mode.cpl, 1 | 2) && !env.mem.has_stale_code()
}

impl Accelerator for Cache {
    fn run(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>) -> Option<Ran> {
        if !runs(cpu, env) {
            return None;
        }
        // A fault is left to the interpreter, which meets it again.
        let page = cpu.fetch_page(env, cpu.rip).ok()?;
        if env.mem.has_stale_code() {
            return None;
        }
        let at = GuestPhysAddr(page.0 | cpu.rip & 0xfff);
        self.ways.arrive(at);
        let Some(id) = self.find(cpu, env, at) else {
            self.ways.depart(at, cpu.mode.view);
            return None;
        };
        let block = self.blocks[id as usize];
        if u64::from(block.len) > env.until - cpu.count {
            return None;
        }
        self.buffer.known().set_jump(at.0, block.key(), self.buffer.address(block.code));
        // Code moves from page to page without telling; the model holds every page it can come from.
        cpu.tlb.leave_fetch_page();
        self.run_block(cpu, env, id)
    }

    fn drop_page(&mut self, page: u64) {
        let Some(ids) = self.pages.remove(&page) else { return };
        // Far links and return caches may name them.
        let known = self.buffer.known();
        known.forget_fetches([true; FETCHES]);
        for id in ids {
            let block = self.blocks[id as usize];
            let key = block.key();
            if block.guard != 0 {
                // Jumps of the first page may lead to it still.
                self.buffer.patch_guard(block.guard);
            }
            known.clear_jump(block.at.0, key);
            self.table.remove(key);
            self.recent[(key ^ key >> 13) as usize % RECENT].0 = 0;
        }
    }
}
