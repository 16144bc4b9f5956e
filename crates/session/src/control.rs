//! The control socket: another program asks the session for things, one JSON object a line each way.
//!
//! A request is `{"command": "mark", "name": "login"}`; the answer `{"ok": true, ...}` or
//! `{"ok": false, "error": "a sentence"}`. A thread for each connection only carries them between socket and
//! [`Mailbox`]; the machine's thread serves them between two slices.

use std::borrow::Cow;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::mailbox::Mailbox;
use crate::tree::Place;

/// The longest request in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Where a recording or a snapshot shall go: whoever asks does not know whether the session has a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// A file, with its whole path.
    pub file: Option<PathBuf>,
    /// The name of a node, if the session has a tree.
    pub name: Option<String>,
}

impl Destination {
    fn file(&self) -> Option<Cow<'_, str>> {
        self.file.as_ref().map(|file| file.to_string_lossy())
    }

    /// Where it goes in a session with a tree or without.
    ///
    /// # Errors
    /// A sentence, if there is no place.
    pub fn place(&self, has_tree: bool) -> Result<Place, String> {
        match (&self.name, &self.file) {
            (Some(name), _) if has_tree => Ok(Place::Node(name.clone())),
            (_, Some(file)) => Ok(Place::File(file.clone())),
            (Some(_), None) | (None, None) => {
                Err("this session has no tree: name a file, or start it with --tree DIR".into())
            }
        }
    }
}

/// What another program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Record from now on.
    RecordStart(Destination),
    /// Stop recording.
    RecordStop,
    /// Let the machine stand still.
    Pause,
    /// Let it run again.
    Resume,
    /// Give this instant of the recording a name.
    Mark(String),
    /// Save the machine as it stands.
    Snapshot(Destination),
    /// Tell how things are.
    Status,
    /// End the run.
    Quit,
}

impl Command {
    /// As it goes over the socket.
    pub fn to_json(&self) -> Value {
        match self {
            Command::RecordStart(to) => json!({ "command": "record-start", "file": to.file(), "name": to.name }),
            Command::RecordStop => json!({ "command": "record-stop" }),
            Command::Pause => json!({ "command": "pause" }),
            Command::Resume => json!({ "command": "resume" }),
            Command::Mark(name) => json!({ "command": "mark", "name": name }),
            Command::Snapshot(to) => json!({ "command": "snapshot", "file": to.file(), "name": to.name }),
            Command::Status => json!({ "command": "status" }),
            Command::Quit => json!({ "command": "quit" }),
        }
    }

    /// From a line of the socket.
    ///
    /// # Errors
    /// A sentence on what is wrong with it.
    pub fn from_json(line: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("a request is one JSON object: {error}"))?;
        let text = |key: &str| {
            let text = value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.ok_or_else(|| format!("the request needs \"{key}\", a text"))
        };
        let destination = || match (text("file"), text("name")) {
            (Err(_), Err(_)) => Err("the request needs \"file\" or \"name\", a text".to_owned()),
            (file, name) => Ok(Destination { file: file.ok().map(PathBuf::from), name: name.ok().map(str::to_owned) }),
        };
        Ok(match text("command")? {
            "record-start" => Command::RecordStart(destination()?),
            "record-stop" => Command::RecordStop,
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "mark" => Command::Mark(text("name")?.into()),
            "snapshot" => Command::Snapshot(destination()?),
            "status" => Command::Status,
            "quit" => Command::Quit,
            other => return Err(format!("\"{other}\" is no command")),
        })
    }
}

/// An answer: an object, or a sentence on why there is none.
pub type Answer = Result<Value, String>;

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub command: Command,
    /// Who waits.
    pub reply: Sender<Answer>,
}

impl Request {
    /// Answers, and says whether the machine is running or paused.
    pub fn answer_in(self, mut answer: Answer, state: &str) {
        if let Ok(answer) = &mut answer {
            answer["state"] = state.into();
        }
        self.answer(answer);
    }

    /// Answers. One who has gone away needs no answer.
    pub fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// A socket that is listened to; it goes away with this.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Listens at `path` and leaves what comes in `mailbox`.
    ///
    /// # Errors
    /// If something else is there, or the host refuses.
    pub fn start(path: &Path, mailbox: Arc<Mailbox>) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            // A session that was killed leaves its socket behind; nobody answers there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            result => result,
        }?;
        let server = Server { path: path.into() };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        thread::Builder::new().name("control".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let mailbox = Arc::clone(&mailbox);
                // Without a thread the connection closes, which is an answer.
                let _ = thread::Builder::new().name("control".into()).spawn(move || serve(&stream, &mailbox));
            }
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_left_behind(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Carries requests and answers until the other side closes.
fn serve(stream: &UnixStream, mailbox: &Mailbox) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line) {
            Ok(len) if len > 0 && line.ends_with('\n') => {}
            // The end, or a line that is too long or no text: whoever sends such closes.
            _ => return,
        }
        let command = Command::from_json(line.trim());
        let is_asked = command.is_ok();
        let answer = command.and_then(|command| {
            let (reply, answer) = channel();
            mailbox.put_request(Request { command, reply });
            answer.recv().unwrap_or_else(|_| Err("the machine has ended".into()))
        });
        let answer = match answer {
            Ok(mut value) => {
                value["ok"] = true.into();
                value
            }
            Err(sentence) => json!({ "ok": false, "error": sentence }),
        };
        let mut writer = stream;
        let written = writer.write_all(format!("{answer}\n").as_bytes());
        if is_asked {
            mailbox.note_answered();
        }
        if written.is_err() {
            return;
        }
    }
}

/// Asks the session that listens at `path`.
///
/// # Errors
/// A sentence: nobody listens there, or the session refuses.
pub fn ask(path: &Path, command: &Command) -> Answer {
    let nobody = |error: io::Error| {
        format!("no session listens at {}: {error}; start one with `chronovisor run --control SOCKET`", path.display())
    };
    let mut stream = UnixStream::connect(path).map_err(nobody)?;
    let lost = |error: io::Error| format!("the connection to the session at {} broke: {error}", path.display());
    writeln!(stream, "{}", command.to_json()).map_err(lost)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(lost)?;
    if line.is_empty() {
        // A session that was told to quit may be gone before it could answer.
        let ended = Err("the session ended before it answered".into());
        return if *command == Command::Quit { Ok(json!({ "ok": true })) } else { ended };
    }
    let answer: Value =
        serde_json::from_str(&line).map_err(|error| format!("the session's answer is no JSON: {error}"))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(sentence) => Err(sentence.into()),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_travel_as_json() {
        let commands = [
            Command::RecordStart(Destination { file: Some("/tmp/a.cvr".into()), name: None }),
            Command::RecordStart(Destination { file: None, name: Some("a".into()) }),
            Command::RecordStop,
            Command::Pause,
            Command::Resume,
            Command::Mark("login".into()),
            Command::Snapshot(Destination { file: Some("/tmp/s.cvr".into()), name: Some("s".into()) }),
            Command::Status,
            Command::Quit,
        ];
        for command in commands {
            assert_eq!(Command::from_json(&command.to_json().to_string()), Ok(command));
        }
        for wrong in
            ["", "7", "{}", "{\"command\":\"fly\"}", "{\"command\":\"mark\"}", "{\"command\":\"mark\",\"name\":\"\"}"]
        {
            assert!(Command::from_json(wrong).is_err(), "{wrong}");
        }
    }
}
