//! Random instances of an instruction form: registers, memory operands, immediates, targets.

use crate::layout::*;
use crate::rng::Rng;
use crate::state::State;
use crate::values;
use iced_x86::{Code, Instruction, OpCodeInfo, OpCodeOperandKind as Kind, OpKind, Register};

/// Everything an instance is built from.
pub struct Builder<'a> {
    pub rng: &'a mut Rng,
    pub state: &'a mut State,
    /// 32 or 64.
    pub bitness: u32,
}

impl Builder<'_> {
    /// A random instance of `code`, and registers in the state that suit its memory operand;
    /// `None` for operand kinds that no selected form has.
    pub fn build(&mut self, code: Code) -> Option<Instruction> {
        let info = code.op_code();
        let mut insn = Instruction::default();
        insn.set_code(code);
        for i in 0..info.op_count() {
            self.operand(&mut insn, i, info)?;
        }
        Some(insn)
    }

    fn operand(&mut self, insn: &mut Instruction, i: u32, info: &OpCodeInfo) -> Option<()> {
        let register = |insn: &mut Instruction, register: Register| {
            insn.set_op_kind(i, OpKind::Register);
            insn.set_op_register(i, register);
        };
        let kind = info.op_kind(i);
        if let Some(file) = fixed_register(kind) {
            register(insn, file);
            return Some(());
        }
        if let Some(first) = register_file(kind) {
            let chosen = self.register_of(first, kind);
            register(insn, chosen);
            return Some(());
        }
        match kind {
            Kind::mem | Kind::sibmem => self.memory(insn, i, info),
            Kind::mem_offs => self.offset(insn, i),
            Kind::mem_vsib32x => self.gather(insn, i, info, Register::XMM0),
            Kind::mem_vsib64x => self.gather(insn, i, info, Register::XMM0),
            Kind::mem_vsib32y => self.gather(insn, i, info, Register::YMM0),
            Kind::mem_vsib64y => self.gather(insn, i, info, Register::YMM0),
            Kind::seg_rSI => self.string(insn, i, source_kind),
            Kind::es_rDI => self.string(insn, i, target_kind),
            Kind::seg_rDI => self.string(insn, i, masked_kind),
            Kind::seg_rBX_al => self.translate(insn, i),
            _ => match or_memory(kind) {
                Some(first) if self.rng.one_in(2) => {
                    let chosen = self.register_of(first, kind);
                    register(insn, chosen);
                }
                Some(_) => self.memory(insn, i, info),
                None => return self.immediate(insn, i, kind),
            },
        }
        Some(())
    }

    fn register_of(&mut self, first: Register, kind: Kind) -> Register {
        let wide = self.bitness == 64;
        let count = match first {
            Register::AL if wide => 20,
            Register::ES => 6,
            Register::AL | Register::MM0 | Register::ST0 => 8,
            _ if wide => 16,
            _ => 8,
        };
        let n = match kind {
            Kind::seg_reg => self.rng.pick(&[0, 2, 3, 4, 5]),
            // Registers of the first eight need fewer prefixes: give both a good share.
            _ if self.rng.one_in(3) => self.rng.below(count.min(8)) as u32,
            _ => self.rng.below(count) as u32,
        };
        first + n
    }

    fn immediate(&mut self, insn: &mut Instruction, i: u32, kind: Kind) -> Option<()> {
        let op_kind = match kind {
            Kind::br16_1 | Kind::br16_2 => OpKind::NearBranch16,
            Kind::br32_1 | Kind::br32_4 => OpKind::NearBranch32,
            Kind::br64_1 | Kind::br64_4 => OpKind::NearBranch64,
            _ => return immediate(self.rng, insn, i, kind),
        };
        let target = self.target(kind);
        insn.set_op_kind(i, op_kind);
        match op_kind {
            OpKind::NearBranch16 => insn.set_near_branch16(target as u16),
            OpKind::NearBranch32 => insn.set_near_branch32(target as u32),
            _ => insn.set_near_branch64(target),
        }
        Some(())
    }

    /// A branch target: short ones stay near, long ones may leave the code pages.
    fn target(&mut self, kind: Kind) -> u64 {
        let short = matches!(kind, Kind::br16_1 | Kind::br32_1 | Kind::br64_1);
        let near = self.state.rip.wrapping_add(20).wrapping_add(self.rng.below(200)).wrapping_sub(100);
        match self.rng.below(8) {
            _ if short => near,
            0 => values::data_address(self.rng) & 0x7fff_ffff,
            1 => CODE.wrapping_add(CODE_PAGES * PAGE).wrapping_add(self.rng.below(100)),
            2 => near,
            _ => CODE + self.rng.below(CODE_PAGES * PAGE),
        }
    }

    /// Where a memory operand of `bytes` bytes shall lie.
    pub fn address(&mut self, bytes: usize) -> u64 {
        let address = match self.rng.below(48) {
            0 if self.bitness == 64 && bytes <= 32 => values::bad_address(self.rng),
            _ => values::data_address(self.rng),
        };
        let address = if self.bitness == 32 { address & 0xfff | DATA | address & 0x3000 } else { address };
        // Wide operands fault on misalignment: leave most of them aligned.
        if bytes >= 16 && !self.rng.one_in(4) { address & !(bytes as u64 - 1) } else { address }
    }

    fn set_gpr(&mut self, register: Register, value: u64) {
        self.state.gpr[register.number()] = value;
    }

    fn memory(&mut self, insn: &mut Instruction, i: u32, info: &OpCodeInfo) {
        let bytes = info.memory_size().size();
        let target = self.address(bytes);
        insn.set_op_kind(i, OpKind::Memory);
        self.segment(insn);
        let target = target.wrapping_sub(self.base_of(insn));
        let short = self.bitness == 64 && self.rng.one_in(8);
        let low = target < 1 << 31;
        match self.rng.below(8) {
            0 if low && self.bitness == 64 && target > 1 << 20 && !short => {
                insn.set_memory_base(Register::RIP);
                insn.set_memory_displacement64(target);
                insn.set_memory_displ_size(8);
            }
            1 if low => {
                insn.set_memory_displacement64(target);
                insn.set_memory_displ_size(if self.bitness == 64 { 8 } else { 4 });
            }
            2..=4 => self.base_only(insn, target, short),
            _ => self.indexed(insn, target, short),
        }
        self.bit_offset(insn, i);
    }

    fn address_register(&mut self, short: bool) -> Register {
        match (self.bitness, short) {
            (64, false) => Register::RAX + self.rng.below(16) as u32,
            (64, true) => Register::EAX + self.rng.below(16) as u32,
            _ => Register::EAX + self.rng.below(8) as u32,
        }
    }

    /// With a 32-bit address size the upper half of a register does not matter: make it bad.
    fn dirty(&mut self, value: u64, short: bool) -> u64 {
        if short { value & 0xffff_ffff | self.rng.bits() << 32 } else { value }
    }

    fn displacement(&mut self) -> (i64, u32) {
        let full = if self.bitness == 64 { 8 } else { 4 };
        match self.rng.below(3) {
            0 => (0, 0),
            1 => (i64::from(self.rng.bits() as i8), 1),
            _ => (i64::from(self.rng.bits() as i32), full),
        }
    }

    fn base_only(&mut self, insn: &mut Instruction, target: u64, short: bool) {
        let base = self.address_register(short);
        let (disp, size) = self.displacement();
        insn.set_memory_base(base);
        insn.set_memory_displacement64(disp as u64);
        insn.set_memory_displ_size(size);
        let value = target.wrapping_sub(disp as u64);
        let value = self.dirty(value, short);
        self.set_gpr(base, value);
    }

    fn indexed(&mut self, insn: &mut Instruction, target: u64, short: bool) {
        let base = self.address_register(short);
        let index = self.address_register(short);
        if index.number() == 4 || index == base {
            return self.base_only(insn, target, short);
        }
        let scale = self.rng.pick(&[1, 2, 4, 8]);
        let (disp, size) = self.displacement();
        let offset = match self.rng.below(3) {
            0 => self.rng.bits(),
            1 => self.rng.below(256).wrapping_neg(),
            _ => self.rng.below(256),
        };
        insn.set_memory_index(index);
        insn.set_memory_index_scale(scale);
        insn.set_memory_displacement64(disp as u64);
        insn.set_memory_displ_size(size);
        insn.set_memory_base(base);
        let value = target.wrapping_sub(disp as u64).wrapping_sub(offset.wrapping_mul(u64::from(scale)));
        let (value, offset) = (self.dirty(value, short), self.dirty(offset, short));
        self.set_gpr(base, value);
        self.set_gpr(index, offset);
    }

    /// Sometimes a segment prefix: FS and GS have bases, the others are ignored in 64-bit mode.
    fn segment(&mut self, insn: &mut Instruction) {
        let all = [
            Register::FS,
            Register::GS,
            Register::FS,
            Register::GS,
            Register::ES,
            Register::CS,
            Register::SS,
            Register::DS,
        ];
        if self.rng.one_in(6) {
            let prefix = self.rng.pick(&all);
            let null = matches!(prefix, Register::FS | Register::GS) && self.bitness == 32;
            if !null || self.rng.one_in(8) {
                insn.set_segment_prefix(prefix);
            }
        }
    }

    fn base_of(&self, insn: &Instruction) -> u64 {
        match insn.segment_prefix() {
            Register::FS if self.bitness == 64 => self.state.fs_base,
            Register::GS if self.bitness == 64 => self.state.gs_base,
            _ => 0,
        }
    }

    /// BT and its kin reach memory far from the operand by a register's value: keep it near.
    fn bit_offset(&mut self, insn: &Instruction, i: u32) {
        use iced_x86::Mnemonic::{Bt, Btc, Btr, Bts};
        if i == 0 && matches!(insn.mnemonic(), Bt | Btc | Btr | Bts) && !self.rng.one_in(8) {
            for gpr in 0..16 {
                let in_address = [insn.memory_base(), insn.memory_index()]
                    .iter()
                    .any(|&r| r != Register::None && r.is_gpr() && r.number() == gpr);
                if !in_address {
                    let near = self.rng.below(1024).wrapping_sub(512);
                    self.state.gpr[gpr] = near;
                }
            }
        }
    }

    fn offset(&mut self, insn: &mut Instruction, i: u32) {
        insn.set_op_kind(i, OpKind::Memory);
        self.segment(insn);
        let target = self.address(8).wrapping_sub(self.base_of(insn));
        let wide = self.bitness == 64 && !(target < 1 << 31 && self.rng.one_in(4));
        insn.set_memory_displacement64(if wide { target } else { target & 0xffff_ffff });
        insn.set_memory_displ_size(if wide { 8 } else { 4 });
    }

    fn gather(&mut self, insn: &mut Instruction, i: u32, info: &OpCodeInfo, first: Register) {
        let target = self.address(8);
        insn.set_op_kind(i, OpKind::Memory);
        self.base_only(insn, target, false);
        let index = first + self.rng.below(if self.bitness == 64 { 16 } else { 8 }) as u32;
        let scale = self.rng.pick(&[1, 2, 4, 8]);
        insn.set_memory_index(index);
        insn.set_memory_index_scale(scale);
        let halves = matches!(info.op_kind(i), Kind::mem_vsib32x | Kind::mem_vsib32y);
        for word in &mut self.state.ymm[index.number()] {
            let near = |rng: &mut Rng| rng.below(64).wrapping_sub(32);
            let (low, high) = (near(self.rng), near(self.rng));
            *word = if halves { low & 0xffff_ffff | high << 32 } else { low };
        }
    }

    fn string(&mut self, insn: &mut Instruction, i: u32, kind_of: fn(u32) -> OpKind) {
        let short = self.bitness == 64 && insn.op_count() > 0 && self.short_string(insn, i);
        let size = if short { 32 } else { self.bitness };
        insn.set_op_kind(i, kind_of(size));
        if kind_of(64) != OpKind::MemoryESRDI && self.rng.one_in(6) && self.bitness == 64 {
            insn.set_segment_prefix(self.rng.pick(&[Register::FS, Register::GS, Register::ES]));
        }
        let register = if kind_of(64) == OpKind::MemorySegRSI { 6 } else { 7 };
        let base = if kind_of(64) == OpKind::MemoryESRDI { 0 } else { self.base_of(insn) };
        let target = self.address(8).wrapping_sub(base);
        self.state.gpr[register] = self.dirty(target, short);
    }

    /// Both operands of a string instruction have the same address size.
    fn short_string(&mut self, insn: &Instruction, i: u32) -> bool {
        match i {
            0 => self.rng.one_in(8),
            _ => matches!(insn.op_kind(0), OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI),
        }
    }

    fn translate(&mut self, insn: &mut Instruction, i: u32) {
        insn.set_op_kind(i, OpKind::Memory);
        self.segment(insn);
        let short = self.bitness == 64 && self.rng.one_in(8);
        let base = if self.bitness == 64 && !short { Register::RBX } else { Register::EBX };
        insn.set_memory_base(base);
        insn.set_memory_index(Register::AL);
        insn.set_memory_index_scale(1);
        let target = self.address(1).wrapping_sub(self.base_of(insn));
        self.state.gpr[3] = self.dirty(target, short);
    }
}

