//! Address checks: from a linear address to the host's, by the TLB's fast tags, without touching flags.

use super::Untranslated;
use super::emitter::Emitter;
use super::scratch::{Holds, SCRATCH};
use super::spans::{Lead, Share};
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
    /// Where the memory operand of `bytes` bytes lies in the host's memory, once it has been checked. Uses R10,
    /// R11 and RCX.
    pub fn operand(&mut self, bytes: usize, access: Access, aligned: bool) -> Result<Mem, Untranslated> {
        if let Some(share) = self.share_of(bytes, access)? {
            let linear = self.effective_operand()?;
            return self.shared(share, linear);
        }
        let site = self.site();
        let address = self.address()?;
        if aligned {
            self.check_aligned(address, access, site);
        } else {
            self.check(address, bytes, access, site);
        }
        Ok(Mem::sum(address, R11))
    }

    /// Where the eight bytes at `disp` from the guest register held by `base` lie, checked likewise.
    pub fn stack_operand(&mut self, base: u8, disp: i32, access: Access) -> Result<Mem, Untranslated> {
        let linear = Mem::base(base, disp);
        if let Some(share) = self.share_of(8, access)? {
            return self.shared(share, linear);
        }
        let site = self.site();
        let mut address = base;
        if disp != 0 {
            self.asm.lea(R10, linear);
            address = R10;
        }
        self.check(address, 8, access, site);
        Ok(Mem::sum(address, R11))
    }

    /// What the instruction's access shares; asked once.
    fn share_of(&mut self, bytes: usize, access: Access) -> Result<Option<Share>, Untranslated> {
        match self.share.take() {
            Some(share) if usize::from(share.bytes) != bytes || share.access != access => Err(Untranslated),
            share => Ok(share),
        }
    }

    /// The host's place of the operand at `linear`, which belongs to a span.
    fn shared(&mut self, share: Share, linear: Mem) -> Result<Mem, Untranslated> {
        if let Some(lead) = share.lead {
            let first = self.check_span(lead, linear)?;
            self.asm.store(layout::span(share.slot), R11);
            self.forget(Holds::Way(share.slot));
            self.note(R11, Holds::Way(share.slot));
            return Ok(first);
        }
        if let Mem { base: Some(base), index: None, disp, .. } = linear {
            let way = self.way(share.slot, &[base]);
            return Ok(Mem { disp, ..Mem::sum(base, way) });
        }
        let address = if self.held(Holds::Way(share.slot)) == Some(R10) { R11 } else { R10 };
        self.asm.lea(address, linear);
        let way = self.way(share.slot, &[address]);
        Ok(Mem::sum(address, way))
    }

    /// Checks a span, the first operand of which is at `linear`; that operand's place is returned, and R11 is the
    /// way from linear to host addresses. If the check fails, the block is left before the instruction.
    fn check_span(&mut self, lead: Lead, linear: Mem) -> Result<Mem, Untranslated> {
        let disp = linear.disp.checked_add(lead.back).ok_or(Untranslated)?;
        let (address, first) = match linear {
            Mem { base: Some(base), index: None, .. } if disp == 0 && !SCRATCH.contains(&base) => (base, linear.disp),
            _ => {
                self.asm.lea(R10, Mem { disp, ..linear });
                (R10, -lead.back)
            }
        };
        let hit = if lead.aligned {
            self.compare_aligned(address, lead.bytes, lead.access)
        } else {
            self.compare(address, lead.bytes as usize, lead.access)
        };
        let place = self.asm.jmp_later();
        self.failures.push(super::emitter::Failure { place, off: self.item.op.off, idx: self.idx });
        self.land_on_hit(hit);
        Ok(Mem { disp: first, ..Mem::sum(address, R11) })
    }

    /// Checks that `bytes` bytes at the linear address in `address` can be accessed directly, and hands the
    /// instruction over at `site` if not. The operand is then at `address + R11`. Uses RCX.
    pub fn check(&mut self, address: u8, bytes: usize, access: Access, site: u32) {
        let hit = self.compare(address, bytes, access);
        self.miss(site);
        self.land_on_hit(hit);
    }

    /// The comparison of a check: a jump to where the access is possible. R11 is then the index.
    fn compare(&mut self, address: u8, bytes: usize, access: Access) -> ShortJump {
        self.asm.pext(R11, address, layout::INDEX_MASK);
        let tags = layout::tag_offset(self.at.view, access == Access::Write);
        self.asm.load(RCX, Mem::table(R11, tags));
        // The distance from the page to the operand's last byte, without its low twelve bits.
        self.asm.lea(RCX, Mem { disp: bytes as i32 - 1, ..Mem::sum(address, RCX) });
        self.asm.shrx(RCX, RCX, RSP);
        self.asm.jrcxz()
    }

    /// The same for an operand of 16 bytes that must be aligned.
    fn check_aligned(&mut self, address: u8, access: Access, site: u32) {
        let hit = self.compare_aligned(address, 16, access);
        self.miss(site);
        self.land_on_hit(hit);
    }

    /// The comparison for `bytes` bytes, a multiple of 16, that must be aligned.
    fn compare_aligned(&mut self, address: u8, bytes: i32, access: Access) -> ShortJump {
        self.asm.pext(R11, address, layout::INDEX_MASK);
        let tags = layout::tag_offset(self.at.view, access == Access::Write);
        self.asm.load(RCX, Mem::table(R11, tags));
        self.asm.lea(RCX, Mem { disp: bytes - 16, ..Mem::sum(address, RCX) });
        self.asm.pext(RCX, RCX, layout::ALIGN16_MASK);
        self.asm.jrcxz()
    }

    fn land_on_hit(&mut self, hit: ShortJump) {
        self.asm.land_alone(hit);
        self.asm.load(R11, Mem::table(R11, layout::addend_offset(self.at.view)));
    }
}
