use super::*;
use crate::test_wires::TestWires;

fn write(pm: &mut AcpiPm, wires: &mut TestWires, port: u16, width: Width, value: u32) {
    pm.port_write(port - PM_BASE, width, value, VirtualTime::ZERO, wires);
}

fn read(pm: &mut AcpiPm, wires: &mut TestWires, port: u16, width: Width) -> u32 {
    pm.port_read(port - PM_BASE, width, VirtualTime::ZERO, wires)
}

fn acpi_mode() -> (AcpiPm, TestWires) {
    let (mut pm, mut wires) = (AcpiPm::new(), TestWires::default());
    assert_eq!(read(&mut pm, &mut wires, PM1_CONTROL_PORT, Width::Word), 0);
    let command = u32::from(ACPI_ENABLE);
    pm.smi_ports().port_write(0, Width::Byte, command, VirtualTime::ZERO, &mut wires);
    assert_eq!(read(&mut pm, &mut wires, PM1_CONTROL_PORT, Width::Word), 1);
    (pm, wires)
}

#[test]
fn the_power_button_interrupts_until_its_status_is_cleared() {
    let (mut pm, mut wires) = acpi_mode();
    write(&mut pm, &mut wires, 0x602, Width::Word, 0x0100);
    pm.press_power_button(VirtualTime::ZERO, &mut wires);
    assert!(wires.level(9));
    assert_eq!(read(&mut pm, &mut wires, 0x600, Width::Word), 0x0100);
    write(&mut pm, &mut wires, 0x600, Width::Word, 0x0001);
    assert!(wires.level(9), "writing other bits clears nothing");
    write(&mut pm, &mut wires, 0x600, Width::Word, 0x0100);
    assert!(!wires.level(9));
}

#[test]
fn in_legacy_mode_there_is_no_sci() {
    let (mut pm, mut wires) = acpi_mode();
    let command = u32::from(ACPI_DISABLE);
    pm.smi_ports().port_write(0, Width::Byte, command, VirtualTime::ZERO, &mut wires);
    write(&mut pm, &mut wires, 0x602, Width::Word, 0x0100);
    pm.press_power_button(VirtualTime::ZERO, &mut wires);
    assert!(!wires.level(9));
    assert_eq!(pm.smi_ports().port_read(0, Width::Word, VirtualTime::ZERO, &mut wires), 0x0003);
}

#[test]
fn s5_switches_off() {
    for (value, event) in
        [(0x3401, Some(PowerEvent::PowerOff)), (0x2000, Some(PowerEvent::PowerOff)), (0x1401, None), (0x2401, None)]
    {
        let (mut pm, mut wires) = acpi_mode();
        write(&mut pm, &mut wires, PM1_CONTROL_PORT, Width::Word, value);
        assert_eq!(wires.power.pop(), event, "{value:#x}");
        let kept = read(&mut pm, &mut wires, PM1_CONTROL_PORT, Width::Word);
        assert_eq!(kept, value & !0x2000, "SLP_EN reads as zero");
    }
}

#[test]
fn the_timer_has_32_bits_and_notes_each_change_of_the_top_bit() {
    let (mut pm, mut wires) = acpi_mode();
    assert_eq!(pm.deadline(), VirtualTime::NEVER);
    write(&mut pm, &mut wires, 0x602, Width::Word, 0x0001);
    for half in 1..4_u64 {
        let at = VirtualTime::at_tick(half << 31, PM_TIMER_HZ);
        assert_eq!(pm.deadline(), at);
        pm.advance(VirtualTime::from_units(at.units() - 1), &mut wires);
        assert!(!wires.level(9));
        pm.advance(at, &mut wires);
        assert!(wires.level(9));
        assert_eq!(pm.port_read(8, Width::Dword, at, &mut wires), (half << 31) as u32);
        assert_eq!(pm.deadline(), VirtualTime::NEVER, "nothing new can happen until it is cleared");
        pm.port_write(0, Width::Word, 0x0001, at, &mut wires);
        assert!(!wires.level(9));
    }
}

#[test]
fn the_timer_reads_the_same_in_any_width() {
    let (mut pm, mut wires) = acpi_mode();
    let at = VirtualTime::at_tick(0x1234_5678, PM_TIMER_HZ);
    assert_eq!(pm.port_read(8, Width::Dword, at, &mut wires), 0x1234_5678);
    assert_eq!(pm.port_read(9, Width::Word, at, &mut wires), 0x3456);
    assert_eq!(pm.port_read(11, Width::Byte, at, &mut wires), 0x12);
}

#[test]
fn port_cf9_resets() {
    let (mut reset, mut wires) = (ResetControl::new(), TestWires::default());
    reset.port_write(0, Width::Byte, 0x02, VirtualTime::ZERO, &mut wires);
    assert_eq!(reset.port_read(0, Width::Byte, VirtualTime::ZERO, &mut wires), 0x02);
    assert!(wires.power.is_empty());
    for value in [RESET_VALUE, 0x0e] {
        reset.port_write(0, Width::Byte, u32::from(value), VirtualTime::ZERO, &mut wires);
        assert_eq!(wires.power.pop(), Some(PowerEvent::Reset));
    }
}

#[test]
fn conformance() {
    use crate::conformance::{check, port_step, time_step};
    check(AcpiPm::new, |pm, mut step| match step.rng.below(8) {
        0 => time_step(pm, &mut step),
        1 => pm.press_power_button(*step.now, step.trace),
        2 => port_step(&mut pm.smi_ports(), &[0, 1], &mut step),
        3 => *step.now = step.now.after_ns(step.rng.below(1 << 40)).min(pm.deadline()),
        _ => port_step(pm, &(0..16).collect::<Vec<_>>(), &mut step),
    });
    check(ResetControl::new, |reset, mut step| port_step(reset, &[0], &mut step));
}
