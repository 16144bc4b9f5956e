//! Address checks: from a linear address to the host's, by the TLB's fast tags, without touching flags.

use super::emitter::Emitter;
use crate::asm::{Mem, R10, R11, RCX, RSP, ShortJump};
use crate::layout;

/// What an access asks of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be readable.
    Read,
    /// To be writable (and then it is readable).
    Write,
}

impl Emitter<'_> {
    /// Checks that `bytes` bytes at the linear address in `address` can be accessed directly, and hands the
    /// instruction over at `site` if not. The operand is then at `address + R11`. Uses RCX.
    pub fn check(&mut self, address: u8, bytes: usize, access: Access, site: u32) {
        let hit = self.compare(address, bytes, access);
        self.slow(site);
        self.land_on_hit(hit);
    }

    /// The comparison of a check: a jump to where the access is possible. R11 is then the index.
    pub fn compare(&mut self, address: u8, bytes: usize, access: Access) -> ShortJump {
        self.asm.pext(R11, address, layout::INDEX_MASK);
        let tags = layout::tag_offset(self.at.view, access == Access::Write);
        self.asm.load(RCX, Mem::table(R11, tags));
        // The distance from the page to the operand's last byte, without its low twelve bits.
        self.asm.lea(RCX, Mem { disp: bytes as i32 - 1, ..Mem::sum(address, RCX) });
        self.asm.shrx(RCX, RCX, RSP);
        self.asm.jrcxz()
    }

    /// The same for an operand of 16 bytes that must be aligned.
    pub fn check_aligned(&mut self, address: u8, access: Access, site: u32) {
        self.asm.pext(R11, address, layout::INDEX_MASK);
        let tags = layout::tag_offset(self.at.view, access == Access::Write);
        self.asm.load(RCX, Mem::table(R11, tags));
        self.asm.lea(RCX, Mem::sum(address, RCX));
        self.asm.pext(RCX, RCX, layout::ALIGN16_MASK);
        let hit = self.asm.jrcxz();
        self.slow(site);
        self.land_on_hit(hit);
    }

    fn land_on_hit(&mut self, hit: ShortJump) {
        self.asm.land(hit);
        self.asm.load(R11, Mem::table(R11, layout::addend_offset(self.at.view)));
    }

    /// Checks the target in R10 against the model of instruction fetches, and hands the instruction over
    /// at `site` if it is not there; without a site the run leaves for the target. R11 is then its
    /// physical address. Uses RCX.
    pub fn check_fetch(&mut self, site: Option<u32>) {
        self.asm.pext(R11, R10, layout::INDEX_MASK);
        self.asm.load(RCX, Mem::table(R11, layout::fetch_tag_offset(self.at.view)));
        self.asm.lea(RCX, Mem::sum(RCX, R10));
        self.asm.shrx(RCX, RCX, RSP);
        let hit = self.asm.jrcxz();
        match site {
            Some(site) => self.slow(site),
            None => self.leave_to_r10(),
        }
        self.asm.land(hit);
        self.asm.load(R11, Mem::table(R11, layout::fetch_addend_offset(self.at.view)));
        self.asm.lea(R11, Mem::sum(R11, R10));
    }

    /// Leaves for the RIP in R10.
    pub fn leave_to_r10(&mut self) {
        self.asm.store(layout::RIP, R10);
        self.leave(layout::leave::LOOKUP);
    }
}
