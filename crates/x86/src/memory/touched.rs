//! Tables that take host memory from the beginning on.
//!
//! A table of zeros that the host has not given memory for yet is looked at before something is entered, nearly always. Each of its pages is then
//! had twice: as the host's page of zeros, and as a page of its own. Exchanging them makes the host stop all other threads of the
//! process to tell their processors of it, which takes the guest's thread 30 microseconds a page beside a thread that records.

/// Writes `value` to all of `table`.
pub fn touched<T: Copy>(table: &mut [T], value: T) {
    // Writing zeros to zeros would be left out else.
    std::hint::black_box(table).fill(value);
}
