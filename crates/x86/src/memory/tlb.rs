//! The software TLB: part of the machine model, not of an engine.
//!
//! A guest can see what a TLB holds: an accessed or dirty bit that is not set again, a
//! mapping that outlives its page-table entry. So its contents are a function of the
//! instruction stream alone, the same under every engine:
//!
//! It is direct-mapped: [`ENTRIES`] entries for each *view*, indexed by the low bits of the linear
//! page number, filled by each access that misses, and saved with the machine. A view is a set of
//! rights that accesses can have: for data supervisor, supervisor with SMAP overridden by
//! RFLAGS.AC, user, and user with alignment checks; for instructions supervisor and user. An
//! instruction is looked up when its page is not that of the one before it (so the *fetch page*
//! below is only a short cut), and when it crosses into a second page, for that one.
//! Entries are global or belong to a PCID. MOV to CR3 drops those of its PCID, or with bit 63 none, and leaves
//! the global ones; those of other PCIDs wait in lists (`contexts`). INVLPG drops what the current PCID
//! and the global entries have for the page. Every change of paging mode drops everything.
//!
//! Besides the model, each entry has *fast tags*: a load or store whose address fits one
//! goes straight to host memory. They are missing where each access must be seen (devices,
//! pages with decoded code, watchpoints) and never decide what the guest sees. Instruction
//! fetches have them too, for engines that follow jumps without leaving translated code. They lie in
//! arrays of their own ([`FastTables`]) whose layout translated code relies on.

use super::contexts::{Context, Packed};
use super::large_pages::LargePages;
use super::phys::GuestMemory;
use super::touched::touched;
use crate::units::GuestPhysAddr;

/// Data entries a view.
pub const ENTRIES: usize = 4096;
/// Number of views for data.
pub const DATA_VIEWS: usize = 4;
/// Number of views.
pub const VIEWS: usize = 6;
/// Entries filled since a flush beyond which the next one looks at all entries.
const MAX_FILLED: usize = 4096;

/// Views of data accesses, see the module's text.
pub mod view {
    /// Supervisor accesses; with CR4.SMAP user pages are forbidden.
    pub const SUPERVISOR: u8 = 0;
    /// Supervisor accesses with CR4.SMAP overridden by RFLAGS.AC.
    pub const SUPERVISOR_AC: u8 = 1;
    /// User accesses.
    pub const USER: u8 = 2;
    /// User accesses with alignment checks: every access takes the slow path.
    pub const USER_ALIGN: u8 = 3;
    /// Instruction fetches in supervisor mode.
    pub const FETCH_SUPERVISOR: u8 = 4;
    /// Instruction fetches in user mode.
    pub const FETCH_USER: u8 = 5;
}

/// The fast tags of one view for data, by index.
///
/// A tag is a linear page address, negated, so that adding it to an address gives the offset in the
/// page. Where nothing fits, it is that of another page (see [`no_page`]).
#[derive(Clone, Copy, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct FastView {
    /// Pages that may be read fast.
    pub read: [u64; ENTRIES],
    _skew: [u64; 8],
    /// Pages that may be written fast.
    pub write: [u64; ENTRIES],
    _skew2: [u64; 8],
    /// Host address minus linear address.
    pub addend: [u64; ENTRIES],
    _skew3: [u64; 8],
}

/// The fast tags of one view for instructions: exactly what the model holds.
#[derive(Clone, Copy, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct FastFetch {
    /// Pages, negated.
    pub tag: [u64; ENTRIES],
    _skew: [u64; 8],
    /// Physical address minus linear address.
    pub addend: [u64; ENTRIES],
    _skew2: [u64; 8],
}

/// All fast tags of a vCPU. The skews keep what belongs together out of one set of a cache.
#[derive(Clone, Copy, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct FastTables {
    /// The views for data.
    pub data: [FastView; DATA_VIEWS],
    /// The views for instructions, from [`view::FETCH_SUPERVISOR`] on.
    pub fetch: [FastFetch; VIEWS - DATA_VIEWS],
}

