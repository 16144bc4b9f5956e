//! How a run can end, and the exit status that says so.
//!
//! Every status of our own is even. A debug exit is always odd (QEMU's rule,
//! `(value << 1) | 1`), so the two never meet.

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest powered the machine off.
    PowerOff,
    /// A vCPU met a fault while it delivered a double fault.
    TripleFault,
    /// The instruction count asked for was reached.
    MaxInsns,
    /// Ctrl-A X, or SIGINT, SIGTERM or SIGHUP.
    Quit,
    /// Every vCPU is halted, no timer is set, and no input will come.
    HaltedForEver,
    /// The guest reset the machine, and the session was told not to start it again.
    Reset,
    /// The guest wrote to the debug exit port; this is the exit status, `(value << 1) | 1`.
    DebugExit(u8),
}

/// The exit status when a replay went another way than its recording.
pub const STATUS_DIFFERENT: u8 = 1;
/// The exit status for a kernel, an initrd or an option that cannot be used.
pub const STATUS_BAD_REQUEST: u8 = 2;
/// The exit status when the host failed: the console cannot be written, memory ran out.
pub const STATUS_HOST_FAILURE: u8 = 4;

impl Ending {
    /// The exit status of the process.
    pub const fn status(self) -> u8 {
        match self {
            Ending::PowerOff => 0,
            Ending::TripleFault => 6,
            Ending::MaxInsns => 8,
            Ending::Quit => 10,
            Ending::HaltedForEver => 12,
            Ending::Reset => 14,
            Ending::DebugExit(status) => status,
        }
    }

    /// A fixed name for programs to read.
    pub const fn name(self) -> &'static str {
        match self {
            Ending::PowerOff => "power-off",
            Ending::TripleFault => "triple-fault",
            Ending::MaxInsns => "max-insns",
            Ending::Quit => "quit",
            Ending::HaltedForEver => "halted",
            Ending::Reset => "reset",
            Ending::DebugExit(_) => "debug-exit",
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::PowerOff => f.write_str("the guest powered off"),
            Ending::TripleFault => f.write_str("the guest stopped with a triple fault"),
            Ending::MaxInsns => f.write_str("stopped at --max-insns"),
            Ending::Quit => f.write_str("stopped by the user"),
            Ending::HaltedForEver => {
                f.write_str("the guest is halted for ever: no timer is set and no input will come")
            }
            Ending::Reset => f.write_str("the guest reset the machine"),
            Ending::DebugExit(status) => write!(f, "the guest asked for exit status {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_of_ours_is_odd() {
        let ours = [Ending::TripleFault, Ending::MaxInsns, Ending::Quit, Ending::HaltedForEver, Ending::Reset];
        for ending in ours {
            assert!(ending.status() != 0 && ending.status() % 2 == 0, "{ending:?}");
        }
        assert_eq!(Ending::PowerOff.status(), 0);
        assert_eq!((STATUS_BAD_REQUEST % 2, STATUS_HOST_FAILURE % 2), (0, 0));
    }
}
