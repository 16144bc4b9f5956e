//! Random single instructions for code that runs in a loop: operands mostly where memory is, pointers mostly left alone.

use host_cpu::operands::{fixed_register, immediate, or_memory, register_file};
use host_cpu::rng::Rng;
use iced_x86::{
    Code, CodeSize, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpCodeInfo,
    OpCodeOperandKind as Kind, OpKind, Register,
};
use x86::CpuModel;

/// Registers that hold pointers into the data.
pub const POINTERS: [Register; 5] = [Register::RBX, Register::RBP, Register::RSI, Register::RDI, Register::R12];
/// A register that holds a small number.
pub const INDEX: Register = Register::R13;

/// Forms to draw from, those of integers apart from all.
pub struct Forms {
    all: Vec<Code>,
    integer: Vec<Code>,
    bitness: u32,
}

/// What would end a case at once, or take away the world it runs in.
const LEFT_OUT: &[Mnemonic] = &[
    Mnemonic::Hlt,
    Mnemonic::Lgdt,
    Mnemonic::Lidt,
    Mnemonic::Lldt,
    Mnemonic::Ltr,
    Mnemonic::Lmsw,
    Mnemonic::Wrmsr,
    Mnemonic::Xsetbv,
    Mnemonic::Sysenter,
    Mnemonic::Sysexit,
    Mnemonic::Sysexitq,
    Mnemonic::Sysret,
    Mnemonic::Sysretq,
    Mnemonic::Rsm,
    Mnemonic::Db,
    Mnemonic::Dw,
    Mnemonic::Dd,
    Mnemonic::Dq,
];

impl Forms {
    /// Those that `model` offers in code of `bitness` bits.
    pub fn new(model: CpuModel, bitness: u32) -> Self {
        let wanted = |code: &Code| {
            let info = code.op_code();
            let in_mode = match bitness {
                64 => info.mode64() && info.intel_decoder64(),
                _ => info.mode32() && info.intel_decoder32(),
            };
            let special = (0..info.op_count()).any(|i| matches!(info.op_kind(i), Kind::cr_reg | Kind::dr_reg));
            in_mode
                && info.is_instruction()
                && !info.fwait()
                && info.decoder_option() == 0
                && host_cpu::forms::offered(*code, model)
                && !LEFT_OUT.contains(&code.mnemonic())
                && !special
        };
        let all: Vec<Code> = Code::values().filter(wanted).collect();
        let integer = all.iter().copied().filter(|&code| is_integer(code)).collect();
        Forms { all, integer, bitness }
    }

    /// Every form.
    pub fn all(&self) -> &[Code] {
        &self.all
    }

    /// Forms that write flags and do nothing else of note.
    pub fn flag_writers(&self) -> Vec<Code> {
        let writes = |code: &&Code| {
            let mut insn = Instruction::default();
            insn.set_code(**code);
            insn.rflags_modified() & 0x3f != 0 && insn.flow_control() == FlowControl::Next && !insn.is_privileged()
        };
        self.all.iter().filter(writes).copied().collect()
    }

    /// A random instruction: `of_any` times in 16 one of all, else one of integers.
    pub fn draw(&self, of_any: u64, rng: &mut Rng) -> Instruction {
        let mut facts = InstructionInfoFactory::new();
        for _ in 0..100 {
            let code = if rng.below(16) < of_any { rng.pick(&self.all) } else { rng.pick(&self.integer) };
            let Some(insn) = self.of_form(code, rng) else { continue };
            if rng.one_in(24) || leaves_pointers(&insn, &mut facts) {
                return insn;
            }
        }
        Instruction::with(Code::Nopd)
    }

    /// A random instance of a form; `None` for branches and what this draw cannot encode.
    pub fn of_form(&self, code: Code, rng: &mut Rng) -> Option<Instruction> {
        let info = code.op_code();
        let mut insn = Instruction::default();
        insn.set_code(code);
        insn.set_code_size(if self.bitness == 64 { CodeSize::Code64 } else { CodeSize::Code32 });
        for i in 0..info.op_count() {
            self.operand(&mut insn, i, info, rng)?;
        }
        if info.can_use_lock_prefix() && insn.op_kind(0) == OpKind::Memory && rng.one_in(4) {
            insn.set_has_lock_prefix(true);
        }
        let mut encoder = iced_x86::Encoder::new(self.bitness);
        encoder.encode(&insn, 0x2_0000).ok()?;
        Some(insn)
    }

