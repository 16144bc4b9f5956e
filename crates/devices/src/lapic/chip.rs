//! The state of a local APIC, and the order in which its interrupts reach the processor.

use x86::VirtualTime;

use super::signals::{CpuSignal, Signals};
use super::timer::{Mode, Timer};
use super::vectors::Vectors;

/// The entries of the local vector table, in the order of their registers (320h to 370h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Local {
    /// The timer.
    Timer,
    /// The thermal sensor: nothing drives it.
    Thermal,
    /// The performance counters: nothing drives them.
    Performance,
    /// The first input: the 8259s.
    Lint0,
    /// The second input: NMI.
    Lint1,
    /// An error of this APIC.
    Error,
}

/// The number of entries of the local vector table.
pub const LOCALS: usize = 6;

/// Bits of a local vector and of the spurious vector register.
pub mod bit {
    /// A local vector: waits for the end of a level-triggered interrupt (LINT0 only).
    pub const LVT_REMOTE_IRR: u32 = 1 << 14;
    /// A local vector: level-triggered (LINT0 only).
    pub const LVT_LEVEL: u32 = 1 << 15;
    /// A local vector: masked.
    pub const LVT_MASKED: u32 = 1 << 16;
    /// Spurious vector register: the APIC is enabled by software.
    pub const SVR_ENABLED: u32 = 1 << 8;
    /// IA32_APIC_BASE: the bootstrap processor.
    pub const BASE_BSP: u64 = 1 << 8;
    /// IA32_APIC_BASE: x2APIC mode.
    pub const BASE_X2APIC: u64 = 1 << 10;
    /// IA32_APIC_BASE: enabled.
    pub const BASE_ENABLED: u64 = 1 << 11;
}

/// A local APIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    // Configuration.
    /// The ID that the processor was built with.
    pub(super) initial_id: u32,

    // Volatile state.
    /// IA32_APIC_BASE.
    pub(super) base: u64,
    /// The xAPIC ID; software can change it.
    pub(super) id: u8,
    /// The task priority register.
    pub(super) tpr: u8,
    /// The logical destination register's upper byte, as an xAPIC.
    pub(super) logical_id: u8,
    /// The destination format register's upper four bits: 15 flat, 0 cluster.
    pub(super) model: u8,
    /// The spurious interrupt vector register.
    pub(super) spurious: u32,
    /// Interrupts being served (ISR).
    pub(super) in_service: Vectors,
    /// Interrupts accepted as level-triggered (TMR).
    pub(super) level_triggered: Vectors,
    /// Interrupts waiting (IRR).
    pub(super) requests: Vectors,
    /// The error status register as software reads it.
    pub(super) error_status: u8,
    /// Errors since software last wrote that register.
    pub(super) errors: u8,
    /// The interrupt command register.
    pub(super) command: u64,
    /// The local vector table.
    pub(super) locals: [u32; LOCALS],
    /// The timer.
    pub(super) timer: Timer,
    /// The level of LINT0.
    pub(super) lint0: bool,
    /// The level of LINT1.
    pub(super) lint1: bool,
    /// An ExtINT message waits to be acknowledged.
    pub(super) ext_int: bool,
    /// What waits for the processor besides interrupts.
    pub(super) signals: Signals,
}

impl Chip {
    /// The local APIC of processor `initial_id` at power-on; processor 0 is the bootstrap processor.
    pub fn new(initial_id: u8) -> Self {
        let bootstrap = if initial_id == 0 { bit::BASE_BSP } else { 0 };
        Chip {
            initial_id: initial_id.into(),
            base: super::LocalApic::DEFAULT_BASE | bit::BASE_ENABLED | bootstrap,
            id: initial_id,
            tpr: 0,
            logical_id: 0,
            model: 0xf,
            spurious: 0xff,
            in_service: Vectors::default(),
            level_triggered: Vectors::default(),
            requests: Vectors::default(),
            error_status: 0,
            errors: 0,
            command: 0,
            locals: [bit::LVT_MASKED; LOCALS],
            timer: Timer::default(),
            lint0: false,
            lint1: false,
            ext_int: false,
            signals: Signals::default(),
        }
    }

    /// The state after INIT: as at power-on, but mode, base and IDs stay, as do the input lines
    /// and what waits for the processor (SDM 11.4.7.3).
    pub(super) fn reset(&mut self) {
        let mut timer = self.timer;
        timer.reset();
        *self = Chip {
            base: self.base,
            id: self.id,
            timer,
            lint0: self.lint0,
            lint1: self.lint1,
            signals: self.signals,
            ..Chip::new(self.initial_id as u8)
        };
    }

    /// Whether IA32_APIC_BASE enables the APIC.
    pub fn is_enabled(&self) -> bool {
        self.base & bit::BASE_ENABLED != 0
    }

    /// Whether the APIC is in x2APIC mode.
    pub fn is_x2apic(&self) -> bool {
        self.base & bit::BASE_X2APIC != 0
    }

    /// Whether the spurious vector register enables the APIC, too: only then are interrupts accepted.
    pub fn is_listening(&self) -> bool {
        self.is_enabled() && self.spurious & bit::SVR_ENABLED != 0
    }

    /// A local vector table entry.
    pub(super) fn local(&self, local: Local) -> u32 {
        self.locals[local as usize]
    }

    pub(super) fn timer_mode(&self) -> Mode {
        Mode::of_lvt(self.local(Local::Timer))
    }

    /// The processor priority register (SDM 11.8.3.1).
    pub fn processor_priority(&self) -> u8 {
        let served = self.in_service.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= served { self.tpr } else { served }
    }

    /// The arbitration priority register (SDM 11.6.2.4).
    pub(super) fn arbitration_priority(&self) -> u8 {
        let request = self.requests.highest().unwrap_or(0) & 0xf0;
        let served = self.in_service.highest().unwrap_or(0) & 0xf0;
        let task = self.tpr & 0xf0;
        if task >= request && task > served { self.tpr } else { (task & served).max(request) }
    }

    /// The interrupt that the processor would be given now, of those that the APIC holds.
    pub fn deliverable(&self) -> Option<u8> {
        if !self.is_enabled() {
            return None;
        }
        self.requests.highest().filter(|vector| vector & 0xf0 > self.processor_priority() & 0xf0)
    }

    /// Gives the processor the interrupt of [`Self::deliverable`].
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.deliverable()?;
        self.requests.remove(vector);
        self.in_service.insert(vector);
        Some(vector)
    }

    /// What waits for the processor besides interrupts.
    pub fn signals(&self) -> Signals {
        self.signals
    }

    /// Takes the next signal out.
    pub fn take_signal(&mut self) -> Option<CpuSignal> {
        self.signals.take()
    }

    /// When something happens by itself. A masked timer needs no attention: what it did is
    /// found out when somebody looks.
    pub fn deadline(&self) -> VirtualTime {
        if self.local(Local::Timer) & bit::LVT_MASKED != 0 {
            return VirtualTime::NEVER;
        }
        self.timer.expiry
    }

    /// Does what the timer has due.
    pub fn advance(&mut self, now: VirtualTime) {
        let mode = self.timer_mode();
        if self.timer.expire(mode, now) {
            self.raise(Local::Timer);
        }
    }
}
