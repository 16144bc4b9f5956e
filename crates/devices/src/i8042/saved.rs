//! Saved state of the keyboard controller, the keyboard and the mouse.

use super::I8042;
use super::controller::{self, Controller, Source};
use super::keyboard::{self, Keyboard};
use super::mouse::{self, Mouse};
use super::translate::Translator;
use crate::state::{RestoreError, Saved, within};

/// Saved state of an [`I8042`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct I8042State {
    #[prost(bytes = "vec", tag = "1")]
    ram: Vec<u8>,
    #[prost(uint32, tag = "2")]
    output: u32,
    /// 0 empty, 1 from the keyboard, 2 from the mouse.
    #[prost(uint32, tag = "3")]
    full: u32,
    /// Two bytes each: the byte and its source.
    #[prost(bytes = "vec", tag = "4")]
    responses: Vec<u8>,
    #[prost(uint32, tag = "5")]
    expecting: u32,
    #[prost(bool, tag = "6")]
    command_last: bool,
    #[prost(bool, tag = "7")]
    a20: bool,
    #[prost(bool, tag = "8")]
    break_seen: bool,
    #[prost(message, optional, tag = "9")]
    keyboard: Option<KeyboardState>,
    #[prost(message, optional, tag = "10")]
    mouse: Option<MouseState>,
    #[prost(bool, tag = "11")]
    keyboard_level: bool,
    #[prost(bool, tag = "12")]
    mouse_level: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyboardState {
    #[prost(bytes = "vec", tag = "1")]
    replies: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    codes: Vec<u8>,
    #[prost(uint32, tag = "3")]
    expecting: u32,
    #[prost(uint32, tag = "4")]
    scan_set: u32,
    #[prost(bool, tag = "5")]
    scanning: bool,
    #[prost(uint32, tag = "6")]
    last_sent: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MouseState {
    #[prost(bytes = "vec", tag = "1")]
    replies: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    packets: Vec<u8>,
    #[prost(uint32, tag = "3")]
    expecting: u32,
    #[prost(uint32, tag = "4")]
    id: u32,
    #[prost(bool, tag = "5")]
    reporting: bool,
    #[prost(bool, tag = "6")]
    remote: bool,
    #[prost(bool, tag = "7")]
    wrap: bool,
    #[prost(bool, tag = "8")]
    scaling_2_1: bool,
    #[prost(uint32, tag = "9")]
    resolution: u32,
    #[prost(uint32, tag = "10")]
    rate: u32,
    #[prost(bytes = "vec", tag = "11")]
    knock: Vec<u8>,
    #[prost(sint32, repeated, tag = "12")]
    motion: Vec<i32>,
    #[prost(uint32, tag = "13")]
    buttons: u32,
    #[prost(uint32, tag = "14")]
    buttons_sent: u32,
    #[prost(uint32, tag = "15")]
    last_sent: u32,
}

fn invalid(field: &'static str, value: u64) -> RestoreError {
    RestoreError::Invalid { device: "i8042", field, value }
}

fn byte(field: &'static str, value: u32) -> Result<u8, RestoreError> {
    Ok(within("i8042", field, value, 0xff)? as u8)
}

fn queue<Q: From<Vec<u8>>>(field: &'static str, bytes: Vec<u8>, limit: usize) -> Result<Q, RestoreError> {
    if bytes.len() > limit {
        return Err(invalid(field, bytes.len() as u64));
    }
    Ok(bytes.into())
}

fn array<T: Copy, const N: usize>(field: &'static str, items: &[T]) -> Result<[T; N], RestoreError> {
    items.try_into().map_err(|_| invalid(field, items.len() as u64))
}

fn source_number(source: Option<Source>) -> u8 {
    match source {
        None => 0,
        Some(Source::Keyboard) => 1,
        Some(Source::Mouse) => 2,
    }
}

fn source(field: &'static str, number: u32) -> Result<Option<Source>, RestoreError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Source::Keyboard)),
        2 => Ok(Some(Source::Mouse)),
        _ => Err(invalid(field, u64::from(number))),
    }
}

fn restore_responses(bytes: &[u8]) -> Result<Vec<(u8, Source)>, RestoreError> {
    if !bytes.len().is_multiple_of(2) || bytes.len() > 2 * controller::RESPONSES_LEN {
        return Err(invalid("responses", bytes.len() as u64));
    }
    let pair = |pair: &[u8]| match source("responses", u32::from(pair[1]))? {
        Some(source) => Ok((pair[0], source)),
        None => Err(invalid("responses", 0)),
    };
    bytes.chunks_exact(2).map(pair).collect()
}

impl Keyboard {
    fn save(&self) -> KeyboardState {
        let Self { replies, codes, expecting, scan_set, scanning, last_sent } = self;
        KeyboardState {
            replies: replies.iter().copied().collect(),
            codes: codes.iter().copied().collect(),
            expecting: u32::from(*expecting),
            scan_set: u32::from(*scan_set),
            scanning: *scanning,
            last_sent: u32::from(*last_sent),
        }
    }

