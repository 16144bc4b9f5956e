//! From iced's codes to the functions of this module and their operands in [`Op`].

use super::host::{conversion, format, operation};
use super::transfer::{self, source};
use super::{arith, control, environment, transcendental};
use crate::flags::{CF, PF, ZF};
use crate::op::{Exec, Op};
use iced_x86::{Code, CodeSize, Encoder, Instruction, OpKind, Register};

/// What `select` fills in: the function and `r1`, `r2`, `r3` of [`Op`].
struct Form(Exec, u8, u8, u8);

/// The code of an x87 instruction, with the fields of `op` filled in; `None` if `insn`
/// is not one.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let i = stack_register(insn);
    let form = arithmetic_form(insn.code(), i)
        .or_else(|| memory_arithmetic_form(insn.code()))
        .or_else(|| comparison_form(insn.code(), i))
        .or_else(|| transfer_form(insn.code(), i))
        .or_else(|| store_form(insn.code(), i))
        .or_else(|| one_operand_form(insn.code()))
        .or_else(|| control_form(insn.code(), i))?;
    let Form(exec, r1, r2, r3) = form;
    (op.r1, op.r2, op.r3) = (r1, r2, r3);
    op.extra = u32::from(last_opcode(insn));
    Some(exec)
}

/// The i of ST(i); where the other register is the implied ST(0), it is the larger one.
fn stack_register(insn: &Instruction) -> u8 {
    (0..insn.op_count())
        .filter(|&n| insn.op_kind(n) == OpKind::Register)
        .map(|n| insn.op_register(n))
        .filter(|register| register.is_st())
        .map(|register| (register as u32 - Register::ST0 as u32) as u8)
        .max()
        .unwrap_or(0)
}

fn arithmetic_form(code: Code, i: u8) -> Option<Form> {
    use Code::*;
    use operation::*;
    const POP: u8 = arith::TO_STI | 1;
    let to_st0 = |operation| Some(Form(arith::registers, i, operation, 0));
    let to_sti = |operation| Some(Form(arith::registers, i, operation, arith::TO_STI));
    let popping = |operation| Some(Form(arith::registers, i, operation, POP));
    match code {
        Fadd_st0_sti => to_st0(ADD),
        Fmul_st0_sti => to_st0(MULTIPLY),
        Fsub_st0_sti => to_st0(SUBTRACT),
        Fsubr_st0_sti => to_st0(SUBTRACT_REVERSED),
        Fdiv_st0_sti => to_st0(DIVIDE),
        Fdivr_st0_sti => to_st0(DIVIDE_REVERSED),
        Fadd_sti_st0 => to_sti(ADD),
        Fmul_sti_st0 => to_sti(MULTIPLY),
        Fsub_sti_st0 => to_sti(SUBTRACT),
        Fsubr_sti_st0 => to_sti(SUBTRACT_REVERSED),
        Fdiv_sti_st0 => to_sti(DIVIDE),
        Fdivr_sti_st0 => to_sti(DIVIDE_REVERSED),
        Faddp_sti_st0 => popping(ADD),
        Fmulp_sti_st0 => popping(MULTIPLY),
        Fsubp_sti_st0 => popping(SUBTRACT),
        Fsubrp_sti_st0 => popping(SUBTRACT_REVERSED),
        Fdivp_sti_st0 => popping(DIVIDE),
        Fdivrp_sti_st0 => popping(DIVIDE_REVERSED),
        _ => None,
    }
}

fn memory_arithmetic_form(code: Code) -> Option<Form> {
    use Code::*;
    use format::*;
    use operation::*;
    let compute = |format, operation| Some(Form(arith::memory, format, operation, 0));
    let compare = |format, pops| Some(Form(arith::compare_memory, format, 0, pops));
    match code {
        Fadd_m32fp => compute(BINARY32, ADD),
        Fmul_m32fp => compute(BINARY32, MULTIPLY),
        Fsub_m32fp => compute(BINARY32, SUBTRACT),
        Fsubr_m32fp => compute(BINARY32, SUBTRACT_REVERSED),
        Fdiv_m32fp => compute(BINARY32, DIVIDE),
        Fdivr_m32fp => compute(BINARY32, DIVIDE_REVERSED),
        Fiadd_m32int => compute(INT32, ADD),
        Fimul_m32int => compute(INT32, MULTIPLY),
        Fisub_m32int => compute(INT32, SUBTRACT),
        Fisubr_m32int => compute(INT32, SUBTRACT_REVERSED),
        Fidiv_m32int => compute(INT32, DIVIDE),
        Fidivr_m32int => compute(INT32, DIVIDE_REVERSED),
        Fadd_m64fp => compute(BINARY64, ADD),
        Fmul_m64fp => compute(BINARY64, MULTIPLY),
        Fsub_m64fp => compute(BINARY64, SUBTRACT),
        Fsubr_m64fp => compute(BINARY64, SUBTRACT_REVERSED),
        Fdiv_m64fp => compute(BINARY64, DIVIDE),
        Fdivr_m64fp => compute(BINARY64, DIVIDE_REVERSED),
        Fiadd_m16int => compute(INT16, ADD),
        Fimul_m16int => compute(INT16, MULTIPLY),
        Fisub_m16int => compute(INT16, SUBTRACT),
        Fisubr_m16int => compute(INT16, SUBTRACT_REVERSED),
        Fidiv_m16int => compute(INT16, DIVIDE),
        Fidivr_m16int => compute(INT16, DIVIDE_REVERSED),
        Fcom_m32fp => compare(BINARY32, 0),
        Fcomp_m32fp => compare(BINARY32, 1),
        Ficom_m32int => compare(INT32, 0),
        Ficomp_m32int => compare(INT32, 1),
        Fcom_m64fp => compare(BINARY64, 0),
        Fcomp_m64fp => compare(BINARY64, 1),
        Ficom_m16int => compare(INT16, 0),
        Ficomp_m16int => compare(INT16, 1),
        _ => None,
    }
}

