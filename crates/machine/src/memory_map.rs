//! Where everything lies in guest-physical memory: the fixed addresses of the board, and how
//! a given amount of RAM is laid out around them.

use x86::{GuestPhysAddr, RamLayout};

/// End of the RAM below 4 GiB (exclusive) in a machine that has more; the rest starts at [`HIGH_RAM_START`].
pub const LOW_RAM_END: u64 = 0xb000_0000;
/// Start of the RAM above 4 GiB.
pub const HIGH_RAM_START: u64 = 0x1_0000_0000;
/// End of conventional memory as reported (exclusive); the last KiB before A0000h is the EBDA.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// Start of the hole for video memory, in which no RAM answers.
pub const VIDEO_HOLE_START: u64 = 0xa_0000;
/// End of the video hole (exclusive).
pub const VIDEO_HOLE_END: u64 = 0xc_0000;
/// Start of the firmware area, which holds the ACPI and MP tables (RAM, reported as reserved).
pub const FIRMWARE_START: u64 = 0xe_0000;
/// Start of extended memory, end of the firmware area.
pub const EXTENDED_START: u64 = 0x10_0000;
/// PCI Express memory-mapped configuration space: 256 buses of segment 0.
pub const ECAM_BASE: u64 = 0xb000_0000;
/// Bytes of ECAM: 256 buses of 1 MiB.
pub const ECAM_SIZE: u64 = 0x1000_0000;
/// First address of the window for PCI memory BARs.
pub const PCI_MMIO_BASE: u64 = 0xc000_0000;
/// End of the window for PCI memory BARs (exclusive).
pub const PCI_MMIO_END: u64 = 0xfec0_0000;
/// I/O APIC registers.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// HPET registers (1 KiB).
pub const HPET_BASE: u64 = 0xfed0_0000;
/// Local APIC registers of each vCPU, at their reset address (4 KiB).
pub const LAPIC_BASE: u64 = 0xfee0_0000;

/// Least RAM of a machine, in bytes.
pub const MIN_RAM_BYTES: u64 = 1 << 20;
/// Most RAM of a machine, in bytes.
pub const MAX_RAM_BYTES: u64 = 64 << 30;
/// RAM comes in pages of this many bytes.
pub const PAGE_BYTES: u64 = 4096;

/// What the memory map handed to the guest says of a range (values of ACPI 6.5, table 15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// RAM that the guest may use.
    Usable = 1,
    /// Not to be used: firmware tables and device registers.
    Reserved = 2,
}

/// One range of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First byte.
    pub start: GuestPhysAddr,
    /// Length in bytes, not zero.
    pub len_bytes: u64,
    /// What lies there.
    pub kind: RangeKind,
}

/// Why a machine cannot have this much RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RamSizeError {
    /// Not a whole number of pages.
    #[error("a machine cannot have {0} bytes of RAM: the size must be a multiple of 4096; choose one such as 512 MiB")]
    NotPages(u64),
    /// Outside of what a machine can have.
    #[error("a machine cannot have {0} bytes of RAM: choose a size from 1 MiB to 64 GiB")]
    OutOfRange(u64),
}

/// How `len_bytes` of RAM are laid out in guest-physical memory and in the host's one mapping.
///
/// RAM below [`LOW_RAM_END`] has the same offset in the mapping as its address; what does not fit there
/// continues at [`HIGH_RAM_START`], and follows without a gap in the mapping. The bytes of the mapping
/// behind the video hole (A0000h to BFFFFh) are never reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLayout {
    len_bytes: u64,
}

impl MemoryLayout {
    /// The layout of `len_bytes` of RAM.
    pub const fn new(len_bytes: u64) -> Result<Self, RamSizeError> {
        if len_bytes < MIN_RAM_BYTES || len_bytes > MAX_RAM_BYTES {
            return Err(RamSizeError::OutOfRange(len_bytes));
        }
        if !len_bytes.is_multiple_of(PAGE_BYTES) {
            return Err(RamSizeError::NotPages(len_bytes));
        }
        Ok(Self { len_bytes })
    }

    /// Bytes of RAM, the unreachable ones behind the video hole included.
    pub const fn len_bytes(self) -> u64 {
        self.len_bytes
    }

    /// End of the RAM below 4 GiB (exclusive).
    pub const fn low_end(self) -> u64 {
        if self.len_bytes < LOW_RAM_END { self.len_bytes } else { LOW_RAM_END }
    }

    /// End of the RAM above 4 GiB (exclusive); [`HIGH_RAM_START`] if there is none.
    pub const fn high_end(self) -> u64 {
        HIGH_RAM_START + (self.len_bytes - self.low_end())
    }

    /// The same layout as the CPU's view of memory takes it.
    pub const fn cpu_layout(self) -> RamLayout {
        RamLayout { len_bytes: self.len_bytes, low_limit: LOW_RAM_END }
    }

