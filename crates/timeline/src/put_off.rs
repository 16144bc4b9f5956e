//! States that wait to be packed. Their pages stay in the guest's RAM, which lends them: only those that the guest changes
//! meanwhile are kept aside.
//!
//! A guest that starts changes most of its pages within seconds, and packing those takes longer than that. So states are noted
//! when they are due, and packed when there is processor time for it. The log does not wait: a checkpoint may stand behind events in
//! the file that come after it. If the recorder is killed, only these checkpoints are missing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use machine::{Kept, LentRam};

use crate::encoder::{Checkpoint, Encoder};
use crate::format::PAGE_BYTES;
use crate::format::records::CheckpointKind;
use crate::page_map::Page;

/// Pages that are packed between two looks at the clock.
const PAGES_AT_ONCE: usize = 16;
/// Rooms for pages that the guest changes which are always ready. As many again are kept when they are not needed any more.
const ROOMS: usize = 1024;
/// Bytes of a state without its pages, about.
const STATE_BYTES: u64 = 256 << 10;
/// Pages that the guest's thread can keep between two looks without asking for memory to note them in.
const KEPT_NOTES: usize = 4096;

/// A state to be saved, with what is needed to copy its pages.
pub struct Waiting {
    /// All but RAM.
    pub checkpoint: Checkpoint,
    /// Indexes, ascending, of the pages that may have changed since the state before. For
    /// [`CheckpointKind::Restart`] and [`CheckpointKind::Initial`]: of all that may not be zero.
    pub pages: Vec<u64>,
    /// Where they are.
    pub ram: Arc<LentRam>,
    /// The number with which they were lent: higher than that of any state before.
    pub number: u32,
    /// It is packed at once, whatever that costs.
    pub is_urgent: bool,
}

/// A state of which a part may be packed.
struct Begun {
    waiting: Waiting,
    /// So many of its pages were read.
    read: usize,
    /// Those of them that had changed by then and are not in `kept` yet.
    missing: Vec<u64>,
    /// Pages that have changed, as they were.
    kept: HashMap<u64, Box<Page>>,
}

/// The states that wait, in order.
#[derive(Default)]
pub struct PutOff {
    waiting: VecDeque<Begun>,
    /// Pages that were kept aside for a state that was not added yet.
    early: Vec<Kept>,
    /// The bytes of the pages at hand.
    bytes: Vec<u8>,
    /// Rooms of pages that were kept aside, to be used again.
    rooms: Vec<Box<Page>>,
    /// Empty; for the pages that are kept aside next.
    notes: Vec<Kept>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Pages.
    pub pages: u64,
    /// States that were urgent and are in the file now.
    pub urgent: u64,
    /// The guest's thread has not handed over yet what is needed to go on.
    pub is_stuck: bool,
}

impl PutOff {
    /// Adds one, before which `events` come.
    pub fn add(&mut self, mut waiting: Waiting, events: u64) {
        waiting.checkpoint.events_before.get_or_insert(events);
        self.waiting.push_back(Begun { waiting, read: 0, missing: Vec::new(), kept: HashMap::new() });
        for kept in std::mem::take(&mut self.early) {
            self.sort(kept);
        }
    }

    /// Whether one of them is urgent.
    pub fn is_urgent(&self) -> bool {
        self.urgent() > 0
    }

    /// How many of them are urgent.
    pub fn urgent(&self) -> u64 {
        self.waiting.iter().filter(|begun| begun.waiting.is_urgent).count() as u64
    }

    /// Bytes of memory that they take beside RAM, but for pages that [`Self::collect`] did not see yet.
    pub fn bytes(&self) -> u64 {
        let kept = |begun: &Begun| (begun.kept.len() * PAGE_BYTES) as u64 + STATE_BYTES;
        self.waiting.iter().map(kept).sum::<u64>() + (self.early.len() * PAGE_BYTES) as u64
    }

