//! The map of I/O ports.

use devices::acpi_pm::{PM_BASE, PM_PORT_COUNT, RESET_PORT, SMI_COMMAND_PORT, SMI_PORT_COUNT};
use devices::pic::Pic;
use devices::pit::Pit;
use devices::{PortDevice, Width, debug, fw_cfg, guest_control, i8042, pci, port92, rtc, testdev, uart, vga};
use x86::VirtualTime;

use super::wires::{BoardWires, CutOff};
use super::{Board, COPROCESSOR_ERROR_PORT, Devices, FERR_IRQ};

/// Ports of the PCI host bridge that start before its reset register or behind it.
const PCI_END: u16 = pci::PORT_BASE + pci::PORT_COUNT;
const GUEST_CONTROL_END: u16 = guest_control::PORT_BASE + guest_control::PORT_COUNT;
const PM_END: u16 = PM_BASE + PM_PORT_COUNT;
const SMI_END: u16 = SMI_COMMAND_PORT + SMI_PORT_COUNT;
const RTC_END: u16 = rtc::PORT_BASE + rtc::PORT_COUNT;
const UART_END: u16 = uart::PORT_BASE + uart::PORT_COUNT;
const FW_CFG_END: u16 = fw_cfg::PORT_BASE + fw_cfg::PORT_COUNT;
const DEBUG_EXIT_END: u16 = debug::EXIT_PORT + debug::EXIT_PORT_COUNT;
const LATCH_END: u16 = testdev::LATCH_PORT + testdev::LATCH_PORT_COUNT;
const LINES_END: u16 = testdev::LINES_PORT + testdev::LINES_PORT_COUNT;
const VGA_END: u16 = vga::PORT_BASE + vga::PORT_COUNT;
const PIT_END: u16 = Pit::FIRST_PORT + Pit::PORTS;

/// One access to a port.
struct Access {
    port: u16,
    width: Width,
    now: VirtualTime,
}

impl Access {
    fn read(&self, base: u16, device: &mut dyn PortDevice, wires: &mut dyn devices::Wires) -> u32 {
        device.port_read(self.port - base, self.width, self.now, wires)
    }

    fn write(&self, base: u16, device: &mut dyn PortDevice, value: u32, wires: &mut dyn devices::Wires) {
        device.port_write(self.port - base, self.width, value, self.now, wires);
    }
}

impl Board {
    /// IN. A port that nothing answers reads as all ones.
    pub(crate) fn port_read(&mut self, port: u16, width: Width, now: VirtualTime) -> u32 {
        if is_pic(port) {
            return self.fabric.port_read(port, width);
        }
        let value = self.device_port_read(port, width, now);
        self.settle();
        value
    }

    fn device_port_read(&mut self, port: u16, width: Width, now: VirtualTime) -> u32 {
        let debug_exit = self.config.debug_exit;
        let cut_rtc = self.out.hpet_owns_legacy_lines;
        let (d, mut wires) = self.split();
        let access = Access { port, width, now };
        if let Some((base, device)) = d.at_port(port, debug_exit) {
            return access.read(base, device, &mut wires);
        }
        match port {
            Pit::PORT_B => d.pit.port_b_read(now, &mut wires).into(),
            rtc::PORT_BASE..RTC_END => {
                with_rtc_wires(&mut wires, cut_rtc, |w| access.read(rtc::PORT_BASE, &mut d.rtc, w))
            }
            SMI_COMMAND_PORT..SMI_END => access.read(SMI_COMMAND_PORT, &mut d.acpi_pm.smi_ports(), &mut wires),
            _ => width.mask() as u32,
        }
    }

    /// OUT. What no device takes is lost.
    pub(crate) fn port_write(&mut self, port: u16, width: Width, value: u32, now: VirtualTime) {
        if is_pic(port) {
            return self.fabric.port_write(port, width, value);
        }
        self.device_port_write(port, width, value, now);
        self.settle();
    }

    fn device_port_write(&mut self, port: u16, width: Width, value: u32, now: VirtualTime) {
        let debug_exit = self.config.debug_exit;
        let cut_rtc = self.out.hpet_owns_legacy_lines;
        let (d, mut wires) = self.split();
        let access = Access { port, width, now };
        if let Some((base, device)) = d.at_port(port, debug_exit) {
            return access.write(base, device, value, &mut wires);
        }
        match port {
            Pit::PORT_B => d.pit.port_b_write(value as u8, now, &mut wires),
            COPROCESSOR_ERROR_PORT => {
                self.fabric.set_irq(FERR_IRQ, false);
                self.out.ignores_numeric_errors = true;
            }
            rtc::PORT_BASE..RTC_END => {
                with_rtc_wires(&mut wires, cut_rtc, |w| access.write(rtc::PORT_BASE, &mut d.rtc, value, w));
            }
            SMI_COMMAND_PORT..SMI_END => access.write(SMI_COMMAND_PORT, &mut d.acpi_pm.smi_ports(), value, &mut wires),
            _ => {}
        }
    }
}

/// Whether a port belongs to the 8259s.
fn is_pic(port: u16) -> bool {
    Pic::PORTS.iter().any(|&(base, count)| (base..base + count).contains(&port))
}

impl Devices {
    /// The device at a port and the first port of its range, for those that are plain port devices.
    fn at_port(&mut self, port: u16, debug_exit: bool) -> Option<(u16, &mut dyn PortDevice)> {
        Some(match port {
            Pit::FIRST_PORT..PIT_END => (Pit::FIRST_PORT, &mut self.pit),
            i8042::DATA_PORT | i8042::COMMAND_PORT => (i8042::DATA_PORT, &mut self.i8042),
            port92::POST_PORT => (port92::POST_PORT, &mut self.post),
            port92::CONTROL_PORT => (port92::CONTROL_PORT, &mut self.port92),
            debug::CONSOLE_PORT => (debug::CONSOLE_PORT, &mut self.debug_console),
            debug::EXIT_PORT..DEBUG_EXIT_END if debug_exit => (debug::EXIT_PORT, &mut self.debug_exit),
            testdev::LATCH_PORT..LATCH_END if debug_exit => (testdev::LATCH_PORT, &mut self.testdev.latch),
            testdev::LINES_PORT..LINES_END if debug_exit => (testdev::LINES_PORT, &mut self.testdev.lines),
            vga::PORT_BASE..VGA_END => (vga::PORT_BASE, &mut self.vga.registers),
            uart::PORT_BASE..UART_END => (uart::PORT_BASE, &mut self.uart),
            fw_cfg::PORT_BASE..FW_CFG_END => (fw_cfg::PORT_BASE, &mut self.fw_cfg),
            guest_control::PORT_BASE..GUEST_CONTROL_END => (guest_control::PORT_BASE, &mut self.guest_control),
            PM_BASE..PM_END => (PM_BASE, &mut self.acpi_pm),
            RESET_PORT => (RESET_PORT, &mut self.reset_control),
            pci::PORT_BASE..PCI_END => (pci::PORT_BASE, &mut self.pci),
            _ => return None,
        })
    }
}

/// Lets the RTC act on the board's wires, without its interrupt line if the HPET has it.
pub(super) fn with_rtc_wires<R>(
    wires: &mut BoardWires<'_>,
    cut: bool,
    act: impl FnOnce(&mut dyn devices::Wires) -> R,
) -> R {
    if cut { act(&mut CutOff { wires, line: rtc::IRQ }) } else { act(wires) }
}
