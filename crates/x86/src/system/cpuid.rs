//! CPUID: what each model tells the guest, as tables (SDM Vol. 2A, CPUID).
//!
//! The models call themselves an Intel family 6, model 1Ch (an in-order Atom), stepping 10.
//! Operating systems know that CPU as one that does not speculate, so they need no
//! mitigation of speculative execution, which would cost much and protect nothing here; and
//! its steppings above 2 have no erratum that anyone works around. IA32_ARCH_CAPABILITIES
//! says the same to those that look there.
//!
//! ERMS is not offered: each iteration of a string instruction is a step, so that copying by
//! quadwords is eight times cheaper than by bytes, and without ERMS that is what guests do.
//! Leaf 5 offers MWAIT's extensions but no C-state, which makes Linux idle with HLT.

use crate::fault::{Flow, Trap};
use crate::model::CpuModel;
use crate::op::{Env, Exec, Op};
use crate::system::msr;
use crate::vcpu::{Vcpu, cr};
use crate::xsave::{AREA_BYTES, AVX_BYTES};
use iced_x86::{Code, Instruction};

/// Family, model and stepping, as in leaf 1 EAX and in EDX after reset.
pub const SIGNATURE: u32 = 0x0001_06ca;
/// The rate of the time-stamp counter and of the local APIC timer, in Hz.
pub const TSC_HZ: u32 = 1_000_000_000;
/// Virtual address bits.
const LINEAR_BITS: u32 = 48;
/// The highest basic leaf.
const MAX_BASIC: u32 = 0x16;
/// The highest extended leaf.
const MAX_EXTENDED: u32 = 0x8000_0008;
/// The first and only leaf of the hypervisor range.
const HYPERVISOR: u32 = 0x4000_0000;

/// EAX, EBX, ECX and EDX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { eax, ebx, ecx, edx }
}

const fn text(bytes: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*bytes)
}

const fn bits(list: &[u32]) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i < list.len() {
        sum |= 1 << list[i];
        i += 1;
    }
    sum
}

/// Leaf 1 ECX: SSE3, PCLMULQDQ, MONITOR, SSSE3, CMPXCHG16B, PCID, SSE4.1, SSE4.2, x2APIC,
/// POPCNT, TSC-deadline, AES, XSAVE, hypervisor.
const FEATURES_1_ECX: u32 = bits(&[0, 1, 3, 9, 13, 17, 19, 20, 21, 23, 24, 25, 26, 31]);
/// Leaf 1 ECX of v3: FMA, MOVBE, AVX, F16C.
const FEATURES_1_ECX_V3: u32 = bits(&[12, 22, 28, 29]);
/// Leaf 1 EDX: FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV,
/// PAT, PSE-36, CLFLUSH, MMX, FXSR, SSE, SSE2.
const FEATURES_1_EDX: u32 = bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26]);
/// Leaf 7 EBX: FSGSBASE, TSC_ADJUST, SMEP, INVPCID, SMAP.
const FEATURES_7_EBX: u32 = bits(&[0, 1, 7, 10, 20]);
/// Leaf 7 EBX of v3: BMI1, AVX2, BMI2.
const FEATURES_7_EBX_V3: u32 = bits(&[3, 5, 8]);
/// Leaf 7 ECX: UMIP.
const FEATURES_7_ECX: u32 = bits(&[2]);
/// Leaf 7 EDX: ARCH_CAPABILITIES.
const FEATURES_7_EDX: u32 = bits(&[29]);
/// Leaf 0Dh.1 EAX: XSAVEOPT, XSAVEC, XGETBV with ECX=1.
const FEATURES_D_EAX: u32 = bits(&[0, 1, 2]);
/// Leaf 8000_0001h ECX: LAHF in 64-bit mode, PREFETCHW.
const FEATURES_EXT_ECX: u32 = bits(&[0, 8]);
/// Leaf 8000_0001h ECX of v3: LZCNT.
const FEATURES_EXT_ECX_V3: u32 = bits(&[5]);
/// Leaf 8000_0001h EDX: SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
const FEATURES_EXT_EDX: u32 = bits(&[SYSCALL_BIT, NX_BIT, 26, 27, 29]);
const SYSCALL_BIT: u32 = 11;
const NX_BIT: u32 = 20;
/// Leaf 1 bits that follow the CPU's state.
const MONITOR_BIT: u32 = 1 << 3;
const OSXSAVE_BIT: u32 = 1 << 27;
const APIC_BIT: u32 = 1 << 9;
const HTT_BIT: u32 = 1 << 28;

