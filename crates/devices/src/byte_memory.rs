//! Memory that is reached as device registers are: a byte array behind MMIO.

use x86::VirtualTime;

use crate::bus::{MmioDevice, Width, Wires};
use crate::state::RestoreError;

/// A fixed number of bytes, zero at power-on. Beyond the end reads see all ones and writes are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteMemory {
    bytes: Vec<u8>,
}

impl ByteMemory {
    /// `len_bytes` zeros.
    pub fn new(len_bytes: u64) -> Self {
        ByteMemory { bytes: vec![0; len_bytes as usize] }
    }

    /// The content without the zeros at its end.
    pub fn save(&self) -> Vec<u8> {
        let Self { bytes } = self;
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes[..used].to_vec()
    }

    /// Memory of `len_bytes` with saved content.
    ///
    /// # Errors
    /// If the content is longer than the memory.
    pub fn restored(device: &'static str, len_bytes: u64, mut saved: Vec<u8>) -> Result<Self, RestoreError> {
        if saved.len() as u64 > len_bytes {
            return Err(RestoreError::Invalid { device, field: "memory (length)", value: saved.len() as u64 });
        }
        saved.resize(len_bytes as usize, 0);
        Ok(ByteMemory { bytes: saved })
    }
}

impl MmioDevice for ByteMemory {
    fn mmio_read(&mut self, offset: u64, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u64 {
        let byte = |i: u64| self.bytes.get((offset + i) as usize).copied().unwrap_or(0xff);
        (0..width.bytes()).fold(0, |value, i| value | u64::from(byte(i)) << (8 * i))
    }

    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, _now: VirtualTime, _wires: &mut dyn Wires) {
        for i in 0..width.bytes() {
            if let Some(byte) = self.bytes.get_mut((offset + i) as usize) {
                *byte = (value >> (8 * i)) as u8;
            }
        }
    }
}
