//! What operating systems rely on in the interval timer.

use x86::VirtualTime;

use super::chip::{Access, Channel};
use super::counting::Mode;
use super::wiring::{PIT_HZ, Pit};
use crate::conformance::{self, Event, Trace};
use crate::{IrqLine, PortDevice, Saved, Timed, Width};

/// A channel in a mode, with its count written at clock 0 (and so loaded at clock 1).
fn channel(mode: u8, count: u16) -> Channel {
    let mut channel = Channel::new(true);
    channel.write_control(mode << 1, Access::Both, 0);
    for byte in count.to_le_bytes() {
        channel.write(byte, 0);
    }
    channel
}

/// The output at each clock, as a drawing.
fn outputs(channel: &mut Channel, clocks: std::ops::Range<u64>) -> String {
    let draw = |clock| {
        channel.settle(clock);
        if channel.output(clock) { '-' } else { '_' }
    };
    clocks.map(draw).collect()
}

fn counters(channel: &mut Channel, clocks: std::ops::Range<u64>) -> Vec<u16> {
    let read = |clock| {
        channel.settle(clock);
        u16::from_le_bytes([channel.read(clock), channel.read(clock)])
    };
    clocks.map(read).collect()
}

#[test]
fn waveforms_of_the_data_sheet() {
    assert_eq!(outputs(&mut channel(0, 4), 0..8), "_____---");
    assert_eq!(outputs(&mut channel(2, 3), 0..9), "---_--_--");
    assert_eq!(outputs(&mut channel(3, 4), 0..10), "---__--__-");
    assert_eq!(outputs(&mut channel(3, 5), 0..12), "----__---__-");
    assert_eq!(outputs(&mut channel(4, 3), 0..8), "----_---");
    let mut one_shot = channel(1, 3);
    assert_eq!(outputs(&mut one_shot, 0..3), "---");
    one_shot.set_gate(false, 3);
    one_shot.set_gate(true, 3);
    assert_eq!(outputs(&mut one_shot, 3..9), "____--");
    let mut strobe = channel(5, 3);
    strobe.set_gate(false, 3);
    strobe.set_gate(true, 3);
    assert_eq!(outputs(&mut strobe, 3..10), "----_--");
}

#[test]
fn counters_of_the_data_sheet() {
    assert_eq!(counters(&mut channel(0, 3), 1..6), [3, 2, 1, 0, 0xffff]);
    assert_eq!(counters(&mut channel(2, 3), 1..6), [3, 2, 1, 3, 2]);
    assert_eq!(counters(&mut channel(3, 4), 1..6), [4, 2, 4, 2, 4]);
    assert_eq!(counters(&mut channel(3, 5), 1..7), [4, 2, 0, 4, 2, 4]);
    let mut decimal = Channel::new(true);
    decimal.write_control(0b0001, Access::Both, 0);
    decimal.write(0x01, 0);
    decimal.write(0x10, 0);
    assert_eq!(counters(&mut decimal, 1..4), [0x1001, 0x1000, 0x0999]);
}

#[test]
fn the_next_change_is_where_the_output_changes() {
    for mode in 0..6 {
        for count in 1..9 {
            let mut channel = channel(mode, count);
            channel.set_gate(!Mode::from_bits(mode).is_triggered(), 0);
            channel.set_gate(true, 0);
            channel.settle(1);
            for clock in 1..40 {
                let now = channel.output(clock);
                let change = (clock + 1..100).find(|&later| channel.output(later) != now);
                assert_eq!(channel.next_change(clock), change, "mode {mode}, count {count}, clock {clock}");
            }
        }
    }
}

#[test]
fn a_new_count_of_a_periodic_mode_waits_for_the_end_of_the_cycle() {
    let mut rate = channel(2, 5);
    rate.settle(1);
    rate.write(3, 2);
    rate.write(0, 2);
    assert_eq!(outputs(&mut rate, 2..12), "---_--_--_");
    let mut square = channel(3, 8);
    square.settle(1);
    square.write(4, 2);
    square.write(0, 2);
    assert_eq!(outputs(&mut square, 1..12), "----__--__-");
}

#[test]
fn the_gate_stops_and_starts() {
    let mut count = channel(0, 4);
    count.settle(2);
    count.set_gate(false, 2);
    assert_eq!(counters(&mut count, 3..5), [3, 3]);
    count.set_gate(true, 10);
    assert_eq!(outputs(&mut count, 10..15), "___--");
    let mut rate = channel(2, 3);
    rate.settle(3);
    assert!(!rate.output(3));
    rate.set_gate(false, 3);
    assert!(rate.output(3));
    rate.set_gate(true, 20);
    assert_eq!(outputs(&mut rate, 20..28), "---_--_-");
}

struct Bench {
    pit: Pit,
    trace: Trace,
    clock: u64,
}

impl Bench {
    fn new() -> Self {
        Bench { pit: Pit::new(), trace: Trace::default(), clock: 0 }
    }

    fn now(&self) -> VirtualTime {
        VirtualTime::at_tick(self.clock, PIT_HZ)
    }

    fn out(&mut self, offset: u16, value: u8) {
        self.pit.port_write(offset, Width::Byte, value.into(), self.now(), &mut self.trace);
    }

    fn inb(&mut self, offset: u16) -> u8 {
        self.pit.port_read(offset, Width::Byte, self.now(), &mut self.trace) as u8
    }

