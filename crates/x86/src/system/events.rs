//! Delivery of exceptions and interrupts: side effects, error codes, and what happens when
//! a delivery itself faults (SDM Vol. 3A, chapter 6). How a handler is entered is the
//! business of [`super::gates`].
//!
//! Nothing of a delivery that faults is seen but memory it wrote below the stack pointer and
//! accessed bits: registers change at its end.

use super::debug::{DR6_B, DR6_BD, DR6_BS, DR7_GD};
use crate::fault::{Exception, Trap, vector};
use crate::flags;
use crate::op::Env;
use crate::vcpu::{Activity, Shadow, Vcpu};

/// A triple fault: the vCPU stops until reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown;

/// What enters a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Vector.
    pub vector: u8,
    /// Error code to push.
    pub error_code: Option<u32>,
    /// INT n, INT3 or INTO: the gate's DPL counts.
    pub software: bool,
    /// RIP to push.
    pub return_rip: u64,
    /// RFLAGS to push.
    pub flags: u64,
}

/// Classes of exceptions (SDM Vol. 3A, table 6-4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(vector: u8) -> Class {
    match vector {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP => Class::Contributory,
        vector::PF => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// The exception that `second`, raised while `first` was delivered, leads to (table 6-5).
fn combine(first: u8, second: Exception) -> Result<Exception, Shutdown> {
    let double = Exception { vector: vector::DF, error_code: Some(0), ..Exception::default() };
    match (class(first), class(second.vector)) {
        (Class::Contributory, Class::Contributory) => Ok(double),
        (Class::PageFault, Class::Contributory | Class::PageFault) => Ok(double),
        (Class::DoubleFault, Class::Contributory | Class::PageFault) => Err(Shutdown),
        _ => Ok(second),
    }
}

impl Vcpu {
    /// Delivers the exception in `self.fault`; `self.rip` is the RIP to return to. CR2, DR6
    /// and DR7.GD change with it.
    ///
    /// A fault during the delivery is delivered in its place, or as a double fault.
    ///
    /// # Errors
    /// A triple fault: `self.activity` is then [`Activity::Shutdown`].
    pub fn deliver_fault(&mut self, env: &mut Env<'_>) -> Result<(), Shutdown> {
        let mut exception = self.fault;
        // Breakpoints that the faulting instruction met on its way are not reported.
        self.debug_pending = 0;
        loop {
            self.note_exception(&exception);
            let event = Event {
                vector: exception.vector,
                error_code: exception.error_code,
                software: false,
                return_rip: self.rip,
                flags: self.rflags() | if pushes_rf(&exception) { flags::RF } else { 0 },
            };
            if self.enter_handler(env, &event).is_ok() {
                return Ok(());
            }
            match combine(exception.vector, self.nested_fault()) {
                Ok(next) => exception = next,
                Err(shutdown) => {
                    self.activity = Activity::Shutdown;
                    return Err(shutdown);
                }
            }
        }
    }

    /// Delivers an external interrupt.
    ///
    /// # Errors
    /// A triple fault, as [`Self::deliver_fault`].
    pub fn deliver_interrupt(&mut self, env: &mut Env<'_>, vector: u8) -> Result<(), Shutdown> {
        self.deliver_external(env, vector)
    }

    /// Delivers an NMI; NMIs are blocked until the next IRET.
    ///
    /// # Errors
    /// A triple fault, as [`Self::deliver_fault`].
    pub fn deliver_nmi(&mut self, env: &mut Env<'_>) -> Result<(), Shutdown> {
        self.nmi_blocked = true;
        self.deliver_external(env, vector::NMI)
    }

    fn deliver_external(&mut self, env: &mut Env<'_>, vector: u8) -> Result<(), Shutdown> {
        let event = Event { vector, error_code: None, software: false, return_rip: self.rip, flags: self.rflags() };
        if self.enter_handler(env, &event).is_ok() {
            return Ok(());
        }
        // Interrupts are benign: a fault during their delivery is delivered as itself.
        self.fault = self.nested_fault();
        self.deliver_fault(env)
    }

    /// Delivers INT1, which is a debug exception without bits in DR6 and without regard to
    /// the gate's DPL; `self.rip` is the RIP to return to.
    ///
    /// # Errors
    /// A fault during the delivery; nothing has changed then.
    pub(crate) fn deliver_int1(&mut self, env: &mut Env<'_>, return_rip: u64) -> Result<(), Trap> {
        let flags = self.rflags() & !flags::RF;
        let event = Event { vector: vector::DB, error_code: None, software: false, return_rip, flags };
        let met = std::mem::take(&mut self.debug_pending) & !DR6_BS;
        match self.enter_handler(env, &event) {
            Ok(()) => {
                // Breakpoints that a shadow held back come with it.
                if met != 0 {
                    self.debug.dr6 = self.debug.dr6 & !DR6_B | met;
                }
                Ok(())
            }
            Err(trap) => {
                self.fault = self.nested_fault();
                Err(trap)
            }
        }
    }

    /// The fault that ended a delivery, with the EXT bit in its error code.
    fn nested_fault(&self) -> Exception {
        let mut nested = self.fault;
        if matches!(nested.vector, vector::TS | vector::NP | vector::SS | vector::GP) {
            nested.error_code = nested.error_code.map(|code| code | 1);
        }
        nested
    }

    /// What an exception changes besides entering its handler.
    fn note_exception(&mut self, exception: &Exception) {
        match exception.vector {
            vector::PF => self.cr2 = exception.fault_address,
            vector::DB => {
                // Bits 3 to 0 tell of this exception alone; the others accumulate.
                self.debug.dr6 = (self.debug.dr6 & !DR6_B) | exception.dr6;
                self.debug.dr7 &= !DR7_GD;
            }
            _ => {}
        }
    }

    fn enter_handler(&mut self, env: &mut Env<'_>, event: &Event) -> Result<(), Trap> {
        self.enter_gate(env, event)?;
        self.shadow = Shadow::None;
        self.activity = Activity::Running;
        Ok(())
    }
}

/// Whether RF is set in the image that an exception pushes: for faults, except those by
/// instruction breakpoints (SDM Vol. 3B, 18.3.1.1). Of debug exceptions only general detect
/// is such a fault.
fn pushes_rf(exception: &Exception) -> bool {
    match exception.vector {
        vector::DB => exception.dr6 & DR6_BD != 0,
        vector::NMI | vector::BP | vector::OF | vector::MC => false,
        _ => true,
    }
}