/// A random immediate as operand `i`; `None` if an operand of this kind is none.
pub fn immediate(rng: &mut Rng, insn: &mut Instruction, i: u32, kind: Kind) -> Option<()> {
    let value = values::integer(rng);
    let (op_kind, value) = match kind {
        Kind::imm8 | Kind::imm4_m2z => {
            // The second immediate of ENTER and the like has a kind of its own.
            let second = (0..i).any(|j| matches!(insn.op_kind(j), OpKind::Immediate16 | OpKind::Immediate8));
            (if second { OpKind::Immediate8_2nd } else { OpKind::Immediate8 }, value & 0xff)
        }
        Kind::imm8_const_1 => (OpKind::Immediate8, 1),
        Kind::imm8sex16 => (OpKind::Immediate8to16, value as i8 as u64),
        Kind::imm8sex32 => (OpKind::Immediate8to32, value as i8 as u64),
        Kind::imm8sex64 => (OpKind::Immediate8to64, value as i8 as u64),
        Kind::imm16 => (OpKind::Immediate16, value & 0xffff),
        Kind::imm32 => (OpKind::Immediate32, value & 0xffff_ffff),
        Kind::imm32sex64 => (OpKind::Immediate32to64, value as i32 as u64),
        Kind::imm64 => (OpKind::Immediate64, value),
        _ => return None,
    };
    insn.set_op_kind(i, op_kind);
    match op_kind {
        OpKind::Immediate64 => insn.set_immediate64(value),
        OpKind::Immediate8_2nd => insn.set_immediate8_2nd(value as u8),
        OpKind::Immediate8 => insn.set_immediate8(value as u8),
        OpKind::Immediate16 => insn.set_immediate16(value as u16),
        OpKind::Immediate32 => insn.set_immediate32(value as u32),
        OpKind::Immediate8to16 => insn.set_immediate8to16(value as i16),
        OpKind::Immediate8to32 => insn.set_immediate8to32(value as i32),
        OpKind::Immediate8to64 => insn.set_immediate8to64(value as i64),
        _ => insn.set_immediate32to64(value as i64),
    }
    Some(())
}

