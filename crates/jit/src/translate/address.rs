//! Addresses of memory operands: from what an instruction names to host registers.

use super::Untranslated;
use super::emitter::Emitter;
use super::scratch::SCRATCH;
use crate::asm::{Mem, R10, R11};
use crate::layout;

impl Emitter<'_> {
    /// The linear address of the memory operand, in a host register: R10, or the guest's own. Uses R11 and RCX.
    pub fn address(&mut self) -> Result<u8, Untranslated> {
        use x86::op::AddressMode::*;
        let op = self.item.op;
        let based = match op.amode {
            Flat64 => false,
            Based64 => true,
            Truncated64 if op.seg < x86::segment::seg::FS as u8 => false,
            _ => return Err(Untranslated),
        };
        let truncated = op.amode == Truncated64;
        let mut address = self.effective_address(R10, truncated)?;
        if SCRATCH.contains(&address) {
            self.asm.mov(R10, address);
            address = R10;
        }
        if based {
            self.asm.load(R11, layout::CPU);
            self.asm.load(R11, Mem::base(R11, layout::segment_base_offset(op.seg)));
            self.asm.lea(R10, Mem::sum(address, R11));
            address = R10;
        }
        Ok(address)
    }

    /// The effective address of the memory operand: in `to`, or where the guest's base register is. Uses R10
    /// and R11.
    pub fn effective_address(&mut self, to: u8, truncated: bool) -> Result<u8, Untranslated> {
        let mem = self.effective_operand()?;
        if let (Mem { base: Some(base), index: None, disp: 0, .. }, false) = (mem, truncated) {
            return Ok(base);
        }
        if truncated {
            self.asm.lea32(to, mem);
        } else {
            self.asm.lea(to, mem);
        }
        Ok(to)
    }

    /// The memory operand in terms of host registers, guest registers that lie in the frame in scratch
    /// registers; a linear address if segments begin at 0.
    pub fn effective_operand(&mut self) -> Result<Mem, Untranslated> {
        use x86::vcpu::{GPR_PAGE_RIP, GPR_ZERO};
        let op = self.item.op;
        let Ok(disp) = i32::try_from(op.disp) else { return Err(Untranslated) };
        let base = match usize::from(op.base) {
            GPR_ZERO => None,
            GPR_PAGE_RIP => {
                self.asm.load(R10, layout::PAGE_RIP);
                Some(R10)
            }
            _ => Some(self.gpr_read(op.base, R10)),
        };
        let index = match usize::from(op.index) {
            GPR_ZERO => None,
            _ => {
                let scratch = if base == Some(R11) { R10 } else { R11 };
                Some((self.gpr_read(op.index, scratch), op.scale))
            }
        };
        Ok(Mem { base, index, disp, gs: false })
    }
}
