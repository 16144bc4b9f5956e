//! The devices of the board and the ways to them: [`ports`], [`mmio`], and for a CPU [`cpu_bus`].

pub mod cpu_bus;
mod mmio;
mod ports;
mod state;
mod wires;

pub use state::BoardState;

use devices::acpi_pm::{AcpiPm, ResetControl};
use devices::debug::{DebugConsole, DebugExit};
use devices::fabric::InterruptFabric;
use devices::fw_cfg::{FwCfg, FwCfgConfig};
use devices::guest_control::{ControlRequest, GuestControl};
use devices::hpet::Hpet;
use devices::i8042::I8042;
use devices::pci::PciHost;
use devices::pit::Pit;
use devices::port92::{Port92, PostPort};
use devices::rtc::{Rtc, RtcConfig};
use devices::testdev::TestDevice;
use devices::uart::{Uart, UartConfig};
use devices::vga::Vga;
use devices::{IrqLine, PowerEvent, Timed};
use x86::VirtualTime;

use crate::input::Input;
use crate::machine::MAX_OUTPUT_BYTES;
use crate::memory_map::{ECAM_BASE, MemoryLayout};
use wires::BoardWires;

/// The line that FERR# of every vCPU drives: asserted with it, and until [`COPROCESSOR_ERROR_PORT`] is written.
pub(crate) const FERR_IRQ: IrqLine = IrqLine(13);
/// A write ends the interrupt of FERR# and asserts IGNNE# (Intel ICH9 data sheet, section 13.7.2). A read finds nothing here.
pub(crate) const COPROCESSOR_ERROR_PORT: u16 = 0xf0;

/// What the board consists of; fixed while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardConfig {
    /// How RAM is laid out.
    pub layout: MemoryLayout,
    /// Number of vCPUs, 1 to 8.
    pub vcpus: u8,
    /// Whether QEMU's `isa-debug-exit` answers at port F4h, and its `pc-testdev` beside it.
    pub debug_exit: bool,
    /// The RTC's time at power-on, in seconds since 1970.
    pub rtc_start_unix_seconds: u64,
}

/// All devices, and what leaves them.
pub struct Board {
    config: BoardConfig,
    /// The interrupt controllers.
    pub(crate) fabric: InterruptFabric,
    devices: Devices,
    out: Outbox,
    /// The earliest deadline of a device, computed whenever it can have changed.
    devices_deadline: VirtualTime,
}

/// The devices that have [`devices::Wires`].
struct Devices {
    pit: Pit,
    rtc: Rtc,
    hpet: Hpet,
    uart: Uart,
    acpi_pm: AcpiPm,
    reset_control: ResetControl,
    i8042: I8042,
    port92: Port92,
    post: PostPort,
    pci: PciHost,
    fw_cfg: FwCfg,
    guest_control: GuestControl,
    debug_exit: DebugExit,
    debug_console: DebugConsole,
    testdev: TestDevice,
    vga: Vga,
}

/// What left the devices for the machine and the outside.
#[derive(Default)]
struct Outbox {
    power: Option<PowerEvent>,
    a20: Option<bool>,
    /// IGNNE# is asserted for vCPUs that assert FERR#.
    ignores_numeric_errors: bool,
    /// What the guest asked of the outside; the run stops behind each.
    requests: Vec<ControlRequest>,
    serial: Vec<u8>,
    debug_console: Vec<u8>,
    /// The HPET drives lines 0 and 8 in place of the timer and the clock.
    hpet_owns_legacy_lines: bool,
}

impl Board {
    /// The board at power-on, as firmware leaves it to an operating system.
    pub fn new(config: BoardConfig) -> Self {
        let layout = config.layout;
        let mut board = Board {
            config,
            fabric: InterruptFabric::new(config.vcpus),
            devices: Devices {
                pit: Pit::new(),
                rtc: Rtc::new(RtcConfig {
                    start_unix_seconds: config.rtc_start_unix_seconds,
                    low_memory_bytes: layout.low_end(),
                    high_memory_bytes: layout.len_bytes() - layout.low_end(),
                }),
                hpet: Hpet::new(),
                uart: Uart::new(UartConfig::default()),
                acpi_pm: AcpiPm::new(),
                reset_control: ResetControl::new(),
                i8042: I8042::new(),
                port92: Port92::new(),
                post: PostPort::new(),
                pci: PciHost::new(ECAM_BASE),
                fw_cfg: FwCfg::new(FwCfgConfig { ram_bytes: layout.len_bytes(), vcpus: config.vcpus.into() }),
                guest_control: GuestControl::new(),
                debug_exit: DebugExit,
                debug_console: DebugConsole,
                testdev: TestDevice::default(),
                vga: Vga::default(),
            },
            out: Outbox::default(),
            devices_deadline: VirtualTime::NEVER,
        };
        board.fabric.set_up_as_firmware();
        let (devices, mut wires) = board.split();
        devices.pit.set_up_as_firmware(VirtualTime::ZERO, &mut wires);
        board.settle();
        board
    }

