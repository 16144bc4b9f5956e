//! Which instructions a block consists of.
//!
//! From its first instruction it follows the way that is expected: behind a conditional jump it goes on at the target, if
//! that lies in the page and the jump was seen to go there. It ends behind what always jumps, where it would meet itself,
//! and before instructions that begin blocks. A short loop is repeated within it.

use super::{Item, Place};
use crate::ways::Ways;
use iced_x86::{Code, Instruction, OpKind};
use x86::GuestPhysAddr;
use x86::decode::{Decoded, decode_both};
use x86::op::Op;
use x86::vcpu::CodeSize;

/// Instructions of a loop that is repeated within its block at most.
const MOST_IN_LOOP: usize = 16;
/// How often at most, and in how many times the instructions of a block.
const MOST_TURNS: usize = 16;
const BLOCKS_IN_LOOP: usize = 2;

/// A run of instructions, and how it ends.
pub struct Run {
    pub items: Vec<Item>,
    /// Offset in the page where it goes on.
    pub end: usize,
    /// The last one always jumps.
    pub jumps: bool,
    /// The parts of the page that it was made from: offsets of first bytes, and behind last bytes.
    pub parts: Vec<(usize, usize)>,
}

/// Decodes the block at `place`, whose page holds `page`.
pub fn decode(place: &Place, page: &[u8; 4096], ways: &Ways) -> Run {
    let start = (place.at.0 & 0xfff) as usize;
    let mut run = Run { items: Vec::with_capacity(16), end: start, jumps: false, parts: vec![(start, start)] };
    let behind = |at: usize| ways.behind(GuestPhysAddr(place.at.0 & !0xfff | at as u64), place.view);
    let mut expected = behind(start);
    let mut repeatable = !place.careful;
    while run.items.len() < place.max_block && run.end < 4096 {
        if expected == Some(run.end as u16) && run.end != start {
            expected = behind(run.end);
        }
        let (decoded, insn) = decode_both(&page[run.end..], run.end as u16, CodeSize::B64, place.model);
        let Decoded::Op { op, starts_block, ends_block } = decoded else { break };
        // System instructions look at the count at which their block began: each begins one.
        if starts_block && !run.items.is_empty() {
            break;
        }
        repeatable &= !starts_block;
        run.items.push(Item { op, insn, offered: super::offered(place, &insn), follows: false });
        run.end += usize::from(op.len);
        if let Some(part) = run.parts.last_mut() {
            part.1 = run.end;
        }
        let target = target(&op, &insn);
        if repeatable && target == Some(start) && run.repeat(place.max_block) {
            run.jumps = ends_block;
            break;
        }
        if ends_block {
            run.jumps = true;
            break;
        }
        let taken = target.filter(|&to| !place.careful && ways.jumps(expected, op.off, to as u16));
        if let Some(target) = taken
            && run.follow(target)
        {
            expected = behind(target);
        } else if run.meets_itself() {
            break;
        }
    }
    run
}

/// The target of a relative jump, not a call, that lies within the page.
fn target(op: &Op, insn: &Instruction) -> Option<usize> {
    let always = matches!(insn.code(), Code::Jmp_rel8_64 | Code::Jmp_rel32_64);
    let relative = always || insn.is_jcc_short_or_near();
    let near = relative && insn.op0_kind() == OpKind::NearBranch64 && op.imm < 4096;
    near.then_some(op.imm as usize)
}

impl Run {
    fn holds(&self, offset: usize) -> bool {
        self.parts.iter().any(|&(first, end)| (first..end).contains(&offset))
    }

    /// True if the next instruction is one that the run has already.
    fn meets_itself(&self) -> bool {
        self.parts.len() > 1 && self.holds(self.end)
    }

    /// Goes on at `target` of the last instruction. False if the run has been there, or what lies behind the jump is in
    /// another page.
    fn follow(&mut self, target: usize) -> bool {
        if self.holds(target) || self.end >= 4096 {
            return false;
        }
        if let Some(item) = self.items.last_mut() {
            item.follows = true;
        }
        self.parts.push((target, target));
        self.end = target;
        true
    }

    /// Repeats the loop that the run consists of, so that its turns share checks and are charged for together. False if
    /// it is too long for that.
    fn repeat(&mut self, max_block: usize) -> bool {
        let body = self.items.len();
        let turns = (BLOCKS_IN_LOOP * max_block / body).min(MOST_TURNS);
        if body > MOST_IN_LOOP || turns < 2 || self.end >= 4096 {
            return false;
        }
        for turn in 1..turns {
            self.items[turn * body - 1].follows = true;
            self.items.extend_from_within(..body - 1);
            let jump = Item { follows: false, ..self.items[turn * body - 1] };
            self.items.push(jump);
        }
        true
    }
}
