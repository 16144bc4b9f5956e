//! What the host's CPU has of that which the guests' CPU models need.

use std::fmt;

use crate::model::CpuModel;

/// The extensions with which the guest's vector instructions are executed, and the lowest model that needs each. What
/// else a model offers is computed by the interpreter itself.
const NEEDED: [(&str, CpuModel); 6] = [
    ("SSE4.2", CpuModel::V2),
    ("AES", CpuModel::V2),
    ("PCLMULQDQ", CpuModel::V2),
    ("AVX2", CpuModel::V3),
    ("FMA", CpuModel::V3),
    ("F16C", CpuModel::V3),
];

/// The extensions that a host's CPU has, of those that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFeatures([bool; NEEDED.len()]);

impl HostFeatures {
    /// Those of this host.
    pub fn detect() -> Self {
        HostFeatures([
            is_x86_feature_detected!("sse4.2"),
            is_x86_feature_detected!("aes"),
            is_x86_feature_detected!("pclmulqdq"),
            is_x86_feature_detected!("avx2"),
            is_x86_feature_detected!("fma"),
            is_x86_feature_detected!("f16c"),
        ])
    }

    /// Those of a host with exactly these.
    pub fn of(names: &[&str]) -> Self {
        HostFeatures(NEEDED.map(|(name, _)| names.contains(&name)))
    }

    /// What a machine of `model` needs and the host does not have.
    pub fn lacks(self, model: CpuModel) -> Vec<&'static str> {
        let missing = NEEDED.iter().zip(self.0).filter(|((_, needs), has)| *needs <= model && !has);
        missing.map(|((name, _), _)| *name).collect()
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x86-64-v{}", *self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_needs_what_the_lower_one_needs() {
        let old = HostFeatures::of(&["SSE4.2", "AES", "PCLMULQDQ", "FMA"]);
        assert!(old.lacks(CpuModel::V2).is_empty());
        assert_eq!(old.lacks(CpuModel::V3), ["AVX2", "F16C"]);
        assert_eq!(HostFeatures::of(&["AVX2"]).lacks(CpuModel::V2), ["SSE4.2", "AES", "PCLMULQDQ"]);
    }
}
