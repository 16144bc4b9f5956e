//! What a BIOS leaves for code in real mode: interrupt vectors that lead somewhere, the timer tick,
//! and a reset behind the power-on entry. There are no BIOS services: every other vector returns at once.
//!
//! The entry points have the addresses that the IBM PC gave them and that BIOSes have kept since.

use x86::GuestPhysAddr;

use super::placement::Placement;
use super::{BootError, GuestRamWriter};

/// Where the code is: the segment that ends at 1 MiB.
const SEGMENT: u16 = 0xf000;
/// The entry that does nothing: IRET.
const DUMMY: (u16, &[u8]) = (0xff53, &[0xcf]);
/// The vector of the timer's interrupt, line 0 of the first 8259.
const TIMER_VECTOR: usize = 8;
/// The timer tick: counts at 0000:046C, offers INT 1Ch, ends the interrupt.
const TICK: (u16, &[u8]) = (
    0xfea5,
    &[
        0x50, // push ax
        0x1e, // push ds
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x66, 0xff, 0x06, 0x6c, 0x04, // inc dword [46Ch]
        0xcd, 0x1c, // int 1Ch
        0xb0, 0x20, // mov al, 20h
        0xe6, 0x20, // out 20h, al
        0x1f, // pop ds
        0x58, // pop ax
        0xcf, // iret
    ],
);
/// Start after power-on, which on a machine already started is a reset by port CF9.
const START: (u16, &[u8]) = (
    0xe05b,
    &[
        0xba, 0xf9, 0x0c, // mov dx, CF9h
        0xb0, 0x06, // mov al, 6
        0xee, // out dx, al
        0xf4, // hlt
    ],
);
/// The power-on entry: a far jump to the start.
const ENTRY: (u16, &[u8]) = (0xfff0, &[0xea, 0x5b, 0xe0, 0x00, 0xf0]);

/// Writes the code, and the vectors unless the kernel itself lies there.
pub(super) fn write(ram: &mut dyn GuestRamWriter, placement: &mut Placement) -> Result<(), BootError> {
    for (offset, code) in [DUMMY, TICK, START, ENTRY] {
        ram.write(GuestPhysAddr(u64::from(SEGMENT) * 16 + u64::from(offset)), code)?;
    }
    let vector = |offset: u16| (u32::from(SEGMENT) << 16 | u32::from(offset)).to_le_bytes();
    let mut vectors = [vector(DUMMY.0); 256];
    vectors[TIMER_VECTOR] = vector(TICK.0);
    let vectors = vectors.as_flattened();
    if placement.take(0, vectors.len() as u64) {
        ram.write(GuestPhysAddr(0), vectors)?;
    }
    Ok(())
}
