//! Saved state: plain structs with numbered fields (protobuf encoding), one a device.
//!
//! `save` destructures the whole device, so that a new field does not compile until it is
//! saved. Fields are numbered for ever: a field can be added, never renumbered or reused.
//!
//! A field that is added must hold its type's default (zero, empty, `None`) in every state that the device could be in
//! before. Such a value is not written, so old states mean what they meant, and digests over states stay as they were. Where
//! power-on has another value, save the difference to it, or an `Option`.

/// Why a saved state was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RestoreError {
    /// A field holds a value that the device can never have.
    #[error(
        "saved state of {device}: field {field} holds {value:#x}, which that device can never have; the file is damaged or was made by another version"
    )]
    Invalid {
        /// The device's name.
        device: &'static str,
        /// The field's name.
        field: &'static str,
        /// What it held.
        value: u64,
    },
}

/// A device whose volatile state can be saved and put back.
pub trait Saved {
    /// The plain struct, with numbered fields.
    type State: prost::Message + Default + Clone + PartialEq + std::fmt::Debug;
    /// Everything that changes while the machine runs. Configuration and wiring are not part of it.
    fn save(&self) -> Self::State;
    /// Puts a saved state into a device of the same configuration.
    ///
    /// # Errors
    /// If a field holds a value that the device can never have; the device is then unchanged.
    fn restore(&mut self, state: Self::State) -> Result<(), RestoreError>;
}

/// Checks that a saved register only has bits of `mask`.
///
/// # Errors
/// [`RestoreError::Invalid`] if it has others.
pub fn within(device: &'static str, field: &'static str, value: u32, mask: u32) -> Result<u32, RestoreError> {
    if value & !mask != 0 {
        return Err(RestoreError::Invalid { device, field, value: u64::from(value) });
    }
    Ok(value)
}