/// Leaves that depend on nothing: number and contents.
const FIXED: &[(u32, Leaf)] = &[
    // Leaf 2: "see leaf 4", 64-byte prefetch, data TLB of 64 entries, code TLB of 128.
    (0x02, leaf(0x00ff_f001, 0x0000_5bb0, 0, 0)),
    // Leaf 5: monitor lines of 64 bytes; MWAIT extensions, interrupts break it with IF clear.
    (0x05, leaf(64, 64, 0b11, 0)),
    // Leaf 6: the APIC timer always runs.
    (0x06, leaf(bits(&[2]), 0, 0, 0)),
    // Leaf 15h: TSC and crystal have the same rate, which is also the APIC timer's.
    (0x15, leaf(1, 1, TSC_HZ, 0)),
    // Leaf 16h: base, maximum and bus frequency in MHz.
    (0x16, leaf(1000, 1000, 100, 0)),
    (HYPERVISOR, leaf(HYPERVISOR, text(b"Chro"), text(b"novi"), text(b"sorX"))),
    (0x8000_0000, leaf(MAX_EXTENDED, 0, 0, 0)),
    // Leaf 8000_0006h: L2 of 1 MiB, 8 ways, lines of 64 bytes.
    (0x8000_0006, leaf(0, 0, 0x0400_6040, 0)),
    // Leaf 8000_0007h: invariant TSC.
    (0x8000_0007, leaf(0, 0, 0, bits(&[8]))),
    (0x8000_0008, leaf(crate::memory::paging::PHYS_BITS | LINEAR_BITS << 8, 0, 0, 0)),
];

/// A cache as leaf 4 describes it.
struct Cache {
    /// 1 data, 2 instructions, 3 both.
    kind: u32,
    level: u32,
    ways: u32,
    sets: u32,
    /// All vCPUs share it.
    shared: bool,
}

const CACHES: [Cache; 4] = [
    Cache { kind: 1, level: 1, ways: 8, sets: 64, shared: false },
    Cache { kind: 2, level: 1, ways: 8, sets: 64, shared: false },
    Cache { kind: 3, level: 2, ways: 8, sets: 2048, shared: false },
    Cache { kind: 3, level: 3, ways: 16, sets: 8192, shared: true },
];

/// 48 characters, as leaves 8000_0002h to 8000_0004h give them.
const fn brand(model: CpuModel) -> &'static [u8; 48] {
    match model {
        CpuModel::V2 => b"Chronovisor x86-64-v2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        CpuModel::V3 => b"Chronovisor x86-64-v3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    }
}

impl Vcpu {
    /// What CPUID gives for `number` in EAX and `sub` in ECX, but for the APIC bit of leaf 1,
    /// which only the board knows.
    pub fn cpuid(&self, number: u32, sub: u32) -> Leaf {
        let number = match number {
            0..=MAX_BASIC | HYPERVISOR..=0x4fff_ffff | 0x8000_0000..=MAX_EXTENDED => number,
            // Beyond the end Intel's processors give the highest basic leaf.
            _ => MAX_BASIC,
        };
        if let Some((_, leaf)) = FIXED.iter().find(|(n, _)| *n == number) {
            return *leaf;
        }
        match number {
            0x00 => leaf(self.max_basic(), text(b"Genu"), text(b"ntel"), text(b"ineI")),
            0x01 => self.features_1(),
            0x04 => self.cache(sub),
            0x07 if sub == 0 => self.features_7(),
            0x0b => self.topology(sub),
            0x0d => self.xsave_area(sub),
            0x8000_0001 => self.features_extended(),
            0x8000_0002..=0x8000_0004 => {
                let (words, _) = brand(self.model).as_chunks::<4>();
                let at = (number - 0x8000_0002) as usize * 4;
                leaf(text(&words[at]), text(&words[at + 1]), text(&words[at + 2]), text(&words[at + 3]))
            }
            _ => Leaf::default(),
        }
    }

    fn is_v3(&self) -> bool {
        self.model == CpuModel::V3
    }

