//! The binary translator: an [`x86::Engine`] that is bit for bit the interpreter, only faster.
//!
//! Start reading at `translate` (from guest instructions to host code), then `layout` (where guest state
//! lies while that runs), `thunks` (how it is entered and left), `site` (how it asks the interpreter) and
//! `cache` (how blocks are found, linked and dropped).

mod asm;
mod block;
mod buffer;
mod cache;
mod far;
mod host;
mod known;
mod layout;
mod policy;
mod site;
mod strings;
mod table;
mod thunks;
mod translate;
mod ways;

use cache::Cache;
pub use policy::Policy;
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

impl Translator {
    /// With nothing translated yet.
    ///
    /// # Errors
    /// If the host's CPU lacks what translated code needs, or gives no executable memory.
    pub fn new() -> Result<Self, HostError> {
        Self::with_policy(Policy::default())
    }

    /// Whether [`Self::new`] succeeds here, without the cost of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn supported() -> Result<(), HostError> {
        Cache::supported()
    }

    /// With a policy of one's own, for tests and measurements.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_policy(policy: Policy) -> Result<Self, HostError> {
        Ok(Translator { interpreter: Interpreter::beside_accelerator(), cache: Cache::new(policy)? })
    }

    /// With [`Policy::eager`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn eager(instructions: usize) -> Result<Self, HostError> {
        Self::with_policy(Policy::eager(instructions))
    }

    /// How often everything was dropped because a limit of the policy was reached, or at [`Engine::forget`].
    pub fn times_dropped(&self) -> u64 {
        self.cache.generation() - 1
    }
}

impl Engine for Translator {
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit {
        self.cache.use_tables(vcpu);
        self.interpreter.run_with(&mut self.cache, vcpu, memory, bus, until)
    }

    fn forget(&mut self, memory: &mut GuestMemory) {
        self.interpreter.forget(memory);
        self.cache.clear();
    }
}
