//! Instructions whose host code is themselves with their operands renamed.

use super::emitter::Emitter;
use super::facts::does_nothing;
use super::memory::Access;
use super::names::register;
use super::scratch::{Holds, SCRATCH};
use super::{Emitted, Untranslated, liveness};
use crate::asm::{Mem, R10, R11, RCX};
use crate::layout::{PLACES, Place};
use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// What an instruction does with an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
    Change,
}

/// What the instruction does with its first and second operand; `None` if it is not one of these.
pub fn uses(mnemonic: Mnemonic) -> Option<[Use; 2]> {
    use Mnemonic::*;
    use Use::*;
    Some(match mnemonic {
        Mov | Movzx | Movsx | Movsxd | Movbe | Popcnt | Lzcnt | Tzcnt => [Write, Read],
        Seto | Setno | Setb | Setae | Sete | Setne | Setbe | Seta | Sets | Setns | Setp | Setnp | Setl | Setge
        | Setle | Setg => [Write, Read],
        Cmovo | Cmovno | Cmovb | Cmovae | Cmove | Cmovne | Cmovbe | Cmova | Cmovs | Cmovns | Cmovp | Cmovnp | Cmovl
        | Cmovge | Cmovle | Cmovg => [Change, Read],
        Add | Or | Adc | Sbb | And | Sub | Xor | Inc | Dec | Neg | Not | Bswap => [Change, Read],
        Cmp | Test => [Read, Read],
        Xchg | Xadd => [Change, Change],
        Cmpxchg | Crc32 => [Change, Read],
        _ => return None,
    })
}

/// Registers that hold nothing.
pub struct Scratch {
    /// Those of [`SCRATCH`] that are still free.
    free: [bool; SCRATCH.len()],
    /// Guest registers that the others stand for.
    given: [Option<u8>; SCRATCH.len()],
}

impl Scratch {
    pub fn of(free: impl Fn(u8) -> bool) -> Scratch {
        Scratch { free: SCRATCH.map(free), given: [None; SCRATCH.len()] }
    }

    fn free(&self) -> impl Iterator<Item = u8> {
        SCRATCH.into_iter().zip(self.free).filter_map(|(host, free)| free.then_some(host))
    }

    fn give(&mut self, host: u8, guest: u8) {
        if let Some(i) = SCRATCH.iter().position(|&scratch| scratch == host) {
            (self.free[i], self.given[i]) = (false, Some(guest));
        }
    }

    fn given(&self, guest: u8) -> Option<u8> {
        let i = self.given.iter().position(|&given| given == Some(guest))?;
        Some(SCRATCH[i])
    }
}

