//! The messages in the blocks' payloads. Fields are only ever added.

use machine::{MachineConfig, MachineState};
use prost::Message;
use prost::bytes::Bytes;
use x86::{CpuModel, VirtualTime};

use super::FormatError;
use crate::position::Position;

/// A [`Position`].
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PositionRecord {
    /// Steps since power-on.
    #[prost(uint64, tag = "1")]
    pub insns: u64,
    /// Virtual time in units of 1/840 ns.
    #[prost(uint64, tag = "2")]
    pub time_units: u64,
}

impl From<Position> for PositionRecord {
    fn from(position: Position) -> Self {
        PositionRecord { insns: position.insns, time_units: position.time.units() }
    }
}

impl From<PositionRecord> for Position {
    fn from(record: PositionRecord) -> Self {
        Position { insns: record.insns, time: VirtualTime::from_units(record.time_units) }
    }
}

/// A [`MachineConfig`].
#[derive(Clone, PartialEq, Message)]
pub struct ConfigRecord {
    /// RAM in bytes.
    #[prost(uint64, tag = "1")]
    pub ram_bytes: u64,
    /// vCPUs.
    #[prost(uint32, tag = "2")]
    pub vcpus: u32,
    /// The level of the CPU model: 2 or 3.
    #[prost(uint32, tag = "3")]
    pub cpu_level: u32,
    /// Port F4h ends the run.
    #[prost(bool, tag = "4")]
    pub debug_exit: bool,
    /// The RTC at power-on.
    #[prost(uint64, tag = "5")]
    pub rtc_start_unix_seconds: u64,
    /// The seed of a varied schedule.
    #[prost(uint64, optional, tag = "6")]
    pub chaos_seed: Option<u64>,
}

impl From<&MachineConfig> for ConfigRecord {
    fn from(config: &MachineConfig) -> Self {
        let MachineConfig { ram_bytes, vcpus, cpu_model, debug_exit, rtc_start_unix_seconds, chaos_seed } = *config;
        ConfigRecord {
            ram_bytes,
            vcpus: vcpus.into(),
            cpu_level: cpu_model as u32,
            debug_exit,
            rtc_start_unix_seconds,
            chaos_seed,
        }
    }
}

impl ConfigRecord {
    /// The configuration.
    ///
    /// # Errors
    /// If no machine has it.
    pub fn to_config(&self) -> Result<MachineConfig, FormatError> {
        let cpu_model = [CpuModel::V2, CpuModel::V3].into_iter().find(|model| *model as u32 == self.cpu_level);
        Ok(MachineConfig {
            ram_bytes: self.ram_bytes,
            vcpus: u8::try_from(self.vcpus).map_err(|_| FormatError::Content("the number of vCPUs is impossible"))?,
            cpu_model: cpu_model.ok_or(FormatError::CpuModel(self.cpu_level))?,
            debug_exit: self.debug_exit,
            rtc_start_unix_seconds: self.rtc_start_unix_seconds,
            chaos_seed: self.chaos_seed,
        })
    }
}

/// What was started, for people to read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BootDescription {
    /// Name of the kernel file.
    #[prost(string, tag = "1")]
    pub kernel: String,
    /// Name of the initrd; empty: none.
    #[prost(string, tag = "2")]
    pub initrd: String,
    /// Kernel command line.
    #[prost(string, tag = "3")]
    pub command_line: String,
    /// BLAKE3 of the kernel file, if known.
    #[prost(bytes = "vec", tag = "4")]
    pub kernel_blake3: Vec<u8>,
    /// BLAKE3 of the initrd, if known.
    #[prost(bytes = "vec", tag = "5")]
    pub initrd_blake3: Vec<u8>,
}

/// The first block.
#[derive(Clone, PartialEq, Message)]
pub struct RecordingHeader {
    /// The machine.
    #[prost(message, optional, tag = "1")]
    pub config: Option<ConfigRecord>,
    /// The engine that recorded.
    #[prost(string, tag = "2")]
    pub engine: String,
    /// What was started.
    #[prost(message, optional, tag = "3")]
    pub boot: Option<BootDescription>,
    /// Where the recording starts.
    #[prost(message, optional, tag = "4")]
    pub start: Option<PositionRecord>,
    /// When it was started, in seconds since 1970 of the host's clock.
    #[prost(uint64, tag = "5")]
    pub created_unix_seconds: u64,
    /// The program that recorded, and its version.
    #[prost(string, tag = "6")]
    pub program: String,
    /// The clock mode, `virtual` or `real`.
    #[prost(string, tag = "7")]
    pub clock: String,
    /// What a reader must know; see the version rule.
    #[prost(string, repeated, tag = "8")]
    pub features: Vec<String>,
    /// The state whose pages the initial state has: its id in a store. The changes of the initial checkpoint are made to
    /// them. Empty: none; the changes are made to zeros.
    #[prost(string, tag = "9")]
    pub snapshot: String,
    /// How much later than the machine's own power-on counts positions count, after resets.
    #[prost(message, optional, tag = "10")]
    pub base: Option<PositionRecord>,
    /// With `snapshot`: the directory of the store, for people to read.
    #[prost(string, tag = "11")]
    pub tree: String,
}

