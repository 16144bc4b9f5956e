//! Guest-physical RAM: where it lies, its bytes, and what is known of each page.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::absent::{Absent, LostPage, PageSource};
use super::access::Value;
use super::lent::{Lent, PageBytes};
use crate::units::GuestPhysAddr;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes that share one bit of a page's code map.
const GRANULE: u64 = 64;

/// Where RAM appears in guest-physical space: from 0 up to `low_end`, and the rest from
/// 4 GiB up. The range A0000h to BFFFFh (VGA) is not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamLayout {
    /// Size of all RAM in bytes, a multiple of [`PAGE_SIZE`].
    pub len_bytes: u64,
    /// The highest possible end of the low part, in bytes.
    pub low_limit: u64,
}

const HIGH_START: u64 = 1 << 32;
const VGA_HOLE: std::ops::Range<u64> = 0xa_0000..0xc_0000;

impl RamLayout {
    /// The end of the part that starts at 0.
    pub fn low_end(&self) -> u64 {
        self.len_bytes.min(self.low_limit)
    }

    /// The offset in RAM of a guest-physical address, if RAM is there.
    #[inline]
    pub fn offset_of(&self, addr: GuestPhysAddr) -> Option<u64> {
        let low_end = self.low_end();
        if addr.0 < low_end {
            (!VGA_HOLE.contains(&addr.0)).then_some(addr.0)
        } else {
            let high = addr.0.checked_sub(HIGH_START)?;
            (high < self.len_bytes - low_end).then(|| low_end + high)
        }
    }
}

/// A page as it was: its offset in RAM divided by 4096, and its bytes.
pub type Preimage = (u64, Box<[u8; PAGE_SIZE as usize]>);

/// For whom a page may have changed: bits of a page's entry in [`GuestMemory`]. Each is taken on its own.
mod changed {
    /// For checkpoints: since [`super::GuestMemory::take_dirty_pages`].
    pub const CHECKPOINT: u8 = 1;
    /// For snapshots: since [`super::GuestMemory::take_pages_for_snapshot`].
    pub const SNAPSHOT: u8 = 2;
    /// Since a watch began.
    pub const WATCH: u8 = 4;
    pub const ALL: u8 = CHECKPOINT | SNAPSHOT | WATCH;
}

/// The guest's RAM, through a host mapping that someone else owns, and its page facts.
pub struct GuestMemory {
    base: *mut u8,
    layout: RamLayout,
    /// Per page, one bit for each 64-byte granule that holds decoded code.
    code: Vec<u64>,
    /// Per page, for whom it may have changed ([`changed`]). A page with a fast write tag in some TLB is marked when it gets
    /// the tag.
    dirty: Vec<u8>,
    /// How many pages changed for checkpoints.
    dirty_count: usize,
    /// Pages whose content is to be kept when it first changes; empty: none.
    watched: Vec<bool>,
    /// Content of watched pages before they changed.
    preimages: Vec<Preimage>,
    /// What is lent to others.
    lent: Vec<Arc<Lent>>,
    /// How many pages are absent; what is known of them is in `absent`.
    absent_count: Cell<u64>,
    absent: RefCell<Absent>,
    /// Pages whose decoded code was overwritten; engines drop it before they go on.
    stale_code: Vec<u64>,
    /// Counts the pages that came to hold decoded code.
    code_epoch: u64,
}

// SAFETY: the mapping is plain memory, reached only through `&self` and `&mut self`.
unsafe impl Send for GuestMemory {}

impl GuestMemory {
    /// RAM at `base`.
    ///
    /// # Safety
    /// `base` must point to `layout.len_bytes` bytes that are readable and writable and stay
    /// so as long as the result and every TLB filled from it live, and that nothing else in
    /// this process writes while a method of the result or a vCPU runs.
    pub unsafe fn new(base: *mut u8, layout: RamLayout) -> Self {
        assert!(layout.len_bytes.is_multiple_of(PAGE_SIZE), "RAM must be whole pages");
        let pages = (layout.len_bytes / PAGE_SIZE) as usize;
        GuestMemory {
            base,
            layout,
            code: vec![0; pages],
            dirty: vec![changed::ALL; pages],
            dirty_count: pages,
            watched: Vec::new(),
            preimages: Vec::new(),
            lent: Vec::new(),
            absent_count: Cell::new(0),
            absent: RefCell::default(),
            stale_code: Vec::new(),
            code_epoch: 0,
        }
    }

