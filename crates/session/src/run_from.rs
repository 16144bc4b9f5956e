//! A run that goes on from a snapshot of a tree.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use machine::{EngineKind, MachineConfig};
use timeline::store::address::Address;
use timeline::store::node::Node;
use timeline::store::state::StateRecord;
use timeline::store::{Base, Store, StoreError};

use crate::config::{ClockMode, Options, Report};
use crate::console::Console;
use crate::ending::Ending;
use crate::error::SessionError;
use crate::guest::Guest;
use crate::live::{self, Outside};
use crate::mailbox::Mailbox;
use crate::outside;
use crate::recording::Description;
use crate::replay::{recorded_engine, start_again};
use crate::tree::Tree;

/// A run from a snapshot.
#[derive(Clone, Debug)]
pub struct FromConfig {
    /// The snapshot: `DIR:NODE`.
    pub from: PathBuf,
    /// How it is run. Its tree is that of the snapshot.
    pub options: Options,
    /// The clock mode; `None`: that of the snapshot.
    pub clock: Option<ClockMode>,
    /// What executes it; `None`: what executed it before.
    pub engine: Option<EngineKind>,
}

/// Runs the machine of a snapshot to its end, with its serial port on standard input and output.
///
/// # Errors
/// If there is no such snapshot, it cannot be restored, or the host fails.
pub fn run_from(config: FromConfig) -> Result<Report, SessionError> {
    let start = Instant::now();
    let address = Address::parse(&config.from).ok_or_else(|| {
        StoreError::NoTree(config.from.to_string_lossy().rsplit_once(':').unzip().0.unwrap_or_default().into())
    })?;
    let (store, node) = address.open()?;
    if config.options.tree.as_ref().is_some_and(|tree| *tree != address.directory) {
        return Err(SessionError::OtherTree(address.directory));
    }
    let record = store.snapshot_state(&node)?;
    let mailbox = Arc::new(Mailbox::default());
    outside::watch_signals(Arc::clone(&mailbox), Ending::Quit.status())
        .map_err(SessionError::host("waiting for signals"))?;
    let mut outside = Outside { mailbox, console: Console::default(), start };
    let engine = config.engine.unwrap_or_else(|| recorded_engine(&record.engine, &mut outside.console));
    let clock = config.clock.unwrap_or(ClockMode::of_name(&record.clock));
    let options = Options { clock, engine, tree: Some(address.directory.clone()), ..config.options };
    go_on(&store, &node, record, options, outside)
}

fn go_on(
    store: &Store,
    node: &Node,
    record: StateRecord,
    options: Options,
    outside: Outside,
) -> Result<Report, SessionError> {
    let boot = record.boot.clone().unwrap_or_default();
    let base = Base { state: node.record.state.clone(), pages: record.pages().map_err(StoreError::from)? };
    let live = store.restore_state(record, &options.engine.into())?;
    let (clock, engine) = (options.clock, options.engine);
    let description = Description { boot: boot.clone(), engine, clock, budget_bytes: options.budget_bytes };
    let tree = Tree::open(store.directory(), Some(node.id.clone()), Some(base))?;
    // A reset sets the real-time clock on by the time that has passed since the first power-on.
    let config = *live.machine.config();
    let passed_seconds = live.base.time.as_ns() / 1_000_000_000;
    let rtc_start_unix_seconds = config.rtc_start_unix_seconds.saturating_sub(passed_seconds);
    let first = MachineConfig { rtc_start_unix_seconds, ..config };
    let guest = Guest::new(live.machine, live.base, description, options.guest_files.clone(), Some(tree));
    live::run(guest, outside, &options, &mut |rtc| {
        let config = MachineConfig { rtc_start_unix_seconds: rtc.seconds(&first), ..first };
        start_again(&boot, config, engine)
    })
}
