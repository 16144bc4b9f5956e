//! The 8254 on a PC: ports 40h to 43h and 61h, interrupt line 0.

mod state;

use x86::VirtualTime;

use super::chip::{Access, Channel};
use crate::bus::{read_bytewise, write_bytewise};
use crate::{IrqLine, PortDevice, Timed, Width, Wires};

pub use state::{ChannelState, PitState};

/// The clock of all three channels, in hertz.
pub const PIT_HZ: u64 = 1_193_182;

/// The interrupt line of channel 0.
const IRQ: IrqLine = IrqLine(0);

/// The clocks between two changes of the refresh bit of port 61h (about 15 us).
const REFRESH_CLOCKS: u64 = 18;

/// Bits of port 61h that software writes: gate of channel 2, speaker, and two enables of
/// error sources that do not exist.
const PORT_B_WRITABLE: u8 = 0x0f;
const PORT_B_GATE: u8 = 0x01;

/// The interval timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pit {
    channels: [Channel; 3],
    /// The bits of port 61h that software writes.
    port_b: u8,
    /// Line 0 is ours; else the HPET drives it.
    connected: bool,
    /// The output of channel 0 as last carried to its line.
    driven: bool,
    /// The clock of the next change of that output; `u64::MAX` if there is none.
    change_at: u64,
}

impl Default for Pit {
    fn default() -> Self {
        Pit::new()
    }
}

impl Pit {
    /// The first port of the channels.
    pub const FIRST_PORT: u16 = 0x40;
    /// The number of ports from there.
    pub const PORTS: u16 = 4;
    /// NMI status and control: the gate and output of channel 2 and the speaker.
    pub const PORT_B: u16 = 0x61;

    /// The timer at power-on: no channel counts.
    pub fn new() -> Self {
        Pit {
            channels: [Channel::new(true), Channel::new(true), Channel::new(false)],
            port_b: 0,
            connected: true,
            driven: false,
            change_at: u64::MAX,
        }
    }

    /// Programs channel 0 as PC firmware leaves it: mode 2 at the lowest rate, 18.2 Hz.
    pub fn set_up_as_firmware(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        for (offset, value) in [(3, 0x34), (0, 0), (0, 0)] {
            self.port_write(offset, Width::Byte, value, now, wires);
        }
    }

    /// Cuts the timer off from line 0 or joins them again: the HPET in legacy replacement mode
    /// takes the line over. Call it whenever that mode changes; a disconnected timer leaves the
    /// line alone and has no deadlines.
    pub fn set_connected(&mut self, connected: bool, now: VirtualTime, wires: &mut dyn Wires) {
        self.advance(now, wires);
        let joins = connected && !self.connected;
        self.connected = connected;
        if joins {
            wires.set_irq(IRQ, self.driven);
        }
        self.look_ahead(now.ticks(PIT_HZ));
    }

    /// Reads port 61h.
    pub fn port_b_read(&mut self, now: VirtualTime, wires: &mut dyn Wires) -> u8 {
        self.advance(now, wires);
        let clock = now.ticks(PIT_HZ);
        let refresh = (clock / REFRESH_CLOCKS % 2) as u8;
        self.port_b | refresh << 4 | u8::from(self.channels[2].output(clock)) << 5
    }

    /// Writes port 61h.
    pub fn port_b_write(&mut self, value: u8, now: VirtualTime, wires: &mut dyn Wires) {
        self.advance(now, wires);
        self.port_b = value & PORT_B_WRITABLE;
        self.channels[2].set_gate(value & PORT_B_GATE != 0, now.ticks(PIT_HZ));
    }

    fn read_byte(&mut self, offset: u16, clock: u64) -> u8 {
        match offset {
            0..3 => self.channels[usize::from(offset)].read(clock),
            // The control register cannot be read.
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u16, value: u8, clock: u64) {
        match offset {
            0..3 => self.channels[usize::from(offset)].write(value, clock),
            3 => self.write_control(value, clock),
            _ => {}
        }
    }

    fn write_control(&mut self, word: u8, clock: u64) {
        let Some(channel) = self.channels.get_mut(usize::from(word >> 6)) else {
            return self.read_back(word, clock);
        };
        match word >> 4 & 3 {
            0 => channel.latch_count(clock),
            1 => channel.write_control(word, Access::Low, clock),
            2 => channel.write_control(word, Access::High, clock),
            _ => channel.write_control(word, Access::Both, clock),
        }
    }

    /// The read-back command: latches counts, statuses or both, of any channels.
    fn read_back(&mut self, word: u8, clock: u64) {
        for (i, channel) in self.channels.iter_mut().enumerate() {
            if word & 2 << i == 0 {
                continue;
            }
            if word & 0x20 == 0 {
                channel.latch_count(clock);
            }
            if word & 0x10 == 0 {
                channel.latch_status(clock);
            }
        }
    }

    /// Carries the output of channel 0 to its line. A change that came and went unseen is an edge all the same.
    fn drive(&mut self, clock: u64, wires: &mut dyn Wires) {
        let output = self.channels[0].output(clock);
        let unseen = self.change_at <= clock && output == self.driven;
        let changed = output != self.driven;
        self.driven = output;
        self.look_ahead(clock);
        if self.connected && unseen {
            wires.set_irq(IRQ, !output);
        }
        if self.connected && (unseen || changed) {
            wires.set_irq(IRQ, output);
        }
    }

    fn look_ahead(&mut self, clock: u64) {
        self.change_at = self.channels[0].next_change(clock).unwrap_or(u64::MAX);
    }
}

impl PortDevice for Pit {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        self.advance(now, wires);
        let clock = now.ticks(PIT_HZ);
        read_bytewise(width, offset, |offset| self.read_byte(offset, clock))
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.advance(now, wires);
        let clock = now.ticks(PIT_HZ);
        write_bytewise(width, offset, value, |offset, byte| self.write_byte(offset, byte, clock));
        // What was written takes effect at once: what was foreseen does not come to pass.
        self.look_ahead(clock);
        self.drive(clock, wires);
    }
}

impl Timed for Pit {
    fn deadline(&self) -> VirtualTime {
        if !self.connected {
            return VirtualTime::NEVER;
        }
        let load_at = self.channels[0].load.map_or(u64::MAX, |load| load.at);
        match self.change_at.min(load_at) {
            u64::MAX => VirtualTime::NEVER,
            clock => VirtualTime::at_tick(clock, PIT_HZ),
        }
    }

    fn advance(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        let clock = now.ticks(PIT_HZ);
        let load_at = self.channels[0].load.map_or(u64::MAX, |load| load.at);
        for channel in &mut self.channels[1..] {
            channel.settle(clock);
        }
        if load_at <= clock {
            if self.change_at < load_at {
                self.drive(load_at - 1, wires);
            }
            self.channels[0].settle(clock);
            self.look_ahead(load_at);
            self.drive(load_at, wires);
        }
        if self.change_at <= clock {
            self.drive(clock, wires);
        }
    }
}
