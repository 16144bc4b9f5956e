//! Which parts of low RAM are taken while a machine is made ready, and where the rest may go.

use std::ops::Range;

use super::BootError;
use crate::memory_map::{CONVENTIONAL_END, EXTENDED_START, FIRMWARE_START, MemoryLayout, PAGE_BYTES, VIDEO_HOLE_END};

/// Nothing of the loader's own goes below: the interrupt vectors and the BIOS data area lie there.
const LOADER_START: u64 = 0x500;

/// The RAM below 4 GiB and what of it is taken. All loaders put things below 4 GiB only.
pub(super) struct Placement {
    low_end: u64,
    /// Disjoint, in rising order.
    taken: Vec<Range<u64>>,
}

impl Placement {
    /// All of low RAM free, but for the firmware area and the EBDA.
    pub fn new(layout: MemoryLayout) -> Self {
        Self { low_end: layout.low_end(), taken: Vec::new() }
    }

    /// Takes exactly `start .. start + len_bytes` for a part of the kernel. False if that is not all free RAM.
    #[must_use]
    pub fn take(&mut self, start: u64, len_bytes: u64) -> bool {
        let free = self.is_free(start, len_bytes);
        if free {
            self.insert(start, len_bytes);
        }
        free
    }

    /// Takes `len_bytes` at `preferred`, or else at the lowest free page after it, or else anywhere.
    pub fn place(&mut self, preferred: u64, len_bytes: u64, what: &'static str) -> Result<u64, BootError> {
        let from = |lowest: u64| self.candidates(lowest).find(|&at| self.is_free(at, len_bytes));
        let at = Some(preferred)
            .filter(|&at| self.is_free(at, len_bytes))
            .or_else(|| from(preferred))
            .or_else(|| from(LOADER_START))
            .ok_or(BootError::NoRoom { what, len_bytes })?;
        self.insert(at, len_bytes);
        Ok(at)
    }

    /// Takes `len_bytes` at the highest free page of extended memory that ends at or below `limit`.
    pub fn place_top(&mut self, limit: u64, len_bytes: u64, what: &'static str) -> Result<u64, BootError> {
        let ends = self.taken.iter().map(|range| range.start).chain([limit.min(self.low_end)]);
        let at = ends
            .filter(|&end| end <= limit)
            .filter_map(|end| Some(end.checked_sub(len_bytes)? / PAGE_BYTES * PAGE_BYTES))
            .filter(|&at| at >= EXTENDED_START && self.is_free(at, len_bytes))
            .max()
            .ok_or(BootError::NoRoom { what, len_bytes })?;
        self.insert(at, len_bytes);
        Ok(at)
    }

    /// End of the highest range taken in extended memory, or its start.
    pub fn extended_top(&self) -> u64 {
        self.taken.last().map_or(EXTENDED_START, |range| range.end.max(EXTENDED_START))
    }

    fn is_free(&self, start: u64, len_bytes: u64) -> bool {
        let Some(end) = start.checked_add(len_bytes) else { return false };
        let ram = end <= CONVENTIONAL_END
            || (start >= VIDEO_HOLE_END && end <= FIRMWARE_START)
            || (start >= EXTENDED_START && end <= self.low_end);
        let next = self.taken.partition_point(|range| range.end <= start);
        ram && self.taken.get(next).is_none_or(|range| range.start >= end)
    }

    /// Page addresses where a free stretch may begin, in rising order.
    fn candidates(&self, lowest: u64) -> impl Iterator<Item = u64> {
        let mut starts: Vec<u64> = [lowest, EXTENDED_START]
            .into_iter()
            .chain(self.taken.iter().map(|range| range.end))
            .map(|start| start.next_multiple_of(PAGE_BYTES))
            .filter(|&start| start >= lowest)
            .collect();
        starts.sort_unstable();
        starts.into_iter()
    }

    fn insert(&mut self, start: u64, len_bytes: u64) {
        if len_bytes > 0 {
            let at = self.taken.partition_point(|range| range.start < start);
            self.taken.insert(at, start..start + len_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(mib: u64) -> Placement {
        Placement::new(MemoryLayout::new(mib << 20).expect("a valid size"))
    }

    #[test]
    fn taken_ranges_are_not_taken_again() {
        let mut p = placement(4);
        assert!(p.take(0x10_0000, 0x1000));
        assert!(!p.take(0x10_0fff, 1));
        assert!(p.take(0x10_1000, 0x1000));
        assert!(!p.take(0x9_f000, 0x1000), "the EBDA");
        assert!(!p.take(0xa_0000, 1), "video memory");
        assert!(!p.take(0xf_0000, 1), "firmware");
        assert!(!p.take(0x3f_ffff, 2), "the end of RAM");
        assert!(!p.take(u64::MAX, 2), "the end of addresses");
        assert!(p.take(u64::MAX, 0) || p.extended_top() == 0x10_2000);
    }

    #[test]
    fn preferred_then_next_then_anywhere() {
        let mut p = placement(4);
        assert_eq!(p.place(0x9000, 0x100, "x"), Ok(0x9000));
        assert_eq!(p.place(0x9000, 0x100, "x"), Ok(0xa000));
        assert_eq!(p.place(0x9000, 0x10_0000, "x"), Ok(0x10_0000));
        assert_eq!(p.place_top(u64::MAX, 0x1001, "x"), Ok(0x3f_e000));
        assert_eq!(p.place_top(0x3f_f000, 0x1001, "x"), Ok(0x3f_c000));
        assert_eq!(p.extended_top(), 0x3f_f001);
        assert_eq!(p.place(0x3f_f001, 0x1_0000, "x"), Ok(0xb000), "nothing above is free");
        assert!(p.place_top(0x10_0000, 1, "x").is_err());
        assert!(p.place(0, 1 << 40, "x").is_err());
    }
}
