//! What an instruction reads and writes, as far as a thunk and the code around it must know.

use super::unit;
use iced_x86::{CpuidFeature, EncodingKind, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// What one of a thunk's four pointers points to, and what the thunk does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing.
    Unused,
    /// A vector register operand.
    Vector { register: u8, wide: bool },
    /// An MMX register operand.
    Mmx(u8),
    /// A general register operand, 32 or 64 bits wide.
    Gpr { register: u8, wide: bool },
    /// XMM0 as an operand that the encoding does not name (BLENDVPS and its like).
    ImplicitXmm0,
    /// XMM0 as the result of PCMPESTRM and PCMPISTRM.
    ResultXmm0,
    /// The general registers, for the lengths in RAX and RDX (PCMPESTRx).
    Lengths { wide: bool },
    /// The general registers, for the result in RCX (PCMPxSTRI).
    ResultRcx,
}

/// What a memory operand is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// There is none.
    None,
    /// It is read.
    Load,
    /// It is written.
    Store,
}

/// An instruction that a thunk can execute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Which unit, see [`unit`].
    pub unit: u8,
    /// The memory operand.
    pub memory: Memory,
    /// Its size in bytes.
    pub bytes: u8,
    /// Address bits of it that must be zero.
    pub align: u8,
    /// It depends on MXCSR.
    pub float: bool,
    /// It writes the arithmetic flags.
    pub flags: bool,
    /// It writes its first operand.
    pub writes_first: bool,
    /// A VEX encoding.
    pub vex: bool,
    /// Register operands at their positions, and implicit ones behind them.
    pub slots: [Slot; 4],
}

/// True if `insn` belongs to the vector extensions of the CPU models.
pub(super) fn is_vector(insn: &Instruction) -> bool {
    use CpuidFeature::*;
    let code = insn.code();
    let known = |feature: &CpuidFeature| {
        matches!(feature, MMX | SSE | SSE2 | SSE3 | SSSE3 | SSE4_1 | SSE4_2 | AES | PCLMULQDQ | AVX | AVX2 | FMA | F16C)
    };
    matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
        && code.cpuid_features().iter().all(known)
        && insn.mnemonic() != Mnemonic::Crc32
}

impl Shape {
    /// The shape of a vector instruction that names its operands; `None` if it has others.
    pub(super) fn of(insn: &Instruction) -> Option<Shape> {
        let mut factory = InstructionInfoFactory::new();
        let first = factory.info(insn).op0_access();
        let vex = insn.code().encoding() == EncodingKind::VEX;
        let mut slots = [Slot::Unused; 4];
        for i in 0..insn.op_count().min(4) {
            if insn.op_kind(i) == OpKind::Register {
                slots[i as usize] = slot(insn.op_register(i))?;
            }
        }
        implicit(insn, &mut slots);
        let writes_first =
            matches!(first, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite);
        let memory = match (0..insn.op_count()).find(|&i| insn.op_kind(i) == OpKind::Memory) {
            None => Memory::None,
            Some(0) if writes_first => Memory::Store,
            Some(_) => Memory::Load,
        };
        let size = insn.memory_size().size();
        if memory != Memory::None && !matches!(size, 1 | 2 | 4 | 8 | 16 | 32) {
            return None;
        }
        Some(Shape {
            unit: unit_of(&slots, vex),
            memory,
            bytes: size as u8,
            align: alignment(insn, size, vex),
            float: is_float(insn.mnemonic()),
            flags: insn.rflags_modified() != 0,
            writes_first: writes_first && memory != Memory::Store,
            vex,
            slots,
        })
    }

    /// The MMX register that it writes.
    pub(super) fn written_mmx(&self) -> Option<u8> {
        match self.slots[0] {
            Slot::Mmx(register) if self.writes_first => Some(register),
            _ => None,
        }
    }

    /// True if it names an MMX register.
    pub(super) fn has_mmx(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Mmx(_)))
    }
}

