//! Two 8259As as a PC has them: the slave's output is input 2 of the master.
//!
//! Ports 20h/21h (master), A0h/A1h (slave), 4D0h/4D1h (edge/level control).

use super::chip::{Chip, Expect};
use crate::bus::{read_bytewise, write_bytewise};
use crate::{RestoreError, Saved, Width};

/// The master input that the slave drives.
const CASCADE: u8 = 2;
/// Inputs that can be level-triggered: all but 0, 1 and 2 of the master, 8 and 13 of the pair.
const ELCR_WRITABLE: [u8; 2] = [0xf8, 0xde];

/// The interrupt controllers of the ISA bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pic {
    master: Chip,
    slave: Chip,
}

impl Default for Pic {
    fn default() -> Self {
        Pic::new()
    }
}

impl Pic {
    /// First port and number of ports of each range that the pair answers.
    pub const PORTS: [(u16, u16); 3] = [(0x20, 2), (0xa0, 2), (0x4d0, 2)];

    /// Both controllers at power-on.
    pub fn new() -> Self {
        Pic { master: Chip::new(), slave: Chip::new() }
    }

    /// Programs both as PC firmware leaves them: vectors 08h and 70h, all inputs masked
    /// but the cascade and the timer, whose ticks a BIOS counts.
    pub fn set_up_as_firmware(&mut self) {
        for (port, base, mask) in [(0x20, 0x08, 0xfa), (0xa0, 0x70, 0xff)] {
            let cascade = if port == 0x20 { 1 << CASCADE } else { CASCADE };
            self.write_byte(port, 0x11);
            for value in [base, cascade, 0x01, mask] {
                self.write_byte(port + 1, value);
            }
        }
    }

    /// Sets the level of ISA line `irq`, 0 to 15. Line 2 does not exist: it is the cascade.
    pub fn set_line(&mut self, irq: u8, level: bool) {
        assert!(irq < 16, "an ISA interrupt line");
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, level),
            _ => self.slave.set_line(irq - 8, level),
        }
        self.update_cascade();
    }

    /// The slave's output drives the master's input. It is treated as a level, so that a slave
    /// with a second request after an automatic end of interrupt is not forgotten.
    fn update_cascade(&mut self) {
        let level = self.slave.pending(0).is_some();
        self.master.set_line(CASCADE, level);
        if level {
            self.master.latched |= 1 << CASCADE;
        }
    }

    /// The interrupt output of the pair (INTR).
    pub fn interrupt(&self) -> bool {
        self.master.pending(1 << CASCADE).is_some()
    }

    /// The interrupt acknowledge cycle: gives the vector. Without a request it is that of
    /// line 7 (or 15 if the slave's request has gone), the spurious interrupt.
    pub fn acknowledge(&mut self) -> u8 {
        let vector = match self.master.pending(1 << CASCADE) {
            None => self.master.vector_base + 7,
            Some(CASCADE) => {
                self.master.accept(CASCADE);
                let input = self.slave.pending(0);
                if let Some(input) = input {
                    self.slave.accept(input);
                }
                self.slave.vector_base + input.unwrap_or(7)
            }
            Some(input) => {
                self.master.accept(input);
                self.master.vector_base + input
            }
        };
        self.update_cascade();
        vector
    }

    /// Reads `width` from `port`, one of [`Self::PORTS`]; a wide access reads the ports after it.
    pub fn port_read(&mut self, port: u16, width: Width) -> u32 {
        read_bytewise(width, port, |port| self.read_byte(port))
    }

    /// Writes `width` to `port`, one of [`Self::PORTS`]; a wide access writes the ports after it.
    pub fn port_write(&mut self, port: u16, width: Width, value: u32) {
        write_bytewise(width, port, value, |port, value| self.write_byte(port, value));
    }

    fn read_byte(&mut self, port: u16) -> u8 {
        let value = match port {
            0x20 => self.master.read_command(1 << CASCADE),
            0x21 => self.master.read_data(1 << CASCADE),
            0xa0 => self.slave.read_command(0),
            0xa1 => self.slave.read_data(0),
            0x4d0 => self.master.level_triggered,
            0x4d1 => self.slave.level_triggered,
            _ => 0xff,
        };
        self.update_cascade();
        value
    }

    fn write_byte(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.master.write_command(value),
            0x21 => self.master.write_data(value),
            0xa0 => self.slave.write_command(value),
            0xa1 => self.slave.write_data(value),
            0x4d0 => self.master.level_triggered = value & ELCR_WRITABLE[0],
            0x4d1 => self.slave.level_triggered = value & ELCR_WRITABLE[1],
            _ => {}
        }
        self.update_cascade();
    }
}

