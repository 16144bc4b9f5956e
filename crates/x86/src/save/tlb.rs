//! The saved form of the TLB model: its valid entries, two words each.

use super::{InvalidState, check};
use crate::memory::paging::PHYS_MASK;
use crate::memory::tlb::{FetchPage, ModelEntry, Tlb, VALID, VIEWS, index};
use crate::units::GuestPhysAddr;

/// The TLB model.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TlbState {
    /// For each valid entry, by view and index: its linear page address with view (bits 1:0),
    /// writable (bit 2) and log2 of the page size (bits 7:3) in the free bits, then its
    /// physical page address.
    #[prost(fixed64, repeated, tag = "1")]
    pub entries: Vec<u64>,
    /// The linear address of the fetch page and its physical address, or nothing.
    #[prost(fixed64, repeated, tag = "2")]
    pub fetch: Vec<u64>,
}

const PAGE: u64 = !0xfff;

impl TlbState {
    pub(super) fn save(from: &Tlb) -> Self {
        // Fast tags and `has_large` follow from the entries; without tags any epoch is right.
        let Tlb { fast: _, model, fetch, has_large: _, code_epoch: _ } = from;
        let mut entries = Vec::new();
        for (view, table) in model.iter().enumerate() {
            for entry in table.iter().filter(|entry| entry.tag & VALID != 0) {
                let ModelEntry { tag, page, writable, shift } = *entry;
                let facts = view as u64 | u64::from(writable) << 2 | u64::from(shift) << 3;
                entries.extend([tag & PAGE | facts, page.0]);
            }
        }
        let FetchPage { tag, page } = *fetch;
        let fetch = if tag & VALID != 0 { vec![tag & PAGE, page.0] } else { Vec::new() };
        TlbState { entries, fetch }
    }

    pub(super) fn restore(&self) -> Result<Tlb, InvalidState> {
        let mut tlb = Tlb::default();
        let (entries, rest) = self.entries.as_chunks::<2>();
        check(rest.is_empty(), "TLB")?;
        for &[word, page] in entries {
            let view = (word & 3) as usize;
            let shift = (word >> 3 & 31) as u8;
            let i = index(word);
            const { assert!(VIEWS == 4, "two bits hold a view") };
            let free = tlb.model[view][i].tag & VALID == 0;
            check(free && word & 0xf00 == 0 && matches!(shift, 12 | 21 | 22 | 30), "TLB")?;
            tlb.model[view][i] =
                ModelEntry { tag: word & PAGE | VALID, page: physical_page(page)?, writable: word & 4 != 0, shift };
            tlb.has_large |= shift > 12;
        }
        tlb.fetch = match self.fetch[..] {
            [] => FetchPage::default(),
            [linear, page] if linear & !PAGE == 0 => FetchPage { tag: linear | VALID, page: physical_page(page)? },
            _ => return Err(InvalidState("TLB")),
        };
        Ok(tlb)
    }
}

fn physical_page(page: u64) -> Result<GuestPhysAddr, InvalidState> {
    check(page & !(PHYS_MASK & PAGE) == 0, "TLB")?;
    Ok(GuestPhysAddr(page))
}
