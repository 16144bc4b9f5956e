//! A snapshot as one file that needs no store: a recording that ends where it begins.

use super::{Store, StoreError};
use crate::format::records::EndReason;
use crate::maker::MachineMaker;
use crate::recorder::{RecordError, Recorder, RecorderOptions};
use crate::sink::Sink;
use crate::store::node::Node;

/// A snapshot could not be written elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Reading it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Writing it.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Store {
    /// Writes the snapshot `node` to `sink`.
    ///
    /// # Errors
    /// If it is none, or cannot be read or written.
    pub fn export(&self, node: &Node, sink: Box<dyn Sink>) -> Result<(), ExportError> {
        let state = self.snapshot_state(node)?;
        let options = RecorderOptions {
            boot: state.boot.clone().unwrap_or_default(),
            engine: state.engine.clone(),
            clock: state.clock.clone(),
            created_unix_seconds: node.record.created_unix_seconds,
            base: state.base(),
            ..RecorderOptions::default()
        };
        let mut machine = self.restore_state(state, &MachineMaker::default())?.machine;
        let mut recorder = Recorder::start(&mut machine, sink, options)?;
        Ok(recorder.finish(&mut machine, EndReason::Stopped, 0)?)
    }
}