    fn operand(&self, insn: &mut Instruction, i: u32, info: &OpCodeInfo, rng: &mut Rng) -> Option<()> {
        let kind = info.op_kind(i);
        let mut register = |register: Register| {
            insn.set_op_kind(i, OpKind::Register);
            insn.set_op_register(i, register);
            Some(())
        };
        if let Some(fixed) = fixed_register(kind) {
            return register(fixed);
        }
        if let Some(first) = register_file(kind) {
            return register(self.register_of(first, rng));
        }
        if let Some(first) = or_memory(kind)
            && rng.one_in(2)
        {
            return register(self.register_of(first, rng));
        }
        let wide = self.bitness == 64;
        match kind {
            Kind::seg_rSI => insn.set_op_kind(i, if wide { OpKind::MemorySegRSI } else { OpKind::MemorySegESI }),
            Kind::es_rDI => insn.set_op_kind(i, if wide { OpKind::MemoryESRDI } else { OpKind::MemoryESEDI }),
            Kind::seg_rDI => insn.set_op_kind(i, if wide { OpKind::MemorySegRDI } else { OpKind::MemorySegEDI }),
            Kind::seg_rBX_al => {
                insn.set_op_kind(i, OpKind::Memory);
                insn.set_memory_base(if wide { Register::RBX } else { Register::EBX });
                insn.set_memory_index(Register::AL);
                insn.set_memory_index_scale(1);
            }
            Kind::mem | Kind::sibmem => self.memory(insn, i, info, rng),
            Kind::mem_vsib32x | Kind::mem_vsib64x => self.gather(insn, i, Register::XMM0, rng),
            Kind::mem_vsib32y | Kind::mem_vsib64y => self.gather(insn, i, Register::YMM0, rng),
            _ if or_memory(kind).is_some() => self.memory(insn, i, info, rng),
            _ => return immediate(rng, insn, i, kind),
        }
        Some(())
    }

    fn register_of(&self, first: Register, rng: &mut Rng) -> Register {
        let wide = self.bitness == 64;
        let count = match first {
            Register::AL if wide => 20,
            Register::ES => 6,
            Register::AL | Register::MM0 | Register::ST0 => 8,
            _ if wide => 16,
            _ => 8,
        };
        first + rng.below(count) as u32
    }

    /// The register of this code's address size.
    fn of_address_size(&self, register: Register) -> Register {
        if self.bitness == 64 { register } else { register.full_register32() }
    }

    fn pointer(&self, rng: &mut Rng) -> Register {
        let known = if self.bitness == 64 { 5 } else { 4 };
        let register = match rng.below(40) {
            0 => Register::RAX + rng.below(if self.bitness == 64 { 16 } else { 8 }) as u32,
            1..=5 => Register::RSP,
            _ => POINTERS[rng.below(known) as usize],
        };
        self.of_address_size(register)
    }

    fn memory(&self, insn: &mut Instruction, i: u32, info: &OpCodeInfo, rng: &mut Rng) {
        let bytes = info.memory_size().size().max(1) as i64;
        insn.set_op_kind(i, OpKind::Memory);
        let base = self.pointer(rng);
        insn.set_memory_base(base);
        let mut disp = rng.below(4096) as i64 - 2048;
        if rng.one_in(3) {
            disp = i64::from(disp as i8);
        }
        if !rng.one_in(6) {
            disp -= disp.rem_euclid(bytes.min(64));
        }
        if matches!(base, Register::RSP | Register::ESP) {
            disp &= 0x7f;
        }
        let short = i8::try_from(disp).is_ok();
        let (size, disp) = match (short, rng.below(4)) {
            (_, 0) if base.number() & 7 != 5 => (0, 0),
            (true, _) => (1, disp),
            _ => (if self.bitness == 64 { 8 } else { 4 }, disp),
        };
        insn.set_memory_displ_size(size);
        insn.set_memory_displacement64(disp as u64);
        let index = match rng.below(16) {
            0..=3 if self.bitness == 64 => Register::R13,
            4 => Register::RCX,
            _ => Register::None,
        };
        if index != Register::None && index.number() != 4 {
            insn.set_memory_index(self.of_address_size(index));
            insn.set_memory_index_scale(rng.pick(&[1, 2, 4, 8]));
        }
        if rng.one_in(12) {
            insn.set_segment_prefix(rng.pick(&[Register::FS, Register::GS, Register::ES, Register::DS]));
        }
    }

    fn gather(&self, insn: &mut Instruction, i: u32, first: Register, rng: &mut Rng) {
        insn.set_op_kind(i, OpKind::Memory);
        insn.set_memory_base(self.pointer(rng));
        insn.set_memory_index(first + rng.below(if self.bitness == 64 { 16 } else { 8 }) as u32);
        insn.set_memory_index_scale(rng.pick(&[1, 2, 4, 8]));
        insn.set_memory_displ_size(1);
    }
}

fn is_integer(code: Code) -> bool {
    use iced_x86::CpuidFeature::*;
    let known = [
        INTEL8086, INTEL186, INTEL286, INTEL386, INTEL486, X64, CMOV, BMI1, BMI2, LZCNT, MOVBE, POPCNT, CX8, CMPXCHG16B,
    ];
    code.cpuid_features().iter().all(|feature| known.contains(feature)) && !code.is_jcc_short_or_near()
}

/// False if the instruction changes a pointer otherwise than by being a string or stack instruction.
fn leaves_pointers(insn: &Instruction, facts: &mut InstructionInfoFactory) -> bool {
    let written = |access: OpAccess| {
        matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
    };
    let implicit = insn.is_string_instruction() || insn.is_stack_instruction();
    facts.info(insn).used_registers().iter().filter(|used| written(used.access())).all(|used| {
        let register = used.register().full_register();
        let kept = POINTERS.contains(&register) || matches!(register, Register::RSP | INDEX);
        !kept
            || implicit && insn.op_count() < 2 && insn.op_register(0).full_register() != register
            || insn.is_string_instruction()
    })
}
