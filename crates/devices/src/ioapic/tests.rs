//! What operating systems rely on in the I/O APIC.

use super::IoApic;
use super::chip::INPUTS;
use crate::conformance;
use crate::fabric::{ApicMessage, DeliveryMode, Destination};
use crate::{Saved, Width};

/// An I/O APIC and the messages that left it, all accepted.
#[derive(Default)]
struct Bench {
    ioapic: IoApic,
    sent: Vec<ApicMessage>,
}

impl Bench {
    fn write(&mut self, register: u8, value: u32) {
        let sent = &mut self.sent;
        let mut deliver = |message| {
            sent.push(message);
            true
        };
        self.ioapic.mmio_write(0x00, register.into(), &mut deliver);
        self.ioapic.mmio_write(0x10, value.into(), &mut deliver);
    }

    fn read(&mut self, register: u8) -> u32 {
        self.ioapic.mmio_write(0x00, register.into(), &mut |_| true);
        self.ioapic.mmio_read(0x10, Width::Dword) as u32
    }

    fn line(&mut self, input: u8, level: bool) {
        let sent = &mut self.sent;
        self.ioapic.set_line(input, level, &mut |message| {
            sent.push(message);
            true
        });
    }

    fn eoi(&mut self, vector: u8) {
        let sent = &mut self.sent;
        self.ioapic.end_of_interrupt(vector, &mut |message| {
            sent.push(message);
            true
        });
    }

    fn vectors(&mut self) -> Vec<u8> {
        self.sent.drain(..).map(|message| message.vector).collect()
    }
}

#[test]
fn identifies_itself_and_starts_masked() {
    let mut bench = Bench::default();
    assert_eq!(bench.read(1), 0x0017_0020);
    for input in 0..INPUTS {
        assert_eq!(bench.read(0x10 + 2 * input), 0x1_0000);
        assert_eq!(bench.read(0x11 + 2 * input), 0);
    }
    bench.write(0, 0xffff_ffff);
    assert_eq!(bench.read(0), 0x0f00_0000);
    assert_eq!(bench.read(0x40), 0, "past the last entry");
    bench.write(0x10, u32::MAX);
    bench.write(0x11, u32::MAX);
    assert_eq!((bench.read(0x10), bench.read(0x11)), (0x1_afff, 0xff00_0000));
}

#[test]
fn an_edge_sends_its_message_once() {
    let mut bench = Bench::default();
    bench.write(0x10 + 8 + 1, 0x0300_0000);
    bench.write(0x10 + 8, 0x0031 | 1 << 11);
    bench.line(4, true);
    bench.line(4, true);
    let expected = ApicMessage {
        mode: DeliveryMode::Fixed,
        vector: 0x31,
        destination: Destination::Logical(3),
        level_triggered: false,
    };
    assert_eq!(bench.sent, [expected]);
    bench.line(4, false);
    bench.line(4, true);
    assert_eq!(bench.vectors(), [0x31, 0x31]);
}

#[test]
fn an_edge_while_masked_is_lost() {
    let mut bench = Bench::default();
    bench.write(0x1c, 0x1_0081);
    bench.line(6, true);
    bench.write(0x1c, 0x81);
    bench.line(6, false);
    assert_eq!(bench.vectors(), []);
    bench.line(6, true);
    assert_eq!(bench.vectors(), [0x81]);
}

#[test]
fn a_level_is_sent_again_after_eoi_while_asserted() {
    let mut bench = Bench::default();
    bench.write(0x1c, 0x8082);
    bench.line(6, true);
    assert_eq!(bench.read(0x1c), 0xc082, "remote IRR");
    bench.line(6, false);
    bench.line(6, true);
    assert_eq!(bench.vectors(), [0x82], "not before the EOI");
    bench.eoi(0x83);
    assert_eq!(bench.vectors(), []);
    bench.eoi(0x82);
    assert_eq!(bench.vectors(), [0x82]);
    bench.line(6, false);
    bench.eoi(0x82);
    assert_eq!(bench.vectors(), []);
    assert_eq!(bench.read(0x1c), 0x8082);
}

#[test]
fn a_masked_level_is_sent_when_unmasked() {
    let mut bench = Bench::default();
    bench.write(0x1c, 0x1_8082);
    bench.line(6, true);
    assert_eq!(bench.vectors(), []);
    bench.write(0x1c, 0x8082);
    assert_eq!(bench.vectors(), [0x82]);
}

#[test]
fn edge_mode_clears_remote_irr_and_so_does_the_eoi_register() {
    let mut bench = Bench::default();
    bench.write(0x1c, 0x8082);
    bench.line(6, true);
    bench.line(6, false);
    bench.write(0x1c, 0x1_0082);
    bench.write(0x1c, 0x8082);
    assert_eq!(bench.read(0x1c), 0x8082);
    bench.line(6, true);
    assert_eq!(bench.read(0x1c), 0xc082);
    bench.line(6, false);
    bench.ioapic.mmio_write(0x40, 0x82, &mut |_| true);
    assert_eq!(bench.read(0x1c), 0x8082);
}

#[test]
fn nmi_is_an_edge_even_if_programmed_level_and_start_up_is_not_sent() {
    let mut bench = Bench::default();
    bench.write(0x1c, 0x8400);
    bench.line(6, true);
    assert_eq!(bench.sent.len(), 1);
    assert_eq!((bench.sent[0].mode, bench.sent[0].level_triggered), (DeliveryMode::Nmi, false));
    assert_eq!(bench.read(0x1c), 0x8400);
    bench.write(0x1e, 0x0600);
    bench.line(7, true);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_level_that_nobody_accepts_is_not_in_service_and_can_be_retried() {
    let mut bench = Bench::default();
    bench.write(0x1c, 0x8082);
    bench.ioapic.set_line(6, true, &mut |_| false);
    assert_eq!(bench.read(0x1c), 0x8082);
    bench.ioapic.retry(&mut |_| true);
    assert_eq!(bench.read(0x1c), 0xc082);
}

#[test]
fn conforms() {
    conformance::check(IoApic::new, |ioapic, step| {
        let accept = step.rng.one_in(2);
        let (rng, trace) = (step.rng, step.trace);
        let mut deliver = |message: ApicMessage| {
            trace.note(message.vector);
            accept
        };
        match rng.below(5) {
            0 => ioapic.set_line(rng.below(INPUTS.into()) as u8, rng.one_in(2), &mut deliver),
            1 => ioapic.end_of_interrupt(rng.below(4) as u8, &mut deliver),
            2 => ioapic.mmio_write(0x00, rng.below(0x42), &mut deliver),
            3 => {
                let value = rng.value() & !0x1_00fc;
                ioapic.mmio_write(rng.pick(&[0x10, 0x10, 0x40, 0x20]), value, &mut deliver);
            }
            _ => trace.note(ioapic.mmio_read(rng.pick(&[0, 0x10, 0x18]), Width::Dword)),
        }
    });
    let mut ioapic = IoApic::new();
    let damaged = super::IoApicState { lines: 1 << 24, ..ioapic.save() };
    assert!(ioapic.restore(damaged).is_err());
}
