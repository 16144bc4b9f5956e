//! Thunks: small functions that execute one guest instruction on the host.
//!
//! A thunk is called with a frame and four pointers, one for each operand position. It loads the
//! operands into fixed host registers (position 0 into XMM1 or MM1, 1 into XMM2 or MM2 and so on, a
//! general register into RAX), executes the instruction with its operands renamed to those and its
//! memory operand replaced by the frame, and stores the result. So a thunk is the same for every
//! choice of registers and addresses, and its key is the renamed instruction.

use super::shape::{Shape, Slot};
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, OpKind, Register};
use std::mem::offset_of;

/// A thunk's type.
pub(super) type Thunk = unsafe extern "sysv64" fn(*mut Frame, *mut u8, *mut u8, *mut u8, *mut u8);

/// What a thunk works on besides the registers that it is given.
#[repr(C, align(32))]
pub(super) struct Frame {
    /// In place of the memory operand.
    pub memory: [u64; 4],
    /// MXCSR during the instruction.
    pub mxcsr_in: u32,
    /// MXCSR after it.
    pub mxcsr_out: u32,
    /// MXCSR of the program around it.
    pub mxcsr_host: u32,
    /// RFLAGS after it.
    pub flags: u64,
}

/// MXCSR after reset, which is also what Rust programs run with.
pub(super) const MXCSR_DEFAULT: u32 = 0x1f80;

impl Frame {
    #[inline(always)]
    pub(super) fn new() -> Frame {
        Frame { memory: [0; 4], mxcsr_in: MXCSR_DEFAULT, mxcsr_out: MXCSR_DEFAULT, mxcsr_host: MXCSR_DEFAULT, flags: 0 }
    }
}

const FRAME: Register = Register::RDI;
/// Where the four pointers arrive.
const POINTERS: [Register; 4] = [Register::RSI, Register::RDX, Register::RCX, Register::R8];
const XMM: [Register; 4] = [Register::XMM1, Register::XMM2, Register::XMM3, Register::XMM4];
const YMM: [Register; 4] = [Register::YMM1, Register::YMM2, Register::YMM3, Register::YMM4];
const MM: [Register; 4] = [Register::MM1, Register::MM2, Register::MM3, Register::MM4];

/// `insn` with its operands renamed as the module's text says.
pub(super) fn rename(insn: &Instruction, shape: &Shape) -> Option<Instruction> {
    let mut renamed = Instruction::new();
    renamed.set_code(insn.code());
    for i in 0..insn.op_count() {
        match insn.op_kind(i) {
            OpKind::Register => {
                let at = i as usize;
                let register = match *shape.slots.get(at)? {
                    Slot::Vector { wide: false, .. } => XMM[at],
                    Slot::Vector { wide: true, .. } => YMM[at],
                    Slot::Mmx(_) => MM[at],
                    Slot::Gpr { wide: false, .. } => Register::EAX,
                    Slot::Gpr { wide: true, .. } => Register::RAX,
                    _ => return None,
                };
                renamed.set_op_kind(i, OpKind::Register);
                renamed.set_op_register(i, register);
            }
            OpKind::Memory => {
                renamed.set_op_kind(i, OpKind::Memory);
                renamed.set_memory_base(FRAME);
            }
            OpKind::Immediate8 => {
                renamed.set_op_kind(i, OpKind::Immediate8);
                renamed.set_immediate8(insn.immediate8());
            }
            _ => return None,
        }
    }
    Some(renamed)
}

/// The bytes of one instruction; they do not depend on where it lies.
pub(super) fn encode(insn: &Instruction) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(64);
    encoder.encode(insn, 0).ok()?;
    Some(encoder.take_buffer())
}

