//! Tests of the registers that kernels use.

use super::*;
use crate::conformance::{Trace, check, mmio_step, port_step};

fn read(vga: &mut Vga, port: u16, now: VirtualTime) -> u8 {
    vga.registers.port_read(port - PORT_BASE, Width::Byte, now, &mut Trace::default()) as u8
}

fn write(vga: &mut Vga, port: u16, width: Width, value: u32) {
    vga.registers.port_write(port - PORT_BASE, width, value, VirtualTime::ZERO, &mut Trace::default());
}

#[test]
fn the_cursor_reads_back() {
    let mut vga = Vga::default();
    assert_eq!(read(&mut vga, 0x3d5, VirtualTime::ZERO), 0x5f);
    write(&mut vga, 0x3d4, Width::Byte, 0x0e);
    assert_eq!(read(&mut vga, 0x3d5, VirtualTime::ZERO), 0);
    // Index and data in one access.
    write(&mut vga, 0x3d4, Width::Word, 0x500f);
    assert_eq!((read(&mut vga, 0x3d4, VirtualTime::ZERO), read(&mut vga, 0x3d5, VirtualTime::ZERO)), (0x0f, 0x50));
    // The timing registers are protected.
    write(&mut vga, 0x3d4, Width::Word, 0x0000);
    assert_eq!(read(&mut vga, 0x3d5, VirtualTime::ZERO), 0x5f);
}

#[test]
fn a_retrace_comes_and_goes() {
    let mut vga = Vga::default();
    let mut status = |ns| read(&mut vga, 0x3da, VirtualTime::from_ns(ns));
    assert_eq!((status(0), status(13_000_000), status(13_100_000), status(14_268_000)), (0, 1, 9, 0));
}

#[test]
fn the_status_sets_the_attribute_port_to_index() {
    let mut vga = Vga::default();
    write(&mut vga, 0x3c0, Width::Byte, 0x30);
    read(&mut vga, 0x3da, VirtualTime::ZERO);
    write(&mut vga, 0x3c0, Width::Byte, 0x30);
    write(&mut vga, 0x3c0, Width::Byte, 0x04);
    assert_eq!((read(&mut vga, 0x3c0, VirtualTime::ZERO), read(&mut vga, 0x3c1, VirtualTime::ZERO)), (0x30, 0x04));
}

#[test]
fn conformance() {
    let ports: Vec<u16> = (0..PORT_COUNT).collect();
    check(Vga::default, |vga, mut step| {
        *step.now = step.now.after_ns(step.rng.below(1_000_000));
        if step.rng.one_in(2) {
            port_step(&mut vga.registers, &ports, &mut step);
        } else {
            mmio_step(&mut vga.memory, MEMORY_LEN, &mut step);
        }
    });
}

#[test]
fn a_damaged_state_is_refused() {
    let mut state = Vga::default().save();
    state.crtc.push(0);
    assert!(Vga::default().restore(state).is_err());
}
