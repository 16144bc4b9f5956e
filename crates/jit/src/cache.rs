//! The translated blocks: found by physical address and view, entered, linked to each other, dropped.

mod crossing;
mod run;

use crate::HostError;
use crate::asm::Asm;
use crate::block::{Block, CAREFUL, Links, key};
use crate::buffer::CodeBuffer;
use crate::host::Host;
use crate::policy::Policy;
use crate::site::Site;
use crate::table::Table;
use crate::thunks::{self, Thunks};
use crate::translate::{self, Translation};
use crate::ways::Ways;
use crossing::Crossing;
pub use run::runs;
use std::collections::BTreeMap;
use x86::op::Env;
use x86::{GuestPhysAddr, Vcpu};

/// Blocks that are remembered in front of the table.
const RECENT: usize = 4096;
/// Room that the largest block needs.
const MAX_BLOCK_BYTES: usize = 64 << 10;
/// The shared code and a few blocks.
const LEAST_CODE_BYTES: usize = 2 * MAX_BLOCK_BYTES;

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
    links: Links,
    ways: Ways,
    /// The blocks of each physical page.
    pages: BTreeMap<u64, Vec<u32>>,
    /// Counts how often everything was dropped.
    generation: u64,
    policy: Policy,
    /// Address of the fast tables that code ran with last.
    tables: usize,
}

impl Cache {
    /// Whether this host can run translated code.
    ///
    /// # Errors
    /// If it cannot.
    pub fn supported() -> Result<(), HostError> {
        Host::detect()?;
        CodeBuffer::new(LEAST_CODE_BYTES, 1)?;
        Ok(())
    }

    /// With nothing but the shared code.
    ///
    /// # Errors
    /// If the host cannot run translated code.
    pub fn new(policy: Policy) -> Result<Cache, HostError> {
        let host = Host::detect()?;
        let mut buffer =
            CodeBuffer::new(policy.code_bytes.max(LEAST_CODE_BYTES), policy.far_links + policy.max_block + 2)?;
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
            links: Links::default(),
            ways: Ways::new(policy.scattered),
            pages: BTreeMap::new(),
            generation: 0,
            policy,
            tables: 0,
        };
        cache.clear();
        Ok(cache)
    }

    /// Drops all translations.
    pub fn clear(&mut self) {
        self.buffer.truncate(self.start);
        self.buffer.known().clear(self.links.len().1);
        self.table.clear();
        self.recent.fill((0, 0));
        self.generation += 1;
        self.blocks.clear();
        self.sites.clear();
        self.links.truncate((0, 0));
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
        let (links, far_links) = self.links.len();
        let full = self.sites.len() >= self.policy.sites
            || links >= self.policy.links
            || far_links >= self.policy.far_links
            || self.table.is_full();
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
        let mut translation =
            env.mem.page(at).and_then(|page| translate::block(&place, page, &self.ways, sites, links));
        if translation.is_none()
            && let Some(crossing) = Crossing::at(cpu, env, at)
        {
            // If the second page is not known now, it will be soon.
            second = Some(crossing.second?);
            translation = translate::crossing(&place, &crossing.bytes, crossing.second?, sites, links);
        }
        let Some(Translation { code, entry, len, parts, guard }) = translation else {
            // Remembered, so that it is not tried again.
            self.add(Block { at, view, careful, len: 0, code: 0, guard: 0 }, None);
            return None;
        };
        self.buffer.append(&code);
        for (first, end) in parts {
            let here = GuestPhysAddr(at.0 & !0xfff | first as u64);
            let rest = second.filter(|_| end > 4096).map(|second| (second, end - 4096));
            for (at, bytes) in [(here, end.min(4096) - first)].into_iter().chain(rest) {
                if bytes > 0 && env.mem.note_code(at, bytes as u64) {
                    cpu.tlb.forbid_fast_writes(GuestPhysAddr(at.0 & !0xfff));
                }
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
}