/// The part of an entry that the model is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Zeroable)]
pub struct ModelEntry {
    /// Linear page address plus [`VALID`], or 0.
    pub tag: u64,
    /// Guest-physical page address.
    pub page: GuestPhysAddr,
    /// Writes are allowed and the dirty bit is set.
    pub writable: bool,
    /// log2 of the size of the page it came from: 12, 21, 22 or 30.
    pub shift: u8,
    /// It is global: the same in all address spaces.
    pub global: bool,
}

/// Mark of a valid [`ModelEntry::tag`].
pub const VALID: u64 = 1;

/// The page instructions are being fetched from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchPage {
    /// Linear page address plus [`VALID`], or 0.
    pub tag: u64,
    /// Guest-physical page address.
    pub page: GuestPhysAddr,
}

/// The TLB of one vCPU.
#[derive(Clone)]
pub struct Tlb {
    pub(crate) fast: Box<FastTables>,
    pub(crate) model: Box<[[ModelEntry; ENTRIES]; VIEWS]>,
    pub(crate) fetch: FetchPage,
    /// The entries that are not global and were filled since the last flush, as (view, index), so that a
    /// flush costs what was used; and perhaps others.
    filled: Vec<(u8, u16)>,
    /// The same for global entries.
    filled_global: Vec<(u8, u16)>,
    /// The large pages that entries came from.
    large: LargePages,
    /// The entries of other PCIDs, the last that was current last.
    pub(crate) contexts: Vec<Context>,
    /// An empty list to be used for the next context.
    pub(super) spare: Vec<Packed>,
    /// See [`Tlb::take_dropped_fetches`].
    dropped_fetches: DroppedFetches,
    /// [`GuestMemory::code_epoch`] up to which the fast tags are right.
    pub(crate) code_epoch: u64,
}

/// Of which views for instructions entries were dropped. What is said of a TLB is not known of its copy.
#[derive(Debug, PartialEq, Eq)]
struct DroppedFetches([bool; VIEWS - DATA_VIEWS]);

impl Clone for DroppedFetches {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Default for DroppedFetches {
    fn default() -> Self {
        DroppedFetches([true; VIEWS - DATA_VIEWS])
    }
}

/// The tag of index `index` that nothing fits: a page of an index that is neither this one nor its
/// neighbour, which an access of this one can reach into.
const fn no_page(index: usize) -> u64 {
    (((index ^ 2) as u64) << 12).wrapping_neg()
}

static NO_PAGES: [u64; ENTRIES] = {
    let mut tags = [0; ENTRIES];
    let mut i = 0;
    while i < ENTRIES {
        tags[i] = no_page(i);
        i += 1;
    }
    tags
};

const NO_VIEW: FastView =
    FastView { read: NO_PAGES, _skew: [0; 8], write: NO_PAGES, _skew2: [0; 8], addend: [0; ENTRIES], _skew3: [0; 8] };

const NO_FETCH: FastFetch = FastFetch { tag: NO_PAGES, _skew: [0; 8], addend: [0; ENTRIES], _skew2: [0; 8] };

static NOTHING: FastTables = FastTables { data: [NO_VIEW; DATA_VIEWS], fetch: [NO_FETCH; VIEWS - DATA_VIEWS] };

/// The index of the entry for a linear address.
#[inline(always)]
pub const fn index(linear: u64) -> usize {
    (linear >> 12) as usize % ENTRIES
}

impl FastTables {
    /// Takes all tags away.
    fn clear(&mut self) {
        self.data.copy_from_slice(&NOTHING.data);
        self.fetch.copy_from_slice(&NOTHING.fetch);
    }
}

impl Default for Tlb {
    fn default() -> Self {
        // Made where they stay: they are too large for the stack of a thread.
        let mut fast: Box<FastTables> = bytemuck::zeroed_box();
        fast.clear();
        let mut model: Box<[[ModelEntry; ENTRIES]; VIEWS]> = bytemuck::zeroed_box();
        touched(model.as_flattened_mut(), ModelEntry::default());
        Tlb {
            fast,
            model,
            fetch: FetchPage::default(),
            filled: Vec::new(),
            filled_global: Vec::new(),
            large: LargePages::default(),
            contexts: Vec::new(),
            spare: Vec::new(),
            dropped_fetches: DroppedFetches::default(),
            code_epoch: 0,
        }
    }
}

impl Tlb {
    /// Drops everything.
    pub fn flush(&mut self) {
        if self.filled.len() > MAX_FILLED || self.filled_global.len() > MAX_FILLED {
            self.dropped_fetches = DroppedFetches::default();
            self.fast.clear();
            self.model.as_flattened_mut().fill(ModelEntry::default());
            self.filled.clear();
            self.filled_global.clear();
        } else {
            self.drop_local(|_, _| {});
            let mut filled = std::mem::take(&mut self.filled_global);
            for (view, i) in filled.drain(..) {
                self.drop_entry(view.into(), i.into());
            }
            self.filled_global = filled;
        }
        self.contexts.clear();
        self.large.clear();
        self.fetch = FetchPage::default();
    }

