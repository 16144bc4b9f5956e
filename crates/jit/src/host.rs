//! What the host's CPU can do, and what it does where the architecture leaves flags open.
#![allow(unsafe_code)]

use crate::HostError;
use std::arch::asm;

/// Facts about the host that translations depend on.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// MOVBE is there.
    pub movbe: bool,
    /// POPCNT is there.
    pub popcnt: bool,
    /// LZCNT and TZCNT are there.
    pub counts: bool,
    /// AND, OR, XOR and TEST clear AF, as this machine does.
    pub logic_clears_af: bool,
    /// SHL, SHR and SAR clear AF, as this machine does.
    pub shifts_clear_af: bool,
    /// Programs may set the GS base by WRGSBASE.
    pub fsgsbase: bool,
    /// BT, BTS, BTR and BTC leave OF, SF, ZF, AF and PF alone, as this machine does.
    pub bit_tests_keep_flags: bool,
}

impl Host {
    /// Looks at this host.
    ///
    /// # Errors
    /// If it lacks what every translation needs.
    pub fn detect() -> Result<Host, HostError> {
        if !is_x86_feature_detected!("bmi2") {
            return Err(HostError::Lacks("BMI2"));
        }
        Ok(Host {
            movbe: is_x86_feature_detected!("movbe"),
            popcnt: is_x86_feature_detected!("popcnt"),
            fsgsbase: rustix::param::linux_hwcap().1 & HWCAP2_FSGSBASE != 0,
            counts: is_x86_feature_detected!("lzcnt") && is_x86_feature_detected!("bmi1"),
            logic_clears_af: samples().all(|(a, b, flags)| logic(a, b, flags).iter().all(|f| f & AF == 0)),
            shifts_clear_af: samples().all(|(a, b, flags)| shifts(a, b as u8, flags).iter().all(|f| f & AF == 0)),
            bit_tests_keep_flags: samples()
                .all(|(a, b, flags)| bit_tests(a, b, flags).iter().all(|f| (f ^ flags) & (ARITHMETIC & !CF) == 0)),
        })
    }
}

impl Host {
    /// Sets the GS base of the thread that calls.
    pub fn set_gs_base(&self, base: *const u8) {
        if self.fsgsbase {
            // SAFETY: the kernel allows it; nothing in a Rust program for Linux uses GS.
            unsafe { asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags)) };
            return;
        }
        const ARCH_SET_GS: u64 = 0x1001;
        const SYS_ARCH_PRCTL: u64 = 158;
        let result: i64;
        // SAFETY: the system call changes the GS base alone, which nothing in a Rust program for Linux uses.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") SYS_ARCH_PRCTL => result,
                in("rdi") ARCH_SET_GS,
                in("rsi") base,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        assert_eq!(result, 0, "the GS base can be set to any address of this process");
    }
}

/// In AT_HWCAP2: the kernel lets programs use RDFSBASE, WRFSBASE, RDGSBASE and WRGSBASE (Linux,
/// Documentation/arch/x86/x86_64/fsgs.rst).
const HWCAP2_FSGSBASE: usize = 1 << 1;

const CF: u64 = x86::flags::CF;
const AF: u64 = x86::flags::AF;
const ARITHMETIC: u64 = x86::flags::ARITHMETIC;

/// Operands and flags to try: a fixed sequence, and each with all flags clear and set.
fn samples() -> impl Iterator<Item = (u64, u64, u64)> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    let pairs: Vec<(u64, u64)> = (0..64).map(|_| (next(), next())).collect();
    pairs.into_iter().flat_map(|(a, b)| [(a, b, 0), (a, b, ARITHMETIC), (a >> (b & 63), b, ARITHMETIC)])
}

/// Runs an instruction on RAX, RDX and CL with the given flags set before, and gives the flags behind it.
macro_rules! flags_of {
    ($insn:literal, $a:expr, $b:expr, $count:expr, $flags:expr) => {{
        let flags: u64;
        // SAFETY: the instruction touches the named registers and the flags only; the stack is put back.
        unsafe {
            asm!(
                "push {f}", "popfq", $insn, "pushfq", "pop {f}",
                f = inout(reg) $flags | 0x202 => flags,
                inout("rax") $a => _,
                in("rdx") $b,
                in("cl") $count,
            );
        }
        flags & ARITHMETIC
    }};
}

fn logic(a: u64, b: u64, flags: u64) -> [u64; 6] {
    [
        flags_of!("and rax, rdx", a, b, 0u8, flags),
        flags_of!("or eax, edx", a, b, 0u8, flags),
        flags_of!("xor rax, rdx", a, b, 0u8, flags),
        flags_of!("test eax, edx", a, b, 0u8, flags),
        flags_of!("xor eax, eax", a, b, 0u8, flags),
        flags_of!("and al, dl", a, b, 0u8, flags),
    ]
}

fn shifts(a: u64, count: u8, flags: u64) -> [u64; 9] {
    // A count of zero leaves all flags alone.
    let count = count & 31 | 1;
    [
        flags_of!("shl rax, cl", a, 0u64, count, flags),
        flags_of!("shr rax, cl", a, 0u64, count, flags),
        flags_of!("sar rax, cl", a, 0u64, count, flags),
        flags_of!("shl eax, cl", a, 0u64, count, flags),
        flags_of!("shr eax, 1", a, 0u64, count, flags),
        flags_of!("sar al, cl", a, 0u64, count, flags),
        flags_of!("shl eax, 1", a, 0u64, count, flags),
        flags_of!("shl rax, 5", a, 0u64, count, flags),
        flags_of!("shr rax, 12", a, 0u64, count, flags),
    ]
}

fn bit_tests(a: u64, b: u64, flags: u64) -> [u64; 5] {
    [
        flags_of!("bt rax, rdx", a, b, 0u8, flags),
        flags_of!("bt eax, 7", a, b, 0u8, flags),
        flags_of!("bts rax, rdx", a, b, 0u8, flags),
        flags_of!("btr eax, edx", a, b, 0u8, flags),
        flags_of!("btc rax, 40", a, b, 0u8, flags),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_asked_for_arrive() {
        for flags in [0, ARITHMETIC, CF, AF] {
            assert_eq!(flags_of!("nop", 0u64, 0u64, 0u8, flags), flags);
        }
        assert_eq!(flags_of!("cmp rax, rdx", 5u64, 5u64, 0u8, ARITHMETIC), x86::flags::ZF | x86::flags::PF);
    }
}
