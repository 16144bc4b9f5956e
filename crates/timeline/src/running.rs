//! How a replay runs on: up to the next event, the next restart, the target or the end, whichever is first.

use machine::{Idle, Input, StopReason};
use x86::units::UNITS_PER_NS;
use x86::{InsnCount, VirtualTime};

use crate::format::log::EventKind;
use crate::format::records::CheckpointKind;
use crate::position::Position;
use crate::recording::CheckpointInfo;
use crate::replayer::{Control, ReplayError, Replayer, Watch};
use crate::target::Target;

/// Steps between two looks at the watcher.
const CHUNK: u64 = 4_000_000;

impl Replayer {
    /// Runs on to `target`, which must not lie behind.
    ///
    /// # Errors
    /// If the replay goes another way than the recording.
    pub(crate) fn run_to(&mut self, target: Target, watch: &mut Watch<'_>) -> Result<Control, ReplayError> {
        loop {
            // What comes to the watcher comes before it, so nothing is shown twice.
            let mut reached = self.instant();
            let known = self.damaged_blocks();
            let result = self.run_watched(target, watch, &mut |replayer| reached = replayer.instant());
            match result {
                // What is in no block at all cannot be left out: another way would meet it again.
                Err(error) if self.damaged_blocks() == known => return Err(error),
                Err(error) => self.mend(error, reached)?,
                control => return control,
            }
        }
    }

    /// The same; what is damaged is an error.
    ///
    /// # Errors
    /// If the replay goes another way than the recording, or a page cannot be had.
    pub(crate) fn run_straight(&mut self, target: Target, watch: &mut Watch<'_>) -> Result<Control, ReplayError> {
        self.run_watched(target, watch, &mut |_| {})
    }

    /// The same, with `passed` called where the watcher was.
    fn run_watched(
        &mut self,
        target: Target,
        watch: &mut Watch<'_>,
        passed: &mut dyn FnMut(&Replayer),
    ) -> Result<Control, ReplayError> {
        loop {
            let here = self.position();
            if target.is_reached(here) {
                // What is due at this instant is part of it.
                self.machine.settle();
                self.check_pages()?;
                break;
            }
            if self.keeps() {
                self.pass_checkpoint()?;
            }
            if self.pass_restart(here)? || self.give_event(here)? {
                continue;
            }
            let end = self.recording.end_position();
            if here >= end {
                if here == end && target == Target::End && self.events_given() == self.recording.events().len() {
                    self.machine.settle();
                    self.check_pages()?;
                    break;
                }
                return Err(self.diverged("it ran on behind the end"));
            }
            self.advance(target, self.next_stop(end))?;
            self.keep()?;
            let control = watch(self.position(), self.take_output());
            passed(self);
            if control == Control::Pause {
                return Ok(control);
            }
        }
        watch(self.position(), self.take_output());
        Ok(Control::Continue)
    }

    /// Runs on to a checkpoint of the file that lies ahead, past the events that come before it.
    pub(crate) fn run_to_checkpoint(
        &mut self,
        info: &CheckpointInfo,
        watch: &mut Watch<'_>,
    ) -> Result<Control, ReplayError> {
        let control = self.run_to(Target::At(info.position), watch)?;
        if control == Control::Pause {
            return Ok(control);
        }
        while self.events_given() < info.events_before {
            if !self.give_event(self.position())? {
                return Err(self.diverged("an input is not where it was"));
            }
        }
        if self.position() == info.position {
            Ok(control)
        } else {
            Err(self.diverged("a checkpoint is not where it was"))
        }
    }

    pub(crate) fn diverged(&self, what: &str) -> ReplayError {
        ReplayError::Diverged { here: self.position(), what: what.into() }
    }

    /// The next instant at which something is to be done.
    fn next_stop(&self, end: Position) -> Position {
        let event = self.recording.events().get(self.events_given()).map(|event| event.position);
        let restart = self.next_restart().map(|(_, info)| info.position);
        let checkpoints = self.recording.checkpoints();
        let here = self.position();
        let checkpoint = checkpoints.get(checkpoints.partition_point(|info| info.position <= here));
        let checkpoint = checkpoint.filter(|_| self.keeps()).map(|info| info.position);
        event.into_iter().chain(restart).chain(checkpoint).chain([end]).min().unwrap_or(end)
    }