    /// Drops what is not global of the current PCID.
    pub fn flush_local(&mut self) {
        self.fetch = FetchPage::default();
        self.drop_local(|_, _| {});
    }

    /// Drops each entry that is not global, after `each` saw it and its view.
    pub(super) fn drop_local(&mut self, mut each: impl FnMut(u8, &ModelEntry)) {
        let mut drop_one = |tlb: &mut Tlb, view: u8, i: usize| {
            let entry = tlb.model[usize::from(view)][i];
            if entry.tag & VALID != 0 && !entry.global {
                each(view, &entry);
                tlb.drop_entry(view.into(), i);
            }
        };
        let mut filled = std::mem::take(&mut self.filled);
        if filled.len() > MAX_FILLED {
            (0..VIEWS as u8).for_each(|view| (0..ENTRIES).for_each(|i| drop_one(self, view, i)));
        } else {
            filled.iter().for_each(|&(view, i)| drop_one(self, view, i.into()));
        }
        filled.clear();
        self.filled = filled;
    }

    /// INVLPG: drops whatever maps `linear` here or globally, the whole of a large page included.
    pub fn flush_page(&mut self, linear: u64) {
        self.fetch = FetchPage::default();
        if self.large.may_hold(linear) {
            return self.flush_large_page(linear);
        }
        for view in 0..VIEWS {
            self.drop_entry(view, index(linear));
        }
    }

    fn flush_large_page(&mut self, linear: u64) {
        self.large.clear();
        for view in 0..VIEWS {
            self.drop_entry(view, index(linear));
            for i in 0..ENTRIES {
                let entry = self.model[view][i];
                if entry.shift <= 12 {
                    continue;
                }
                if (entry.tag ^ linear) >> entry.shift == 0 {
                    self.drop_entry(view, i);
                } else {
                    self.large.note(entry.tag, entry.shift);
                }
            }
        }
    }

    /// Forgets the fetch page: the next instruction looks it up again.
    pub fn leave_fetch_page(&mut self) {
        self.fetch = FetchPage::default();
    }

    fn drop_entry(&mut self, view: usize, i: usize) {
        let dropped = std::mem::take(&mut self.model[view][i]);
        if let Some(fetch) = view.checked_sub(DATA_VIEWS) {
            self.dropped_fetches.0[fetch] |= dropped.tag & VALID != 0;
            self.fast.fetch[fetch].tag[i] = no_page(i);
        } else {
            let fast = &mut self.fast.data[view];
            fast.read[i] = no_page(i);
            fast.write[i] = no_page(i);
        }
    }

    /// Looks `linear` up in the model.
    #[inline]
    pub(crate) fn lookup(&self, view: u8, linear: u64) -> Option<&ModelEntry> {
        let entry = &self.model[usize::from(view)][index(linear)];
        (entry.tag == (linear & !0xfff | VALID)).then_some(entry)
    }

    /// The physical page that instructions at `linear` come from, if the model holds it.
    pub fn fetches_from(&self, user: bool, linear: u64) -> Option<GuestPhysAddr> {
        let view = if user { view::FETCH_USER } else { view::FETCH_SUPERVISOR };
        self.lookup(view, linear).map(|entry| entry.page)
    }

