//! How machines are made, which decides what executes them.

use std::fmt;
use std::sync::Arc;

use machine::{EngineKind, Machine, MachineConfig, MachineError};

/// The engine with which a recording is replayed whose header says `name`: the one that recorded, or else, with a reason, the one
/// that runs everywhere. No guest can tell.
pub fn recorded_engine(name: &str) -> (EngineKind, Option<String>) {
    let why = match EngineKind::of_name(name).map(|kind| kind.supported().map(|()| kind)) {
        Some(Ok(kind)) => return (kind, None),
        Some(Err(error)) => error.to_string(),
        None => "this version does not know it".into(),
    };
    (EngineKind::default(), Some(why))
}

type Make = dyn Fn(MachineConfig) -> Result<Machine, MachineError> + Send + Sync;

/// Makes machines that one engine executes.
#[derive(Clone)]
pub struct MachineMaker {
    engine: String,
    make: Arc<Make>,
}

impl MachineMaker {
    /// Machines made by `make`, executed by the engine that recordings call `engine`.
    pub fn new(
        engine: &str,
        make: impl Fn(MachineConfig) -> Result<Machine, MachineError> + Send + Sync + 'static,
    ) -> Self {
        MachineMaker { engine: engine.into(), make: Arc::new(make) }
    }

    /// The engine's name.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// A machine at power-on with empty RAM.
    ///
    /// # Errors
    /// If the configuration is impossible or the host has no memory for it.
    pub fn make(&self, config: MachineConfig) -> Result<Machine, MachineError> {
        (self.make)(config)
    }
}

impl From<EngineKind> for MachineMaker {
    fn from(kind: EngineKind) -> Self {
        MachineMaker::new(kind.name(), move |config| Machine::executed_by(config, kind))
    }
}

impl Default for MachineMaker {
    fn default() -> Self {
        EngineKind::default().into()
    }
}

impl fmt::Debug for MachineMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MachineMaker").field(&self.engine).finish()
    }
}
