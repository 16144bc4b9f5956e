//! The saved state of the interval timer.

use super::Pit;
use crate::pit::chip::{Access, Channel, Element, Latch, Load};
use crate::pit::counting::Mode;
use crate::{RestoreError, Saved};

/// Saved state of the timer; the fields are those of [`Pit`].
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)]
pub struct PitState {
    #[prost(message, repeated, tag = "1")]
    pub channels: Vec<ChannelState>,
    #[prost(uint32, tag = "2")]
    pub port_b: u32,
    #[prost(bool, tag = "3")]
    pub connected: bool,
    #[prost(bool, tag = "4")]
    pub driven: bool,
    #[prost(uint64, tag = "5")]
    pub change_at: u64,
}

/// Saved state of one channel; the fields are those of [`Channel`].
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)]
pub struct ChannelState {
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    #[prost(bool, tag = "2")]
    pub bcd: bool,
    #[prost(uint32, tag = "3")]
    pub access: u32,
    #[prost(bool, tag = "4")]
    pub gate: bool,
    #[prost(uint32, optional, tag = "5")]
    pub written: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub first_byte: Option<u32>,
    #[prost(bool, tag = "7")]
    pub read_high: bool,
    #[prost(uint32, optional, tag = "8")]
    pub latch_value: Option<u32>,
    #[prost(bool, tag = "9")]
    pub latch_low_done: bool,
    #[prost(uint32, optional, tag = "10")]
    pub status: Option<u32>,
    #[prost(uint64, tag = "11")]
    pub count: u64,
    /// One of this and the next two.
    #[prost(uint32, optional, tag = "12")]
    pub held: Option<u32>,
    #[prost(uint64, optional, tag = "13")]
    pub running: Option<u64>,
    #[prost(uint64, optional, tag = "14")]
    pub paused: Option<u64>,
    #[prost(uint64, optional, tag = "15")]
    pub load_at: Option<u64>,
    #[prost(bool, tag = "16")]
    pub load_low_half: bool,
    #[prost(bool, tag = "17")]
    pub loaded: bool,
}

impl Saved for Pit {
    type State = PitState;

    fn save(&self) -> PitState {
        let Self { channels, port_b, connected, driven, change_at } = self;
        PitState {
            channels: channels.iter().map(save_channel).collect(),
            port_b: (*port_b).into(),
            connected: *connected,
            driven: *driven,
            change_at: *change_at,
        }
    }

    fn restore(&mut self, state: PitState) -> Result<(), RestoreError> {
        let PitState { channels, port_b, connected, driven, change_at } = state;
        let count = channels.len() as u64;
        let channels = channels.into_iter().map(restore_channel).collect::<Result<Vec<_>, _>>()?;
        let channels = channels.try_into().map_err(|_| invalid("channels (count)", count))?;
        if port_b & !u32::from(super::PORT_B_WRITABLE) != 0 {
            return Err(invalid("port_b", port_b.into()));
        }
        *self = Pit { channels, port_b: port_b as u8, connected, driven, change_at };
        Ok(())
    }
}

fn save_channel(channel: &Channel) -> ChannelState {
    let Channel {
        mode,
        bcd,
        access,
        gate,
        written,
        first_byte,
        read_high,
        latch,
        status,
        count,
        element,
        load,
        loaded,
    } = *channel;
    let mut state = ChannelState {
        mode: mode as u32,
        bcd,
        access: access as u32,
        gate,
        written: written.map(u32::from),
        first_byte: first_byte.map(u32::from),
        read_high,
        latch_value: latch.map(|latch| latch.value.into()),
        latch_low_done: latch.is_some_and(|latch| latch.low_done),
        status: status.map(u32::from),
        count,
        held: None,
        running: None,
        paused: None,
        load_at: load.map(|load| load.at),
        load_low_half: load.is_some_and(|load| load.low_half),
        loaded,
    };
    match element {
        Element::Held(value) => state.held = Some(value.into()),
        Element::Running(start) => state.running = Some(start),
        Element::Paused(elapsed) => state.paused = Some(elapsed),
    }
    state
}

fn restore_channel(state: ChannelState) -> Result<Channel, RestoreError> {
    let byte =
        |field, value: Option<u32>| value.map(|v| u8::try_from(v).map_err(|_| invalid(field, v.into()))).transpose();
    let word =
        |field, value: Option<u32>| value.map(|v| u16::try_from(v).map_err(|_| invalid(field, v.into()))).transpose();
    let element = match (word("held", state.held)?, state.running, state.paused) {
        (Some(value), None, None) => Element::Held(value),
        (None, Some(start), None) => Element::Running(start),
        (None, None, Some(elapsed)) => Element::Paused(elapsed),
        _ => return Err(invalid("held, running, paused (one of them)", 0)),
    };
    let latch = word("latch_value", state.latch_value)?;
    Ok(Channel {
        mode: match state.mode {
            mode @ 0..6 => Mode::from_bits(mode as u8),
            mode => return Err(invalid("mode", mode.into())),
        },
        bcd: state.bcd,
        access: match state.access {
            1 => Access::Low,
            2 => Access::High,
            3 => Access::Both,
            access => return Err(invalid("access", access.into())),
        },
        gate: state.gate,
        written: word("written", state.written)?,
        first_byte: byte("first_byte", state.first_byte)?,
        read_high: state.read_high,
        latch: latch.map(|value| Latch { value, low_done: state.latch_low_done }),
        status: byte("status", state.status)?,
        count: match state.count {
            count @ 1..=0x1_0000 => count,
            count => return Err(invalid("count", count)),
        },
        element,
        load: state.load_at.map(|at| Load { at, low_half: state.load_low_half }),
        loaded: state.loaded,
    })
}

fn invalid(field: &'static str, value: u64) -> RestoreError {
    RestoreError::Invalid { device: "pit", field, value }
}