/// Saved state of both controllers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PicState {
    /// The first controller.
    #[prost(message, optional, tag = "1")]
    pub master: Option<ChipState>,
    /// The second, behind input 2 of the first.
    #[prost(message, optional, tag = "2")]
    pub slave: Option<ChipState>,
}

/// Saved state of one controller; the fields are those of [`Chip`].
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)]
pub struct ChipState {
    #[prost(uint32, tag = "1")]
    pub lines: u32,
    #[prost(uint32, tag = "2")]
    pub latched: u32,
    #[prost(uint32, tag = "3")]
    pub level_triggered: u32,
    #[prost(uint32, tag = "4")]
    pub mask: u32,
    #[prost(uint32, tag = "5")]
    pub in_service: u32,
    #[prost(uint32, tag = "6")]
    pub vector_base: u32,
    #[prost(uint32, tag = "7")]
    pub lowest: u32,
    #[prost(bool, tag = "8")]
    pub auto_eoi: bool,
    #[prost(bool, tag = "9")]
    pub rotate_on_auto_eoi: bool,
    #[prost(bool, tag = "10")]
    pub special_mask: bool,
    #[prost(bool, tag = "11")]
    pub special_fully_nested: bool,
    #[prost(bool, tag = "12")]
    pub read_in_service: bool,
    #[prost(bool, tag = "13")]
    pub poll: bool,
    /// 0 mask, 1 ICW2, 2 ICW3, 3 ICW4.
    #[prost(uint32, tag = "14")]
    pub expect: u32,
    #[prost(bool, tag = "15")]
    pub single: bool,
    #[prost(bool, tag = "16")]
    pub wants_icw4: bool,
}

impl Saved for Pic {
    type State = PicState;

    fn save(&self) -> PicState {
        let Self { master, slave } = self;
        PicState { master: Some(save_chip(master)), slave: Some(save_chip(slave)) }
    }

    fn restore(&mut self, state: PicState) -> Result<(), RestoreError> {
        let PicState { master, slave } = state;
        let master = restore_chip(master.unwrap_or_default())?;
        let slave = restore_chip(slave.unwrap_or_default())?;
        *self = Pic { master, slave };
        Ok(())
    }
}

fn save_chip(chip: &Chip) -> ChipState {
    let Chip {
        lines,
        latched,
        level_triggered,
        mask,
        in_service,
        vector_base,
        lowest,
        auto_eoi,
        rotate_on_auto_eoi,
        special_mask,
        special_fully_nested,
        read_in_service,
        poll,
        expect,
        single,
        wants_icw4,
    } = *chip;
    ChipState {
        lines: lines.into(),
        latched: latched.into(),
        level_triggered: level_triggered.into(),
        mask: mask.into(),
        in_service: in_service.into(),
        vector_base: vector_base.into(),
        lowest: lowest.into(),
        auto_eoi,
        rotate_on_auto_eoi,
        special_mask,
        special_fully_nested,
        read_in_service,
        poll,
        expect: match expect {
            Expect::Mask => 0,
            Expect::VectorBase => 1,
            Expect::Cascade => 2,
            Expect::Modes => 3,
        },
        single,
        wants_icw4,
    }
}

fn restore_chip(state: ChipState) -> Result<Chip, RestoreError> {
    let byte = |field, value: u32, allowed: u8| {
        u8::try_from(value).ok().filter(|v| v & !allowed == 0).ok_or_else(|| invalid(field, value))
    };
    Ok(Chip {
        lines: byte("lines", state.lines, 0xff)?,
        latched: byte("latched", state.latched, 0xff)?,
        level_triggered: byte("level_triggered", state.level_triggered, 0xfe)?,
        mask: byte("mask", state.mask, 0xff)?,
        in_service: byte("in_service", state.in_service, 0xff)?,
        vector_base: byte("vector_base", state.vector_base, 0xf8)?,
        lowest: byte("lowest", state.lowest, 7)?,
        auto_eoi: state.auto_eoi,
        rotate_on_auto_eoi: state.rotate_on_auto_eoi,
        special_mask: state.special_mask,
        special_fully_nested: state.special_fully_nested,
        read_in_service: state.read_in_service,
        poll: state.poll,
        expect: match state.expect {
            0 => Expect::Mask,
            1 => Expect::VectorBase,
            2 => Expect::Cascade,
            3 => Expect::Modes,
            other => return Err(invalid("expect", other)),
        },
        single: state.single,
        wants_icw4: state.wants_icw4,
    })
}

fn invalid(field: &'static str, value: u32) -> RestoreError {
    RestoreError::Invalid { device: "pic", field, value: value.into() }
}
