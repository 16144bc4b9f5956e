//! The interrupt fabric of the board: it owns the 8259s, the I/O APIC and each processor's local
//! APIC, and joins them.
//!
//! A device's line drives the 8259s (lines 0 to 15, but 2) and the I/O APIC input of the same
//! number, with two exceptions: line 0 is I/O APIC input 2 (the board's MADT says so in an interrupt
//! source override), and input 0 is the output of the 8259s, as on chipsets. That output also
//! drives LINT0 of the bootstrap processor (virtual wire). [`routing`] finds the receivers of
//! messages, [`wiring`] has the ways in for software and the saved state.
//!
//! What processors ask often ([`InterruptFabric::has_interrupt`], [`InterruptFabric::deadline`]) is
//! computed whenever something changes, not when it is asked.

pub mod message;
mod routing;
pub mod wiring;

#[cfg(test)]
mod tests;

use x86::VirtualTime;

use crate::IrqLine;
use crate::ioapic::IoApic;
use crate::lapic::{CpuSignal, Effect, LocalApic};
use crate::pic::Pic;

pub use crate::lapic::GpFault;
pub use message::{ApicMessage, DeliveryMode, Destination};
pub use wiring::FabricState;

/// The I/O APIC input that line 0 (the interval timer) drives.
const TIMER_INPUT: u8 = 2;
/// The I/O APIC input that the 8259s drive.
const PIC_INPUT: u8 = 0;

/// All interrupt controllers of the machine. Processors are numbered from 0, the bootstrap
/// processor; the number is also the APIC ID.
#[derive(Clone, Debug)]
pub struct InterruptFabric {
    pic: Pic,
    ioapic: IoApic,
    lapics: Vec<LocalApic>,
    /// The levels that devices drive, one bit a line.
    lines: u32,

    // Computed from the rest by `settle`.
    /// Which processors have an interrupt, one bit each.
    interrupts: u8,
    /// Which processors have a signal, one bit each.
    signals: u8,
    deadline: VirtualTime,
}

impl InterruptFabric {
    /// The fabric of a machine with `vcpus` processors (1 to 8), at power-on.
    pub fn new(vcpus: u8) -> Self {
        assert!((1..=8).contains(&vcpus), "1 to 8 vCPUs");
        InterruptFabric {
            pic: Pic::new(),
            ioapic: IoApic::new(),
            lapics: (0..vcpus).map(LocalApic::new).collect(),
            lines: 0,
            interrupts: 0,
            signals: 0,
            deadline: VirtualTime::NEVER,
        }
    }

    /// Programs what PC firmware has programmed when it starts an operating system: the 8259s at
    /// vectors 08h and 70h with everything masked, and the bootstrap processor's APIC enabled as
    /// virtual wire (LINT0 ExtINT, LINT1 NMI).
    pub fn set_up_as_firmware(&mut self) {
        self.pic.set_up_as_firmware();
        for (offset, value) in [(0xf0, 0x1ff), (0x350, 0x8700), (0x360, 0x8400)] {
            self.lapics[0].mmio_write(offset, crate::Width::Dword, value, VirtualTime::ZERO);
        }
        self.settle();
    }

    /// Drives a line, 0 to 23. Levels are "asserted" or not, whatever their electrical polarity.
    pub fn set_irq(&mut self, line: IrqLine, level: bool) {
        let IrqLine(number) = line;
        assert!(number < crate::ioapic::chip::INPUTS, "an interrupt line of this machine");
        let bit = 1 << number;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        if number < 16 {
            self.pic.set_line(number, level);
        }
        match number {
            0 | TIMER_INPUT => self.set_input(TIMER_INPUT, self.lines & (1 | 1 << TIMER_INPUT) != 0),
            input => self.set_input(input, level),
        }
        self.settle();
    }

