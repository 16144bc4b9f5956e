//! The exit status, where nobody reads what is said beside it.

use std::io::pipe;
use std::process::Command;

#[test]
fn an_error_that_nobody_reads_keeps_its_status() {
    let (reader, writer) = pipe().expect("the host gives a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_chronovisor"));
    let status = command.args(["run", "--kernel", "/nowhere/vmlinuz"]).stderr(writer).status();
    assert_eq!(status.expect("the program starts").code(), Some(2));
}
