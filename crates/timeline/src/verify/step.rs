//! The smallest parts of a replay: an instruction, a delivered interrupt, an input.

use iced_x86::{Decoder, DecoderOptions, FastFormatter, FlowControl, Instruction};
use machine::inspect::Code;
use machine::{Input, MachineState};

use super::stretch::Stretch;
use crate::difference::hex;
use crate::format::log::{Event, EventKind};
use crate::position::Position;
use crate::replayer::{Control, ReplayError, Replayer};
use crate::target::Target;

/// A part of a replay, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instant before it. An instruction's number is the count of steps there.
    pub before: Position,
    /// What it is.
    pub kind: StepKind,
}

/// What a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A vCPU executed an instruction, or one iteration of a repeated one.
    Instruction(Place),
    /// An interrupt or exception was delivered to a vCPU that stood before this instruction.
    Delivery(Place),
    /// This input was given.
    Input {
        /// Its number in the log, from 0.
        number: usize,
        /// What it is.
        what: String,
    },
    /// Time passed while no vCPU ran.
    Waiting,
}

/// Where a vCPU stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub vcpu: usize,
    /// CS and RIP.
    pub address: (u16, u64),
    /// The bytes of the instruction there.
    pub bytes: String,
    /// The instruction in words.
    pub text: String,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            StepKind::Instruction(place) => write!(f, "instruction {}: {place}", self.before),
            StepKind::Delivery(place) => {
                write!(f, "interrupt or exception at instruction {}: {place}", self.before)
            }
            StepKind::Input { number, what } => {
                write!(f, "input number {number} ({what}), before instruction {}", self.before)
            }
            StepKind::Waiting => write!(f, "a timer, while no vCPU ran before instruction {}", self.before),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (cs, rip) = self.address;
        write!(f, "vCPU {} at {cs:04x}:{rip:x}  {}  {}", self.vcpu, self.bytes, self.text)
    }
}

/// What a replay did last.
pub enum Done {
    /// Time passed, or a vCPU made a step.
    Ran,
    /// The event with this number was given.
    Gave(usize),
    /// It could not follow the recording.
    Lost,
}

/// Does the next thing of a replay that stands at step count `insns`: gives an event, or goes on to the next count or to
/// the end of the stretch. `None`: it is there.
///
/// # Errors
/// If the replay fails in another way than by going another way.
pub fn advance(replayer: &mut Replayer, insns: u64, stretch: Stretch<'_>) -> Result<Option<Done>, ReplayError> {
    let here = replayer.position();
    let (end, events_before) = match stretch.last() {
        Some(info) => (info.position, info.events_before),
        None => (stretch.ends().1, usize::MAX),
    };
    let number = replayer.events_given();
    let next = replayer.recording().events().get(number).map(|event| event.position);
    let next = next.filter(|at| at.insns == insns && number < events_before);
    if here.insns > insns || (here >= end && next.is_none()) {
        return Ok(None);
    }
    let watch = &mut |_, _| Control::Continue;
    let done = match next {
        Some(at) if at > here => replayer.run_to(Target::At(at), watch).map(|_| Done::Ran),
        Some(_) => replayer.give_event(here).map(|_| Done::Gave(number)),
        None if end.insns == insns => stretch.run_to_end(replayer).map(|()| Done::Ran),
        None => replayer.run_to(Target::Insns(insns + 1), watch).map(|_| Done::Ran),
    };
    match done {
        Ok(done) => Ok(Some(done)),
        Err(ReplayError::Diverged { .. }) => Ok(Some(Done::Lost)),
        Err(error) => Err(error),
    }
}

/// A replay before a step.
pub struct Before {
    position: Position,
    state: MachineState,
    codes: Vec<Code>,
}

impl Before {
    /// Where `replayer` stands.
    pub fn of(replayer: &Replayer) -> Self {
        let machine = replayer.machine();
        let codes = (0..usize::from(machine.config().vcpus)).map(|vcpu| machine.code_at(vcpu)).collect();
        Before { position: replayer.position(), state: machine.save(), codes }
    }

    /// The step that led from here to where `replayer` stands, by doing `done`.
    pub fn step(&self, done: &Done, replayer: &Replayer) -> Step {
        let kind = match done {
            Done::Gave(number) => given(replayer.recording().events(), *number),
            Done::Ran | Done::Lost => self.ran(&replayer.machine().save()),
        };
        Step { before: self.position, kind }
    }

    fn ran(&self, after: &MachineState) -> StepKind {
        const HALTED: u32 = 1;
        let moved = self.state.vcpus.iter().zip(&after.vcpus).position(|(a, b)| a.count != b.count);
        let Some(vcpu) = moved else { return StepKind::Waiting };
        let (place, instruction) = decode(vcpu, &self.codes[vcpu]);
        let (rip, next) = (after.vcpus[vcpu].rip, instruction.next_ip());
        let goes_on = instruction.flow_control() == FlowControl::Next;
        let elsewhere = goes_on && ![instruction.ip(), next].contains(&rip);
        if self.state.vcpus[vcpu].activity == HALTED || elsewhere {
            StepKind::Delivery(place)
        } else {
            StepKind::Instruction(place)
        }
    }
}

/// The event with this number, as a step.
fn given(events: &[Event], number: usize) -> StepKind {
    StepKind::Input { number, what: events.get(number).map_or_else(String::new, |event| describe(&event.kind)) }
}

/// The last input before `number`, if it came at `from` or later.
pub fn last_input(events: &[Event], number: usize, from: Position) -> Option<Step> {
    let (number, event) = events[..number.min(events.len())]
        .iter()
        .enumerate()
        .rev()
        .find(|(_, event)| matches!(event.kind, EventKind::Input(_)))?;
    (event.position >= from).then(|| Step { before: event.position, kind: given(events, number) })
}

/// An event in words.
pub fn describe(kind: &EventKind) -> String {
    match kind {
        EventKind::Input(Input::SerialByte(byte)) => format!("serial byte {byte:#04x}"),
        EventKind::Input(Input::ClockTo(time)) => format!("clock to {} ns", time.as_ns()),
        EventKind::Input(Input::Key(bytes)) => format!("key {}", hex(bytes)),
        EventKind::Input(input) => format!("{input:?}"),
        EventKind::Mark(name) => format!("mark {name}"),
    }
}

fn decode(vcpu: usize, code: &Code) -> (Place, Instruction) {
    let mut decoder = Decoder::with_ip(code.bits, &code.bytes, code.rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let mut text = String::new();
    FastFormatter::new().format(&instruction, &mut text);
    let len = if instruction.is_invalid() { code.bytes.len() } else { instruction.len() };
    let bytes = hex(&code.bytes[..len]);
    (Place { vcpu, address: (code.cs, code.rip), bytes, text }, instruction)
}