    /// Pages that are not packed.
    pub fn pages(&self) -> u64 {
        self.waiting.iter().map(Begun::pages).sum()
    }

    /// Those of them that belong to the state with which the recording begins.
    pub fn initial_pages(&self) -> u64 {
        let is_initial = |begun: &&Begun| begun.waiting.checkpoint.kind == CheckpointKind::Initial;
        self.waiting.front().filter(is_initial).map_or(0, Begun::pages)
    }

    /// All pages of states that wait, some of them twice.
    pub fn all_pages(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().flat_map(|begun| begun.waiting.pages.iter().copied())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sees to it that there is room for the pages that the guest changes next.
    pub fn prepare_rooms(&mut self) {
        let Some(last) = self.waiting.back() else { return };
        let ram = &last.waiting.ram;
        ram.give_rooms(&mut self.rooms, ROOMS);
        self.rooms.truncate(ROOMS);
        let missing = ROOMS.saturating_sub(ram.rooms());
        self.rooms.reserve(missing);
        for _ in 0..missing {
            // Written to, so that the guest's thread need not wait for the host to give the memory.
            let room: Result<Box<Page>, _> = vec![1; PAGE_BYTES].into_boxed_slice().try_into();
            self.rooms.extend(room);
        }
        ram.give_rooms(&mut self.rooms, ROOMS);
    }

    /// Packs as long as `goes_on` says so, and at most up to the end of the next urgent state.
    pub fn pack(&mut self, encoder: &mut Encoder, goes_on: &dyn Fn() -> bool) -> Packed {
        let mut packed = Packed::default();
        while !self.waiting.is_empty() && !packed.is_stuck && packed.urgent == 0 && goes_on() {
            let step = self.step(encoder);
            packed.is_stuck = step.is_stuck;
            packed.pages += step.pages;
            packed.urgent += step.urgent;
        }
        packed
    }

    /// Packs a few pages of the first.
    fn step(&mut self, encoder: &mut Encoder) -> Packed {
        self.collect();
        let Some(first) = self.waiting.front_mut() else { return Packed::default() };
        if first.read == 0 && first.waiting.checkpoint.kind == CheckpointKind::Restart {
            encoder.begin_restart(&first.waiting.pages);
        }
        let pages = first.next_pages(&mut self.bytes, &mut self.rooms);
        encoder.add_pages(&pages, &self.bytes);
        let mut packed = Packed { pages: pages.len() as u64, ..Packed::default() };
        if first.read < first.waiting.pages.len() {
            return packed;
        }
        if !first.missing.is_empty() {
            // The guest's thread is about to hand them over, unless something else has its processor.
            packed.is_stuck = packed.pages == 0;
            return packed;
        }
        if let Some(Begun { waiting, .. }) = self.waiting.pop_front() {
            packed.urgent = waiting.is_urgent.into();
            encoder.checkpoint(waiting.checkpoint);
        }
        packed
    }

    /// Takes over the pages that were kept aside, each for the state that it belongs to.
    fn collect(&mut self) {
        let mut rams: Vec<Arc<LentRam>> = Vec::new();
        for begun in &self.waiting {
            if rams.last().is_none_or(|last| !Arc::ptr_eq(last, &begun.waiting.ram)) {
                rams.push(begun.waiting.ram.clone());
            }
        }
        for ram in rams {
            let mut notes = std::mem::take(&mut self.notes);
            notes.reserve(KEPT_NOTES);
            let mut kept = ram.take_kept(notes);
            for kept in kept.drain(..) {
                self.sort(kept);
            }
            self.notes = kept;
        }
    }

    fn sort(&mut self, kept: Kept) {
        if self.waiting.back().is_none_or(|last| last.waiting.number < kept.number) {
            // The state is on its way.
            self.early.push(kept);
        } else if let Some(begun) = self.waiting.iter_mut().find(|begun| begun.waiting.number == kept.number) {
            begun.kept.insert(kept.page, kept.bytes);
        }
    }
}

impl Begun {
    /// Pages that are not packed.
    fn pages(&self) -> u64 {
        (self.waiting.pages.len() - self.read) as u64
    }

