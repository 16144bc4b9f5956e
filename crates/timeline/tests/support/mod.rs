//! A small guest, and a session around it that records while it does as a seed says.
#![allow(dead_code)] // each test file uses a part

use machine::{BootSource, Idle, Input, Machine, MachineConfig, StopReason};
use timeline::format::block::{self, Kind};
use timeline::format::preamble::PREAMBLE_BYTES;
use timeline::format::records::EndReason;
use timeline::reader::Reader;
use timeline::sink::MemorySink;
use timeline::{Position, Recorder, RecorderOptions};
use x86::{InsnCount, VirtualTime};

/// A multiboot kernel: timer at 100 Hz and serial interrupts; after each it stores 500 words all over 512 KiB. It
/// echoes what it gets. `q` ends the run (status 33), `r` resets, `t` makes a triple fault.
///
/// Its source is `guest.s` beside this file.
const GUEST: &[u8] = &[
    0x02, 0xb0, 0xad, 0x1b, 0x00, 0x00, 0x01, 0x00, 0xfe, 0x4f, 0x51, 0xe4, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x10,
    0x00, 0x3e, 0x01, 0x10, 0x00, 0x3e, 0x01, 0x10, 0x00, 0x44, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00, 0x17,
    0x00, 0x20, 0x00, 0x10, 0x00, 0xff, 0x07, 0x00, 0x00, 0x11, 0x00, 0x0f, 0x01, 0x15, 0x38, 0x00, 0x10, 0x00, 0xea,
    0x52, 0x00, 0x10, 0x00, 0x08, 0x00, 0xb8, 0x10, 0x00, 0x00, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00,
    0x00, 0x12, 0x00, 0xbf, 0x00, 0x00, 0x11, 0x00, 0xb9, 0x00, 0x01, 0x00, 0x00, 0xba, 0xf6, 0x00, 0x10, 0x00, 0x66,
    0x89, 0x17, 0x66, 0xc7, 0x47, 0x02, 0x08, 0x00, 0x66, 0xc7, 0x47, 0x04, 0x00, 0x8e, 0x89, 0xd0, 0xc1, 0xe8, 0x10,
    0x66, 0x89, 0x47, 0x06, 0x83, 0xc7, 0x08, 0xe2, 0xe3, 0x0f, 0x01, 0x1d, 0x3e, 0x00, 0x10, 0x00, 0xb0, 0x11, 0xe6,
    0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xee, 0xe6, 0x21, 0xb0, 0xff,
    0xe6, 0xa1, 0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x9c, 0xe6, 0x40, 0xb0, 0x2e, 0xe6, 0x40, 0xba, 0xf9, 0x03, 0x00, 0x00,
    0xb0, 0x01, 0xee, 0xba, 0xfc, 0x03, 0x00, 0x00, 0xb0, 0x08, 0xee, 0xbb, 0x45, 0x23, 0x01, 0x00, 0xfb, 0xf4, 0xb9,
    0xf4, 0x01, 0x00, 0x00, 0x69, 0xdb, 0x6d, 0x4e, 0xc6, 0x41, 0x81, 0xc3, 0x39, 0x30, 0x00, 0x00, 0x89, 0xdf, 0xc1,
    0xef, 0x08, 0x81, 0xe7, 0xfc, 0xff, 0x07, 0x00, 0x89, 0x9f, 0x00, 0x00, 0x20, 0x00, 0xe2, 0xe1, 0xeb, 0xd9, 0x60,
    0xba, 0xfd, 0x03, 0x00, 0x00, 0xec, 0xa8, 0x01, 0x74, 0x31, 0xba, 0xf8, 0x03, 0x00, 0x00, 0xec, 0x88, 0xc3, 0xee,
    0x80, 0xfb, 0x71, 0x75, 0x04, 0xb0, 0x10, 0xe6, 0xf4, 0x80, 0xfb, 0x72, 0x75, 0x04, 0xb0, 0xfe, 0xe6, 0x64, 0x80,
    0xfb, 0x74, 0x75, 0x11, 0x66, 0xc7, 0x05, 0x3e, 0x00, 0x10, 0x00, 0x00, 0x00, 0x0f, 0x01, 0x1d, 0x3e, 0x00, 0x10,
    0x00, 0xcc, 0xff, 0x05, 0x00, 0x00, 0x30, 0x00, 0xb0, 0x20, 0xe6, 0x20, 0x61, 0xcf,
];

