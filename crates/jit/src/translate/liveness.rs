//! Which arithmetic flags an instruction's results can be seen in, within a block.
//!
//! Behind a block, and wherever an instruction can fault or leave, all flags are live.

use super::Item;
use iced_x86::{Mnemonic, OpKind, Register, RflagsBits};

/// The six arithmetic flags, as iced-x86 numbers them.
pub const ALL: u32 =
    RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::CF | RflagsBits::PF;

/// The flags live behind each instruction.
pub fn live_after(items: &[Item]) -> Vec<u32> {
    let mut live = vec![ALL; items.len()];
    for i in (1..items.len()).rev() {
        let item = &items[i];
        live[i - 1] = if stays(item) { (live[i] & !written(item) | item.insn.rflags_read()) & ALL } else { ALL };
    }
    live
}

/// True if the instruction touches registers only and is sure to be translated.
pub fn stays(item: &Item) -> bool {
    use Mnemonic::*;
    let insn = &item.insn;
    if insn.mnemonic() == Jmp {
        return item.follows;
    }
    let known = matches!(
        insn.mnemonic(),
        Mov | Movzx
            | Movsx
            | Movsxd
            | Lea
            | Add
            | Or
            | Adc
            | Sbb
            | And
            | Sub
            | Xor
            | Cmp
            | Test
            | Inc
            | Dec
            | Neg
            | Not
            | Shl
            | Sal
            | Shr
            | Sar
            | Shld
            | Shrd
            | Imul
            | Cdq
            | Cdqe
            | Cqo
            | Cwde
            | Nop
    );
    let is_lea = insn.mnemonic() == Lea;
    known
        && item.offered
        && (0..insn.op_count()).all(|i| match insn.op_kind(i) {
            OpKind::Register => {
                let register = insn.op_register(i);
                let is_count = register == Register::CL && i + 1 == insn.op_count() && is_shift(insn.mnemonic());
                is_count || (register.is_gpr() && !register.is_gpr8())
            }
            OpKind::Memory => is_lea,
            _ => true,
        })
}

/// The flags that the instruction always sets.
fn written(item: &Item) -> u32 {
    if is_shift(item.insn.mnemonic()) {
        let by_register = item.insn.op_kind(item.insn.op_count() - 1) == OpKind::Register;
        let mask = if item.op.osize == 8 { 63 } else { 31 };
        if by_register || item.op.imm & mask == 0 {
            return 0;
        }
    }
    item.insn.rflags_modified() & ALL
}

fn is_shift(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Shl | Sal | Shr | Sar | Shld | Shrd)
}