    /// Reads a few more of its pages into `bytes`, one after the other, and gives their indexes. The `rooms` of those that were kept aside
    /// are not needed any more.
    fn next_pages(&mut self, bytes: &mut Vec<u8>, rooms: &mut Vec<Box<Page>>) -> Vec<u64> {
        bytes.clear();
        let mut pages = Vec::with_capacity(PAGES_AT_ONCE);
        let end = self.waiting.pages.len().min(self.read + PAGES_AT_ONCE);
        let mut next = self.read;
        self.read = end;
        let Begun { waiting, kept, missing, .. } = self;
        while next < end {
            let first = waiting.pages[next];
            if let Some(page) = kept.remove(&first) {
                bytes.extend_from_slice(&*page);
                rooms.push(page);
                pages.push(first);
                next += 1;
                continue;
            }
            let follows = |&(at, &page): &(u64, &u64)| page == first + at && !kept.contains_key(&page);
            let run = (0..).zip(&waiting.pages[next..end]).take_while(follows).count();
            next += run;
            let start = bytes.len();
            bytes.resize(start + run * PAGE_BYTES, 0);
            waiting.ram.read(first, &mut bytes[start..]);
            let mut good = start;
            for (at, page) in (start..).step_by(PAGE_BYTES).zip(first..first + run as u64) {
                if waiting.ram.claim(page, waiting.number) {
                    bytes.copy_within(at..at + PAGE_BYTES, good);
                    good += PAGE_BYTES;
                    pages.push(page);
                } else {
                    missing.push(page);
                }
            }
            bytes.truncate(good);
        }
        missing.retain(|page| {
            let Some(content) = kept.remove(page) else { return true };
            bytes.extend_from_slice(&*content);
            rooms.push(content);
            pages.push(*page);
            false
        });
        pages
    }
}

#[cfg(test)]
mod tests {
    use machine::save::MachineRestoreError;
    use machine::{Idle, Input, Machine, MachineConfig};
    use x86::InsnCount;

    use super::*;
    use crate::format::log::{Event, EventKind};
    use crate::format::records::EndReason;
    use crate::sink::MemorySink;
    use crate::{Position, Recording, RecordingHeader, Replayer, Target};

    const PAGES: u64 = 256;
    /// Where the guest's code is.
    const CODE: u16 = 0x1000;

    /// A guest each of whose instructions writes a byte at the beginning of a page, one of pages 3 to 15, and what records it.
    struct Guest {
        machine: Machine,
        ram: Arc<LentRam>,
        number: u32,
        encoder: Encoder,
        put_off: PutOff,
        sink: MemorySink,
        /// RAM at each state that was noted.
        seen: Vec<(u64, Vec<u8>)>,
    }

    impl Guest {
        fn new(pages: &[u8]) -> Self {
            let writes: Vec<(u8, u8)> = pages.iter().copied().zip(1..).collect();
            Self::within(&writes, None)
        }

