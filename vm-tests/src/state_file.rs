//! A saved machine as a file, so that another process can go on with it.

use std::path::Path;

use anyhow::{Context, Result};
use machine::Machine;
use machine::save::MachineState;
use prost::Message;

/// Writes the state of a machine, RAM included.
///
/// # Errors
/// If the file cannot be written.
pub fn write(machine: &Machine, path: &Path) -> Result<()> {
    let state = machine.save().encode_to_vec();
    let mut bytes = (state.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&state);
    bytes.extend_from_slice(machine.ram_bytes());
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Puts the state in a file into a machine of the same configuration.
///
/// # Errors
/// If the file cannot be read or holds no state of such a machine.
pub fn read(machine: &mut Machine, path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (len, rest) = bytes.split_first_chunk().context("the file is too short")?;
    let (state, ram) = rest.split_at_checked(u64::from_le_bytes(*len) as usize).context("the file is too short")?;
    let state = MachineState::decode(state).context("the file holds no state of a machine")?;
    Ok(machine.restore(state, ram)?)
}
