//! What an instruction is given and what it leaves behind, in one form for both CPUs.

/// General, flag, vector and x87 registers.
#[derive(Clone, Debug, PartialEq)]
#[repr(C)]
pub struct State {
    /// RAX to R15 in encoding order.
    pub gpr: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// YMM0 to YMM15.
    pub ymm: [[u64; 4]; 16],
    /// MXCSR.
    pub mxcsr: u32,
    /// x87 and MMX.
    pub x87: X87,
}

/// The x87 state, as FXSAVE64 lays it out.
#[derive(Clone, Debug, PartialEq)]
pub struct X87 {
    /// FCW.
    pub control: u16,
    /// FSW.
    pub status: u16,
    /// One bit a physical register that is not empty.
    pub valid: u8,
    /// FOP.
    pub opcode: u16,
    /// FIP.
    pub ip: u64,
    /// FDP.
    pub dp: u64,
    /// ST(0) to ST(7), 80 bits each.
    pub st: [u128; 8],
}

impl Default for State {
    fn default() -> Self {
        State {
            gpr: [0; 16],
            rflags: 0x202,
            rip: 0,
            fs_base: 0,
            gs_base: 0,
            ymm: [[0; 4]; 16],
            mxcsr: 0x1f80,
            x87: X87 { control: 0x37f, status: 0, valid: 0, opcode: 0, ip: 0, dp: 0, st: [0; 8] },
        }
    }
}

/// The exception that ended a case: #BP behind the instruction when all went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The vector.
    pub vector: u8,
    /// The error code, zero for vectors without one.
    pub error: u32,
    /// CR2, for #PF only.
    pub cr2: u64,
}

/// #BP: the filling of the code pages.
pub const BREAKPOINT: u8 = 3;
/// #PF.
pub const PAGE_FAULT: u8 = 14;
