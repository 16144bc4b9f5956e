//! Process-context identifiers: what the TLB keeps of address spaces that are not the current one.
//!
//! The tables of [`Tlb`] hold the entries of the current PCID and all global ones. MOV to CR3 with
//! another PCID takes the entries that are not global out and keeps them as a list, its *context*; if
//! it names a PCID whose context is kept, and asks for no flush, that goes back into the tables. At most
//! [`CONTEXTS`] are kept, those that were current last. One of more than [`MAX_KEPT`] entries is dropped
//! instead: putting it back would cost more than most processes use of it before the next switch.
//!
//! All of that depends on the model's contents and the instruction stream alone.

use super::phys::GuestMemory;
use super::tlb::{DATA_VIEWS, ModelEntry, Tlb, VALID, VIEWS};
use crate::units::GuestPhysAddr;
use crate::vcpu::{Vcpu, cr};

/// Contexts kept at most, beside the current one.
pub const CONTEXTS: usize = 8;
/// Entries of a kept context at most.
pub const MAX_KEPT: usize = 1024;
/// The bits of CR3 that are the PCID.
pub const PCID_MASK: u64 = 0xfff;

/// An entry with its view, in two words: the linear page address with view (bits 2:0), writable (bit 3),
/// log2 of the page size (bits 8:4) and global (bit 9) in the free bits, then the physical page address.
pub(crate) type Packed = [u64; 2];

const PAGE: u64 = !0xfff;

impl ModelEntry {
    /// As [`Packed`] says.
    pub(crate) fn pack(&self, view: u8) -> Packed {
        const { assert!(VIEWS <= 8, "three bits hold a view") };
        let ModelEntry { tag, page, writable, shift, global } = *self;
        let facts = u64::from(view) | u64::from(writable) << 3 | u64::from(shift) << 4 | u64::from(global) << 9;
        [tag & PAGE | facts, page.0]
    }

    /// The view, and the entry.
    pub(crate) fn unpack([word, page]: Packed) -> (u8, ModelEntry) {
        let entry = ModelEntry {
            tag: word & PAGE | VALID,
            page: GuestPhysAddr(page),
            writable: word & 1 << 3 != 0,
            shift: (word >> 4 & 31) as u8,
            global: word & 1 << 9 != 0,
        };
        ((word & 7) as u8, entry)
    }
}

/// The entries of a PCID that is not current; none is global.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    pub pcid: u16,
    pub entries: Vec<Packed>,
}

impl Context {
    /// Drops whatever maps `linear`.
    fn flush_page(&mut self, linear: u64) {
        self.entries.retain(|&packed| {
            let (_, entry) = ModelEntry::unpack(packed);
            (entry.tag ^ linear) >> entry.shift != 0
        });
    }
}

impl Tlb {
    /// Takes the entries that are not global out, and keeps them as the context of `pcid`.
    fn keep_context(&mut self, pcid: u16) {
        let mut context = Context { pcid, entries: std::mem::take(&mut self.spare) };
        self.drop_local(|view, entry| context.entries.push(entry.pack(view)));
        self.contexts.retain(|other| other.pcid != pcid);
        if context.entries.is_empty() || context.entries.len() > MAX_KEPT {
            context.entries.clear();
            self.spare = context.entries;
            return;
        }
        if self.contexts.len() == CONTEXTS {
            self.contexts.remove(0);
        }
        self.contexts.push(context);
    }

    /// Takes out the kept context of `pcid`, if there is one.
    fn take_context(&mut self, pcid: u16) -> Option<Context> {
        let place = self.contexts.iter().position(|context| context.pcid == pcid)?;
        Some(self.contexts.remove(place))
    }

    /// INVPCID of one address in a PCID that is not current.
    pub(crate) fn flush_page_elsewhere(&mut self, pcid: u16, linear: u64) {
        for context in self.contexts.iter_mut().filter(|context| context.pcid == pcid) {
            context.flush_page(linear);
        }
    }

    /// INVPCID of a PCID that is not current.
    pub(crate) fn flush_elsewhere(&mut self, pcid: u16) {
        self.contexts.retain(|context| context.pcid != pcid);
    }

    /// INVPCID of everything but global entries.
    pub(crate) fn flush_all_local(&mut self) {
        self.flush_local();
        self.contexts.clear();
    }
}

impl Vcpu {
    /// The current PCID; 0 without CR4.PCIDE.
    pub(crate) fn pcid(&self) -> u16 {
        if self.cr4 & cr::CR4_PCIDE != 0 { (self.cr3 & PCID_MASK) as u16 } else { 0 }
    }

    /// What MOV to CR3 does to the TLB, CR3 being loaded already; `before` was the PCID.
    pub(crate) fn switch_context(&mut self, mem: &GuestMemory, before: u16, flush: bool) {
        let now = self.pcid();
        self.tlb.leave_fetch_page();
        if now == before {
            if flush {
                self.tlb.flush_local();
            }
            return;
        }
        let kept = self.tlb.take_context(now);
        self.tlb.keep_context(before);
        let Some(mut context) = kept else { return };
        if !flush {
            self.put_back(mem, &context);
        }
        context.entries.clear();
        self.tlb.spare = context.entries;
    }

    /// Puts entries back into the tables, with the fast tags that cost nothing: a page that was not written
    /// to since it was saved last is not marked as written.
    fn put_back(&mut self, mem: &GuestMemory, context: &Context) {
        for &packed in &context.entries {
            let (view, entry) = ModelEntry::unpack(packed);
            self.tlb.insert(view, entry);
            let is_data = usize::from(view) < DATA_VIEWS;
            // A page that is absent comes when it is touched.
            if is_data && self.may_be_fast(view, entry.tag) && !mem.is_absent(entry.page) {
                let Some(host) = mem.host_page(entry.page) else { continue };
                let write = entry.writable && mem.is_dirty(entry.page) && !mem.holds_code(entry.page);
                self.tlb.allow_fast(view, entry.tag, host, write);
            }
        }
    }
}