        /// The same with the bytes that it writes, and a budget for the bytes of its states.
        fn within(writes: &[(u8, u8)], budget_bytes: Option<u64>) -> Self {
            let config = MachineConfig::new(PAGES * PAGE_BYTES as u64);
            let mut machine = Machine::new(config).expect("a small machine");
            let mut state = machine.save();
            state.vcpus[0].rip = CODE.into();
            state.vcpus[0].segments[1].base = 0;
            // mov byte [page * 1000h], value
            let mov = |&(page, value): &(u8, u8)| [0xc6, 0x06, 0x00, page << 4, value];
            let code: Vec<u8> = writes.iter().flat_map(mov).collect();
            let write = |ram: &mut machine::ram::RamMapping| -> Result<(), MachineRestoreError> {
                Ok(ram.write(CODE.into(), &code)?)
            };
            machine.restore_with(state, write).expect("a possible state");
            machine.take_dirty_pages();
            let ram = Arc::new(machine.lent_ram().expect("a reader"));
            let sink = MemorySink::default();
            let header = RecordingHeader { config: Some(machine.config().into()), ..RecordingHeader::default() };
            let mut encoder = Encoder::new(Box::new(sink.clone()), &header, PAGES);
            if let Some(bytes) = budget_bytes {
                encoder = encoder.with_budget(bytes);
            }
            let mut guest =
                Guest { machine, ram, number: 0, encoder, put_off: PutOff::default(), sink, seen: Vec::new() };
            let all: Vec<u64> = (0..PAGES).collect();
            let initial = guest.note_pages(CheckpointKind::Initial, all);
            guest.put_off.add(initial, 0);
            guest.pack(usize::MAX);
            guest
        }

        fn run(&mut self, insns: u64) {
            self.machine.run(InsnCount(self.machine.insn_count().0 + insns), Idle::Stop);
            self.machine.settle();
        }

        fn note(&mut self) -> Waiting {
            let pages = self.machine.take_dirty_pages();
            self.note_pages(CheckpointKind::Seek, pages)
        }

        fn note_pages(&mut self, kind: CheckpointKind, pages: Vec<u64>) -> Waiting {
            self.number += 1;
            self.machine.lend_pages(&self.ram, self.number, &pages);
            self.seen.push((self.machine.insn_count().0, self.machine.ram_bytes().to_vec()));
            let checkpoint = Checkpoint {
                position: Position::of(&self.machine),
                kind,
                state: self.machine.save(),
                config: None,
                base: Position::default(),
                events_before: None,
            };
            Waiting { checkpoint, pages, ram: self.ram.clone(), number: self.number, is_urgent: false }
        }

        fn add(&mut self, waiting: Waiting) {
            self.put_off.add(waiting, self.encoder.events());
        }

        fn pack(&mut self, steps: usize) {
            let left = std::cell::Cell::new(steps);
            self.put_off.pack(&mut self.encoder, &|| left.replace(left.get().saturating_sub(1)) > 0);
        }

        /// Ends the recording, and compares RAM at each state of the file with what was seen there.
        fn check(mut self, states: std::ops::RangeInclusive<usize>) -> Recording {
            let digest = self.machine.digest().0;
            self.encoder.end(Position::of(&self.machine), EndReason::Stopped, 0, digest);
            self.encoder.writer().write().expect("there is room");
            let open = || Recording::from_source(Box::new(self.sink.bytes())).expect("it opens");
            assert!(states.contains(&open().checkpoints().len()), "{} states", open().checkpoints().len());
            for (at, info) in open().checkpoints().iter().enumerate() {
                let mut replayer = Replayer::new(Arc::new(open())).expect("it can be replayed");
                replayer.restore_file(at).expect("the state is whole");
                let (_, ram) =
                    self.seen.iter().find(|(insns, _)| *insns == info.position.insns).expect("one that was noted");
                assert!(replayer.machine().ram_bytes() == ram, "RAM at state {at}");
                assert_eq!(replayer.full_digest().0, info.digest, "state {at}");
            }
            open()
        }
    }

    #[test]
    fn what_changes_before_it_is_packed_is_saved_as_it_was() {
        let mut guest = Guest::new(&[3, 4, 5, 3, 4, 6, 3, 3, 5]);
        for _ in 0..3 {
            guest.run(3);
            let state = guest.note();
            guest.add(state);
        }
        assert_eq!(guest.put_off.pages(), 8);
        guest.pack(usize::MAX);
        assert_eq!(guest.put_off.pages(), 0);
        let rooms = guest.put_off.rooms.len();
        assert!((1..=5).contains(&rooms), "what was kept is used again: {rooms}");
        guest.check(4..=4);
    }

