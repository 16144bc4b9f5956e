//! Loads and stores at linear addresses: the fast path by TLB tag, and the slow path that
//! walks, splits accesses that cross pages, reaches devices and watches debug registers.
#![allow(unsafe_code)]

use super::paging::{Intent, Translation};
use super::phys::PAGE_SIZE;
use super::tlb::{self, FetchPage, ModelEntry, VALID, view};
use crate::fault::{Trap, vector};
use crate::op::{AddressMode, Env, Op};
use crate::segment::{ATTR_CODE, ATTR_DB, ATTR_DC, ATTR_RW, seg};
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::Vcpu;

/// An integer that memory holds: u8 to u64.
pub trait Value: Copy {
    /// Size in bytes.
    const BYTES: usize;
    /// Size in bits.
    const BITS: u32 = Self::BYTES as u32 * 8;
    /// From the low bits of a register.
    fn from_u64(value: u64) -> Self;
    /// Zero-extended.
    fn to_u64(self) -> u64;
}

macro_rules! value {
    ($($t:ty),*) => {$(
        impl Value for $t {
            const BYTES: usize = size_of::<$t>();
            #[inline(always)]
            fn from_u64(value: u64) -> Self { value as $t }
            #[inline(always)]
            fn to_u64(self) -> u64 { u64::from(self) }
        }
    )*};
}
value!(u8, u16, u32, u64);

/// True if bits 63 to 47 of a linear address are equal.
#[inline(always)]
pub const fn is_canonical(linear: u64) -> bool {
    ((linear as i64) << 16 >> 16) as u64 == linear
}

impl Vcpu {
    /// The effective address (offset in the segment) of `op`'s memory operand.
    #[inline(always)]
    pub fn effective_address(&self, op: &Op) -> u64 {
        let base = self.gpr[usize::from(op.base & 31)];
        let index = self.gpr[usize::from(op.index & 31)];
        let ea = base.wrapping_add(index << (op.scale & 3)).wrapping_add(op.disp as u64);
        match op.amode {
            AddressMode::Flat64 | AddressMode::Based64 => ea,
            AddressMode::Truncated64 | AddressMode::Segment32 => ea & 0xffff_ffff,
            AddressMode::Segment16 => ea & 0xffff,
        }
    }

    /// The linear address of `op`'s memory operand of `bytes` bytes, segment checks done.
    ///
    /// # Errors
    /// #GP or #SS for the segment's limit and type. Canonical form is checked at the access.
    #[inline(always)]
    pub fn operand_address(&mut self, op: &Op, bytes: usize, write: bool) -> Result<u64, Trap> {
        if op.amode == AddressMode::Flat64 {
            return Ok(self.effective_address(op));
        }
        let ea = self.effective_address(op);
        self.linear(usize::from(op.seg), ea, bytes as u64, write)
    }

    /// The linear address of `bytes` bytes at offset `ea` in a segment, segment checks done.
    ///
    /// # Errors
    /// As [`Self::operand_address`].
    #[inline]
    pub fn linear(&mut self, segment: usize, ea: u64, bytes: u64, write: bool) -> Result<u64, Trap> {
        if self.is_64bit() {
            let base = if segment == seg::FS || segment == seg::GS { self.seg[segment].base } else { 0 };
            return Ok(ea.wrapping_add(base));
        }
        let s = &self.seg[segment & 7];
        let last = ea.wrapping_add(bytes - 1);
        let code = s.has(ATTR_CODE);
        let readable = !code || s.has(ATTR_RW);
        let writable = !code && s.has(ATTR_RW);
        // In real and virtual-8086 mode only the limit counts.
        let typed = !(self.mode.real || self.mode.v86);
        let expand_down = !code && s.has(ATTR_DC);
        let in_limit = if expand_down {
            let top = if s.has(ATTR_DB) { 0xffff_ffff } else { 0xffff };
            ea > u64::from(s.limit) && last <= top
        } else {
            // A segment of 4 GiB has no end: addresses wrap (SDM Vol. 3A, 5.3, leaves it open).
            last <= u64::from(s.limit) || s.limit == u32::MAX
        };
        let allowed = !typed || (s.usable() && if write { writable } else { readable });
        if !in_limit || !allowed {
            return Err(self.segment_fault(segment));
        }
        Ok(s.base.wrapping_add(ea) & 0xffff_ffff)
    }

