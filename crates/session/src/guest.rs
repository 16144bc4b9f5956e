//! The machine and its recording: whatever comes from outside goes through here, is written down if something
//! records, and reaches the machine.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use machine::{Idle, Input, Machine, StopReason};
use serde_json::json;
use timeline::format::records::EndReason;
use timeline::{Position, RecordError};
use x86::{InsnCount, VirtualTime};

use crate::control::{Answer, Command, Request};
use crate::recording::{Description, Recording, StartError};
use crate::snapshots::Snapshots;
use crate::tree::{Place, Tree};
use crate::vm::{Stop, Vm};

/// How often what was recorded goes to the file: well below the second that a killed recorder may lose.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

/// How many snapshots that the guest asked for may wait.
const MOST_WAITING: usize = 8;

/// Something that begins with a copy of the machine, of which only one can be under way: ending that one at once would stop the
/// guest.
pub(crate) enum PutOff {
    /// What a program on the socket asked for, and the state of the machine when it did.
    Program(Request, &'static str),
    /// A snapshot of this name that the guest asked for.
    Guest(String),
}

/// A machine that may be recorded.
pub struct Guest {
    /// The machine.
    pub machine: Machine,
    /// How much earlier than its own power-on the first power-on was.
    pub base: Position,
    /// The VM's tree. Dropped before the recording, which may wait for it.
    pub(crate) tree: Option<Tree>,
    pub(crate) recording: Option<Recording>,
    pub(crate) snapshots: Snapshots,
    /// What waits until a copy under way has ended.
    pub(crate) put_off: VecDeque<PutOff>,
    pub(crate) description: Description,
    /// Where recordings and snapshots go that the guest asks for; `None`: nowhere.
    pub(crate) guest_files: Option<PathBuf>,
    /// What the guest was last told about recording; `None`: not known.
    pub(crate) told: Option<bool>,
    /// Whether the guest has ever looked for the control device.
    pub(crate) looked: bool,
    pub(crate) notices: Vec<String>,
    flushed: Instant,
}

impl Guest {
    /// A machine whose power-on was at `base`; nothing records it yet.
    pub fn new(
        machine: Machine,
        base: Position,
        description: Description,
        guest_files: Option<PathBuf>,
        tree: Option<Tree>,
    ) -> Self {
        Guest {
            machine,
            base,
            tree,
            recording: None,
            snapshots: Snapshots::default(),
            put_off: VecDeque::new(),
            description,
            guest_files,
            told: None,
            looked: false,
            notices: Vec::new(),
            flushed: Instant::now(),
        }
    }

    /// Where the machine stands, counted from the first power-on.
    pub fn position(&self) -> Position {
        Position::of(&self.machine).after(self.base)
    }

    /// `machine`, at power-on, takes the place of this one: a reset.
    ///
    /// # Errors
    /// If the recording cannot go on.
    pub fn restart(&mut self, machine: Machine) -> Result<(), RecordError> {
        if let Some(tree) = &mut self.tree {
            tree.complete(&mut self.machine);
        }
        self.snapshots.complete(&mut self.machine);
        self.refuse_put_off();
        self.base = self.position();
        let mut old = std::mem::replace(&mut self.machine, machine);
        (self.told, self.looked) = (None, false);
        let recording = self.recording.as_mut();
        recording.map_or(Ok(()), |recording| recording.recorder.restart(&mut old, &mut self.machine))
    }

    /// Starts a recording here.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn start_recording(&mut self, path: &std::path::Path) -> Result<(), StartError> {
        self.complete_copies();
        let recording = Recording::start(&mut self.machine, self.base, path, &self.description)?;
        self.begin_recording(recording);
        Ok(())
    }

    pub(crate) fn begin_recording(&mut self, recording: Recording) {
        self.recording = Some(recording);
        self.flushed = Instant::now();
        self.tell();
    }

    /// Ends the recording, if there is one, and waits until it is written.
    ///
    /// # Errors
    /// If it cannot be written. Then nothing is lost, and this may be called again.
    pub fn finish(&mut self, reason: EndReason, status: u8) -> Result<(), RecordError> {
        self.await_base()?;
        let Some(recording) = &mut self.recording else { return Ok(()) };
        recording.recorder.finish(&mut self.machine, reason, status)?;
        self.recording = None;
        Ok(())
    }

