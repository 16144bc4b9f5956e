//! What the search for spans asks about single instructions.

use super::{Item, plain, vector};
use iced_x86::{Mnemonic, OpKind, Register};

/// True for instructions whose memory operand is only an address, or nothing.
pub fn is_no_access(mnemonic: Mnemonic) -> bool {
    mnemonic == Mnemonic::Lea || does_nothing(mnemonic)
}

/// True for instructions that do nothing on this machine, which has neither caches nor write buffers.
pub fn does_nothing(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Nop | Reservednop | Endbr32 | Endbr64 | Lfence | Sfence | Mfence)
        || matches!(mnemonic, Prefetch | Prefetchw | Prefetchwt1 | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2)
}

/// True if the memory operand, which is operand `i`, is written.
pub fn writes(item: &Item, i: u32) -> bool {
    use Mnemonic::*;
    if i > 0 {
        return i == 1 && plain::uses(item.insn.mnemonic()).is_some_and(|uses| uses[1] != plain::Use::Read);
    }
    if let Some(uses) = plain::uses(item.insn.mnemonic()) {
        return uses[0] != plain::Use::Read;
    }
    !matches!(item.insn.mnemonic(), Mul | Imul | Div | Idiv | Bt | Jmp | Call | Ldmxcsr)
}

/// True if the instruction is one that has host code as a rule. (If it has none after all and a
/// span counted on it, the block is translated without spans.)
pub fn has_host_code(item: &Item) -> bool {
    use Mnemonic::*;
    let mnemonic = item.insn.mnemonic();
    let known = || {
        matches!(
            mnemonic,
            Lea | Push
                | Pop
                | Leave
                | Shl
                | Sal
                | Shr
                | Sar
                | Rol
                | Ror
                | Imul
                | Mul
                | Div
                | Idiv
                | Bsf
                | Bsr
                | Bt
                | Bts
                | Btr
                | Btc
                | Shld
                | Shrd
                | Pushfq
                | Jmp
                | Call
                | Ret
                | Cdq
                | Cdqe
                | Cqo
                | Cwde
                | Cwd
                | Cbw
                | Clc
                | Stc
                | Cmc
                | Sahf
                | Lahf
        )
    };
    let far_bit = matches!(mnemonic, Bt | Bts | Btr | Btc)
        && item.insn.op0_kind() == OpKind::Memory
        && item.insn.op1_kind() == OpKind::Register;
    let segment = (0..item.insn.op_count())
        .any(|i| item.insn.op_kind(i) == OpKind::Register && !has_place(item.insn.op_register(i)));
    let common =
        plain::uses(mnemonic).is_some() || known() || does_nothing(mnemonic) || item.insn.is_jcc_short_or_near();
    item.offered && !far_bit && ((common && !segment) || vector::is_native(item))
}

fn has_place(register: Register) -> bool {
    register.is_gpr() && register != Register::CH
}
