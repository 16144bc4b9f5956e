//! Accesses of a block that share one address check.
//!
//! Accesses through the same register, changed at most by constants, that lie close together are a *span*: the
//! first of them checks that all lie in one page that may be accessed directly, and keeps the way from
//! linear to host addresses for the others. If it finds that they do not, the block is left for its *careful*
//! translation, which begins at that very instruction and in which every access has a check of its own.
//!
//! What the check found stays true until the interpreter's code is called, which may change the TLB. So no
//! span reaches across an instruction without host code, and where an access within a span has to be handed over,
//! the block is left behind it.

use super::Item;
use super::facts::{has_host_code, is_no_access, writes};
use super::memory::Access;
use super::values::{RBP, ROOT_OF_ZERO, RSP, Values};
use crate::layout::SPANS;
use iced_x86::{Code, InstructionInfoFactory, Mnemonic, OpKind};
use x86::op::AddressMode;

/// Bytes from the first to the last byte of a span at most: the longer, the likelier it crosses a page.
const MOST_BYTES: i64 = 256;
/// The same for accesses through RSP: frames of a function.
const MOST_STACK_BYTES: i64 = 512;

/// An access that shares a check.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Number of the place in the frame where the way to host addresses is kept.
    pub slot: u8,
    /// The check, if this is the span's first access.
    pub lead: Option<Lead>,
    /// What the access is.
    pub bytes: u8,
    pub access: Access,
}

/// The check of a span.
#[derive(Clone, Copy, Debug)]
pub struct Lead {
    /// From the address of the first access to the span's first byte.
    pub back: i32,
    /// Bytes of the span.
    pub bytes: i32,
    pub access: Access,
    /// The span's first byte must be at a multiple of 16, and `bytes` is one.
    pub aligned: bool,
}

/// What the accesses of a block share.
pub struct Shares {
    /// For each instruction.
    pub of: Vec<Option<Share>>,
    /// For each instruction: some span begins at or before it, and ends behind it.
    pub open: Vec<bool>,
}

impl Shares {
    /// Nothing.
    pub fn none(len: usize) -> Shares {
        Shares { of: vec![None; len], open: vec![false; len] }
    }
}

/// What addresses of one span have in common: roots of base and index, and the index's scale.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    base: u32,
    index: u32,
    scale: u8,
}

struct Span {
    key: Key,
    first: usize,
    last: usize,
    members: usize,
    low: i64,
    high: i64,
    access: Access,
    /// Conditional jumps before the first access.
    exits: usize,
    /// Address of an access that must be aligned.
    aligned: Option<i64>,
    most: i64,
}

/// An access as the analysis sees it.
struct Seen {
    key: Key,
    at: i64,
    bytes: usize,
    access: Access,
    aligned: bool,
    most: i64,
}

struct Analysis {
    values: Values,
    spans: Vec<Span>,
    /// The first span that is not closed.
    open_from: usize,
    exits: usize,
    /// For each instruction its span, and the access.
    found: Vec<Option<(usize, Seen)>>,
}

/// Finds what the accesses of `items` can share.
pub fn shares(items: &[Item]) -> Shares {
    let mut analysis = Analysis {
        values: Values::new(),
        spans: Vec::new(),
        open_from: 0,
        exits: 0,
        found: Vec::with_capacity(items.len()),
    };
    let mut info = InstructionInfoFactory::new();
    for item in items {
        analysis.item(item, &mut info);
    }
    analysis.finish(items.len())
}

impl Analysis {
    fn item(&mut self, item: &Item, info: &mut InstructionInfoFactory) {
        if !has_host_code(item) {
            self.open_from = self.spans.len();
            self.found.push(None);
        } else {
            let seen = self.seen(item);
            let idx = self.found.len();
            let found = seen.map(|seen| (self.span_for(&seen, idx), seen));
            self.found.push(found);
        }
        if item.insn.is_jcc_short_or_near() {
            self.exits += 1;
        }
        self.values.after(item, info);
    }

