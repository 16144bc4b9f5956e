//! What is known of the values of registers within a block: which differ by constants.

use super::plain::Use;
use super::{Item, plain};
use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use x86::op::AddressMode;
use x86::vcpu::{GPR_PAGE_RIP, GPR_ZERO};

/// Numbers of registers.
pub const RSP: usize = 4;
pub const RBP: usize = 5;

/// The root of 0.
pub const ROOT_OF_ZERO: u32 = 0;
/// The root of the linear address of the page being executed.
const ROOT_OF_PAGE: u32 = 1;

/// A value that an address begins with: one that a register had, and what was added since.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value {
    pub root: u32,
    pub plus: i64,
}

/// The values of all registers.
pub struct Values {
    of: [Value; 16],
    /// The number of roots so far.
    roots: u32,
}

impl Values {
    /// At the beginning of a block: nothing is known.
    pub fn new() -> Values {
        Values { of: std::array::from_fn(|i| Value { root: i as u32 + 2, plus: 0 }), roots: 18 }
    }

    /// What general register `register` holds.
    pub fn of_register(&self, register: usize) -> Value {
        self.of[register]
    }

    /// What register `slot` of an [`x86::op::Op`] holds, one that stands for 0 or for the page's address included.
    pub fn of(&self, slot: u8) -> Value {
        match usize::from(slot) {
            GPR_ZERO => Value { root: ROOT_OF_ZERO, plus: 0 },
            GPR_PAGE_RIP => Value { root: ROOT_OF_PAGE, plus: 0 },
            register => self.of[register],
        }
    }

    /// Nothing is known any more of what registers hold that the instruction writes.
    fn lose_written(&mut self, insn: &Instruction, info: &mut InstructionInfoFactory) {
        if let Some(uses) = simple_uses(insn) {
            for (i, how) in (0..).zip(uses) {
                if how != Use::Read && insn.op_kind(i) == OpKind::Register {
                    self.lose(insn.op_register(i));
                }
            }
            return;
        }
        for used in info.info(insn).used_registers() {
            use OpAccess::*;
            if !matches!(used.access(), None | Read | CondRead | NoMemAccess) {
                self.lose(used.register());
            }
        }
    }

    /// Nothing is known any more of what the register holds.
    fn lose(&mut self, register: Register) {
        let register = register.full_register();
        if register.is_gpr64() {
            self.of[register.number()] = Value { root: self.roots, plus: 0 };
            self.roots += 1;
        }
    }

    /// What the registers hold behind the instruction.
    pub fn after(&mut self, item: &Item, info: &mut InstructionInfoFactory) {
        let insn = &item.insn;
        let number = |register: Register| register.is_gpr64().then(|| register.number());
        let target = if insn.op0_kind() == OpKind::Register { number(insn.op0_register()) } else { None };
        let before = self.of;
        let mut known = None;
        if let Some(target) = target {
            let plus = |value: Value, by: i64| Some((target, Value { plus: value.plus.wrapping_add(by), ..value }));
            known = match insn.mnemonic() {
                Mnemonic::Add if is_immediate(insn.op1_kind()) => plus(before[target], insn.immediate(1) as i64),
                Mnemonic::Sub if is_immediate(insn.op1_kind()) => {
                    plus(before[target], (insn.immediate(1) as i64).wrapping_neg())
                }
                Mnemonic::Inc => plus(before[target], 1),
                Mnemonic::Dec => plus(before[target], -1),
                Mnemonic::Mov if insn.op1_kind() == OpKind::Register => {
                    number(insn.op1_register()).map(|source| (target, before[source]))
                }
                Mnemonic::Lea if item.op.index as usize == GPR_ZERO && item.op.amode != AddressMode::Truncated64 => {
                    plus(self.of(item.op.base), item.op.disp)
                }
                _ => None,
            };
        }
        if known.is_none() {
            self.lose_written(insn, info);
        }
        let moved = match insn.mnemonic() {
            Mnemonic::Push | Mnemonic::Pushfq if target != Some(RSP) && insn.stack_pointer_increment() == -8 => -8,
            Mnemonic::Pop if target != Some(RSP) && insn.stack_pointer_increment() == 8 => 8,
            _ => 0,
        };
        if moved != 0 {
            self.of[RSP] = Value { plus: before[RSP].plus.wrapping_add(moved), ..before[RSP] };
        }
        if insn.code() == Code::Leaveq {
            self.of[RSP] = Value { plus: before[RBP].plus.wrapping_add(8), ..before[RBP] };
        }
        if let Some((register, value)) = known {
            self.of[register] = value;
        }
    }
}

/// What an instruction that names all registers it uses does with its first two operands, where that is known without asking
/// iced-x86, which takes its time.
fn simple_uses(insn: &Instruction) -> Option<[Use; 2]> {
    match insn.mnemonic() {
        _ if insn.is_jcc_short_or_near() => Some([Use::Read, Use::Read]),
        Mnemonic::Lea => Some([Use::Write, Use::Read]),
        Mnemonic::Cmpxchg => None,
        mnemonic => plain::uses(mnemonic),
    }
}

fn is_immediate(kind: OpKind) -> bool {
    use OpKind::*;
    matches!(kind, Immediate8to64 | Immediate32to64)
}
