//! What the architecture leaves undefined, or CPUs are known to differ in: the table of all that
//! the campaign does not compare, with the manual's sentence and what this machine defines.
//!
//! "SDM" is Intel's Software Developer's Manual, volume 2, at the instruction.

use crate::case::Case;
use crate::layout::CS_32;
use iced_x86::{Mnemonic, OpKind, Register};

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
const ALL: u64 = CF | PF | AF | ZF | SF | OF;

/// What may differ in one case.
#[derive(Default)]
pub struct Allowed {
    /// Bits of RFLAGS.
    pub flags: u64,
    /// Bits of FSW.
    pub fsw: u16,
    /// General registers whose upper halves may differ, a bit each.
    pub upper_halves: u32,
    /// General registers that are not compared, a bit each.
    pub registers: u32,
    /// TOP and tags may have changed or not.
    pub mmx_switch: bool,
    /// Which of several faults by address is reported may differ.
    pub in_pieces: bool,
    /// The first half of the operand may have been written before the second half faulted.
    pub half_written: bool,
    /// Bits of MXCSR.
    pub mxcsr: u32,
    /// How many quadwords of each YMM register are compared.
    pub words: usize,
    /// The bits of FIP that are compared.
    pub fip: u64,
}

/// One row of the table of flags.
struct Row {
    mnemonics: &'static [Mnemonic],
    /// When the row applies.
    when: fn(&Case) -> bool,
    /// Flags that are undefined then.
    flags: u64,
    /// What this machine makes of them.
    here: &'static str,
}

/// Undefined flags, as "Flags Affected" says at each instruction in SDM volume 2.
const FLAGS: &[Row] = {
    use Mnemonic::*;
    &[
        Row { mnemonics: &[And, Or, Xor, Test], when: always, flags: AF, here: "clear" },
        Row { mnemonics: &[Shl, Sal, Shr, Sar], when: |c| shift_count(c) != 0, flags: AF, here: "clear" },
        Row {
            mnemonics: &[Shl, Sal, Shr, Sar],
            when: |c| shift_count(c) > 1,
            flags: OF,
            here: "as by the last single shift",
        },
        Row {
            mnemonics: &[Shl, Sal, Shr],
            when: |c| shift_count(c) >= operand_bits(c),
            flags: CF,
            here: "the last bit shifted out",
        },
        Row {
            mnemonics: &[Rol, Ror, Rcl, Rcr],
            when: |c| shift_count(c) > 1,
            flags: OF,
            here: "as by the last single rotate",
        },
        Row { mnemonics: &[Shld, Shrd], when: |c| shift_count(c) != 0, flags: AF, here: "clear" },
        Row { mnemonics: &[Shld, Shrd], when: |c| shift_count(c) > 1, flags: OF, here: "as by the last single shift" },
        Row { mnemonics: &[Shld, Shrd], when: double_beyond, flags: ALL, here: "see exec/shift_double.rs" },
        Row {
            mnemonics: &[Mul, Imul],
            when: always,
            flags: SF | ZF | AF | PF,
            here: "SF, ZF, PF by the low half, AF clear",
        },
        Row { mnemonics: &[Div, Idiv], when: always, flags: ALL, here: "unchanged" },
        Row { mnemonics: &[Bsf, Bsr], when: always, flags: ALL & !ZF, here: "see exec/bits.rs" },
        Row { mnemonics: &[Bt, Bts, Btr, Btc], when: always, flags: OF | SF | AF | PF, here: "unchanged" },
        Row {
            mnemonics: &[Andn, Blsi, Blsmsk, Blsr, Bzhi],
            when: always,
            flags: AF | PF,
            here: "AF clear, PF by the result",
        },
        Row { mnemonics: &[Bextr], when: always, flags: SF | AF | PF, here: "by the result, AF clear" },
        Row { mnemonics: &[Tzcnt, Lzcnt], when: always, flags: OF | SF | AF | PF, here: "see exec/bits.rs" },
        Row { mnemonics: &[Aaa, Aas], when: always, flags: OF | SF | ZF | PF, here: "see exec/decimal.rs" },
        Row { mnemonics: &[Aam, Aad], when: always, flags: OF | AF | CF, here: "see exec/decimal.rs" },
        Row { mnemonics: &[Daa, Das], when: always, flags: OF, here: "see exec/decimal.rs" },
    ]
};

fn always(_: &Case) -> bool {
    true
}

