//! The board as one vCPU sees it during its turn.

use devices::Width;
use devices::fabric::InterruptFabric;
use x86::bus::{Bus, Signals};
use x86::{GuestPhysAddr, InsnCount, VirtualTime};

use super::{Board, FERR_IRQ};
use crate::clock::Clock;

/// Implements [`Bus`] for vCPU number `vcpu`.
pub struct CpuBus<'a> {
    /// The board.
    pub board: &'a mut Board,
    /// The clock; this vCPU's turn has begun.
    pub clock: &'a Clock,
    /// Which vCPU.
    pub vcpu: usize,
}

impl CpuBus<'_> {
    fn now(&self, at: InsnCount) -> VirtualTime {
        self.clock.at(at)
    }
}

fn width(size: u8) -> Width {
    match size {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Dword,
        8 => Width::Qword,
        _ => unreachable!("a CPU accesses the bus with 1, 2, 4 or 8 bytes"),
    }
}

impl Bus for CpuBus<'_> {
    fn port_read(&mut self, port: u16, size: u8, at: InsnCount) -> u32 {
        let now = self.now(at);
        self.board.port_read(port, width(size), now)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32, at: InsnCount) {
        let now = self.now(at);
        self.board.port_write(port, width(size), value, now);
    }

    fn mmio_read(&mut self, addr: GuestPhysAddr, size: u8, at: InsnCount) -> u64 {
        let now = self.now(at);
        self.board.mmio_read(self.vcpu, addr.0, width(size), now)
    }

    fn mmio_write(&mut self, addr: GuestPhysAddr, size: u8, value: u64, at: InsnCount) {
        let now = self.now(at);
        self.board.mmio_write(self.vcpu, addr.0, width(size), value, now);
    }

    fn msr_read(&mut self, msr: u32, at: InsnCount) -> Option<u64> {
        let now = self.now(at);
        if !InterruptFabric::has_msr(msr) {
            return None;
        }
        self.board.fabric.msr_read(self.vcpu, msr, now).ok()
    }

    fn msr_write(&mut self, msr: u32, value: u64, at: InsnCount) -> Option<()> {
        let now = self.now(at);
        if !InterruptFabric::has_msr(msr) {
            return None;
        }
        self.board.fabric.msr_write(self.vcpu, msr, value, now).ok()
    }

    fn cr8(&mut self) -> u8 {
        self.board.fabric.tpr(self.vcpu)
    }

    fn set_cr8(&mut self, priority: u8, _at: InsnCount) {
        self.board.fabric.set_tpr(self.vcpu, priority);
    }

    /// 1 GHz: nanoseconds of virtual time.
    fn tsc(&mut self, at: InsnCount) -> u64 {
        self.now(at).as_ns()
    }

    fn set_tsc_offset(&mut self, offset: u64, at: InsnCount) {
        let now = self.now(at);
        self.board.fabric.set_tsc_offset(self.vcpu, offset, now);
    }

    fn acknowledge_interrupt(&mut self, _at: InsnCount) -> Option<u8> {
        self.board.fabric.acknowledge(self.vcpu)
    }

    fn numeric_error(&mut self, _at: InsnCount) {
        self.board.fabric.set_irq(FERR_IRQ, true);
    }

    fn signals(&mut self) -> Signals {
        Signals {
            interrupt: self.board.fabric.has_interrupt(self.vcpu),
            attention: self.board.wants_attention(),
            until: self.clock.count_at(self.board.deadline()),
        }
    }
}