    /// IA32_MISC_ENABLE can limit the leaves to 3, for systems older than the others.
    fn max_basic(&self) -> u32 {
        if self.msrs.misc_enable & msr::MISC_LIMIT_CPUID != 0 { 3 } else { MAX_BASIC }
    }

    /// The number of APIC ids that a package is wide, a power of two.
    fn id_width(&self) -> u32 {
        self.vcpus.next_power_of_two()
    }

    fn features_1(&self) -> Leaf {
        let mut ecx = FEATURES_1_ECX;
        if self.is_v3() {
            ecx |= FEATURES_1_ECX_V3;
        }
        if self.cr4 & cr::CR4_OSXSAVE != 0 {
            ecx |= OSXSAVE_BIT;
        }
        if self.msrs.misc_enable & msr::MISC_MONITOR == 0 {
            ecx &= !MONITOR_BIT;
        }
        let htt = if self.vcpus > 1 { HTT_BIT } else { 0 };
        let ebx = (self.apic_id & 0xff) << 24 | (self.id_width() & 0xff) << 16 | 8 << 8;
        leaf(SIGNATURE, ebx, ecx, FEATURES_1_EDX | htt)
    }

    fn features_7(&self) -> Leaf {
        let v3 = if self.is_v3() { FEATURES_7_EBX_V3 } else { 0 };
        leaf(0, FEATURES_7_EBX | v3, FEATURES_7_ECX, FEATURES_7_EDX)
    }

    fn features_extended(&self) -> Leaf {
        let v3 = if self.is_v3() { FEATURES_EXT_ECX_V3 } else { 0 };
        let mut edx = FEATURES_EXT_EDX;
        // SYSCALL shows itself only to 64-bit code.
        if !self.is_64bit() {
            edx &= !(1 << SYSCALL_BIT);
        }
        if self.msrs.misc_enable & msr::MISC_XD_DISABLE != 0 {
            edx &= !(1 << NX_BIT);
        }
        leaf(0, 0, FEATURES_EXT_ECX | v3, edx)
    }

    fn cache(&self, sub: u32) -> Leaf {
        let Some(cache) = CACHES.get(sub as usize) else { return Leaf::default() };
        let sharers = if cache.shared { self.id_width() } else { 1 };
        let eax = cache.kind | cache.level << 5 | 1 << 8 | (sharers - 1) << 14 | (self.id_width() - 1) << 26;
        leaf(eax, (cache.ways - 1) << 22 | 63, cache.sets - 1, 0)
    }

    /// Leaf 0Bh: one thread a core, all cores in one package.
    fn topology(&self, sub: u32) -> Leaf {
        let id = self.apic_id;
        match sub {
            0 => leaf(0, 1, 1 << 8, id),
            1 => leaf(self.id_width().trailing_zeros(), self.vcpus, 2 << 8 | 1, id),
            _ => leaf(0, 0, sub & 0xff, id),
        }
    }

    /// Leaf 0Dh: the components of the XSAVE area.
    fn xsave_area(&self, sub: u32) -> Leaf {
        let supported = self.model.xcr0_supported();
        match sub {
            0 => leaf(supported as u32, area_bytes(self.xcr0), area_bytes(supported), 0),
            1 => leaf(FEATURES_D_EAX, area_bytes(self.xcr0), 0, 0),
            2 if self.is_v3() => leaf(AVX_BYTES, AREA_BYTES, 0, 0),
            _ => Leaf::default(),
        }
    }
}

fn area_bytes(components: u64) -> u32 {
    if components & crate::model::XCR0_AVX != 0 { AREA_BYTES + AVX_BYTES } else { AREA_BYTES }
}

/// The code of CPUID.
pub(super) fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    (insn.code() == Code::Cpuid).then_some(cpuid)
}

