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
///
/// A recording must replay for ever, so what is added must not show in a machine without it. Each device here is always
/// saved. One that is added later is `None` while it is as at power-on, and stays so in the machine of an old
/// recording, which has no way to reach it ([`crate::machine::MachineConfig`]); so the digests of such machines stay as they were.
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
        put_back(&mut restored.fabric, state.fabric)?;
        put_back(&mut d.pit, state.pit)?;
        put_back(&mut d.rtc, state.rtc)?;
        put_back(&mut d.hpet, state.hpet)?;
        put_back(&mut d.uart, state.uart)?;
        put_back(&mut d.acpi_pm, state.acpi_pm)?;
        put_back(&mut d.reset_control, state.reset_control)?;
        put_back(&mut d.i8042, state.i8042)?;
        put_back(&mut d.port92, state.port92)?;
        put_back(&mut d.post, state.post)?;
        put_back(&mut d.pci, state.pci)?;
        put_back(&mut d.fw_cfg, state.fw_cfg)?;
        put_back(&mut d.guest_control, state.guest_control)?;
        put_back(&mut d.testdev, state.testdev)?;
        put_back(&mut d.vga, state.vga)?;
        restored.out.hpet_owns_legacy_lines = restored.devices.hpet.legacy_replacement();
        restored.settle();
        *self = restored;
        Ok(())
    }
}

/// Restores a device. One without a state was not there yet when the state was saved: it is as at power-on.
fn put_back<D: Saved>(device: &mut D, state: Option<D::State>) -> Result<(), RestoreError> {
    state.map_or(Ok(()), |state| device.restore(state))
}
