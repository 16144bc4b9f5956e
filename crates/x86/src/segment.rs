//! Segment registers with their hidden parts, and the descriptor-table registers.

/// Index of a segment register in `Vcpu::seg`, in the order of instruction encodings.
pub mod seg {
    /// ES.
    pub const ES: usize = 0;
    /// CS.
    pub const CS: usize = 1;
    /// SS.
    pub const SS: usize = 2;
    /// DS.
    pub const DS: usize = 3;
    /// FS.
    pub const FS: usize = 4;
    /// GS.
    pub const GS: usize = 5;
    /// LDTR.
    pub const LDTR: usize = 6;
    /// TR.
    pub const TR: usize = 7;
}

/// A segment register: selector and descriptor cache.
///
/// `attr` has the layout of bits 40 to 55 of a descriptor, shifted down (the same as VMX's
/// access rights): type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15; bit 16 set
/// means unusable (loaded with a null selector). `limit` is in bytes, granularity applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Base address in bytes.
    pub base: u64,
    /// Highest valid offset (lowest invalid one below for expand-down segments).
    pub limit: u32,
    /// Access rights as described above.
    pub attr: u32,
}

/// Bit of [`Segment::attr`]: the segment has been accessed (code and data segments).
pub const ATTR_ACCESSED: u32 = 1;
/// Writable data, or readable code.
pub const ATTR_RW: u32 = 1 << 1;
/// Expand-down data, or conforming code.
pub const ATTR_DC: u32 = 1 << 2;
/// Code.
pub const ATTR_CODE: u32 = 1 << 3;
/// Code or data, not system.
pub const ATTR_S: u32 = 1 << 4;
/// Present.
pub const ATTR_P: u32 = 1 << 7;
/// 64-bit code.
pub const ATTR_L: u32 = 1 << 13;
/// 32-bit default size, big stack.
pub const ATTR_DB: u32 = 1 << 14;
/// Granularity.
pub const ATTR_G: u32 = 1 << 15;
/// Unusable: null selector.
pub const ATTR_UNUSABLE: u32 = 1 << 16;

impl Segment {
    /// A real-mode or virtual-8086 segment: base is selector times 16, limit 64 KiB.
    pub const fn real(selector: u16) -> Self {
        Segment {
            selector,
            base: (selector as u64) << 4,
            limit: 0xffff,
            attr: ATTR_P | ATTR_S | ATTR_RW | ATTR_ACCESSED,
        }
    }

    /// Descriptor privilege level.
    #[inline(always)]
    pub const fn dpl(&self) -> u8 {
        (self.attr >> 5 & 3) as u8
    }
    /// Type field, four bits.
    pub const fn kind(&self) -> u8 {
        (self.attr & 15) as u8
    }
    /// True if any of the given attribute bits is set.
    #[inline(always)]
    pub const fn has(&self, attr: u32) -> bool {
        self.attr & attr != 0
    }
    /// True if the register holds a usable descriptor.
    #[inline(always)]
    pub const fn usable(&self) -> bool {
        self.attr & ATTR_UNUSABLE == 0
    }

    /// Builds the hidden part from the eight bytes of a descriptor (SDM Vol. 3A, 3.4.5).
    pub const fn from_descriptor(selector: u16, descriptor: u64) -> Self {
        let base = (descriptor >> 16 & 0xff_ffff) | (descriptor >> 32 & 0xff00_0000);
        let raw_limit = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
        let attr = (descriptor >> 40 & 0xf0ff) as u32;
        let limit = if attr & ATTR_G != 0 { raw_limit << 12 | 0xfff } else { raw_limit };
        Segment { selector, base, limit, attr }
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear base address.
    pub base: u64,
    /// Highest valid byte offset.
    pub limit: u16,
}