    /// Where RAM lies.
    pub fn layout(&self) -> RamLayout {
        self.layout
    }

    /// The host address of the page at `page` (page-aligned), if it is RAM. Its content is there.
    #[inline]
    pub(crate) fn host_page(&self, page: GuestPhysAddr) -> Option<*mut u8> {
        let offset = self.layout.offset_of(GuestPhysAddr(page.0 & !(PAGE_SIZE - 1)))?;
        if self.absent_count.get() != 0 && !self.load_absent(offset / PAGE_SIZE) {
            return None;
        }
        // SAFETY: `offset` is below the mapping's length.
        Some(unsafe { self.base.add(offset as usize) })
    }

    /// Has the source write the page with this number if it is absent; whether its content is there now.
    #[cold]
    #[inline(never)]
    fn load_absent(&self, page: u64) -> bool {
        let mut absent = self.absent.borrow_mut();
        if !absent.has(page) {
            return true;
        }
        // SAFETY: the page is mapped for its whole length, and nothing refers to it: every reference to a page is made behind
        // this function, which has filled it by then, and pages are made absent with `&mut self` only.
        let to: &mut PageBytes = unsafe { &mut *self.base.add((page * PAGE_SIZE) as usize).cast() };
        let is_here = absent.load(page, to);
        self.absent_count.set(self.absent_count.get() - u64::from(is_here));
        is_here
    }

    /// The bytes of the page with this number (offset in RAM divided by 4096); `None` if there is no such page or its content cannot be had.
    pub fn page_at(&self, page: u64) -> Option<&PageBytes> {
        let is_ram = page < self.dirty.len() as u64;
        if !is_ram || (self.absent_count.get() != 0 && !self.load_absent(page)) {
            return None;
        }
        // SAFETY: the page is mapped for its whole length; `&self` keeps writers out, and it is not absent.
        Some(unsafe { &*self.base.add((page * PAGE_SIZE) as usize).cast() })
    }

    /// Pages (offset in RAM divided by 4096) whose content is in `source` from now on, and comes when they are first touched. `source`
    /// must have all other absent pages too. Decoded code of `pages` is dropped, and they count as changed.
    ///
    /// No TLB may have fast tags for them.
    pub fn make_absent(&mut self, pages: &[u64], source: Box<dyn PageSource>) {
        for &page in pages {
            self.note_replaced(page);
        }
        let added = self.absent.get_mut().add(self.dirty.len() as u64, pages.iter().copied(), source);
        self.absent_count.set(self.absent_count.get() + added);
    }

    /// The pages whose content was written from outside, or will be before anyone looks: they are absent no more.
    pub fn make_present(&mut self, pages: impl IntoIterator<Item = u64>) {
        let absent = self.absent.get_mut();
        let removed = pages.into_iter().filter(|&page| absent.remove(page)).count();
        self.absent_count.set(self.absent_count.get() - removed as u64);
    }

    /// The absent pages, ascending.
    pub fn absent_pages(&self) -> Vec<u64> {
        if self.absent_count.get() == 0 { Vec::new() } else { self.absent.borrow().pages() }
    }

    /// How many pages are absent.
    pub fn absent_page_count(&self) -> u64 {
        self.absent_count.get()
    }

    /// Whether the page at `addr` is RAM and absent.
    pub(crate) fn is_absent(&self, addr: GuestPhysAddr) -> bool {
        self.absent_count.get() != 0 && self.page_index(addr).is_some_and(|page| self.absent.borrow().has(page as u64))
    }

    /// Whether a page could not be had: what ran since then saw no RAM there, and is worth nothing.
    pub fn has_lost_page(&self) -> bool {
        self.absent_count.get() != 0 && self.absent.borrow().is_lost()
    }

    /// Takes what [`Self::has_lost_page`] speaks of. The page stays absent.
    pub fn take_lost_page(&mut self) -> Option<LostPage> {
        self.absent.get_mut().take_lost()
    }

    fn page_index(&self, addr: GuestPhysAddr) -> Option<usize> {
        self.layout.offset_of(addr).map(|offset| (offset / PAGE_SIZE) as usize)
    }

    /// The bytes of the page at `page`, if it is RAM.
    #[inline]
    pub fn page(&self, page: GuestPhysAddr) -> Option<&[u8; PAGE_SIZE as usize]> {
        let host = self.host_page(page)?;
        // SAFETY: the page is mapped for its whole length; `&self` keeps writers out.
        Some(unsafe { &*host.cast() })
    }

