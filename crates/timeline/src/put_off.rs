//! Checkpoints that were copied and wait in memory until there is processor time to pack them.
//!
//! A guest that starts changes most of its pages within seconds. Copying those costs a fraction of packing them, so it is
//! copied at once, and packed while the guest is calm. The log does not wait: a checkpoint may stand behind events in
//! the file that come after it. If the recorder is killed, only these checkpoints are missing.

use std::collections::VecDeque;

use crate::encoder::{Checkpoint, Encoder};
use crate::format::PAGE_BYTES;

/// Pages that are packed between two looks at the clock.
const PAGES_AT_ONCE: usize = 16;
/// Bytes of a state without its pages, about.
const STATE_BYTES: u64 = 64 << 10;

/// The checkpoints that wait, the first of which may be packed in part.
#[derive(Default)]
pub struct PutOff {
    waiting: VecDeque<Checkpoint>,
    /// Pages of the first that are packed.
    packed: usize,
}

impl PutOff {
    /// Adds one, before which `events` come.
    pub fn add(&mut self, checkpoint: Checkpoint, events: u64) {
        self.waiting.push_back(Checkpoint { events_before: Some(events), ..checkpoint });
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> u64 {
        self.waiting.iter().map(|checkpoint| checkpoint.bytes.len() as u64 + STATE_BYTES).sum()
    }

    /// The pages that changed up to each, the last checkpoint first: indexes, and bytes one after the other.
    pub fn changes(&self) -> impl Iterator<Item = (&[u64], &[u8])> {
        self.waiting.iter().rev().map(|checkpoint| (checkpoint.pages.as_slice(), checkpoint.bytes.as_slice()))
    }

    /// Packs as long as `goes_on` says so; a buffer that is not needed any more comes into `spare`. Gives the number of
    /// pages that were packed.
    pub fn pack(&mut self, encoder: &mut Encoder, spare: &mut Vec<u8>, goes_on: &dyn Fn() -> bool) -> u64 {
        let mut count = 0;
        while let Some(first) = self.waiting.front()
            && goes_on()
        {
            let end = first.pages.len().min(self.packed + PAGES_AT_ONCE);
            let bytes = &first.bytes[self.packed * PAGE_BYTES..end * PAGE_BYTES];
            encoder.add_pages(&first.pages[self.packed..end], bytes);
            count += (end - self.packed) as u64;
            self.packed = end;
            if end == first.pages.len()
                && let Some(mut checkpoint) = self.waiting.pop_front()
            {
                self.packed = 0;
                checkpoint.pages.clear();
                *spare = std::mem::take(&mut checkpoint.bytes);
                encoder.checkpoint(checkpoint);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use machine::page_hashes::{PageHashes, hash};
    use machine::{Input, Machine, MachineConfig, MachineState};

    use super::*;
    use crate::format::log::{Event, EventKind};
    use crate::format::records::{CheckpointKind, EndReason};
    use crate::sink::MemorySink;
    use crate::{Position, Recording, RecordingHeader, Replayer, Target};

    const PAGES: u64 = 256;

    fn machine() -> Machine {
        let config = MachineConfig {
            ram_bytes: PAGES * PAGE_BYTES as u64,
            vcpus: 1,
            cpu_model: x86::CpuModel::V2,
            debug_exit: false,
            rtc_start_unix_seconds: 0,
            chaos_seed: None,
        };
        Machine::new(config).expect("a small machine")
    }

    /// A state `insns` steps after power-on in which `pages` are filled with `byte`.
    fn checkpoint(machine: &mut Machine, insns: u64, pages: &[u64], byte: u8) -> Checkpoint {
        machine.run(x86::InsnCount(insns), machine::Idle::Stop);
        machine.settle();
        Checkpoint {
            position: Position::of(machine),
            kind: if insns == 0 { CheckpointKind::Initial } else { CheckpointKind::Seek },
            state: machine.save(),
            pages: pages.to_vec(),
            bytes: vec![byte; pages.len() * PAGE_BYTES],
            config: None,
            base: Position::default(),
            events_before: None,
        }
    }

    /// A recording of three states and two events, of which `packed` steps of packing are done before it ends.
    fn record(packed: usize) -> (Arc<Recording>, MachineState) {
        let sink = MemorySink::default();
        let mut machine = machine();
        let header = RecordingHeader { config: Some(machine.config().into()), ..RecordingHeader::default() };
        let mut encoder = Encoder::new(Box::new(sink.clone()), &header, PAGES);
        encoder.checkpoint(checkpoint(&mut machine, 0, &[0, 1], 1));
        let mut put_off = PutOff::default();
        let event = |machine: &Machine, byte| Event {
            position: Position::of(machine),
            kind: EventKind::Input(Input::SerialByte(byte)),
        };
        let many: Vec<u64> = (1..40).collect();
        put_off.add(checkpoint(&mut machine, 1000, &many, 2), encoder.events());
        encoder.log(&[event(&machine, b'a')]);
        put_off.add(checkpoint(&mut machine, 2000, &[1, 50], 3), encoder.events());
        encoder.log(&[event(&machine, b'b')]);
        assert!(put_off.bytes() > 41 * PAGE_BYTES as u64);
        let left = std::cell::Cell::new(packed);
        let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
        put_off.pack(&mut encoder, &mut Vec::new(), &goes_on);
        machine.run(x86::InsnCount(2010), machine::Idle::Stop);
        machine.settle();
        let state = machine.save();
        // In two pieces.
        encoder.last_pages(&[51], &[4; PAGE_BYTES]);
        encoder.last_pages(&[50], &[4; PAGE_BYTES]);
        put_off.changes().for_each(|(pages, bytes)| encoder.last_pages(pages, bytes));
        let digest = encoder.digest_of(&state);
        encoder.end(Position::of(&machine), EndReason::Stopped, 0, digest);
        encoder.writer().write().expect("there is room");
        (Arc::new(Recording::from_source(Box::new(sink.bytes())).expect("it opens")), state)
    }

    #[test]
    fn checkpoints_may_stand_behind_later_events() {
        let (recording, _) = record(usize::MAX);
        let places: Vec<_> =
            recording.checkpoints().iter().map(|info| (info.position.insns, info.events_before)).collect();
        assert_eq!(places, [(0, 0), (1000, 0), (2000, 1)]);
        assert_eq!(recording.events().len(), 2);
        let last = recording.checkpoints()[2].position;
        let mut replayer = Replayer::new(recording).expect("it can be replayed");
        replayer.seek(Target::Insns(last.insns + 1)).expect("the place is there");
        let ram = replayer.machine().ram_bytes();
        let first_bytes: Vec<u8> = [0, 1, 2, 39, 40, 50].iter().map(|page| ram[page * PAGE_BYTES]).collect();
        assert_eq!(first_bytes, [1, 3, 2, 2, 0, 3]);
    }

    #[test]
    fn the_digest_at_the_end_is_right_however_much_was_packed() {
        for packed in [0, 1, 2, 3, 4, usize::MAX] {
            let (recording, state) = record(packed);
            let mut hashes = PageHashes::zero(PAGES);
            let bytes = [(0, 1), (1, 3), (50, 4), (51, 4)];
            for (page, byte) in (2..40).map(|page| (page, 2)).chain(bytes) {
                hashes.set(page, hash(&[byte; PAGE_BYTES]));
            }
            let end = recording.end().expect("it was ended");
            assert_eq!(end.digest, hashes.digest(&state).0, "{packed} steps of packing");
        }
    }
}