    /// The access of the instruction, if it is one that can share.
    fn seen(&self, item: &Item) -> Option<Seen> {
        use Access::*;
        let stack = |register: usize, disp: i64, access| {
            let value = self.values.of_register(register);
            let key = Key { base: value.root, index: ROOT_OF_ZERO, scale: 0 };
            let most = if register == RSP { MOST_STACK_BYTES } else { MOST_BYTES };
            Some(Seen { key, at: value.plus.wrapping_add(disp), bytes: 8, access, aligned: false, most })
        };
        let insn = &item.insn;
        let memory = (0..insn.op_count()).find(|&i| insn.op_kind(i) == OpKind::Memory);
        // These access memory twice.
        if memory.is_some() && matches!(insn.mnemonic(), Mnemonic::Push | Mnemonic::Pop | Mnemonic::Call) {
            return None;
        }
        match insn.code() {
            Code::Call_rel32_64 | Code::Call_rm64 => return stack(RSP, -8, Write),
            Code::Retnq | Code::Retnq_imm16 => return stack(RSP, 0, Read),
            Code::Leaveq => return stack(RBP, 0, Read),
            _ if memory.is_some() => {}
            _ if insn.stack_pointer_increment() == -8 => return stack(RSP, -8, Write),
            _ if insn.stack_pointer_increment() == 8 => return stack(RSP, 0, Read),
            _ => return None,
        }
        if item.op.amode != AddressMode::Flat64 || is_no_access(insn.mnemonic()) {
            return None;
        }
        let access = if writes(item, memory?) { Write } else { Read };
        let bytes = insn.memory_size().size();
        if !matches!(bytes, 1 | 2 | 4 | 8 | 16) {
            return None;
        }
        let (base, index) = (self.values.of(item.op.base), self.values.of(item.op.index));
        let key = Key { base: base.root, index: index.root, scale: if index.root == 0 { 0 } else { item.op.scale } };
        let at = base.plus.wrapping_add(index.plus << item.op.scale).wrapping_add(item.op.disp);
        let aligned = bytes == 16 && x86::vector::sse_alignment(insn) != 0;
        let most = if usize::from(item.op.base) == RSP { MOST_STACK_BYTES } else { MOST_BYTES };
        Some(Seen { key, at, bytes, access, aligned, most })
    }

    /// The open span that the access fits into, or a new one.
    fn span_for(&mut self, seen: &Seen, idx: usize) -> usize {
        let (low, high) = (seen.at, seen.at.wrapping_add(seen.bytes as i64));
        let exits = self.exits;
        for (i, span) in self.spans.iter_mut().enumerate().skip(self.open_from) {
            let (low, high) = (span.low.min(low), span.high.max(high));
            let near = span.key == seen.key && high.wrapping_sub(low) > 0 && high.wrapping_sub(low) <= span.most;
            // Asking to write where nothing may ever be written would fail each time.
            let allowed = seen.access == Access::Read || span.access == Access::Write || span.exits == exits;
            let fits = !seen.aligned || span.aligned.is_none_or(|other| (other ^ seen.at) & 15 == 0);
            if near && allowed && fits {
                (span.low, span.high, span.last) = (low, high, idx);
                span.members += 1;
                if seen.access == Access::Write {
                    span.access = Access::Write;
                }
                if seen.aligned {
                    span.aligned = Some(seen.at);
                }
                return i;
            }
        }
        self.spans.push(Span {
            key: seen.key,
            first: idx,
            last: idx,
            members: 1,
            low,
            high,
            access: seen.access,
            exits,
            aligned: seen.aligned.then_some(seen.at),
            most: seen.most,
        });
        self.spans.len() - 1
    }

    /// Gives each span of more than one access its place.
    fn finish(self, len: usize) -> Shares {
        let mut shares = Shares::none(len);
        let mut busy_until = [0; SPANS];
        let mut slots = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let slot = busy_until.iter().position(|&until| until <= span.first).filter(|_| span.members > 1);
            if let Some(slot) = slot {
                busy_until[slot] = span.last + 1;
                shares.open[span.first..span.last].fill(true);
            }
            slots.push(slot);
        }
        for (idx, found) in self.found.into_iter().enumerate() {
            let Some((span, seen)) = found else { continue };
            let Some(slot) = slots[span] else { continue };
            let lead = (self.spans[span].first == idx).then(|| self.spans[span].lead(seen.at));
            shares.of[idx] = Some(Share { slot: slot as u8, lead, bytes: seen.bytes as u8, access: seen.access });
        }
        shares
    }
}

impl Span {
    /// The check, made by an access at `at`.
    fn lead(&self, at: i64) -> Lead {
        let (mut low, mut high) = (self.low, self.high);
        if let Some(aligned) = self.aligned {
            low = low.wrapping_sub(low.wrapping_sub(aligned) & 15);
            high = high.wrapping_add(low.wrapping_sub(high) & 15);
        }
        let aligned = self.aligned.is_some();
        Lead { back: low.wrapping_sub(at) as i32, bytes: high.wrapping_sub(low) as i32, access: self.access, aligned }
    }
}