    /// Reads a little-endian value of 4 or 8 bytes (`T`) that lies within one page.
    #[inline]
    pub(crate) fn read_entry<T: Value>(&self, addr: GuestPhysAddr) -> Option<T> {
        let offset = addr.0 % PAGE_SIZE;
        assert!(offset + T::BYTES as u64 <= PAGE_SIZE, "an entry within one page");
        let page = self.host_page(addr)?;
        // SAFETY: the page is mapped and the entry lies within it.
        Some(unsafe { (page.add(offset as usize) as *const T).read_unaligned() })
    }

    /// Reads bytes that lie within one page; `false` if that page is not RAM.
    pub fn read_in_page(&self, addr: GuestPhysAddr, out: &mut [u8]) -> bool {
        let offset = addr.0 % PAGE_SIZE;
        assert!(offset + out.len() as u64 <= PAGE_SIZE, "a read within one page");
        let Some(page) = self.host_page(addr) else { return false };
        // SAFETY: the page is mapped and the bytes lie within it; `out` is not guest RAM.
        unsafe { page.add(offset as usize).copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
        true
    }

    /// Writes bytes that lie within one page and notes the change; `false` if that page is not RAM.
    pub fn write_in_page(&mut self, addr: GuestPhysAddr, data: &[u8]) -> bool {
        let offset = addr.0 % PAGE_SIZE;
        assert!(offset + data.len() as u64 <= PAGE_SIZE, "a write within one page");
        let Some(page) = self.host_page(addr) else { return false };
        self.note_write(addr, data.len() as u64);
        // SAFETY: the page is mapped and the bytes lie within it; `data` is not guest RAM.
        unsafe { page.add(offset as usize).copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        true
    }

    /// DMA: reads `out.len()` bytes at `addr`; `false` if any of them is not RAM.
    pub fn read(&self, addr: GuestPhysAddr, out: &mut [u8]) -> bool {
        pieces(addr, out.len()).all(|(at, range)| self.read_in_page(at, &mut out[range]))
    }

    /// DMA: writes `data` at `addr`; stops and returns `false` at the first page that is not RAM.
    pub fn write(&mut self, addr: GuestPhysAddr, data: &[u8]) -> bool {
        pieces(addr, data.len()).all(|(at, range)| self.write_in_page(at, &data[range]))
    }

    /// All of RAM, in the order of the mapping. Absent pages are loaded one by one: who expects many of them loads them before.
    ///
    /// # Panics
    /// If an absent page cannot be had.
    pub fn bytes(&self) -> &[u8] {
        for page in self.absent_pages() {
            assert!(self.load_absent(page), "page {page} of RAM cannot be had, and all of RAM is asked for");
        }
        // SAFETY: the mapping is readable for its whole length; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.base, self.layout.len_bytes as usize) }
    }

    /// Notes that `len` bytes at `addr`, within one RAM page, are about to change.
    pub(crate) fn note_write(&mut self, addr: GuestPhysAddr, len: u64) -> bool {
        let Some(page) = self.page_index(addr) else { return false };
        self.mark_dirty(page);
        if self.code[page] & granules(addr, len) == 0 {
            return false;
        }
        self.code[page] = 0;
        self.stale_code.push(addr.0 / PAGE_SIZE);
        true
    }

    /// Notes that `len` bytes at `addr`, within one page, hold decoded code. Returns true if
    /// the page held none before: write access to it must then leave the TLBs' fast paths.
    pub fn note_code(&mut self, addr: GuestPhysAddr, len: u64) -> bool {
        let Some(page) = self.page_index(addr) else { return false };
        let first = self.code[page] == 0;
        self.code[page] |= granules(addr, len);
        self.code_epoch += u64::from(first);
        first
    }

    /// A number that grows whenever a page comes to hold decoded code.
    pub(crate) fn code_epoch(&self) -> u64 {
        self.code_epoch
    }

    /// True if the page at `addr` holds decoded code.
    pub(crate) fn holds_code(&self, addr: GuestPhysAddr) -> bool {
        self.page_index(addr).is_some_and(|page| self.code[page] != 0)
    }

    /// Marks a page as written since the last checkpoint.
    pub(crate) fn note_dirty(&mut self, addr: GuestPhysAddr) {
        if let Some(page) = self.page_index(addr) {
            self.mark_dirty(page);
        }
    }

    /// True if the page at `addr` is marked as changed for all who ask: another write tells them nothing.
    pub(crate) fn is_dirty(&self, addr: GuestPhysAddr) -> bool {
        self.page_index(addr).is_some_and(|page| self.dirty[page] == changed::ALL)
    }

    /// `page` is about to change, now or later through a fast write tag.
    fn mark_dirty(&mut self, page: usize) {
        let before = std::mem::replace(&mut self.dirty[page], changed::ALL);
        if before == changed::ALL {
            return;
        }
        self.dirty_count += usize::from(before & changed::CHECKPOINT == 0);
        if self.watched.get(page) == Some(&true) {
            self.keep_preimage(page);
        }
        for lent in &self.lent {
            // Of what cannot be had there is nothing to be kept; the machine stops because of it.
            if let Some(content) = self.page_at(page as u64) {
                lent.before_change(page, content);
            }
        }
    }

    #[cold]
    fn keep_preimage(&mut self, page: usize) {
        self.watched[page] = false;
        if let Some(content) = self.page_at(page as u64) {
            let preimage = (page as u64, Box::new(*content));
            self.preimages.push(preimage);
        }
    }

    /// From now on keeps the content of each of `pages` when it first changes, for
    /// [`Self::take_preimages`]; of no others.
    ///
    /// Who calls this must take the fast write tags as for [`Self::take_dirty_pages`].
    pub fn watch_pages(&mut self, pages: impl IntoIterator<Item = u64>) {
        self.preimages.clear();
        self.watched = vec![false; self.dirty.len()];
        for page in pages {
            self.dirty[page as usize] &= !changed::WATCH;
            self.watched[page as usize] = true;
        }
    }

    /// Ends the watch of all pages, and forgets what was kept of them.
    pub fn unwatch_pages(&mut self) {
        self.watched = Vec::new();
        self.preimages = Vec::new();
    }

    /// Ends the watch of one page; whether it is as it was when the watch began.
    pub fn unwatch_page(&mut self, page: u64) -> bool {
        self.watched.get_mut(page as usize).is_some_and(std::mem::take)
    }

    /// Something to lend pages with, see [`Self::lend_pages`], as long as the caller holds it. The pages are all there: who reads
    /// them beside this memory finds no absent ones.
    pub fn lender(&mut self) -> Arc<Lent> {
        assert_eq!(self.absent_count.get(), 0, "absent pages cannot be lent");
        self.lent.retain(|lent| Arc::strong_count(lent) > 1);
        let lent = Arc::new(Lent::none(self.dirty.len() as u64));
        self.lent.push(lent.clone());
        lent
    }

    /// Lends `pages`, with a `number` that is not 0: see [`super::lent`]. None of them may be dirty: take the dirty pages first.
    pub fn lend_pages(&self, lent: &Lent, number: u32, pages: &[u64]) {
        for &page in pages {
            let is_clean = self.dirty[page as usize] & changed::CHECKPOINT == 0;
            assert!(is_clean, "a lent page may have been written to already");
            lent.lend(page, number);
        }
    }

    /// Takes the contents kept so far.
    pub fn take_preimages(&mut self) -> Vec<Preimage> {
        std::mem::take(&mut self.preimages)
    }

    /// Marks all pages, for RAM that was replaced from outside.
    pub fn mark_all_dirty(&mut self) {
        self.dirty.fill(changed::ALL);
        self.dirty_count = self.dirty.len();
    }

    /// The page with this number (offset in RAM divided by 4096) is about to be replaced from outside: engines drop the code
    /// that was decoded from it.
    pub fn note_replaced(&mut self, page: u64) {
        self.mark_dirty(page as usize);
        if std::mem::take(&mut self.code[page as usize]) != 0 {
            let offset = page * PAGE_SIZE;
            let low_end = self.layout.low_end();
            let addr = if offset < low_end { offset } else { HIGH_START + (offset - low_end) };
            self.stale_code.push(addr / PAGE_SIZE);
        }
    }

    /// How many pages [`Self::take_dirty_pages`] would name.
    pub fn dirty_page_count(&self) -> usize {
        self.dirty_count
    }

    /// Takes the pages, as offsets in RAM divided by 4096 and in order, that may have changed since
    /// the last call; at first that is all of them.
    ///
    /// Who calls this must take the fast write tags ([`super::tlb::Tlb::forbid_all_fast_writes`]) from
    /// every TLB of this memory: stores through those are not seen here.
    pub fn take_dirty_pages(&mut self) -> Vec<u64> {
        let taken = self.take(changed::CHECKPOINT);
        self.dirty_count = 0;
        taken
    }

    /// The same for whoever takes snapshots: since the last call of this.
    pub fn take_pages_for_snapshot(&mut self) -> Vec<u64> {
        self.take(changed::SNAPSHOT)
    }

    fn take(&mut self, bit: u8) -> Vec<u64> {
        // Most pages did not change, so that looking at eight at a time is most of the work.
        let of_each = u64::from_ne_bytes([bit; 8]);
        let mut taken = Vec::with_capacity(if bit == changed::CHECKPOINT { self.dirty_count } else { 0 });
        let mut first = 0;
        for group in self.dirty.chunks_mut(8) {
            let has_any = <[u8; 8]>::try_from(&*group).map_or(true, |group| u64::from_ne_bytes(group) & of_each != 0);
            if has_any {
                for (page, dirty) in (first..).zip(group).filter(|(_, dirty)| **dirty & bit != 0) {
                    *dirty &= !bit;
                    taken.push(page);
                }
            }
            first += 8;
        }
        taken
    }

    /// Takes the numbers (address / 4096) of pages whose code was overwritten.
    pub(crate) fn take_stale_code(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.stale_code)
    }

    /// True if [`Self::take_stale_code`] has something to give.
    pub fn has_stale_code(&self) -> bool {
        !self.stale_code.is_empty()
    }

    /// Forgets which pages hold decoded code, for an engine that starts afresh.
    pub fn forget_code(&mut self) {
        self.code.fill(0);
        self.stale_code.clear();
    }
}

/// The bits of the granules that `len` bytes at `addr` touch.
fn granules(addr: GuestPhysAddr, len: u64) -> u64 {
    let first = addr.0 % PAGE_SIZE / GRANULE;
    let last = (addr.0 % PAGE_SIZE + len - 1) / GRANULE;
    assert!(last < PAGE_SIZE / GRANULE, "granules of one page");
    (u64::MAX >> (63 - (last - first))) << first
}

/// Cuts `len` bytes at `addr` at page boundaries.
fn pieces(addr: GuestPhysAddr, len: usize) -> impl Iterator<Item = (GuestPhysAddr, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = addr.0.wrapping_add(done as u64);
        let room = (PAGE_SIZE - at % PAGE_SIZE) as usize;
        let end = len.min(done + room);
        let range = done..end;
        done = end;
        Some((GuestPhysAddr(at), range))
    })
}

