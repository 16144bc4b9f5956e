//! The translated blocks: found by physical address and view, entered, linked to each other, dropped.
#![allow(unsafe_code)]

use crate::HostError;
use crate::asm::Asm;
use crate::buffer::CodeBuffer;
use crate::host::Host;
use crate::layout::{BUDGET_BIAS, Context, leave, vectors_usable};
use crate::site::{Site, pack_flags, unpack_flags};
use crate::table::Table;
use crate::thunks::{self, Thunks};
use crate::translate::{self, Translation};
use std::collections::BTreeMap;
use std::ptr::{from_mut, null, null_mut};
use x86::decode::MAX_LEN;
use x86::interp::Ran;
use x86::interp::accelerator::Accelerator;
use x86::op::Env;
use x86::vcpu::CodeSize;
use x86::{GuestPhysAddr, InsnCount, Vcpu};

/// What is translated, when, and how much of it is kept: when a limit is reached, everything is dropped. None of it is
/// seen by a guest.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How often a block is interpreted before it is translated.
    pub cold_runs: u8,
    /// Instructions in a block at most.
    pub max_block: usize,
    /// Bytes of host code; room for a few large blocks is there in any case.
    pub code_bytes: usize,
    /// Blocks, those counted that were dropped since.
    pub blocks: usize,
    /// Instructions that may be handed over to the interpreter's code; one block may exceed it.
    pub sites: usize,
    /// Jumps that may be linked, likewise.
    pub links: usize,
}

impl Default for Policy {
    fn default() -> Self {
        let (cold_runs, max_block) = (4, 64);
        Policy { cold_runs, max_block, code_bytes: 16 << 20, blocks: 1 << 17, sites: 1 << 17, links: 1 << 18 }
    }
}

impl Policy {
    /// All code is translated when it is first met, in blocks of at most `instructions`: slower, but what it does at the
    /// first step is done by translated code. For tests.
    pub fn eager(instructions: usize) -> Self {
        Policy { cold_runs: 0, max_block: instructions, ..Policy::default() }
    }
}

/// Blocks that are remembered in front of the table.
const RECENT: usize = 4096;
/// Room that the largest block needs.
const MAX_BLOCK_BYTES: usize = 64 << 10;
/// The shared code and a few blocks.
const LEAST_CODE_BYTES: usize = 2 * MAX_BLOCK_BYTES;

/// A translated block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where it starts.
    pub at: GuestPhysAddr,
    /// The data view it was made for.
    pub view: u8,
    /// It is the careful translation, see [`translate`].
    pub careful: bool,
    /// Its number of instructions; 0 if it cannot be translated.
    pub len: u16,
    /// Offset of its code.
    pub code: u32,
    /// If its instruction crosses into a second page, the place of what its code compares that page's address
    /// with; else 0.
    pub guard: u32,
}

impl Block {
    /// Its name.
    fn key(&self) -> u64 {
        key(self.at, self.view) | if self.careful { CAREFUL } else { 0 }
    }
}

/// A jump within a page to a block that may not exist yet.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Place of the jump's distance in the code.
    pub place: u32,
    /// The target's physical address.
    pub target: GuestPhysAddr,
    /// Its careful translation is meant.
    pub careful: bool,
}

/// See the module's text.
pub struct Cache {
    buffer: CodeBuffer,
    host: Host,
    thunks: Thunks,
    /// End of the shared code.
    start: u32,
    table: Table,
    /// Names and numbers of blocks found last.
    recent: Vec<(u64, u32)>,
    blocks: Vec<Block>,
    sites: Vec<Site>,
    links: Vec<Link>,
    /// The blocks of each physical page.
    pages: BTreeMap<u64, Vec<u32>>,
    /// Counts how often everything was dropped.
    generation: u64,
    policy: Policy,
}

/// What is added to a physical address and view to name a block: no name is 0.
pub const KEY_BIAS: u64 = 4;

/// Mark in the name of a careful translation; no physical address reaches there.
const CAREFUL: u64 = 1 << 63;