    /// #SS(0) for the stack segment, #GP(0) for the others.
    #[cold]
    pub fn segment_fault(&mut self, segment: usize) -> Trap {
        let vector = if segment == seg::SS { vector::SS } else { vector::GP };
        self.raise_with(vector, 0)
    }

    /// Loads from a linear address in the current view. `segment` chooses #SS or #GP for a
    /// non-canonical address.
    ///
    /// # Errors
    /// #PF, #AC, #GP(0) or #SS(0).
    #[inline(always)]
    pub fn load<T: Value>(&mut self, env: &mut Env<'_>, op: &Op, linear: u64) -> Result<T, Trap> {
        let fast = &self.tlb.fast.data[usize::from(self.mode.view)];
        let i = tlb::index(linear);
        if linear.wrapping_add(fast.read[i]) <= PAGE_SIZE - T::BYTES as u64 {
            let host = linear.wrapping_add(fast.addend[i]) as *const T;
            // SAFETY: a read tag stands only for a page of mapped RAM, whose host address minus
            // its linear one is the addend; the access lies within the page.
            return Ok(unsafe { host.read_unaligned() });
        }
        let at = env.count_at(self, op);
        let view = self.mode.view;
        let raw = self.load_slow(env, linear, T::BYTES, usize::from(op.seg), view, Intent::Read, at)?;
        Ok(T::from_u64(raw))
    }

    /// Loads the old value of a read-modify-write: what a store there would fault on, this does.
    ///
    /// # Errors
    /// As [`Self::load`], with the intent to write.
    #[inline(always)]
    pub fn load_for_write<T: Value>(&mut self, env: &mut Env<'_>, op: &Op, linear: u64) -> Result<T, Trap> {
        let fast = &self.tlb.fast.data[usize::from(self.mode.view)];
        let i = tlb::index(linear);
        if linear.wrapping_add(fast.write[i]) <= PAGE_SIZE - T::BYTES as u64 {
            let host = linear.wrapping_add(fast.addend[i]) as *const T;
            // SAFETY: as in `load`; pages with a write tag are readable too.
            return Ok(unsafe { host.read_unaligned() });
        }
        let at = env.count_at(self, op);
        let view = self.mode.view;
        let raw = self.load_slow(env, linear, T::BYTES, usize::from(op.seg), view, Intent::Write, at)?;
        Ok(T::from_u64(raw))
    }

    /// Stores to a linear address in the current view.
    ///
    /// # Errors
    /// As [`Self::load`]; nothing is written then.
    #[inline(always)]
    pub fn store<T: Value>(&mut self, env: &mut Env<'_>, op: &Op, linear: u64, value: T) -> Result<(), Trap> {
        let fast = &self.tlb.fast.data[usize::from(self.mode.view)];
        let i = tlb::index(linear);
        if linear.wrapping_add(fast.write[i]) <= PAGE_SIZE - T::BYTES as u64 {
            let host = linear.wrapping_add(fast.addend[i]) as *mut T;
            // SAFETY: a write tag stands only for a page of mapped RAM that holds no decoded code.
            unsafe { host.write_unaligned(value) };
            return Ok(());
        }
        let at = env.count_at(self, op);
        let view = self.mode.view;
        self.store_slow(env, linear, T::BYTES, value.to_u64(), usize::from(op.seg), view, at)
    }

    /// Loads as the processor itself does for descriptor tables, task state and the like:
    /// with supervisor rights, whatever the privilege level.
    ///
    /// # Errors
    /// #PF or #GP(0).
    pub fn load_system<T: Value>(&mut self, env: &mut Env<'_>, linear: u64) -> Result<T, Trap> {
        let at = self.count;
        let raw = self.load_slow(env, linear, T::BYTES, seg::DS, view::SUPERVISOR, Intent::Read, at)?;
        Ok(T::from_u64(raw))
    }

    /// Stores likewise.
    ///
    /// # Errors
    /// #PF or #GP(0).
    pub fn store_system<T: Value>(&mut self, env: &mut Env<'_>, linear: u64, value: T) -> Result<(), Trap> {
        let at = self.count;
        self.store_slow(env, linear, T::BYTES, value.to_u64(), seg::DS, view::SUPERVISOR, at)
    }