    /// Ends the recording, if there is one, without waiting until it is written: [`Self::into_recording`] gives it.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn end_recording(&mut self, reason: EndReason, status: u8) -> Result<(), RecordError> {
        self.await_base()?;
        if let Some(recording) = &mut self.recording {
            recording.recorder.end(&mut self.machine, reason, status);
        }
        Ok(())
    }

    /// The recording, without the machine.
    pub(crate) fn into_recording(self) -> Option<Recording> {
        self.recording
    }

    /// Ends the recording now, whether or not its end can be written.
    pub(crate) fn stop_recording(&mut self) -> Answer {
        let Some(path) = self.recording.as_ref().map(|recording| recording.path.clone()) else {
            return Err("nothing is being recorded".into());
        };
        let result = self.finish(EndReason::Stopped, 0);
        if let Err(error @ RecordError::NoRoom(_)) = result {
            return Err(error.to_string());
        }
        self.recording = None;
        self.tell();
        let file = path.display().to_string();
        result.map(|()| json!({ "file": file })).map_err(|error| format!("the recording {file} was cut short: {error}"))
    }

    /// Tells a guest that looked for it whether something records.
    pub(crate) fn tell(&mut self) {
        let now = self.recording.is_some();
        if self.looked && self.told != Some(now) {
            self.told = Some(now);
            self.input(Input::Recording(now));
        }
    }

    fn input(&mut self, input: Input) {
        self.leave();
        match &mut self.recording {
            Some(recording) => recording.recorder.input(&mut self.machine, input),
            None => self.machine.input(input),
        }
    }

    pub(crate) fn mark(&mut self, name: &str) -> Answer {
        let Some(recording) = &mut self.recording else {
            return Err("a mark belongs to a recording, and nothing is being recorded".into());
        };
        recording.recorder.mark(&mut self.machine, name);
        let at = self.position();
        Ok(json!({ "name": name, "insns": at.insns, "virtual_ns": at.time.as_ns() }))
    }

    fn status(&self) -> Answer {
        let at = self.position();
        let recording = self.recording.as_ref().map(|recording| {
            let (file_bytes, checkpoint_bytes) = recording.recorder.sizes();
            json!({
                "file": recording.path.display().to_string(),
                "node": recording.node,
                "file_bytes": file_bytes,
                "checkpoint_bytes": checkpoint_bytes,
            })
        });
        let tree = self.tree.as_ref().map(|tree| tree.directory().display().to_string());
        Ok(json!({ "insns": at.insns, "virtual_ns": at.time.as_ns(), "recording": recording, "tree": tree }))
    }
}

impl Vm for Guest {
    fn run(&mut self, until: u64, jump: bool) -> Stop {
        self.leave();
        let idle = if jump { Idle::Jump } else { Idle::Stop };
        let reason = loop {
            match self.machine.run(InsnCount(until), idle) {
                StopReason::Request => self.serve_requests(),
                reason => break reason,
            }
        };
        match reason {
            // The output is taken behind each slice, and slices can have any length.
            StopReason::Until | StopReason::Output => Stop::Until,
            StopReason::PowerOff => Stop::PowerOff,
            StopReason::Reset => Stop::Reset,
            StopReason::TripleFault => Stop::TripleFault,
            StopReason::DebugExit(status) => Stop::DebugExit(status),
            StopReason::Idle(wake) => Stop::Idle { wake: (wake != VirtualTime::NEVER).then_some(wake) },
            StopReason::Halted => Stop::Dead,
            StopReason::Request => unreachable!("handled above"),
            StopReason::PageLost => unreachable!("the RAM of a live machine is whole"),
        }
    }

    fn insn_count(&self) -> u64 {
        self.machine.insn_count().0
    }

    fn now(&self) -> VirtualTime {
        self.machine.now()
    }

    fn serial_can_receive(&self) -> bool {
        self.machine.serial_can_receive()
    }

    fn serial_requests_to_send(&self) -> bool {
        self.machine.serial_requests_to_send()
    }

    fn serial_byte(&mut self, byte: u8) {
        self.input(Input::SerialByte(byte));
    }

    fn power_button(&mut self) {
        self.input(Input::PowerButton);
    }

    fn clock_to(&mut self, time: VirtualTime) {
        self.input(Input::ClockTo(time));
    }

