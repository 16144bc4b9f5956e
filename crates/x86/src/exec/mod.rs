//! The integer instructions, a file a family.

pub mod stack;
