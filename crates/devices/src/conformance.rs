//! The conformance kit that every device instantiates: save in the middle of a random sequence,
//! restore into a fresh device, go on with both; outputs and final state must be the same.
//!
//! A device's test gives [`check`] a way to make a fresh device and a way to take one random
//! step with it ([`port_step`], [`mmio_step`] and [`time_step`] are the usual ones). Everything
//! follows from a seed, which a failure prints.

use prost::Message;
use x86::VirtualTime;

use crate::bus::OutputChannel;
use crate::guest_control::ControlRequest;
use crate::{IrqLine, MmioDevice, PortDevice, PowerEvent, Saved, Timed, Width, Wires};

/// A small seeded generator of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A value that is often all zeros, all ones, small or a single bit.
    pub fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => self.below(16),
            3 => 1 << self.below(64),
            4 => self.below(256),
            _ => self.next(),
        }
    }
}

/// One thing that left a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A result: of a read, of a query.
    Value(u64),
    /// An interrupt line was driven.
    Irq(IrqLine, bool),
    /// A request to the board.
    Power(PowerEvent),
    /// The A20 gate was driven.
    A20(bool),
    /// A byte for the outside.
    Output(OutputChannel, u8),
    /// A request to the outside.
    Control(ControlRequest),
}

/// Wires that write down everything that leaves a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In order.
    pub events: Vec<Event>,
}

impl Trace {
    /// Writes down a result.
    pub fn note(&mut self, value: impl Into<u64>) {
        self.events.push(Event::Value(value.into()));
    }

    /// The levels that `line` was driven to, in order; empties nothing.
    pub fn levels(&self, line: IrqLine) -> Vec<bool> {
        let of_line = |event: &Event| match event {
            Event::Irq(l, level) if *l == line => Some(*level),
            _ => None,
        };
        self.events.iter().filter_map(of_line).collect()
    }
}

impl Wires for Trace {
    fn set_irq(&mut self, line: IrqLine, level: bool) {
        self.events.push(Event::Irq(line, level));
    }
    fn power(&mut self, event: PowerEvent) {
        self.events.push(Event::Power(event));
    }
    fn set_a20(&mut self, enabled: bool) {
        self.events.push(Event::A20(enabled));
    }
    fn output(&mut self, channel: OutputChannel, byte: u8) {
        self.events.push(Event::Output(channel, byte));
    }
    fn control(&mut self, request: ControlRequest) {
        self.events.push(Event::Control(request));
    }
}

/// What one step of a device works with.
pub struct Step<'a> {
    /// Where the step takes its random numbers from.
    pub rng: &'a mut Rng,
    /// The time of the step. A step may move it on, never back.
    pub now: &'a mut VirtualTime,
    /// Where it writes down what it sees; also the device's wires.
    pub trace: &'a mut Trace,
}

/// Holds `step` to the rule above for some seeds. `fresh` makes a device of one fixed configuration.
pub fn check<D: Saved>(fresh: impl Fn() -> D, step: impl Fn(&mut D, Step<'_>)) {
    for seed in 0..24 {
        check_seed(seed, &fresh, &step);
    }
}

fn check_seed<D: Saved>(seed: u64, fresh: &impl Fn() -> D, step: &impl Fn(&mut D, Step<'_>)) {
    let mut rng = Rng::new(seed);
    let mut now = VirtualTime::ZERO;
    let mut device = fresh();
    for _ in 0..rng.below(400) {
        let mut trace = Trace::default();
        step(&mut device, Step { rng: &mut rng, now: &mut now, trace: &mut trace });
    }

    let saved = device.save();
    let bytes = saved.encode_to_vec();
    let decoded = D::State::decode(bytes.as_slice()).expect("what was encoded decodes");
    assert_eq!(decoded, saved, "seed {seed}: the saved state survives its encoding");
    let mut twin = fresh();
    // A used device must forget everything, too: the twin has a life of its own behind it.
    let (mut other_rng, mut other_now) = (Rng::new(!seed), VirtualTime::ZERO);
    for _ in 0..rng.below(40) {
        let mut trace = Trace::default();
        step(&mut twin, Step { rng: &mut other_rng, now: &mut other_now, trace: &mut trace });
    }
    twin.restore(decoded).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(twin.save(), saved, "seed {seed}: what was restored is what was saved");

    let (mut twin_rng, mut twin_now) = (rng.clone(), now);
    for i in 0..400 {
        let (mut trace, mut twin_trace) = (Trace::default(), Trace::default());
        step(&mut device, Step { rng: &mut rng, now: &mut now, trace: &mut trace });
        step(&mut twin, Step { rng: &mut twin_rng, now: &mut twin_now, trace: &mut twin_trace });
        assert_eq!(trace, twin_trace, "seed {seed}, step {i} after the restore: outputs differ");
        assert_eq!(now, twin_now, "seed {seed}, step {i} after the restore: times differ");
    }
    assert_eq!(device.save(), twin.save(), "seed {seed}: final states differ");
}

/// One random access to one of `ports` (offsets in the device's range).
pub fn port_step(device: &mut impl PortDevice, ports: &[u16], step: &mut Step<'_>) {
    let offset = step.rng.pick(ports);
    let width = step.rng.pick(&[Width::Byte, Width::Byte, Width::Byte, Width::Word, Width::Dword]);
    if step.rng.one_in(2) {
        let value = device.port_read(offset, width, *step.now, step.trace);
        assert_eq!(u64::from(value) & !width.mask(), 0, "a read fits its width");
        step.trace.note(value);
    } else {
        let value = (step.rng.value() & width.mask()) as u32;
        device.port_write(offset, width, value, *step.now, step.trace);
    }
}

/// One random access to the first `len_bytes` of the device's registers, mostly a doubleword.
pub fn mmio_step(device: &mut impl MmioDevice, len_bytes: u64, step: &mut Step<'_>) {
    let width = step.rng.pick(&[Width::Dword, Width::Dword, Width::Dword, Width::Qword, Width::Word, Width::Byte]);
    let align = if step.rng.one_in(16) { 1 } else { width.bytes() };
    let offset = step.rng.below(len_bytes - width.bytes() + 1) / align * align;
    if step.rng.one_in(2) {
        let value = device.mmio_read(offset, width, *step.now, step.trace);
        assert_eq!(value & !width.mask(), 0, "a read fits its width");
        step.trace.note(value);
    } else {
        let value = step.rng.value() & width.mask();
        device.mmio_write(offset, width, value, *step.now, step.trace);
    }
}

/// Time passes: at most to the device's deadline, as the machine does it; what is due is done.
pub fn time_step(device: &mut impl Timed, step: &mut Step<'_>) {
    let scale_ns = step.rng.pick(&[10, 1_000, 100_000, 10_000_000, 2_000_000_000]);
    let target = step.now.after_ns(step.rng.below(scale_ns));
    let at = target.min(device.deadline()).max(*step.now);
    *step.now = at;
    if device.deadline() <= at {
        device.advance(at, step.trace);
        assert!(device.deadline() > at, "after advance({at:?}) nothing is due at that time");
    }
    step.trace.note(device.deadline().units());
}

#[test]
fn splitmix64_gives_its_published_sequence() {
    let mut rng = Rng::new(1_234_567);
    assert_eq!(rng.next(), 6_457_827_717_110_365_317);
    assert_eq!(rng.next(), 3_203_168_211_198_807_973);
}