/// Pages of RAM, each content with a number. Numbers ascend through the file from 1 on, and some are missing where the
/// file was thinned out; number 0 is the page of zeros.
#[derive(Clone, PartialEq, Message)]
pub struct PagesRecord {
    /// The number of the first.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// Their bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// How many numbers are missing before each page but the first; empty: none.
    #[prost(uint64, repeated, tag = "3")]
    pub gaps: Vec<u64>,
}

impl PagesRecord {
    /// A record of pages with these ascending numbers.
    pub fn new(numbers: &[u64], data: Vec<u8>) -> Self {
        let mut gaps: Vec<u64> = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
        if gaps.iter().all(|&gap| gap == 0) {
            gaps.clear();
        }
        PagesRecord { first: numbers.first().copied().unwrap_or(0), data: data.into(), gaps }
    }

    /// The numbers of the pages, ascending.
    ///
    /// # Errors
    /// If there are not as many as pages, or they are impossible.
    pub fn numbers(&self) -> Result<Vec<u64>, FormatError> {
        let bad = FormatError::Content("a block of pages has impossible numbers");
        let count = self.data.len() / super::PAGE_BYTES;
        let fits = self.gaps.is_empty() || self.gaps.len() + 1 == count;
        if count == 0 || !fits || !self.data.len().is_multiple_of(super::PAGE_BYTES) {
            return Err(bad);
        }
        let mut numbers = vec![self.first];
        for i in 1..count {
            let gap = self.gaps.get(i - 1).copied().unwrap_or(0);
            let next = numbers[i - 1].checked_add(gap).and_then(|number| number.checked_add(1));
            numbers.push(next.ok_or(bad.clone())?);
        }
        Ok(numbers)
    }
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum CheckpointKind {
    /// The state can be gone back to.
    Seek = 0,
    /// The recording begins with it.
    Initial = 1,
    /// The machine was replaced by this one: a reset.
    Restart = 2,
}

/// A state of the machine. Its RAM is that of the checkpoint before, with changes.
#[derive(Clone, PartialEq, Message)]
pub struct CheckpointRecord {
    /// Where.
    #[prost(message, optional, tag = "1")]
    pub position: Option<PositionRecord>,
    /// [`CheckpointKind`].
    #[prost(enumeration = "CheckpointKind", tag = "2")]
    pub kind: i32,
    /// How many events of the log come before it.
    #[prost(uint64, tag = "3")]
    pub events_before: u64,
    /// All but RAM.
    #[prost(message, optional, tag = "4")]
    pub state: Option<MachineState>,
    /// The digest, see [`machine::page_hashes`].
    #[prost(bytes = "vec", tag = "5")]
    pub digest: Vec<u8>,
    /// Indexes of changed pages: the first, then differences.
    #[prost(uint64, repeated, tag = "6")]
    pub page_steps: Vec<u64>,
    /// The numbers of their contents: the first, then differences.
    #[prost(sint64, repeated, tag = "7")]
    pub content_steps: Vec<i64>,
    /// Only with [`CheckpointKind::Restart`]: the machine from here on.
    #[prost(message, optional, tag = "8")]
    pub config: Option<ConfigRecord>,
    /// Where the machine's own counts begin.
    #[prost(message, optional, tag = "9")]
    pub base: Option<PositionRecord>,
}

impl CheckpointRecord {
    /// Where it is.
    pub fn position(&self) -> Position {
        self.position.unwrap_or_default().into()
    }

    /// Sets the changed pages: (index, number of the content), indexes ascending.
    pub fn set_changes(&mut self, changes: &[(u64, u64)]) {
        let ChangesRecord { page_steps, content_steps } = ChangesRecord::new(changes.iter().copied());
        (self.page_steps, self.content_steps) = (page_steps, content_steps);
    }

