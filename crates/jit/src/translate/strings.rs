//! REP MOVS and REP STOS: where nothing is left to do, they are jumped over, else shared code does them ([`crate::strings`]).

use super::emitter::Emitter;
use super::{Emitted, Untranslated};
use crate::asm::RCX;
use crate::layout::GUEST_RCX;
use crate::strings::Kind;
use iced_x86::Code;
use x86::op::{AddressMode, Repeat};

impl Emitter<'_> {
    /// MOVS and STOS under a repeat prefix.
    pub fn string(&mut self) -> Emitted {
        let (kind, shift) = match self.item.insn.code() {
            Code::Movsb_m8_m8 => (Kind::Movs, 0),
            Code::Movsw_m16_m16 => (Kind::Movs, 1),
            Code::Movsd_m32_m32 => (Kind::Movs, 2),
            Code::Movsq_m64_m64 => (Kind::Movs, 3),
            Code::Stosb_m8_AL => (Kind::Stos, 0),
            Code::Stosw_m16_AX => (Kind::Stos, 1),
            Code::Stosd_m32_EAX => (Kind::Stos, 2),
            Code::Stosq_m64_RAX => (Kind::Stos, 3),
            _ => return Err(Untranslated),
        };
        if self.item.op.rep == Repeat::None || self.item.op.amode != AddressMode::Flat64 {
            return Err(Untranslated);
        }
        let site = self.site();
        self.asm.mov(RCX, GUEST_RCX);
        let nothing = self.asm.jrcxz();
        self.asm.constant(RCX, site.into());
        self.asm.call(self.at.thunks.strings.of(kind, self.at.view, shift));
        self.asm.land(nothing);
        Ok(())
    }
}