fn cpuid(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let number = cpu.gpr[0] as u32;
    let mut leaf = cpu.cpuid(number, cpu.gpr[1] as u32);
    if number == 1 {
        let at = env.count_at(cpu, op);
        let base = env.bus.msr_read(msr::APIC_BASE, at).unwrap_or(0);
        if base & msr::APIC_BASE_ENABLE == 0 {
            leaf.edx &= !APIC_BIT;
        }
    }
    for (register, value) in [(0, leaf.eax), (3, leaf.ebx), (1, leaf.ecx), (2, leaf.edx)] {
        cpu.gpr[register] = u64::from(value);
    }
    Ok(Flow::Next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::CpuidFeature as F;

    fn text_of(words: &[u32]) -> String {
        words.iter().flat_map(|w| w.to_le_bytes()).map(char::from).collect()
    }

    #[test]
    fn names() {
        let cpu = Vcpu::new(CpuModel::V3, 0, 1);
        let zero = cpu.cpuid(0, 0);
        assert_eq!(text_of(&[zero.ebx, zero.edx, zero.ecx]), "GenuineIntel");
        let own = cpu.cpuid(0x4000_0000, 0);
        assert_eq!(text_of(&[own.ebx, own.ecx, own.edx]), "ChronovisorX");
        let part = cpu.cpuid(0x8000_0003, 0);
        assert_eq!(&text_of(&[part.eax, part.ebx])[..5], "64-v3");
    }

    #[test]
    fn tsc_rate_needs_no_calibration() {
        let leaf = Vcpu::new(CpuModel::V2, 0, 1).cpuid(0x15, 0);
        assert_eq!(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax), 1_000_000_000);
    }

    #[test]
    fn beyond_the_end_is_the_highest_basic_leaf() {
        let cpu = Vcpu::new(CpuModel::V2, 0, 1);
        assert_eq!(cpu.cpuid(0x17, 0), cpu.cpuid(0x16, 0));
        assert_eq!(cpu.cpuid(0x8000_0009, 0), cpu.cpuid(0x16, 0));
        assert_eq!(cpu.cpuid(0x14, 0), Leaf::default());
    }

    #[test]
    fn topology_of_three() {
        let cpu = Vcpu::new(CpuModel::V2, 2, 3);
        assert_eq!(cpu.cpuid(0x0b, 1), leaf(2, 3, 0x201, 2));
        assert_eq!(cpu.cpuid(1, 0).ebx, 0x0204_0800);
        assert_eq!(cpu.cpuid(4, 3).eax >> 14 & 0xfff, 3);
    }

    /// The decoder and CPUID must tell the same story.
    #[test]
    fn cpuid_bits_are_what_the_decoder_accepts() {
        for model in [CpuModel::V2, CpuModel::V3] {
            let cpu = Vcpu::new(model, 0, 1);
            let (one, seven, ext) = (cpu.cpuid(1, 0), cpu.cpuid(7, 0), cpu.cpuid(0x8000_0001, 0));
            let d = cpu.cpuid(0xd, 1);
            let pairs = [
                (one.ecx, 0, F::SSE3),
                (one.ecx, 1, F::PCLMULQDQ),
                (one.ecx, 3, F::MONITOR),
                (one.ecx, 9, F::SSSE3),
                (one.ecx, 12, F::FMA),
                (one.ecx, 13, F::CMPXCHG16B),
                (one.ecx, 19, F::SSE4_1),
                (one.ecx, 20, F::SSE4_2),
                (one.ecx, 22, F::MOVBE),
                (one.ecx, 23, F::POPCNT),
                (one.ecx, 25, F::AES),
                (one.ecx, 26, F::XSAVE),
                (one.ecx, 28, F::AVX),
                (one.ecx, 29, F::F16C),
                (one.ecx, 30, F::RDRAND),
                (one.edx, 11, F::SEP),
                (one.edx, 19, F::CLFSH),
                (seven.ebx, 0, F::FSGSBASE),
                (seven.ebx, 3, F::BMI1),
                (seven.ebx, 5, F::AVX2),
                (seven.ebx, 8, F::BMI2),
                (seven.ebx, 10, F::INVPCID),
                (seven.ebx, 18, F::RDSEED),
                (seven.ebx, 19, F::ADX),
                (seven.ebx, 20, F::SMAP),
                (seven.ebx, 23, F::CLFLUSHOPT),
                (seven.ebx, 24, F::CLWB),
                (seven.ecx, 22, F::RDPID),
                (ext.ecx, 5, F::LZCNT),
                (ext.ecx, 8, F::PREFETCHW),
                (ext.edx, 27, F::RDTSCP),
                (d.eax, 0, F::XSAVEOPT),
                (d.eax, 1, F::XSAVEC),
                (d.eax, 3, F::XSAVES),
            ];
            for (register, bit, feature) in pairs {
                assert_eq!(register >> bit & 1 != 0, model.offers(feature), "{model:?} {feature:?}");
            }
        }
    }
}
