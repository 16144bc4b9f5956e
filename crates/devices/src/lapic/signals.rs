//! What an APIC asks of its processor besides interrupts: NMI, INIT and start-up.
//!
//! Bounded by merging as the hardware does. Two NMIs are remembered, not one: the first counts
//! as already on its way into its handler when the second is latched.

/// A request to the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuSignal {
    /// Reset to the wait-for-SIPI state (the bootstrap processor: to the reset vector).
    Init,
    /// Start in real mode at page `.0`, if waiting for SIPI; else to be ignored.
    Sipi(u8),
    /// A non-maskable interrupt.
    Nmi,
}

/// The requests that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// An INIT waits.
    pub init: bool,
    /// A start-up waits. The first one counts.
    pub sipi: Option<u8>,
    /// How many NMIs wait, at most [`Self::MOST_NMIS`].
    pub nmis: u8,
}

impl Signals {
    /// One on its way into its handler, one latched behind it.
    pub const MOST_NMIS: u8 = 2;

    /// Adds a request. An INIT makes those before it pointless.
    pub fn add(&mut self, signal: CpuSignal) {
        match signal {
            CpuSignal::Init => *self = Signals { init: true, ..Signals::default() },
            CpuSignal::Sipi(page) => self.sipi = self.sipi.or(Some(page)),
            CpuSignal::Nmi => self.nmis = (self.nmis + 1).min(Self::MOST_NMIS),
        }
    }

    /// The next request: INIT, then start-up, then NMI.
    pub fn peek(&self) -> Option<CpuSignal> {
        if self.init {
            return Some(CpuSignal::Init);
        }
        self.sipi.map(CpuSignal::Sipi).or((self.nmis > 0).then_some(CpuSignal::Nmi))
    }

    /// Takes the next request out.
    pub fn take(&mut self) -> Option<CpuSignal> {
        let next = self.peek()?;
        match next {
            CpuSignal::Init => self.init = false,
            CpuSignal::Sipi(_) => self.sipi = None,
            CpuSignal::Nmi => self.nmis -= 1,
        }
        Some(next)
    }
}
