//! Shifts and rotates.
//!
//! OF is defined for a count of one alone; what this machine defines for other counts is what the last of
//! single steps would give. So where OF can be seen, the host shifts by one less, and then by one.

use super::emitter::Emitter;
use super::memory::Access;
use super::names::register;
use super::plain::{any_live, bare, gpr8_number, is_high_byte, set_memory};
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, R11, RCX};
use crate::layout::{self, GUEST_RCX, PLACES, Place};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// Opcode extension of the shift group.
fn extension(mnemonic: Mnemonic) -> u8 {
    use Mnemonic::*;
    match mnemonic {
        Rol => 0,
        Ror => 1,
        Rcl => 2,
        Rcr => 3,
        Shl | Sal => 4,
        Shr => 5,
        _ => 7,
    }
}

/// `[by one, by CL, by a constant]`, for each size.
fn code(mnemonic: Mnemonic, bytes: usize) -> [Code; 3] {
    use Code::*;
    let codes: [[Code; 3]; 32] = [
        [Rol_rm8_1, Rol_rm8_CL, Rol_rm8_imm8],
        [Rol_rm16_1, Rol_rm16_CL, Rol_rm16_imm8],
        [Rol_rm32_1, Rol_rm32_CL, Rol_rm32_imm8],
        [Rol_rm64_1, Rol_rm64_CL, Rol_rm64_imm8],
        [Ror_rm8_1, Ror_rm8_CL, Ror_rm8_imm8],
        [Ror_rm16_1, Ror_rm16_CL, Ror_rm16_imm8],
        [Ror_rm32_1, Ror_rm32_CL, Ror_rm32_imm8],
        [Ror_rm64_1, Ror_rm64_CL, Ror_rm64_imm8],
        [Rcl_rm8_1, Rcl_rm8_CL, Rcl_rm8_imm8],
        [Rcl_rm16_1, Rcl_rm16_CL, Rcl_rm16_imm8],
        [Rcl_rm32_1, Rcl_rm32_CL, Rcl_rm32_imm8],
        [Rcl_rm64_1, Rcl_rm64_CL, Rcl_rm64_imm8],
        [Rcr_rm8_1, Rcr_rm8_CL, Rcr_rm8_imm8],
        [Rcr_rm16_1, Rcr_rm16_CL, Rcr_rm16_imm8],
        [Rcr_rm32_1, Rcr_rm32_CL, Rcr_rm32_imm8],
        [Rcr_rm64_1, Rcr_rm64_CL, Rcr_rm64_imm8],
        [Shl_rm8_1, Shl_rm8_CL, Shl_rm8_imm8],
        [Shl_rm16_1, Shl_rm16_CL, Shl_rm16_imm8],
        [Shl_rm32_1, Shl_rm32_CL, Shl_rm32_imm8],
        [Shl_rm64_1, Shl_rm64_CL, Shl_rm64_imm8],
        [Shr_rm8_1, Shr_rm8_CL, Shr_rm8_imm8],
        [Shr_rm16_1, Shr_rm16_CL, Shr_rm16_imm8],
        [Shr_rm32_1, Shr_rm32_CL, Shr_rm32_imm8],
        [Shr_rm64_1, Shr_rm64_CL, Shr_rm64_imm8],
        [INVALID; 3],
        [INVALID; 3],
        [INVALID; 3],
        [INVALID; 3],
        [Sar_rm8_1, Sar_rm8_CL, Sar_rm8_imm8],
        [Sar_rm16_1, Sar_rm16_CL, Sar_rm16_imm8],
        [Sar_rm32_1, Sar_rm32_CL, Sar_rm32_imm8],
        [Sar_rm64_1, Sar_rm64_CL, Sar_rm64_imm8],
    ];
    codes[usize::from(extension(mnemonic)) * 4 + bytes.trailing_zeros() as usize]
}

/// How far to shift.
#[derive(Clone, Copy)]
enum Count {
    One,
    Constant(u8),
    Cl,
}

