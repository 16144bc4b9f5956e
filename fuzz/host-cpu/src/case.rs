//! One case: instruction bytes and the state before them.

use crate::layout::*;
use crate::rng::Rng;
use crate::state::{State, X87};
use crate::values;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction};

/// See the module's text.
pub struct Case {
    /// The form that was meant, as reports name it.
    pub code: Code,
    /// The instruction as decoded from `bytes`.
    pub insn: Instruction,
    /// The instruction.
    pub bytes: Vec<u8>,
    /// Registers before; RIP is where the bytes lie.
    pub state: State,
    /// The code segment.
    pub cs: u16,
    /// Where in the pool the data pages' contents begin.
    pub pool_at: usize,
    /// Changes to those contents: offset and bytes.
    pub patches: Vec<(usize, Vec<u8>)>,
}

/// Bits of RFLAGS that a case may start with.
const FLAGS: u64 = 0xcd5;
const DIRECTION: u64 = 1 << 10;
/// RFLAGS.AC.
pub const ALIGNMENT_CHECK: u64 = 1 << 18;
const ALWAYS: u64 = 0x202;

/// Random registers, without regard to any instruction.
pub fn state(rng: &mut Rng) -> State {
    let mut rflags = ALWAYS | rng.bits() & FLAGS;
    if !rng.one_in(4) {
        rflags &= !DIRECTION;
    }
    if rng.one_in(16) {
        rflags |= ALIGNMENT_CHECK;
    }
    let ymm = std::array::from_fn(|_| {
        let (low, high) = (values::lane(rng), values::lane(rng));
        [low[0], low[1], high[0], high[1]]
    });
    State {
        gpr: std::array::from_fn(|_| values::register(rng)),
        rflags,
        rip: code_address(rng),
        fs_base: segment_base(rng),
        gs_base: segment_base(rng),
        ymm,
        mxcsr: mxcsr(rng),
        x87: x87(rng),
    }
}

/// Anywhere in the first code page, at its end so that the instruction crosses into the
/// second, or at the end of that.
fn code_address(rng: &mut Rng) -> u64 {
    match rng.below(64) {
        0 | 1 => CODE + PAGE - 1 - rng.below(14),
        2 => CODE + 2 * PAGE - 1 - rng.below(20),
        _ => CODE + rng.below(PAGE - 32),
    }
}

/// Small enough not to spoil most addresses, or the data itself.
fn segment_base(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => 0,
        1 => rng.below(64),
        2 => rng.below(64).wrapping_neg(),
        _ => values::data_address(rng) & 0x7fff_ffff_ffff,
    }
}

fn mxcsr(rng: &mut Rng) -> u32 {
    let masks = if rng.one_in(8) { rng.bits() as u32 & 0x1f80 } else { 0x1f80 };
    let modes = match rng.below(4) {
        0 => rng.bits() as u32 & 0xe040,
        1 => rng.bits() as u32 & 0x6000,
        _ => 0,
    };
    let sticky = if rng.one_in(4) { rng.bits() as u32 & 0x3f } else { 0 };
    masks | modes | sticky
}

fn x87(rng: &mut Rng) -> X87 {
    let masks = if rng.one_in(8) { rng.bits() as u16 & 0x3f } else { 0x3f };
    let precision = rng.pick(&[0x300, 0x300, 0x300, 0x200, 0]);
    let rounding = if rng.one_in(2) { 0 } else { rng.bits() as u16 & 0xc00 };
    let control = masks | precision | rounding | 0x40;
    let mut status = rng.bits() as u16 & 0x7f00;
    if rng.one_in(4) {
        status |= rng.bits() as u16 & 0x7f;
    }
    if status & !control & 0x3f != 0 {
        status |= 0x8080;
    }
    let valid = match rng.below(4) {
        0 => rng.bits() as u8,
        1 => rng.bits() as u8 | rng.bits() as u8,
        _ => 0xff,
    };
    X87 { control, status, valid, opcode: 0, ip: 0, dp: 0, st: std::array::from_fn(|_| values::extended(rng)) }
}

impl Case {
    /// A case of `bytes` as they decode.
    pub fn new(code: Code, bytes: Vec<u8>, state: State, cs: u16, rng: &mut Rng) -> Self {
        let insn = decode(&bytes, state.rip, cs);
        Case { code, insn, bytes, state, cs, pool_at: pool_offset(rng), patches: Vec::new() }
    }
}

/// What iced makes of `bytes`.
pub fn decode(bytes: &[u8], rip: u64, cs: u16) -> Instruction {
    let bitness = if cs == CS_64 { 64 } else { 32 };
    Decoder::with_ip(bitness, bytes, rip, DecoderOptions::NONE).decode()
}

/// Bytes in the pool of data contents.
pub const POOL_BYTES: usize = 1 << 17;

fn pool_offset(rng: &mut Rng) -> usize {
    rng.below(((POOL_BYTES - WRITABLE_BYTES) / 16) as u64) as usize * 16
}

/// What data pages are filled from: the same for every case of every seed.
pub fn pool() -> Vec<u8> {
    let mut bytes = vec![0; POOL_BYTES];
    values::fill(&mut Rng::new(0x706f_6f6c, 0), &mut bytes);
    bytes
}
