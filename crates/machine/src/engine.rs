//! What executes a machine's vCPUs. It is no part of the configuration: no guest can tell one engine from another.

use jit::Translator;
use x86::{Engine, Interpreter};

use crate::machine::{Machine, MachineConfig, MachineError};

/// The engines that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Runs on every x86-64 host.
    #[default]
    Interpreter,
    /// Translates to host code; the host's CPU needs BMI2.
    Translator,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [EngineKind; 2] = [EngineKind::Interpreter, EngineKind::Translator];

    /// Its name, as recordings give it.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Interpreter => "interpreter",
            EngineKind::Translator => "translator",
        }
    }

    /// The engine that recordings call `name`.
    pub fn of_name(name: &str) -> Option<Self> {
        EngineKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The fastest that this host can run.
    pub fn fastest() -> Self {
        if Translator::supported().is_ok() { EngineKind::Translator } else { EngineKind::Interpreter }
    }

    /// A new one.
    ///
    /// # Errors
    /// If this host cannot run it.
    pub fn engine(self) -> Result<Box<dyn Engine + Send>, jit::HostError> {
        Ok(match self {
            EngineKind::Interpreter => Box::new(Interpreter::new()),
            EngineKind::Translator => Box::new(Translator::new()?),
        })
    }

    /// Whether this host can run it, without the cost of making one.
    ///
    /// # Errors
    /// If it cannot.
    pub fn supported(self) -> Result<(), jit::HostError> {
        match self {
            EngineKind::Interpreter => Ok(()),
            EngineKind::Translator => Translator::supported(),
        }
    }
}

impl Machine {
    /// A machine at power-on with empty RAM, executed by an engine of this kind.
    ///
    /// # Errors
    /// As [`Machine::new`], and if this host cannot run the engine.
    pub fn executed_by(config: MachineConfig, kind: EngineKind) -> Result<Self, MachineError> {
        Machine::with_engine(config, kind.engine()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for kind in EngineKind::ALL {
            assert_eq!(EngineKind::of_name(kind.name()), Some(kind));
        }
        assert_eq!(EngineKind::of_name("engine of tomorrow"), None);
    }
}
