//! The interrupt fabric of the board: who interrupts whom, and how.

pub mod message;

pub use message::{ApicMessage, DeliveryMode, Destination};