    /// Runs as the machine does, from deadline to deadline; gives the clocks at which line 0 rose.
    fn rises_until(&mut self, clock: u64) -> Vec<u64> {
        let mut rises = Vec::new();
        loop {
            let next = self.pit.deadline().ticks(PIT_HZ);
            if next > clock {
                self.clock = clock;
                return rises;
            }
            assert!(next > self.clock);
            self.clock = next;
            self.trace.events.clear();
            self.pit.advance(self.now(), &mut self.trace);
            if self.trace.events.contains(&Event::Irq(IrqLine(0), true)) {
                rises.push(next);
            }
        }
    }
}

#[test]
fn channel_0_interrupts_at_its_rate() {
    let mut b = Bench::new();
    b.out(3, 0x34);
    b.out(0, 0xe8);
    b.out(0, 0x03);
    assert_eq!(b.rises_until(3500), [1001, 2001, 3001]);
    b.out(3, 0x30);
    assert_eq!(b.trace.levels(IrqLine(0)).last(), Some(&false), "mode 0 starts low");
    b.out(0, 100);
    b.out(0, 0);
    assert_eq!(b.rises_until(10_000), [3601]);
    assert_eq!(b.pit.deadline(), VirtualTime::NEVER);
}

#[test]
fn a_late_advance_still_gives_an_edge() {
    let mut b = Bench::new();
    b.out(3, 0x34);
    b.out(0, 100);
    b.out(0, 0);
    b.trace.events.clear();
    b.clock = 1050;
    b.pit.advance(b.now(), &mut b.trace);
    assert_eq!(b.trace.levels(IrqLine(0)), [false, true]);
    assert_eq!(b.rises_until(1150), [1101]);
}

#[test]
fn the_hpet_can_take_the_line() {
    let mut b = Bench::new();
    b.out(3, 0x34);
    b.out(0, 100);
    b.out(0, 0);
    let now = b.now();
    b.pit.set_connected(false, now, &mut b.trace);
    assert_eq!(b.pit.deadline(), VirtualTime::NEVER);
    b.clock = 550;
    let now = b.now();
    b.pit.set_connected(true, now, &mut b.trace);
    assert_eq!(b.rises_until(650), [601]);
}

#[test]
fn latches_and_read_back() {
    let mut b = Bench::new();
    b.out(3, 0x34);
    b.out(0, 0x34);
    b.out(0, 0x12);
    b.out(3, 0xe2);
    assert_eq!(b.inb(0), 0xb4, "output high, count loaded");
    b.rises_until(0x15);
    b.out(3, 0x00);
    b.clock += 5;
    b.out(3, 0xc2);
    assert_eq!(b.inb(0), 0xb4);
    assert_eq!((b.inb(0), b.inb(0)), (0x20, 0x12), "latched before");
    assert_eq!((b.inb(0), b.inb(0)), (0x1b, 0x12), "running");
}

#[test]
fn channel_2_is_gated_and_seen_through_port_61h() {
    let mut b = Bench::new();
    let now = b.now();
    b.pit.port_b_write(0x01, now, &mut b.trace);
    b.out(3, 0xb0);
    b.out(2, 50);
    b.out(2, 0);
    assert_eq!(b.pit.port_b_read(now, &mut b.trace) & 0x2f, 0x01);
    b.clock = 50;
    let now = b.now();
    assert_eq!(b.pit.port_b_read(now, &mut b.trace) & 0x20, 0);
    b.clock = 51;
    let now = b.now();
    assert_eq!(b.pit.port_b_read(now, &mut b.trace) & 0x20, 0x20);
    let refresh = |b: &mut Bench, clock| b.pit.port_b_read(VirtualTime::at_tick(clock, PIT_HZ), &mut b.trace) & 0x10;
    assert_ne!(refresh(&mut b, 60), refresh(&mut b, 60 + 18));
}

/// Programs start a one-shot and look at its output, or write a count and read it, with no time between.
#[test]
fn what_is_written_shows_at_once() {
    let mut b = Bench::new();
    b.out(3, 0xb2);
    b.out(2, 50);
    b.out(2, 0);
    let now = b.now();
    b.pit.port_b_write(0x00, now, &mut b.trace);
    b.pit.port_b_write(0x01, now, &mut b.trace);
    assert_eq!(b.pit.port_b_read(now, &mut b.trace) & 0x20, 0);
    b.out(3, 0xb0);
    b.out(2, 0xff);
    b.out(2, 0xff);
    assert_eq!((b.inb(2), b.inb(2)), (0xff, 0xff));
}

#[test]
fn conforms() {
    conformance::check(Pit::new, |pit, mut step| match step.rng.below(8) {
        0 => {
            let count = step.rng.below(64) as u32;
            let now = *step.now;
            pit.port_write(3, Width::Byte, 0x10 | step.rng.below(16) as u32, now, step.trace);
            pit.port_write(0, Width::Byte, count, now, step.trace);
        }
        1 => {
            let value = step.rng.next() as u8;
            pit.port_b_write(value, *step.now, step.trace);
            let value = pit.port_b_read(*step.now, step.trace);
            step.trace.note(value);
        }
        2 if step.rng.one_in(8) => pit.set_connected(step.rng.one_in(2), *step.now, step.trace),
        3..6 => conformance::time_step(pit, &mut step),
        _ => conformance::port_step(pit, &[0, 0, 1, 2, 3], &mut step),
    });
    let mut pit = Pit::new();
    let mut damaged = pit.save();
    damaged.channels[1].count = 0;
    assert!(pit.restore(damaged).is_err());
}
