//! Recordings from anyone: a small one with changes, to its bytes or to the messages in its blocks (whose
//! checksums are made right again). It is refused, or it opens and replays as far as it is sound.

use std::sync::{Arc, OnceLock};

use machine::{Idle, Input, Machine, MachineConfig};
use timeline::format::block::{self, Kind};
use timeline::format::preamble::PREAMBLE_BYTES;
use timeline::format::records::EndReason;
use timeline::reader::Reader;
use timeline::replayer::Control;
use timeline::sink::MemorySink;
use timeline::{Recorder, RecorderOptions, Recording, Replayer, Target};

use crate::machine::program;
use crate::restore::wire;
use crate::script::Script;

/// RAM of the recorded machine; replays of recordings that claim more are left out.
const RAM_BYTES: u64 = 1 << 20;
/// Steps that are recorded between two inputs.
const STEPS: u64 = 700;
/// How often a replay is looked at before it is given up: a changed recording may claim to last for months.
const MAX_LOOKS: u32 = 40;

/// Opens and replays what the script makes of a recording.
///
/// # Panics
/// If an unchanged recording does not replay, or a changed one makes the reader misbehave.
pub fn run(bytes: &[u8]) {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    let mut file = SOUND.get_or_init(record).clone();
    let mut script = Script::new(bytes);
    let blocks = script.flag();
    let is_changed = !script.is_over();
    if is_changed && blocks {
        change_blocks(&mut file, &mut script);
    }
    while is_changed && !blocks && !script.is_over() {
        change_bytes(&mut file, &mut script);
    }
    match Recording::from_source(Box::new(file)) {
        Ok(recording) => replay(Arc::new(recording), !is_changed),
        Err(error) => assert!(is_changed, "a sound recording is refused: {error}"),
    }
}

/// A recording of a guest that talks to devices, with inputs.
fn record() -> Vec<u8> {
    let config = MachineConfig { vcpus: 2, ..MachineConfig::new(RAM_BYTES) };
    // No code for other vCPUs; then a loop and a read of a port, again and again.
    let decisions = [vec![0], (0..150).flat_map(|i| [12, 40 + i, 4, i % 20, i, i]).collect()].concat();
    let (state, ram) = program::start(config, &mut Script::new(&decisions));
    let mut machine = Machine::new(config).expect("a small machine");
    machine.restore(state, &ram).expect("a state of the same machine");
    let sink = MemorySink::default();
    let options = RecorderOptions { first_interval: Some(2 * STEPS), ..RecorderOptions::default() };
    let mut recorder = Recorder::start(&mut machine, Box::new(sink.clone()), options).expect("room in memory");
    for i in 0..8 {
        let until = machine.insn_count() + STEPS;
        machine.run(until, Idle::Jump);
        recorder.input(&mut machine, if i % 2 == 0 { Input::SerialByte(i) } else { Input::Key(vec![i]) });
        recorder.poll(&mut machine);
    }
    recorder.finish(&mut machine, EndReason::Stopped, 0).expect("room in memory");
    sink.bytes()
}

/// Changes the content of one or two blocks, and leaves the index out.
fn change_blocks(file: &mut Vec<u8>, script: &mut Script<'_>) {
    let reader = Reader::new(Box::new(file.clone())).expect("bytes in memory");
    let walk = reader.walk().expect("bytes in memory");
    let first = script.below(walk.blocks.len());
    let second = if script.flag() { script.below(walk.blocks.len()) } else { first };
    file.truncate(PREAMBLE_BYTES);
    for (number, place) in walk.blocks.iter().enumerate() {
        let kind = place.kind.expect("a kind that is written here");
        let (_, mut payload) = reader.payload(place).expect("a sound block");
        if number == first || number == second {
            wire::change(&mut payload, script);
        }
        if kind != Kind::Index {
            file.extend(block::encode(kind, number as u32, &payload));
        }
    }
}

fn change_bytes(file: &mut Vec<u8>, script: &mut Script<'_>) {
    let at = script.u32() as usize % file.len().max(1);
    match script.u8() % 4 {
        0 => file.truncate(at),
        1 => file.extend(script.value().to_le_bytes()),
        _ => {
            if let Some(byte) = file.get_mut(at) {
                *byte = script.u8();
            }
        }
    }
}

/// Replays a little, or all of it if it is sound.
fn replay(recording: Arc<Recording>, is_sound: bool) {
    if recording.config().is_ok_and(|config| config.ram_bytes != RAM_BYTES || config.vcpus > 4) {
        return;
    }
    let (start, end) = (recording.start(), recording.end_position());
    let wanted = recording.end().map(|end| end.digest);
    let mut replayer = match Replayer::new(recording) {
        Ok(replayer) => replayer,
        Err(error) => return assert!(!is_sound, "a sound recording does not start: {error}"),
    };
    let middle = start.insns.saturating_add(2 * STEPS).min(end.insns);
    for target in [Target::Insns(middle), Target::Insns(start.insns), Target::End] {
        if target == Target::End && !is_sound && end.insns.saturating_sub(start.insns) > 20 * STEPS {
            continue;
        }
        let mut looks = 0;
        let result = replayer.seek_watched(target, &mut |_, _| {
            looks += 1;
            if looks > MAX_LOOKS && !is_sound { Control::Pause } else { Control::Continue }
        });
        if let Err(error) = result {
            return assert!(!is_sound, "a sound recording does not replay: {error}");
        }
    }
    if is_sound {
        assert_eq!(Some(replayer.full_digest().0), wanted, "the digest at the end");
    }
}