/// Name of a block.
pub const fn key(at: GuestPhysAddr, view: u8) -> u64 {
    (at.0 << 2) + view as u64 + KEY_BIAS
}

impl Cache {
    /// With nothing but the shared code.
    ///
    /// # Errors
    /// If the host cannot run translated code.
    pub fn new(policy: Policy) -> Result<Cache, HostError> {
        let host = Host::detect()?;
        let mut buffer = CodeBuffer::new(policy.code_bytes.max(LEAST_CODE_BYTES))?;
        let mut asm = Asm::new(0);
        let thunks = thunks::emit(&mut asm);
        buffer.append(&asm.bytes);
        let start = buffer.cursor();
        let mut cache = Cache {
            buffer,
            host,
            thunks,
            start,
            table: Table::new(policy.blocks),
            recent: vec![(0, 0); RECENT],
            blocks: Vec::new(),
            sites: Vec::new(),
            links: Vec::new(),
            pages: BTreeMap::new(),
            generation: 0,
            policy,
        };
        cache.clear();
        Ok(cache)
    }

    /// Drops all translations.
    pub fn clear(&mut self) {
        self.buffer.truncate(self.start);
        self.buffer.clear_jumps();
        self.table.clear();
        self.recent.fill((0, 0));
        self.generation += 1;
        self.blocks.clear();
        self.sites.clear();
        self.links.clear();
        self.pages.clear();
    }

    /// How often everything was dropped, the beginning counted.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The block at `at` if it is translated, or hot enough to be translated now.
    fn find(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, at: GuestPhysAddr) -> Option<u32> {
        let key = key(at, cpu.mode.view);
        let recent = &mut self.recent[(key ^ key >> 13) as usize % RECENT];
        if recent.0 == key {
            return Some(recent.1);
        }
        // Names below that count are in no table, which saves looking there.
        let asked = self.table.ask(key);
        if asked < self.policy.cold_runs {
            return None;
        }
        match self.table.get(key) {
            Some(id) if self.blocks[id as usize].len > 0 => {
                *recent = (key, id);
                Some(id)
            }
            Some(_) => None,
            None => self.translate(cpu, env, at, false),
        }
    }

    /// The careful translation of the block at `at`, made now if it is not there: what leads to it is hot.
    fn find_careful(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, at: GuestPhysAddr) -> Option<u32> {
        match self.table.get(key(at, cpu.mode.view) | CAREFUL) {
            Some(id) => (self.blocks[id as usize].len > 0).then_some(id),
            None => self.translate(cpu, env, at, true),
        }
    }

    fn translate(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, at: GuestPhysAddr, careful: bool) -> Option<u32> {
        let full =
            self.sites.len() >= self.policy.sites || self.links.len() >= self.policy.links || self.table.is_full();
        if full || self.buffer.is_full(MAX_BLOCK_BYTES) {
            self.clear();
        }
        let id = self.blocks.len() as u32;
        let view = cpu.mode.view;
        let place = translate::Place {
            at,
            view,
            model: cpu.model,
            careful,
            id,
            max_block: self.policy.max_block,
            thunks: self.thunks,
            host: self.host,
            origin: self.buffer.cursor(),
        };
        let (sites, links) = (&mut self.sites, &mut self.links);
        let mut second = None;
        let mut translation = env.mem.page(at).and_then(|page| translate::block(&place, page, sites, links));
        if translation.is_none()
            && let Some(crossing) = Crossing::at(cpu, env, at)
        {
            // If the second page is not known now, it will be soon.
            second = Some(crossing.second?);
            translation = translate::crossing(&place, &crossing.bytes, crossing.second?, sites, links);
        }
        let Some(Translation { code, entry, len, bytes, guard }) = translation else {
            // Remembered, so that it is not tried again.
            self.add(Block { at, view, careful, len: 0, code: 0, guard: 0 }, None);
            return None;
        };
        self.buffer.append(&code);
        let first_bytes = u64::from(bytes).min(4096 - at.0 % 4096);
        let rest = second.map(|second| (second, u64::from(bytes) - first_bytes));
        for (at, bytes) in [(at, first_bytes)].into_iter().chain(rest) {
            if env.mem.note_code(at, bytes) {
                cpu.tlb.forbid_fast_writes(GuestPhysAddr(at.0 & !0xfff));
            }
        }
        self.add(Block { at, view, careful, len, code: entry, guard }, second);
        Some(id)
    }

