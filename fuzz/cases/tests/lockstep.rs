//! Engines held against the interpreter with guests made at random.
//!
//! Every case has a number: `CHRONOVISOR_CASE=number` runs it alone in the tests that are asked for, `CHRONOVISOR_CASES=n` runs n of each
//! kind, `CHRONOVISOR_LONG=1` a hundred times as many; `CHRONOVISOR_FIRST=number` begins with another case than 0.

use fuzz_cases::lockstep::compare::Pair;
use fuzz_cases::lockstep::crossing::Crossings;
use fuzz_cases::lockstep::engines::{
    CRAMPED, interpreter, translator, translator_in_short_blocks, translator_missing, warming_translator,
};
use fuzz_cases::lockstep::flags::FlagPairs;
use fuzz_cases::lockstep::run::{Event, Manner, NewEngine, Start};
use fuzz_cases::lockstep::stream::{Mix, Streams};
use fuzz_cases::lockstep::world::RAM_BYTES;
use fuzz_cases::lockstep::{jitting, program};
use x86::CpuModel::{V2, V3};
use x86::{Bus, Engine, Exit, GuestMemory, InsnCount, Interpreter, Vcpu};

/// Cases that one pair of engines serves, so that what it knows from earlier ones gets in the way.
const CASES_A_PAIR: u64 = 64;

const ORDINARY: Mix = Mix { writes_code: 0, edits_tables: 0, system: 1, of_any: 4 };
const REWRITING: Mix = Mix { writes_code: 6, edits_tables: 1, system: 1, of_any: 4 };
const VECTORS: Mix = Mix { writes_code: 1, edits_tables: 0, system: 2, of_any: 15 };
const KERNEL: Mix = Mix { writes_code: 1, edits_tables: 3, system: 6, of_any: 4 };

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// The numbers of the cases to run.
fn numbers(short: u64) -> std::ops::Range<u64> {
    if let Some(case) = number("CHRONOVISOR_CASE") {
        return case..case + 1;
    }
    let factor = if std::env::var_os("CHRONOVISOR_LONG").is_some() { 100 } else { 1 };
    let first = number("CHRONOVISOR_FIRST").unwrap_or(0);
    first..first + number("CHRONOVISOR_CASES").unwrap_or(short * factor)
}

/// What ran.
struct Held {
    name: String,
    engine: NewEngine,
    pair: Pair,
    cases: u64,
    runs: u64,
    compared: u64,
    steps: u64,
}

impl Held {
    fn new(name: String, engine: NewEngine) -> Self {
        let pair = Pair::new(interpreter, engine, RAM_BYTES);
        Held { name, engine, pair, cases: 0, runs: 0, compared: 0, steps: 0 }
    }

    /// Counts a case, and takes fresh engines now and then.
    fn case(&mut self) {
        self.cases += 1;
        if self.cases.is_multiple_of(CASES_A_PAIR) {
            self.account();
            self.pair = Pair::new(interpreter, self.engine, RAM_BYTES);
        }
    }

    fn account(&mut self) {
        self.compared += self.pair.compared;
        self.steps += self.pair.steps;
    }

    fn same(&mut self, number: u64, start: &Start, checks: &[u64], manner: Manner) {
        self.runs += 1;
        self.pair.same(start, checks, manner, &format!("CHRONOVISOR_CASE={number} ({})", self.name));
    }

    fn finish(mut self) {
        self.account();
        let Held { name, cases, runs, compared, steps, .. } = self;
        println!("{name}: {cases} cases, {runs} runs, {steps} steps, {compared} comparisons");
        assert!(cases > 0, "{name}: nothing ran");
    }
}

/// How the other engine is interrupted in case `number`: in half of them not at all.
fn manner(number: u64) -> Manner {
    match number % 4 {
        0 | 1 => Manner::WHOLE,
        2 => Manner::random(1 << (number / 4 % 10), number),
        _ => Manner { restore_after: 3, ..Manner::random(200, number) },
    }
}

/// Runs cases that `draw` makes.
fn hold(name: &str, engine: NewEngine, short: u64, checks: &[u64], mut draw: impl FnMut(u64) -> Option<Start>) {
    let mut held = Held::new(name.into(), engine);
    for number in numbers(short) {
        if let Some(start) = draw(number) {
            held.same(number, &start, checks, manner(number));
            held.case();
        }
    }
    held.finish();
}

fn streams(engine: NewEngine, short: u64) {
    let checks = [100, 101, 117, 400, 900, 1511];
    let mixes = [
        (ORDINARY, "ordinary streams"),
        (VECTORS, "streams of vectors"),
        (REWRITING, "rewriting streams"),
        (KERNEL, "kernel streams"),
    ];
    for (mix, name) in mixes {
        for (model, bitness) in [(V3, 64), (V2, 64), (V2, 32), (V3, 32)] {
            let streams = Streams::new(model, bitness);
            let name = format!("{name}, {model:?}, {bitness} bits");
            let share = if bitness == 64 { short } else { short / 2 };
            hold(&name, engine, share, &checks, |number| Some(streams.draw(number, mix)));
        }
    }
}

