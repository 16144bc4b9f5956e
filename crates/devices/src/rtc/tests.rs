use super::*;
use crate::test_wires::TestWires;

const SECOND_NS: u64 = 1_000_000_000;

struct Bench {
    rtc: Rtc,
    wires: TestWires,
    now: VirtualTime,
}

impl Bench {
    fn new() -> Self {
        let config = RtcConfig { low_memory_bytes: 3 << 30, high_memory_bytes: 1 << 30, ..RtcConfig::default() };
        Bench { rtc: Rtc::new(config), wires: TestWires::default(), now: VirtualTime::ZERO }
    }

    fn read(&mut self, index: u8) -> u8 {
        self.rtc.port_write(0, Width::Byte, u32::from(index), self.now, &mut self.wires);
        self.rtc.port_read(1, Width::Byte, self.now, &mut self.wires) as u8
    }

    fn write(&mut self, index: u8, value: u8) {
        self.rtc.port_write(0, Width::Byte, u32::from(index), self.now, &mut self.wires);
        self.rtc.port_write(1, Width::Byte, u32::from(value), self.now, &mut self.wires);
    }

    fn at_ns(&mut self, ns: u64) -> &mut Self {
        self.now = VirtualTime::from_ns(ns);
        self
    }

    /// Lets the machine run until `ns`, keeping to the deadlines; counts the interrupts, each of
    /// which is acknowledged by reading register C.
    fn interrupts_until(&mut self, ns: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while self.rtc.deadline() <= VirtualTime::from_ns(ns) {
            self.now = self.rtc.deadline();
            self.rtc.advance(self.now, &mut self.wires);
            if self.wires.take_rises(8) > 0 {
                times.push(self.now.as_ns());
                assert_ne!(self.read(0x0c) & 0x80, 0);
                assert!(!self.wires.level(8));
            }
        }
        self.at_ns(ns);
        times
    }

    fn time(&mut self) -> [u8; 7] {
        [0x32, 9, 8, 7, 4, 2, 0].map(|index| self.read(index))
    }
}

#[test]
fn it_starts_at_the_configured_time_and_runs() {
    let mut b = Bench::new();
    assert_eq!(b.time(), [0x20, 0x26, 0x01, 0x01, 0x00, 0x00, 0x00]);
    assert_eq!(b.read(6), 5, "a Thursday");
    b.at_ns(59 * SECOND_NS + 999_999_999);
    assert_eq!(b.read(0), 0x59);
    b.at_ns(60 * SECOND_NS);
    assert_eq!(b.time(), [0x20, 0x26, 0x01, 0x01, 0x00, 0x01, 0x00]);
    assert_eq!(b.rtc.deadline(), VirtualTime::NEVER);
}

#[test]
fn update_in_progress_shows_before_each_second() {
    let mut b = Bench::new();
    assert_eq!(b.read(0x0a), 0x26);
    b.at_ns(997_000_000);
    assert_eq!(b.read(0x0a), 0x26);
    b.at_ns(998_000_000);
    assert_eq!(b.read(0x0a), 0xa6);
    b.at_ns(999_999_999);
    assert_eq!((b.read(0x0a), b.read(0)), (0xa6, 0));
    b.at_ns(SECOND_NS);
    assert_eq!((b.read(0x0a), b.read(0)), (0x26, 1));
    assert_eq!(b.read(0x0d), 0x80);
}