/// A multiboot kernel that polls the serial port, and keeps each byte, and the time stamp counter, from 2 MiB on.
///
/// Its source is `keeper.s` beside this file.
const KEEPER: &[u8] = &[
    0x02, 0xb0, 0xad, 0x1b, 0x00, 0x00, 0x01, 0x00, 0xfe, 0x4f, 0x51, 0xe4, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x10,
    0x00, 0x54, 0x00, 0x10, 0x00, 0x54, 0x00, 0x10, 0x00, 0x20, 0x00, 0x10, 0x00, 0xbc, 0x00, 0x00, 0x12, 0x00, 0xbf,
    0x00, 0x00, 0x20, 0x00, 0x31, 0xdb, 0x31, 0xf6, 0x43, 0xba, 0xfd, 0x03, 0x00, 0x00, 0xec, 0xa8, 0x01, 0x74, 0xf5,
    0xba, 0xf8, 0x03, 0x00, 0x00, 0xec, 0x88, 0x07, 0x0f, 0x31, 0x89, 0x47, 0x04, 0x83, 0xc7, 0x08, 0xb9, 0xd0, 0x07,
    0x00, 0x00, 0x01, 0xce, 0xe2, 0xfc, 0xeb, 0xda,
];
/// Where it keeps them: each byte is followed, 4 bytes on, by the counter; the next is 8 bytes on.
pub const KEPT: u64 = 0x20_0000;
/// Its instruction that stores a byte.
pub const KEEPS_BYTE: u64 = 0x10_003f;
/// Its instruction that stores the counter.
pub const KEEPS_COUNTER: u64 = 0x10_0043;

/// RAM of the guest.
pub const RAM_BYTES: u64 = 4 << 20;

/// The machine's configuration.
pub fn config(vcpus: u8, chaos_seed: Option<u64>) -> MachineConfig {
    let rtc_start_unix_seconds = 1_000_000_000;
    MachineConfig { vcpus, debug_exit: true, rtc_start_unix_seconds, chaos_seed, ..MachineConfig::new(RAM_BYTES) }
}

/// The guest at its start.
pub fn boot(config: MachineConfig) -> Machine {
    guest_on(Machine::new(config).expect("a machine"))
}

/// The guest at its start on `machine`.
pub fn guest_on(machine: Machine) -> Machine {
    load(machine, GUEST)
}

/// The guest that keeps what it gets, on `machine`.
pub fn keeper(machine: Machine) -> Machine {
    load(machine, KEEPER)
}

fn load(mut machine: Machine, kernel: &[u8]) -> Machine {
    let source = BootSource { kernel, kernel_name: "guest", initrd: None, initrd_name: "", command_line: "" };
    machine.load(&source).expect("the guest loads");
    machine
}