    fn add(&mut self, block: Block, second: Option<GuestPhysAddr>) {
        let id = self.blocks.len() as u32;
        self.blocks.push(block);
        for page in [Some(block.at), second].into_iter().flatten() {
            self.pages.entry(page.0 >> 12).or_default().push(id);
        }
        self.table.enter(block.key(), id);
    }

    /// Runs translated code from block `id` on. `None` if the interpreter is to go on at RIP.
    fn run_block(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, mut id: u32) -> Option<Ran> {
        let mut context = self.context(cpu, env);
        loop {
            let block = self.blocks[id as usize];
            context.cpu = from_mut(cpu);
            context.env = from_mut(env).cast();
            context.sites = self.sites.as_ptr();
            context.site_count = self.sites.len();
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
                    let link = self.links[named as usize];
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

    fn context(&self, cpu: &Vcpu, env: &Env<'_>) -> Context {
        let left = (env.until - cpu.count).min(BUDGET_BIAS - 1);
        Context {
            budget: BUDGET_BIAS + left,
            flags: pack_flags(cpu.lazy),
            rip: 0,
            page_rip: cpu.rip & !0xfff,
            sites: null(),
            site_count: 0,
            interrupt: u64::from(env.interrupt),
            vectors_usable: u64::from(vectors_usable(cpu)),
            vectors_loaded: 0,
            until: cpu.count.0 + left,
            code: self.buffer.execute() as u64,
            ran: Ran::Chained,
            cpu: null_mut(),
            env: null_mut(),
        }
    }

    /// Points GS to the fast tables of `cpu`, for the thread that calls.
    pub fn use_tables(&self, cpu: &Vcpu) {
        self.host.set_gs_base(cpu.tlb.fast_tables().cast());
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

/// An instruction that crosses into a second page.
struct Crossing {
    bytes: [u8; MAX_LEN],
    /// The second page, if the model of the TLB holds it.
    second: Option<GuestPhysAddr>,
}

impl Crossing {
    /// What lies at RIP, which is at physical `at`, if it can be one.
    fn at(cpu: &Vcpu, env: &Env<'_>, at: GuestPhysAddr) -> Option<Crossing> {
        let offset = (at.0 & 0xfff) as usize;
        let head = 4096 - offset;
        if head >= MAX_LEN {
            return None;
        }
        let mut bytes = [0; MAX_LEN];
        bytes[..head].copy_from_slice(&env.mem.page(at)?[offset..]);
        let next = (cpu.rip & !0xfff).wrapping_add(4096);
        let second = cpu.tlb.fetches_from(cpu.mode.cpl == 3, next);
        if let Some(second) = second {
            bytes[head..].copy_from_slice(&env.mem.page(second)?[..MAX_LEN - head]);
        }
        Some(Crossing { bytes, second })
    }
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
        let id = self.find(cpu, env, at)?;
        let block = self.blocks[id as usize];
        if u64::from(block.len) > env.until - cpu.count {
            return None;
        }
        self.buffer.set_jump(at.0, key(at, block.view), block.code);
        // Code moves from page to page without telling; the model holds every page it can come from.
        cpu.tlb.leave_fetch_page();
        self.run_block(cpu, env, id)
    }

    fn drop_page(&mut self, page: u64) {
        for id in self.pages.remove(&page).unwrap_or_default() {
            let block = self.blocks[id as usize];
            let key = block.key();
            if block.guard != 0 {
                // Jumps of the first page may lead to it still.
                self.buffer.patch_guard(block.guard);
            }
            self.buffer.clear_jump(block.at.0, key);
            self.table.remove(key);
            self.recent[(key ^ key >> 13) as usize % RECENT].0 = 0;
        }
    }
}