#[test]
fn the_time_can_be_set() {
    let mut b = Bench::new();
    b.write(0x0b, 0x82);
    b.at_ns(5 * SECOND_NS + 500_000_000);
    for (index, value) in [(0, 0x58), (2, 0x59), (4, 0x23), (7, 0x31), (8, 0x12), (9, 0x99), (0x32, 0x19), (6, 6)] {
        b.write(index, value);
    }
    assert_eq!(b.read(0), 0x58);
    b.write(0x0b, 0x02);
    b.at_ns(6 * SECOND_NS);
    assert_eq!(b.read(0), 0x59);
    b.at_ns(7 * SECOND_NS);
    assert_eq!(b.time(), [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
    assert_eq!(b.read(6), 7);
}

#[test]
fn the_divider_restarts_with_half_a_second() {
    let mut b = Bench::new();
    b.write(0x0a, 0x76);
    b.at_ns(3 * SECOND_NS + 100_000_000);
    assert_eq!(b.read(0), 0, "stopped");
    b.write(0x0a, 0x26);
    b.at_ns(3 * SECOND_NS + 599_999_999);
    assert_eq!(b.read(0), 0);
    b.at_ns(3 * SECOND_NS + 600_000_000);
    assert_eq!(b.read(0), 1);
}

#[test]
fn binary_and_twelve_hours() {
    let mut b = Bench::new();
    b.at_ns(13 * 3600 * SECOND_NS + 45 * SECOND_NS);
    b.write(0x0b, 0x00);
    assert_eq!((b.read(4), b.read(0)), (0x81, 0x45));
    b.write(0x0b, 0x06);
    assert_eq!((b.read(4), b.read(0), b.read(9)), (13, 45, 26));
}

#[test]
fn the_update_ended_interrupt_comes_each_second() {
    let mut b = Bench::new();
    b.write(0x0b, 0x12);
    assert_eq!(b.interrupts_until(3 * SECOND_NS), [1, 2, 3].map(|s| s * SECOND_NS));
    b.write(0x0b, 0x92);
    assert_eq!(b.read(0x0b), 0x82, "SET clears the enable");
    assert_eq!(b.rtc.deadline(), VirtualTime::NEVER);
}

#[test]
fn an_unread_flag_interrupts_once() {
    let mut b = Bench::new();
    b.write(0x0b, 0x12);
    b.now = b.rtc.deadline();
    b.rtc.advance(b.now, &mut b.wires);
    assert_eq!(b.rtc.deadline(), VirtualTime::NEVER);
    b.at_ns(10 * SECOND_NS);
    assert!(b.wires.level(8));
    assert_eq!(b.read(0x0c), 0xd0, "update and, unasked, periodic");
    assert!(!b.wires.level(8));
    assert_eq!(b.read(0x0c), 0);
}

#[test]
fn periodic_rates() {
    for (rate, hz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
        let mut b = Bench::new();
        b.write(0x0a, 0x20 | rate);
        b.write(0x0b, 0x42);
        assert_eq!(b.interrupts_until(SECOND_NS).len(), hz, "rate {rate}");
    }
    let mut b = Bench::new();
    b.write(0x0a, 0x20);
    b.write(0x0b, 0x42);
    assert_eq!(b.rtc.deadline(), VirtualTime::NEVER);
}

#[test]
fn the_alarm_rings_when_its_bytes_match() {
    let mut b = Bench::new();
    b.write(1, 0x10);
    b.write(3, 0x01);
    b.write(5, 0x00);
    b.write(0x0b, 0x22);
    let day = 86_400;
    let expected: Vec<u64> = [70, 70 + day].map(|s| s * SECOND_NS).to_vec();
    assert_eq!(b.interrupts_until(2 * day * SECOND_NS), expected);
    b.write(5, 0xff);
    b.write(3, 0xc0);
    let start = 2 * day;
    let rings = b.interrupts_until((start + 180) * SECOND_NS);
    assert_eq!(rings, [10, 70, 130].map(|s| (start + s) * SECOND_NS), "any hour, any minute");
    b.write(1, 0x7f);
    assert_eq!(b.rtc.deadline(), VirtualTime::NEVER, "no such second");
}

#[test]
fn a_polled_alarm_is_not_missed() {
    let mut b = Bench::new();
    b.write(1, 0x10);
    b.at_ns(9 * SECOND_NS);
    assert_eq!(b.read(0x0c) & 0x20, 0);
    b.at_ns(3000 * SECOND_NS);
    assert_eq!(b.read(0x0c) & 0x20, 0x20);
    b.write(0x0b, 0x22);
    assert_eq!(b.rtc.deadline(), VirtualTime::from_ns((86_400 + 10) * SECOND_NS));
}

#[test]
fn cmos_memory_says_what_firmware_would() {
    let mut b = Bench::new();
    let word = |b: &mut Bench, index| u16::from_le_bytes([b.read(index), b.read(index + 1)]);
    assert_eq!(word(&mut b, 0x15), 640);
    assert_eq!(word(&mut b, 0x17), 0xffff);
    assert_eq!(word(&mut b, 0x30), 0xffff);
    assert_eq!(word(&mut b, 0x34), (((3_u64 << 30) - (16 << 20)) >> 16) as u16);
    assert_eq!([b.read(0x5b), b.read(0x5c), b.read(0x5d)], [0x00, 0x40, 0x00]);
    b.write(0x0f, 0x0a);
    assert_eq!(b.rtc.shutdown_byte(), 0x0a);
    b.read(0x80 | 0x0f);
    assert!(b.rtc.nmi_masked());
    b.rtc.port_write(2, Width::Byte, 0x0f, b.now, &mut b.wires);
    b.rtc.port_write(3, Width::Byte, 0x77, b.now, &mut b.wires);
    assert_eq!(b.rtc.port_read(3, Width::Byte, b.now, &mut b.wires), 0x77);
    assert_eq!(b.rtc.shutdown_byte(), 0x0a, "the other bank is other memory");
}

#[test]
fn reset_keeps_the_time_and_silences_the_interrupt() {
    let mut b = Bench::new();
    b.write(0x0b, 0x12);
    b.write(0x0f, 0x05);
    b.at_ns(2 * SECOND_NS);
    b.rtc.advance(b.now, &mut b.wires);
    assert!(b.wires.level(8));
    b.rtc.reset(b.now, &mut b.wires);
    assert!(!b.wires.level(8));
    assert_eq!((b.read(0x0b), b.read(0), b.read(0x0f)), (0x02, 0x02, 0x05));
    assert_eq!(b.rtc.deadline(), VirtualTime::NEVER);
}

#[test]
fn conformance() {
    use crate::conformance::{check, port_step, time_step};
    let fresh = || Rtc::new(RtcConfig::default());
    check(fresh, |rtc, mut step| match step.rng.below(6) {
        0 => time_step(rtc, &mut step),
        1..3 => port_step(rtc, &[0, 1, 2, 3], &mut step),
        _ => {
            let (index, value) = (step.rng.below(16) as u32, step.rng.value() as u32 & 0xff);
            rtc.port_write(0, Width::Byte, index, *step.now, step.trace);
            rtc.port_write(1, Width::Byte, value, *step.now, step.trace);
        }
    });
}
