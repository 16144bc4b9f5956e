use super::*;
use crate::test_wires::TestWires;

const CONFIG: u64 = 0x010;
const STATUS: u64 = 0x020;
const COUNTER: u64 = 0x0f0;

struct Bench {
    hpet: Hpet,
    wires: TestWires,
    now: VirtualTime,
}

impl Bench {
    fn new() -> Self {
        Bench { hpet: Hpet::new(), wires: TestWires::default(), now: VirtualTime::ZERO }
    }

    fn read(&mut self, offset: u64) -> u64 {
        self.hpet.mmio_read(offset, Width::Qword, self.now, &mut self.wires)
    }

    fn write(&mut self, offset: u64, value: u64) {
        self.hpet.mmio_write(offset, Width::Qword, value, self.now, &mut self.wires);
    }

    fn write32(&mut self, offset: u64, value: u64) {
        self.hpet.mmio_write(offset, Width::Dword, value, self.now, &mut self.wires);
    }

    /// The counts at which the line of an edge-triggered timer rose, until count `end`.
    fn edges_until(&mut self, line: u8, end: u64) -> Vec<u64> {
        let end = VirtualTime::from_ns(10 * end);
        let mut counts = Vec::new();
        while self.hpet.deadline() <= end {
            self.now = self.hpet.deadline();
            self.hpet.advance(self.now, &mut self.wires);
            for _ in 0..self.wires.take_rises(line) {
                counts.push(self.now.as_ns() / 10);
            }
        }
        self.now = end;
        counts
    }
}

#[test]
fn it_says_what_it_is() {
    let mut b = Bench::new();
    assert_eq!(b.read(0), 10_000_000 << 32 | 0x8086_a201);
    assert_eq!(b.hpet.mmio_read(4, Width::Dword, b.now, &mut b.wires), 10_000_000);
    assert_eq!(b.read(0x100), 0x00f0_0000_0000_0030);
    assert_eq!(b.read(0x140), 0x00f0_0800_0000_0030);
    assert_eq!(b.read(0x160), 0);
}

#[test]
fn the_counter_runs_only_while_enabled() {
    let mut b = Bench::new();
    b.write(COUNTER, 0xffff_ffff);
    b.now = VirtualTime::from_ns(1000);
    assert_eq!(b.read(COUNTER), 0xffff_ffff);
    b.write(CONFIG, 1);
    b.now = VirtualTime::from_ns(1019);
    assert_eq!(b.read(COUNTER), 0x1_0000_0000);
    assert_eq!(b.hpet.mmio_read(COUNTER + 4, Width::Dword, b.now, &mut b.wires), 1);
    b.write(CONFIG, 0);
    b.now = VirtualTime::from_ns(9000);
    assert_eq!(b.read(COUNTER), 0x1_0000_0000);
}

#[test]
fn a_one_shot_fires_once_on_the_pits_line_in_legacy_mode() {
    let mut b = Bench::new();
    b.write(CONFIG, 3);
    assert!(b.hpet.legacy_replacement());
    b.write32(0x100, 0x0104); // enabled, 32 bits
    b.write32(0x108, 500);
    assert_eq!(b.edges_until(0, 10_000), [500]);
    assert_eq!(b.read(STATUS), 0, "edges leave no status");
    b.write32(0x108, 9_000);
    assert_eq!(b.edges_until(0, 100_000), [0_u64; 0], "in the past: not before the counter wraps");
    assert_eq!(b.hpet.deadline(), VirtualTime::from_ns(10 * ((1 << 32) + 9_000)));
}

#[test]
fn linux_sets_up_a_periodic_timer() {
    let mut b = Bench::new();
    b.write(CONFIG, 3);
    b.now = VirtualTime::from_ns(10 * 1_000);
    b.write32(0x100, 0x014c); // enabled, periodic, VAL_SET, 32 bits
    b.write32(0x108, 1_400); // first the accumulator,
    assert_eq!(b.read(0x100) as u32, 0x013c);
    b.write32(0x108, 100); // then the period
    assert_eq!(b.read(0x108), 1_400);
    assert_eq!(b.edges_until(0, 1_750), [1_400, 1_500, 1_600, 1_700]);
    assert_eq!(b.read(0x108), 1_800);
}

#[test]
fn one_write_with_val_set_gives_both() {
    let mut b = Bench::new();
    b.write(0x100, 0x4c | 20 << 9);
    b.write(0x108, 250);
    b.write(CONFIG, 1);
    assert_eq!(b.edges_until(20, 1_000), [250, 500, 750, 1_000]);
}

#[test]
fn a_periodic_timer_that_nobody_hears_still_counts() {
    let mut b = Bench::new();
    b.write(0x100, 0x48 | 20 << 9);
    b.write(0x108, 250);
    b.write(CONFIG, 1);
    assert_eq!(b.hpet.deadline(), VirtualTime::NEVER);
    b.now = VirtualTime::from_ns(10 * 1_001);
    assert_eq!(b.read(0x108), 1_250);
    b.write(0x100, 0x0c | 20 << 9);
    assert_eq!(b.edges_until(20, 1_500), [1_250, 1_500]);
}

#[test]
fn a_level_triggered_timer_holds_its_line_until_the_status_is_cleared() {
    let mut b = Bench::new();
    b.write(0x140, 0x06 | 11 << 9);
    b.write(0x148, 100);
    b.write(CONFIG, 1);
    assert_eq!(b.edges_until(11, 5_000), [100]);
    assert!(b.wires.level(11));
    assert_eq!(b.read(STATUS), 4);
    b.write(STATUS, 3);
    assert!(b.wires.level(11));
    b.write(STATUS, 4);
    assert!(!b.wires.level(11));
}

#[test]
fn routes_that_do_not_exist_are_not_taken() {
    let mut b = Bench::new();
    b.write(0x100, 21 << 9);
    b.write(0x100, 11 << 9);
    assert_eq!(b.read(0x100) >> 9 & 0x1f, 21);
}

#[test]
fn tiny_periods_do_not_hang() {
    let mut b = Bench::new();
    b.write(CONFIG, 3);
    for period in [0, 1] {
        b.write(0x100, 0x4c);
        b.write(0x108, period);
        let deadline = b.hpet.deadline();
        assert!(deadline > b.now);
        b.now = b.now.after_ns(1 << 40);
        b.hpet.advance(b.now, &mut b.wires);
        assert!(b.hpet.deadline() > b.now);
    }
}

#[test]
fn conformance() {
    use crate::conformance::{check, mmio_step, time_step};
    check(Hpet::new, |hpet, mut step| match step.rng.below(4) {
        0 => time_step(hpet, &mut step),
        1 => {
            let registers = [0x10, 0x20, 0xf0, 0x100, 0x108, 0x120, 0x128, 0x140, 0x148];
            let (offset, value) = (step.rng.pick(&registers), step.rng.value());
            let value = if step.rng.one_in(2) { value & 0xffff } else { value };
            hpet.mmio_write(offset, Width::Qword, value, *step.now, step.trace);
        }
        _ => mmio_step(hpet, 0x160, &mut step),
    });
}
