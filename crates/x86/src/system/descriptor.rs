//! Descriptor tables: finding a descriptor, reading it, marking it (SDM Vol. 3A, 3.4 and 3.5).

use crate::fault::{Trap, vector};
use crate::op::Env;
use crate::segment::{ATTR_ACCESSED, ATTR_CODE, ATTR_DB, ATTR_DC, ATTR_L, ATTR_P, ATTR_RW, ATTR_S, Segment, seg};
use crate::vcpu::Vcpu;

/// Types of system descriptors (SDM Vol. 3A, table 3-2).
pub(crate) mod kind {
    #![allow(missing_docs)]
    pub const TSS16: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL_GATE16: u8 = 4;
    pub const TASK_GATE: u8 = 5;
    pub const INTERRUPT_GATE16: u8 = 6;
    pub const TRAP_GATE16: u8 = 7;
    pub const TSS: u8 = 9;
    pub const TSS_BUSY: u8 = 11;
    /// 32-bit call gate; 64-bit in IA-32e mode.
    pub const CALL_GATE: u8 = 12;
    pub const INTERRUPT_GATE: u8 = 14;
    pub const TRAP_GATE: u8 = 15;
}

/// A descriptor as it stands in memory, decoded as a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    /// The hidden part it would give, with the selector.
    pub segment: Segment,
    /// The eight bytes.
    pub raw: u64,
    /// Their linear address.
    pub linear: u64,
}

impl Descriptor {
    pub fn is_code(&self) -> bool {
        self.segment.attr & (ATTR_S | ATTR_CODE) == ATTR_S | ATTR_CODE
    }
    pub fn is_system(&self) -> bool {
        !self.segment.has(ATTR_S)
    }
    pub fn is_conforming_code(&self) -> bool {
        self.is_code() && self.segment.has(ATTR_DC)
    }
    pub fn is_readable(&self) -> bool {
        self.segment.has(ATTR_S) && (!self.segment.has(ATTR_CODE) || self.segment.has(ATTR_RW))
    }
    pub fn is_writable_data(&self) -> bool {
        self.segment.attr & (ATTR_S | ATTR_CODE | ATTR_RW) == ATTR_S | ATTR_RW
    }
    pub fn present(&self) -> bool {
        self.segment.has(ATTR_P)
    }
    pub fn dpl(&self) -> u8 {
        self.segment.dpl()
    }
}

/// A call, interrupt, trap or task gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub selector: u16,
    pub offset: u64,
    pub kind: u8,
    /// Parameters to copy (call gates), or the number of the interrupt stack (64-bit gates).
    pub count: u8,
}

impl Gate {
    /// From the eight bytes of a gate; of a 64-bit gate, with the upper eight too.
    pub fn from_raw(raw: u64, upper: u64) -> Self {
        let kind = (raw >> 40 & 15) as u8;
        let low = raw & 0xffff;
        let offset = match kind {
            kind::CALL_GATE16 | kind::INTERRUPT_GATE16 | kind::TRAP_GATE16 | kind::TASK_GATE => low,
            _ => low | raw >> 32 & 0xffff_0000 | upper << 32,
        };
        Gate { selector: (raw >> 16) as u16, offset, kind, count: (raw >> 32 & 31) as u8 }
    }
}

/// True for selectors that name no descriptor.
pub(crate) const fn is_null(selector: u16) -> bool {
    selector & 0xfffc == 0
}

/// Requested privilege level of a selector.
pub(crate) const fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

impl Vcpu {
    /// Raises an exception whose error code names a selector.
    #[cold]
    pub(crate) fn selector_fault(&mut self, vector: u8, selector: u16) -> Trap {
        self.raise_with(vector, u32::from(selector & 0xfffc))
    }

    /// #GP whose error code names a selector.
    #[cold]
    pub(crate) fn gp_selector(&mut self, selector: u16) -> Trap {
        self.selector_fault(vector::GP, selector)
    }

    /// The linear address `offset` bytes into a system structure.
    pub(crate) fn system_linear(&self, base: u64, offset: u64) -> u64 {
        let linear = base.wrapping_add(offset);
        if self.long_mode() { linear } else { linear & 0xffff_ffff }
    }

