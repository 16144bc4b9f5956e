//! The registers and FIFO of a 16550A (National Semiconductor PC16550D data sheet, section 8).
//!
//! The transmitter is infinitely fast: a byte written to THR leaves at once, so LSR always
//! shows THRE and TEMT, and the transmit FIFO is never seen to hold anything. The receiver
//! takes bytes when the board hands them in; the baud rate only sets the character timeout.

use std::collections::VecDeque;

use x86::VirtualTime;

/// Depth of the receive FIFO.
pub const FIFO_DEPTH: usize = 16;

/// Frequency of the baud rate generator's input, divided by 16: divisor 1 is 115200 baud.
const MAX_BAUD: u64 = 115_200;

pub(super) mod ier {
    pub const RECEIVED: u8 = 0x01;
    pub const THR_EMPTY: u8 = 0x02;
    pub const LINE_STATUS: u8 = 0x04;
    pub const MODEM_STATUS: u8 = 0x08;
}

pub(super) mod lcr {
    pub const STOP_2: u8 = 0x04;
    pub const PARITY: u8 = 0x08;
    pub const DLAB: u8 = 0x80;
}

pub(super) mod mcr {
    pub const DTR: u8 = 0x01;
    pub const RTS: u8 = 0x02;
    pub const OUT1: u8 = 0x04;
    pub const OUT2: u8 = 0x08;
    pub const LOOP: u8 = 0x10;
}

pub(super) mod lsr {
    pub const DATA_READY: u8 = 0x01;
    pub const OVERRUN: u8 = 0x02;
    pub const THRE: u8 = 0x20;
    pub const TEMT: u8 = 0x40;
}

pub(super) mod msr {
    pub const TERI: u8 = 0x04;
    pub const CTS: u8 = 0x10;
    pub const DSR: u8 = 0x20;
    pub const RI: u8 = 0x40;
    pub const DCD: u8 = 0x80;
    /// What a terminal that is always there and always ready drives.
    pub const CONNECTED: u8 = CTS | DSR | DCD;
}

mod iir {
    pub const NONE: u8 = 0x01;
    pub const LINE_STATUS: u8 = 0x06;
    pub const RECEIVED: u8 = 0x04;
    pub const TIMEOUT: u8 = 0x0c;
    pub const THR_EMPTY: u8 = 0x02;
    pub const MODEM_STATUS: u8 = 0x00;
    pub const FIFOS: u8 = 0xc0;
}

/// The register file, the receive FIFO and the interrupt conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    pub(super) divisor: u16,
    pub(super) ier: u8,
    pub(super) fifos_enabled: bool,
    /// Bits 7:6 of FCR: receive trigger level 1, 4, 8 or 14.
    pub(super) trigger: u8,
    pub(super) lcr: u8,
    pub(super) mcr: u8,
    /// The part of LSR that is latched: the overrun bit.
    pub(super) overrun: bool,
    /// Modem lines and their change bits.
    pub(super) msr: u8,
    pub(super) scratch: u8,
    pub(super) received: VecDeque<u8>,
    /// What RBR held last, which an empty receiver keeps returning.
    pub(super) last_received: u8,
    /// The THRE interrupt is latched (cleared by reading it from IIR).
    pub(super) thr_empty_pending: bool,
    /// When the characters in the FIFO will have waited too long; never if it is empty.
    pub(super) timeout_at: VirtualTime,
    /// They have.
    pub(super) timeout_pending: bool,
}

impl Default for Chip {
    fn default() -> Self {
        Chip {
            divisor: 12,
            ier: 0,
            fifos_enabled: false,
            trigger: 0,
            lcr: 0,
            mcr: 0,
            overrun: false,
            msr: msr::CONNECTED,
            scratch: 0,
            received: VecDeque::with_capacity(FIFO_DEPTH),
            last_received: 0,
            thr_empty_pending: false,
            timeout_at: VirtualTime::NEVER,
            timeout_pending: false,
        }
    }
}

