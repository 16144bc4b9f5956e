//! What software in the guest asks for through the control device.
//!
//! A guest names files only inside one directory that the user gave it, never over one that is there.

use std::path::PathBuf;

use machine::ControlRequest;

use crate::control::Answer;
use crate::guest::Guest;
use crate::tree::{UNNAMED, Waiting};

impl Guest {
    /// Serves what the guest asked, between two of its instructions.
    pub(crate) fn serve_requests(&mut self) {
        for request in self.machine.take_requests() {
            let result = self.serve(&request);
            // Whoever asks for a recording looks whether it got one.
            self.tell();
            if let Err(sentence) = result {
                self.notices.push(format!("the guest asked for {}: {sentence}", what(&request)));
            }
        }
    }

    fn serve(&mut self, request: &ControlRequest) -> Answer {
        match request {
            ControlRequest::Looked => {
                self.looked = true;
                Ok(().into())
            }
            ControlRequest::RecordStart(name) => {
                if self.recording.is_some() {
                    return Err("one is under way".into());
                }
                if self.tree.is_some() {
                    return self.node_for_guest(plain(name, UNNAMED), true);
                }
                let path = self.file_for_guest(name, "recording")?;
                self.start_recording(&path).map_err(|error| error.to_string())?;
                self.notices.push(format!("the guest started the recording {}", path.display()));
                Ok(().into())
            }
            ControlRequest::RecordStop => {
                let answer = self.stop_recording()?;
                let file = answer["file"].as_str().unwrap_or_default();
                self.notices.push(format!("the guest stopped the recording {file}"));
                Ok(().into())
            }
            ControlRequest::Mark(name) => {
                let name = if name.is_empty() { format!("mark-{}", self.position().insns) } else { name.clone() };
                self.mark(&name)
            }
            ControlRequest::Snapshot(name) => self.snapshot_in_turn(name),
        }
    }

    /// Begins a snapshot that the guest asked for.
    pub(crate) fn snapshot_for_guest(&mut self, name: &str) -> Answer {
        if self.tree.is_some() {
            return self.node_for_guest(plain(name, "snapshot"), false);
        }
        let path = self.file_for_guest(name, "snapshot")?;
        self.snapshot_file(&path, Waiting::Guest("took the snapshot"));
        Ok(().into())
    }

    /// Where a file of this name goes; the guest may leave the choice to us.
    fn file_for_guest(&self, name: &str, kind: &str) -> Result<PathBuf, String> {
        let Some(directory) = &self.guest_files else {
            return Err(
                "the guest may make no files on this host; --tree DIR or --guest-files DIR lets it, in that directory"
                    .into(),
            );
        };
        if name.is_empty() {
            let at = self.position().insns;
            return Ok(directory.join(format!("{kind}-{at}.cvr")));
        }
        let stem = name.strip_suffix(".cvr").unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if stem.is_empty() || stem.starts_with('.') || !stem.chars().all(plain) {
            return Err(format!("{name:?} cannot be a file's name: letters, digits and -_. can"));
        }
        Ok(directory.join(format!("{stem}.cvr")))
    }
}

/// The name of a node; `.cvr` is the ending of files.
fn plain<'a>(name: &'a str, unnamed: &'a str) -> &'a str {
    let name = name.strip_suffix(".cvr").unwrap_or(name);
    if name.is_empty() { unnamed } else { name }
}

fn what(request: &ControlRequest) -> &'static str {
    match request {
        ControlRequest::RecordStart(_) => "a recording",
        ControlRequest::RecordStop => "the end of the recording",
        ControlRequest::Mark(_) => "a mark",
        ControlRequest::Snapshot(_) => "a snapshot",
        ControlRequest::Looked => "the control device",
    }
}
