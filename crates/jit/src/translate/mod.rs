//! From a run of guest instructions to host code.
//!
//! A block is a run of instructions within a page along the way that is expected (`run`); conditional
//! jumps that go another way leave it on the side. It is charged for as a whole on entry, and what a side exit does not execute is
//! given back. Each instruction becomes host code of its own, or a call of the interpreter's code for it.

mod address;
mod bits;
mod cold;
mod emitter;
mod facts;
mod groups;
mod jumps;
mod liveness;
mod memory;
mod muldiv;
mod names;
mod plain;
mod run;
mod scratch;
mod shifts;
mod spans;
mod stack;
mod strings;
mod system;
mod values;
mod vector;

use crate::block::Links;
use crate::host::Host;
use crate::site::Site;
use crate::thunks::Thunks;
use crate::ways::Ways;
use emitter::Emitter;
use iced_x86::Instruction;
use run::Run;
use spans::Shares;
use x86::decode::{Decoded, MAX_LEN, decode_both};
use x86::op::Op;
use x86::vcpu::CodeSize;
use x86::{CpuModel, GuestPhysAddr};

/// Where a block lies, and what its translation depends on.
#[derive(Clone, Copy)]
pub struct Place {
    /// The physical address of its first byte.
    pub at: GuestPhysAddr,
    /// The view of data accesses.
    pub view: u8,
    /// The guest's CPU.
    pub model: CpuModel,
    /// Instructions in a block at most.
    pub max_block: usize,
    /// It is the careful translation, see [`spans`].
    pub careful: bool,
    /// The block's number.
    pub id: u32,
    /// The shared code.
    pub thunks: Thunks,
    /// The host's CPU.
    pub host: Host,
    /// Offset in the code buffer where the code will lie.
    pub origin: u32,
}

/// A finished translation.
pub struct Translation {
    /// The code.
    pub code: Vec<u8>,
    /// Offset in the code buffer where it is entered.
    pub entry: u32,
    /// The number of instructions.
    pub len: u16,
    /// The guest bytes, counted from the page, as first bytes and those behind last ones; what crosses the page is in one.
    pub parts: Vec<(usize, usize)>,
    /// Offset of the number that code of [`crossing`] compares its second page with; else 0.
    pub guard: u32,
}

/// This instruction has no host code here: the interpreter's is called.
#[derive(Clone, Copy, Debug)]
pub struct Untranslated;

/// What an attempt to translate an instruction gives.
pub type Emitted = Result<(), Untranslated>;

/// A decoded instruction of a block.
#[derive(Clone, Copy)]
pub struct Item {
    /// As the interpreter executes it; its `idx` is 0.
    pub op: Op,
    /// As iced-x86 knows it.
    pub insn: Instruction,
    /// The CPU model has it.
    pub offered: bool,
    /// A jump at whose target the block goes on.
    pub follows: bool,
}

/// Translates the block at `place`, whose page holds `page`. `None` if its first instruction crosses the
/// page.
pub fn block(
    place: &Place,
    page: &[u8; 4096],
    ways: &Ways,
    sites: &mut Vec<Site>,
    links: &mut Links,
) -> Option<Translation> {
    let run = run::decode(place, page, ways);
    if run.items.is_empty() {
        return None;
    }
    let (first_site, first_link) = (sites.len(), links.len());
    let mut live = liveness::live_after(&run.items);
    let len = run.items.len();
    let shares = if place.careful { Shares::none(len) } else { spans::shares(&run.items) };
    let code = emit(place, &run, &live, shares, sites, links).or_else(|Untranslated| {
        // An instruction that liveness or a span took for harmless can leave the block after all.
        sites.truncate(first_site);
        links.truncate(first_link);
        live.fill(liveness::ALL);
        emit(place, &run, &live, Shares::none(len), sites, links)
    });
    let (code, entry) = code.ok()?;
    Some(Translation { code, entry, len: run.items.len() as u16, parts: run.parts, guard: 0 })
}

/// Translates the instruction at `place` that crosses into the page whose physical address is `second`; `bytes`
/// are its own and what follows. Its code makes sure on each run that instructions are still fetched
/// from there.
pub fn crossing(
    place: &Place,
    bytes: &[u8; MAX_LEN],
    second: GuestPhysAddr,
    sites: &mut Vec<Site>,
    links: &mut Links,
) -> Option<Translation> {
    let start = (place.at.0 & 0xfff) as usize;
    let (decoded, insn) = decode_both(bytes, start as u16, CodeSize::B64, place.model);
    let Decoded::Op { op, ends_block, .. } = decoded else { return None };
    let item = Item { op, insn, offered: offered(place, &insn), follows: false };
    let end = start + usize::from(op.len);
    if end <= 4096 {
        return None;
    }
    let mut emitter = Emitter::new(place, &[item], Shares::none(1), sites, links);
    let entry = emitter.head(vector::is_native(&item));
    let guard = emitter.guard(second);
    emitter.begin(&item, 0, liveness::ALL);
    // All flags are live, and nothing is shared, so that there is always a translation.
    emitter.instruction().ok()?;
    if !ends_block {
        emitter.fall_out(end);
    }
    emitter.side_exits();
    emitter.cold_parts();
    Some(Translation { code: emitter.asm.bytes, entry, len: 1, parts: vec![(start, end)], guard })
}

fn offered(place: &Place, insn: &Instruction) -> bool {
    insn.cpuid_features().iter().all(|&feature| place.model.offers(feature))
}

fn emit(
    place: &Place,
    run: &Run,
    live: &[u32],
    shares: Shares,
    sites: &mut Vec<Site>,
    links: &mut Links,
) -> Result<(Vec<u8>, u32), Untranslated> {
    let mut emitter = Emitter::new(place, &run.items, shares, sites, links);
    let entry = emitter.head(run.items.iter().any(vector::is_native));
    let mut idx = 0;
    while idx < run.items.len() {
        if let Some((kind, len)) = groups::leading(&run.items[idx..], &emitter.shares.of[idx..]) {
            emitter.group(kind, &run.items[idx..idx + len], idx as u16)?;
            idx += len;
            continue;
        }
        emitter.begin(&run.items[idx], idx as u16, live[idx]);
        emitter.instruction()?;
        idx += 1;
    }
    if !run.jumps {
        emitter.fall_out(run.end);
    }
    emitter.side_exits();
    emitter.failures();
    emitter.cold_parts();
    Ok((emitter.asm.bytes, entry))
}
