//! ACPI fixed hardware: power button, PM timer, power-off, the switch into ACPI mode, and the
//! reset register. The constants here are what the ACPI tables say; nothing else defines them.

mod chip;
mod reset;
#[cfg(test)]
mod tests;

use x86::VirtualTime;

use crate::bus::{IrqLine, PortDevice, PowerEvent, Timed, Width, Wires, read_bytewise, write_bytewise};
use crate::state::{RestoreError, Saved, within};
use chip::Chip;
pub use chip::PM_TIMER_HZ;
pub use reset::{RESET_PORT, RESET_VALUE, ResetControl, ResetControlState};

/// First port of the register block.
pub const PM_BASE: u16 = 0x600;
/// Number of ports of the register block.
pub const PM_PORT_COUNT: u16 = 16;
/// FADT `PM1a_EVT_BLK`; four bytes.
pub const PM1_EVENT_PORT: u16 = PM_BASE;
/// FADT `PM1_EVT_LEN`.
pub const PM1_EVENT_LEN: u8 = 4;
/// FADT `PM1a_CNT_BLK`; two bytes.
pub const PM1_CONTROL_PORT: u16 = PM_BASE + 4;
/// FADT `PM1_CNT_LEN`.
pub const PM1_CONTROL_LEN: u8 = 2;
/// FADT `PM_TMR_BLK`; four bytes.
pub const PM_TIMER_PORT: u16 = PM_BASE + 8;
/// FADT `PM_TMR_LEN`.
pub const PM_TIMER_LEN: u8 = 4;
/// FADT flag `TMR_VAL_EXT`: the PM timer has 32 bits.
pub const FADT_TMR_VAL_EXT: u32 = 1 << 8;
/// FADT flag `RESET_REG_SUP`: [`RESET_PORT`] and [`RESET_VALUE`] are good.
pub const FADT_RESET_REG_SUP: u32 = 1 << 10;
/// FADT `SMI_CMD`.
pub const SMI_COMMAND_PORT: u16 = 0xb2;
/// Number of ports there: command and data.
pub const SMI_PORT_COUNT: u16 = 2;
/// FADT `ACPI_ENABLE`: written to [`SMI_COMMAND_PORT`], sets SCI_EN.
pub const ACPI_ENABLE: u8 = 0x02;
/// FADT `ACPI_DISABLE`.
pub const ACPI_DISABLE: u8 = 0x03;
/// FADT `SCI_INT`; level-triggered, active high as this machine drives lines.
pub const SCI_IRQ: IrqLine = IrqLine(9);
/// The value of `SLP_TYPa` in the DSDT's `_S5` package.
pub const SLEEP_TYPE_S5: u8 = 5;
/// What QEMU's tables give for S5. Kernels without an AML interpreter write it straight to port 604h.
const SLEEP_TYPE_S5_QEMU: u8 = 0;

/// The ACPI registers and their interrupt. `offset` of port accesses counts from [`PM_BASE`];
/// the SMI ports are a device of their own, [`AcpiPm::smi_ports`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcpiPm {
    chip: Chip,
    irq_level: bool,
}

impl AcpiPm {
    /// The registers as they are after reset: legacy mode.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power button is pressed: an ACPI system that listens gets its interrupt and shuts down.
    pub fn press_power_button(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        self.chip.press_power_button();
        self.drive(wires);
    }

    /// The two ports at [`SMI_COMMAND_PORT`]. This machine has no SMM: what firmware's handler
    /// would do on a command happens at once.
    pub fn smi_ports(&mut self) -> SmiPorts<'_> {
        SmiPorts(self)
    }

    fn drive(&mut self, wires: &mut dyn Wires) {
        let level = self.chip.sci();
        if level != self.irq_level {
            self.irq_level = level;
            wires.set_irq(SCI_IRQ, level);
        }
    }
}

impl PortDevice for AcpiPm {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        self.advance(now, wires);
        read_bytewise(width, offset, |port| self.chip.read(port, now))
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.advance(now, wires);
        write_bytewise(width, offset, value, |port, byte| {
            // States other than S5 are not offered in the tables: writing their numbers does nothing.
            if let Some(SLEEP_TYPE_S5 | SLEEP_TYPE_S5_QEMU) = self.chip.write(port, byte) {
                wires.power(PowerEvent::PowerOff);
            }
        });
        self.drive(wires);
    }
}

/// The SMI command and data ports of an [`AcpiPm`]. `offset` counts from [`SMI_COMMAND_PORT`].
pub struct SmiPorts<'a>(&'a mut AcpiPm);

impl PortDevice for SmiPorts<'_> {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        let chip = &self.0.chip;
        read_bytewise(width, offset, |port| match port {
            0 => chip.smi_command,
            1 => chip.smi_data,
            _ => 0xff,
        })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.0.advance(now, wires);
        let chip = &mut self.0.chip;
        write_bytewise(width, offset, value, |port, byte| match port {
            0 => {
                chip.smi_command = byte;
                match byte {
                    ACPI_ENABLE => chip.set_acpi_mode(true),
                    ACPI_DISABLE => chip.set_acpi_mode(false),
                    _ => {}
                }
            }
            1 => chip.smi_data = byte,
            _ => {}
        });
        self.0.drive(wires);
    }
}

impl Timed for AcpiPm {
    fn deadline(&self) -> VirtualTime {
        self.chip.deadline()
    }

    fn advance(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        self.drive(wires);
    }
}

/// Saved state of an [`AcpiPm`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct AcpiPmState {
    #[prost(uint32, tag = "1")]
    status: u32,
    #[prost(uint32, tag = "2")]
    enable: u32,
    #[prost(uint32, tag = "3")]
    control: u32,
    #[prost(uint64, tag = "4")]
    timer_halves: u64,
    #[prost(uint32, tag = "5")]
    smi_command: u32,
    #[prost(uint32, tag = "6")]
    smi_data: u32,
    #[prost(bool, tag = "7")]
    irq_level: bool,
}

impl Saved for AcpiPm {
    type State = AcpiPmState;

    fn save(&self) -> AcpiPmState {
        let Self { chip, irq_level } = self;
        let Chip { status, enable, control, timer_halves, smi_command, smi_data } = chip;
        AcpiPmState {
            status: u32::from(*status),
            enable: u32::from(*enable),
            control: u32::from(*control),
            timer_halves: *timer_halves,
            smi_command: u32::from(*smi_command),
            smi_data: u32::from(*smi_data),
            irq_level: *irq_level,
        }
    }

    fn restore(&mut self, state: AcpiPmState) -> Result<(), RestoreError> {
        let within = |field, value, mask| within("acpi-pm", field, value, mask);
        // Above what 64 bits of virtual time can count.
        if state.timer_halves >> 32 != 0 {
            return Err(RestoreError::Invalid { device: "acpi-pm", field: "timer_halves", value: state.timer_halves });
        }
        let chip = Chip {
            status: within("status", state.status, u32::from(chip::status::ENABLES))? as u16,
            enable: within("enable", state.enable, u32::from(chip::status::ENABLES))? as u16,
            control: within("control", state.control, u32::from(chip::control::KEPT))? as u16,
            timer_halves: state.timer_halves,
            smi_command: within("smi_command", state.smi_command, 0xff)? as u8,
            smi_data: within("smi_data", state.smi_data, 0xff)? as u8,
        };
        *self = AcpiPm { chip, irq_level: state.irq_level };
        Ok(())
    }
}
