//! Runs of PUSH and of POP of registers, as functions begin and end with: one address check for all.
//!
//! If the check fails, for whatever reason, each instruction is handed over by itself.

use super::Item;
use super::emitter::Emitter;
use super::memory::Access;
use crate::asm::{Mem, R10, R11, RCX};
use crate::layout::{self, GUEST_RSP};
use iced_x86::{Code, Register};

/// Instructions of a group at most: the code for failed checks is jumped over by a short jump.
const MOST: usize = 8;

/// What a group consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Push,
    Pop,
}

fn kind(item: &Item) -> Option<Kind> {
    let plain = item.offered && item.insn.op0_register() != Register::RSP;
    match item.insn.code() {
        Code::Push_r64 if plain => Some(Kind::Push),
        Code::Pop_r64 if plain => Some(Kind::Pop),
        _ => None,
    }
}

/// The group that `items` begin with, if there is one: two instructions or more.
pub fn leading(items: &[Item]) -> Option<(Kind, usize)> {
    let first = kind(items.first()?)?;
    let len = items.iter().take(MOST).take_while(|item| kind(item) == Some(first)).count();
    (len > 1).then_some((first, len))
}

impl Emitter<'_> {
    /// Translates the group `items`, the first of which is at position `idx` of the block.
    pub fn group(&mut self, kind: Kind, items: &[Item], idx: u16) {
        let bytes = 8 * items.len() as i32;
        let (address, access) = match kind {
            Kind::Push => (R10, Access::Write),
            Kind::Pop => (GUEST_RSP, Access::Read),
        };
        if kind == Kind::Push {
            self.asm.lea(R10, Mem::base(GUEST_RSP, -bytes));
        }
        let hit = self.compare(address, bytes as usize, access);
        for (i, item) in items.iter().enumerate() {
            self.begin(item, idx + i as u16, super::liveness::ALL);
            let site = self.site();
            self.slow(site);
            self.sites[site as usize].resume = self.asm.here();
        }
        let done = self.asm.jmp_later();
        self.asm.land(hit);
        self.asm.load(R11, Mem::table(R11, layout::addend_offset(self.at.view)));
        self.asm.lea(R11, Mem::sum(address, R11));
        for (i, item) in items.iter().enumerate() {
            let guest = item.insn.op0_register().number() as u8;
            match kind {
                Kind::Push => {
                    let held = self.gpr(guest, RCX);
                    self.asm.store(Mem::base(R11, bytes - 8 - 8 * i as i32), held);
                }
                Kind::Pop => self.load_gpr(guest, Mem::base(R11, 8 * i as i32), RCX),
            }
        }
        match kind {
            Kind::Push => self.asm.mov(GUEST_RSP, R10),
            Kind::Pop => self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, bytes)),
        }
        self.asm.land_long(done);
    }
}
