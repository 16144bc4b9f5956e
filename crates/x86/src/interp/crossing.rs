//! Instructions that no block holds: they cross a page, or do not lie in RAM.
//!
//! Their bytes are read each time, since the second page can change without notice; the decoded
//! form is kept and used again while the bytes are the same.

use crate::decode::{Decoded, MAX_LEN, decode};
use crate::fault::Trap;
use crate::memory::access::{is_canonical, read_physical};
use crate::op::{Env, Op};
use crate::segment::seg;
use crate::units::GuestPhysAddr;
use crate::vcpu::{CodeSize, Vcpu};

const ENTRIES: usize = 256;

#[derive(Clone, Copy)]
struct Entry {
    bytes: [u8; MAX_LEN],
    code: CodeSize,
    op: Op,
}

/// The instructions seen last, by address.
pub struct CrossingCache {
    entries: Vec<Option<Entry>>,
}

impl CrossingCache {
    /// Empty.
    pub fn new() -> Self {
        CrossingCache { entries: vec![None; ENTRIES] }
    }

    /// Reads and decodes the instruction at `linear`, whose first byte is at physical `at`; `crosses` if it is
    /// known to go on in the next page.
    ///
    /// # Errors
    /// #PF if a second page is needed and cannot be fetched from; #GP(0) if it lies beyond the code
    /// segment's limit or is not canonical.
    pub fn fetch(
        &mut self,
        cpu: &mut Vcpu,
        env: &mut Env<'_>,
        linear: u64,
        at: GuestPhysAddr,
        crosses: bool,
    ) -> Result<Op, Trap> {
        let off = (linear & 0xfff) as u16;
        let mut bytes = [0; MAX_LEN];
        let head = (4096 - usize::from(off)).min(MAX_LEN);
        read_code(cpu, env, at, &mut bytes[..head]);
        if !crosses && let Decoded::Op { op, .. } = decode(&bytes[..head], off, cpu.mode.code, cpu.model) {
            return Ok(op);
        }
        let next_page = linear.wrapping_add(head as u64) & if cpu.is_64bit() { u64::MAX } else { 0xffff_ffff };
        let reachable = if cpu.is_64bit() {
            is_canonical(next_page)
        } else {
            cpu.rip + head as u64 <= u64::from(cpu.seg[seg::CS].limit)
        };
        if !reachable {
            return Err(cpu.gp0());
        }
        let second = cpu.fetch_translate(env, next_page)?;
        read_code(cpu, env, second, &mut bytes[head..]);
        Ok(self.decoded(cpu, linear, off, &bytes))
    }

    fn decoded(&mut self, cpu: &Vcpu, linear: u64, off: u16, bytes: &[u8; MAX_LEN]) -> Op {
        let entry = &mut self.entries[(linear >> 12) as usize % ENTRIES];
        if let Some(entry) = entry
            && entry.bytes == *bytes
            && entry.code == cpu.mode.code
            && entry.op.off == off
        {
            return entry.op;
        }
        let Decoded::Op { op, .. } = decode(bytes, off, cpu.mode.code, cpu.model) else {
            unreachable!("fifteen bytes always decode to something")
        };
        *entry = Some(Entry { bytes: *bytes, code: cpu.mode.code, op });
        op
    }
}

/// Reads instruction bytes within one page, from RAM or a device.
fn read_code(cpu: &Vcpu, env: &mut Env<'_>, at: GuestPhysAddr, out: &mut [u8]) {
    if !env.mem.read_in_page(at, out) {
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = read_physical(env, GuestPhysAddr(at.0 + i as u64), 1, cpu.count) as u8;
        }
    }
}
