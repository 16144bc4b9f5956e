//! A board for unit tests: it writes down everything that a device says to it.

use std::collections::BTreeMap;

use crate::bus::{IrqLine, OutputChannel, PowerEvent, Wires};
use crate::guest_control::ControlRequest;

/// Everything that came out of a device.
#[derive(Default)]
pub(crate) struct TestWires {
    levels: BTreeMap<IrqLine, bool>,
    rises: BTreeMap<IrqLine, u32>,
    pub(crate) power: Vec<PowerEvent>,
    pub(crate) a20: Option<bool>,
    pub(crate) output: Vec<(OutputChannel, u8)>,
    pub(crate) control: Vec<ControlRequest>,
}

impl TestWires {
    /// The level of a line; low until driven.
    pub(crate) fn level(&self, line: u8) -> bool {
        self.levels.get(&IrqLine(line)).copied().unwrap_or(false)
    }

    /// How often a line rose since the last call.
    pub(crate) fn take_rises(&mut self, line: u8) -> u32 {
        self.rises.remove(&IrqLine(line)).unwrap_or(0)
    }
}

impl Wires for TestWires {
    fn set_irq(&mut self, line: IrqLine, level: bool) {
        let before = self.levels.insert(line, level).unwrap_or(false);
        if level && !before {
            *self.rises.entry(line).or_default() += 1;
        }
    }

    fn power(&mut self, event: PowerEvent) {
        self.power.push(event);
    }

    fn set_a20(&mut self, enabled: bool) {
        self.a20 = Some(enabled);
    }

    fn output(&mut self, channel: OutputChannel, byte: u8) {
        self.output.push((channel, byte));
    }

    fn control(&mut self, request: ControlRequest) {
        self.control.push(request);
    }
}
