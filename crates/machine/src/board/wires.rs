//! What the devices' lines lead to.

use devices::bus::OutputChannel;
use devices::fabric::InterruptFabric;
use devices::guest_control::ControlRequest;
use devices::{IrqLine, PowerEvent, Wires};

use super::Outbox;

/// The board as a device sees it.
pub struct BoardWires<'a> {
    pub(super) fabric: &'a mut InterruptFabric,
    pub(super) out: &'a mut Outbox,
}

impl Wires for BoardWires<'_> {
    fn set_irq(&mut self, line: IrqLine, level: bool) {
        self.fabric.set_irq(line, level);
    }

    fn power(&mut self, event: PowerEvent) {
        // The first event of an instruction wins: the machine stops right behind it.
        self.out.power.get_or_insert(event);
    }

    fn set_a20(&mut self, enabled: bool) {
        self.out.a20 = Some(enabled);
    }

    fn output(&mut self, channel: OutputChannel, byte: u8) {
        match channel {
            OutputChannel::Serial => self.out.serial.push(byte),
            OutputChannel::DebugConsole => self.out.debug_console.push(byte),
        }
    }

    fn control(&mut self, request: ControlRequest) {
        self.out.requests.push(request);
    }
}

/// The wires of a device whose interrupt line is cut off (the RTC while the HPET has its line).
pub struct CutOff<'a, 'b> {
    pub(super) wires: &'a mut BoardWires<'b>,
    pub(super) line: IrqLine,
}

impl Wires for CutOff<'_, '_> {
    fn set_irq(&mut self, line: IrqLine, level: bool) {
        if line != self.line {
            self.wires.set_irq(line, level);
        }
    }
    fn power(&mut self, event: PowerEvent) {
        self.wires.power(event);
    }
    fn set_a20(&mut self, enabled: bool) {
        self.wires.set_a20(enabled);
    }
    fn output(&mut self, channel: OutputChannel, byte: u8) {
        self.wires.output(channel, byte);
    }
    fn control(&mut self, request: ControlRequest) {
        self.wires.control(request);
    }
}
