//! Builds small guests from assembly: multiboot kernels that start in 32-bit protected mode.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::scratch_file;

/// What every guest starts with: the multiboot header, and macros to print, and to leave.
const PRELUDE: &str = r#"
    .code32
    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 3, -(0x1badb002 + 3)
    .text
    .macro putc char
        mov $0x3f8, %dx
        mov \char, %al
        out %al, %dx
    .endm
    .macro debug_exit value
        mov \value, %eax
        out %al, $0xf4
    .endm
    .globl _start
_start:
    mov $stack_end, %esp
"#;

const EPILOGUE: &str = r#"
    .bss
    .align 16
    .skip 16384
stack_end:
"#;

const LINKER_SCRIPT: &str = "
ENTRY(_start)
SECTIONS {
    . = 0x100000;
    .text : { *(.multiboot) *(.text) *(.data) *(.rodata) }
    .bss : { *(.bss) *(COMMON) }
}
";

/// Assembles and links a guest whose first instructions are `body` (AT&T syntax), and returns its path.
///
/// The guest is a 32-bit ELF file at 1 MiB, with a stack of 16 KiB, a macro `putc` for the
/// first serial port and a macro `debug_exit`.
///
/// # Panics
/// If the assembler or linker of binutils is missing or refuses the source.
pub fn build(body: &str) -> PathBuf {
    let (source, object, script, kernel) =
        (scratch_file("guest.s"), scratch_file("guest.o"), scratch_file("guest.ld"), scratch_file("guest.elf"));
    fs::write(&source, format!("{PRELUDE}{body}{EPILOGUE}")).expect("the scratch directory can be written");
    fs::write(&script, LINKER_SCRIPT).expect("the scratch directory can be written");
    run(Command::new("as").arg("--32").arg(&source).arg("-o").arg(&object));
    run(Command::new("ld").args(["-m", "elf_i386", "-T"]).arg(&script).arg(&object).arg("-o").arg(&kernel));
    kernel
}

fn run(command: &mut Command) {
    let output = command.output().expect("binutils are installed (`cargo xtask test` does it)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
