//! Saving, restoring and digesting a whole machine.

use devices::{RestoreError, Saved};

use prost::Message;
use x86::save::{CpuState, InvalidState};

use crate::board::BoardState;
use crate::clock::Clock;
use crate::machine::Machine;
use crate::memory_map::PAGE_BYTES;
use crate::page_hashes::PageHashes;
use crate::ram::RamError;
use crate::turns::Turns;

/// A number of steps that no run reaches, far from where adding to it could overflow.
const COUNT_LIMIT: u64 = 1 << 62;

/// Everything in a machine but its RAM and its configuration.
#[derive(Clone, PartialEq, Message)]
pub struct MachineState {
    /// The vCPUs.
    #[prost(message, repeated, tag = "1")]
    pub vcpus: Vec<CpuState>,
    /// The devices.
    #[prost(message, optional, tag = "2")]
    pub board: Option<BoardState>,
    /// Virtual time at `clock_since`, in units of 1/840 ns.
    #[prost(uint64, tag = "3")]
    pub clock_base: u64,
    /// Step count of the vCPU whose turn it is, at `clock_base`.
    #[prost(uint64, tag = "4")]
    pub clock_since: u64,
    /// Units of virtual time a step.
    #[prost(uint64, tag = "5")]
    pub clock_rate: u64,
    /// The vCPU whose turn it is.
    #[prost(uint32, tag = "6")]
    pub turn_vcpu: u32,
    /// The step count before which its turn ends.
    #[prost(uint64, tag = "7")]
    pub turn_end: u64,
    /// The turn was given up early.
    #[prost(bool, tag = "8")]
    pub turn_over: bool,
    /// The state of the generator that draws turns, under chaos.
    #[prost(uint64, optional, tag = "9")]
    pub chaos: Option<u64>,
}

/// The digest of a whole machine: BLAKE3 over its saved state and its RAM, see [`crate::page_hashes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Why a saved machine cannot be put back.
#[derive(Debug, thiserror::Error)]
pub enum MachineRestoreError {
    /// A vCPU.
    #[error(transparent)]
    Cpu(#[from] InvalidState),
    /// A device.
    #[error(transparent)]
    Device(#[from] RestoreError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The state is that of another machine.
    #[error(
        "the saved machine has {saved} vCPUs and {saved_ram} bytes of RAM, this one {here} and {here_ram}: use the configuration it was saved with"
    )]
    OtherMachine {
        /// vCPUs in the saved state.
        saved: usize,
        /// Bytes of RAM in the saved state.
        saved_ram: usize,
        /// vCPUs of this machine.
        here: usize,
        /// Bytes of RAM of this machine.
        here_ram: usize,
    },
    /// Clock or turn.
    #[error("the saved machine's clock or turn is impossible; the file is damaged")]
    Clock,
}

impl Machine {
    /// Everything but RAM ([`Machine::ram_bytes`]) and configuration.
    pub fn save(&self) -> MachineState {
        let (clock_base, clock_since, clock_rate) = self.clock.parts();
        let Turns { vcpu, end, over, chaos } = self.turns;
        MachineState {
            vcpus: self.vcpus.iter().map(|vcpu| vcpu.save()).collect(),
            board: Some(self.board.save()),
            clock_base,
            clock_since,
            clock_rate,
            turn_vcpu: vcpu as u32,
            turn_end: end.0,
            turn_over: over,
            chaos,
        }
    }

    /// All of RAM, low part first.
    ///
    /// # Panics
    /// If pages are absent and cannot be had; who may have such a machine loads them before
    /// ([`Machine::load_absent_pages`]) or looks at single pages ([`Machine::ram_page`]).
    pub fn ram_bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// Puts a saved state and its RAM into a machine of the same configuration.
    ///
    /// # Errors
    /// If the state is not one that such a machine can have; the machine is then not usable.
    pub fn restore(&mut self, state: MachineState, ram: &[u8]) -> Result<(), MachineRestoreError> {
        self.check_fits(state.vcpus.len(), ram.len())?;
        self.restore_state(state)?;
        self.ram.write(0, ram)?;
        self.memory.make_present(0..self.ram.len() as u64 / PAGE_BYTES);
        self.memory.take_lost_page();
        self.forget_ram();
        Ok(())
    }

