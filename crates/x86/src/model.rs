//! Which CPU the guest sees.
//!
//! A model is fixed by name and never looks at the host. What it offers is told twice, to
//! the guest by CPUID ([`crate::system::cpuid`]) and to the decoder by [`CpuModel::offers`];
//! a test holds the two together.

use iced_x86::CpuidFeature;

/// A CPU model: fixed by name, never the host's, so that recordings replay anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CpuModel {
    /// `x86-64-v2`: SSE4.2, POPCNT, CMPXCHG16B, AES, PCLMUL.
    #[default]
    V2 = 2,
    /// `x86-64-v3`: adds AVX, AVX2, BMI1, BMI2, FMA, F16C, MOVBE, LZCNT.
    V3 = 3,
}

/// What both models have.
const BASE: &[CpuidFeature] = &[
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::FPU,
    CpuidFeature::FPU287,
    CpuidFeature::FPU387,
    CpuidFeature::CPUID,
    CpuidFeature::TSC,
    CpuidFeature::MSR,
    CpuidFeature::CX8,
    CpuidFeature::CMOV,
    CpuidFeature::RDPMC,
    CpuidFeature::SEP,
    CpuidFeature::SYSCALL,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    CpuidFeature::MMX,
    CpuidFeature::FXSR,
    CpuidFeature::SSE,
    CpuidFeature::SSE2,
    CpuidFeature::SSE3,
    CpuidFeature::SSSE3,
    CpuidFeature::SSE4_1,
    CpuidFeature::SSE4_2,
    CpuidFeature::AES,
    CpuidFeature::PCLMULQDQ,
    CpuidFeature::POPCNT,
    CpuidFeature::CMPXCHG16B,
    CpuidFeature::CLFSH,
    CpuidFeature::MONITOR,
    CpuidFeature::XSAVE,
    CpuidFeature::XSAVEOPT,
    CpuidFeature::XSAVEC,
    CpuidFeature::FSGSBASE,
    CpuidFeature::INVPCID,
    CpuidFeature::SMAP,
    CpuidFeature::RDTSCP,
    CpuidFeature::PREFETCHW,
    // Hints in encodings that do nothing on a CPU without the feature.
    CpuidFeature::PREFETCHWT1,
    CpuidFeature::PREFETCHITI,
    CpuidFeature::CLDEMOTE,
    // Without WBNOINVD the F3 prefix is ignored and the instruction is WBINVD.
    CpuidFeature::WBNOINVD,
];

/// What only [`CpuModel::V3`] has.
const V3_ONLY: &[CpuidFeature] = &[
    CpuidFeature::AVX,
    CpuidFeature::AVX2,
    CpuidFeature::BMI1,
    CpuidFeature::BMI2,
    CpuidFeature::F16C,
    CpuidFeature::FMA,
    CpuidFeature::LZCNT,
    CpuidFeature::MOVBE,
];

/// XCR0 bit: x87 state.
pub const XCR0_X87: u64 = 1 << 0;
/// XCR0 bit: XMM registers and MXCSR.
pub const XCR0_SSE: u64 = 1 << 1;
/// XCR0 bit: the upper halves of the YMM registers.
pub const XCR0_AVX: u64 = 1 << 2;

impl CpuModel {
    /// True if the model executes instructions that belong to `feature`; the decoder makes
    /// the others #UD.
    ///
    /// Some encodings of absent features have an older meaning instead, which the decoder
    /// must know: TZCNT is BSF and LZCNT is BSR where the feature is absent, and ENDBR,
    /// RDSSP and the MPX instructions lie in the reserved NOPs.
    pub fn offers(self, feature: CpuidFeature) -> bool {
        BASE.contains(&feature) || (self == CpuModel::V3 && V3_ONLY.contains(&feature))
    }

    /// The state components that XCR0 can enable.
    pub const fn xcr0_supported(self) -> u64 {
        match self {
            CpuModel::V2 => XCR0_X87 | XCR0_SSE,
            CpuModel::V3 => XCR0_X87 | XCR0_SSE | XCR0_AVX,
        }
    }
}
