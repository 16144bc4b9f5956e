//! Flags that travel from each instruction form that sets them to each way of using them.

use host_cpu::rng::Rng;
use iced_x86::code_asm::*;
use iced_x86::{Code, Instruction, Register};
use x86::CpuModel;

use super::insn::Forms;
use super::program::{jump, start, world};
use super::run::Start;
use super::world::{self, World};

/// Pairs of a producer and a user of flags in one program.
const PAIRS: u64 = 16;

/// SETcc by condition.
const SETS: [Code; 16] = [
    Code::Seto_rm8,
    Code::Setno_rm8,
    Code::Setb_rm8,
    Code::Setae_rm8,
    Code::Sete_rm8,
    Code::Setne_rm8,
    Code::Setbe_rm8,
    Code::Seta_rm8,
    Code::Sets_rm8,
    Code::Setns_rm8,
    Code::Setp_rm8,
    Code::Setnp_rm8,
    Code::Setl_rm8,
    Code::Setge_rm8,
    Code::Setle_rm8,
    Code::Setg_rm8,
];

/// CMOVcc by condition.
const MOVES: [Code; 16] = [
    Code::Cmovo_r64_rm64,
    Code::Cmovno_r64_rm64,
    Code::Cmovb_r64_rm64,
    Code::Cmovae_r64_rm64,
    Code::Cmove_r64_rm64,
    Code::Cmovne_r64_rm64,
    Code::Cmovbe_r64_rm64,
    Code::Cmova_r64_rm64,
    Code::Cmovs_r64_rm64,
    Code::Cmovns_r64_rm64,
    Code::Cmovp_r64_rm64,
    Code::Cmovnp_r64_rm64,
    Code::Cmovl_r64_rm64,
    Code::Cmovge_r64_rm64,
    Code::Cmovle_r64_rm64,
    Code::Cmovg_r64_rm64,
];

/// Draws programs in which flags are set and used.
pub struct FlagPairs {
    model: CpuModel,
    forms: Forms,
    writers: Vec<Code>,
}

impl FlagPairs {
    /// For `model`.
    pub fn new(model: CpuModel) -> Self {
        let forms = Forms::new(model, 64);
        let writers = forms.flag_writers();
        FlagPairs { model, forms, writers }
    }

    /// How many programs it takes until each form that writes flags was there once.
    pub fn programs(&self) -> u64 {
        (self.writers.len() as u64).div_ceil(PAIRS)
    }

    /// The program number `index`.
    pub fn draw(&self, index: u64) -> Start {
        let mut rng = Rng::new(0xf1_0003, index);
        let world = world(self.model, &mut rng);
        let mut assembler = CodeAssembler::new(64).expect("a size of code that there is");
        self.write(&mut assembler, &world, index, &mut rng).expect("instructions that can be encoded");
        start(assembler, world, index, &mut rng)
    }

    fn write(&self, a: &mut CodeAssembler, world: &World, index: u64, rng: &mut Rng) -> Result<(), IcedError> {
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        let data = world.base + world::DATA;
        for (i, register) in (0..).zip([rbx, rbp, rsi, rdi, r12]) {
            a.mov(register, data + 0x1000 * i + 8 * rng.below(256))?;
        }
        a.mov(rsp, world.base + world::STACK_TOP - 0x200)?;
        a.mov(r13d, 8)?;
        // Other values each time round.
        let factor = rng.bits() as i32 | 1;
        a.imul_3(rax, rax, factor)?;
        a.add(rcx, rax)?;
        a.ror(rdx, 7)?;
        a.xor(rdx, rcx)?;
        for pair in 0..PAIRS {
            let code = self.writers[((index * PAIRS + pair) % self.writers.len() as u64) as usize];
            if let Some(insn) = (0..20).find_map(|_| self.forms.of_form(code, rng)) {
                a.add_instruction(insn)?;
            }
            neutral(a, rng)?;
            use_flags(a, rng)?;
        }
        a.jmp(top)
    }
}

/// Nothing, or something that leaves flags alone and needs what a translator computes addresses with.
fn neutral(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    for _ in 0..rng.below(3) {
        let disp = rng.below(0x200) as i32;
        match rng.below(8) {
            0 => a.mov(r8, qword_ptr(rbx + disp))?,
            1 => a.mov(qword_ptr(r12 + disp), r9)?,
            2 => a.lea(r10, rax + rcx * 4 + disp)?,
            3 => a.movzx(r11d, word_ptr(rsi + disp))?,
            4 => a.push(rdx)?,
            5 => a.not(r14)?,
            6 => a.xchg(r15, r8)?,
            _ => a.movups(xmm1, xmmword_ptr(rdi + disp))?,
        }
    }
    Ok(())
}

/// Uses flags in one of all ways.
fn use_flags(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    let condition = rng.below(16) as usize;
    let disp = rng.below(0x100) as i32 * 8;
    match rng.below(16) {
        0..=3 => {
            let mut over = a.create_label();
            jump(a, condition, over)?;
            a.inc(r14)?;
            a.set_label(&mut over)?;
            a.lea(r15, r15 + r14 * 2)
        }
        4 | 5 => {
            let insn = Instruction::with1(SETS[condition], Register::R8L)?;
            a.add_instruction(insn)?;
            a.mov(byte_ptr(r12 + disp), r8b)
        }
        6 => a.adc(r9, r10),
        7 => a.sbb(r9, r9),
        8 => a.rcl(r10, 1),
        9 => a.rcr(r11, 5),
        10 => {
            a.mov(r8, rax)?;
            a.lahf()?;
            a.mov(qword_ptr(r12 + disp), rax)?;
            a.mov(rax, r8)
        }
        11 => {
            a.pushfq()?;
            a.pop(qword_ptr(r12 + disp))
        }
        12 => a.cmc(),
        13 => a.adc(dword_ptr(rbx + disp), ecx),
        _ => {
            let (to, from) = (Register::R9, Register::RDX);
            a.add_instruction(Instruction::with2(MOVES[condition], to, from)?)
        }
    }
}
