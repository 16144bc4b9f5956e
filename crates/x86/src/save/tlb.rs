//! The saved form of the TLB model: its valid entries, two words each.

use super::{InvalidState, check};
use crate::memory::paging::PHYS_MASK;
use crate::memory::tlb::{ModelEntry, Tlb, VALID, VIEWS, index};
use crate::units::GuestPhysAddr;

/// The TLB model.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TlbState {
    /// For each valid entry, by view and index: its linear page address with view (bits 2:0),
    /// writable (bit 3) and log2 of the page size (bits 8:4) in the free bits, then its
    /// physical page address.
    #[prost(fixed64, repeated, tag = "1")]
    pub entries: Vec<u64>,
}

const PAGE: u64 = !0xfff;

impl TlbState {
    pub(super) fn save(from: &Tlb) -> Self {
        // The fetch page is a short cut to an entry; the rest follows from the entries, too, and
        // without fast tags any epoch is right.
        let Tlb { fast: _, model, fetch: _, filled: _, has_large: _, code_epoch: _ } = from;
        let mut entries = Vec::new();
        for (view, table) in model.iter().enumerate() {
            for entry in table.iter().filter(|entry| entry.tag & VALID != 0) {
                let ModelEntry { tag, page, writable, shift } = *entry;
                let facts = view as u64 | u64::from(writable) << 3 | u64::from(shift) << 4;
                entries.extend([tag & PAGE | facts, page.0]);
            }
        }
        TlbState { entries }
    }

    pub(super) fn restore(&self) -> Result<Tlb, InvalidState> {
        let mut tlb = Tlb::default();
        let (entries, rest) = self.entries.as_chunks::<2>();
        check(rest.is_empty(), "TLB")?;
        for &[word, page] in entries {
            let view = (word & 7) as u8;
            let shift = (word >> 4 & 31) as u8;
            const { assert!(VIEWS <= 8, "three bits hold a view") };
            check(usize::from(view) < VIEWS, "TLB")?;
            let free = tlb.model[usize::from(view)][index(word)].tag & VALID == 0;
            check(free && word & 0xe00 == 0 && matches!(shift, 12 | 21 | 22 | 30), "TLB")?;
            let entry =
                ModelEntry { tag: word & PAGE | VALID, page: physical_page(page)?, writable: word & 8 != 0, shift };
            tlb.insert(view, entry);
        }
        Ok(tlb)
    }
}

fn physical_page(page: u64) -> Result<GuestPhysAddr, InvalidState> {
    check(page & !(PHYS_MASK & PAGE) == 0, "TLB")?;
    Ok(GuestPhysAddr(page))
}