    /// The changed pages.
    ///
    /// # Errors
    /// If there are not as many contents as pages.
    pub fn changes(&self) -> Result<impl Iterator<Item = (u64, u64)>, FormatError> {
        changes(&self.page_steps, &self.content_steps)
    }
}

/// The part of a [`CheckpointRecord`] that says which pages changed: the state beside it is passed over.
#[derive(Clone, PartialEq, Message)]
pub struct ChangesRecord {
    /// As there.
    #[prost(uint64, repeated, tag = "6")]
    pub page_steps: Vec<u64>,
    /// As there.
    #[prost(sint64, repeated, tag = "7")]
    pub content_steps: Vec<i64>,
}

impl ChangesRecord {
    /// A list of changes: (index, number of the content), indexes ascending.
    pub fn new(changes: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut record = ChangesRecord::default();
        let (mut index, mut content) = (0, 0);
        for (page, number) in changes {
            record.page_steps.push(page.wrapping_sub(index));
            record.content_steps.push(number.wrapping_sub(content) as i64);
            (index, content) = (page, number);
        }
        record
    }

    /// As [`CheckpointRecord::changes`].
    ///
    /// # Errors
    /// As there.
    pub fn changes(&self) -> Result<impl Iterator<Item = (u64, u64)>, FormatError> {
        changes(&self.page_steps, &self.content_steps)
    }
}

fn changes(page_steps: &[u64], content_steps: &[i64]) -> Result<impl Iterator<Item = (u64, u64)>, FormatError> {
    if page_steps.len() != content_steps.len() {
        return Err(FormatError::Content("a checkpoint has more pages than contents, or fewer"));
    }
    let steps = page_steps.iter().zip(content_steps);
    Ok(steps.scan((0_u64, 0_u64), |(page, number), (page_step, content_step)| {
        *page = page.wrapping_add(*page_step);
        *number = number.wrapping_add(*content_step as u64);
        Some((*page, *number))
    }))
}

/// Events, in columns; see [`super::log`].
#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    /// From where the first differences count.
    #[prost(message, optional, tag = "1")]
    pub start: Option<PositionRecord>,
    /// Number of the first event in the recording, from 0.
    #[prost(uint64, tag = "2")]
    pub first: u64,
    /// A byte an event.
    #[prost(bytes = "vec", tag = "3")]
    pub kinds: Vec<u8>,
    /// Steps since the event before.
    #[prost(uint64, repeated, tag = "4")]
    pub insn_steps: Vec<u64>,
    /// How much later than at one step a nanosecond, in units; empty: all zero.
    #[prost(sint64, repeated, tag = "5")]
    pub time_excesses: Vec<i64>,
    /// Numbers that belong to events.
    #[prost(sint64, repeated, tag = "6")]
    pub values: Vec<i64>,
    /// Bytes that belong to events.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub blobs: Vec<Vec<u8>>,
}

/// How the recorded run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum EndReason {
    /// The recording was stopped; the machine ran on.
    Stopped = 0,
    /// The guest switched the machine off.
    PowerOff = 1,
    /// Triple fault.
    TripleFault = 2,
    /// The guest asked for an exit status.
    DebugExit = 3,
    /// Every vCPU was halted for good.
    Halted = 4,
    /// The guest asked for a reset.
    Reset = 5,
}

/// The last block before the index of a recording that was finished.
#[derive(Clone, PartialEq, Message)]
pub struct EndRecord {
    /// Where.
    #[prost(message, optional, tag = "1")]
    pub position: Option<PositionRecord>,
    /// [`EndReason`].
    #[prost(enumeration = "EndReason", tag = "2")]
    pub reason: i32,
    /// [`machine::Machine::digest`].
    #[prost(bytes = "vec", tag = "3")]
    pub digest: Vec<u8>,
    /// Events in the log.
    #[prost(uint64, tag = "4")]
    pub events: u64,
    /// With [`EndReason::DebugExit`]: the status.
    #[prost(uint32, tag = "5")]
    pub status: u32,
}

/// Where everything is.
#[derive(Clone, PartialEq, Message)]
pub struct IndexRecord {
    /// Kind of each block before the index.
    #[prost(bytes = "vec", tag = "1")]
    pub kinds: Vec<u8>,
    /// Bytes of each, header included.
    #[prost(uint64, repeated, tag = "2")]
    pub lengths: Vec<u64>,
    /// The numbers missing before the first page of each block of pages.
    #[prost(uint64, repeated, tag = "3")]
    pub page_gaps: Vec<u64>,
    /// For each block of pages, how much higher than the number of its first page that of its last is.
    #[prost(uint64, repeated, tag = "5")]
    pub page_spans: Vec<u64>,
    /// Checkpoints, without their states and pages.
    #[prost(message, repeated, tag = "4")]
    pub checkpoints: Vec<CheckpointRecord>,
    /// For each block of [`super::lists`], the number of its first checkpoint in the recording, from 0.
    #[prost(uint64, repeated, tag = "6")]
    pub lists: Vec<u64>,
}
