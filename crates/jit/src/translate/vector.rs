//! SSE instructions: the host's registers are the guest's, and the instructions themselves.
//!
//! A block with such instructions makes sure on entry that the host's XMM registers and MXCSR are the
//! guest's; calls of the interpreter's code put them back and load them again. Blocks without them pay nothing.
//! While the guest unmasks a floating-point exception, or SSE is off, such blocks are the interpreter's.

use super::emitter::Emitter;
use super::memory::Access;
use super::plain::Use;
use super::{Emitted, Item};
use crate::asm::{R10, R11, RCX};
use crate::layout::{self, GUEST_RCX};
use iced_x86::{CpuidFeature, EncodingKind, Mnemonic, OpKind};

/// Bits of MXCSR that must be clear, and the masks of its exceptions.
const RESERVED: u64 = 0xffff_0000;
const MASKS: u64 = 0x1f80;

impl Emitter<'_> {
    /// An instruction that [`is_native`].
    pub fn vector(&mut self) -> Emitted {
        let insn = self.item.insn;
        match insn.mnemonic() {
            Mnemonic::Ldmxcsr => self.load_control(),
            Mnemonic::Stmxcsr => self.renamed(&insn, [Use::Write, Use::Read]),
            Mnemonic::Pcmpistri | Mnemonic::Pcmpestri | Mnemonic::Pcmpestri64 => {
                self.renamed(&insn, [Use::Read, Use::Read])?;
                // The index is in the host's ECX, which no operand is; the flags are the host's.
                self.asm.op_reg(false, &[0x8b], GUEST_RCX, RCX);
                self.asm.changed |= 1 << RCX;
                Ok(())
            }
            _ => self.renamed(&insn, [Use::Write, Use::Read]),
        }
    }

    /// LDMXCSR: what leaves all exceptions masked is the host's MXCSR as well; the rest is handed over.
    fn load_control(&mut self) -> Emitted {
        let from = self.operand(4, Access::Read, false)?;
        self.asm.op_mem(false, &[0x8b], R10, from);
        for (wrong, inverted) in [(RESERVED, false), (MASKS, true)] {
            self.asm.constant(R11, wrong);
            self.asm.store(layout::KEPT, R11);
            self.asm.mov(R11, R10);
            if inverted {
                self.asm.not(R11);
            }
            self.asm.pext(RCX, R11, layout::KEPT);
            let site = self.site();
            self.slow_unless_zero(site);
        }
        self.asm.store(layout::KEPT, R10);
        self.asm.op_mem(false, &[0x0f, 0xae], 2, layout::KEPT);
        Ok(())
    }
}

/// True for legacy SSE instructions that the interpreter, too, has the host execute on their operands.
pub fn is_native(item: &Item) -> bool {
    use CpuidFeature::*;
    use Mnemonic::*;
    let insn = &item.insn;
    let sse = |feature: &CpuidFeature| matches!(feature, SSE | SSE2 | SSE3 | SSSE3 | SSE4_1 | SSE4_2 | AES | PCLMULQDQ);
    // Approximations differ between vendors; the others have operands that are not named, or no vector.
    let left_out = matches!(insn.mnemonic(), Rcpps | Rcpss | Rsqrtps | Rsqrtss | Maskmovdqu | Crc32);
    let control = matches!(insn.mnemonic(), Ldmxcsr | Stmxcsr);
    let registers = || {
        let registers = (0..insn.op_count()).filter(|&i| insn.op_kind(i) == OpKind::Register);
        registers.map(|i| insn.op_register(i))
    };
    item.offered
        && !left_out
        && insn.code().encoding() == EncodingKind::Legacy
        && insn.cpuid_features().iter().all(sse)
        && (control || registers().any(|register| register.is_xmm()))
        && registers().all(|register| register.is_xmm() || register.is_gpr32() || register.is_gpr64())
}