    /// Where the descriptor of a selector lies, if `bytes` bytes of it are within the limit.
    fn descriptor_linear(&self, selector: u16, bytes: u64) -> Option<u64> {
        let (base, limit) = if selector & 4 != 0 {
            let ldt = &self.seg[seg::LDTR];
            if !ldt.usable() {
                return None;
            }
            (ldt.base, u64::from(ldt.limit))
        } else {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        };
        let offset = u64::from(selector & !7);
        (offset + bytes - 1 <= limit).then(|| self.system_linear(base, offset))
    }

    /// Reads the descriptor of a selector; `None` if it is outside its table. Null selectors
    /// are the caller's to exclude.
    ///
    /// # Errors
    /// #PF, or #GP(0) for a table at a non-canonical address.
    pub(crate) fn find_descriptor(&mut self, env: &mut Env<'_>, selector: u16) -> Result<Option<Descriptor>, Trap> {
        let Some(linear) = self.descriptor_linear(selector, 8) else { return Ok(None) };
        let raw = self.load_system::<u64>(env, linear)?;
        Ok(Some(Descriptor { segment: Segment::from_descriptor(selector, raw), raw, linear }))
    }

    /// Reads the descriptor of a selector; outside its table, raises `vector` naming the selector.
    ///
    /// # Errors
    /// That, or as [`Self::find_descriptor`].
    pub(crate) fn read_descriptor(&mut self, env: &mut Env<'_>, selector: u16, vector: u8) -> Result<Descriptor, Trap> {
        match self.find_descriptor(env, selector)? {
            Some(descriptor) => Ok(descriptor),
            None => Err(self.selector_fault(vector, selector)),
        }
    }

    /// Reads the upper half of a 16-byte system descriptor or gate of IA-32e mode.
    ///
    /// # Errors
    /// `vector` naming the selector, if the half is outside the table or its type field is
    /// not zero; or #PF.
    pub(crate) fn read_upper_half(
        &mut self,
        env: &mut Env<'_>,
        descriptor: &Descriptor,
        vector: u8,
    ) -> Result<u64, Trap> {
        let selector = descriptor.segment.selector;
        if self.descriptor_linear(selector, 16).is_none() {
            return Err(self.selector_fault(vector, selector));
        }
        let upper = self.load_system::<u64>(env, descriptor.linear.wrapping_add(8))?;
        if upper >> 40 & 0x1f != 0 {
            return Err(self.selector_fault(vector, selector));
        }
        Ok(upper)
    }

    /// Sets the accessed bit of a code or data descriptor, in memory and in the copy.
    ///
    /// # Errors
    /// #PF.
    pub(crate) fn mark_accessed(&mut self, env: &mut Env<'_>, descriptor: &mut Descriptor) -> Result<(), Trap> {
        if !descriptor.segment.has(ATTR_ACCESSED) {
            descriptor.segment.attr |= ATTR_ACCESSED;
            self.set_type(env, descriptor, descriptor.segment.attr as u8)?;
        }
        Ok(())
    }

    /// Sets or clears the busy bit of a TSS descriptor in memory.
    ///
    /// # Errors
    /// #PF.
    pub(crate) fn set_busy(&mut self, env: &mut Env<'_>, descriptor: &Descriptor, busy: bool) -> Result<(), Trap> {
        let access = (descriptor.raw >> 40) as u8 & !2;
        self.set_type(env, descriptor, access | u8::from(busy) << 1)
    }

    fn set_type(&mut self, env: &mut Env<'_>, descriptor: &Descriptor, access: u8) -> Result<(), Trap> {
        let linear = self.system_linear(descriptor.linear, 5);
        self.store_system::<u8>(env, linear, access)
    }

    /// True for code descriptors that IA-32e mode does not know: both L and D set.
    pub(crate) fn is_bad_long_code(&self, descriptor: &Descriptor) -> bool {
        self.long_mode() && descriptor.segment.attr & (ATTR_L | ATTR_DB) == ATTR_L | ATTR_DB
    }
}
