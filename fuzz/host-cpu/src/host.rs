//! What the host must be for the campaign to make sense on it.

use iced_x86::CpuidFeature;

/// AT_HWCAP2 bit by which Linux says that programs may use RDFSBASE and its kin.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// Why the campaign cannot run here, if it cannot.
pub fn unsuitable() -> Option<&'static str> {
    // SAFETY: reads what the kernel told this program when it started.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    if hwcap2 & HWCAP2_FSGSBASE == 0 {
        return Some("the kernel does not let programs set FS and GS bases");
    }
    if !is_x86_feature_detected!("avx") {
        return Some("the CPU has no AVX");
    }
    // Leaf 0 exists on every CPU.
    let vendor = std::arch::x86_64::__cpuid(0);
    if vendor.ebx != u32::from_le_bytes(*b"Genu") {
        return Some("the CPU is not Intel's, whose corners the machine follows");
    }
    None
}

/// True if the host has `feature`, as far as CPUs with AVX differ.
pub fn has(feature: CpuidFeature) -> bool {
    match feature {
        CpuidFeature::AVX2 => is_x86_feature_detected!("avx2"),
        CpuidFeature::BMI1 => is_x86_feature_detected!("bmi1"),
        CpuidFeature::BMI2 => is_x86_feature_detected!("bmi2"),
        CpuidFeature::F16C => is_x86_feature_detected!("f16c"),
        CpuidFeature::FMA => is_x86_feature_detected!("fma"),
        CpuidFeature::LZCNT => is_x86_feature_detected!("lzcnt"),
        CpuidFeature::MOVBE => is_x86_feature_detected!("movbe"),
        CpuidFeature::AES => is_x86_feature_detected!("aes"),
        CpuidFeature::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        _ => true,
    }
}