fn comparison_form(code: Code, i: u8) -> Option<Form> {
    use Code::*;
    use operation::{COMPARE, COMPARE_UNORDERED, TEST};
    let codes = |i, operation, pops| Some(Form(arith::compare, i, operation, pops));
    let flags = |operation, pops| Some(Form(arith::compare_to_flags, i, operation, pops));
    match code {
        Fcom_st0_sti | Fcom_st0_sti_DCD0 => codes(i, COMPARE, 0),
        Fcomp_st0_sti | Fcomp_st0_sti_DCD8 | Fcomp_st0_sti_DED0 => codes(i, COMPARE, 1),
        Fcompp => codes(1, COMPARE, 2),
        Fucom_st0_sti => codes(i, COMPARE_UNORDERED, 0),
        Fucomp_st0_sti => codes(i, COMPARE_UNORDERED, 1),
        Fucompp => codes(1, COMPARE_UNORDERED, 2),
        Ftst => codes(0, TEST, 0),
        Fcomi_st0_sti => flags(COMPARE, 0),
        Fcomip_st0_sti => flags(COMPARE, 1),
        Fucomi_st0_sti => flags(COMPARE_UNORDERED, 0),
        Fucomip_st0_sti => flags(COMPARE_UNORDERED, 1),
        _ => None,
    }
}

fn transfer_form(code: Code, i: u8) -> Option<Form> {
    use Code::*;
    let load = |source| Some(Form(transfer::load, 0, source, 0));
    let constant = |number| Some(Form(transfer::load_constant, 0, number, 0));
    let moved = |flags: u64, negated| Some(Form(transfer::conditional_move, i, flags as u8, negated));
    match code {
        Fld_m32fp => load(source::BINARY32),
        Fld_m64fp => load(source::BINARY64),
        Fld_m80fp => load(source::EXTENDED),
        Fild_m16int => load(source::INT16),
        Fild_m32int => load(source::INT32),
        Fild_m64int => load(source::INT64),
        Fbld_m80bcd => load(source::BCD),
        Fld_sti => Some(Form(transfer::load_register, i, 0, 0)),
        Fld1 => constant(0),
        Fldl2t => constant(1),
        Fldl2e => constant(2),
        Fldpi => constant(3),
        Fldlg2 => constant(4),
        Fldln2 => constant(5),
        Fldz => constant(6),
        Fxch_st0_sti | Fxch_st0_sti_DDC8 | Fxch_st0_sti_DFC8 => Some(Form(transfer::exchange, i, 0, 0)),
        Fcmovb_st0_sti => moved(CF, 0),
        Fcmove_st0_sti => moved(ZF, 0),
        Fcmovbe_st0_sti => moved(CF | ZF, 0),
        Fcmovu_st0_sti => moved(PF, 0),
        Fcmovnb_st0_sti => moved(CF, 1),
        Fcmovne_st0_sti => moved(ZF, 1),
        Fcmovnbe_st0_sti => moved(CF | ZF, 1),
        Fcmovnu_st0_sti => moved(PF, 1),
        _ => None,
    }
}

fn store_form(code: Code, i: u8) -> Option<Form> {
    use Code::*;
    use conversion::*;
    let store = |kind, pops| Some(Form(transfer::store, 0, kind, pops));
    match code {
        Fst_m32fp => store(BINARY32, 0),
        Fstp_m32fp => store(BINARY32, 1),
        Fst_m64fp => store(BINARY64, 0),
        Fstp_m64fp => store(BINARY64, 1),
        Fstp_m80fp => store(transfer::EXTENDED, 1),
        Fist_m16int => store(INT16, 0),
        Fistp_m16int => store(INT16, 1),
        Fist_m32int => store(INT32, 0),
        Fistp_m32int => store(INT32, 1),
        Fistp_m64int => store(INT64, 1),
        Fisttp_m16int => store(TRUNCATED16, 1),
        Fisttp_m32int => store(TRUNCATED32, 1),
        Fisttp_m64int => store(TRUNCATED64, 1),
        Fbstp_m80bcd => store(BCD, 1),
        Fst_sti => Some(Form(transfer::store_register, i, 0, 0)),
        Fstp_sti | Fstp_sti_DFD0 | Fstp_sti_DFD8 => Some(Form(transfer::store_register, i, 0, 1)),
        Fstpnce_sti => Some(Form(transfer::store_register_unchecked, i, 0, 0)),
        _ => None,
    }
}

