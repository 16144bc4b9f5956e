//! Builds small guests from assembly: multiboot kernels that start in 32-bit protected mode.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::scratch_file;

/// What every guest starts with: the multiboot header, and macros to print, to read what is sent, and to leave.
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
    .macro serial_on            # RTS and DTR: bytes are sent to the guest
        mov $0x3fc, %dx
        mov $3, %al
        out %al, %dx
    .endm
    .macro serial_poll          # ZF is clear if there is a byte
        mov $0x3fd, %dx
        in %dx, %al
        test $1, %al
    .endm
    .macro serial_take          # the byte, into AL; DX is left at the port
        mov $0x3f8, %dx
        in %dx, %al
    .endm
    .macro getc                 # waits for a byte
.Lwait\@:
        serial_poll
        jz .Lwait\@
        serial_take
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
/// The guest is a 32-bit ELF file at 1 MiB, with a stack of 16 KiB, macros `putc`, `serial_on`, `serial_poll`,
/// `serial_take` and `getc` for the first serial port, which change EAX and EDX, and a macro `debug_exit`.
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

/// Echoes, working some time after each byte, until 'q'.
///
/// One file for all: a guest is told its name, so it belongs to the state.
pub fn echo() -> PathBuf {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        build(
            "
        serial_on
    1:  inc %ebx
        serial_poll
        jz 1b
        serial_take
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
    build(
        "
        serial_on
        getc
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
    wide_scribbler(8, rounds)
}

/// The same with `mib` MiB.
pub fn wide_scribbler(mib: u32, rounds: u32) -> PathBuf {
    let end = 0x40_0000 + (mib << 20);
    build(&format!(
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
        cmp ${end}, %edi
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

fn run(command: &mut Command) {
    let output = command.output().expect("binutils are installed (`cargo xtask test` does it)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
