//! Address checks: from a linear address to the host's, by the TLB's fast tags, without touching flags.

use super::emitter::Emitter;
use super::spans::{Lead, Share};
use super::{Emitted, Untranslated};
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
        let kept = layout::span(share.slot);
        if let Some(lead) = share.lead {
            self.check_span(lead, linear)?;
            self.asm.store(kept, R11);
            self.in_r11 = Some(share.slot);
            return Ok(Mem { disp: -lead.back, ..Mem::sum(R10, R11) });
        }
        let there = self.in_r11 == Some(share.slot) && linear.index.is_none_or(|(index, _)| index != R11);
        self.in_r11 = Some(share.slot);
        match linear {
            Mem { base: Some(base), index: None, disp, .. } => {
                if !there {
                    self.asm.load(R11, kept);
                }
                Ok(Mem { disp, ..Mem::sum(base, R11) })
            }
            _ => {
                self.asm.lea(R10, linear);
                if !there {
                    self.asm.load(R11, kept);
                }
                Ok(Mem::sum(R10, R11))
            }
        }
    }

    /// Checks a span, the first operand of which is at `linear`. R10 is then its linear address, and R11
    /// the way to the host's. If the check fails, the block is left before the instruction.
    fn check_span(&mut self, lead: Lead, linear: Mem) -> Emitted {
        let disp = linear.disp.checked_add(lead.back).ok_or(Untranslated)?;
        self.asm.lea(R10, Mem { disp, ..linear });
        let hit = if lead.aligned {
            self.compare_aligned(R10, lead.bytes, lead.access)
        } else {
            self.compare(R10, lead.bytes as usize, lead.access)
        };
        let place = self.asm.jmp_later();
        self.failures.push(super::emitter::Failure { place, off: self.item.op.off, idx: self.idx });
        self.land_on_hit(hit);
        Ok(())
    }

    /// Checks that `bytes` bytes at the linear address in `address` can be accessed directly, and hands the
    /// instruction over at `site` if not. The operand is then at `address + R11`. Uses RCX.
    pub fn check(&mut self, address: u8, bytes: usize, access: Access, site: u32) {
        let hit = self.compare(address, bytes, access);
        self.slow(site);
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
        self.slow(site);
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
        self.asm.land(hit);
        self.asm.load(R11, Mem::table(R11, layout::addend_offset(self.at.view)));
    }
}
