//! The saved state of a local APIC.

use x86::VirtualTime;

use super::{BASE_VALID, LocalApic};
use crate::lapic::chip::{Chip, bit};
use crate::lapic::command;
use crate::lapic::registers::{DIVIDE_WRITABLE, LVT_WRITABLE, SVR_WRITABLE};
use crate::lapic::signals::Signals;
use crate::lapic::timer::Timer;
use crate::lapic::vectors::Vectors;
use crate::{RestoreError, Saved};

/// Saved state of a local APIC; the fields are those of [`Chip`] and [`Timer`].
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)]
pub struct LocalApicState {
    #[prost(uint64, tag = "1")]
    pub base: u64,
    #[prost(uint32, tag = "2")]
    pub id: u32,
    #[prost(uint32, tag = "3")]
    pub tpr: u32,
    #[prost(uint32, tag = "4")]
    pub logical_id: u32,
    #[prost(uint32, tag = "5")]
    pub model: u32,
    #[prost(uint32, tag = "6")]
    pub spurious: u32,
    #[prost(fixed32, repeated, tag = "7")]
    pub in_service: Vec<u32>,
    #[prost(fixed32, repeated, tag = "8")]
    pub level_triggered: Vec<u32>,
    #[prost(fixed32, repeated, tag = "9")]
    pub requests: Vec<u32>,
    #[prost(uint32, tag = "10")]
    pub error_status: u32,
    #[prost(uint32, tag = "11")]
    pub errors: u32,
    #[prost(uint64, tag = "12")]
    pub command: u64,
    #[prost(uint32, repeated, tag = "13")]
    pub locals: Vec<u32>,
    #[prost(uint32, tag = "14")]
    pub timer_divide_config: u32,
    #[prost(uint32, tag = "15")]
    pub timer_initial: u32,
    /// In units of [`VirtualTime`].
    #[prost(uint64, tag = "16")]
    pub timer_expiry: u64,
    #[prost(uint64, tag = "17")]
    pub timer_tsc_deadline: u64,
    #[prost(uint64, tag = "18")]
    pub timer_tsc_offset: u64,
    #[prost(bool, tag = "19")]
    pub lint0: bool,
    #[prost(bool, tag = "20")]
    pub lint1: bool,
    #[prost(bool, tag = "21")]
    pub ext_int: bool,
    #[prost(bool, tag = "22")]
    pub signal_init: bool,
    #[prost(uint32, optional, tag = "23")]
    pub signal_sipi: Option<u32>,
    #[prost(uint32, tag = "24")]
    pub signal_nmis: u32,
}

impl Saved for LocalApic {
    type State = LocalApicState;

    fn save(&self) -> LocalApicState {
        let Self {
            chip:
                Chip {
                    initial_id: _,
                    base,
                    id,
                    tpr,
                    logical_id,
                    model,
                    spurious,
                    in_service,
                    level_triggered,
                    requests,
                    error_status,
                    errors,
                    command,
                    locals,
                    timer: Timer { divide_config, initial, expiry, tsc_deadline, tsc_offset },
                    lint0,
                    lint1,
                    ext_int,
                    signals: Signals { init, sipi, nmis },
                },
        } = self;
        LocalApicState {
            base: *base,
            id: (*id).into(),
            tpr: (*tpr).into(),
            logical_id: (*logical_id).into(),
            model: (*model).into(),
            spurious: *spurious,
            in_service: in_service.0.to_vec(),
            level_triggered: level_triggered.0.to_vec(),
            requests: requests.0.to_vec(),
            error_status: (*error_status).into(),
            errors: (*errors).into(),
            command: *command,
            locals: locals.to_vec(),
            timer_divide_config: (*divide_config).into(),
            timer_initial: *initial,
            timer_expiry: expiry.units(),
            timer_tsc_deadline: *tsc_deadline,
            timer_tsc_offset: *tsc_offset,
            lint0: *lint0,
            lint1: *lint1,
            ext_int: *ext_int,
            signal_init: *init,
            signal_sipi: sipi.map(u32::from),
            signal_nmis: (*nmis).into(),
        }
    }

    fn restore(&mut self, state: LocalApicState) -> Result<(), RestoreError> {
        let modes = state.base & (bit::BASE_ENABLED | bit::BASE_X2APIC);
        if state.base & !BASE_VALID != 0 || modes == bit::BASE_X2APIC {
            return Err(invalid("base", state.base));
        }
        let byte = |field, value: u32, allowed: u32| Ok(checked(field, value, allowed)? as u8);
        let chip = Chip {
            initial_id: self.chip.initial_id,
            base: state.base,
            id: byte("id", state.id, 0xff)?,
            tpr: byte("tpr", state.tpr, 0xff)?,
            logical_id: byte("logical_id", state.logical_id, 0xff)?,
            model: byte("model", state.model, 0xf)?,
            spurious: checked("spurious", state.spurious, SVR_WRITABLE)?,
            in_service: vectors("in_service", state.in_service)?,
            level_triggered: vectors("level_triggered", state.level_triggered)?,
            requests: vectors("requests", state.requests)?,
            error_status: byte("error_status", state.error_status, 0xff)?,
            errors: byte("errors", state.errors, 0xff)?,
            command: (state.command as u32 & !command::WRITABLE == 0)
                .then_some(state.command)
                .ok_or(invalid("command", state.command))?,
            locals: locals(state.locals)?,
            timer: Timer {
                divide_config: byte("timer_divide_config", state.timer_divide_config, DIVIDE_WRITABLE)?,
                initial: state.timer_initial,
                expiry: VirtualTime::from_units(state.timer_expiry),
                tsc_deadline: state.timer_tsc_deadline,
                tsc_offset: state.timer_tsc_offset,
            },
            lint0: state.lint0,
            lint1: state.lint1,
            ext_int: state.ext_int,
            signals: Signals {
                init: state.signal_init,
                sipi: state.signal_sipi.map(|page| byte("signal_sipi", page, 0xff)).transpose()?,
                nmis: byte("signal_nmis", state.signal_nmis, 3)?.min(Signals::MOST_NMIS),
            },
        };
        self.chip = chip;
        Ok(())
    }
}

fn invalid(field: &'static str, value: u64) -> RestoreError {
    RestoreError::Invalid { device: "lapic", field, value }
}

fn checked(field: &'static str, value: u32, allowed: u32) -> Result<u32, RestoreError> {
    if value & !allowed == 0 { Ok(value) } else { Err(invalid(field, value.into())) }
}

fn vectors(field: &'static str, words: Vec<u32>) -> Result<Vectors, RestoreError> {
    let count = words.len() as u64;
    words.try_into().map(Vectors).map_err(|_| invalid(field, count))
}

fn locals(words: Vec<u32>) -> Result<[u32; LVT_WRITABLE.len()], RestoreError> {
    let count = words.len() as u64;
    let words: [u32; LVT_WRITABLE.len()] = words.try_into().map_err(|_| invalid("locals (count)", count))?;
    for (word, writable) in words.iter().zip(LVT_WRITABLE) {
        checked("locals", *word, writable | bit::LVT_REMOTE_IRR)?;
    }
    Ok(words)
}
