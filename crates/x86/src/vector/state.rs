//! The vector registers.

/// YMM0 to YMM15 (XMM registers are their low halves) and MXCSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct VectorState {
    /// 256 bits each, little-endian.
    pub ymm: [[u64; 4]; 16],
    /// MXCSR.
    pub mxcsr: u32,
}

impl Default for VectorState {
    fn default() -> Self {
        VectorState { ymm: [[0; 4]; 16], mxcsr: 0x1f80 }
    }
}
