//! How software reaches the interrupt controllers: ports, memory windows, MSRs, CR8; and the
//! saved state of all of them.

use x86::VirtualTime;

use super::{GpFault, InterruptFabric, routing};
use crate::ioapic::IoApicState;
use crate::lapic::{LocalApic, LocalApicState};
use crate::pic::PicState;
use crate::{RestoreError, Saved, Width};

impl InterruptFabric {
    /// Reads a port of the 8259s, one of [`crate::pic::Pic::PORTS`]. It may acknowledge (a poll).
    pub fn port_read(&mut self, port: u16, width: Width) -> u32 {
        let value = self.pic.port_read(port, width);
        self.settle();
        value
    }

    /// Writes a port of the 8259s, one of [`crate::pic::Pic::PORTS`].
    pub fn port_write(&mut self, port: u16, width: Width, value: u32) {
        self.pic.port_write(port, width, value);
        self.settle();
    }

    /// Reads the I/O APIC's window ([`crate::ioapic::IoApic::BASE`]).
    pub fn ioapic_read(&mut self, offset: u64, width: Width) -> u64 {
        self.ioapic.mmio_read(offset, width)
    }

    /// Writes the I/O APIC's window.
    pub fn ioapic_write(&mut self, offset: u64, width: Width, value: u64) {
        let Self { ioapic, lapics, .. } = self;
        ioapic.mmio_write(offset, value & width.mask(), &mut |message| routing::route(lapics, message));
        self.settle();
    }

    /// Where `vcpu` finds the window of its local APIC, [`LocalApic::LEN_BYTES`] long; `None` if its
    /// APIC is disabled or in x2APIC mode, when the addresses are ordinary memory space.
    /// It changes only by [`Self::msr_write`].
    pub fn mmio_base(&self, vcpu: usize) -> Option<u64> {
        self.lapics[vcpu].mmio_base()
    }

    /// Reads the window of the local APIC of `vcpu`.
    pub fn mmio_read(&mut self, vcpu: usize, offset: u64, width: Width, now: VirtualTime) -> u64 {
        let value = self.lapics[vcpu].mmio_read(offset, width, now);
        self.settle();
        value
    }

    /// Writes the window of the local APIC of `vcpu`.
    pub fn mmio_write(&mut self, vcpu: usize, offset: u64, width: Width, value: u64, now: VirtualTime) {
        let effect = self.lapics[vcpu].mmio_write(offset, width, value, now);
        self.apply(vcpu, effect);
        self.settle();
    }

    /// Whether `msr` belongs to the local APIC: IA32_APIC_BASE, IA32_TSC_DEADLINE, 800h to 8FFh.
    pub fn has_msr(msr: u32) -> bool {
        LocalApic::has_msr(msr)
    }

    /// RDMSR of a register of [`Self::has_msr`].
    ///
    /// # Errors
    /// [`GpFault`] where the processor raises #GP(0).
    pub fn msr_read(&mut self, vcpu: usize, msr: u32, now: VirtualTime) -> Result<u64, GpFault> {
        let value = self.lapics[vcpu].msr_read(msr, now);
        self.settle();
        value
    }

    /// WRMSR of a register of [`Self::has_msr`].
    ///
    /// # Errors
    /// [`GpFault`] where the processor raises #GP(0); nothing is then written.
    pub fn msr_write(&mut self, vcpu: usize, msr: u32, value: u64, now: VirtualTime) -> Result<(), GpFault> {
        let result = self.lapics[vcpu].msr_write(msr, value, now);
        if let Ok(effect) = result {
            self.apply(vcpu, effect);
        }
        self.settle();
        result.map(|_effect| ())
    }

    /// CR8 of `vcpu`: its task priority, 0 to 15. It works whatever the APIC's mode.
    pub fn tpr(&self, vcpu: usize) -> u8 {
        self.lapics[vcpu].cr8()
    }

    /// MOV to CR8; `priority` is 0 to 15.
    pub fn set_tpr(&mut self, vcpu: usize, priority: u8) {
        self.lapics[vcpu].set_cr8(priority & 0xf);
        self.settle();
    }

    /// What `vcpu` adds to the machine's 1 GHz time-stamp counter (nanoseconds since power-on) has
    /// changed; an armed IA32_TSC_DEADLINE moves with it.
    pub fn set_tsc_offset(&mut self, vcpu: usize, offset: u64, now: VirtualTime) {
        self.lapics[vcpu].set_tsc_offset(offset, now);
        self.settle();
    }
}

/// Saved state of all interrupt controllers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FabricState {
    /// The 8259s.
    #[prost(message, optional, tag = "1")]
    pub pic: Option<PicState>,
    /// The I/O APIC.
    #[prost(message, optional, tag = "2")]
    pub ioapic: Option<IoApicState>,
    /// The local APICs, one a processor.
    #[prost(message, repeated, tag = "3")]
    pub lapics: Vec<LocalApicState>,
    /// The levels that devices drive, one bit a line.
    #[prost(uint32, tag = "4")]
    pub lines: u32,
}

impl Saved for InterruptFabric {
    type State = FabricState;

    fn save(&self) -> FabricState {
        let Self { pic, ioapic, lapics, lines, interrupts: _, signals: _, deadline: _ } = self;
        FabricState {
            pic: Some(pic.save()),
            ioapic: Some(ioapic.save()),
            lapics: lapics.iter().map(Saved::save).collect(),
            lines: *lines,
        }
    }

    fn restore(&mut self, state: FabricState) -> Result<(), RestoreError> {
        let FabricState { pic, ioapic, lapics, lines } = state;
        let invalid = |field, value| RestoreError::Invalid { device: "fabric", field, value };
        if lapics.len() != self.lapics.len() {
            return Err(invalid("lapics (count)", lapics.len() as u64));
        }
        if lines >> crate::ioapic::chip::INPUTS != 0 {
            return Err(invalid("lines", lines.into()));
        }
        let mut restored = self.clone();
        restored.lines = lines;
        restored.pic.restore(pic.unwrap_or_default())?;
        restored.ioapic.restore(ioapic.unwrap_or_default())?;
        for (lapic, state) in restored.lapics.iter_mut().zip(lapics) {
            lapic.restore(state)?;
        }
        restored.compute_outputs();
        *self = restored;
        Ok(())
    }
}
