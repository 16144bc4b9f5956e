//! Writing a table field by field, with the header and checksum that all of them have.

/// Identifies the maker in all tables.
pub(super) const OEM_ID: [u8; 6] = *b"CHRONO";
/// Identifies the board.
pub(super) const OEM_TABLE_ID: [u8; 8] = *b"VISORPC ";

const LENGTH_AT: usize = 4;
const CHECKSUM_AT: usize = 9;

/// A table being written; fields are little-endian.
pub(super) struct Table(Vec<u8>);

impl Table {
    /// A table with its header.
    pub fn new(signature: [u8; 4], revision: u8) -> Self {
        let table = Self(Vec::new()).bytes(&signature).u32(0).u8(revision).u8(0);
        table.bytes(&OEM_ID).bytes(&OEM_TABLE_ID).u32(1).bytes(b"CHRV").u32(1)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u8(self, field: u8) -> Self {
        self.bytes(&[field])
    }

    pub fn u16(self, field: u16) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    pub fn u32(self, field: u32) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    pub fn u64(self, field: u64) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    /// A register's address (Generic Address Structure, ACPI 6.5 section 5.2.3.2).
    pub fn register(self, register: Register) -> Self {
        let Register { space, width_bits, access, address } = register;
        self.u8(space).u8(width_bits).u8(0).u8(access).u64(address)
    }

    /// The finished table, with length and checksum.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = self.0;
        let len = bytes.len() as u32;
        bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&len.to_le_bytes());
        bytes[CHECKSUM_AT] = checksum(&bytes);
        bytes
    }
}

/// A register and how to reach it.
#[derive(Clone, Copy)]
pub(super) struct Register {
    space: u8,
    width_bits: u8,
    access: u8,
    address: u64,
}

impl Register {
    /// No such register.
    pub const NONE: Register = Register { space: 0, width_bits: 0, access: 0, address: 0 };

    /// `len_bytes` of registers behind I/O ports, accessed as their definition says.
    pub const fn ports(first: u16, len_bytes: u8) -> Self {
        Self { space: 1, width_bits: 8 * len_bytes, access: 0, address: first as u64 }
    }

    /// One byte behind an I/O port.
    pub const fn byte_port(port: u16) -> Self {
        Self { access: 1, ..Self::ports(port, 1) }
    }

    /// A 64-bit register in memory.
    pub const fn memory(address: u64) -> Self {
        Self { space: 0, width_bits: 64, access: 0, address }
    }
}

/// The byte that makes the sum of all bytes zero, its own place being zero so far.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte))
}