impl Emitter<'_> {
    /// Translates the instruction by renaming, or does not.
    pub fn plain(&mut self) -> Emitted {
        use Mnemonic::*;
        let insn = self.item.insn;
        match insn.mnemonic() {
            nothing if does_nothing(nothing) => return Ok(()),
            Cdq | Cdqe | Cqo | Cwde | Cwd | Cbw | Clc | Stc | Cmc | Sahf | Lahf => return self.encode(&insn),
            Xchg if insn.op0_kind() == OpKind::Memory => return self.exchange(),
            // What these do to the upper half of a register that keeps its value depends on the host.
            Cmpxchg if insn.op0_kind() != OpKind::Memory => return Err(Untranslated),
            Movbe if !self.at.host.movbe => return Err(Untranslated),
            Popcnt if !self.at.host.popcnt => return Err(Untranslated),
            Bswap if insn.op0_register().size() == 2 => return Err(Untranslated),
            Tzcnt | Lzcnt => {
                let open = RflagsBits::OF | RflagsBits::SF | RflagsBits::AF | RflagsBits::PF;
                if !self.at.host.counts || self.live & open != 0 {
                    return Err(Untranslated);
                }
            }
            And | Or | Xor | Test if !self.at.host.logic_clears_af && self.live & RflagsBits::AF != 0 => {
                return Err(Untranslated);
            }
            _ => {}
        }
        let uses = uses(insn.mnemonic()).ok_or(Untranslated)?;
        self.renamed(&insn, uses)
    }

    /// Emits `insn` on renamed operands.
    pub fn renamed(&mut self, insn: &Instruction, uses: [Use; 2]) -> Emitted {
        let mut host = bare(insn);
        let scratch = match (0..insn.op_count()).find(|&i| insn.op_kind(i) == OpKind::Memory) {
            Some(i) => {
                let access = if i < 2 && uses[i as usize] != Use::Read { Access::Write } else { Access::Read };
                self.memory_operand(&mut host, access)?
            }
            None => Scratch::of(|_| true),
        };
        self.register_operands(&mut host, uses, scratch)
    }

    /// Renames the memory operand of `host`, address checked. Returns what registers are left.
    fn memory_operand(&mut self, host: &mut Instruction, access: Access) -> Result<Scratch, Untranslated> {
        let bytes = host.memory_size().size();
        if !matches!(bytes, 1 | 2 | 4 | 8 | 16) {
            return Err(Untranslated);
        }
        let aligned = bytes == 16 && x86::vector::sse_alignment(&self.item.insn) != 0;
        let operand = self.operand(bytes, access, aligned)?;
        let insn = *host;
        let registers = (0..insn.op_count()).filter(|&i| insn.op_kind(i) == OpKind::Register);
        let registers = registers.map(|i| insn.op_register(i));
        if registers.clone().any(is_high_byte) {
            // These cannot be named beside R8 to R15.
            self.asm.lea(RCX, operand);
            set_memory(host, Mem::base(RCX, 0));
            return Ok(Scratch::of(|_| false));
        }
        let used = [operand.base, operand.index.map(|(index, _)| index)];
        let scratch = Scratch::of(|host| !used.contains(&Some(host)));
        let in_frame = registers.filter(|&register| is_in_frame(register)).count();
        if in_frame > scratch.free().count() {
            self.asm.lea(R10, operand);
            set_memory(host, Mem::base(R10, 0));
            return Ok(Scratch::of(|host| host != R10));
        }
        set_memory(host, operand);
        Ok(scratch)
    }

    /// Renames the register operands of `host`, emits it, and stores what belongs in the frame.
    fn register_operands(&mut self, host: &mut Instruction, uses: [Use; 2], mut scratch: Scratch) -> Emitted {
        let (mut stores, mut reads) = ([None; 2], [None; 2]);
        for i in 0..host.op_count() {
            if host.op_kind(i) != OpKind::Register {
                continue;
            }
            let guest = host.op_register(i);
            if guest.is_xmm() {
                continue;
            }
            if !guest.is_gpr() {
                return Err(Untranslated);
            }
            if is_high_byte(guest) {
                if guest == Register::CH {
                    return Err(Untranslated);
                }
                continue;
            }
            let (number, bytes) = (guest.number() as u8, guest.size());
            let number = if guest.is_gpr8() { gpr8_number(guest) } else { number };
            let how = uses.get(i as usize).copied().unwrap_or(Use::Read);
            let Place::Slot(_) = PLACES[usize::from(number)] else {
                let Place::Reg(to) = PLACES[usize::from(number)] else { return Err(Untranslated) };
                host.set_op_register(i, register(to, bytes));
                continue;
            };
            let whole = how == Use::Write && bytes >= 4;
            let held = self.scratch_for(&mut scratch, number, !whole)?;
            host.set_op_register(i, register(held, bytes));
            if how != Use::Read {
                stores[i as usize] = Some((number, held));
            } else if let Some(read) = reads.get_mut(i as usize) {
                *read = Some((number, held));
            }
        }
        self.encode(host)?;
        for (guest, held) in reads.into_iter().flatten() {
            if stores.iter().flatten().all(|&(_, stored)| stored != held) {
                self.note(held, Holds::Guest(guest));
            }
        }
        for (guest, held) in stores.into_iter().flatten() {
            self.set_gpr(guest, held);
        }
        Ok(())
    }

    fn scratch_for(&mut self, scratch: &mut Scratch, guest: u8, load: bool) -> Result<u8, Untranslated> {
        let held = match scratch.given(guest) {
            Some(held) => held,
            None => {
                let there = self.held(Holds::Guest(guest)).filter(|&host| scratch.free().any(|free| free == host));
                let held = there.or_else(|| self.spare(scratch.free())).ok_or(Untranslated)?;
                scratch.give(held, guest);
                held
            }
        };
        // Twice does no harm: nothing has been computed yet.
        if load {
            self.gpr(guest, held);
        }
        Ok(held)
    }

    /// LEA: an address without an access.
    pub fn lea(&mut self) -> Emitted {
        let insn = self.item.insn;
        let target = insn.op0_register();
        if target.size() < 4 {
            return Err(Untranslated);
        }
        let guest = target.number() as u8;
        let to = match PLACES[usize::from(guest)] {
            Place::Reg(host) => host,
            Place::Slot(_) => R10,
        };
        let truncated = target.size() == 4 || self.item.op.amode == x86::op::AddressMode::Truncated64;
        let address = self.effective_address(to, truncated)?;
        self.set_gpr(guest, address);
        Ok(())
    }

    /// XCHG with memory, which on the host would lock the bus.
    fn exchange(&mut self) -> Emitted {
        let insn = self.item.insn;
        let target = insn.op1_register();
        let bytes = target.size();
        if is_high_byte(target) {
            return Err(Untranslated);
        }
        let guest = if bytes == 1 { gpr8_number(target) } else { target.number() as u8 };
        let operand = self.operand(bytes, Access::Write, false)?;
        self.asm.lea(R10, operand);
        let held = self.gpr(guest, R11);
        let step = |emitter: &mut Self, code: [iced_x86::Code; 4], load: bool| {
            let code = code[bytes.trailing_zeros() as usize];
            let memory = iced_x86::MemoryOperand::with_base(register(R10, 8));
            let made = if load {
                Instruction::with2(code, register(RCX, bytes), memory)
            } else {
                Instruction::with2(code, memory, register(held, bytes))
            };
            emitter.encode(&made.map_err(|_| Untranslated)?)
        };
        use iced_x86::Code::*;
        step(self, [Mov_r8_rm8, Mov_r16_rm16, Mov_r32_rm32, Mov_r64_rm64], true)?;
        step(self, [Mov_rm8_r8, Mov_rm16_r16, Mov_rm32_r32, Mov_rm64_r64], false)?;
        let code = [Mov_r8_rm8, Mov_r16_rm16, Mov_r32_rm32, Mov_r64_rm64][bytes.trailing_zeros() as usize];
        let back = Instruction::with2(code, register(held, bytes), register(RCX, bytes));
        self.encode(&back.map_err(|_| Untranslated)?)?;
        self.set_gpr(guest, held);
        Ok(())
    }
}

