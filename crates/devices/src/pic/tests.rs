//! What operating systems rely on in the pair of 8259As.

use super::Pic;
use crate::conformance;
use crate::{Saved, Width};

fn initialised(master_icw4: u8, slave_icw4: u8) -> Pic {
    let mut pic = Pic::new();
    for (port, base, cascade, icw4) in [(0x20, 0x20, 4, master_icw4), (0xa0, 0x28, 2, slave_icw4)] {
        out(&mut pic, port, 0x11);
        for value in [base, cascade, icw4] {
            out(&mut pic, port + 1, value);
        }
    }
    pic
}

fn out(pic: &mut Pic, port: u16, value: u8) {
    pic.port_write(port, Width::Byte, value.into());
}

fn inb(pic: &mut Pic, port: u16) -> u8 {
    pic.port_read(port, Width::Byte) as u8
}

#[test]
fn a_higher_line_interrupts_a_lower_one_and_eoi_lets_the_lower_go_on() {
    let mut pic = initialised(1, 1);
    pic.set_line(4, true);
    assert!(pic.interrupt());
    assert_eq!(pic.acknowledge(), 0x24);
    assert!(!pic.interrupt());
    pic.set_line(5, true);
    assert!(!pic.interrupt(), "line 5 waits for line 4");
    pic.set_line(0, true);
    assert_eq!(pic.acknowledge(), 0x20);
    out(&mut pic, 0x20, 0x0b);
    assert_eq!(inb(&mut pic, 0x20), 0x11, "ISR");
    out(&mut pic, 0x20, 0x20);
    assert!(!pic.interrupt());
    out(&mut pic, 0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x25);
}

#[test]
fn the_slave_interrupts_through_the_cascade() {
    let mut pic = initialised(1, 1);
    pic.set_line(12, true);
    pic.set_line(3, true);
    assert_eq!(pic.acknowledge(), 0x2c, "the cascade is line 2, before line 3");
    assert!(!pic.interrupt());
    out(&mut pic, 0xa0, 0x20);
    out(&mut pic, 0x20, 0x62);
    assert_eq!(pic.acknowledge(), 0x23);
}

#[test]
fn special_fully_nested_mode_lets_the_slave_in_again_but_not_lower_lines() {
    let mut pic = initialised(0x11, 1);
    pic.set_line(12, true);
    assert_eq!(pic.acknowledge(), 0x2c);
    pic.set_line(3, true);
    assert!(!pic.interrupt());
    pic.set_line(8, true);
    assert_eq!(pic.acknowledge(), 0x28);
}

#[test]
fn a_request_that_goes_away_becomes_spurious() {
    let mut pic = initialised(1, 1);
    pic.set_line(4, true);
    pic.set_line(4, false);
    assert!(!pic.interrupt());
    assert_eq!(pic.acknowledge(), 0x27);
    out(&mut pic, 0x20, 0x0b);
    assert_eq!(inb(&mut pic, 0x20), 0, "a spurious interrupt is not in service");
}

#[test]
fn edges_fire_once_and_levels_until_they_fall() {
    let mut pic = initialised(1, 1);
    pic.set_line(5, true);
    assert_eq!(pic.acknowledge(), 0x25);
    out(&mut pic, 0x20, 0x20);
    assert!(!pic.interrupt());
    out(&mut pic, 0x4d0, 0xff);
    assert_eq!(inb(&mut pic, 0x4d0), 0xf8);
    assert_eq!(pic.acknowledge(), 0x25);
    out(&mut pic, 0x20, 0x20);
    assert!(pic.interrupt());
    pic.set_line(5, false);
    assert!(!pic.interrupt());
    pic.port_write(0x4d0, Width::Word, 0xffff);
    assert_eq!(pic.port_read(0x4d0, Width::Word), 0xdef8);
}

#[test]
fn rotation_moves_the_ended_line_to_the_end() {
    let mut pic = initialised(1, 1);
    for line in [0, 1] {
        pic.set_line(line, true);
    }
    assert_eq!(pic.acknowledge(), 0x20);
    out(&mut pic, 0x20, 0xa0);
    pic.set_line(0, false);
    pic.set_line(0, true);
    assert_eq!(pic.acknowledge(), 0x21, "line 0 is last now");
    out(&mut pic, 0x20, 0x61);
    out(&mut pic, 0x20, 0xc7);
    assert_eq!(pic.acknowledge(), 0x20, "priorities were set back");
}

#[test]
fn special_mask_mode_hides_masked_lines_in_service() {
    let mut pic = initialised(1, 1);
    pic.set_line(1, true);
    assert_eq!(pic.acknowledge(), 0x21);
    pic.set_line(6, true);
    out(&mut pic, 0x21, 0x02);
    assert!(!pic.interrupt());
    out(&mut pic, 0x20, 0x68);
    assert_eq!(pic.acknowledge(), 0x26);
    out(&mut pic, 0x20, 0x20);
    out(&mut pic, 0x20, 0x0b);
    assert_eq!(inb(&mut pic, 0x20), 0x02, "the unspecific EOI passes over the masked line");
}

#[test]
fn automatic_eoi_and_poll() {
    let mut pic = initialised(3, 1);
    pic.set_line(1, true);
    assert_eq!(pic.acknowledge(), 0x21);
    pic.set_line(4, true);
    assert!(pic.interrupt());
    out(&mut pic, 0x20, 0x0c);
    assert_eq!(inb(&mut pic, 0x20), 0x84);
    out(&mut pic, 0x20, 0x0c);
    assert_eq!(inb(&mut pic, 0x20), 0);
}

#[test]
fn linux_probe_and_mask() {
    let mut pic = initialised(1, 1);
    out(&mut pic, 0xa1, 0xff);
    out(&mut pic, 0x21, 0xfb);
    assert_eq!(inb(&mut pic, 0x21), 0xfb);
    pic.set_line(0, true);
    assert!(!pic.interrupt());
    assert_eq!(inb(&mut pic, 0x20), 0x01, "IRR shows masked requests");
    out(&mut pic, 0x21, 0xfa);
    assert_eq!(pic.acknowledge(), 0x20);
}

#[test]
fn conforms() {
    conformance::check(Pic::new, |pic, step| {
        let (first, len) = step.rng.pick(&Pic::PORTS);
        let port = first + step.rng.below(len.into()) as u16;
        let width = step.rng.pick(&[Width::Byte, Width::Byte, Width::Word]);
        match step.rng.below(5) {
            0 => step.trace.note(pic.port_read(port, width)),
            1 => pic.port_write(port, width, step.rng.value() as u32),
            2 => pic.port_write(port & !1, Width::Byte, 0x20),
            3 if pic.interrupt() => step.trace.note(pic.acknowledge()),
            _ => pic.set_line(step.rng.below(16) as u8, step.rng.one_in(2)),
        }
        step.trace.note(pic.interrupt());
        step.trace.note(prost::Message::encode_to_vec(&pic.save()).len() as u64);
    });
}