/// The recording `bytes` with the payload of each block changed by `change`, the checksums put right, and without its index.
pub fn altered(bytes: &[u8], change: &mut dyn FnMut(Kind, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let reader = Reader::new(Box::new(bytes.to_vec())).expect("memory can be read");
    let mut result = bytes[..PREAMBLE_BYTES].to_vec();
    for (number, place) in reader.walk().expect("memory can be read").blocks.iter().enumerate() {
        let (header, payload) = reader.payload(place).expect("the block is whole");
        let kind = header.kind.expect("a known kind");
        if kind != Kind::Index {
            result.extend(block::encode(kind, number as u32, &change(kind, payload)));
        }
    }
    result
}

/// SplitMix64 again, so that a seed is a test.
pub struct Random(pub u64);

impl Random {
    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A machine that runs as a session would have it, recorded or not.
pub struct Session {
    pub machine: Machine,
    pub recorder: Option<Recorder>,
    pub serial: Vec<u8>,
    /// Where its machine's own counts begin.
    pub base: Position,
    pub ended: Option<(EndReason, u8)>,
    /// Instants at which it stood, and the digest there.
    pub seen: Vec<(Position, [u8; 32])>,
}

impl Session {
    pub fn new(machine: Machine, base: Position) -> Self {
        Session { machine, recorder: None, serial: Vec::new(), base, ended: None, seen: Vec::new() }
    }

    pub fn position(&self) -> Position {
        Position::of(&self.machine).after(self.base)
    }

    pub fn record(&mut self, sink: &MemorySink, interval: u64) {
        let options = RecorderOptions { first_interval: Some(interval), base: self.base, ..RecorderOptions::default() };
        self.recorder =
            Some(Recorder::start(&mut self.machine, Box::new(sink.clone()), options).expect("recording starts"));
    }

    pub fn input(&mut self, input: Input) {
        match &mut self.recorder {
            Some(recorder) => recorder.input(&mut self.machine, input),
            None => self.machine.input(input),
        }
    }

    /// Runs `insns` steps; an idle machine jumps, or is left where it is.
    pub fn run(&mut self, insns: u64, idle: Idle) -> Option<StopReason> {
        let until = InsnCount(self.machine.insn_count().0 + insns);
        let reason = self.machine.run(until, idle);
        self.serial.extend(self.machine.take_output().serial);
        match reason {
            StopReason::DebugExit(status) => self.ended = Some((EndReason::DebugExit, status)),
            StopReason::TripleFault => self.ended = Some((EndReason::TripleFault, 0)),
            StopReason::Halted => self.ended = Some((EndReason::Halted, 0)),
            StopReason::Reset => self.reset(),
            _ => {}
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.poll(&mut self.machine);
        }
        Some(reason)
    }

    fn reset(&mut self) {
        let end = Position::of(&self.machine);
        let mut config = *self.machine.config();
        config.rtc_start_unix_seconds += end.time.as_ns() / 1_000_000_000;
        let mut old = std::mem::replace(&mut self.machine, boot(config));
        self.base = end.after(self.base);
        if let Some(recorder) = &mut self.recorder {
            recorder.restart(&mut old, &mut self.machine).expect("the restart is recorded");
        }
    }

    /// Does something that `random` chooses.
    pub fn act(&mut self, random: &mut Random) {
        if self.ended.is_some() {
            return;
        }
        match random.below(12) {
            0..=2 => drop(self.run(1 + random.below(20_000), Idle::Jump)),
            3..=4 => self.wait(random),
            5..=6 => self.input(Input::SerialByte(b'a' + random.below(16) as u8)),
            7 => {
                let time = self.machine.now().after_ns(random.below(3_000_000));
                self.input(Input::ClockTo(time));
            }
            8 => self.input(match random.below(4) {
                0 => Input::Mouse { right: random.below(99) as i32 - 50, up: 3, wheel: 0, buttons: 1 },
                1 => Input::PowerButton,
                _ => Input::Key(vec![0x1c, 0xf0, 0x1c]),
            }),
            9 => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.mark(&mut self.machine, "here");
                }
            }
            10 => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.checkpoint(&mut self.machine);
                    recorder.flush(&self.machine).expect("there is room");
                }
            }
            _ => {
                if random.below(6) == 0 {
                    self.input(Input::SerialByte(b'r'));
                }
            }
        }
        self.note();
    }

    /// Runs until the machine idles, then lets time pass as in `real` mode.
    fn wait(&mut self, random: &mut Random) {
        if let Some(StopReason::Idle(wake)) = self.run(1 + random.below(5_000), Idle::Stop) {
            let room = if wake == VirtualTime::NEVER { 1_000_000 } else { wake.as_ns() - self.machine.now().as_ns() };
            let time = self.machine.now().after_ns(random.below(room + 2));
            self.input(Input::ClockTo(time));
        }
    }

    /// Lets time pass with nothing coming in, as a machine that is left alone.
    pub fn idle_for(&mut self, random: &mut Random) {
        if self.ended.is_none() {
            self.run(1 + random.below(50_000), Idle::Jump);
            self.note();
        }
    }

    fn note(&mut self) {
        self.machine.settle();
        let digest = self.machine.digest().0;
        self.seen.push((self.position(), digest));
    }

    pub fn finish(&mut self) {
        let (reason, status) = self.ended.unwrap_or((EndReason::Stopped, 0));
        if let Some(mut recorder) = self.recorder.take() {
            recorder.finish(&mut self.machine, reason, status).expect("there is room");
        }
    }
}
