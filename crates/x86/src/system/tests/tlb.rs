//! What the TLB keeps and drops: PCIDs, global pages, large pages.

use super::*;
use crate::memory::contexts::{CONTEXTS, MAX_KEPT};
use crate::save::CpuState;
use prost::Message;

/// The page table for the linear addresses from 4 MiB on.
const TABLE: u64 = 0x11_0000;
const LINEAR: u64 = 0x40_0000;
/// Pages for it to map, each filled with its number in [`PAGES`].
const PAGES: u64 = 0x20_0000;
const GLOBAL: u64 = 1 << 8;
const NO_FLUSH: u64 = 1 << 63;
/// INVPCID RAX, [RBX]
const INVPCID: [u8; 5] = [0x66, 0x0f, 0x38, 0x82, 0x03];

impl Rig {
    /// With PCIDs and global pages switched on, and 512 small pages at [`LINEAR`].
    fn with_pcids() -> Rig {
        let mut rig = Rig::new(Code::Long64, 0);
        rig.mov_cr(4, cr::CR4_PAE | cr::CR4_PCIDE | cr::CR4_PGE).unwrap();
        rig.poke(0x10_2010, &(TABLE | 7).to_le_bytes());
        for page in 0..256u64 {
            rig.poke(PAGES + (page << 12), &page.to_le_bytes());
        }
        rig
    }

    /// Has the page `page` of [`LINEAR`] lead to page `to`; tells no TLB.
    fn map(&mut self, page: u64, to: u64, bits: u64) {
        self.poke(TABLE + 8 * page, &((PAGES + (to << 12)) | 7 | bits).to_le_bytes());
    }

    /// Which page an access to `page` of [`LINEAR`] reaches: SGDT writes over its number, which is put back.
    fn reached(&mut self, page: u64) -> u64 {
        self.cpu.gdtr.limit = 0xabcd;
        self.cpu.gpr[3] = LINEAR + (page << 12) + 0x800;
        self.run(&[0x0f, 0x01, 0x03]).unwrap();
        let mark = (0..256).find(|page| self.peek(PAGES + (page << 12) + 0x800) == [0xcd, 0xab]).unwrap();
        self.poke(PAGES + (mark << 12) + 0x800, &[0; 2]);
        mark
    }

    fn switch(&mut self, pcid: u64, bits: u64) {
        let base = self.cpu.cr3 & !0xfff;
        self.mov_cr(3, base | pcid | bits).unwrap();
    }

    fn invpcid(&mut self, kind: u64, pcid: u64, linear: u64) {
        self.poke(0x8000, &pcid.to_le_bytes());
        self.poke(0x8008, &linear.to_le_bytes());
        self.cpu.gpr[0] = kind;
        self.cpu.gpr[3] = 0x8000;
        self.run(&INVPCID).unwrap();
    }

    /// What was saved and restored must go on the same.
    fn reload(&mut self) {
        let bytes = self.cpu.save().encode_to_vec();
        self.cpu = Vcpu::new(CpuModel::V3, 0, 2);
        self.cpu.restore(&CpuState::decode(&bytes[..]).unwrap()).unwrap();
        assert_eq!(self.cpu.save().encode_to_vec(), bytes);
    }
}

#[test]
fn entries_wait_for_their_pcid_and_go_when_it_is_loaded_without_bit_63() {
    for reloaded in [false, true] {
        let mut rig = Rig::with_pcids();
        rig.map(0, 1, 0);
        assert_eq!(rig.reached(0), 1);
        rig.map(0, 2, 0);
        assert_eq!(rig.reached(0), 1, "stale");
        rig.switch(7, NO_FLUSH);
        assert_eq!(rig.reached(0), 2, "another PCID has entries of its own");
        rig.map(0, 3, 0);
        if reloaded {
            rig.reload();
        }
        rig.switch(0, NO_FLUSH);
        assert_eq!(rig.reached(0), 1, "stale in its own PCID");
        rig.switch(7, NO_FLUSH);
        assert_eq!(rig.reached(0), 2, "likewise");
        rig.switch(0, 0);
        assert_eq!(rig.reached(0), 3);
        rig.switch(7, NO_FLUSH);
        assert_eq!(rig.reached(0), 2, "the flush was of the other");
        rig.switch(7, 0);
        assert_eq!(rig.reached(0), 3, "the PCID that is current already");
    }
}

