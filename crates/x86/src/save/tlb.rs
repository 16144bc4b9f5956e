//! The saved form of the TLB model: its valid entries, two words each.

use super::{InvalidState, check};
use crate::memory::contexts::{CONTEXTS, Context, MAX_KEPT, PCID_MASK, Packed};
use crate::memory::paging::PHYS_MASK;
use crate::memory::tlb::{ModelEntry, Tlb, VALID, VIEWS, index};

/// The TLB model.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TlbState {
    /// For each valid entry, by view and index: its linear page address with view (bits 2:0),
    /// writable (bit 3), log2 of the page size (bits 8:4) and global (bit 9) in the free bits, then its
    /// physical page address.
    #[prost(fixed64, repeated, tag = "1")]
    pub entries: Vec<u64>,
    /// The entries of PCIDs that are not current, the last that was current last.
    #[prost(message, repeated, tag = "2")]
    pub contexts: Vec<ContextState>,
}

/// The entries of a PCID that is not current.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContextState {
    /// The PCID.
    #[prost(uint32, tag = "1")]
    pub pcid: u32,
    /// As [`TlbState::entries`], by linear page address and view; none is global.
    #[prost(fixed64, repeated, tag = "2")]
    pub entries: Vec<u64>,
}

/// The page numbers (guest-physical address / 4096) of `entries`.
fn pages(entries: &[u64]) -> impl Iterator<Item = u64> {
    entries.as_chunks::<2>().0.iter().map(|[_, page]| page >> 12)
}

impl ContextState {
    /// The guest-physical pages that entries lead to, as address / 4096. Of a state that nobody has checked they may be anything.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        pages(&self.entries)
    }
}

impl TlbState {
    /// The same for the current PCID and the global entries.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        pages(&self.entries)
    }

    pub(super) fn save(from: &Tlb) -> Self {
        let (model, contexts) = from.saved();
        let mut entries = Vec::new();
        for (view, table) in (0..).zip(model) {
            let valid = table.iter().filter(|entry| entry.tag & VALID != 0);
            entries.extend(valid.flat_map(|entry| entry.pack(view)));
        }
        TlbState { entries, contexts: contexts.iter().map(ContextState::save).collect() }
    }

    pub(super) fn restore(&self) -> Result<Tlb, InvalidState> {
        let mut tlb = Tlb::default();
        let (entries, rest) = self.entries.as_chunks();
        check(rest.is_empty(), "TLB")?;
        for &packed in entries {
            check_entry(packed)?;
            let (view, entry) = ModelEntry::unpack(packed);
            check(tlb.model[usize::from(view)][index(entry.tag)].tag & VALID == 0, "TLB")?;
            tlb.insert(view, entry);
        }
        check(self.contexts.len() <= CONTEXTS, "TLB")?;
        for state in &self.contexts {
            let context = state.restore()?;
            check(tlb.contexts.iter().all(|other| other.pcid != context.pcid), "TLB")?;
            tlb.contexts.push(context);
        }
        Ok(tlb)
    }
}

impl ContextState {
    fn save(from: &Context) -> Self {
        let Context { pcid, entries } = from;
        // Their order says only when they were filled, which no guest sees.
        let mut entries = entries.clone();
        entries.sort_unstable();
        ContextState { pcid: (*pcid).into(), entries: entries.into_flattened() }
    }

    fn restore(&self) -> Result<Context, InvalidState> {
        let (entries, rest) = self.entries.as_chunks();
        check(rest.is_empty() && u64::from(self.pcid) <= PCID_MASK, "TLB")?;
        check(!entries.is_empty() && entries.len() <= MAX_KEPT, "TLB")?;
        let mut places = Vec::with_capacity(entries.len());
        for &packed in entries {
            check_entry(packed)?;
            let (view, entry) = ModelEntry::unpack(packed);
            check(!entry.global, "TLB")?;
            places.push((view, index(entry.tag)));
        }
        // In the tables each had a place of its own.
        places.sort_unstable();
        check(places.windows(2).all(|two| two[0] != two[1]), "TLB")?;
        Ok(Context { pcid: self.pcid as u16, entries: entries.to_vec() })
    }
}

/// Checks that an entry has a form that one can have.
fn check_entry([word, page]: Packed) -> Result<(), InvalidState> {
    let (view, shift) = (word as usize & 7, word >> 4 & 31);
    check(view < VIEWS && word & 0xc00 == 0 && matches!(shift, 12 | 21 | 22 | 30), "TLB")?;
    check(page & !(PHYS_MASK & !0xfff) == 0, "TLB")
}
