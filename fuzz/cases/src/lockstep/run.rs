//! One CPU, or two that take turns, without a machine around them, run by an engine in any pieces: what drives both sides of a
//! comparison.

use prost::Message;
use x86::memory::phys::OwnedMemory;
use x86::{CpuState, Engine, Exit, GuestPhysAddr, InsnCount, Vcpu};

use super::bus::FuzzBus;
use crate::script::mix;

/// Makes an engine.
pub type NewEngine = fn() -> Box<dyn Engine>;

/// Bytes that are written at once when RAM is put back.
const GRANULE: usize = 64;

/// What a run starts from.
#[derive(Clone)]
pub struct Start {
    /// The CPU.
    pub cpu: Vcpu,
    /// Another one, which makes as many steps whenever the first has made so many.
    pub second: Option<(Vcpu, u64)>,
    /// All of RAM.
    pub ram: Vec<u8>,
    /// The board.
    pub bus: FuzzBus,
    /// What comes from outside, each with the step count before which it comes, in order.
    pub events: Vec<(u64, Event)>,
    /// How often a halted CPU is woken before that ends the run.
    pub wakes: u32,
}

/// Something from outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// An interrupt of this vector is raised.
    Interrupt(u8),
    /// An NMI.
    Nmi,
    /// A device writes to RAM.
    Dma(u64, Vec<u8>),
}

/// How a run is cut into pieces, and what is done between them. None of it may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The longest piece in steps.
    pub longest: u64,
    /// Pieces are of random length by this seed; `None`: all are as long as the longest.
    pub seed: Option<u64>,
    /// Pieces before the CPU goes through its saved form and the engine forgets; each next time comes after three
    /// times as many.
    pub restore_after: u32,
    /// Between pieces the dirty pages are taken, now and then; every page that changes must be among them.
    pub take_dirty: bool,
}

impl Manner {
    /// In one piece.
    pub const WHOLE: Manner = Manner { longest: u64::MAX, seed: None, restore_after: u32::MAX, take_dirty: false };

    /// In pieces of random length up to `longest`, with dirty pages taken.
    pub fn random(longest: u64, seed: u64) -> Manner {
        Manner { longest, seed: Some(seed), restore_after: u32::MAX, take_dirty: true }
    }
}

/// An engine with its memory, which serve one run after the other.
pub struct Subject {
    engine: Box<dyn Engine>,
    owned: OwnedMemory,
}

impl Subject {
    /// With `ram_bytes` of memory.
    pub fn new(engine: Box<dyn Engine>, ram_bytes: usize) -> Self {
        Subject { engine, owned: OwnedMemory::new(ram_bytes as u64) }
    }

    /// Puts back what differs from `ram`, so that code that is the same stays known to the engine.
    fn fill(&mut self, ram: &[u8]) {
        assert_eq!(self.owned.memory.bytes().len(), ram.len(), "a memory of this size");
        for (at, wanted) in (0..).step_by(GRANULE).zip(ram.chunks(GRANULE)) {
            if self.owned.memory.bytes()[at..at + wanted.len()] != *wanted {
                assert!(self.owned.memory.write(GuestPhysAddr(at as u64), wanted), "RAM is there");
            }
        }
    }
}

/// A run under way.
pub struct Run<'a> {
    subject: &'a mut Subject,
    /// The CPU.
    pub cpu: Vcpu,
    /// The other one.
    pub second: Option<Vcpu>,
    /// Steps of a turn.
    turn: u64,
    /// The count before which the first CPU's turn ends.
    turn_end: InsnCount,
    /// The board.
    pub bus: FuzzBus,
    events: std::slice::Iter<'a, (u64, Event)>,
    manner: Manner,
    random: u64,
    wakes_left: u32,
    pieces: u32,
    restore_at: u32,
    /// RAM when the dirty pages were taken.
    clean: Option<Vec<u8>>,
    /// The exits that say something about the guest, with their counts.
    pub exits: Vec<(InsnCount, Exit)>,
    /// Why it cannot go on.
    pub ended: Option<Exit>,
}

impl<'a> Run<'a> {
    /// At its start.
    pub fn new(subject: &'a mut Subject, start: &'a Start, manner: Manner) -> Self {
        subject.fill(&start.ram);
        let turn = start.second.as_ref().map_or(u64::MAX / 2, |(_, turn)| *turn);
        Run {
            subject,
            cpu: start.cpu.clone(),
            second: start.second.as_ref().map(|(cpu, _)| cpu.clone()),
            turn,
            turn_end: start.cpu.count + turn,
            bus: start.bus.clone(),
            events: start.events.iter(),
            manner,
            random: manner.seed.unwrap_or(0),
            wakes_left: start.wakes,
            pieces: 0,
            restore_at: manner.restore_after,
            clean: None,
            exits: Vec::new(),
            ended: None,
        }
    }

    /// All of RAM.
    pub fn ram(&self) -> &[u8] {
        self.subject.owned.memory.bytes()
    }

