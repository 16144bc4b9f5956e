//! The binary translator: an [`x86::Engine`] that is bit for bit the interpreter, only faster.

use x86::interp::Ran;
use x86::interp::accelerator::Accelerator;
use x86::op::Env;
use x86::{Bus, Engine, Exit, GuestMemory, InsnCount, Interpreter, Vcpu};

/// Why this host cannot run the translator.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The host's CPU lacks an extension that translated code is made of.
    #[error("the host's CPU lacks {0}, which the translator needs; use the interpreter")]
    Lacks(&'static str),
    /// No executable memory.
    #[error("cannot map executable memory for translated code: {0}")]
    Memory(#[from] std::io::Error),
}

/// The translator. One serves all vCPUs of a machine.
pub struct Translator {
    interpreter: Interpreter,
    cache: Cache,
}

/// Translated code.
struct Cache;

impl Accelerator for Cache {
    fn run(&mut self, _cpu: &mut Vcpu, _env: &mut Env<'_>) -> Option<Ran> {
        None
    }

    fn drop_page(&mut self, _page: u64) {}
}

impl Translator {
    /// With nothing translated yet.
    ///
    /// # Errors
    /// If the host's CPU lacks what translated code needs, or gives no executable memory.
    pub fn new() -> Result<Self, HostError> {
        if !is_x86_feature_detected!("bmi2") {
            return Err(HostError::Lacks("BMI2"));
        }
        Ok(Translator { interpreter: Interpreter::new(), cache: Cache })
    }
}

impl Engine for Translator {
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit {
        self.interpreter.run_with(&mut self.cache, vcpu, memory, bus, until)
    }

    fn forget(&mut self, memory: &mut GuestMemory) {
        self.interpreter.forget(memory);
        self.cache = Cache;
    }
}
