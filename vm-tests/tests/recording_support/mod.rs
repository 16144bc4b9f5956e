//! Starts the program's commands, and the guests that are recorded.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use vm_tests::{Guest, Outcome, bare_metal, program, scratch_file};

/// What is typed in [`recorded`].
pub const TYPED: &str =
    "all that is typed here comes back, and some of it lies far behind the rest of it, at the end: q";

/// One start of the program.
pub struct Program(Command);

impl Program {
    /// With these arguments, and nothing on standard input.
    pub fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(arguments).stdin(Stdio::null());
        Program(command)
    }

    /// With `text` on standard input, from a regular file.
    pub fn stdin_file(mut self, text: &str) -> Self {
        let path = scratch_file("stdin");
        std::fs::write(&path, text).expect("the scratch directory can be written");
        self.0.stdin(File::open(&path).expect("the file was just written"));
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        let output = self.0.output().expect("chronovisor starts");
        let mut console = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = console.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let digest = console[at..].starts_with("digest ").then(|| console.split_off(at).trim_end().to_owned());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome { status: output.status.code(), console, digest, errors }
    }

    /// Starts it, its standard error in a pipe.
    pub fn spawn(mut self) -> Child {
        self.0.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("chronovisor starts")
    }
}

/// A new file name, as text.
pub fn scratch(name: &str) -> String {
    scratch_file(name).to_str().expect("a plain path").to_owned()
}

/// Removes files that are large.
pub fn ended(files: &[&str]) {
    for file in files {
        std::fs::remove_file(file).expect("the file is there");
    }
}

/// The last line as JSON.
pub fn json(text: &str) -> Value {
    let line = text.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Echoes, working some time after each byte, until 'q'.
///
/// One file for all: a guest is told its name, so it belongs to the state.
pub fn echo() -> PathBuf {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        bare_metal::build(
            "
        mov $0x3fc, %dx
        mov $3, %al
        out %al, %dx
    1:  inc %ebx
        mov $0x3fd, %dx
        in %dx, %al
        test $1, %al
        jz 1b
        mov $0x3f8, %dx
        in %dx, %al
        out %al, %dx
        mov $2000, %ecx
    2:  add %ecx, %esi
        push %esi
        pop %edi
        loop 2b
        cmp $'q', %al
        jne 1b
        debug_exit $0
    ",
        )
    };
    KERNEL.get_or_init(build).clone()
}

/// Each start takes one byte: 'r' resets, anything else leaves.
pub fn resetting() -> PathBuf {
    bare_metal::build(
        "
        mov $0x3fc, %dx
        mov $3, %al
        out %al, %dx
    1:  mov $0x3fd, %dx
        in %dx, %al
        test $1, %al
        jz 1b
        mov $0x3f8, %dx
        in %dx, %al
        out %al, %dx
        cmp $'r', %al
        jne 2f
        mov $0xfe, %al
        out %al, $0x64
        cli
        hlt
    2:  debug_exit $0
    ",
    )
}

/// Writes 8 MiB that do not compress, and others again, `rounds` times; then leaves.
pub fn scribbler(rounds: u32) -> PathBuf {
    bare_metal::build(&format!(
        "
        mov ${rounds}, %ebx
        mov $12345, %eax
    1:  mov $0x400000, %edi
    2:  imul $1103515245, %eax, %eax
        add $12345, %eax
        mov %eax, %ecx
        shr $13, %ecx
        xor %eax, %ecx
        mov %ecx, (%edi)
        add $4, %edi
        cmp $0xc00000, %edi
        jne 2b
        push %eax
        putc $'.'
        pop %eax
        dec %ebx
        jnz 1b
        debug_exit $0
    "
    ))
}

/// A recording of [`echo`], and how the recorded run went.
pub fn recorded() -> (String, Outcome) {
    let file = scratch("echo.cvr");
    let options = &["--debug-exit", "--digest", "--record", &file];
    let run = Guest::kernel(&echo()).options(options).stdin_file(TYPED).run().expect_status(1);
    assert!(run.console.starts_with(TYPED), "{}", run.console);
    (file, run)
}