    fn set_input(&mut self, input: u8, level: bool) {
        let Self { ioapic, lapics, .. } = self;
        ioapic.set_line(input, level, &mut |message| routing::route(lapics, message));
    }

    /// A device's memory write to FEExxxxxh: a message-signalled interrupt.
    pub fn msi(&mut self, address: u64, data: u32) {
        if let Some(message) = ApicMessage::from_msi(address, data) {
            routing::route(&mut self.lapics, message);
        }
        self.settle();
    }

    /// Whether `vcpu` would be given an interrupt now if it had interrupts enabled.
    pub fn has_interrupt(&self, vcpu: usize) -> bool {
        self.interrupts & 1 << vcpu != 0
    }

    /// Whether a device's line may reach a processor that has interrupts disabled: as an NMI or an INIT.
    pub fn may_send_unmaskable(&self) -> bool {
        self.ioapic.sends_unmaskable() || self.lapics.iter().any(|lapic| lapic.chip.lint0_is_nmi())
    }

    /// Gives `vcpu` its interrupt. One that the 8259s hold goes before those of the APIC.
    pub fn acknowledge(&mut self, vcpu: usize) -> Option<u8> {
        let lapic = &mut self.lapics[vcpu];
        let vector = if lapic.chip.wants_ext_int() {
            lapic.chip.acknowledge_ext_int();
            let vector = self.pic.acknowledge();
            // The output falls during the acknowledge cycle, so a second request is a new edge.
            self.drive_pic_output(false);
            Some(vector)
        } else {
            lapic.chip.acknowledge()
        };
        self.settle();
        vector
    }

    /// Whether `vcpu` has a signal.
    pub fn has_signal(&self, vcpu: usize) -> bool {
        self.signals & 1 << vcpu != 0
    }

    /// Whether any processor has a signal.
    pub fn has_signals(&self) -> bool {
        self.signals != 0
    }

    /// Takes the next signal for `vcpu`: INIT, then start-up, then NMI.
    pub fn take_signal(&mut self, vcpu: usize) -> Option<CpuSignal> {
        let signal = self.lapics[vcpu].chip.take_signal();
        self.settle();
        signal
    }

    /// When [`Self::advance`] must next be called.
    pub fn deadline(&self) -> VirtualTime {
        self.deadline
    }

    /// Does everything that is due at `now` or before.
    pub fn advance(&mut self, now: VirtualTime) {
        for lapic in &mut self.lapics {
            lapic.chip.advance(now);
        }
        self.settle();
    }

    /// Does what a register write of `vcpu` asked for.
    fn apply(&mut self, vcpu: usize, effect: Effect) {
        let Self { ioapic, lapics, .. } = self;
        match effect {
            Effect::None => {}
            Effect::Send(ipi) => routing::send(lapics, vcpu, ipi),
            Effect::EndOfInterrupt(vector) => {
                ioapic.end_of_interrupt(vector, &mut |message| routing::route(lapics, message));
            }
            Effect::Listening => ioapic.retry(&mut |message| routing::route(lapics, message)),
        }
    }

    fn drive_pic_output(&mut self, level: bool) {
        self.lapics[0].chip.set_lint0(level);
        self.set_input(PIC_INPUT, level);
    }

    /// Ends every change: carries the output of the 8259s on and computes what processors ask.
    fn settle(&mut self) {
        self.drive_pic_output(self.pic.interrupt());
        self.compute_outputs();
    }

    fn compute_outputs(&mut self) {
        (self.interrupts, self.signals, self.deadline) = (0, 0, VirtualTime::NEVER);
        for (vcpu, LocalApic { chip }) in self.lapics.iter().enumerate() {
            let interrupt = chip.deliverable().is_some() || chip.wants_ext_int();
            self.interrupts |= u8::from(interrupt) << vcpu;
            self.signals |= u8::from(chip.signals().peek().is_some()) << vcpu;
            self.deadline = self.deadline.min(chip.deadline());
        }
    }
}
