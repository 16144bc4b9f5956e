//! Which CPU the guest sees.

/// A CPU model: fixed by name, never the host's, so that recordings replay anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CpuModel {
    /// `x86-64-v2`: SSE4.2, POPCNT, CMPXCHG16B, AES, PCLMUL.
    #[default]
    V2 = 2,
    /// `x86-64-v3`: adds AVX, AVX2, BMI1, BMI2, FMA, F16C, MOVBE, LZCNT.
    V3 = 3,
}