/// Streams with one interrupt more, at each step in turn, by the board's deadline and by a cut.
fn interrupts(engine: NewEngine, short: u64) {
    const STEPS: u64 = 160;
    let mixes = [
        (ORDINARY, "interrupts at each step"),
        (VECTORS, "interrupts at each step of vectors"),
        (KERNEL, "interrupts at each step of kernels"),
    ];
    for (mix, name) in mixes {
        let streams = Streams::new(V3, 64);
        let mut held = Held::new(name.into(), engine);
        for number in numbers(short) {
            let start = streams.draw(number, mix);
            let first = start.cpu.count.0;
            held.same(number, &start, &[STEPS], Manner::WHOLE);
            for at in 0..STEPS {
                let mut start = start.clone();
                if (at + number).is_multiple_of(2) {
                    start.bus.deadline = start.cpu.count + at;
                } else {
                    start.events = vec![(first + at, Event::Interrupt(0x55))];
                }
                held.same(number, &start, &[at + 1, STEPS], Manner::WHOLE);
            }
            held.case();
        }
        held.finish();
    }
}

fn crossings(engine: NewEngine, rounds: u64) {
    for (model, bitness) in [(V3, 64), (V2, 32)] {
        let crossings = Crossings::new(model, bitness);
        let name = format!("every form across a page, {bitness} bits");
        let cases = rounds * crossings.forms();
        hold(&name, engine, cases, &[30, 60, 120], |number| crossings.draw(number));
    }
}

fn programs(engine: NewEngine, rounds: u64) {
    let pairs = FlagPairs::new(V3);
    let checks = [300, 1000, 2000];
    hold("flags from each form to each use", engine, rounds * pairs.programs(), &checks, |n| Some(pairs.draw(n)));
    let checks = [1000, 5000, 5001, 12_000];
    hold("functions", engine, 30 * rounds, &checks, |number| Some(program::functions(V3, number)));
    let checks = [2000, 20_000, 40_000];
    hold("making code for ever", engine, 16 * rounds, &checks, |number| Some(jitting::forever(V2, number)));
}

/// A guest that makes code until every cache must have been full several times.
fn exhaustion(engine: NewEngine, steps: u64) {
    let mut held = Held::new("making code until no cache has room".into(), engine);
    for number in 0..6 {
        let checks: Vec<u64> = (1..=8).map(|i| i * steps / 8 + number).collect();
        held.same(number, &jitting::forever(V2, number), &checks, Manner::WHOLE);
        held.case();
    }
    held.finish();
}

/// Guests of all kinds, those that rewrite their code above all, on translators with little room.
fn cramped(short: u64) {
    for kind in CRAMPED {
        for (mix, name) in [(ORDINARY, "ordinary"), (REWRITING, "rewriting"), (KERNEL, "kernel")] {
            let streams = Streams::new(V3, 64);
            let name = format!("{name} streams, {}", kind.name);
            hold(&name, kind.new, short, &[100, 101, 900, 1511], |number| Some(streams.draw(number, mix)));
        }
        let name = format!("functions, {}", kind.name);
        hold(&name, kind.new, short, &[1000, 5001], |number| Some(program::functions(V3, number)));
        let name = format!("making code for ever, {}", kind.name);
        let checks = [2000, 20_000];
        hold(&name, kind.new, short / 4 + 1, &checks, |number| Some(jitting::forever(V2, number)));
        let dropped = kind.dropped.load(std::sync::atomic::Ordering::Relaxed);
        println!("{}: dropped everything {dropped} times", kind.name);
        assert!(number("CHRONOVISOR_CASE").is_some() || dropped > 20, "{}: {dropped} times", kind.name);
    }
}

/// Runs `test` on the translator, if this host can.
fn translated(test: impl FnOnce(NewEngine)) {
    match translator_missing() {
        Some(reason) => println!("SKIPPED: {reason}"),
        None => test(translator),
    }
}

/// The interpreter, but once in a while a bit of a register flips.
struct Wrong(Interpreter);

impl Engine for Wrong {
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit {
        let before = vcpu.count.0;
        let exit = self.0.run(vcpu, memory, bus, until);
        if before < 1_000_300 && vcpu.count.0 >= 1_000_300 {
            vcpu.gpr[14] ^= 1 << 40;
        }
        exit
    }

    fn forget(&mut self, memory: &mut GuestMemory) {
        self.0.forget(memory);
    }
}

#[test]
fn a_wrong_engine_is_found_and_led_back_to_its_step() {
    let start = Streams::new(V3, 64).draw(0, ORDINARY);
    let wrong: NewEngine = || Box::new(Wrong(Interpreter::new()));
    let found = std::panic::catch_unwind(|| {
        Pair::new(interpreter, wrong, RAM_BYTES).same(&start, &[100, 400], Manner::WHOLE, "by name");
    });
    let report = *found.expect_err("a difference").downcast::<String>().expect("a report");
    let wanted = 1_000_300 - start.cpu.count.0;
    assert!(report.contains(&format!("first seen behind step {wanted}:")), "{report}");
}

#[test]
fn the_interpreter_in_pieces() {
    streams(interpreter, 30);
    interrupts(interpreter, 2);
    programs(interpreter, 1);
}

#[test]
fn streams_on_the_translator() {
    translated(|engine| streams(engine, 300));
    translated(|_| streams(translator_in_short_blocks, 30));
    translated(|_| streams(warming_translator, 30));
}

#[test]
fn interrupts_at_each_step_on_the_translator() {
    translated(|engine| interrupts(engine, 30));
}

#[test]
fn every_form_across_a_page_on_the_translator() {
    translated(|engine| crossings(engine, 1));
}

#[test]
fn no_room_left_in_the_translator() {
    translated(|engine| exhaustion(engine, 3_000_000));
}

#[test]
fn little_room_in_the_translator() {
    translated(|_| cramped(12));
}

#[test]
fn programs_on_the_translator() {
    translated(|engine| programs(engine, 3));
    translated(|_| programs(warming_translator, 1));
}
