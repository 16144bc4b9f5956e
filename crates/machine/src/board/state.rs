//! The saved state of the board.

use devices::acpi_pm::{AcpiPmState, ResetControlState};
use devices::fabric::FabricState;
use devices::fw_cfg::FwCfgState;
use devices::guest_control::GuestControlState;
use devices::hpet::HpetState;
use devices::i8042::I8042State;
use devices::pci::PciHostState;
use devices::pit::PitState;
use devices::port92::{Port92State, PostPortState};
use devices::rtc::RtcState;
use devices::testdev::TestDeviceState;
use devices::uart::UartState;
use devices::vga::VgaState;
use devices::{RestoreError, Saved};

use super::{Board, Devices};

/// All devices.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BoardState {
    /// Interrupt controllers.
    #[prost(message, optional, tag = "1")]
    pub fabric: Option<FabricState>,
    /// Interval timer.
    #[prost(message, optional, tag = "2")]
    pub pit: Option<PitState>,
    /// Clock and CMOS memory.
    #[prost(message, optional, tag = "3")]
    pub rtc: Option<RtcState>,
    /// HPET.
    #[prost(message, optional, tag = "4")]
    pub hpet: Option<HpetState>,
    /// Serial port.
    #[prost(message, optional, tag = "5")]
    pub uart: Option<UartState>,
    /// ACPI fixed hardware.
    #[prost(message, optional, tag = "6")]
    pub acpi_pm: Option<AcpiPmState>,
    /// Reset register.
    #[prost(message, optional, tag = "7")]
    pub reset_control: Option<ResetControlState>,
    /// Keyboard controller.
    #[prost(message, optional, tag = "8")]
    pub i8042: Option<I8042State>,
    /// System control port A.
    #[prost(message, optional, tag = "9")]
    pub port92: Option<Port92State>,
    /// POST port.
    #[prost(message, optional, tag = "10")]
    pub post: Option<PostPortState>,
    /// PCI host bridge.
    #[prost(message, optional, tag = "11")]
    pub pci: Option<PciHostState>,
    /// Firmware configuration.
    #[prost(message, optional, tag = "12")]
    pub fw_cfg: Option<FwCfgState>,
    /// Guest control port.
    #[prost(message, optional, tag = "13")]
    pub guest_control: Option<GuestControlState>,
    /// Test device.
    #[prost(message, optional, tag = "14")]
    pub testdev: Option<TestDeviceState>,
    /// Text-mode VGA.
    #[prost(message, optional, tag = "15")]
    pub vga: Option<VgaState>,
}

impl Saved for Board {
    type State = BoardState;

    fn save(&self) -> BoardState {
        // What is in the outbox left the machine already, or stops it before anyone can save.
        let Board { config: _, fabric, devices, out: _, devices_deadline: _ } = self;
        let Devices {
            pit,
            rtc,
            hpet,
            uart,
            acpi_pm,
            reset_control,
            i8042,
            port92,
            post,
            pci,
            fw_cfg,
            guest_control,
            debug_exit: _,
            debug_console: _,
            testdev,
            vga,
        } = devices;
        BoardState {
            fabric: Some(fabric.save()),
            pit: Some(pit.save()),
            rtc: Some(rtc.save()),
            hpet: Some(hpet.save()),
            uart: Some(uart.save()),
            acpi_pm: Some(acpi_pm.save()),
            reset_control: Some(reset_control.save()),
            i8042: Some(i8042.save()),
            port92: Some(port92.save()),
            post: Some(post.save()),
            pci: Some(pci.save()),
            fw_cfg: Some(fw_cfg.save()),
            guest_control: Some(guest_control.save()),
            testdev: Some(testdev.save()),
            vga: Some(vga.save()),
        }
    }

    fn restore(&mut self, state: BoardState) -> Result<(), RestoreError> {
        let mut restored = Board::new(self.config);
        let d = &mut restored.devices;
        restored.fabric.restore(state.fabric.unwrap_or_default())?;
        d.pit.restore(state.pit.unwrap_or_default())?;
        d.rtc.restore(state.rtc.unwrap_or_default())?;
        d.hpet.restore(state.hpet.unwrap_or_default())?;
        d.uart.restore(state.uart.unwrap_or_default())?;
        d.acpi_pm.restore(state.acpi_pm.unwrap_or_default())?;
        d.reset_control.restore(state.reset_control.unwrap_or_default())?;
        d.i8042.restore(state.i8042.unwrap_or_default())?;
        d.port92.restore(state.port92.unwrap_or_default())?;
        d.post.restore(state.post.unwrap_or_default())?;
        d.pci.restore(state.pci.unwrap_or_default())?;
        d.fw_cfg.restore(state.fw_cfg.unwrap_or_default())?;
        d.guest_control.restore(state.guest_control.unwrap_or_default())?;
        d.testdev.restore(state.testdev.unwrap_or_default())?;
        d.vga.restore(state.vga.unwrap_or_default())?;
        restored.out.hpet_owns_legacy_lines = restored.devices.hpet.legacy_replacement();
        restored.settle();
        *self = restored;
        Ok(())
    }
}