impl Chip {
    /// Reads register `offset` (0 to 7); reading RBR, IIR, LSR and MSR changes state.
    pub fn read(&mut self, offset: u16, now: VirtualTime) -> u8 {
        match offset {
            0 if self.dlab() => self.divisor as u8,
            0 => self.read_received(now),
            1 if self.dlab() => (self.divisor >> 8) as u8,
            1 => self.ier,
            2 => self.read_iir(),
            3 => self.lcr,
            4 => self.mcr,
            5 => self.read_lsr(),
            6 => {
                let value = self.msr;
                self.msr &= 0xf0;
                value
            }
            7 => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes register `offset` (0 to 7). Returns a byte that leaves on the line.
    pub fn write(&mut self, offset: u16, value: u8, now: VirtualTime) -> Option<u8> {
        match offset {
            0 if self.dlab() => self.divisor = self.divisor & 0xff00 | u16::from(value),
            0 => return self.transmit(value, now),
            1 if self.dlab() => self.divisor = self.divisor & 0x00ff | u16::from(value) << 8,
            1 => self.write_ier(value),
            2 => self.write_fcr(value),
            3 => self.lcr = value,
            4 => self.write_mcr(value),
            7 => self.scratch = value,
            _ => {} // LSR and MSR: writes are for factory tests
        }
        None
    }

    /// Whether a byte from the line would be kept.
    pub fn can_receive(&self) -> bool {
        !self.loopback() && self.received.len() < self.capacity()
    }

    /// The RTS pin: the guest asks for bytes. Loopback switches the pin off.
    pub fn requests_to_send(&self) -> bool {
        self.mcr & (mcr::RTS | mcr::LOOP) == mcr::RTS
    }

    /// A byte arrives on the line. Returns whether it was kept; if not, and the chip was
    /// listening, the overrun bit is set. In loopback the line is cut off.
    pub fn receive(&mut self, byte: u8, now: VirtualTime) -> bool {
        !self.loopback() && self.shift_in(byte, now)
    }

    /// Notes that time has come to `now`: the character timeout may be over.
    pub fn advance(&mut self, now: VirtualTime) {
        if now >= self.timeout_at && self.timeout_at != VirtualTime::NEVER {
            self.timeout_at = VirtualTime::NEVER;
            self.timeout_pending = true;
        }
    }

    /// When the character timeout ends.
    pub fn deadline(&self) -> VirtualTime {
        self.timeout_at
    }

    /// Whether an enabled interrupt condition holds.
    pub fn interrupt(&self) -> bool {
        self.interrupt_id() != iir::NONE
    }

    /// The OUT2 pin, which gates the interrupt on a PC. Loopback switches the pin off.
    pub fn out2(&self) -> bool {
        self.mcr & (mcr::OUT2 | mcr::LOOP) == mcr::OUT2
    }

    fn dlab(&self) -> bool {
        self.lcr & lcr::DLAB != 0
    }

    fn loopback(&self) -> bool {
        self.mcr & mcr::LOOP != 0
    }

    fn capacity(&self) -> usize {
        if self.fifos_enabled { FIFO_DEPTH } else { 1 }
    }

    fn trigger_level(&self) -> usize {
        match (self.fifos_enabled, self.trigger) {
            (false, _) | (true, 0x00) => 1,
            (true, 0x40) => 4,
            (true, 0x80) => 8,
            (true, _) => 14,
        }
    }

    /// The highest pending enabled condition, as bits 3:0 of IIR (data sheet, table 5).
    fn interrupt_id(&self) -> u8 {
        if self.ier & ier::LINE_STATUS != 0 && self.overrun {
            iir::LINE_STATUS
        } else if self.ier & ier::RECEIVED != 0 && self.received.len() >= self.trigger_level() {
            iir::RECEIVED
        } else if self.ier & ier::RECEIVED != 0 && self.timeout_pending {
            iir::TIMEOUT
        } else if self.ier & ier::THR_EMPTY != 0 && self.thr_empty_pending {
            iir::THR_EMPTY
        } else if self.ier & ier::MODEM_STATUS != 0 && self.msr & 0x0f != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    fn read_iir(&mut self) -> u8 {
        let id = self.interrupt_id();
        if id == iir::THR_EMPTY {
            self.thr_empty_pending = false;
        }
        id | if self.fifos_enabled { iir::FIFOS } else { 0 }
    }

    fn read_lsr(&mut self) -> u8 {
        let mut value = lsr::THRE | lsr::TEMT;
        if !self.received.is_empty() {
            value |= lsr::DATA_READY;
        }
        if std::mem::take(&mut self.overrun) {
            value |= lsr::OVERRUN;
        }
        value
    }

    fn read_received(&mut self, now: VirtualTime) -> u8 {
        if let Some(byte) = self.received.pop_front() {
            self.last_received = byte;
        }
        self.timeout_pending = false;
        self.restart_timeout(now);
        self.last_received
    }

    /// Enabling the THRE interrupt while the transmitter is empty raises it (Linux tests for this).
    fn write_ier(&mut self, value: u8) {
        let value = value & 0x0f;
        if value & !self.ier & ier::THR_EMPTY != 0 {
            self.thr_empty_pending = true;
        }
        self.ier = value;
    }

    fn write_fcr(&mut self, value: u8) {
        let enable = value & 0x01 != 0;
        if enable != self.fifos_enabled || enable && value & 0x02 != 0 {
            self.received.clear();
            self.timeout_at = VirtualTime::NEVER;
            self.timeout_pending = false;
        }
        self.fifos_enabled = enable;
        // The other bits are only programmed when bit 0 is written as 1.
        if enable {
            self.trigger = value & 0xc0;
        }
    }

    fn write_mcr(&mut self, value: u8) {
        self.mcr = value & 0x1f;
        let mut lines = msr::CONNECTED;
        if self.loopback() {
            lines = [(mcr::RTS, msr::CTS), (mcr::DTR, msr::DSR), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)]
                .iter()
                .filter(|(output, _)| self.mcr & output != 0)
                .fold(0, |lines, (_, input)| lines | input);
        }
        let before = self.msr & 0xf0;
        let mut deltas = self.msr & 0x0f | (before ^ lines) >> 4 & !msr::TERI;
        // The ring indicator's change bit notes its trailing edge only.
        if before & !lines & msr::RI != 0 {
            deltas |= msr::TERI;
        }
        self.msr = lines | deltas;
    }

    fn transmit(&mut self, byte: u8, now: VirtualTime) -> Option<u8> {
        // The byte is through the shift register before the next instruction: empty again.
        self.thr_empty_pending = true;
        if self.loopback() {
            self.shift_in(byte, now);
            return None;
        }
        Some(byte)
    }

    fn shift_in(&mut self, byte: u8, now: VirtualTime) -> bool {
        let full = self.received.len() >= self.capacity();
        if full {
            self.overrun = true;
            // A full FIFO keeps what it has; a 16450's single register is overwritten.
            if self.fifos_enabled {
                return false;
            }
            self.received.clear();
        }
        self.received.push_back(byte);
        self.restart_timeout(now);
        !full
    }

    /// The timeout counts from the last byte that came in or was read out.
    fn restart_timeout(&mut self, now: VirtualTime) {
        self.timeout_at = if self.fifos_enabled && !self.received.is_empty() && !self.timeout_pending {
            now.after_ns(4 * self.character_ns())
        } else {
            VirtualTime::NEVER
        };
    }

    /// The duration of one character: start, data, parity and stop bits at the programmed rate.
    fn character_ns(&self) -> u64 {
        let data = 5 + u64::from(self.lcr & 0x03);
        let parity = u64::from(self.lcr & lcr::PARITY != 0);
        let stop = 1 + u64::from(self.lcr & lcr::STOP_2 != 0);
        let divisor = u64::from(self.divisor).max(1);
        (1 + data + parity + stop) * divisor * 1_000_000_000 / MAX_BAUD
    }
}