impl Emitter<'_> {
    /// SHL, SHR, SAR, ROL, ROR, and RCL and RCR by one.
    pub fn shift(&mut self) -> Emitted {
        let insn = self.item.insn;
        let memory = insn.op0_kind() == OpKind::Memory;
        let bytes = if memory { insn.memory_size().size() } else { insn.op0_register().size() };
        let bits = 8 * bytes as u8;
        let mnemonic = insn.mnemonic();
        let rotates = matches!(mnemonic, Mnemonic::Rol | Mnemonic::Ror);
        let carries = matches!(mnemonic, Mnemonic::Rcl | Mnemonic::Rcr);
        if !rotates && !carries && self.live & RflagsBits::AF != 0 && !self.at.host.shifts_clear_af {
            return Err(Untranslated);
        }
        let exact = any_live(self.live, RflagsBits::OF) || (bits < 32 && any_live(self.live, RflagsBits::CF));
        if insn.op1_kind() == OpKind::Register {
            // A count that is a multiple of a short operand's bits rotates by nothing, but sets flags.
            if memory || carries || bits < 32 {
                return Err(Untranslated);
            }
            return self.shift_by_cl(bytes, exact);
        }
        let count = (self.item.op.imm & if bits == 64 { 63 } else { 31 }) as u8;
        if count == 0 || (rotates && count >= bits) || (carries && count != 1) {
            return Err(Untranslated);
        }
        let steps: &[Count] = match count {
            1 => &[Count::One],
            _ if exact => &[Count::Constant(count - 1), Count::One],
            _ => &[Count::Constant(count)],
        };
        if memory {
            let operand = self.operand(bytes, Access::Write, false)?;
            return steps.iter().try_for_each(|&step| {
                let mut host = self.step(bytes, step);
                host.set_op0_kind(OpKind::Memory);
                set_memory(&mut host, operand);
                self.encode(&host)
            });
        }
        self.on_register(|emitter, held| {
            steps.iter().try_for_each(|&step| {
                let mut host = emitter.step(bytes, step);
                host.set_op0_kind(OpKind::Register);
                host.set_op0_register(register(held, bytes));
                emitter.encode(&host)
            })
        })
    }

    /// Runs `shift` on the destination register.
    fn on_register(&mut self, shift: impl FnOnce(&mut Self, u8) -> Emitted) -> Emitted {
        let target = self.item.insn.op0_register();
        if is_high_byte(target) {
            return Err(Untranslated);
        }
        let guest = if target.is_gpr8() { gpr8_number(target) } else { target.number() as u8 };
        let held = self.gpr(guest, R10);
        shift(self, held)?;
        if let Place::Slot(_) = PLACES[usize::from(guest)] {
            self.set_gpr(guest, held);
        }
        Ok(())
    }

    /// One shift of the instruction's kind, its first operand left open.
    fn step(&self, bytes: usize, count: Count) -> Instruction {
        let codes = code(self.item.insn.mnemonic(), bytes);
        let mut host = bare(&self.item.insn);
        host.set_code(match count {
            Count::One => codes[0],
            Count::Cl => codes[1],
            Count::Constant(_) => codes[2],
        });
        match count {
            Count::Cl => {
                host.set_op1_kind(OpKind::Register);
                host.set_op1_register(Register::CL);
            }
            Count::One => {
                host.set_op1_kind(OpKind::Immediate8);
                host.set_immediate8(1);
            }
            Count::Constant(count) => {
                host.set_op1_kind(OpKind::Immediate8);
                host.set_immediate8(count);
            }
        }
        host
    }

    /// SHLD and SHRD of registers, where nobody sees OF and AF.
    pub fn double_shift(&mut self) -> Emitted {
        let insn = self.item.insn;
        if any_live(self.live, RflagsBits::OF | RflagsBits::AF) || insn.op0_kind() == OpKind::Memory {
            return Err(Untranslated);
        }
        let bytes = insn.op0_register().size();
        if bytes < 4 {
            return Err(Untranslated);
        }
        let (target, source) = (insn.op0_register().number() as u8, insn.op1_register().number() as u8);
        let held = self.gpr(target, R10);
        let other = self.gpr(source, R11);
        let left = insn.mnemonic() == Mnemonic::Shld;
        if insn.op2_kind() == OpKind::Register {
            self.asm.mov(RCX, GUEST_RCX);
            self.asm.op_reg(bytes == 8, &[0x0f, if left { 0xa5 } else { 0xad }], other, held);
        } else {
            self.asm.op_reg(bytes == 8, &[0x0f, if left { 0xa4 } else { 0xac }], other, held);
            self.asm.byte(self.item.op.imm as u8);
        }
        self.set_gpr(target, held);
        Ok(())
    }

    fn shift_by_cl(&mut self, bytes: usize, exact: bool) -> Emitted {
        self.on_register(|emitter, held| {
            let emit = |emitter: &mut Self, count| {
                let mut host = emitter.step(bytes, count);
                host.set_op0_kind(OpKind::Register);
                host.set_op0_register(register(held, bytes));
                emitter.encode(&host)
            };
            if !exact {
                emitter.asm.mov(RCX, GUEST_RCX);
                return emit(emitter, Count::Cl);
            }
            let mask = if bytes == 8 { layout::COUNT63_MASK } else { layout::COUNT31_MASK };
            emitter.asm.pext(RCX, GUEST_RCX, mask);
            if bytes == 4 {
                // Even a shift by nothing clears the upper half.
                emitter.asm.op_reg(false, &[0x8b], held, held);
            }
            let nothing = emitter.asm.jrcxz();
            emitter.asm.lea32(RCX, Mem::base(RCX, -1));
            emit(emitter, Count::Cl)?;
            emit(emitter, Count::One)?;
            emitter.asm.land(nothing);
            Ok(())
        })
    }
}