/// `insn` without the prefixes that mean nothing here or are not wanted: LOCK, since one host thread runs
/// all vCPUs, repetition, segments.
pub fn bare(insn: &Instruction) -> Instruction {
    let mut host = *insn;
    host.set_has_lock_prefix(false);
    host.set_has_rep_prefix(false);
    host.set_has_repne_prefix(false);
    host.set_has_xacquire_prefix(false);
    host.set_has_xrelease_prefix(false);
    host.set_segment_prefix(Register::None);
    host
}

/// Makes `mem` the memory operand.
pub fn set_memory(insn: &mut Instruction, mem: Mem) {
    let name = |number: Option<u8>| number.map_or(Register::None, |number| register(number, 8));
    insn.set_memory_base(name(mem.base));
    insn.set_memory_index(name(mem.index.map(|(index, _)| index)));
    insn.set_memory_index_scale(1 << mem.index.map_or(0, |(_, scale)| scale));
    insn.set_memory_displacement64(mem.disp as u64);
    // The encoder takes more if it must.
    insn.set_memory_displ_size(u32::from(mem.disp != 0));
}

pub fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

/// The number of the register whose low byte this is.
pub fn gpr8_number(register: Register) -> u8 {
    x86::decode::operands::gpr(register) >> 3
}

fn is_in_frame(register: Register) -> bool {
    if !register.is_gpr() || is_high_byte(register) {
        return false;
    }
    let number = if register.is_gpr8() { gpr8_number(register) } else { register.number() as u8 };
    matches!(PLACES[usize::from(number)], Place::Slot(_))
}

/// True if any flag that is live behind the instruction is in `flags`.
pub fn any_live(live: u32, flags: u32) -> bool {
    live & flags & liveness::ALL != 0
}