/// RAM that owns its bytes, for tests of CPUs without a board.
pub struct OwnedMemory {
    // Held so that the pointer in `memory` stays good.
    _bytes: Vec<u8>,
    /// The memory.
    pub memory: GuestMemory,
}

impl OwnedMemory {
    /// `len_bytes` of zeroed RAM from address 0.
    pub fn new(len_bytes: u64) -> Self {
        let mut bytes = vec![0u8; len_bytes as usize];
        let layout = RamLayout { len_bytes, low_limit: HIGH_START - (1 << 30) };
        // SAFETY: the vector is owned beside the memory, never touched or resized.
        let memory = unsafe { GuestMemory::new(bytes.as_mut_ptr(), layout) };
        OwnedMemory { _bytes: bytes, memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_has_a_hole_and_a_high_part() {
        let layout = RamLayout { len_bytes: 5 << 30, low_limit: 3 << 30 };
        assert_eq!(layout.offset_of(GuestPhysAddr(0x9_ffff)), Some(0x9_ffff));
        assert_eq!(layout.offset_of(GuestPhysAddr(0xa_0000)), None);
        assert_eq!(layout.offset_of(GuestPhysAddr(3 << 30)), None);
        assert_eq!(layout.offset_of(GuestPhysAddr(4 << 30)), Some(3 << 30));
        assert_eq!(layout.offset_of(GuestPhysAddr((6 << 30) - 1)), Some((5 << 30) - 1));
        assert_eq!(layout.offset_of(GuestPhysAddr(6 << 30)), None);
    }

    #[test]
    fn a_replaced_page_loses_its_code_and_no_other_does() {
        let len_bytes = 1 << 20;
        let mut bytes = vec![0u8; len_bytes as usize];
        let layout = RamLayout { len_bytes, low_limit: 0x8000 };
        // SAFETY: the vector lives longer than the memory, and is not resized.
        let mut mem = unsafe { GuestMemory::new(bytes.as_mut_ptr(), layout) };
        mem.take_dirty_pages();
        let (low, high, other) = (GuestPhysAddr(0x2010), GuestPhysAddr(HIGH_START + 0x1000), GuestPhysAddr(0x3000));
        for addr in [low, high, other] {
            mem.note_code(addr, 4);
        }
        for page in [2, 4, 9] {
            mem.note_replaced(page);
        }
        assert_eq!(mem.take_stale_code(), [2, HIGH_START / PAGE_SIZE + 1]);
        assert!(!mem.holds_code(low) && !mem.holds_code(high) && mem.holds_code(other));
        assert_eq!(mem.take_dirty_pages(), [2, 4, 9]);
    }

    #[test]
    fn a_lent_page_is_kept_for_each_who_has_it() {
        let mut owned = OwnedMemory::new(1 << 20);
        let mem = &mut owned.memory;
        mem.take_dirty_pages();
        let (one, other) = (mem.lender(), mem.lender());
        mem.write(GuestPhysAddr(0x1000), &[9]);
        mem.take_dirty_pages();
        mem.lend_pages(&one, 5, &[1, 2]);
        mem.lend_pages(&other, 6, &[1]);
        assert!(one.claim(2, 5));
        mem.write(GuestPhysAddr(0x1000), &[1]);
        mem.write(GuestPhysAddr(0x1001), &[2]);
        mem.write(GuestPhysAddr(0x2000), &[3]);
        assert!(!one.claim(1, 5));
        for (lent, number) in [(&one, 5), (&other, 6)] {
            let kept = lent.take_kept(Vec::new());
            assert_eq!((kept.len(), kept[0].page, kept[0].number, kept[0].bytes[0]), (1, 1, number, 9));
        }
        drop((one, other));
        mem.lender();
        assert_eq!(mem.lent.len(), 1, "who is gone is forgotten");
    }

    /// Fills each page with its number, but for page 7, and notes which it was asked for.
    struct Numbers(Arc<std::sync::Mutex<Vec<u64>>>);

    impl PageSource for Numbers {
        fn load(&mut self, page: u64, to: &mut PageBytes) -> Result<(), super::super::absent::SourceError> {
            self.0.lock().expect("nobody panics").push(page);
            to.fill(page as u8);
            if page == 7 { Err("page 7 is missing".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn absent_pages_come_when_they_are_touched() {
        let mut owned = OwnedMemory::new(1 << 20);
        let mem = &mut owned.memory;
        assert!(mem.write(GuestPhysAddr(0x1000), &[9; 0x3000]));
        mem.note_code(GuestPhysAddr(0x2000), 4);
        mem.take_dirty_pages();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        mem.make_absent(&[2, 3, 5, 255], Box::new(Numbers(asked.clone())));
        assert_eq!((mem.absent_page_count(), mem.absent_pages()), (4, vec![2, 3, 5, 255]));
        assert_eq!((mem.take_stale_code(), mem.take_dirty_pages()), (vec![2], vec![2, 3, 5, 255]));
        let mut byte = [0];
        assert!(mem.read(GuestPhysAddr(0x1fff), &mut byte) && byte == [9] && asked.lock().unwrap().is_empty());
        assert!(mem.read(GuestPhysAddr(0x2000), &mut byte) && byte == [2]);
        assert!(mem.write(GuestPhysAddr(0x3fff), &[1, 1]), "a part is written, the rest is what the source has");
        assert!(mem.read(GuestPhysAddr(0x3ffe), &mut byte) && byte == [3]);
        assert_eq!(*asked.lock().unwrap(), [2, 3], "each once, and no other");
        mem.make_present([255]);
        assert_eq!(mem.bytes()[255 << 12], 0);
        assert_eq!((mem.bytes()[5 << 12], mem.absent_page_count(), mem.take_dirty_pages()), (5, 0, vec![3, 4]));
    }

    #[test]
    fn a_page_that_cannot_be_had_is_no_ram_and_is_told() {
        let mut owned = OwnedMemory::new(1 << 20);
        let mem = &mut owned.memory;
        mem.take_dirty_pages();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        mem.make_absent(&[6, 7], Box::new(Numbers(asked.clone())));
        assert!(!mem.has_lost_page());
        let mut byte = [1];
        assert!(!mem.read(GuestPhysAddr(0x7000), &mut byte) && byte == [1]);
        assert!(!mem.write(GuestPhysAddr(0x7000), &byte) && mem.page_at(7).is_none() && mem.page_at(256).is_none());
        assert!(mem.has_lost_page());
        let lost = mem.take_lost_page().expect("a page was lost");
        assert_eq!((lost.page, lost.error.to_string().as_str()), (7, "page 7 is missing"));
        assert_eq!((mem.has_lost_page(), mem.absent_pages()), (false, vec![6, 7]));
        assert_eq!(mem.page_at(6).map(|page| page[9]), Some(6));
        mem.make_present([7]);
        assert!(mem.read(GuestPhysAddr(0x7000), &mut byte));
    }

    #[test]
    fn dirty_pages_are_taken_once() {
        let mut ram = OwnedMemory::new(1 << 20);
        let mem = &mut ram.memory;
        assert_eq!(mem.take_dirty_pages().len(), 256);
        assert!(mem.take_dirty_pages().is_empty());
        assert!(mem.write(GuestPhysAddr(0x1fff), &[1; 2]) && mem.write(GuestPhysAddr(0x1fff), &[1; 2]));
        assert_eq!(mem.dirty_page_count(), 2);
        assert_eq!(mem.take_dirty_pages(), vec![1, 2]);
        assert_eq!(mem.dirty_page_count(), 0);
        mem.mark_all_dirty();
        assert_eq!(mem.dirty_page_count(), 256);
        assert_eq!(mem.take_dirty_pages().len(), 256);
    }

    #[test]
    fn watched_pages_keep_what_they_were() {
        let mut ram = OwnedMemory::new(1 << 20);
        let mem = &mut ram.memory;
        assert!(mem.write(GuestPhysAddr(0x1000), &[7; 4]));
        mem.watch_pages([1, 2, 3]);
        assert!(mem.write(GuestPhysAddr(0x1001), &[8; 0x1000]));
        assert!(mem.write(GuestPhysAddr(0x4000), &[8; 4]));
        let kept = mem.take_preimages();
        assert_eq!(kept.iter().map(|(page, _)| *page).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(kept[0].1[..5], [7, 7, 7, 7, 0]);
        assert!(!mem.unwatch_page(1));
        assert!(mem.unwatch_page(3) && !mem.unwatch_page(3));
        assert!(mem.write(GuestPhysAddr(0x3000), &[8; 4]));
        assert!(mem.take_preimages().is_empty());
        mem.watch_pages([1, 2]);
        assert!(mem.write(GuestPhysAddr(0x1000), &[9; 4]));
        mem.unwatch_pages();
        assert!(mem.write(GuestPhysAddr(0x2000), &[9; 4]));
        assert!(mem.take_preimages().is_empty());
    }

    #[test]
    fn checkpoints_snapshots_and_watches_do_not_see_each_other() {
        let mut ram = OwnedMemory::new(1 << 20);
        let mem = &mut ram.memory;
        assert_eq!((mem.take_dirty_pages().len(), mem.take_pages_for_snapshot().len()), (256, 256));
        assert!(mem.write(GuestPhysAddr(0x1000), &[7]));
        assert_eq!(mem.take_dirty_pages(), [1]);
        assert!(mem.write(GuestPhysAddr(0x2000), &[7]));
        assert_eq!(mem.take_pages_for_snapshot(), [1, 2]);
        mem.watch_pages([2]);
        assert_eq!((mem.take_pages_for_snapshot(), mem.dirty_page_count()), (vec![], 1));
        assert!(mem.write(GuestPhysAddr(0x2000), &[8]));
        assert_eq!(mem.take_preimages().len(), 1);
        assert_eq!((mem.take_dirty_pages(), mem.take_pages_for_snapshot()), (vec![2], vec![2]));
    }

    #[test]
    fn a_write_beside_code_leaves_it_and_a_write_on_it_drops_it() {
        let mut ram = OwnedMemory::new(1 << 20);
        let mem = &mut ram.memory;
        assert!(mem.note_code(GuestPhysAddr(0x1040), 64));
        assert!(mem.write(GuestPhysAddr(0x1000), &[1; 64]));
        assert!(mem.take_stale_code().is_empty());
        assert!(mem.write(GuestPhysAddr(0x0fff), &[1; 66]));
        assert_eq!(mem.take_stale_code(), vec![1]);
        assert!(!mem.holds_code(GuestPhysAddr(0x1000)));
    }
}
