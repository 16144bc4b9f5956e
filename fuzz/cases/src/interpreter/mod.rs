//! The interpreter: random code in a random state of a random mode, run in one piece and then again
//! cut into pieces with the state saved and restored in between. Both must end alike, and each
//! piece exactly where it was told to.

mod bus;
mod code;
mod state;
mod world;

use prost::Message;
use x86::memory::phys::OwnedMemory;
use x86::{CpuModel, CpuState, Engine, Exit, InsnCount, Interpreter, Vcpu};

use crate::script::Script;
use bus::FuzzBus;

/// How often a halted CPU is woken.
const WAKES: u32 = 3;

/// How a run is cut.
#[derive(Clone, Copy, Debug)]
struct Cuts {
    /// Steps in a piece.
    steps: u64,
    /// Pieces before the first restore; each next one comes after three times as many.
    first_restore: u32,
}

/// In one piece.
const WHOLE: Cuts = Cuts { steps: u64::MAX, first_restore: u32::MAX };

/// Where a run ended.
#[derive(PartialEq)]
struct End {
    state: CpuState,
    ram: Vec<u8>,
    bus: FuzzBus,
    exit: Exit,
}

/// Runs the script's code.
///
/// # Panics
/// If a run stops elsewhere than told, makes no progress, or depends on how it was cut.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let model = script.pick(&[CpuModel::V2, CpuModel::V3]);
    let steps = 16 + 4 * u64::from(script.u8());
    let cuts = Cuts { steps: script.pick(&[1, 1, 2, 3, 5, 17, 64]), first_restore: script.pick(&[1, 2, 7, u32::MAX]) };
    let bus = FuzzBus::new(&mut script);
    let cpu = state::first(&mut script, model);
    let ram = world::ram(&mut script, &cpu);

    let run = |steps, cuts| drive(&cpu, &ram, bus.clone(), steps, cuts);
    if run(steps, cuts) != run(steps, WHOLE) {
        let first = (1..=steps).find(|&steps| run(steps, cuts) != run(steps, WHOLE)).unwrap_or(steps);
        explain(&run(first - 1, WHOLE), &run(first, cuts), &run(first, WHOLE), cuts);
    }
}

/// Panics with what differs behind the step before which all was well.
fn explain(before: &End, pieces: &End, whole: &End, cuts: Cuts) -> ! {
    let line = |end: &End| format!("{:#?}\n{:?}\n{:#?}", end.state, end.exit, end.bus);
    let (pieces_text, whole_text) = (line(pieces), line(whole));
    let lines = pieces_text.lines().zip(whole_text.lines()).filter(|(a, b)| a != b);
    let lines: Vec<String> = lines.map(|(a, b)| format!("{} | {}", a.trim(), b.trim())).collect();
    let (state, at) = (&before.state, difference(&pieces.ram, &whole.ram));
    let code = usize::try_from(state.rip.wrapping_add(state.segments[1].base)).ok();
    let code = code.and_then(|at| before.ram.get(at..at + 16));
    panic!(
        "with {cuts:?}, the step at rip {:#x} count {} code {code:x?} differs (pieces | whole; RAM at {at:x?}):\n{}",
        state.rip,
        state.count,
        lines.join("\n"),
    );
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// Runs `steps` steps from `cpu` and `ram` on.
fn drive(cpu: &Vcpu, ram: &[u8], mut bus: FuzzBus, steps: u64, cuts: Cuts) -> End {
    let mut cpu = cpu.clone();
    let mut owned = OwnedMemory::new(ram.len() as u64);
    let mut engine = Interpreter::new();
    for (page, bytes) in ram.chunks(4096).enumerate().filter(|(_, bytes)| bytes.iter().any(|&byte| byte != 0)) {
        assert!(owned.memory.write(x86::GuestPhysAddr(page as u64 * 4096), bytes), "RAM is there");
    }
    let end = cpu.count + steps;
    let (mut wakes, mut pieces, mut restore_at) = (0, 0, cuts.first_restore);
    let exit = loop {
        bus.tick(cpu.count);
        let cut = InsnCount(cpu.count.0.saturating_add(cuts.steps));
        let until = end.min(cut);
        if cpu.count >= end {
            break Exit::Until;
        }
        let exit = piece(&mut engine, &mut cpu, &mut owned, &mut bus, until);
        match exit {
            Exit::Shutdown => break exit,
            Exit::Halted if wakes == WAKES => break exit,
            Exit::Halted => {
                wakes += 1;
                bus.pending = Some(0x30 + wakes as u8);
                if wakes == WAKES {
                    cpu.latch_nmi();
                }
            }
            Exit::Until | Exit::Yield | Exit::Attention => {}
        }
        pieces += 1;
        if pieces == restore_at {
            restore_at = restore_at.saturating_mul(3);
            cpu = restored(&cpu);
            engine.forget(&mut owned.memory);
        }
    };
    End { state: cpu.save(), ram: owned.memory.bytes().to_vec(), bus, exit }
}

/// Runs up to `until`, and checks that the engine does what its trait says.
fn piece(
    engine: &mut Interpreter,
    cpu: &mut Vcpu,
    owned: &mut OwnedMemory,
    bus: &mut FuzzBus,
    until: InsnCount,
) -> Exit {
    let before = cpu.count;
    let goal = until.min(bus.deadline);
    bus.attention = false;
    let exit = engine.run(cpu, &mut owned.memory, bus, until);
    assert!(before <= cpu.count && cpu.count <= goal, "from {before:?} to {:?}, told {goal:?}", cpu.count);
    match exit {
        Exit::Until => assert_eq!(cpu.count, goal, "stopped early"),
        Exit::Attention => assert!(bus.attention && cpu.count > before, "nobody asked for attention"),
        Exit::Yield => assert!(cpu.count > before, "a PAUSE is a step"),
        Exit::Halted | Exit::Shutdown => {}
    }
    exit
}

/// The same CPU, gone through its saved form.
fn restored(cpu: &Vcpu) -> Vcpu {
    let bytes = cpu.save().encode_to_vec();
    let state = CpuState::decode(&bytes[..]).expect("what was encoded can be decoded");
    assert_eq!(state, cpu.save(), "the encoding keeps everything");
    let mut fresh = Vcpu::new(cpu.model, cpu.apic_id, cpu.vcpus);
    fresh.restore(&state).unwrap_or_else(|error| panic!("a state that instructions led to is refused: {error}"));
    assert_eq!(fresh.save(), state, "restoring keeps everything");
    fresh
}