/// The bytes of the thunk around the renamed instruction `core`.
pub(super) fn assemble(core: &Instruction, shape: &Shape) -> Option<Vec<u8>> {
    let mut code = Assembler { encoder: Encoder::new(64), whole: true };
    // The lengths come last: RDX is a pointer until then.
    for (at, &slot) in shape.slots.iter().enumerate().filter(|(_, slot)| !matches!(slot, Slot::Lengths { .. })) {
        code.load(at, slot, shape.vex);
    }
    for &slot in &shape.slots {
        if let Slot::Lengths { wide } = slot {
            code.load_lengths(wide);
        }
    }
    if shape.float {
        code.memory(Code::Ldmxcsr_m32, FRAME, offset_of!(Frame, mxcsr_in));
    }
    code.emit(Ok(*core));
    if shape.flags {
        code.emit(Ok(Instruction::with(Code::Pushfq)));
        code.memory(Code::Pop_rm64, FRAME, offset_of!(Frame, flags));
    }
    if shape.float {
        code.memory(Code::Stmxcsr_m32, FRAME, offset_of!(Frame, mxcsr_out));
        code.memory(Code::Ldmxcsr_m32, FRAME, offset_of!(Frame, mxcsr_host));
    }
    if shape.writes_first {
        code.store(0, shape.slots[0], shape.vex);
    }
    if matches!(shape.slots[3], Slot::ResultXmm0 | Slot::ResultRcx) {
        code.store(3, shape.slots[3], shape.vex);
    }
    if shape.vex {
        code.emit(Ok(Instruction::with(Code::VEX_Vzeroupper)));
    }
    if shape.has_mmx() {
        code.emit(Ok(Instruction::with(Code::Emms)));
    }
    code.emit(Ok(Instruction::with(Code::Retnq)));
    code.whole.then(|| code.encoder.take_buffer())
}

struct Assembler {
    encoder: Encoder,
    /// Everything so far could be encoded.
    whole: bool,
}

impl Assembler {
    fn emit(&mut self, insn: Result<Instruction, iced_x86::IcedError>) {
        self.whole &= insn.is_ok_and(|insn| self.encoder.encode(&insn, 0).is_ok());
    }

    fn memory(&mut self, code: Code, base: Register, displacement: usize) {
        self.emit(Instruction::with1(code, MemoryOperand::with_base_displ(base, displacement as i64)));
    }

    fn read(&mut self, code: Code, to: Register, base: Register, displacement: i64) {
        self.emit(Instruction::with2(code, to, MemoryOperand::with_base_displ(base, displacement)));
    }

    fn write(&mut self, code: Code, base: Register, displacement: i64, from: Register) {
        self.emit(Instruction::with2(code, MemoryOperand::with_base_displ(base, displacement), from));
    }

    fn load(&mut self, at: usize, slot: Slot, vex: bool) {
        let from = POINTERS[at];
        match slot {
            Slot::Vector { wide: true, .. } => self.read(Code::VEX_Vmovups_ymm_ymmm256, YMM[at], from, 0),
            Slot::Vector { wide: false, .. } if vex => self.read(Code::VEX_Vmovups_xmm_xmmm128, XMM[at], from, 0),
            Slot::Vector { wide: false, .. } => self.read(Code::Movups_xmm_xmmm128, XMM[at], from, 0),
            Slot::Mmx(_) => self.read(Code::Movq_mm_mmm64, MM[at], from, 0),
            Slot::Gpr { .. } => self.read(Code::Mov_r64_rm64, Register::RAX, from, 0),
            Slot::ImplicitXmm0 => self.read(Code::Movups_xmm_xmmm128, Register::XMM0, from, 0),
            Slot::Unused | Slot::ResultXmm0 | Slot::Lengths { .. } | Slot::ResultRcx => {}
        }
    }

    /// RAX and RDX from the general registers, which position 2 points to.
    fn load_lengths(&mut self, wide: bool) {
        let from = POINTERS[2];
        let (code, rax, rdx) = match wide {
            true => (Code::Mov_r64_rm64, Register::RAX, Register::RDX),
            false => (Code::Mov_r32_rm32, Register::EAX, Register::EDX),
        };
        self.read(code, rax, from, 0);
        self.read(code, rdx, from, 16);
    }

    fn store(&mut self, at: usize, slot: Slot, vex: bool) {
        let to = POINTERS[at];
        match slot {
            // With VEX the host has cleared what the guest's register must lose.
            Slot::Vector { .. } if vex => self.write(Code::VEX_Vmovups_ymmm256_ymm, to, 0, YMM[at]),
            Slot::Vector { .. } => self.write(Code::Movups_xmmm128_xmm, to, 0, XMM[at]),
            Slot::Mmx(_) => self.write(Code::Movq_mmm64_mm, to, 0, MM[at]),
            Slot::Gpr { .. } => self.write(Code::Mov_rm64_r64, to, 0, Register::RAX),
            Slot::ResultXmm0 if vex => self.write(Code::VEX_Vmovups_ymmm256_ymm, to, 0, Register::YMM0),
            Slot::ResultXmm0 => self.write(Code::Movups_xmmm128_xmm, to, 0, Register::XMM0),
            Slot::ResultRcx => self.write(Code::Mov_rm64_r64, to, 8, Register::RCX),
            Slot::Unused | Slot::ImplicitXmm0 | Slot::Lengths { .. } => {}
        }
    }
}
