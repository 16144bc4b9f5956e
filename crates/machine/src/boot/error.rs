//! What can go wrong while a kernel is put into RAM: each error is one sentence a person can act on.

use x86::GuestPhysAddr;

use crate::ram::RamError;

/// Why a machine could not be made ready to start a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The file is of no kind that can be started.
    #[error(
        "cannot start {kernel}: it is no Linux bzImage, multiboot 1, PVH or 64-bit ELF kernel; give one of those (Debian's are /boot/vmlinuz-*)"
    )]
    UnknownFormat {
        /// The kernel's path.
        kernel: String,
    },
    /// The file ends in the middle of something.
    #[error("cannot load {kernel}: the file ends inside its {what}; it is cut short or damaged, get it again")]
    Truncated {
        /// The kernel's path.
        kernel: String,
        /// What was being read.
        what: &'static str,
    },
    /// A header says something that no sound kernel says, or that this machine does not offer.
    #[error("cannot load {kernel} as {format}: {problem}")]
    BadKernel {
        /// The kernel's path.
        kernel: String,
        /// The format it was taken for.
        format: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The machine has too little RAM.
    #[error(
        "cannot place the {what} of {len_bytes} bytes in guest RAM; give the machine more RAM (--memory) or a smaller {what}"
    )]
    NoRoom {
        /// What was to be placed.
        what: &'static str,
        /// Its size.
        len_bytes: u64,
    },
    /// The kernel wants to lie where the machine has no RAM.
    #[error(
        "cannot load {kernel}: its {what} belongs at {start:#x} to {end:#x}, where the machine has no free RAM; give it more RAM (--memory) if that lies beyond its end"
    )]
    NotRam {
        /// The kernel's path.
        kernel: String,
        /// Which part of it.
        what: &'static str,
        /// First address.
        start: u64,
        /// End, exclusive.
        end: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel command line has {len} bytes, but {kernel} takes at most {max}; shorten --append")]
    CommandLineTooLong {
        /// The kernel's path.
        kernel: String,
        /// Bytes of the command line.
        len: usize,
        /// What the kernel takes.
        max: usize,
    },
    /// The command line cannot be handed over as a C string.
    #[error("the kernel command line or a file name contains a NUL character; remove it")]
    CommandLineNul,
    /// An initrd is empty, which is never meant.
    #[error("the initrd {name} is empty; give a file with content or leave out --initrd")]
    EmptyInitrd {
        /// Its name.
        name: String,
    },
    /// RAM could not be written where a loader wanted to write.
    #[error("cannot write {len} bytes to guest-physical address {at:#x}: there is no RAM", at = .at.0)]
    WriteOutsideRam {
        /// Where.
        at: GuestPhysAddr,
        /// How many bytes.
        len: usize,
    },
    /// The mapping refused the copy.
    #[error(transparent)]
    Ram(#[from] RamError),
}
