//! Events of the log and their columns.
//!
//! An event's place is told by the steps since the event before it and by how much later it came than at
//! one step a nanosecond: nothing, in a busy machine with one vCPU. A clock correction counts as time passed for
//! the next one.

use machine::Input;
use x86::VirtualTime;

use super::FormatError;
use super::records::LogRecord;
use crate::position::Position;

/// Something that is written down with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where.
    pub position: Position,
    /// What.
    pub kind: EventKind,
}

/// What an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something that came through the door.
    Input(Input),
    /// A name for this instant.
    Mark(String),
}

const SERIAL_BYTE: u8 = 1;
const POWER_BUTTON: u8 = 2;
const KEY: u8 = 3;
const MOUSE: u8 = 4;
const CLOCK_TO: u8 = 5;
const MARK: u8 = 6;
const RECORDING: u8 = 7;
/// Later times are not recorded: virtual time itself ends a little after them.
const LAST_TIME: VirtualTime = VirtualTime::from_units(3 << 62);

/// Where the differences of the next event count from.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor(Position);

impl Cursor {
    fn pass(&mut self, event: &Event) {
        self.0 = event.position;
        if let EventKind::Input(Input::ClockTo(time)) = event.kind {
            self.0.time = self.0.time.max(time);
        }
    }
}

/// The record of `events`, the first of which is number `first`; `None` if there are none.
pub fn encode(events: &[Event], first: u64) -> Option<LogRecord> {
    let start = events.first()?.position;
    let mut record = LogRecord { start: Some(start.into()), first, ..LogRecord::default() };
    let mut cursor = Cursor(start);
    for event in events {
        let insns = event.position.insns.wrapping_sub(cursor.0.insns);
        let excess = event.position.time.units().wrapping_sub(cursor.0.expected_time(insns));
        record.insn_steps.push(insns);
        record.time_excesses.push(excess as i64);
        encode_kind(event, &mut record);
        cursor.pass(event);
    }
    if record.time_excesses.iter().all(|&excess| excess == 0) {
        record.time_excesses.clear();
    }
    Some(record)
}

fn encode_kind(event: &Event, record: &mut LogRecord) {
    let (kind, values, blob): (u8, &[i64], Option<&[u8]>) = match &event.kind {
        EventKind::Input(Input::SerialByte(byte)) => (SERIAL_BYTE, &[i64::from(*byte)], None),
        EventKind::Input(Input::PowerButton) => (POWER_BUTTON, &[], None),
        EventKind::Input(Input::Key(bytes)) => (KEY, &[], Some(bytes)),
        EventKind::Input(Input::Mouse { right, up, wheel, buttons }) => {
            (MOUSE, &[(*right).into(), (*up).into(), (*wheel).into(), (*buttons).into()], None)
        }
        EventKind::Input(Input::ClockTo(time)) => {
            (CLOCK_TO, &[time.units().wrapping_sub(event.position.time.units()) as i64], None)
        }
        EventKind::Input(Input::Recording(on)) => (RECORDING, &[i64::from(*on)], None),
        EventKind::Mark(name) => (MARK, &[], Some(name.as_bytes())),
    };
    record.kinds.push(kind);
    record.values.extend_from_slice(values);
    record.blobs.extend(blob.map(<[u8]>::to_vec));
}

/// Appends the events of `record` to `events`, which are all that come before.
///
/// # Errors
/// If the columns do not fit together, or time runs backwards.
pub fn decode(record: LogRecord, events: &mut Vec<Event>) -> Result<(), FormatError> {
    let bad = FormatError::Content;
    let LogRecord { start, first, kinds, insn_steps, time_excesses, values, blobs } = record;
    if first != events.len() as u64 {
        return Err(bad("events are missing from the log"));
    }
    let columns_fit = insn_steps.len() == kinds.len() && [0, kinds.len()].contains(&time_excesses.len());
    if !columns_fit {
        return Err(bad("a column of the log has another length"));
    }
    let mut cursor = Cursor(start.unwrap_or_default().into());
    let mut last = events.last().map_or(Position::default(), |event| event.position);
    let (mut values, mut blobs) = (values.into_iter(), blobs.into_iter());
    for (i, (&kind, &insns)) in kinds.iter().zip(&insn_steps).enumerate() {
        let excess = time_excesses.get(i).copied().unwrap_or(0);
        let time = cursor.0.expected_time(insns).wrapping_add(excess as u64);
        let insns = cursor.0.insns.checked_add(insns).ok_or(bad("a step count of the log is impossible"))?;
        let position = Position { insns, time: VirtualTime::from_units(time) };
        if position < last || position.time < last.time || position.time > LAST_TIME {
            return Err(bad("time runs backwards in the log"));
        }
        let kind = decode_kind(kind, position, &mut values, &mut blobs)?;
        let event = Event { position, kind };
        cursor.pass(&event);
        last = position;
        events.push(event);
    }
    Ok(())
}

fn decode_kind(
    kind: u8,
    position: Position,
    values: &mut impl Iterator<Item = i64>,
    blobs: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<EventKind, FormatError> {
    let mut value = || values.next().ok_or(FormatError::Content("a value is missing from the log"));
    let mut blob = || blobs.next().ok_or(FormatError::Content("bytes are missing from the log"));
    let range = |_| FormatError::Content("a value of the log is out of range");
    Ok(match kind {
        SERIAL_BYTE => EventKind::Input(Input::SerialByte(value()?.try_into().map_err(range)?)),
        POWER_BUTTON => EventKind::Input(Input::PowerButton),
        KEY => EventKind::Input(Input::Key(blob()?)),
        MOUSE => EventKind::Input(Input::Mouse {
            right: value()?.try_into().map_err(range)?,
            up: value()?.try_into().map_err(range)?,
            wheel: value()?.try_into().map_err(range)?,
            buttons: value()?.try_into().map_err(range)?,
        }),
        CLOCK_TO => {
            let time = VirtualTime::from_units(position.time.units().wrapping_add(value()? as u64));
            if time > LAST_TIME {
                return Err(FormatError::Content("a time of the log is impossible"));
            }
            EventKind::Input(Input::ClockTo(time))
        }
        RECORDING => EventKind::Input(Input::Recording(value()? != 0)),
        MARK => {
            EventKind::Mark(String::from_utf8(blob()?).map_err(|_| FormatError::Content("a mark's name is no text"))?)
        }
        _ => return Err(FormatError::Content("the log holds an event that this program does not know")),
    })
}
