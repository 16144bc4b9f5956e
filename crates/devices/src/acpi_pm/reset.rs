//! The reset control register at port CF9h (Intel ICH9 data sheet, section 13.7.5).

use x86::VirtualTime;

use crate::bus::{PortDevice, PowerEvent, Width, Wires, read_bytewise, write_bytewise};
use crate::state::{RestoreError, Saved, within};

/// FADT `RESET_REG`. It lies inside the PCI address port's doubleword, so the board gives
/// accesses that start here to this device and those that start at CF8h to the PCI host.
pub const RESET_PORT: u16 = 0xcf9;
/// FADT `RESET_VALUE`: a hard reset.
pub const RESET_VALUE: u8 = 0x06;

/// Bit 2, RST_CPU: setting it resets.
const RESET_CPU: u8 = 0x04;
/// SYS_RST and FULL_RST, which only choose the kind of reset.
const KEPT: u8 = 0x0a;

/// The register. `offset` counts from [`RESET_PORT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetControl {
    value: u8,
}

impl ResetControl {
    /// The register as it is after reset.
    pub fn new() -> Self {
        Self::default()
    }
}

impl PortDevice for ResetControl {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| if port == 0 { self.value } else { 0xff })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| {
            if port == 0 {
                self.value = byte & KEPT;
                if byte & RESET_CPU != 0 {
                    wires.power(PowerEvent::Reset);
                }
            }
        });
    }
}

/// Saved state of a [`ResetControl`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResetControlState {
    #[prost(uint32, tag = "1")]
    value: u32,
}

impl Saved for ResetControl {
    type State = ResetControlState;

    fn save(&self) -> ResetControlState {
        let Self { value } = self;
        ResetControlState { value: u32::from(*value) }
    }

    fn restore(&mut self, state: ResetControlState) -> Result<(), RestoreError> {
        self.value = within("reset-control", "value", state.value, u32::from(KEPT))? as u8;
        Ok(())
    }
}