    /// Runs until the step count is `until`, or to the end of the run before that.
    ///
    /// # Panics
    /// If the engine stops elsewhere than told, makes no progress, or a page changes unseen.
    pub fn advance(&mut self, until: InsnCount) {
        while self.ended.is_none() {
            self.bus.tick(self.cpu.count);
            self.give_events();
            if self.cpu.count >= self.turn_end {
                self.second_turn();
                continue;
            }
            if self.cpu.count >= until {
                return;
            }
            let next_event = self.events.as_slice().first().map_or(u64::MAX, |(at, _)| *at);
            let cut = self.cpu.count.0.saturating_add(self.piece_len());
            match self.piece(InsnCount(until.0.min(next_event).min(cut).min(self.turn_end.0))) {
                Exit::Shutdown => self.ended = Some(Exit::Shutdown),
                Exit::Halted => self.wake(),
                Exit::Yield => self.exits.push((self.cpu.count, Exit::Yield)),
                Exit::Until | Exit::Attention => {}
            }
            self.pieces += 1;
            self.between_pieces();
        }
    }

    /// The second CPU catches up, unless it waits for something.
    fn second_turn(&mut self) {
        let end = self.turn_end;
        self.turn_end = end + self.turn;
        let Some(second) = self.second.take() else { return };
        let first = std::mem::replace(&mut self.cpu, second);
        while self.cpu.count < end {
            self.bus.tick(self.cpu.count);
            let cut = self.cpu.count.0.saturating_add(self.piece_len());
            match self.piece(InsnCount(end.0.min(cut))) {
                Exit::Shutdown | Exit::Halted => break,
                Exit::Yield | Exit::Until | Exit::Attention => {}
            }
        }
        self.second = Some(std::mem::replace(&mut self.cpu, first));
    }

    fn give_events(&mut self) {
        while let Some((_, event)) = self.events.as_slice().first().filter(|(at, _)| *at <= self.cpu.count.0) {
            match event {
                Event::Interrupt(vector) => self.bus.pending = Some(*vector),
                Event::Nmi => self.cpu.latch_nmi(),
                Event::Dma(at, bytes) => {
                    assert!(self.subject.owned.memory.write(GuestPhysAddr(*at), bytes), "DMA to RAM");
                }
            }
            self.events.next();
        }
    }

    fn piece_len(&mut self) -> u64 {
        if self.manner.seed.is_none() {
            return self.manner.longest;
        }
        self.random = mix(self.random);
        // Short ones as likely as long ones.
        let bits = self.random % u64::from(u64::BITS - self.manner.longest.leading_zeros());
        (1 << bits | self.random >> 8 & ((1 << bits) - 1)).min(self.manner.longest)
    }

    /// A halted CPU is woken by an interrupt, the last time by an NMI too.
    fn wake(&mut self) {
        self.exits.push((self.cpu.count, Exit::Halted));
        if self.wakes_left == 0 {
            self.ended = Some(Exit::Halted);
            return;
        }
        self.wakes_left -= 1;
        self.bus.pending = Some(0x33_u8.saturating_sub(self.wakes_left.min(3) as u8));
        if self.wakes_left == 0 {
            self.cpu.latch_nmi();
        }
    }

    /// Runs up to `until`, and checks that the engine does what its trait says.
    fn piece(&mut self, until: InsnCount) -> Exit {
        let (before, goal) = (self.cpu.count, until.min(self.bus.deadline));
        self.bus.attention = false;
        let Subject { engine, owned } = &mut *self.subject;
        let exit = engine.run(&mut self.cpu, &mut owned.memory, &mut self.bus, until);
        let count = self.cpu.count;
        assert!(before <= count && count <= goal, "from {before:?} to {count:?}, told {goal:?}");
        match exit {
            Exit::Until => assert_eq!(count, goal, "stopped early"),
            Exit::Attention => assert!(self.bus.attention && count > before, "nobody asked for attention"),
            Exit::Yield => assert!(count > before, "a PAUSE is a step"),
            Exit::Halted | Exit::Shutdown => {}
        }
        exit
    }

    fn between_pieces(&mut self) {
        if self.pieces == self.restore_at {
            self.restore_at = self.restore_at.saturating_mul(3);
            self.cpu = restored(&self.cpu);
            self.second = self.second.as_ref().map(restored);
            self.subject.engine.forget(&mut self.subject.owned.memory);
        }
        if self.manner.take_dirty && self.pieces.is_multiple_of(8) {
            self.check_dirty();
        }
    }

    /// Every page that changed since the last time must be among the dirty ones.
    fn check_dirty(&mut self) {
        for cpu in self.second.iter_mut().chain([&mut self.cpu]) {
            cpu.tlb.forbid_all_fast_writes();
        }
        let dirty = self.subject.owned.memory.take_dirty_pages();
        let now = self.subject.owned.memory.bytes();
        if let Some(clean) = &mut self.clean {
            for (page, (old, new)) in clean.chunks_mut(4096).zip(now.chunks(4096)).enumerate() {
                if old != new {
                    assert!(dirty.contains(&(page as u64)), "page {page:#x} changed and is not dirty");
                    old.copy_from_slice(new);
                }
            }
        } else {
            self.clean = Some(now.to_vec());
        }
    }
}

/// The same CPU, gone through its saved form.
fn restored(cpu: &Vcpu) -> Vcpu {
    let bytes = cpu.save().encode_to_vec();
    let state = CpuState::decode(&bytes[..]).expect("what was encoded can be decoded");
    assert_eq!(state, cpu.save(), "the encoding keeps everything");
    let mut fresh = Vcpu::new(cpu.model, cpu.apic_id, cpu.vcpus);
    fresh.restore(&state).unwrap_or_else(|error| panic!("a state that instructions led to is refused: {error}"));
    assert_eq!(fresh.save(), state, "restoring keeps everything");
    fresh
}