#[test]
fn invpcid_drops_what_its_type_says() {
    // Whether each type drops: page 0 of PCID 5, page 1 of PCID 5, page 0 of PCID 0 (current), a global page.
    for (kind, dropped) in [
        (0, [true, false, false, false]),
        (1, [true, true, false, false]),
        (2, [true, true, true, true]),
        (3, [true, true, true, false]),
    ] {
        let mut rig = Rig::with_pcids();
        for (page, bits) in [(0, 0), (1, 0), (2, GLOBAL)] {
            rig.map(page, 1, bits);
        }
        rig.switch(5, NO_FLUSH);
        (0..3).for_each(|page| assert_eq!(rig.reached(page), 1));
        rig.switch(0, NO_FLUSH);
        assert_eq!(rig.reached(0), 1);
        for (page, bits) in [(0, 0), (1, 0), (2, GLOBAL)] {
            rig.map(page, 2, bits);
        }
        rig.invpcid(kind, 5, LINEAR);
        let here = (rig.reached(0), rig.reached(2));
        rig.switch(5, NO_FLUSH);
        let reached = [rig.reached(0), rig.reached(1), here.0, here.1];
        assert_eq!(reached.map(|page| page == 2), dropped, "type {kind}");
    }
}

#[test]
fn invpcid_of_the_current_pcid_leaves_others() {
    for kind in [0, 1] {
        let mut rig = Rig::with_pcids();
        rig.map(0, 1, 0);
        assert_eq!(rig.reached(0), 1);
        rig.switch(5, 0);
        assert_eq!(rig.reached(0), 1);
        rig.map(0, 2, 0);
        rig.invpcid(kind, 5, LINEAR);
        assert_eq!(rig.reached(0), 2);
        rig.switch(0, NO_FLUSH);
        assert_eq!(rig.reached(0), 1);
    }
}

#[test]
fn invlpg_is_for_the_current_pcid_and_global_pages() {
    let mut rig = Rig::with_pcids();
    rig.map(0, 1, 0);
    rig.map(1, 1, GLOBAL);
    assert_eq!((rig.reached(0), rig.reached(1)), (1, 1));
    rig.switch(5, NO_FLUSH);
    rig.map(0, 2, 0);
    rig.map(1, 2, GLOBAL);
    assert_eq!((rig.reached(0), rig.reached(1)), (2, 1), "a global entry is everyone's");
    rig.cpu.gpr[3] = LINEAR;
    rig.run(&[0x0f, 0x01, 0x3b]).unwrap();
    rig.cpu.gpr[3] = LINEAR + 0x1000;
    rig.run(&[0x0f, 0x01, 0x3b]).unwrap();
    rig.switch(0, NO_FLUSH);
    assert_eq!((rig.reached(0), rig.reached(1)), (1, 2));
}

#[test]
fn global_entries_outlive_loads_of_cr3_only_with_pge() {
    for pge in [true, false] {
        let mut rig = Rig::with_pcids();
        let bit = if pge { cr::CR4_PGE } else { 0 };
        rig.mov_cr(4, cr::CR4_PAE | bit).unwrap();
        rig.map(0, 1, GLOBAL);
        assert_eq!(rig.reached(0), 1);
        rig.map(0, 2, GLOBAL);
        rig.switch(0, 0);
        assert_eq!(rig.reached(0), if pge { 1 } else { 2 });
        rig.reload();
        assert_eq!(rig.reached(0), if pge { 1 } else { 2 });
        rig.mov_cr(4, rig.cpu.cr4 ^ cr::CR4_PGE).unwrap();
        assert_eq!(rig.reached(0), 2);
    }
}

