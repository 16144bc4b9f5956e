//! The part of a VGA in text mode that kernels touch without asking: its registers and the memory of
//! characters at B8000h. Nothing is drawn: this machine has no display, and its tables say so.
//!
//! Kernels that print to the screen regardless move the cursor, read back what they wrote to scroll it,
//! and wait for the retrace; without an answer some of them stop. Registers keep what is written to them
//! (IBM VGA technical reference; Intel graphics PRM, volume "VGA registers"), and change nothing else.

use x86::VirtualTime;

use crate::bus::{PortDevice, Width, Wires, read_bytewise, write_bytewise};
use crate::byte_memory::ByteMemory;
use crate::state::{RestoreError, Saved, within};

/// The first port.
pub const PORT_BASE: u16 = 0x3c0;
/// Number of ports.
pub const PORT_COUNT: u16 = 0x20;
/// Where the text memory is.
pub const MEMORY_BASE: u64 = 0xb_8000;
/// Bytes of the text memory.
pub const MEMORY_LEN: u64 = 0x8000;

/// Offsets from [`PORT_BASE`].
const ATTRIBUTE_WRITE: u16 = 0x00;
const ATTRIBUTE_READ: u16 = 0x01;
const MISC_WRITE: u16 = 0x02;
const SEQUENCER: u16 = 0x04;
const SEQUENCER_DATA: u16 = 0x05;
const MISC_READ: u16 = 0x0c;
const GRAPHICS: u16 = 0x0e;
const GRAPHICS_DATA: u16 = 0x0f;
const CRTC: u16 = 0x14;
const CRTC_DATA: u16 = 0x15;
const STATUS: u16 = 0x1a;

/// Bits of the index registers.
const SEQUENCER_INDEX: u8 = 0x07;
const GRAPHICS_INDEX: u8 = 0x0f;
const CRTC_INDEX: u8 = 0x1f;
const ATTRIBUTE_INDEX: u8 = 0x1f;
/// Bit 5 of the attribute index.
const ATTRIBUTE_SHOW: u8 = 0x20;

/// Input status 1: nothing is being displayed.
const STATUS_BLANK: u8 = 0x01;
/// Input status 1: vertical retrace.
const STATUS_RETRACE: u8 = 0x08;
/// A picture of text mode: 70 Hz.
const FRAME_NS: u64 = 14_268_000;
/// Its visible part: 400 of 449 lines.
const VISIBLE_NS: u64 = 12_711_000;
/// The retrace: two lines, from line 412 on.
const RETRACE_NS: std::ops::Range<u64> = 13_092_000..13_156_000;

/// CRTC register 11h, bit 7: registers 0 to 7 are read-only.
const CRTC_PROTECT: usize = 0x11;

/// What a BIOS loads for mode 3, 80 by 25 characters.
const SEQUENCER_MODE3: [u8; 5] = [0x03, 0x00, 0x03, 0x00, 0x02];
const GRAPHICS_MODE3: [u8; 9] = [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff];
const CRTC_MODE3: [u8; 25] = [
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f,
    0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
];
const ATTRIBUTE_MODE3: [u8; 21] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f,
    0x08, 0x00,
];
const MISC_MODE3: u8 = 0x67;

/// Registers behind an index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Indexed<const N: usize> {
    index: u8,
    registers: [u8; N],
}

impl<const N: usize> Indexed<N> {
    fn new(registers: [u8; N]) -> Self {
        Indexed { index: 0, registers }
    }

    fn read(&self) -> u8 {
        self.registers.get(usize::from(self.index)).copied().unwrap_or(0)
    }

    fn write(&mut self, value: u8) {
        if let Some(register) = self.registers.get_mut(usize::from(self.index)) {
            *register = value;
        }
    }

    fn save(&self) -> Vec<u8> {
        let Self { index, registers } = self;
        [&[*index], registers.as_slice()].concat()
    }

    fn restored(field: &'static str, index_mask: u8, saved: &[u8]) -> Result<Self, RestoreError> {
        let Some((&index, Ok(registers))) = saved.split_first().map(|(index, rest)| (index, rest.try_into())) else {
            return Err(RestoreError::Invalid { device: "vga", field, value: saved.len() as u64 });
        };
        within("vga", field, index.into(), index_mask.into())?;
        Ok(Indexed { index, registers })
    }
}

/// The registers; `offset` counts from [`PORT_BASE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VgaRegisters {
    sequencer: Indexed<5>,
    graphics: Indexed<9>,
    crtc: Indexed<25>,
    attribute: Indexed<21>,
    /// Bit 5 of the attribute index: the picture is shown, and the palette is the display's.
    attribute_show: bool,
    /// The next write to the attribute port is data. Reading the status makes it an index.
    attribute_data: bool,
    misc: u8,
}

