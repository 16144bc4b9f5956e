//! Random code in a random state of a random mode, run in one piece and then again cut into pieces with the state
//! saved and restored in between. Both must end alike, and each piece exactly where it was told to.
//!
//! The target `interpreter` runs the interpreter twice, the target `translator` ([`translator`]) interpreter and translator.

mod code;
mod state;
mod world;

use x86::{CpuModel, CpuState, Exit};

use crate::lockstep::bus::FuzzBus;
use crate::lockstep::engines;
use crate::lockstep::run::{Manner, NewEngine, Run, Start, Subject};
use crate::script::Script;

/// How often a halted CPU is woken.
const WAKES: u32 = 3;

/// Where a run ended.
#[derive(PartialEq)]
struct End {
    state: CpuState,
    ram: Vec<u8>,
    bus: FuzzBus,
    exits: Vec<(x86::InsnCount, Exit)>,
    ended: Option<Exit>,
}

/// Runs the script's code.
///
/// # Panics
/// If a run stops elsewhere than told, makes no progress, or depends on how it was cut.
pub fn run(bytes: &[u8]) {
    compare(bytes, engines::interpreter);
}

/// Runs the script's code on both engines.
///
/// # Panics
/// If they differ, a run stops elsewhere than told, makes no progress, or this host cannot run the translator.
pub fn translator(bytes: &[u8]) {
    compare(bytes, engines::small_translator);
}

/// Runs the script's code by the interpreter in one piece, and by `engine` in pieces.
///
/// # Panics
/// If a run stops elsewhere than told, makes no progress, or depends on engine or pieces.
fn compare(bytes: &[u8], engine: NewEngine) {
    let mut script = Script::new(bytes);
    let model = script.pick(&[CpuModel::V2, CpuModel::V3]);
    let steps = 16 + 4 * u64::from(script.u8());
    let longest = script.pick(&[1, 1, 2, 3, 5, 17, 64]);
    let manner = Manner { longest, restore_after: script.pick(&[1, 2, 7, u32::MAX]), ..Manner::WHOLE };
    let bus = FuzzBus::new(&mut script);
    let cpu = state::first(&mut script, model);
    let ram = world::ram(&mut script, &cpu);
    let start = Start { cpu, second: None, ram, bus, events: Vec::new(), wakes: WAKES };

    let whole = |steps| end(&start, engines::interpreter, steps, Manner::WHOLE);
    let pieces = |steps| end(&start, engine, steps, manner);
    if pieces(steps) != whole(steps) {
        let first = (1..=steps).find(|&steps| pieces(steps) != whole(steps)).unwrap_or(steps);
        explain(&whole(first - 1), &pieces(first), &whole(first), manner);
    }
}

/// Panics with what differs behind the step before which all was well.
fn explain(before: &End, pieces: &End, whole: &End, manner: Manner) -> ! {
    let line = |end: &End| format!("{:#?}\n{:?}\n{:#?}\n{:#?}", end.state, end.ended, end.exits, end.bus);
    let (pieces_text, whole_text) = (line(pieces), line(whole));
    let lines = pieces_text.lines().zip(whole_text.lines()).filter(|(a, b)| a != b);
    let lines: Vec<String> = lines.map(|(a, b)| format!("{} | {}", a.trim(), b.trim())).collect();
    let (state, at) = (&before.state, difference(&pieces.ram, &whole.ram));
    let code = usize::try_from(state.rip.wrapping_add(state.segments[1].base)).ok();
    let code = code.and_then(|at| before.ram.get(at..at + 16));
    panic!(
        "with {manner:?}, the step at rip {:#x} count {} code {code:x?} differs (pieces | whole; RAM at {at:x?}):\n{}",
        state.rip,
        state.count,
        lines.join("\n"),
    );
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// Runs `steps` steps from `start` on.
fn end(start: &Start, engine: NewEngine, steps: u64, manner: Manner) -> End {
    let mut subject = Subject::new(engine(), start.ram.len());
    let mut run = Run::new(&mut subject, start, manner);
    run.advance(start.cpu.count + steps);
    let (state, ram) = (run.cpu.save(), run.ram().to_vec());
    End { state, ram, bus: run.bus, exits: run.exits, ended: run.ended }
}