fn slot(register: Register) -> Option<Slot> {
    let number = register.number() as u8;
    match () {
        () if register.is_xmm() => Some(Slot::Vector { register: number, wide: false }),
        () if register.is_ymm() => Some(Slot::Vector { register: number, wide: true }),
        () if register.is_mm() => Some(Slot::Mmx(number)),
        () if register.is_gpr32() => Some(Slot::Gpr { register: number, wide: false }),
        () if register.is_gpr64() => Some(Slot::Gpr { register: number, wide: true }),
        () => None,
    }
}

/// Adds the registers that the encoding implies.
fn implicit(insn: &Instruction, slots: &mut [Slot; 4]) {
    use Mnemonic::*;
    match insn.mnemonic() {
        Blendvps | Blendvpd | Pblendvb => slots[3] = Slot::ImplicitXmm0,
        Pcmpistri | Vpcmpistri => slots[3] = Slot::ResultRcx,
        Pcmpistrm | Vpcmpistrm => slots[3] = Slot::ResultXmm0,
        Pcmpestri | Vpcmpestri => (slots[2], slots[3]) = (lengths(insn), Slot::ResultRcx),
        Pcmpestrm | Vpcmpestrm => (slots[2], slots[3]) = (lengths(insn), Slot::ResultXmm0),
        Pcmpestri64 | Vpcmpestri64 => (slots[2], slots[3]) = (lengths(insn), Slot::ResultRcx),
        Pcmpestrm64 | Vpcmpestrm64 => (slots[2], slots[3]) = (lengths(insn), Slot::ResultXmm0),
        _ => {}
    }
}

/// With REX.W or VEX.W the explicit lengths are 64 bits wide.
fn lengths(insn: &Instruction) -> Slot {
    use Mnemonic::*;
    let wide = matches!(insn.mnemonic(), Pcmpestri64 | Pcmpestrm64 | Vpcmpestri64 | Vpcmpestrm64);
    Slot::Lengths { wide }
}

fn unit_of(slots: &[Slot; 4], vex: bool) -> u8 {
    let mmx = slots.iter().any(|slot| matches!(slot, Slot::Mmx(_)));
    let xmm = slots.iter().any(|slot| matches!(slot, Slot::Vector { .. }));
    match (vex, mmx, xmm) {
        (true, ..) => unit::VEX,
        (_, true, true) => unit::MMX_SSE,
        (_, true, false) => unit::MMX,
        _ => unit::SSE,
    }
}

/// The address bits that must be zero: legacy 16-byte operands are aligned unless the instruction is
/// made for others, VEX ones are not unless it is made for that (SDM Vol. 1, 14.9).
pub(super) fn alignment(insn: &Instruction, size: usize, vex: bool) -> u8 {
    use Mnemonic::*;
    let free = matches!(
        insn.mnemonic(),
        Movups | Movupd | Movdqu | Lddqu | Pcmpistri | Pcmpistrm | Pcmpestri | Pcmpestrm | Pcmpestri64 | Pcmpestrm64
    );
    let strict = matches!(insn.mnemonic(), Vmovaps | Vmovapd | Vmovdqa | Vmovntps | Vmovntpd | Vmovntdq | Vmovntdqa);
    match (vex, size) {
        (false, 16) if !free => 15,
        (true, 16 | 32) if strict => size as u8 - 1,
        _ => 0,
    }
}

/// True if the instruction rounds, compares or converts floating-point numbers: it honours MXCSR
/// and can raise SIMD floating-point exceptions. (Integer mnemonics start with P.)
pub(super) fn is_float(mnemonic: Mnemonic) -> bool {
    const STEMS: [&str; 17] = [
        "add", "cmp", "comis", "cvt", "div", "dpp", "fm", "fnm", "hadd", "hsub", "max", "min", "mul", "round", "sqrt",
        "sub", "ucomis",
    ];
    let name = format!("{mnemonic:?}").to_ascii_lowercase();
    let stem = name.strip_prefix('v').unwrap_or(&name);
    STEMS.iter().any(|prefix| stem.starts_with(prefix))
}