impl Default for VgaRegisters {
    fn default() -> Self {
        VgaRegisters {
            sequencer: Indexed::new(SEQUENCER_MODE3),
            graphics: Indexed::new(GRAPHICS_MODE3),
            crtc: Indexed::new(CRTC_MODE3),
            attribute: Indexed::new(ATTRIBUTE_MODE3),
            attribute_show: true,
            attribute_data: false,
            misc: MISC_MODE3,
        }
    }
}

fn status(now: VirtualTime) -> u8 {
    let at = now.as_ns() % FRAME_NS;
    let blank = if at >= VISIBLE_NS { STATUS_BLANK } else { 0 };
    blank | if RETRACE_NS.contains(&at) { STATUS_RETRACE } else { 0 }
}

impl VgaRegisters {
    fn read(&mut self, port: u16, now: VirtualTime) -> u8 {
        match port {
            ATTRIBUTE_WRITE => self.attribute.index | if self.attribute_show { ATTRIBUTE_SHOW } else { 0 },
            ATTRIBUTE_READ => self.attribute.read(),
            SEQUENCER => self.sequencer.index,
            SEQUENCER_DATA => self.sequencer.read(),
            MISC_READ => self.misc,
            GRAPHICS => self.graphics.index,
            GRAPHICS_DATA => self.graphics.read(),
            CRTC => self.crtc.index,
            CRTC_DATA => self.crtc.read(),
            STATUS => {
                self.attribute_data = false;
                status(now)
            }
            _ => 0xff,
        }
    }

    fn write(&mut self, port: u16, value: u8) {
        match port {
            ATTRIBUTE_WRITE => self.attribute_write(value),
            MISC_WRITE => self.misc = value,
            SEQUENCER => self.sequencer.index = value & SEQUENCER_INDEX,
            SEQUENCER_DATA => self.sequencer.write(value),
            GRAPHICS => self.graphics.index = value & GRAPHICS_INDEX,
            GRAPHICS_DATA => self.graphics.write(value),
            CRTC => self.crtc.index = value & CRTC_INDEX,
            CRTC_DATA if self.crtc.index < 8 && self.crtc.registers[CRTC_PROTECT] & 0x80 != 0 => {}
            CRTC_DATA => self.crtc.write(value),
            _ => {}
        }
    }

    fn attribute_write(&mut self, value: u8) {
        if self.attribute_data {
            self.attribute.write(value);
        } else {
            self.attribute.index = value & ATTRIBUTE_INDEX;
            self.attribute_show = value & ATTRIBUTE_SHOW != 0;
        }
        self.attribute_data = !self.attribute_data;
    }
}

impl PortDevice for VgaRegisters {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| self.read(port, now))
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, _wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| self.write(port, byte));
    }
}

/// Registers and text memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vga {
    /// At [`PORT_BASE`].
    pub registers: VgaRegisters,
    /// At [`MEMORY_BASE`].
    pub memory: ByteMemory,
}

impl Default for Vga {
    fn default() -> Self {
        Vga { registers: VgaRegisters::default(), memory: ByteMemory::new(MEMORY_LEN) }
    }
}

/// Saved state of a [`Vga`]. Of indexed registers the index comes first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VgaState {
    #[prost(bytes = "vec", tag = "1")]
    sequencer: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    graphics: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    crtc: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    attribute: Vec<u8>,
    #[prost(bool, tag = "5")]
    attribute_show: bool,
    #[prost(bool, tag = "6")]
    attribute_data: bool,
    #[prost(uint32, tag = "7")]
    misc: u32,
    #[prost(bytes = "vec", tag = "8")]
    memory: Vec<u8>,
}

impl Saved for Vga {
    type State = VgaState;

    fn save(&self) -> VgaState {
        let Self { registers, memory } = self;
        let VgaRegisters { sequencer, graphics, crtc, attribute, attribute_show, attribute_data, misc } = registers;
        VgaState {
            sequencer: sequencer.save(),
            graphics: graphics.save(),
            crtc: crtc.save(),
            attribute: attribute.save(),
            attribute_show: *attribute_show,
            attribute_data: *attribute_data,
            misc: u32::from(*misc),
            memory: memory.save(),
        }
    }

    fn restore(&mut self, state: VgaState) -> Result<(), RestoreError> {
        let registers = VgaRegisters {
            sequencer: Indexed::restored("sequencer", SEQUENCER_INDEX, &state.sequencer)?,
            graphics: Indexed::restored("graphics", GRAPHICS_INDEX, &state.graphics)?,
            crtc: Indexed::restored("crtc", CRTC_INDEX, &state.crtc)?,
            attribute: Indexed::restored("attribute", ATTRIBUTE_INDEX, &state.attribute)?,
            attribute_show: state.attribute_show,
            attribute_data: state.attribute_data,
            misc: within("vga", "misc", state.misc, 0xff)? as u8,
        };
        *self = Vga { registers, memory: ByteMemory::restored("vga", MEMORY_LEN, state.memory)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
