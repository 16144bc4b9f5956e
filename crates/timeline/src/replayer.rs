//! Runs a recording again: the same machine, the same inputs at the same instants, so the same run.
//!
//! Between two events the machine runs on its own. While no vCPU runs, the step count stands still and time
//! jumps from timer to timer; the replayer makes these jumps itself, so it can stop between them or give an
//! input there. This file puts states in place; [`crate::running`] runs from there.

use std::collections::BTreeSet;
use std::sync::Arc;

use machine::{Digest, Machine, MachineConfig, MachineState, Output};
use x86::CpuModel;
use x86::vector::HostFeatures;

use crate::checkpoints::{MemoryCheckpoint, MemoryCheckpoints};
use crate::file_maps::FileMaps;
use crate::format::records::CheckpointKind;
use crate::format::{FormatError, PAGE_BYTES};
use crate::hashing::in_parallel;
use crate::maker::{MachineMaker, recorded_engine};
use crate::page_cache::PageCache;
use crate::page_map::{Page, PageMap, PageRef, is_zero, page_of};
use crate::page_set::PageSet;
use crate::position::Position;
use crate::reader::ReadError;
use crate::recording::{CheckpointInfo, Recording};
use crate::recover::{DAMAGED, is_whole};
pub use crate::replay_error::ReplayError;
use crate::state_source::{Soon, StateSource};
use crate::target::Target;
use machine::page_hashes::PageHashes;

/// Bytes of pages that checkpoints in memory may take unless told otherwise.
const MEMORY_BUDGET_BYTES: u64 = 768 << 20;
/// Steps between them at first.
const MEMORY_INTERVAL: u64 = 8_000_000;

/// What a watcher of a replay wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// More.
    Continue,
    /// To stop where the replay is.
    Pause,
}

/// Called now and then while a replay runs, with the place and what the guest sent since the last call.
pub type Watch<'a> = dyn FnMut(Position, Output) -> Control + 'a;

/// A machine that was taken over at some instant of a recording.
pub struct Live {
    /// The machine.
    pub machine: Machine,
    /// Where its own counts begin: not zero if the recorded machine was reset.
    pub base: Position,
}

/// A recording being replayed.
pub struct Replayer {
    pub(crate) recording: Arc<Recording>,
    pub(crate) machine: Machine,
    maker: MachineMaker,
    base: Position,
    /// Events that were given.
    cursor: usize,
    /// Initial state and restarts that were put in place.
    restarts: usize,
    /// False behind a page that could not be had, until a state is put in place.
    pub(crate) is_sound: bool,
    /// RAM when [`Self::changed`] was last empty.
    map: PageMap,
    /// Where the machine's absent pages are: RAM in the state that was put in place last.
    pub(crate) lazy_map: PageMap,
    /// Blocks of pages that are known to be damaged.
    pub(crate) damaged: BTreeSet<usize>,
    /// Pages that may have changed since.
    changed: PageSet,
    maps: FileMaps,
    pub(crate) cache: Arc<PageCache>,
    memory: MemoryCheckpoints,
    /// What the guest sent before a restart.
    pub(crate) held: Output,
    hashes: Option<PageHashes>,
    /// Pages whose hashes may be old.
    stale: PageSet,
}

/// Says, before a machine is made, whether a host can replay what a machine of `model` did.
///
/// # Errors
/// If it cannot, with what it lacks.
pub fn check_host(model: CpuModel, host: HostFeatures) -> Result<(), ReplayError> {
    let lacks = host.lacks(model);
    if lacks.is_empty() { Ok(()) } else { Err(ReplayError::Host { model, lacks }) }
}

impl Replayer {
    /// The recorded machine in its initial state, executed by the engine that recorded.
    ///
    /// # Errors
    /// If the state cannot be read, or the host has no memory for the machine.
    pub fn new(recording: Arc<Recording>) -> Result<Self, ReplayError> {
        Self::with_memory(recording, MEMORY_BUDGET_BYTES, MEMORY_INTERVAL)
    }

