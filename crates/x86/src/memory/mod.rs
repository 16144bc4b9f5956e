//! Memory as a CPU sees it: physical RAM, the software TLB, page walks, and accesses.
//!
//! An access looks its linear page up in the TLB (`tlb`, `contexts`); a hit on RAM is a host load or
//! store (`access`). A miss walks the page tables (`paging`) and fills the TLB. What is
//! not RAM goes to the bus. Writes keep the page facts of `phys` up to date: which pages
//! changed since the last checkpoint, and which hold decoded code. Pages can be absent until someone touches them
//! (`absent`).

pub mod absent;
pub mod access;
pub mod contexts;
mod large_pages;
pub mod lent;
mod look_up;
pub mod paging;
pub mod phys;
pub mod tlb;
pub mod touched;