    /// Reads `out.len()` bytes (at most a page) at a linear address; all pages are checked first.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_bytes(&mut self, env: &mut Env<'_>, op: &Op, linear: u64, out: &mut [u8]) -> Result<(), Trap> {
        self.probe(env, op, linear, out.len(), Intent::Read)?;
        for (i, chunk) in out.chunks_mut(8).enumerate() {
            let at = self.wrap_linear(linear, linear.wrapping_add(8 * i as u64));
            match chunk.len() {
                8 => chunk.copy_from_slice(&self.load::<u64>(env, op, at)?.to_le_bytes()),
                _ => {
                    for (j, byte) in chunk.iter_mut().enumerate() {
                        *byte = self.load::<u8>(env, op, at.wrapping_add(j as u64))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes `data` (at most a page) at a linear address; all pages are checked first.
    ///
    /// # Errors
    /// As [`Self::load`]; nothing is written then.
    pub fn store_bytes(&mut self, env: &mut Env<'_>, op: &Op, linear: u64, data: &[u8]) -> Result<(), Trap> {
        self.probe(env, op, linear, data.len(), Intent::Write)?;
        for (i, chunk) in data.chunks(8).enumerate() {
            let at = self.wrap_linear(linear, linear.wrapping_add(8 * i as u64));
            match <[u8; 8]>::try_from(chunk) {
                Ok(whole) => self.store(env, op, at, u64::from_le_bytes(whole))?,
                Err(_) => {
                    for (j, &byte) in chunk.iter().enumerate() {
                        self.store(env, op, at.wrapping_add(j as u64), byte)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Faults if an access of `len` bytes would, and does nothing else.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn probe(&mut self, env: &mut Env<'_>, op: &Op, linear: u64, len: usize, intent: Intent) -> Result<(), Trap> {
        let view = self.mode.view;
        let last = linear.wrapping_add(len as u64 - 1);
        self.check_form(linear, last, usize::from(op.seg))?;
        self.translate(env, linear, intent, view)?;
        if (linear ^ last) & !0xfff != 0 {
            self.translate(env, self.wrap_linear(linear, last & !0xfff), intent, view)?;
        }
        Ok(())
    }

    /// Copies `len` bytes forward, element by element of `T`, if both ranges lie within one page
    /// each and in the TLB's fast paths; `false` (and nothing done) otherwise.
    #[inline]
    pub fn bulk_copy<T: Value>(&mut self, from: u64, to: u64, len: u64) -> bool {
        let fast = &self.tlb.fast.data[usize::from(self.mode.view)];
        let (source, target) = (tlb::index(from), tlb::index(to));
        let source_room = PAGE_SIZE.checked_sub(from.wrapping_add(fast.read[source]));
        let target_room = PAGE_SIZE.checked_sub(to.wrapping_add(fast.write[target]));
        if source_room.is_none_or(|room| len > room) || target_room.is_none_or(|room| len > room) {
            return false;
        }
        let source = from.wrapping_add(fast.addend[source]) as *const u8;
        let target = to.wrapping_add(fast.addend[target]) as *mut u8;
        let distance = (target as u64).wrapping_sub(source as u64);
        if distance >= len {
            // SAFETY: both ranges lie within pages of mapped RAM whose tags matched. A target
            // that starts inside the source would have to see what was just written: not here.
            unsafe { std::ptr::copy(source, target, len as usize) };
            return true;
        }
        for i in (0..len as usize).step_by(T::BYTES) {
            // SAFETY: as above, one element at a time.
            unsafe { (target.add(i) as *mut T).write_unaligned((source.add(i) as *const T).read_unaligned()) };
        }
        true
    }

    /// Fills `len` bytes with copies of `value` under the same conditions.
    #[inline]
    pub fn bulk_fill<T: Value>(&mut self, to: u64, len: u64, value: T) -> bool {
        let fast = &self.tlb.fast.data[usize::from(self.mode.view)];
        let i = tlb::index(to);
        let room = PAGE_SIZE.checked_sub(to.wrapping_add(fast.write[i]));
        if room.is_none_or(|room| len > room) {
            return false;
        }
        let target = to.wrapping_add(fast.addend[i]) as *mut T;
        for i in 0..len as usize / T::BYTES {
            // SAFETY: the range lies within a page of mapped RAM whose write tag matched.
            unsafe { target.add(i).write_unaligned(value) };
        }
        true
    }

    /// #SS(0) or #GP(0) for an address that is not canonical.
    ///
    /// # Errors
    /// Those, in long mode; `segment` chooses.
    pub fn check_canonical(&mut self, linear: u64, segment: usize) -> Result<(), Trap> {
        self.check_form(linear, linear, segment)
    }

    /// Outside 64-bit mode what follows the last of 32-bit linear addresses is the first: where `linear`
    /// comes to that began at `first`.
    fn wrap_linear(&self, first: u64, linear: u64) -> u64 {
        if self.is_64bit() || first >> 32 != 0 { linear } else { linear & 0xffff_ffff }
    }

    fn check_form(&mut self, first: u64, last: u64, segment: usize) -> Result<(), Trap> {
        if self.long_mode() && !(is_canonical(first) && is_canonical(last)) {
            return Err(self.segment_fault(segment));
        }
        Ok(())
    }

    /// Translates one page through the TLB model, filling it on a miss.
    fn translate(&mut self, env: &mut Env<'_>, linear: u64, intent: Intent, view: u8) -> Result<GuestPhysAddr, Trap> {
        let write = intent == Intent::Write;
        if let Some(entry) = self.tlb.lookup(view, linear)
            && (entry.writable || !write)
        {
            return Ok(GuestPhysAddr(entry.page.0 | linear & 0xfff));
        }
        let Translation { page, writable, shift, global } = self.walk(env.mem, linear, intent, view)?;
        // An accessed or dirty bit may have been set in the middle of code.
        env.leave |= env.mem.has_stale_code();
        self.tlb.insert(view, ModelEntry { tag: linear & !0xfff | VALID, page, writable, shift, global });
        Ok(GuestPhysAddr(page.0 | linear & 0xfff))
    }

    /// True if accesses to the page of `linear` may go unseen as far as the CPU is concerned.
    pub(super) fn may_be_fast(&self, view: u8, linear: u64) -> bool {
        view != view::USER_ALIGN && !self.watches_page(linear)
    }

    /// Gives the entry of `linear` fast tags where every access to its page may go unseen.
    fn refresh_fast(&mut self, env: &mut Env<'_>, linear: u64, page: GuestPhysAddr, view: u8) {
        if !self.may_be_fast(view, linear) {
            return;
        }
        let Some(entry) = self.tlb.lookup(view, linear) else { return };
        let writable = entry.writable && !env.mem.holds_code(page);
        let Some(host) = env.mem.host_page(page) else { return };
        if writable {
            env.mem.note_dirty(page);
        }
        self.tlb.allow_fast(view, linear, host, writable);
    }

    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn load_slow(
        &mut self,
        env: &mut Env<'_>,
        linear: u64,
        bytes: usize,
        segment: usize,
        view: u8,
        intent: Intent,
        at: InsnCount,
    ) -> Result<u64, Trap> {
        let last = linear.wrapping_add(bytes as u64 - 1);
        // An access across the border of canonical addresses is misaligned before it is anything else.
        self.check_form(linear, linear, segment)?;
        self.check_alignment(linear, bytes, view)?;
        self.check_form(last, last, segment)?;
        let first = self.translate(env, linear, intent, view)?;
        let crosses = (linear ^ last) & !0xfff != 0;
        let head = if crosses { (PAGE_SIZE - linear % PAGE_SIZE) as usize } else { bytes };
        let tail = if crosses {
            Some(self.translate(env, self.wrap_linear(linear, last & !0xfff), intent, view)?)
        } else {
            None
        };
        self.watch(linear, bytes as u64, intent == Intent::Write);
        env.leave |= self.debug_pending != 0;
        let mut value = read_physical(env, first, head, at);
        if let Some(second) = tail {
            value |= read_physical(env, second, bytes - head, at) << (8 * head);
        } else {
            self.refresh_fast(env, linear, first, view);
        }
        Ok(value)
    }

    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn store_slow(
        &mut self,
        env: &mut Env<'_>,
        linear: u64,
        bytes: usize,
        value: u64,
        segment: usize,
        view: u8,
        at: InsnCount,
    ) -> Result<(), Trap> {
        let last = linear.wrapping_add(bytes as u64 - 1);
        // An access across the border of canonical addresses is misaligned before it is anything else.
        self.check_form(linear, linear, segment)?;
        self.check_alignment(linear, bytes, view)?;
        self.check_form(last, last, segment)?;
        let first = self.translate(env, linear, Intent::Write, view)?;
        let crosses = (linear ^ last) & !0xfff != 0;
        let head = if crosses { (PAGE_SIZE - linear % PAGE_SIZE) as usize } else { bytes };
        let tail = if crosses {
            Some(self.translate(env, self.wrap_linear(linear, last & !0xfff), Intent::Write, view)?)
        } else {
            None
        };
        self.watch(linear, bytes as u64, true);
        env.leave |= self.debug_pending != 0;
        write_physical(env, first, head, value, at);
        if let Some(second) = tail {
            write_physical(env, second, bytes - head, value >> (8 * head), at);
        } else {
            self.refresh_fast(env, linear, first, view);
        }
        Ok(())
    }

    /// #AC(0) for a misaligned access where alignment is checked.
    pub(crate) fn check_alignment(&mut self, linear: u64, bytes: usize, view: u8) -> Result<(), Trap> {
        if view == view::USER_ALIGN && !linear.is_multiple_of(bytes as u64) {
            return Err(self.raise_with(vector::AC, 0));
        }
        Ok(())
    }

    /// Looks up the page of the next instruction (its linear address `linear`).
    ///
    /// # Errors
    /// #PF, or #GP(0) if `linear` is not canonical.
    pub fn fetch_page(&mut self, env: &mut Env<'_>, linear: u64) -> Result<GuestPhysAddr, Trap> {
        let tag = linear & !0xfff | VALID;
        if self.tlb.fetch.tag != tag {
            if self.long_mode() && !is_canonical(linear) {
                return Err(self.gp0());
            }
            let page = self.fetch_translate(env, linear)?;
            self.tlb.fetch = FetchPage { tag, page };
        }
        Ok(self.tlb.fetch.page)
    }

    /// Translates the page of an instruction without making it the fetch page.
    ///
    /// # Errors
    /// #PF.
    pub fn fetch_translate(&mut self, env: &mut Env<'_>, linear: u64) -> Result<GuestPhysAddr, Trap> {
        let (view, rights) = if self.mode.cpl == 3 {
            (view::FETCH_USER, view::USER)
        } else {
            (view::FETCH_SUPERVISOR, view::SUPERVISOR)
        };
        if let Some(entry) = self.tlb.lookup(view, linear) {
            return Ok(entry.page);
        }
        let Translation { page, writable: _, shift, global } = self.walk(env.mem, linear, Intent::Fetch, rights)?;
        env.leave |= env.mem.has_stale_code();
        self.tlb.insert(view, ModelEntry { tag: linear & !0xfff | VALID, page, writable: false, shift, global });
        Ok(page)
    }
}

/// Reads 1 to 8 bytes within one page of physical space.
pub fn read_physical(env: &mut Env<'_>, addr: GuestPhysAddr, bytes: usize, at: InsnCount) -> u64 {
    let mut raw = [0; 8];
    if env.mem.read_in_page(addr, &mut raw[..bytes]) {
        return u64::from_le_bytes(raw);
    }
    env.touch_bus();
    let mut value = 0;
    for (offset, size) in bus_pieces(bytes) {
        let piece = env.bus.mmio_read(GuestPhysAddr(addr.0 + offset as u64), size as u8, at);
        value |= piece << (8 * offset);
    }
    value
}

/// Writes 1 to 8 bytes within one page of physical space.
pub fn write_physical(env: &mut Env<'_>, addr: GuestPhysAddr, bytes: usize, value: u64, at: InsnCount) {
    if env.mem.write_in_page(addr, &value.to_le_bytes()[..bytes]) {
        env.leave |= env.mem.has_stale_code();
        return;
    }
    env.touch_bus();
    for (offset, size) in bus_pieces(bytes) {
        let piece = value >> (8 * offset) & (u64::MAX >> (64 - 8 * size));
        env.bus.mmio_write(GuestPhysAddr(addr.0 + offset as u64), size as u8, piece, at);
    }
}

/// Cuts 1 to 8 bytes into bus accesses of 1, 2, 4 or 8 bytes: (offset, size).
fn bus_pieces(bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = bytes - done;
        let size = [8, 4, 2, 1].into_iter().find(|&size| size <= left)?;
        let piece = (done, size);
        done += size;
        Some(piece)
    })
}
