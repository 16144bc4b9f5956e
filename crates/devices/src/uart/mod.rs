//! The first serial port: a 16550A at ports 3F8h to 3FFh on IRQ 4.
//!
//! What the guest sends leaves through [`Wires::output`] at once; what comes from outside is
//! handed in with [`Uart::receive`].

mod chip;
#[cfg(test)]
mod tests;

use x86::VirtualTime;

use crate::bus::{IrqLine, OutputChannel, PortDevice, Timed, Width, Wires, read_bytewise, write_bytewise};
use crate::state::{RestoreError, Saved};
use chip::Chip;
pub use chip::FIFO_DEPTH;

/// First of the eight ports.
pub const PORT_BASE: u16 = 0x3f8;
/// Number of ports.
pub const PORT_COUNT: u16 = 8;
/// The interrupt line of COM1.
pub const IRQ: IrqLine = IrqLine(4);

/// How the serial port is wired up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartConfig {
    /// The interrupt line.
    pub irq: IrqLine,
    /// Whether the interrupt reaches the line only while OUT2 is set (and loopback is off), as on
    /// IBM's card. Off by default: emulators do not gate, and kernels written on them forget OUT2.
    pub out2_gates_irq: bool,
}

impl Default for UartConfig {
    fn default() -> Self {
        UartConfig { irq: IRQ, out2_gates_irq: false }
    }
}

/// A 16550A with its interrupt line. `offset` of port accesses counts from [`PORT_BASE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    config: UartConfig,
    chip: Chip,
    irq_level: bool,
}

impl Uart {
    /// A UART as it is after reset.
    pub fn new(config: UartConfig) -> Self {
        Uart { config, chip: Chip::default(), irq_level: false }
    }

    /// Whether [`Self::receive`] would keep a byte now.
    pub fn can_receive(&self) -> bool {
        self.chip.can_receive()
    }

    /// Whether the guest asks for bytes (RTS); a sender without flow control need not look.
    pub fn requests_to_send(&self) -> bool {
        self.chip.requests_to_send()
    }

    /// A byte arrives from outside. Returns whether it fitted; if not, the guest sees an overrun
    /// (and in loopback, where the line is cut off, nothing at all).
    pub fn receive(&mut self, byte: u8, now: VirtualTime, wires: &mut dyn Wires) -> bool {
        self.chip.advance(now);
        let kept = self.chip.receive(byte, now);
        self.drive(wires);
        kept
    }

    fn drive(&mut self, wires: &mut dyn Wires) {
        let gate = !self.config.out2_gates_irq || self.chip.out2();
        let level = gate && self.chip.interrupt();
        if level != self.irq_level {
            self.irq_level = level;
            wires.set_irq(self.config.irq, level);
        }
    }
}

impl PortDevice for Uart {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        self.chip.advance(now);
        let value = read_bytewise(width, offset, |port| self.chip.read(port, now));
        self.drive(wires);
        value
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        write_bytewise(width, offset, value, |port, byte| {
            if let Some(sent) = self.chip.write(port, byte, now) {
                wires.output(OutputChannel::Serial, sent);
            }
            // After each byte, so that the line shows an edge for each condition.
            self.drive(wires);
        });
    }
}

impl Timed for Uart {
    fn deadline(&self) -> VirtualTime {
        self.chip.deadline()
    }

    fn advance(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        self.drive(wires);
    }
}

/// Saved state of a [`Uart`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct UartState {
    #[prost(uint32, tag = "1")]
    divisor: u32,
    #[prost(uint32, tag = "2")]
    ier: u32,
    #[prost(bool, tag = "3")]
    fifos_enabled: bool,
    #[prost(uint32, tag = "4")]
    trigger: u32,
    #[prost(uint32, tag = "5")]
    lcr: u32,
    #[prost(uint32, tag = "6")]
    mcr: u32,
    #[prost(bool, tag = "7")]
    overrun: bool,
    #[prost(uint32, tag = "8")]
    msr: u32,
    #[prost(uint32, tag = "9")]
    scratch: u32,
    #[prost(bytes = "vec", tag = "10")]
    received: Vec<u8>,
    #[prost(uint32, tag = "11")]
    last_received: u32,
    #[prost(bool, tag = "12")]
    thr_empty_pending: bool,
    #[prost(uint64, tag = "13")]
    timeout_at: u64,
    #[prost(bool, tag = "14")]
    timeout_pending: bool,
    #[prost(bool, tag = "15")]
    irq_level: bool,
}

impl Saved for Uart {
    type State = UartState;

    fn save(&self) -> UartState {
        let Self { config: _, chip, irq_level } = self;
        let Chip {
            divisor,
            ier,
            fifos_enabled,
            trigger,
            lcr,
            mcr,
            overrun,
            msr,
            scratch,
            received,
            last_received,
            thr_empty_pending,
            timeout_at,
            timeout_pending,
        } = chip;
        UartState {
            divisor: u32::from(*divisor),
            ier: u32::from(*ier),
            fifos_enabled: *fifos_enabled,
            trigger: u32::from(*trigger),
            lcr: u32::from(*lcr),
            mcr: u32::from(*mcr),
            overrun: *overrun,
            msr: u32::from(*msr),
            scratch: u32::from(*scratch),
            received: received.iter().copied().collect(),
            last_received: u32::from(*last_received),
            thr_empty_pending: *thr_empty_pending,
            timeout_at: timeout_at.units(),
            timeout_pending: *timeout_pending,
            irq_level: *irq_level,
        }
    }

    fn restore(&mut self, state: UartState) -> Result<(), RestoreError> {
        let within = |field, value, mask| crate::state::within("uart", field, value, mask);
        let capacity = if state.fifos_enabled { FIFO_DEPTH } else { 1 };
        if state.received.len() > capacity {
            let value = state.received.len() as u64;
            return Err(RestoreError::Invalid { device: "uart", field: "received", value });
        }
        let chip = Chip {
            divisor: within("divisor", state.divisor, 0xffff)? as u16,
            ier: within("ier", state.ier, 0x0f)? as u8,
            fifos_enabled: state.fifos_enabled,
            trigger: within("trigger", state.trigger, 0xc0)? as u8,
            lcr: within("lcr", state.lcr, 0xff)? as u8,
            mcr: within("mcr", state.mcr, 0x1f)? as u8,
            overrun: state.overrun,
            msr: within("msr", state.msr, 0xff)? as u8,
            scratch: within("scratch", state.scratch, 0xff)? as u8,
            received: state.received.into(),
            last_received: within("last_received", state.last_received, 0xff)? as u8,
            thr_empty_pending: state.thr_empty_pending,
            timeout_at: VirtualTime::from_units(state.timeout_at),
            timeout_pending: state.timeout_pending,
        };
        *self = Uart { config: self.config, chip, irq_level: state.irq_level };
        Ok(())
    }
}
