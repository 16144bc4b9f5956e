//! The parts of a block that are seldom executed, behind its end: accesses that miss the TLB's fast tags.

use super::emitter::Emitter;
use super::scratch::{HeldGuests, Holds};
use crate::asm::{Mem, RSP};
use crate::layout::{PLACES, Place};

/// An access that missed, to be handed over.
pub struct Miss {
    /// Place of the distance of the jump that leads here.
    place: u32,
    site: u32,
    /// Where the block goes on behind the instruction, and what scratch registers hold there, as (host, guest), if it is
    /// more than nothing.
    back: Option<(u32, HeldGuests)>,
}

impl Emitter<'_> {
    /// Hands the instruction over, by code behind the block.
    pub fn miss(&mut self, site: u32) {
        let place = self.asm.jmp_later();
        self.misses.push(Miss { place, site, back: None });
    }

    /// Says where the instruction's sites, those from `sites` on, and its misses, those from `misses` on, go on: here.
    pub fn resume_here(&mut self, sites: usize, misses: usize) {
        let here = self.asm.here();
        for site in &mut self.sites[sites..] {
            site.resume = here;
        }
        if self.sites.len() == sites {
            return;
        }
        if self.sites.len() - sites != self.misses.len() - misses {
            // Another way leads here, on which scratch registers hold nothing.
            return self.forget_all();
        }
        let guests = self.held_guests();
        self.forget_all();
        for (host, guest) in guests.into_iter().flatten() {
            self.note(host, Holds::Guest(guest));
        }
        for miss in &mut self.misses[misses..] {
            miss.back = guests.iter().any(Option::is_some).then_some((here, guests));
        }
    }

    /// Finishes the misses. Where scratch registers hold something, they do so again before the block goes on.
    pub fn cold_parts(&mut self) {
        for Miss { place, site, back } in std::mem::take(&mut self.misses) {
            self.asm.land_long(place);
            self.slow(site);
            let Some((back, guests)) = back else { continue };
            self.sites[site as usize].resume = self.asm.here();
            for (host, guest) in guests.into_iter().flatten() {
                if let Place::Slot(slot) = PLACES[usize::from(guest)] {
                    self.asm.load(host, Mem::base(RSP, slot));
                }
            }
            self.asm.jmp(back);
        }
    }
}