    fn jump_to_timer(&mut self, wake: VirtualTime) {
        self.leave();
        // The machine would jump there by itself, and a replay lets it: nothing to write down.
        self.machine.input(Input::ClockTo(wake));
    }

    fn take_output(&mut self) -> (Vec<u8>, Vec<u8>) {
        let output = self.machine.take_output();
        (output.serial, output.debug_console)
    }

    fn tend(&mut self) -> Result<(), RecordError> {
        self.tend_snapshots();
        self.tend_tree()?;
        while !self.is_copying()
            && let Some(put_off) = self.put_off.pop_front()
        {
            self.serve_put_off(put_off);
        }
        let Some(recording) = &mut self.recording else { return Ok(()) };
        recording.recorder.poll(&mut self.machine);
        if self.flushed.elapsed() < FLUSH_INTERVAL {
            return Ok(());
        }
        self.flushed = Instant::now();
        recording.recorder.flush(&self.machine)
    }

    fn is_busy(&self) -> bool {
        self.snapshots.is_busy() || self.tree.as_ref().is_some_and(Tree::is_busy)
    }

    fn retry(&mut self) -> Result<(), RecordError> {
        // The machine stands still: nothing is gained by copying a little at a time.
        self.snapshots.complete(&mut self.machine);
        self.tend_snapshots();
        self.tend_tree()?;
        if self.tree.as_ref().is_some_and(Tree::is_busy) {
            // The recording goes on behind the state that it begins with.
            return Ok(());
        }
        self.recording.as_mut().map_or(Ok(()), |recording| recording.recorder.retry())
    }

    fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn serve(&mut self, request: Request, state: &'static str) {
        let begins_a_copy = matches!(request.command, Command::Snapshot(_) | Command::RecordStart(_));
        if begins_a_copy && self.is_copying() {
            self.put_off.push_back(PutOff::Program(request, state));
        } else {
            self.serve_now(request, state);
        }
    }
}

impl Guest {
    fn is_copying(&self) -> bool {
        self.snapshots.is_copying() || self.tree.as_ref().is_some_and(Tree::is_copying)
    }

    /// A snapshot that the guest asked for: now, or when the copy under way has ended.
    pub(crate) fn snapshot_in_turn(&mut self, name: &str) -> Answer {
        if !self.is_copying() {
            return self.snapshot_for_guest(name);
        }
        let waiting = self.put_off.iter().filter(|put_off| matches!(put_off, PutOff::Guest(_))).count();
        if waiting == MOST_WAITING {
            return Err(format!("{name:?} is refused: {MOST_WAITING} others still wait for their turn"));
        }
        self.put_off.push_back(PutOff::Guest(name.into()));
        Ok(().into())
    }

    pub(crate) fn serve_put_off(&mut self, put_off: PutOff) {
        match put_off {
            PutOff::Program(request, state) => self.serve_now(request, state),
            PutOff::Guest(name) => {
                if let Err(sentence) = self.snapshot_for_guest(&name) {
                    self.notices.push(format!("the guest asked for a snapshot: {sentence}"));
                }
            }
        }
    }

    /// What the guest asked for is of the machine as it was: after a reset its turn comes no more.
    fn refuse_put_off(&mut self) {
        self.put_off.retain(|put_off| {
            if let PutOff::Guest(name) = put_off {
                let sentence = format!("{name:?} is refused: the machine was reset before its turn came");
                self.notices.push(format!("the guest asked for a snapshot: {sentence}"));
            }
            matches!(put_off, PutOff::Program(..))
        });
    }

    pub(crate) fn serve_now(&mut self, request: Request, state: &'static str) {
        let answer = match &request.command {
            Command::RecordStart(to) => match to.place(self.tree.is_some()) {
                Ok(Place::Node(name)) => return self.record_for(request, &name, state),
                Ok(Place::File(path)) => self.record_to(&path),
                Err(sentence) => Err(sentence),
            },
            Command::Snapshot(to) => match to.place(self.tree.is_some()) {
                Ok(Place::Node(name)) => return self.snapshot_for(request, &name, state),
                Ok(Place::File(path)) => return self.snapshot_to(request, &path, state),
                Err(sentence) => Err(sentence),
            },
            Command::RecordStop => self.stop_recording(),
            Command::Mark(name) => self.mark(name),
            Command::Status => self.status(),
            Command::Pause | Command::Resume | Command::Quit => Ok(json!({})),
        };
        request.answer_in(answer, state);
    }
}