fn operand_bits(case: &Case) -> u32 {
    match case.insn.op0_kind() {
        OpKind::Register => case.insn.op0_register().size() as u32 * 8,
        _ => case.insn.memory_size().size() as u32 * 8,
    }
}

/// The count of a shift or rotate, as the CPU masks it.
fn shift_count(case: &Case) -> u32 {
    let last = case.insn.op_count() - 1;
    let count = match case.insn.op_kind(last) {
        OpKind::Register => case.state.gpr[1] as u32,
        _ => case.insn.immediate(last) as u32,
    };
    count & if operand_bits(case) == 64 { 63 } else { 31 }
}

/// SHLD and SHRD by more than the operand has bits.
fn double_beyond(case: &Case) -> bool {
    shift_count(case) > operand_bits(case)
}

/// x87 instructions whose result is as precise as it is: within two units in the last place.
const TRANSCENDENTAL: &[Mnemonic] = {
    use Mnemonic::*;
    &[F2xm1, Fyl2x, Fyl2xp1, Fptan, Fpatan, Fsin, Fcos, Fsincos]
};

/// Approximations: relative error at most 1.5 * 2^-12 (SDM volume 2, RCPPS and RSQRTPS). Here: the
/// correctly rounded quotient, the same on every host.
const APPROXIMATE: &[Mnemonic] = {
    use Mnemonic::*;
    &[Rcpps, Rcpss, Vrcpps, Vrcpss, Rsqrtps, Rsqrtss, Vrsqrtps, Vrsqrtss]
};

/// MMX instructions that can fault late: the host has then made its switch from x87 to MMX (TOP
/// and tags), or not. Here a fault changes nothing.
const LATE_MMX: &[Mnemonic] = {
    use Mnemonic::*;
    &[Movd, Movq, Movntq, Maskmovq, Cvtpd2pi, Cvttpd2pi, Cvtps2pi, Cvttps2pi, Cvtpi2ps, Cvtpi2pd]
};

/// Accesses made in pieces: which of them faults first, and which are checked for alignment, is up
/// to the processor. Cases of these have no alignment checks.
pub const IN_PIECES: &[Mnemonic] = {
    use Mnemonic::*;
    &[
        Fnsave,
        Frstor,
        Fnstenv,
        Fldenv,
        Fxsave,
        Fxsave64,
        Fxrstor,
        Fxrstor64,
        Maskmovq,
        Maskmovdqu,
        Vmaskmovdqu,
        Enter,
        Fld,
        Fstp,
        Fbld,
        Fbstp,
        Vcvtps2ph,
        Vcvtph2ps,
        Vmaskmovps,
        Vmaskmovpd,
        Vpmaskmovd,
        Vpmaskmovq,
    ]
};

/// Gathers load element by element, and a fault leaves those done.
const GATHERS: &[Mnemonic] = {
    use Mnemonic::*;
    &[Vgatherdps, Vgatherdpd, Vgatherqps, Vgatherqpd, Vpgatherdd, Vpgatherdq, Vpgatherqd, Vpgatherqq]
};

/// With underflow or overflow unmasked, whether such a result was exact is judged by the host with an
/// exponent without bounds, and here by the masked result: PE may be set beside UE or OE (SDM volume 1,
/// 4.9.1.4 and 4.9.1.5).
fn unmasked_range(case: &Case) -> bool {
    case.state.mxcsr & (1 << 10 | 1 << 11) != 1 << 10 | 1 << 11
}

const SIMD_FLAGS: u32 = 0x3f;
const SIMD_PRECISION: u32 = 1 << 5;
const C1: u16 = 1 << 9;
const PRECISION: u16 = 1 << 5;
const UNDERFLOW: u16 = 1 << 4;
const RSI_RDI_RCX: u32 = 1 << 6 | 1 << 7 | 1 << 1;

/// What the table says about the flags of `case`, for reports.
pub fn notes(case: &Case) -> String {
    let rows = FLAGS.iter().filter(|row| row.mnemonics.contains(&case.insn.mnemonic()) && (row.when)(case));
    rows.map(|row| format!("  flags {:#x} are undefined; here: {}\n", row.flags, row.here)).collect()
}

