//! What the scratch registers R11, R10 and RCX hold beside what an instruction needs them for: guest registers that
//! lie in the frame, and ways to host addresses that spans found. Both are in memory as well, so that nothing is lost
//! when a scratch register is used for something else; only loads are spared.

use super::emitter::Emitter;
use super::names::register;
use super::{Emitted, Untranslated};
use crate::asm::{Asm, Mem, R10, R11, RCX};
use crate::layout::{self, PLACES, Place};
use iced_x86::{Instruction, OpKind};

/// The scratch registers.
pub const SCRATCH: [u8; 3] = [R11, R10, RCX];

/// The guest registers that scratch registers hold, as (host, guest).
pub type HeldGuests = [Option<(u8, u8)>; SCRATCH.len()];

/// What a scratch register can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// All 64 bits of a guest register that lies in the frame.
    Guest(u8),
    /// What is in the place of a span.
    Way(u8),
}

/// What the scratch registers hold, as long as [`Asm::changed`] does not say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    of: [Option<Holds>; SCRATCH.len()],
    /// When each was used last.
    used: [u32; SCRATCH.len()],
    now: u32,
}

impl Held {
    fn in_register(&self, i: usize, asm: &Asm) -> Option<Holds> {
        self.of[i].filter(|_| asm.changed & 1 << SCRATCH[i] == 0)
    }
}

impl Emitter<'_> {
    /// The scratch register that holds `what`.
    pub fn held(&mut self, what: Holds) -> Option<u8> {
        let i = (0..SCRATCH.len()).find(|&i| self.held.in_register(i, &self.asm) == Some(what))?;
        self.held.now += 1;
        self.held.used[i] = self.held.now;
        Some(SCRATCH[i])
    }

    /// `host`, if it is a scratch register, holds `what` now.
    pub fn note(&mut self, host: u8, what: Holds) {
        let Some(i) = SCRATCH.iter().position(|&scratch| scratch == host) else { return };
        self.asm.changed &= !(1 << host);
        self.held.now += 1;
        (self.held.of[i], self.held.used[i]) = (Some(what), self.held.now);
    }

    /// No scratch register holds `what` any more.
    pub fn forget(&mut self, what: Holds) {
        for held in &mut self.held.of {
            if *held == Some(what) {
                *held = None;
            }
        }
    }

    /// No scratch register holds anything.
    pub fn forget_all(&mut self) {
        self.held = Held::default();
    }

    /// The guest registers that scratch registers hold, as (host, guest).
    pub fn held_guests(&self) -> HeldGuests {
        let guest = |i: usize| match self.held.in_register(i, &self.asm) {
            Some(Holds::Guest(guest)) => Some((SCRATCH[i], guest)),
            _ => None,
        };
        std::array::from_fn(guest)
    }

    /// The one of `free` that holds nothing, or what was used longest ago.
    pub fn spare(&self, free: impl Iterator<Item = u8>) -> Option<u8> {
        let age = |host: &u8| {
            let i = SCRATCH.iter().position(|scratch| scratch == host)?;
            self.held.in_register(i, &self.asm).map(|_| self.held.used[i])
        };
        free.min_by_key(age)
    }

    /// The host register that holds guest register `guest`; one that lies in the frame is brought into `scratch`.
    pub fn gpr(&mut self, guest: u8, scratch: u8) -> u8 {
        match PLACES[usize::from(guest)] {
            Place::Reg(host) => host,
            Place::Slot(slot) => {
                match self.held(Holds::Guest(guest)) {
                    Some(host) => self.asm.mov(scratch, host),
                    None => self.asm.load(scratch, Mem::base(crate::asm::RSP, slot)),
                }
                self.note(scratch, Holds::Guest(guest));
                scratch
            }
        }
    }

    /// The same for a register that is only read: any scratch register that holds it will do.
    pub fn gpr_read(&mut self, guest: u8, scratch: u8) -> u8 {
        match PLACES[usize::from(guest)] {
            Place::Reg(host) => host,
            Place::Slot(_) => match self.held(Holds::Guest(guest)) {
                Some(host) => host,
                None => self.gpr(guest, scratch),
            },
        }
    }

    /// Loads guest register `guest`, all 64 bits, from memory; `scratch` on the way if it lies in the frame.
    pub fn load_gpr(&mut self, guest: u8, from: Mem, scratch: u8) {
        match PLACES[usize::from(guest)] {
            Place::Reg(to) => self.asm.load(to, from),
            Place::Slot(_) => {
                self.asm.load(scratch, from);
                self.set_gpr(guest, scratch);
            }
        }
    }

    /// Stores host register `host` to guest register `guest`, all 64 bits.
    pub fn set_gpr(&mut self, guest: u8, host: u8) {
        match PLACES[usize::from(guest)] {
            Place::Reg(to) => self.asm.mov(to, host),
            Place::Slot(slot) => {
                self.asm.store(Mem::base(crate::asm::RSP, slot), host);
                self.forget(Holds::Guest(guest));
                self.note(host, Holds::Guest(guest));
            }
        }
    }

    /// What the place of a span has, in R10 or R11 but in none of `taken`.
    pub fn way(&mut self, slot: u8, taken: &[u8]) -> u8 {
        if let Some(host) = self.held(Holds::Way(slot)) {
            return host;
        }
        let free = [R11, R10].into_iter().filter(|host| !taken.contains(host));
        let host = self.spare(free).unwrap_or(R11);
        self.asm.load(host, layout::span(slot));
        self.note(host, Holds::Way(slot));
        host
    }

    /// Emits a guest instruction whose operands were renamed.
    pub fn encode(&mut self, insn: &Instruction) -> Emitted {
        let before = self.asm.bytes.len();
        self.encoder.set_buffer(std::mem::take(&mut self.asm.bytes));
        let result = self.encoder.encode(insn, 0);
        self.asm.bytes = self.encoder.take_buffer();
        if result.is_err() {
            self.asm.bytes.truncate(before);
            return Err(Untranslated);
        }
        for i in (0..insn.op_count()).filter(|&i| insn.op_kind(i) == OpKind::Register) {
            for host in SCRATCH {
                if insn.op_register(i).full_register() == register(host, 8) {
                    self.asm.changed |= 1 << host;
                }
            }
        }
        Ok(())
    }
}
