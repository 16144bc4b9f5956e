//! The cache of decoded code: straight runs of instructions, by physical address and code size.

use crate::decode::{Decoded, decode};
use crate::memory::phys::GuestMemory;
use crate::memory::touched::touched;
use crate::op::Op;
use crate::units::GuestPhysAddr;
use crate::vcpu::{CodeSize, Vcpu};
use bytemuck::zeroed_vec;
use std::collections::BTreeMap;

/// Slots of the table that addresses are hashed into.
const SLOTS: usize = 1 << 16;
/// Instructions in a block at most.
const MAX_BLOCK: usize = 64;

/// One block. All zeros is an empty slot.
#[derive(Clone, Copy, bytemuck::Zeroable)]
struct Slot {
    /// See [`key`]; 0 in an empty slot.
    key: u64,
    first: u32,
    len: u16,
    bytes: u16,
}

const EMPTY: Slot = Slot { key: 0, first: 0, len: 0, bytes: 0 };

/// What is known of an address.
#[derive(Clone, Copy)]
pub enum Found {
    /// A block: its first op, how many ops, how many bytes.
    Block { first: u32, len: u16, bytes: u16 },
    /// An instruction that goes on in the next page.
    Crossing,
}

/// See the module's text.
pub struct BlockCache {
    slots: Vec<Slot>,
    ops: Vec<Op>,
    /// The slots used by each physical page, so that its code can be dropped.
    pages: BTreeMap<u64, Vec<u32>>,
    /// Entries in `pages`, some of which may be overwritten since: what crosses a page has no ops to count.
    entered: usize,
    /// Decoded instructions held at most; then everything is dropped and decoded again.
    max_ops: usize,
}

/// Physical address and code size in one word that is not zero.
fn key(at: GuestPhysAddr, code: CodeSize) -> u64 {
    at.0 | (code as u64 + 1) << 60
}

#[inline(always)]
fn slot_of(key: u64) -> usize {
    ((key ^ key >> 14 ^ key >> 45) as usize) % SLOTS
}

impl BlockCache {
    /// Empty, for `max_ops` instructions (48 bytes each).
    pub fn new(max_ops: usize) -> Self {
        let max_ops = max_ops.max(MAX_BLOCK);
        let mut slots = zeroed_vec(SLOTS);
        touched(&mut slots, EMPTY);
        BlockCache { slots, ops: Vec::new(), pages: BTreeMap::new(), entered: 0, max_ops }
    }

    /// The ops of a block, from its first on.
    #[inline(always)]
    pub fn ops(&self, first: u32, len: usize) -> &[Op] {
        &self.ops[first as usize..first as usize + len]
    }

    /// The block at `at`, if it is there.
    #[inline(always)]
    pub fn lookup(&self, at: GuestPhysAddr, code: CodeSize) -> Option<Found> {
        let key = key(at, code);
        let slot = &self.slots[slot_of(key)];
        if slot.key != key {
            return None;
        }
        Some(match slot.len {
            0 => Found::Crossing,
            len => Found::Block { first: slot.first, len, bytes: slot.bytes },
        })
    }

    /// Decodes the block at `at`; `None` if it is not RAM. An instruction that crosses the page is remembered
    /// as such.
    pub fn decode(&mut self, cpu: &mut Vcpu, mem: &mut GuestMemory, at: GuestPhysAddr) -> Option<Found> {
        if self.ops.len() + MAX_BLOCK > self.max_ops || self.entered >= self.max_ops {
            self.clear();
        }
        self.entered += 1;
        let offset = (at.0 & 0xfff) as usize;
        let page = mem.page(at)?;
        let first = self.ops.len() as u32;
        let end = self.decode_run(cpu, page, offset);
        let len = self.ops.len() as u32 - first;
        let end = if len == 0 { page.len() } else { end };
        let key = key(at, cpu.mode.code);
        let slot = Slot { key, first, len: len as u16, bytes: (end - offset) as u16 };
        self.slots[slot_of(key)] = slot;
        self.pages.entry(at.0 >> 12).or_default().push(slot_of(key) as u32);
        if mem.note_code(at, (end - offset) as u64) {
            cpu.tlb.forbid_fast_writes(GuestPhysAddr(at.0 & !0xfff));
        }
        self.lookup(at, cpu.mode.code)
    }

    /// Decodes from `offset` of a page up to a jump or the page's end; returns the offset reached.
    fn decode_run(&mut self, cpu: &Vcpu, page: &[u8; 4096], mut offset: usize) -> usize {
        for idx in 0..MAX_BLOCK {
            match decode(&page[offset..], offset as u16, cpu.mode.code, cpu.model) {
                Decoded::Truncated => break,
                Decoded::Op { starts_block: true, .. } if idx > 0 => break,
                Decoded::Op { mut op, ends_block, .. } => {
                    op.idx = idx as u8;
                    offset += usize::from(op.len);
                    self.ops.push(op);
                    if ends_block || offset >= 4096 {
                        break;
                    }
                }
            }
        }
        offset
    }

    /// Drops all code of physical page number `page`.
    pub fn drop_page(&mut self, page: u64) {
        for slot in self.pages.remove(&page).unwrap_or_default() {
            let slot = &mut self.slots[slot as usize];
            if slot.key != 0 && slot.key << 4 >> 16 == page {
                *slot = EMPTY;
            }
        }
    }

    fn clear(&mut self) {
        self.slots.fill(EMPTY);
        self.ops.clear();
        self.entered = 0;
        self.pages.clear();
    }
}
