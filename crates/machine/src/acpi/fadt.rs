//! FADT and FACS: the fixed hardware (ACPI 6.5, sections 5.2.9 and 5.2.10).

use devices::acpi_pm::{
    ACPI_DISABLE, ACPI_ENABLE, FADT_RESET_REG_SUP, FADT_TMR_VAL_EXT, PM_TIMER_LEN, PM_TIMER_PORT, PM1_CONTROL_LEN,
    PM1_CONTROL_PORT, PM1_EVENT_LEN, PM1_EVENT_PORT, RESET_PORT, RESET_VALUE, SCI_IRQ, SMI_COMMAND_PORT,
};
use devices::rtc::CENTURY_INDEX;

use super::table::{Register, Table};

const REVISION: u8 = 6;
const DESKTOP: u8 = 1;
/// Latencies that mean: no such processor power state.
const NO_C2: u16 = 0xfff;
const NO_C3: u16 = 0xfff;
/// Legacy devices on an ISA bus; an 8042; no VGA.
const BOOT_ARCH: u16 = 1 << 0 | 1 << 1 | 1 << 2;
/// WBINVD works; C1 on all processors; no sleep button; RTC wake-up is no fixed event.
const COMMON_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6;

pub(super) fn build(facs: u32, dsdt: u32) -> Vec<u8> {
    let table = Table::new(*b"FACP", REVISION).u32(facs).u32(dsdt).u8(0).u8(DESKTOP);
    let table = interrupt_and_command(table);
    let table = blocks(table);
    let table = table.u16(NO_C2).u16(NO_C3);
    // No cache flush by reading, no duty cycle, no alarm by day or month.
    let table = table.u16(0).u16(0).u8(0).u8(0).u8(0).u8(0).u8(CENTURY_INDEX).u16(BOOT_ARCH).u8(0);
    let table = table.u32(COMMON_FLAGS | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP);
    let table = table.register(Register::byte_port(RESET_PORT)).u8(RESET_VALUE);
    // No ARM flags, minor version 0. The 64-bit address of the FACS stays zero as it has a 32-bit one.
    let table = table.u16(0).u8(0).u64(0).u64(dsdt.into());
    let table = wide_blocks(table);
    // No sleep control and status registers, no hypervisor identity.
    table.register(Register::NONE).register(Register::NONE).u64(0).finish()
}

fn interrupt_and_command(table: Table) -> Table {
    let table = table.u16(SCI_IRQ.0.into()).u32(SMI_COMMAND_PORT.into()).u8(ACPI_ENABLE).u8(ACPI_DISABLE);
    // No S4BIOS, no processor performance control.
    table.u8(0).u8(0)
}

/// The register blocks with 32-bit addresses and their lengths: PM1a, PM1b, PM2, timer, GPE0 and GPE1.
fn blocks(table: Table) -> Table {
    let table = table.u32(PM1_EVENT_PORT.into()).u32(0).u32(PM1_CONTROL_PORT.into()).u32(0);
    let table = table.u32(0).u32(PM_TIMER_PORT.into()).u32(0).u32(0);
    let table = table.u8(PM1_EVENT_LEN).u8(PM1_CONTROL_LEN).u8(0).u8(PM_TIMER_LEN);
    // No general-purpose events, no change notification of C states.
    table.u8(0).u8(0).u8(0).u8(0)
}

/// The same blocks as generic addresses.
fn wide_blocks(table: Table) -> Table {
    [
        Register::ports(PM1_EVENT_PORT, PM1_EVENT_LEN),
        Register::NONE,
        Register::ports(PM1_CONTROL_PORT, PM1_CONTROL_LEN),
        Register::NONE,
        Register::NONE,
        Register::ports(PM_TIMER_PORT, PM_TIMER_LEN),
        Register::NONE,
        Register::NONE,
    ]
    .into_iter()
    .fold(table, Table::register)
}

/// The table that firmware and system write to. There is no waking up here, so only its shape matters.
pub(super) fn facs() -> Vec<u8> {
    const LEN: u32 = 64;
    const VERSION_AT: usize = 32;
    let mut bytes = vec![0; LEN as usize];
    bytes[..4].copy_from_slice(b"FACS");
    bytes[4..8].copy_from_slice(&LEN.to_le_bytes());
    bytes[VERSION_AT] = 1;
    bytes
}
