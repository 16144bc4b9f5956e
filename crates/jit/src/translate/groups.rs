//! Runs of PUSH and of POP of registers, as functions begin and end with: RSP is changed once for all.
//!
//! They share one address check in any case, see `spans`.

use super::emitter::Emitter;
use super::memory::Access;
use super::spans::Share;
use super::{Emitted, Item};
use crate::asm::{Mem, RCX};
use crate::layout::GUEST_RSP;
use iced_x86::{Code, Register};

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

/// The group that `items` begin with, if there is one: two instructions or more. `shares` says what each
/// item's access shares.
pub fn leading(items: &[Item], shares: &[Option<Share>]) -> Option<(Kind, usize)> {
    let first = kind(items.first()?)?;
    let slot = shares.first()?.as_ref()?.slot;
    let same = |(item, share): &(&Item, &Option<Share>)| {
        kind(item) == Some(first) && share.is_some_and(|share| share.slot == slot)
    };
    let later = items.iter().zip(shares).skip(1);
    let len = 1 + later.take_while(|it| same(it) && it.1.is_some_and(|share| share.lead.is_none())).count();
    (len > 1).then_some((first, len))
}

impl Emitter<'_> {
    /// Translates the group `items`, the first of which is at position `idx` of the block.
    ///
    /// # Errors
    /// If the check cannot be made.
    pub fn group(&mut self, kind: Kind, items: &[Item], idx: u16) -> Emitted {
        self.begin(&items[0], idx, super::liveness::ALL);
        let (disp, access, step) = match kind {
            Kind::Push => (-8, Access::Write, -8),
            Kind::Pop => (0, Access::Read, 8),
        };
        let first = self.stack_operand(GUEST_RSP, disp, access)?;
        for (i, item) in items.iter().enumerate() {
            let guest = item.insn.op0_register().number() as u8;
            let place = Mem { disp: first.disp + step * i as i32, ..first };
            match kind {
                Kind::Push => {
                    let held = self.gpr_read(guest, RCX);
                    self.asm.store(place, held);
                }
                Kind::Pop => self.load_gpr(guest, place, RCX),
            }
        }
        self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, step * items.len() as i32));
        Ok(())
    }
}
