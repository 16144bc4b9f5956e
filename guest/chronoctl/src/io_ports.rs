//! The processor's I/O ports, opened for this process.
#![allow(unsafe_code, reason = "asking the kernel for I/O ports, and using them")]

use std::arch::asm;
use std::io;

use crate::control::Ports;
use crate::protocol::{PORT_BASE, PORT_COUNT};

/// The device's ports; whoever has the value may use them.
pub struct IoPorts(());

impl IoPorts {
    /// Opens the ports.
    ///
    /// # Errors
    /// What the kernel says; the user's permissions are the usual reason (ioperm(2)).
    pub fn open() -> io::Result<IoPorts> {
        // SAFETY: ioperm takes three numbers and touches no memory of this process.
        let refused = unsafe { libc::ioperm(PORT_BASE.into(), PORT_COUNT.into(), 1) } != 0;
        if refused {
            return Err(io::Error::last_os_error());
        }
        Ok(IoPorts(()))
    }
}

impl Ports for IoPorts {
    fn read_dword(&mut self, offset: u16) -> u32 {
        let port = PORT_BASE + offset;
        let value: u32;
        // SAFETY: IN changes EAX alone. The port was opened by `IoPorts::open`, the only maker of this
        // type; were `offset` outside the range, the process would get a signal and nothing else.
        unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
        value
    }

    fn write_byte(&mut self, offset: u16, value: u8) {
        let port = PORT_BASE + offset;
        // SAFETY: OUT changes no register and no memory. As for the port, see `read_dword`. What
        // the device does with it is asked of the host: it has no way into this process's memory.
        unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
    }
}
