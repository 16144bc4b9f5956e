//! Makes multiboot kernels and Linux programs from the files in `guests/`, with Debian's binutils.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// Where code for user mode lies in a bare-metal guest: the prelude maps the 2 MiB page there for ring 3.
const USER_SECTION: &str = "--section-start=.user=0x400000";

/// Where the sources are.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}

/// Whether the assembler and the linker are installed; says loudly if not.
pub fn available(test: &str) -> bool {
    let found = ["as", "ld", "objcopy"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !found {
        eprintln!("SKIPPED: {test}: no assembler; `cargo xtask test` installs it (or: apt-get install binutils)");
        println!("SKIPPED: {test}");
    }
    found
}

/// Assembles `guests/SOURCE.S` into a multiboot kernel; `defines` are symbols and their values.
///
/// # Errors
/// If a tool is missing or finds an error in the source.
pub fn kernel(source: &str, defines: &[(&str, u64)]) -> Result<Vec<u8>> {
    let work = Scratch::new(source)?;
    let [object, linked, image] = ["o", "elf64", "elf32"].map(|extension| work.0.join(format!("guest.{extension}")));
    assemble(&object, "--64", source, defines)?;
    let mut ld = Command::new("ld");
    ld.args(["-m", "elf_x86_64", "-N", "--no-warn-rwx-segments", "--build-id=none", "-Ttext=0x100000", USER_SECTION]);
    run(ld.arg("-o").arg(&linked).arg(&object))?;
    // Multiboot knows 32-bit ELF files; loaders other than ours take no others.
    run(Command::new("objcopy").args(["-O", "elf32-i386"]).arg(&linked).arg(&image))?;
    read(&image)
}

/// Assembles `guests/SOURCE.S` into a static Linux program of 32 or 64 bits.
///
/// # Errors
/// As [`kernel`].
pub fn program(source: &str, bits: u32) -> Result<Vec<u8>> {
    ensure!(bits == 32 || bits == 64, "programs have 32 or 64 bits");
    let work = Scratch::new(source)?;
    let [object, linked] = ["o", "elf"].map(|extension| work.0.join(format!("program.{extension}")));
    let (width, emulation) = if bits == 32 { ("--32", "elf_i386") } else { ("--64", "elf_x86_64") };
    assemble(&object, width, source, &[])?;
    run(Command::new("ld").args(["-m", emulation, "-s", "-o"]).arg(&linked).arg(&object))?;
    read(&linked)
}

fn assemble(object: &Path, width: &str, source: &str, defines: &[(&str, u64)]) -> Result<()> {
    let mut command = Command::new("as");
    command.arg(width).arg("-I").arg(sources());
    for (name, value) in defines {
        command.arg("--defsym").arg(format!("{name}={value}"));
    }
    run(command.arg("-o").arg(object).arg(sources().join(format!("{source}.S"))))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        let words: Vec<&OsStr> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        bail!("{} failed:\n{}", words.join(OsStr::new(" ")).display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// A directory of one's own that goes away again.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one with `name` in its name.
    ///
    /// # Errors
    /// If the system's temporary directory cannot be written.
    pub fn new(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("chronovisor-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory left behind in the system's temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
