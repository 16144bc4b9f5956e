//! The unit against the host's own, and what the host cannot be asked.

mod campaign;
mod environments;
mod faults;
mod fixture;
mod native;
mod transcendentals;
mod values;