    /// `Err` unless a machine with as many vCPUs and bytes of RAM is like this one.
    pub(crate) fn check_fits(&self, saved: usize, saved_ram: usize) -> Result<(), MachineRestoreError> {
        let (here, here_ram) = (self.vcpus.len(), self.ram.len());
        if (saved, saved_ram) == (here, here_ram) {
            return Ok(());
        }
        Err(MachineRestoreError::OtherMachine { saved, saved_ram, here, here_ram })
    }

    /// Puts back all but RAM; `state` has as many vCPUs as the machine.
    pub(crate) fn restore_state(&mut self, state: MachineState) -> Result<(), MachineRestoreError> {
        let vcpu = state.turn_vcpu as usize;
        let clock = Clock::from_parts(state.clock_base, state.clock_since, state.clock_rate);
        let count = state.vcpus.get(vcpu).map(|vcpu| vcpu.count);
        let (Some(clock), true) = (clock, count.is_some_and(|count| count >= state.clock_since)) else {
            return Err(MachineRestoreError::Clock);
        };
        let counts = state.vcpus.iter().try_fold(0_u64, |sum, vcpu| sum.checked_add(vcpu.count));
        if counts.is_none_or(|sum| sum >= COUNT_LIMIT) {
            return Err(MachineRestoreError::Clock);
        }
        for (vcpu, state) in self.vcpus.iter_mut().zip(state.vcpus) {
            vcpu.restore(&state)?;
        }
        self.board.restore(state.board.unwrap_or_default())?;
        self.clock = clock;
        self.turns = Turns { vcpu, end: x86::InsnCount(state.turn_end), over: state.turn_over, chaos: state.chaos };
        Ok(())
    }

    /// RAM was replaced: nothing that was known of its pages holds any more.
    pub(crate) fn forget_ram(&mut self) {
        self.forget_code();
        self.memory.mark_all_dirty();
    }

    /// The digest of CPU, RAM, devices and clock. It reads all RAM that the guest has used; whoever asks often keeps
    /// [`PageHashes`] and says which pages changed.
    ///
    /// # Panics
    /// As [`Machine::ram_bytes`].
    pub fn digest(&self) -> Digest {
        let everything = 0..self.ram.len() as u64 / PAGE_BYTES;
        // A host that does not say which pages it holds makes this slower, not wrong.
        let populated = self.populated_pages().unwrap_or(vec![everything]);
        PageHashes::of_pages(self, populated).digest(&self.save())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Machine, MachineConfig};

    fn machine() -> Machine {
        Machine::new(MachineConfig::new(64 << 20)).expect("a small machine")
    }

    #[test]
    fn what_is_not_in_a_saved_state_is_as_at_power_on() {
        let mut machine = machine();
        let power_on = machine.digest();
        machine.input(crate::Input::SerialByte(b'a'));
        machine.input(crate::Input::Key(vec![0x1c]));
        assert_ne!(machine.digest(), power_on);
        let mut state = machine.save();
        let ram = machine.ram_bytes().to_vec();
        state.board = None;
        machine.restore(state.clone(), &ram).expect("a state without devices");
        assert_eq!(machine.digest(), power_on);
        state.board = Some(crate::board::BoardState::default());
        machine.restore(state, &ram).expect("a state without any device's state");
        assert_eq!(machine.digest(), power_on);
    }

    #[test]
    fn the_digest_sees_where_bytes_lie_and_not_which_pages_the_host_holds() {
        let (empty, mut touched, mut low, mut high) = (machine(), machine(), machine(), machine());
        touched.ram.write(0x20_0000, &[0; 8192]).expect("within RAM");
        assert_eq!(empty.digest(), touched.digest());
        low.ram.write(0x20_0000, &[1]).expect("within RAM");
        high.ram.write(0x20_1000, &[1]).expect("within RAM");
        assert_ne!(low.digest(), high.digest());
        assert_ne!(empty.digest(), low.digest());
        low.ram.write(0x20_0000, &[0]).expect("within RAM");
        assert_eq!(empty.digest(), low.digest());
    }
}
