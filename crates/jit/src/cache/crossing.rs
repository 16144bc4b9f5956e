//! Instructions that cross into a second page, as they lie there.

use x86::decode::MAX_LEN;
use x86::op::Env;
use x86::{GuestPhysAddr, Vcpu};

/// An instruction that crosses into a second page.
pub struct Crossing {
    /// Its own bytes, and what follows.
    pub bytes: [u8; MAX_LEN],
    /// The second page, if the model of the TLB holds it.
    pub second: Option<GuestPhysAddr>,
}

impl Crossing {
    /// What lies at RIP, which is at physical `at`, if it can be one.
    pub fn at(cpu: &Vcpu, env: &Env<'_>, at: GuestPhysAddr) -> Option<Crossing> {
        let offset = (at.0 & 0xfff) as usize;
        let head = 4096 - offset;
        if head >= MAX_LEN {
            return None;
        }
        let mut bytes = [0; MAX_LEN];
        bytes[..head].copy_from_slice(&env.mem.page(at)?[offset..]);
        let next = (cpu.rip & !0xfff).wrapping_add(4096);
        let second = cpu.tlb.fetches_from(cpu.mode.cpl == 3, next);
        if let Some(second) = second {
            bytes[head..].copy_from_slice(&env.mem.page(second)?[..MAX_LEN - head]);
        }
        Some(Crossing { bytes, second })
    }
}
