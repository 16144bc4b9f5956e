//! SSE instructions: the host's registers are the guest's, and the instructions themselves.
//!
//! A block with such instructions makes sure on entry that the host's XMM registers and MXCSR are the
//! guest's; calls of the interpreter's code put them back and load them again. Blocks without them pay nothing.
//! While the guest unmasks a floating-point exception, or SSE is off, such blocks are the interpreter's.

use super::emitter::Emitter;
use super::plain::Use;
use super::{Emitted, Item};
use iced_x86::{CpuidFeature, EncodingKind, Mnemonic, OpKind};

impl Emitter<'_> {
    /// An instruction that [`is_native`].
    pub fn vector(&mut self) -> Emitted {
        let insn = self.item.insn;
        self.renamed(&insn, [Use::Write, Use::Read])
    }
}

/// True for legacy SSE instructions that the interpreter, too, has the host execute on their operands.
pub fn is_native(item: &Item) -> bool {
    use CpuidFeature::*;
    use Mnemonic::*;
    let insn = &item.insn;
    let sse = |feature: &CpuidFeature| matches!(feature, SSE | SSE2 | SSE3 | SSSE3 | SSE4_1 | SSE4_2 | AES | PCLMULQDQ);
    // Approximations differ between vendors; the others have operands that are not named, or no vector.
    let left_out = matches!(
        insn.mnemonic(),
        Rcpps
            | Rcpss
            | Rsqrtps
            | Rsqrtss
            | Maskmovdqu
            | Ldmxcsr
            | Stmxcsr
            | Pcmpistri
            | Pcmpistrm
            | Pcmpestri
            | Pcmpestrm
            | Pcmpestri64
            | Pcmpestrm64
            | Crc32
    );
    let registers = || {
        let registers = (0..insn.op_count()).filter(|&i| insn.op_kind(i) == OpKind::Register);
        registers.map(|i| insn.op_register(i))
    };
    item.offered
        && !left_out
        && insn.code().encoding() == EncodingKind::Legacy
        && insn.cpuid_features().iter().all(sse)
        && registers().any(|register| register.is_xmm())
        && registers().all(|register| register.is_xmm() || register.is_gpr32() || register.is_gpr64())
}