    /// Puts an entry in; for data without fast tags.
    pub(crate) fn insert(&mut self, view: u8, entry: ModelEntry) {
        let i = index(entry.tag);
        if entry.shift > 12 {
            self.large.note(entry.tag, entry.shift);
        }
        let filled = if entry.global { &mut self.filled_global } else { &mut self.filled };
        if filled.len() <= MAX_FILLED {
            filled.push((view, i as u16));
        }
        self.drop_entry(view.into(), i);
        self.model[usize::from(view)][i] = entry;
        if let Some(fetch) = usize::from(view).checked_sub(DATA_VIEWS) {
            let page = entry.tag & !VALID;
            let fast = &mut self.fast.fetch[fetch];
            fast.tag[i] = page.wrapping_neg();
            fast.addend[i] = entry.page.0.wrapping_sub(page);
        }
    }

    /// Gives the entry of `linear` its fast tags; `host` is the host address of its page.
    pub(crate) fn allow_fast(&mut self, view: u8, linear: u64, host: *mut u8, write: bool) {
        let page = linear & !0xfff;
        let i = index(linear);
        let fast = &mut self.fast.data[usize::from(view)];
        fast.addend[i] = (host as u64).wrapping_sub(page);
        fast.read[i] = page.wrapping_neg();
        if write {
            fast.write[i] = page.wrapping_neg();
        }
    }

    /// What is saved of it: the tables and the contexts.
    pub(crate) fn saved(&self) -> (&[[ModelEntry; ENTRIES]; VIEWS], &[Context]) {
        // The fetch page is a short cut to an entry; the rest follows from the entries, too, and
        // without fast tags any epoch is right.
        let Tlb {
            fast: _,
            model,
            fetch: _,
            filled: _,
            filled_global: _,
            large: _,
            contexts,
            spare: _,
            dropped_fetches: _,
            code_epoch: _,
        } = self;
        (model, contexts)
    }

    /// Of which views for instructions ([`view::FETCH_SUPERVISOR`], [`view::FETCH_USER`]) an entry was dropped or replaced
    /// since this was last asked; of all for a TLB that was never asked. As long as it was not so, a look-up that hit hits
    /// again, with the same result.
    #[inline]
    pub fn take_dropped_fetches(&mut self) -> [bool; VIEWS - DATA_VIEWS] {
        std::mem::replace(&mut self.dropped_fetches.0, [false; VIEWS - DATA_VIEWS])
    }

    /// The fast tags, for translated code.
    pub fn fast_tables(&self) -> *const FastTables {
        &raw const *self.fast
    }

    /// Takes the fast write tags away from every entry of the physical page `page`.
    pub fn forbid_fast_writes(&mut self, page: GuestPhysAddr) {
        for (fast, model) in self.fast.data.iter_mut().zip(self.model.iter()) {
            for (i, (write, model)) in fast.write.iter_mut().zip(model).enumerate() {
                if model.page == page {
                    *write = no_page(i);
                }
            }
        }
    }

    /// Takes all fast write tags away, so that the next store to each page is seen; the model stays.
    pub fn forbid_all_fast_writes(&mut self) {
        for view in &mut self.fast.data {
            view.write = NO_PAGES;
        }
    }

    /// Takes the fast write tags away from all pages that hold decoded code, for a vCPU that did
    /// not run while others decoded.
    pub(crate) fn refresh_code_pages(&mut self, mem: &GuestMemory) {
        if std::mem::replace(&mut self.code_epoch, mem.code_epoch()) == mem.code_epoch() {
            return;
        }
        for (fast, model) in self.fast.data.iter_mut().zip(self.model.iter()) {
            for (i, (write, model)) in fast.write.iter_mut().zip(model).enumerate() {
                if model.tag != 0 && mem.holds_code(model.page) {
                    *write = no_page(i);
                }
            }
        }
    }

    /// Takes all fast tags for data away: when watchpoints change.
    pub fn forbid_fast(&mut self) {
        self.fast.data.copy_from_slice(&NOTHING.data);
    }
}
