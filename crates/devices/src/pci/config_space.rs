//! The configuration registers of one function: bytes, and which bits of them can be written
//! (PCI Local Bus Specification 3.0, section 6.1).

use crate::bus::Width;
use crate::state::RestoreError;

/// Bytes of conventional configuration space.
pub const CONFIG_LEN: usize = 256;

/// The 256 bytes of a function without extended configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: [u8; CONFIG_LEN],
    writable: [u8; CONFIG_LEN],
}

impl ConfigSpace {
    /// A header of type 0 for a function that is always on: `class` holds class, subclass and
    /// programming interface.
    pub fn new(vendor: u16, device: u16, class: u32, revision: u8) -> Self {
        let mut space = ConfigSpace { bytes: [0; CONFIG_LEN], writable: [0; CONFIG_LEN] };
        space.set(0x00, Width::Word, u32::from(vendor));
        space.set(0x02, Width::Word, u32::from(device));
        space.set(0x08, Width::Dword, class << 8 | u32::from(revision));
        space
    }

    /// Sets a register to a value that the guest finds there.
    pub fn set(&mut self, offset: usize, width: Width, value: u32) {
        let len = width.bytes() as usize;
        self.bytes[offset..offset + len].copy_from_slice(&u64::from(value).to_le_bytes()[..len]);
    }

    /// Lets the guest write the bits of `mask`.
    pub fn set_writable(&mut self, offset: usize, width: Width, mask: u32) {
        let len = width.bytes() as usize;
        self.writable[offset..offset + len].copy_from_slice(&u64::from(mask).to_le_bytes()[..len]);
    }

    /// Reads; beyond conventional space all ones, which says that there is no extended space.
    pub fn read(&self, offset: u16, width: Width) -> u32 {
        let at = usize::from(offset);
        let Some(bytes) = self.bytes.get(at..at + width.bytes() as usize) else {
            return width.mask() as u32;
        };
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    /// Writes the bits that can be written.
    pub fn write(&mut self, offset: u16, width: Width, value: u32) {
        let at = usize::from(offset);
        let range = at..at + width.bytes() as usize;
        let (Some(bytes), Some(writable)) = (self.bytes.get_mut(range.clone()), self.writable.get(range)) else {
            return;
        };
        for ((byte, mask), new) in bytes.iter_mut().zip(writable).zip(value.to_le_bytes()) {
            *byte = *byte & !mask | new & mask;
        }
    }

    /// The bytes, to be saved.
    pub fn save(&self) -> Vec<u8> {
        let Self { bytes, writable: _ } = self;
        bytes.to_vec()
    }

    /// Takes saved bytes, which may differ from these only where the guest can write.
    ///
    /// # Errors
    /// If they are not 256, or differ elsewhere: the value is the offset.
    pub fn restored(&self, saved: &[u8], device: &'static str) -> Result<Self, RestoreError> {
        let invalid = |value| RestoreError::Invalid { device, field: "config", value };
        let bytes: [u8; CONFIG_LEN] = saved.try_into().map_err(|_| invalid(saved.len() as u64))?;
        let differs = |i: &usize| (bytes[*i] ^ self.bytes[*i]) & !self.writable[*i] != 0;
        if let Some(i) = (0..CONFIG_LEN).find(differs) {
            return Err(invalid(i as u64));
        }
        Ok(ConfigSpace { bytes, writable: self.writable })
    }
}