    /// The devices on one side and what they drive on the other.
    fn split(&mut self) -> (&mut Devices, BoardWires<'_>) {
        let Board { fabric, devices, out, .. } = self;
        (devices, BoardWires { fabric, out })
    }

    /// When [`Self::advance`] must next be called.
    pub fn deadline(&self) -> VirtualTime {
        self.fabric.deadline().min(self.devices_deadline)
    }

    /// Whether [`Self::advance`] must be called at `now`. What is to be done never is not due at the end of
    /// time either, where `now` is [`VirtualTime::NEVER`].
    pub fn is_due(&self, now: VirtualTime) -> bool {
        let deadline = self.deadline();
        deadline <= now && deadline != VirtualTime::NEVER
    }

    /// Computes [`Self::deadline`] anew, after anything that can have moved a device's.
    fn settle(&mut self) {
        let d = &self.devices;
        let deadlines =
            [d.pit.deadline(), d.rtc.deadline(), d.hpet.deadline(), d.uart.deadline(), d.acpi_pm.deadline()];
        self.devices_deadline = deadlines.into_iter().min().expect("the list is not empty");
    }

    /// Does everything that is due at `now` or before.
    pub fn advance(&mut self, now: VirtualTime) {
        self.fabric.advance(now);
        let cut_rtc = self.out.hpet_owns_legacy_lines;
        let (d, mut wires) = self.split();
        d.pit.advance(now, &mut wires);
        ports::with_rtc_wires(&mut wires, cut_rtc, |wires| d.rtc.advance(now, wires));
        d.hpet.advance(now, &mut wires);
        d.uart.advance(now, &mut wires);
        d.acpi_pm.advance(now, &mut wires);
        self.settle();
    }

    /// Hands an input to its device. Clock corrections are the machine's own.
    pub(crate) fn input(&mut self, input: &Input, now: VirtualTime) {
        let (d, mut wires) = self.split();
        match input {
            Input::SerialByte(byte) => {
                d.uart.receive(*byte, now, &mut wires);
            }
            Input::PowerButton => d.acpi_pm.press_power_button(now, &mut wires),
            Input::Key(bytes) => {
                d.i8042.key(bytes, &mut wires);
            }
            Input::Mouse { right, up, wheel, buttons } => {
                d.i8042.mouse(*right, *up, *wheel, *buttons, &mut wires);
            }
            Input::Recording(recording) => d.guest_control.set_recording(*recording),
            Input::ClockTo(_) => {}
        }
        self.settle();
    }

    /// Whether the serial port has room for a byte.
    pub fn serial_can_receive(&self) -> bool {
        self.devices.uart.can_receive()
    }

    /// Whether the guest asks for bytes on the serial port (RTS).
    pub fn serial_requests_to_send(&self) -> bool {
        self.devices.uart.requests_to_send()
    }

    /// Takes the power event.
    pub(crate) fn take_power_event(&mut self) -> Option<PowerEvent> {
        self.out.power.take()
    }

    /// Whether the machine has to act before the next instruction of any vCPU.
    pub(crate) fn wants_attention(&self) -> bool {
        let out = &self.out;
        let asks = out.power.is_some() || !out.requests.is_empty() || out.a20.is_some() || out.ignores_numeric_errors;
        asks || self.fabric.has_signals() || self.has_much_output()
    }

    /// Takes a change of the A20 gate; its other owner is told here.
    pub(crate) fn take_a20(&mut self) -> Option<bool> {
        let enabled = self.out.a20.take()?;
        self.devices.i8042.observe_a20(enabled);
        self.devices.port92.observe_a20(enabled);
        Some(enabled)
    }

    /// Takes the assertion of IGNNE#, which is for all vCPUs that assert FERR# now.
    pub(crate) fn take_ignored_numeric_errors(&mut self) -> bool {
        std::mem::take(&mut self.out.ignores_numeric_errors)
    }

    /// Takes what the guest asked of the outside.
    pub(crate) fn take_requests(&mut self) -> Vec<ControlRequest> {
        std::mem::take(&mut self.out.requests)
    }

    /// Whether [`Self::take_requests`] has something to give.
    pub(crate) fn has_requests(&self) -> bool {
        !self.out.requests.is_empty()
    }

    /// Whether as much output waits as is kept.
    pub(crate) fn has_much_output(&self) -> bool {
        self.out.serial.len() + self.out.debug_console.len() >= MAX_OUTPUT_BYTES
    }

    /// Takes what the guest sent: serial port, debug console.
    pub(crate) fn take_output(&mut self) -> (Vec<u8>, Vec<u8>) {
        (std::mem::take(&mut self.out.serial), std::mem::take(&mut self.out.debug_console))
    }
}