    /// The same, with about `budget_bytes` of checkpoints in memory, `interval` steps apart at first.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_memory(recording: Arc<Recording>, budget_bytes: u64, interval: u64) -> Result<Self, ReplayError> {
        let (engine, _) = recorded_engine(&recording.header().engine);
        let maker = engine.into();
        Self::with_maker(recording, maker, budget_bytes, interval)
    }

    /// The same on machines of `maker`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_maker(
        recording: Arc<Recording>,
        maker: MachineMaker,
        budget_bytes: u64,
        interval: u64,
    ) -> Result<Self, ReplayError> {
        let mut replayer = Self::without_state(recording, maker, budget_bytes, interval, 0)?;
        replayer.restore_file(0)?;
        Ok(replayer)
    }

    /// The recorded machine at `target`, which takes no longer than restoring the state before it and running on.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::seek`].
    pub fn at(
        recording: Arc<Recording>,
        maker: MachineMaker,
        budget_bytes: u64,
        interval: u64,
        target: Target,
    ) -> Result<Self, ReplayError> {
        let (start, end) = (recording.start(), recording.end_position());
        let last = recording.checkpoints().partition_point(|info| target.can_follow(info.position, start));
        let mut replayer = Self::without_state(recording, maker, budget_bytes, interval, last.saturating_sub(1))?;
        if !target.is_within(start, end) {
            return Err(ReplayError::Outside { start, end, target });
        }
        replayer.approach(target, false)?;
        replayer.run_to(target, &mut |_, _| Control::Continue)?;
        Ok(replayer)
    }

    /// The recorded machine as it is made, which will be put into the state of checkpoint number `first` or so.
    fn without_state(
        recording: Arc<Recording>,
        maker: MachineMaker,
        budget_bytes: u64,
        interval: u64,
        first: usize,
    ) -> Result<Self, ReplayError> {
        let config = recording.config()?;
        check_host(config.cpu_model, HostFeatures::detect())?;
        let pages = config.ram_bytes / PAGE_BYTES as u64;
        let file = recording.checkpoints().iter().map(|info| info.position.insns).collect();
        let mut maps = FileMaps::new(pages);
        let machine = maps.read_ahead(&recording, first, || maker.make(config))?;
        let mut replayer = Replayer {
            recording,
            machine,
            maker,
            base: Position::default(),
            cursor: 0,
            restarts: 0,
            is_sound: true,
            map: PageMap::zero(pages),
            lazy_map: PageMap::zero(pages),
            damaged: BTreeSet::new(),
            changed: PageSet::none(pages),
            maps,
            cache: Arc::new(PageCache::default().with_contents(budget_bytes / 4)),
            memory: MemoryCheckpoints::new(budget_bytes / 4 * 3, interval, file),
            held: Output::default(),
            hashes: None,
            stale: PageSet::none(pages),
        };
        replayer.machine.take_dirty_pages();
        Ok(replayer)
    }

    /// The recording.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The machine, to look at. Pages of its RAM may be absent: whoever looks at all of them calls [`Self::load_all`] before.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Where the replay is.
    pub fn position(&self) -> Position {
        Position::of(&self.machine).after(self.base)
    }

    /// Events given so far.
    pub fn events_given(&self) -> usize {
        self.cursor
    }

    /// What the guest sent since the last call.
    pub fn take_output(&mut self) -> Output {
        let mut output = std::mem::take(&mut self.held);
        let new = self.machine.take_output();
        output.serial.extend(new.serial);
        output.debug_console.extend(new.debug_console);
        output
    }

    /// Keeps what the guest sent for [`Self::take_output`].
    pub(crate) fn hold_output(&mut self, output: Output) {
        self.held.serial.extend(output.serial);
        self.held.debug_console.extend(output.debug_console);
    }

    /// Takes the machine over, with all of its RAM: from here on it takes other inputs.
    ///
    /// # Errors
    /// As [`Self::load_all`].
    pub fn into_live(mut self) -> Result<Live, ReplayError> {
        self.load_all()?;
        Ok(Live { machine: self.machine, base: self.base })
    }

    /// [`Machine::digest`] of the machine as it stands; [`Self::load_all`] comes before it.
    ///
    /// # Panics
    /// If absent pages cannot be had.
    pub fn full_digest(&self) -> Digest {
        self.machine.digest()
    }

    /// The same digest, quick when few pages changed since the last one that was asked for here.
    ///
    /// # Errors
    /// If the host does not tell about RAM, or as [`Self::load_all`].
    pub fn digest(&mut self) -> Result<[u8; 32], ReplayError> {
        self.load_all()?;
        self.machine.settle();
        self.collect();
        let ram = self.machine.ram_bytes();
        let pages: Vec<u64> = match self.hashes {
            Some(_) => self.stale.iter().collect(),
            None => self.machine.populated_pages()?.into_iter().flatten().collect(),
        };
        let hash = |&page: &u64| machine::page_hashes::hash(page_of(ram, page));
        let all = in_parallel(&pages, |pages| pages.iter().map(hash).collect());
        let hashes = self.hashes.get_or_insert_with(|| PageHashes::zero(self.map.len()));
        for (page, hash) in pages.into_iter().zip(all) {
            hashes.set(page, hash);
        }
        self.stale.clear();
        Ok(hashes.digest(&self.machine.save()).0)
    }

    /// The pages of RAM that hold something else in `other`, a replay of a machine with as much RAM.
    ///
    /// # Errors
    /// As [`Self::digest`].
    pub fn differing_pages(&mut self, other: &mut Replayer) -> Result<Vec<u64>, ReplayError> {
        self.digest()?;
        other.digest()?;
        let (Some(one), Some(other)) = (&self.hashes, &other.hashes) else { return Ok(Vec::new()) };
        Ok((0..self.map.len()).filter(|&page| one.get(page) != other.get(page)).collect())
    }

    /// Goes to `target`, forwards or back.
    ///
    /// # Errors
    /// If it is not in the recording, or the replay fails.
    pub fn seek(&mut self, target: Target) -> Result<(), ReplayError> {
        self.seek_watched(target, &mut |_, _| Control::Continue).map(|_| ())
    }

    /// Goes to `target` with a watcher.
    ///
    /// # Errors
    /// As [`Self::seek`].
    pub fn seek_watched(&mut self, target: Target, watch: &mut Watch<'_>) -> Result<Control, ReplayError> {
        let (start, end) = (self.recording.start(), self.recording.end_position());
        if !target.is_within(start, end) {
            return Err(ReplayError::Outside { start, end, target });
        }
        self.approach(target, true)?;
        self.run_to(target, watch)
    }

    /// Runs on to `target` from where the replay is, without a shortcut.
    ///
    /// # Errors
    /// If `target` is not in the recording or behind, or the replay fails or has failed.
    pub fn play(&mut self, target: Target, watch: &mut Watch<'_>) -> Result<Control, ReplayError> {
        if !self.is_sound {
            return Err(DAMAGED.into());
        }
        let (start, end) = (self.position(), self.recording.end_position());
        if !target.is_within(start, end) {
            return Err(ReplayError::Outside { start, end, target });
        }
        self.run_to(target, watch)
    }

    /// Puts the best state in place from which `target` can be reached by running: maybe what is in place already, if
    /// anything is.
    pub(crate) fn approach(&mut self, target: Target, is_somewhere: bool) -> Result<(), ReplayError> {
        let recording = self.recording.clone();
        let start = recording.start();
        let events = recording.events().partition_point(|event| target.is_after_event(event.position));
        // A reset at the target is behind it, like an input.
        let comes_before = |info: &CheckpointInfo| match info.kind {
            CheckpointKind::Initial => true,
            CheckpointKind::Restart => !target.is_reached(info.position),
            CheckpointKind::Seek => false,
        };
        let restarts = recording.checkpoints().iter().filter(|info| comes_before(info)).count();
        let here = self.position();
        let is_before = is_somewhere
            && self.is_sound
            && target.can_follow(here, start)
            && self.cursor <= events
            && self.restarts <= restarts;
        let mut best = is_before.then_some(here);
        let memory = self.memory.before(target, events, restarts, start);
        let memory = memory.filter(|kept| best.is_none_or(|best| kept.position > best)).cloned();
        best = memory.as_ref().map(|kept| kept.position).or(best);
        // The first checkpoint behind a reset that is too late, and all that follow, are too late themselves.
        let is_restart = |info: &CheckpointInfo| info.kind != CheckpointKind::Seek;
        let numbers = recording.checkpoints().iter().enumerate().filter(|(_, info)| is_restart(info));
        let last = numbers.map(|(index, _)| index).nth(restarts).unwrap_or(recording.checkpoints().len());
        let usable = |info: &CheckpointInfo| target.can_follow(info.position, start) && info.events_before <= events;
        for index in (0..last).rev() {
            let info = &recording.checkpoints()[index];
            if !usable(info) {
                continue;
            }
            if best.is_some_and(|best| best >= info.position) {
                break;
            }
            match self.restore_file(index) {
                // What is damaged here can be had from further back, with more running.
                Err(ReplayError::Read(ReadError::Format(_))) if index > 0 => {}
                result => return result,
            }
        }
        match memory {
            Some(kept) => self.restore_memory(kept),
            None => Ok(()),
        }
    }

    /// Puts the state of a checkpoint of the file in place.
    pub(crate) fn restore_file(&mut self, index: usize) -> Result<(), ReplayError> {
        let recording = self.recording.clone();
        let info = &recording.checkpoints()[index];
        let map = self.maps.map(&recording, index)?;
        if !is_whole(&recording, &self.damaged, &map) {
            return Err(DAMAGED.into());
        }
        let record = recording.checkpoint(info)?;
        let state = record.state.ok_or(FormatError::Content("a checkpoint has no state"))?;
        let before = &recording.checkpoints()[..=index];
        let restarts = before.iter().filter(|info| info.kind != CheckpointKind::Seek).count();
        let config = match before.iter().rev().find(|info| info.kind == CheckpointKind::Restart) {
            Some(restart) => recording
                .checkpoint(restart)?
                .config
                .ok_or(FormatError::Content("a restart has no configuration"))?
                .to_config()?,
            None => recording.config()?,
        };
        // What is run once may be run up to there, and not again.
        let next = recording.checkpoints().get(index + 1).filter(|_| !self.keeps()).copied();
        self.restore(config, state, map, next)?;
        (self.base, self.cursor, self.restarts) = (info.base, info.events_before, restarts);
        if self.position() != info.position {
            return Err(FormatError::Content("a checkpoint's state stands elsewhere than the checkpoint").into());
        }
        Ok(())
    }

    fn restore_memory(&mut self, kept: MemoryCheckpoint) -> Result<(), ReplayError> {
        let MemoryCheckpoint { position: _, events_before, restarts, config, base, state, map, pages: _ } = kept;
        self.restore(config, MachineState::clone(&state), map, None)?;
        (self.base, self.cursor, self.restarts) = (base, events_before, restarts);
        Ok(())
    }

    /// Puts a state in place; what the machine will touch up to the checkpoint `next` is got ready.
    fn restore(
        &mut self,
        config: MachineConfig,
        state: MachineState,
        map: PageMap,
        next: Option<CheckpointInfo>,
    ) -> Result<(), ReplayError> {
        if *self.machine.config() != config {
            if config.ram_bytes != self.machine.config().ram_bytes {
                return Err(FormatError::Content("a restart changes the amount of RAM").into());
            }
            self.machine = self.maker.make(config)?;
            self.machine.take_dirty_pages();
            self.map = PageMap::zero(map.len());
            self.lazy_map = self.map.clone();
            self.changed.clear();
            self.hashes = None;
        }
        self.collect();
        self.changed.extend(map.differences(&self.map));
        let pages: Vec<u64> = self.changed.iter().collect();
        self.stale.extend(pages.iter().copied());
        // Should it fail half way: nothing is known of any page then, and all are replaced next time.
        self.changed.fill();
        self.is_sound = false;
        let soon = Soon { now: &state, next, layout: self.machine.ram_layout() };
        let source = StateSource::new(self.recording.clone(), map.clone(), self.cache.clone(), soon);
        self.machine.restore_pages_from(state, &pages, Box::new(source))?;
        if !self.keeps() {
            // The engine, too, begins with nothing: what it does then comes again.
            self.machine.forget_code();
        }
        self.machine.take_dirty_pages();
        self.machine.take_output();
        self.lazy_map = map.clone();
        self.map = map;
        self.changed.clear();
        self.is_sound = true;
        Ok(())
    }

    /// RAM at the file's checkpoint number `index`.
    pub(crate) fn file_map(&mut self, index: usize) -> Result<PageMap, ReadError> {
        self.maps.map(&self.recording, index)
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    pub(crate) fn restarts_made(&self) -> usize {
        self.restarts
    }

    pub(crate) fn count_event(&mut self) {
        self.cursor += 1;
    }

    /// Asks the machine which pages changed.
    fn collect(&mut self) {
        let dirty = self.machine.take_dirty_pages();
        if self.hashes.is_some() {
            self.stale.extend(dirty.iter().copied());
        }
        self.changed.extend(dirty);
    }

    /// Whether states are kept in memory.
    pub(crate) fn keeps(&self) -> bool {
        self.memory.budget_bytes() > 0
    }

    /// Where a checkpoint of the file is reached, notes that what is in RAM is in the file: then it need not be kept, and going
    /// from here to other checkpoints of the file changes only what differs.
    pub(crate) fn pass_checkpoint(&mut self) -> Result<(), ReplayError> {
        let here = self.position();
        let recording = self.recording.clone();
        let first = recording.checkpoints().partition_point(|info| info.position < here);
        let at_hand = recording.checkpoints()[first..].iter().take_while(|info| info.position == here);
        for (index, info) in (first..).zip(at_hand) {
            // One behind a reset or an input of this very instant is still to come.
            let restarts = recording.checkpoints()[..=index].iter().filter(|info| info.kind != CheckpointKind::Seek);
            if info.events_before != self.cursor || restarts.count() != self.restarts {
                continue;
            }
            let map = match self.maps.map(&recording, index) {
                Ok(map) => map,
                // A checkpoint that is damaged is none.
                Err(ReadError::Format(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            self.collect();
            let Replayer { memory, changed, map: now, cache, machine, .. } = self;
            memory.pass_to_file(here, |page, bytes| {
                let is_now = matches!(now.get(page), PageRef::Memory(now) if Arc::ptr_eq(now, bytes));
                let content = map.get(page);
                let is_there = is_now && !changed.contains(page);
                if let (true, PageRef::File(number)) = (is_there, content) {
                    cache.keep_content(*number, bytes);
                }
                is_there.then(|| content.clone())
            });
            for page in changed.iter() {
                if let (PageRef::File(number), Some(bytes)) = (map.get(page), machine.ram_page(page)) {
                    cache.keep_content(*number, bytes);
                }
            }
            self.changed.clear();
            self.map = map;
        }
        Ok(())
    }

    /// A page that the guest has changed, so that it is not absent.
    fn changed_page(&self, page: u64) -> &Page {
        self.machine.ram_page(page).expect("a page that was written to is there")
    }

    /// Forgets states in memory that need damaged blocks.
    pub(crate) fn memory_is_whole(&mut self) {
        let Replayer { memory, recording, damaged, .. } = self;
        memory.retain(|kept| is_whole(recording, damaged, &kept.map));
    }

    /// Keeps the state as it stands in memory, if it is far enough from others.
    ///
    /// # Errors
    /// If a page cannot be had.
    pub(crate) fn keep(&mut self) -> Result<(), ReplayError> {
        let position = self.position();
        if !self.memory.wants(position) {
            return Ok(());
        }
        self.machine.settle();
        self.collect();
        self.check_pages()?;
        let mut pages = Vec::new();
        for page in self.changed.iter() {
            let bytes = self.changed_page(page);
            let content = if is_zero(bytes) { PageRef::Zero } else { PageRef::Memory(Arc::new(*bytes)) };
            if matches!(content, PageRef::Memory(_)) {
                pages.push(page as u32);
            }
            self.map.set(page, content);
        }
        self.changed.clear();
        self.memory.keep(MemoryCheckpoint {
            position,
            events_before: self.cursor,
            restarts: self.restarts,
            config: *self.machine.config(),
            base: self.base,
            state: Arc::new(self.machine.save()),
            map: self.map.clone(),
            pages,
        });
        Ok(())
    }
}
