//! The command line: its help, and what an invocation asks for.

use std::ffi::OsString;

use crate::protocol::{MARK, MAX_TEXT, RECORD_START, RECORD_STOP, SNAPSHOT};

/// What `--help` prints.
pub const HELP: &str = "\
Controls Chronovisor from inside the guest. Needs no kernel module: it uses I/O ports 5C0h to 5CFh.

Usage: chronoctl COMMAND

  record start [NAME]       asks the host to record this machine, as NAME in its tree or in its directory;
                            without a NAME the host finds one
  record stop               asks the host to stop recording
  mark TEXT                 marks this instant with TEXT, at most 255 bytes; replays can go to it
  snapshot NAME             asks for a snapshot of the whole machine
  status                    prints `recorded` or `not recorded`. A replay prints what the recorded run
                            printed: nothing inside the guest can tell the two apart
  position                  prints the nanoseconds of virtual time since power-on
  wait-recording [SECONDS]  waits until the machine is recorded, at most so long

Commands that ask do not wait for the host to have done it: use wait-recording after record start.

Exit status:
  0  all went well
  1  this machine is not Chronovisor
  2  the command line is wrong
  3  no permission: I/O ports need root, or CAP_SYS_RAWIO
  4  wait-recording: the time is over, and nothing records
  5  the kernel failed: the output could not be written, or a lock not taken
";

/// What an invocation asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Give this command to the device, with this text.
    Request(u8, String),
    /// Print whether the run is recorded.
    Status,
    /// Print the position.
    Position,
    /// Wait for a recording, at most so many seconds.
    WaitRecording(Option<u32>),
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let words: Result<Vec<String>, OsString> = args.map(OsString::into_string).collect();
    let words = words.map_err(|word| format!("{} is not UTF-8", word.display()))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Err("name a command".into()),
        ["help" | "-h" | "--help"] => Ok(Command::Help),
        ["-V" | "--version"] => Ok(Command::Version),
        ["record", "start"] => Ok(Command::Request(RECORD_START, String::new())),
        ["record", "start", file] => Ok(Command::Request(RECORD_START, text(file)?)),
        ["record", "stop"] => Ok(Command::Request(RECORD_STOP, String::new())),
        ["mark", text_of_mark] => Ok(Command::Request(MARK, text(text_of_mark)?)),
        ["snapshot", name] => Ok(Command::Request(SNAPSHOT, text(name)?)),
        ["status"] => Ok(Command::Status),
        ["position"] => Ok(Command::Position),
        ["wait-recording"] => Ok(Command::WaitRecording(None)),
        ["wait-recording", seconds] => match seconds.parse() {
            Ok(seconds) => Ok(Command::WaitRecording(Some(seconds))),
            Err(_) => Err(format!("'{seconds}' is no number of seconds")),
        },
        ["record", ..] => Err("record wants `start [NAME]` or `stop`".into()),
        ["mark", ..] => Err("mark wants one TEXT (quote a text of several words)".into()),
        ["snapshot", ..] => Err("snapshot wants one NAME".into()),
        ["status" | "position", ..] => Err(format!("{} takes no argument", words[0])),
        ["wait-recording", ..] => Err("wait-recording wants at most a number of SECONDS".into()),
        [other, ..] => Err(format!("there is no command '{other}'")),
    }
}

/// A text that the device takes whole and that a list can show in a line.
fn text(word: &str) -> Result<String, String> {
    if word.is_empty() {
        return Err("the text is empty".into());
    }
    if word.len() > MAX_TEXT {
        return Err(format!("the text has {} bytes, and at most {MAX_TEXT} can be sent", word.len()));
    }
    if word.contains(char::is_control) {
        return Err("the text has a control character in it".into());
    }
    Ok(word.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse_words(words: &[&str]) -> Result<Command, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn commands() {
        let request = |command, text: &str| Ok(Command::Request(command, text.into()));
        assert_eq!(parse_words(&["record", "start"]), request(RECORD_START, ""));
        assert_eq!(parse_words(&["record", "start", "x.cvr"]), request(RECORD_START, "x.cvr"));
        assert_eq!(parse_words(&["record", "stop"]), request(RECORD_STOP, ""));
        assert_eq!(parse_words(&["mark", "--the login"]), request(MARK, "--the login"));
        assert_eq!(parse_words(&["snapshot", "base"]), request(SNAPSHOT, "base"));
        assert_eq!(parse_words(&["status"]), Ok(Command::Status));
        assert_eq!(parse_words(&["position"]), Ok(Command::Position));
        assert_eq!(parse_words(&["wait-recording"]), Ok(Command::WaitRecording(None)));
        assert_eq!(parse_words(&["wait-recording", "10"]), Ok(Command::WaitRecording(Some(10))));
        assert_eq!(parse_words(&["--help"]), Ok(Command::Help));
        assert_eq!(parse_words(&["-V"]), Ok(Command::Version));
    }

    #[test]
    fn what_is_refused() {
        let long = "x".repeat(MAX_TEXT + 1);
        let refused: &[&[&str]] = &[
            &[],
            &["record"],
            &["record", "start", "a", "b"],
            &["record", "stop", "a"],
            &["record", "pause"],
            &["mark"],
            &["mark", ""],
            &["mark", "two", "words"],
            &["mark", "two\nlines"],
            &["mark", "\u{1b}[2J"],
            &["mark", &long],
            &["snapshot"],
            &["snapshot", ""],
            &["status", "x"],
            &["position", "x"],
            &["wait-recording", "soon"],
            &["wait-recording", "-1"],
            &["wait-recording", "1", "2"],
            &["reboot"],
        ];
        for words in refused {
            parse_words(words).expect_err(&format!("{words:?} was taken"));
        }
        let latin1 = [OsString::from("mark"), OsString::from_vec(vec![b'a', 0xe4])];
        parse(latin1.into_iter()).expect_err("a text that is not UTF-8 was taken");
    }

    #[test]
    fn the_help_names_the_longest_text() {
        assert!(HELP.contains(&format!("at most {MAX_TEXT} bytes")));
    }
}
