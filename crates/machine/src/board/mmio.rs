//! The map of memory-mapped registers.

use devices::hpet::MMIO_LEN as HPET_LEN;
use devices::ioapic::IoApic;
use devices::lapic::LocalApic;
use devices::{MmioDevice, Width, testdev, vga};
use x86::VirtualTime;

use super::Board;
use crate::memory_map::{ECAM_BASE, ECAM_SIZE, HPET_BASE, IOAPIC_BASE};

/// Which device answers at an address, and at which offset of its range.
enum Target {
    LocalApic(u64),
    IoApic(u64),
    Hpet(u64),
    Ecam(u64),
    TestMemory(u64),
    TextMemory(u64),
    Nothing,
}

impl Board {
    fn target(&self, vcpu: usize, addr: u64) -> Target {
        let within = |base: u64, len: u64| addr.checked_sub(base).filter(|&offset| offset < len);
        let lapic = self.fabric.mmio_base(vcpu);
        if let Some(offset) = lapic.and_then(|base| within(base, LocalApic::LEN_BYTES)) {
            return Target::LocalApic(offset);
        }
        if let Some(offset) = within(IOAPIC_BASE, IoApic::LEN_BYTES) {
            return Target::IoApic(offset);
        }
        if let Some(offset) = within(HPET_BASE, HPET_LEN) {
            return Target::Hpet(offset);
        }
        if self.config.debug_exit
            && let Some(offset) = within(testdev::MEMORY_BASE, testdev::MEMORY_LEN)
        {
            return Target::TestMemory(offset);
        }
        if let Some(offset) = within(vga::MEMORY_BASE, vga::MEMORY_LEN) {
            return Target::TextMemory(offset);
        }
        within(ECAM_BASE, ECAM_SIZE).map_or(Target::Nothing, Target::Ecam)
    }

    /// A read by `vcpu` of physical memory that is not RAM; where nothing answers, all ones.
    pub(crate) fn mmio_read(&mut self, vcpu: usize, addr: u64, width: Width, now: VirtualTime) -> u64 {
        match self.target(vcpu, addr) {
            Target::LocalApic(offset) => self.fabric.mmio_read(vcpu, offset, width, now),
            Target::IoApic(offset) => self.fabric.ioapic_read(offset, width),
            Target::Hpet(offset) => {
                let (d, mut wires) = self.split();
                let value = d.hpet.mmio_read(offset, width, now, &mut wires);
                self.settle();
                value
            }
            Target::Ecam(offset) => {
                let (d, mut wires) = self.split();
                d.pci.mmio_read(offset, width, now, &mut wires)
            }
            Target::TestMemory(offset) => {
                let (d, mut wires) = self.split();
                d.testdev.memory.mmio_read(offset, width, now, &mut wires)
            }
            Target::TextMemory(offset) => {
                let (d, mut wires) = self.split();
                d.vga.memory.mmio_read(offset, width, now, &mut wires)
            }
            Target::Nothing => width.mask(),
        }
    }

    /// A write by `vcpu` of physical memory that is not RAM.
    pub(crate) fn mmio_write(&mut self, vcpu: usize, addr: u64, width: Width, value: u64, now: VirtualTime) {
        match self.target(vcpu, addr) {
            Target::LocalApic(offset) => self.fabric.mmio_write(vcpu, offset, width, value, now),
            Target::IoApic(offset) => self.fabric.ioapic_write(offset, width, value),
            Target::Hpet(offset) => self.hpet_write(offset, width, value, now),
            Target::Ecam(offset) => {
                let (d, mut wires) = self.split();
                d.pci.mmio_write(offset, width, value, now, &mut wires);
            }
            Target::TestMemory(offset) => {
                let (d, mut wires) = self.split();
                d.testdev.memory.mmio_write(offset, width, value, now, &mut wires);
            }
            Target::TextMemory(offset) => {
                let (d, mut wires) = self.split();
                d.vga.memory.mmio_write(offset, width, value, now, &mut wires);
            }
            Target::Nothing => {}
        }
    }

    /// The HPET in legacy replacement mode takes the interrupt lines of the timer and the clock.
    fn hpet_write(&mut self, offset: u64, width: Width, value: u64, now: VirtualTime) {
        let (d, mut wires) = self.split();
        d.hpet.mmio_write(offset, width, value, now, &mut wires);
        let owns = d.hpet.legacy_replacement();
        if owns != wires.out.hpet_owns_legacy_lines {
            wires.out.hpet_owns_legacy_lines = owns;
            d.pit.set_connected(!owns, now, &mut wires);
        }
        self.settle();
    }
}
