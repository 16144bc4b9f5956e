//! Looking at a machine from outside, for people: nothing here changes anything.

use x86::segment::seg;
use x86::vcpu::CodeSize;

use crate::machine::Machine;
use crate::memory_map::PAGE_BYTES;

/// The bytes at which a vCPU stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// CS.
    pub cs: u16,
    /// RIP.
    pub rip: u64,
    /// 16, 32 or 64.
    pub bits: u32,
    /// What lies there, up to the length of the longest instruction; less if it leads out of RAM.
    pub bytes: Vec<u8>,
}

impl Machine {
    /// The code that vCPU number `vcpu` executes next, by its page tables as they are.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn code_at(&self, vcpu: usize) -> Code {
        let cpu = &self.vcpus[vcpu];
        let cs = &cpu.seg[seg::CS];
        let (bits, base, mask) = match cpu.mode.code {
            CodeSize::B16 => (16, cs.base, 0xffff_ffff),
            CodeSize::B32 => (32, cs.base, 0xffff_ffff),
            CodeSize::B64 => (64, 0, u64::MAX),
        };
        let byte = |offset: u64| {
            let linear = base.wrapping_add(cpu.rip).wrapping_add(offset) & mask;
            let offset = self.memory.layout().offset_of(cpu.look_up(&self.memory, linear)?)?;
            Some(self.ram_page(offset / PAGE_BYTES)?[(offset % PAGE_BYTES) as usize])
        };
        let bytes = (0..x86::decode::MAX_LEN as u64).map_while(byte).collect();
        Code { cs: cs.selector, rip: cpu.rip, bits, bytes }
    }
}
