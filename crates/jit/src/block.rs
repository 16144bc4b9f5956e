//! Translated blocks, their names, and the jumps between them.

use crate::known::far_link_at;
use x86::GuestPhysAddr;

/// A translated block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where it starts.
    pub at: GuestPhysAddr,
    /// The data view it was made for.
    pub view: u8,
    /// It is the careful translation, see [`translate`].
    pub careful: bool,
    /// Its number of instructions; 0 if it cannot be translated.
    pub len: u16,
    /// Offset of its code.
    pub code: u32,
    /// If its instruction crosses into a second page, the place of what its code compares that page's address
    /// with; else 0.
    pub guard: u32,
}

impl Block {
    /// Its name.
    pub fn key(&self) -> u64 {
        key(self.at, self.view) | if self.careful { CAREFUL } else { 0 }
    }
}

/// What is added to a physical address and view to name a block: no name is 0.
pub const KEY_BIAS: u64 = 4;

/// Mark in the name of a careful translation; no physical address reaches there.
pub const CAREFUL: u64 = 1 << 63;

/// Name of a block.
pub const fn key(at: GuestPhysAddr, view: u8) -> u64 {
    (at.0 << 2) + view as u64 + KEY_BIAS
}

/// A jump within a page to a block that may not exist yet.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Place of the jump's distance in the code.
    pub place: u32,
    /// The target's physical address.
    pub target: GuestPhysAddr,
    /// Its careful translation is meant.
    pub careful: bool,
}

/// The jumps of all blocks that can be linked.
#[derive(Default)]
pub struct Links {
    /// Those within a page.
    near: Vec<Link>,
    /// How many lead to other pages, see [`crate::known`].
    far: usize,
}

impl Links {
    /// How many there are of both kinds.
    pub fn len(&self) -> (usize, usize) {
        (self.near.len(), self.far)
    }

    /// Forgets all that were added since there were `len`.
    pub fn truncate(&mut self, len: (usize, usize)) {
        self.near.truncate(len.0);
        self.far = len.1;
    }

    /// Adds one within a page; gives its number.
    pub fn add(&mut self, link: Link) -> u64 {
        self.near.push(link);
        self.near.len() as u64 - 1
    }

    /// Adds one to another page; gives its place, relative to the code.
    pub fn add_far(&mut self) -> i32 {
        self.far += 1;
        far_link_at(self.far - 1)
    }

    /// The one within a page with this number.
    pub fn near(&self, number: usize) -> Link {
        self.near[number]
    }
}