    /// The next restart that was not made, and its number among the checkpoints.
    fn next_restart(&self) -> Option<(usize, CheckpointInfo)> {
        let checkpoints = self.recording.checkpoints().iter().copied().enumerate();
        checkpoints.filter(|(_, info)| info.kind != CheckpointKind::Seek).nth(self.restarts_made())
    }

    pub(crate) fn pass_restart(&mut self, here: Position) -> Result<bool, ReplayError> {
        match self.next_restart() {
            Some((index, info)) if info.position == here && info.events_before == self.events_given() => {
                let output = self.machine.take_output();
                self.restore_file(index)?;
                self.hold_output(output);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Gives the next event if it belongs here.
    pub(crate) fn give_event(&mut self, here: Position) -> Result<bool, ReplayError> {
        let Some(event) = self.recording.events().get(self.events_given()) else { return Ok(false) };
        if event.position < here {
            return Err(self.diverged("an input came too late"));
        }
        if event.position > here {
            return Ok(false);
        }
        match &event.kind {
            EventKind::Input(Input::ClockTo(time)) => {
                let time = Position { insns: 0, time: *time }.since(self.base()).time;
                self.machine.input(Input::ClockTo(time));
            }
            EventKind::Input(input) => self.machine.input(input.clone()),
            EventKind::Mark(_) => self.machine.settle(),
        }
        self.count_event();
        Ok(true)
    }

    /// Runs towards `next` and `target`.
    fn advance(&mut self, target: Target, next: Position) -> Result<(), ReplayError> {
        let here = self.position();
        if here >= next {
            return Err(self.diverged("what should happen here does not fit"));
        }
        let until = match target {
            Target::Insns(insns) => insns,
            Target::At(position) => position.insns,
            // A step takes a nanosecond at most, so this many cannot go too far.
            Target::Time(time) => {
                let units = time.units().saturating_sub(here.time.units());
                here.insns.saturating_add((units / UNITS_PER_NS).max(1))
            }
            Target::End => u64::MAX,
        };
        let until = until.min(next.insns).min(here.insns.saturating_add(CHUNK));
        let waits = until <= here.insns;
        let bound = InsnCount(if waits { here.insns.saturating_add(1) } else { until } - self.base().insns);
        let reason = self.machine.run(bound, Idle::Stop);
        self.check_pages()?;
        match reason {
            StopReason::Until if waits => Err(self.diverged("it ran on where it had waited")),
            // The output is taken behind each of these ways.
            StopReason::Until | StopReason::Output => Ok(()),
            // What came of it at the recording comes back as events.
            StopReason::Request => {
                self.machine.take_requests();
                Ok(())
            }
            StopReason::Idle(wake) => self.jump(wake, target, next),
            StopReason::Halted => self.jump(VirtualTime::NEVER, target, next),
            _ if self.position() == next => Ok(()),
            reason => Err(self.diverged(&format!("it stopped ({reason:?})"))),
        }
    }

    /// Nobody runs: time moves to where a timer wakes someone, or something is to be done.
    fn jump(&mut self, wake: VirtualTime, target: Target, next: Position) -> Result<(), ReplayError> {
        let here = self.position();
        // A time that never comes stays so: the sum saturates.
        let mut to = Position { insns: 0, time: wake }.after(self.base()).time;
        if next.insns == here.insns {
            to = to.min(next.time);
        }
        match target {
            Target::Time(time) => to = to.min(time),
            Target::At(position) if position.insns == here.insns => to = to.min(position.time),
            _ => {}
        }
        if here == next || target.is_reached(here) {
            return Ok(());
        }
        if to == VirtualTime::NEVER || to <= here.time {
            return Err(self.diverged("it waits where it had run on"));
        }
        let time = Position { insns: 0, time: to }.since(self.base()).time;
        self.machine.input(Input::ClockTo(time));
        Ok(())
    }
}