    fn restore(state: KeyboardState) -> Result<Self, RestoreError> {
        if !(1..=2).contains(&state.scan_set) {
            return Err(invalid("keyboard.scan_set", u64::from(state.scan_set)));
        }
        Ok(Keyboard {
            replies: queue("keyboard.replies", state.replies, keyboard::REPLIES_LEN)?,
            codes: queue("keyboard.codes", state.codes, keyboard::QUEUE_LEN)?,
            expecting: byte("keyboard.expecting", state.expecting)?,
            scan_set: state.scan_set as u8,
            scanning: state.scanning,
            last_sent: byte("keyboard.last_sent", state.last_sent)?,
        })
    }
}

impl Mouse {
    fn save(&self) -> MouseState {
        let Self {
            replies,
            packets,
            expecting,
            id,
            reporting,
            remote,
            wrap,
            scaling_2_1,
            resolution,
            rate,
            knock,
            motion,
            buttons,
            buttons_sent,
            last_sent,
        } = self;
        MouseState {
            replies: replies.iter().copied().collect(),
            packets: packets.iter().copied().collect(),
            expecting: u32::from(*expecting),
            id: u32::from(*id),
            reporting: *reporting,
            remote: *remote,
            wrap: *wrap,
            scaling_2_1: *scaling_2_1,
            resolution: u32::from(*resolution),
            rate: u32::from(*rate),
            knock: knock.to_vec(),
            motion: motion.to_vec(),
            buttons: u32::from(*buttons),
            buttons_sent: u32::from(*buttons_sent),
            last_sent: u32::from(*last_sent),
        }
    }

    fn restore(state: MouseState) -> Result<Self, RestoreError> {
        let motion: [i32; 3] = array("mouse.motion", &state.motion)?;
        if let Some(&far) = motion.iter().find(|m| m.unsigned_abs() > mouse::MOTION_LIMIT as u32) {
            return Err(invalid("mouse.motion", u64::from(far as u32)));
        }
        if state.id != 0 && state.id != 3 {
            return Err(invalid("mouse.id", u64::from(state.id)));
        }
        Ok(Mouse {
            replies: queue("mouse.replies", state.replies, mouse::REPLIES_LEN)?,
            packets: queue("mouse.packets", state.packets, mouse::QUEUE_LEN)?,
            expecting: byte("mouse.expecting", state.expecting)?,
            id: state.id as u8,
            reporting: state.reporting,
            remote: state.remote,
            wrap: state.wrap,
            scaling_2_1: state.scaling_2_1,
            resolution: byte("mouse.resolution", state.resolution)?,
            rate: byte("mouse.rate", state.rate)?,
            knock: array("mouse.knock", &state.knock)?,
            motion,
            buttons: within("i8042", "mouse.buttons", state.buttons, 7)? as u8,
            buttons_sent: within("i8042", "mouse.buttons_sent", state.buttons_sent, 7)? as u8,
            last_sent: byte("mouse.last_sent", state.last_sent)?,
        })
    }
}

impl Saved for I8042 {
    type State = I8042State;

    fn save(&self) -> I8042State {
        let Self { controller, keyboard_level, mouse_level } = self;
        let Controller { ram, output, full, responses, expecting, command_last, a20, translator, keyboard, mouse } =
            controller;
        let Translator { break_seen } = translator;
        I8042State {
            ram: ram.to_vec(),
            output: u32::from(*output),
            full: u32::from(source_number(*full)),
            responses: responses.iter().flat_map(|&(byte, source)| [byte, source_number(Some(source))]).collect(),
            expecting: u32::from(*expecting),
            command_last: *command_last,
            a20: *a20,
            break_seen: *break_seen,
            keyboard: Some(keyboard.save()),
            mouse: Some(mouse.save()),
            keyboard_level: *keyboard_level,
            mouse_level: *mouse_level,
        }
    }

    fn restore(&mut self, state: I8042State) -> Result<(), RestoreError> {
        let controller = Controller {
            ram: array("ram", &state.ram)?,
            output: byte("output", state.output)?,
            full: source("full", state.full)?,
            responses: restore_responses(&state.responses)?.into(),
            expecting: byte("expecting", state.expecting)?,
            command_last: state.command_last,
            a20: state.a20,
            translator: Translator { break_seen: state.break_seen },
            keyboard: Keyboard::restore(state.keyboard.ok_or(invalid("keyboard", 0))?)?,
            mouse: Mouse::restore(state.mouse.ok_or(invalid("mouse", 0))?)?,
        };
        *self = I8042 { controller, keyboard_level: state.keyboard_level, mouse_level: state.mouse_level };
        Ok(())
    }
}
