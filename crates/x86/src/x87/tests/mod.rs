//! The unit against the host's own, and what the host cannot be asked.

mod campaign;
mod environments;
mod faults;
pub(crate) mod fixture;
pub(crate) mod native;
mod transcendentals;
pub(crate) mod values;