fn source_kind(size: u32) -> OpKind {
    if size == 64 { OpKind::MemorySegRSI } else { OpKind::MemorySegESI }
}

fn target_kind(size: u32) -> OpKind {
    if size == 64 { OpKind::MemoryESRDI } else { OpKind::MemoryESEDI }
}

fn masked_kind(size: u32) -> OpKind {
    if size == 64 { OpKind::MemorySegRDI } else { OpKind::MemorySegEDI }
}

/// The register that an operand of this kind always is.
pub fn fixed_register(kind: Kind) -> Option<Register> {
    Some(match kind {
        Kind::es => Register::ES,
        Kind::cs => Register::CS,
        Kind::ss => Register::SS,
        Kind::ds => Register::DS,
        Kind::fs => Register::FS,
        Kind::gs => Register::GS,
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::st0 => Register::ST0,
        _ => return None,
    })
}

/// The first register of the file that a register-only operand takes.
pub fn register_file(kind: Kind) -> Option<Register> {
    Some(match kind {
        Kind::r8_reg | Kind::r8_opcode => Register::AL,
        Kind::r16_reg | Kind::r16_reg_mem | Kind::r16_rm | Kind::r16_opcode => Register::AX,
        Kind::r32_reg | Kind::r32_reg_mem | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => Register::EAX,
        Kind::r64_reg | Kind::r64_reg_mem | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => Register::RAX,
        Kind::seg_reg => Register::ES,
        Kind::mm_reg | Kind::mm_rm => Register::MM0,
        Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 | Kind::xmm_is5 => Register::XMM0,
        Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 | Kind::ymm_is5 => Register::YMM0,
        Kind::cr_reg => Register::CR0,
        Kind::dr_reg => Register::DR0,
        Kind::sti_opcode => Register::ST0,
        _ => return None,
    })
}

/// The first register of the file of an operand that may also be memory.
pub fn or_memory(kind: Kind) -> Option<Register> {
    Some(match kind {
        Kind::r8_or_mem => Register::AL,
        Kind::r16_or_mem => Register::AX,
        Kind::r32_or_mem => Register::EAX,
        Kind::r64_or_mem => Register::RAX,
        Kind::mm_or_mem => Register::MM0,
        Kind::xmm_or_mem => Register::XMM0,
        Kind::ymm_or_mem => Register::YMM0,
        _ => return None,
    })
}