#[test]
fn changes_of_mode_drop_the_entries_of_every_pcid() {
    let changes: [fn(&mut Rig); 4] = [
        |rig| rig.mov_cr(0, rig.cpu.cr0 ^ cr::CR0_WP).map(drop).unwrap(),
        |rig| rig.mov_cr(4, rig.cpu.cr4 ^ cr::CR4_PGE).map(drop).unwrap(),
        |rig| rig.mov_cr(4, rig.cpu.cr4 ^ cr::CR4_SMEP).map(drop).unwrap(),
        |rig| {
            rig.switch(0, NO_FLUSH);
            rig.mov_cr(4, rig.cpu.cr4 ^ cr::CR4_PCIDE).map(drop).unwrap();
            rig.mov_cr(4, rig.cpu.cr4 ^ cr::CR4_PCIDE).map(drop).unwrap();
        },
    ];
    for change in changes {
        let mut rig = Rig::with_pcids();
        rig.map(0, 1, 0);
        assert_eq!(rig.reached(0), 1);
        rig.switch(5, 0);
        rig.map(0, 2, 0);
        change(&mut rig);
        rig.switch(0, NO_FLUSH);
        assert_eq!(rig.reached(0), 2);
    }
}

#[test]
fn only_so_many_contexts_are_kept_those_left_last() {
    let mut rig = Rig::with_pcids();
    rig.map(0, 1, 0);
    // One is current, the first of the others had to go.
    let last = CONTEXTS as u64 + 1;
    for pcid in 0..=last {
        rig.switch(pcid, NO_FLUSH);
        assert_eq!(rig.reached(0), 1);
    }
    assert_eq!(rig.cpu.save().tlb.contexts.len(), CONTEXTS);
    rig.map(0, 2, 0);
    rig.reload();
    rig.switch(1, NO_FLUSH);
    assert_eq!(rig.reached(0), 1);
    rig.switch(0, NO_FLUSH);
    assert_eq!(rig.reached(0), 2);
}

#[test]
fn a_large_context_is_dropped_whether_or_not_it_was_restored() {
    for (count, kept) in [(MAX_KEPT, true), (MAX_KEPT + 1, false)] {
        for reloaded in [false, true] {
            let mut rig = Rig::with_pcids();
            // Three large pages, and as many of their parts as are wanted.
            for i in 2..5u64 {
                rig.poke(0x10_2000 + 8 * i, &0x87u64.to_le_bytes());
            }
            for i in 0..count as u64 {
                rig.cpu.gpr[3] = LINEAR + (i << 12);
                // LMSW reads a word, which is 0 or the low byte of a page's number: neither clears PE.
                rig.run(&[0x0f, 0x01, 0x33]).unwrap();
            }
            // Entries filled again count once.
            rig.cpu.gpr[3] = LINEAR + (1 << 24);
            rig.poke(0x10_2000 + 8 * 10, &0x87u64.to_le_bytes());
            rig.run(&[0x0f, 0x01, 0x33]).unwrap();
            rig.cpu.gpr[3] = LINEAR;
            rig.run(&[0x0f, 0x01, 0x33]).unwrap();
            if reloaded {
                rig.reload();
            }
            assert_eq!(rig.cpu.save().tlb.entries.len(), 2 * count);
            rig.switch(3, NO_FLUSH);
            assert_eq!(rig.cpu.save().tlb.contexts.len(), usize::from(kept));
        }
    }
}

#[test]
fn invlpg_drops_all_of_a_large_page_and_nothing_of_its_neighbour() {
    let mut rig = Rig::with_pcids();
    for i in 2..4u64 {
        rig.poke(0x10_2000 + 8 * i, &0x87u64.to_le_bytes());
    }
    for page in [0, 1, 511, 512] {
        rig.cpu.gpr[3] = LINEAR + (page << 12);
        rig.run(&[0x0f, 0x01, 0x33]).unwrap();
    }
    rig.cpu.gpr[3] = LINEAR + 0x5000;
    rig.run(&[0x0f, 0x01, 0x3b]).unwrap();
    let entries = rig.cpu.save().tlb.entries;
    assert_eq!(entries.chunks(2).map(|entry| entry[0] & !0xfff).collect::<Vec<_>>(), [LINEAR + (512 << 12)]);
}