    /// The offset in the mapping of the RAM at `addr` .. `addr + len_bytes`, if all of it is RAM and
    /// contiguous in the mapping.
    pub const fn offset_of(self, addr: GuestPhysAddr, len_bytes: u64) -> Option<u64> {
        let start = addr.0;
        let Some(end) = start.checked_add(len_bytes) else { return None };
        if end <= VIDEO_HOLE_START || (start >= VIDEO_HOLE_END && end <= self.low_end()) {
            Some(start)
        } else if start >= HIGH_RAM_START && end <= self.high_end() {
            Some(start - HIGH_RAM_START + self.low_end())
        } else {
            None
        }
    }

    /// The memory map for the guest, in rising order, without overlaps.
    ///
    /// The interrupt controllers' and timers' registers are not in it, as on a PC; ACPI names them.
    pub fn map(self) -> Vec<MemoryRange> {
        use RangeKind::{Reserved, Usable};
        [
            (0, CONVENTIONAL_END, Usable),
            (CONVENTIONAL_END, VIDEO_HOLE_START, Reserved),
            (FIRMWARE_START, EXTENDED_START, Reserved),
            (EXTENDED_START, self.low_end(), Usable),
            (ECAM_BASE, ECAM_BASE + ECAM_SIZE, Reserved),
            (HIGH_RAM_START, self.high_end(), Usable),
        ]
        .into_iter()
        .filter(|(start, end, _)| start < end)
        .map(|(start, end, kind)| MemoryRange { start: GuestPhysAddr(start), len_bytes: end - start, kind })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(len_bytes: u64) -> MemoryLayout {
        MemoryLayout::new(len_bytes).expect("a valid size")
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(MemoryLayout::new(0), Err(RamSizeError::OutOfRange(0)));
        assert_eq!(MemoryLayout::new(MAX_RAM_BYTES + 4096), Err(RamSizeError::OutOfRange(MAX_RAM_BYTES + 4096)));
        assert_eq!(MemoryLayout::new((1 << 20) + 1), Err(RamSizeError::NotPages((1 << 20) + 1)));
        assert!(MemoryLayout::new(MIN_RAM_BYTES).is_ok() && MemoryLayout::new(MAX_RAM_BYTES).is_ok());
    }

    #[test]
    fn offsets_skip_the_holes() {
        let small = layout(2 << 20);
        assert_eq!(small.offset_of(GuestPhysAddr(0x9_ffff), 1), Some(0x9_ffff));
        assert_eq!(small.offset_of(GuestPhysAddr(0x9_ffff), 2), None);
        assert_eq!(small.offset_of(GuestPhysAddr(0xb_ffff), 2), None);
        assert_eq!(small.offset_of(GuestPhysAddr(0xc_0000), 1), Some(0xc_0000));
        assert_eq!(small.offset_of(GuestPhysAddr(0x1f_ffff), 1), Some(0x1f_ffff));
        assert_eq!(small.offset_of(GuestPhysAddr(0x1f_ffff), 2), None);
        assert_eq!(small.offset_of(GuestPhysAddr(HIGH_RAM_START), 1), None);
        assert_eq!(small.offset_of(GuestPhysAddr(u64::MAX), 2), None);

        let large = layout(8 << 30);
        assert_eq!(large.offset_of(GuestPhysAddr(LOW_RAM_END - 1), 1), Some(LOW_RAM_END - 1));
        assert_eq!(large.offset_of(GuestPhysAddr(LOW_RAM_END), 1), None);
        assert_eq!(large.offset_of(GuestPhysAddr(HIGH_RAM_START), 1), Some(LOW_RAM_END));
        assert_eq!(large.offset_of(GuestPhysAddr(large.high_end() - 1), 1), Some((8 << 30) - 1));
        assert_eq!(large.offset_of(GuestPhysAddr(large.high_end()), 1), None);
    }

    #[test]
    fn the_cpu_sees_the_same_layout() {
        for len in [1 << 20, 512 << 20, LOW_RAM_END + 4096, 8 << 30] {
            let layout = layout(len);
            let edges = [VIDEO_HOLE_START, VIDEO_HOLE_END, LOW_RAM_END, HIGH_RAM_START, len, layout.high_end()];
            for addr in edges.into_iter().flat_map(|edge| [edge - 1, edge]).map(GuestPhysAddr) {
                assert_eq!(layout.cpu_layout().offset_of(addr), layout.offset_of(addr, 1), "{addr:x?} of {len:#x}");
            }
        }
    }

    #[test]
    fn the_map_rises_and_its_ram_is_ram() {
        for len in [1 << 20, 2 << 20, 512 << 20, LOW_RAM_END, LOW_RAM_END + 4096, 64 << 30] {
            let layout = layout(len);
            let mut last = 0;
            for range in layout.map() {
                assert!(range.start.0 >= last && range.len_bytes > 0);
                last = range.start.0 + range.len_bytes;
                if range.kind == RangeKind::Usable {
                    assert!(layout.offset_of(range.start, range.len_bytes).is_some());
                }
            }
        }
    }
}