fn one_operand_form(code: Code) -> Option<Form> {
    use Code::*;
    use operation::{REMAINDER, REMAINDER_NEAREST, ROUND, SCALE, SQUARE_ROOT};
    let in_place = |operation| Some(Form(arith::in_place, 0, operation, 0));
    match code {
        Fabs => Some(Form(transfer::change_sign, 0, 0, 0)),
        Fchs => Some(Form(transfer::change_sign, 0, 1, 0)),
        Fxam => Some(Form(transfer::examine, 0, 0, 0)),
        Fsqrt => in_place(SQUARE_ROOT),
        Frndint => in_place(ROUND),
        Fscale => in_place(SCALE),
        Fprem => in_place(REMAINDER),
        Fprem1 => in_place(REMAINDER_NEAREST),
        Fxtract => Some(Form(arith::extract, 0, 0, 0)),
        F2xm1 => Some(Form(transcendental::power, 0, 0, 0)),
        Fyl2x => Some(Form(transcendental::logarithm, 0, 0, 0)),
        Fyl2xp1 => Some(Form(transcendental::logarithm, 0, 1, 0)),
        Fpatan => Some(Form(transcendental::arc_tangent, 0, 0, 0)),
        Fsin => Some(Form(transcendental::sine_or_cosine, 0, 0, 0)),
        Fcos => Some(Form(transcendental::sine_or_cosine, 0, 1, 0)),
        Fsincos => Some(Form(transcendental::sine_and_cosine, 0, 0, 0)),
        Fptan => Some(Form(transcendental::tangent, 0, 0, 0)),
        _ => None,
    }
}

fn control_form(code: Code, i: u8) -> Option<Form> {
    use Code::*;
    let plain = |exec: Exec| Some(Form(exec, i, 0, 0));
    let environment = |exec: Exec, width| Some(Form(exec, 0, 0, width));
    match code {
        Wait => plain(control::wait),
        Fnop => plain(control::nothing),
        Fneni | Fndisi | Fnsetpm => plain(control::obsolete),
        Fldcw_m2byte => plain(control::load_control),
        Fnstcw_m2byte => plain(control::store_control),
        Fnstsw_m2byte => plain(control::store_status),
        Fnstsw_AX => plain(control::store_status_ax),
        Fnclex => plain(control::clear_exceptions),
        Fninit => plain(control::initialise),
        Fincstp => Some(Form(control::move_top, 1, 0, 0)),
        Fdecstp => Some(Form(control::move_top, 7, 0, 0)),
        Ffree_sti => plain(control::free),
        Ffreep_sti => Some(Form(control::free, i, 0, 1)),
        Fldenv_m14byte => environment(environment::load_environment, 2),
        Fldenv_m28byte => environment(environment::load_environment, 4),
        Fnstenv_m14byte => environment(environment::store_environment, 2),
        Fnstenv_m28byte => environment(environment::store_environment, 4),
        Frstor_m94byte => environment(environment::restore, 2),
        Frstor_m108byte => environment(environment::restore, 4),
        Fnsave_m94byte => environment(environment::save, 2),
        Fnsave_m108byte => environment(environment::save, 4),
        _ => None,
    }
}

/// The eleven bits of FOP: the low three bits of the first opcode byte and the ModR/M byte.
///
/// The decoded form does not keep the ModR/M byte, so the instruction is encoded again; where
/// the guest's encoding had a needless SIB byte, FOP shows the form without.
fn last_opcode(insn: &Instruction) -> u16 {
    let bits = match insn.code_size() {
        CodeSize::Code16 => 16,
        CodeSize::Code32 => 32,
        CodeSize::Code64 | CodeSize::Unknown => 64,
    };
    let mut encoder = Encoder::new(bits);
    if encoder.encode(insn, insn.ip()).is_err() {
        return 0;
    }
    let bytes = encoder.take_buffer();
    let opcode = bytes.iter().position(|byte| (0xd8..=0xdf).contains(byte));
    let modrm = opcode.and_then(|at| bytes.get(at + 1));
    match (opcode, modrm) {
        (Some(at), Some(&modrm)) => u16::from(bytes[at] & 7) << 8 | u16::from(modrm),
        _ => 0,
    }
}