/// What may differ in `case`, which ended in a fault or not.
pub fn of(case: &Case, faulted: bool) -> Allowed {
    let mut allowed = Allowed::default();
    let mnemonic = case.insn.mnemonic();
    for row in FLAGS {
        if !faulted && row.mnemonics.contains(&mnemonic) && (row.when)(case) {
            allowed.flags |= row.flags;
        }
    }
    if TRANSCENDENTAL.contains(&mnemonic) {
        // The rounding that may have come out otherwise, perhaps just beside the smallest number.
        allowed.fsw |= C1 | PRECISION | UNDERFLOW;
    }
    // Without an iteration done, the upper halves of the address registers are cleared or not.
    let no_iteration = case.state.gpr[1] as u32 == 0 || faulted;
    if case.insn.is_string_instruction() && case.bytes.contains(&0x67) && no_iteration {
        allowed.upper_halves = RSI_RDI_RCX;
    }
    if faulted && matches!(mnemonic, Mnemonic::Popa | Mnemonic::Popad) {
        // The host has loaded what it had read. Here: nothing; ESP stays, so both begin again.
        allowed.registers = !(1 << 4);
    }
    allowed.mmx_switch = faulted && LATE_MMX.contains(&mnemonic);
    allowed.in_pieces = IN_PIECES.contains(&mnemonic);
    allowed.half_written = faulted && matches!(mnemonic, Mnemonic::Fstp | Mnemonic::Fbstp);
    allowed.fip = u64::MAX;
    if matches!(mnemonic, Mnemonic::Fxrstor64) {
        // The host makes it canonical, in its own width of addresses.
        allowed.fip >>= 16;
    }
    if faulted && matches!(mnemonic, Mnemonic::Vcvtps2ph) {
        // The host's conversion sets its flags before the store faults. Here: it does not.
        allowed.mxcsr |= SIMD_FLAGS;
    }
    if faulted && matches!(mnemonic, Mnemonic::Dpps | Mnemonic::Dppd | Mnemonic::Vdpps | Mnemonic::Vdppd) {
        // Its steps are operations of their own: which of them still ran is up to the processor.
        allowed.mxcsr |= SIMD_FLAGS;
    }
    if unmasked_range(case) {
        allowed.mxcsr |= SIMD_PRECISION;
    }
    // Which moment clears what lies behind the elements is up to the processor.
    allowed.words = match mnemonic {
        Mnemonic::Vgatherqps | Mnemonic::Vpgatherqd if faulted => 1,
        _ if faulted && GATHERS.contains(&mnemonic) => 2,
        _ => 4,
    };
    allowed
}

/// True if the host may fault where this machine does not: moves masked by bytes, for the bytes that
/// they leave out (SDM volume 2, MASKMOVDQU: implementation-dependent). Here: only bytes moved fault.
pub fn may_fault(case: &Case) -> bool {
    matches!(case.insn.mnemonic(), Mnemonic::Maskmovq | Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu)
}

/// True if an unmasked x87 exception keeps the host from storing at all, so that it never looks at a segment
/// that may not be written. Here: the segment is looked at first.
pub fn stores_nothing(case: &Case) -> bool {
    use Mnemonic::*;
    let stores = matches!(case.insn.mnemonic(), Fst | Fstp | Fist | Fistp | Fisttp | Fbstp);
    let cannot = matches!(case.insn.memory_segment(), Register::CS | Register::FS | Register::GS);
    stores && cannot && case.cs == CS_32
}

/// True if two vector results differ only as far as the instruction's precision allows.
pub fn close_enough(case: &Case, host: [u64; 4], guest: [u64; 4]) -> bool {
    let lanes = |words: [u64; 4]| words.into_iter().flat_map(|word| [word as u32, (word >> 32) as u32]);
    APPROXIMATE.contains(&case.insn.mnemonic())
        && lanes(host).zip(lanes(guest)).all(|(h, g)| {
            let (h, g) = (f32::from_bits(h), f32::from_bits(g));
            h.to_bits() == g.to_bits() || ((f64::from(h) - f64::from(g)) / f64::from(g)).abs() <= 1.5 / 4096.0
        })
}

/// The same for x87 results, in units in the last place.
pub fn close_extended(case: &Case, host: u128, guest: u128) -> bool {
    // Numbers of one sign in their order, across exponents.
    let rank = |value: u128| (value >> 64 & 0x7fff) << 63 | value & (u128::MAX >> 65);
    let same_sign = (host ^ guest) >> 79 == 0;
    TRANSCENDENTAL.contains(&case.insn.mnemonic()) && same_sign && rank(host).abs_diff(rank(guest)) <= 2
}