    #[test]
    fn packing_stops_behind_what_is_urgent() {
        let mut guest = Guest::new(&[3, 4, 5, 6]);
        for is_urgent in [true, false] {
            guest.run(2);
            let state = guest.note();
            guest.add(Waiting { is_urgent, ..state });
        }
        let all = guest.put_off.pages();
        let packed = guest.put_off.pack(&mut guest.encoder, &|| true);
        assert_eq!((packed.urgent, guest.put_off.urgent()), (1, 0));
        assert!(packed.pages > 0 && guest.put_off.pages() == all - packed.pages && guest.put_off.pages() > 0);
        guest.pack(usize::MAX);
        guest.check(3..=3);
    }

    #[test]
    fn what_changes_before_its_state_is_added_is_not_lost() {
        let mut guest = Guest::new(&[3, 4, 5, 4, 6]);
        guest.run(3);
        let first = guest.note();
        guest.add(first);
        guest.put_off.prepare_rooms();
        assert_eq!(guest.ram.rooms(), ROOMS);
        guest.run(1);
        let second = guest.note();
        guest.run(1);
        assert_eq!(guest.ram.rooms() + guest.ram.kept_count(), ROOMS, "what is kept takes room that is there");
        // Only the first is known, and pages of both were kept aside.
        guest.pack(1);
        guest.add(second);
        guest.pack(usize::MAX);
        guest.check(3..=3);
    }

    #[test]
    fn checkpoints_may_stand_behind_later_events() {
        let mut guest = Guest::new(&[3, 4, 5, 6]);
        for byte in [b'a', b'b'] {
            guest.run(2);
            let state = guest.note();
            guest.add(state);
            let position = Position::of(&guest.machine);
            guest.machine.input(Input::SerialByte(byte));
            guest.encoder.log(&[Event { position, kind: EventKind::Input(Input::SerialByte(byte)) }]);
        }
        guest.pack(usize::MAX);
        let recording = guest.check(3..=3);
        let places: Vec<_> =
            recording.checkpoints().iter().map(|info| (info.position.insns, info.events_before)).collect();
        assert_eq!(places, [(0, 0), (2, 0), (4, 1)]);
        let mut replayer = Replayer::new(Arc::new(recording)).expect("it can be replayed");
        replayer.seek(Target::Insns(4)).expect("the place is there");
    }

    #[test]
    fn thinning_spares_what_a_state_that_is_packed_in_part_needs() {
        let noted = |budget_bytes| {
            // What the last one leaves is what the first state had, which goes.
            let writes: Vec<(u8, u8)> = (1..=8).map(|value| (3, value)).chain([(4, 1)]).collect();
            let mut guest = Guest::within(&writes, budget_bytes);
            let initial_bytes = guest.encoder.writer().checkpoint_bytes();
            for _ in 0..8 {
                guest.run(1);
                let state = guest.note();
                guest.add(state);
                guest.pack(usize::MAX);
            }
            (guest, initial_bytes)
        };
        let (mut unlimited, initial_bytes) = noted(None);
        // So much that three quarters of it are used.
        let used_bytes = unlimited.encoder.writer().checkpoint_bytes() - initial_bytes;
        let (mut guest, _) = noted(Some(initial_bytes + used_bytes * 4 / 3));
        guest.run(1);
        let Waiting { checkpoint, pages, .. } = guest.note();
        let ram = guest.machine.ram_bytes();
        let bytes: Vec<u8> =
            pages.iter().flat_map(|&page| ram[page as usize * PAGE_BYTES..][..PAGE_BYTES].to_vec()).collect();
        guest.encoder.add_pages(&pages, &bytes);
        guest.encoder.make_room();
        assert!(guest.encoder.is_thinning());
        guest.encoder.writer().write().expect("there is room");
        while guest.encoder.thin() {}
        guest.encoder.checkpoint(checkpoint);
        guest.check(3..=9);
    }
}
