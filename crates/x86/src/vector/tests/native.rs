//! The reference: an instruction as it stands, executed by the host on a whole register file.
//!
//! It shares nothing with what it tests: nothing is renamed, every vector and MMX register is loaded before and stored after, general registers too but for RSP and R15.
#![allow(unsafe_code)]

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use std::mem::offset_of;
use std::ptr::null_mut;

/// A register file.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Registers {
    pub ymm: [[u64; 4]; 16],
    pub mm: [u64; 8],
    pub gpr: [u64; 16],
    pub flags: u64,
    pub mxcsr: u32,
    pub mxcsr_host: u32,
}

const STATE: Register = Register::R15;

/// Executes `bytes`, which must not fault, jump, or touch RSP or R15.
pub fn execute(bytes: &[u8], registers: &mut Registers, avx: bool) {
    let code = assemble(bytes, avx);
    assert!(code.len() <= 4096, "a page holds it");
    registers.mxcsr_host = 0x1f80;
    let (writable, executable) = (ProtFlags::READ | ProtFlags::WRITE, MprotectFlags::READ | MprotectFlags::EXEC);
    // SAFETY: the page is fresh and ours alone, and executable only after the code was written. The
    // code loads and stores exactly a register file and keeps what callees keep.
    unsafe {
        let page = mm::mmap_anonymous(null_mut(), 4096, writable, MapFlags::PRIVATE).expect("a page");
        page.cast::<u8>().copy_from_nonoverlapping(code.as_ptr(), code.len());
        mm::mprotect(page, 4096, executable).expect("executable memory");
        let run: unsafe extern "sysv64" fn(*mut Registers) = std::mem::transmute(page);
        run(registers);
        mm::munmap(page, 4096).expect("a mapped page");
    }
}

fn assemble(bytes: &[u8], avx: bool) -> Vec<u8> {
    let mut code = Vec::new();
    let mut emit = |insn: Instruction| {
        let mut encoder = Encoder::new(64);
        encoder.encode(&insn, 0).expect("an encodable instruction");
        code.extend(encoder.take_buffer());
    };
    let at = |offset: usize| MemoryOperand::with_base_displ(STATE, offset as i64);
    let kept = [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];
    for register in kept {
        emit(Instruction::with1(Code::Push_r64, register).unwrap());
    }
    emit(Instruction::with2(Code::Mov_r64_rm64, STATE, Register::RDI).unwrap());
    for insn in transfers(avx, true) {
        emit(insn);
    }
    emit(Instruction::with1(Code::Ldmxcsr_m32, at(offset_of!(Registers, mxcsr))).unwrap());
    code.extend(bytes);
    let mut emit = |insn: Instruction| {
        let mut encoder = Encoder::new(64);
        encoder.encode(&insn, 0).expect("an encodable instruction");
        code.extend(encoder.take_buffer());
    };
    emit(Instruction::with(Code::Pushfq));
    emit(Instruction::with1(Code::Pop_rm64, at(offset_of!(Registers, flags))).unwrap());
    emit(Instruction::with1(Code::Stmxcsr_m32, at(offset_of!(Registers, mxcsr))).unwrap());
    emit(Instruction::with1(Code::Ldmxcsr_m32, at(offset_of!(Registers, mxcsr_host))).unwrap());
    for insn in transfers(avx, false) {
        emit(insn);
    }
    emit(Instruction::with(Code::Emms));
    if avx {
        emit(Instruction::with(Code::VEX_Vzeroupper));
    }
    for register in kept.into_iter().rev() {
        emit(Instruction::with1(Code::Pop_r64, register).unwrap());
    }
    emit(Instruction::with(Code::Retnq));
    code
}

/// Loads or stores of all registers.
fn transfers(avx: bool, load: bool) -> Vec<Instruction> {
    let mut out = Vec::new();
    let mut transfer = |loading: Code, storing: Code, register: Register, offset: usize| {
        let memory = MemoryOperand::with_base_displ(STATE, offset as i64);
        out.push(match load {
            true => Instruction::with2(loading, register, memory).unwrap(),
            false => Instruction::with2(storing, memory, register).unwrap(),
        });
    };
    for i in 0..16u32 {
        let offset = offset_of!(Registers, ymm) + 32 * i as usize;
        if avx {
            transfer(Code::VEX_Vmovups_ymm_ymmm256, Code::VEX_Vmovups_ymmm256_ymm, Register::YMM0 + i, offset);
        } else {
            transfer(Code::Movups_xmm_xmmm128, Code::Movups_xmmm128_xmm, Register::XMM0 + i, offset);
        }
    }
    for i in 0..8u32 {
        let offset = offset_of!(Registers, mm) + 8 * i as usize;
        transfer(Code::Movq_mm_mmm64, Code::Movq_mmm64_mm, Register::MM0 + i, offset);
    }
    for i in (0..15u32).filter(|&i| i != 4) {
        let offset = offset_of!(Registers, gpr) + 8 * i as usize;
        transfer(Code::Mov_r64_rm64, Code::Mov_rm64_r64, Register::RAX + i, offset);
    }
    out
}
