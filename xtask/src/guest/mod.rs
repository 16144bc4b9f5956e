//! The guest of the demo, the tests and the benchmarks: Debian's unmodified cloud kernel
//! and an initramfs of busybox, the control program `chronoctl` and one script.
//!
//! Both Debian packages are downloaded and unpacked, never installed. The results lie in
//! `target/guest/` under fixed names: `vmlinuz`, `initrd`, `chronoctl` to copy into other guests, and
//! `kernel-package` with the name and version of the package that the kernel came from.

mod cpio;
mod initramfs;
pub mod suite;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{command, output, root};
use crate::{apt, build};

/// The metapackage that always depends on Debian's newest kernel for virtual machines.
const KERNEL_METAPACKAGE: &str = "linux-image-cloud-amd64";
const BUSYBOX_PACKAGE: &str = "busybox-static";

/// What a guest boots from.
#[derive(Debug)]
pub struct GuestFiles {
    /// Debian's kernel, a bzImage.
    pub kernel: PathBuf,
    /// The initramfs, an uncompressed newc archive.
    pub initrd: PathBuf,
    /// The archive the kernel came from, such as `linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb`.
    pub kernel_package: String,
}

/// Makes the guest's files, downloading what is not there yet; `refresh` looks for newer packages.
///
/// # Errors
/// [`apt::NeedsRoot`] if the package lists must be fetched first.
pub fn build(refresh: bool) -> Result<GuestFiles> {
    let directory = root().join("target/guest");
    let kernel = directory.join("vmlinuz");
    let busybox = directory.join("busybox");
    let label = directory.join("kernel-package");
    if refresh || !(kernel.exists() && busybox.exists() && label.exists()) {
        fetch(&directory, &kernel, &busybox, &label)?;
    }
    let initrd = directory.join("initrd");
    let chronoctl = directory.join("chronoctl");
    copy(&build::chronoctl()?, &chronoctl)?;
    let archive = initramfs::build(&busybox, &chronoctl)?;
    // Rewritten only when it differs, so that a run that is under way keeps its file.
    if fs::read(&initrd).ok().as_deref() != Some(&archive) {
        write_whole(&initrd, &archive)?;
    }
    let kernel_package = fs::read_to_string(&label).with_context(|| format!("reading {}", label.display()))?;
    Ok(GuestFiles { kernel, initrd, kernel_package })
}

fn fetch(directory: &Path, kernel: &Path, busybox: &Path, label: &Path) -> Result<()> {
    apt::know(&[KERNEL_METAPACKAGE, BUSYBOX_PACKAGE], true)?;
    let package = apt::dependency(KERNEL_METAPACKAGE, "linux-image-")?;
    eprintln!("downloading {package} and {BUSYBOX_PACKAGE}");
    let archives = directory.join("packages");
    let kernel_archive = apt::download(&package, &archives)?;
    let busybox_archive = apt::download(BUSYBOX_PACKAGE, &archives)?;

    let unpacked = directory.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).with_context(|| format!("removing {}", unpacked.display()))?;
    }
    unpack(&kernel_archive, &unpacked)?;
    unpack(&busybox_archive, &unpacked)?;

    let release = package.strip_prefix("linux-image-").unwrap_or(&package);
    copy(&unpacked.join("boot").join(format!("vmlinuz-{release}")), kernel)?;
    let in_package = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    let found = in_package.iter().find(|path| path.exists());
    copy(found.context("the package busybox-static holds no busybox")?, busybox)?;
    write_whole(label, kernel_archive.file_name().unwrap_or_default().as_encoded_bytes())?;
    fs::remove_dir_all(&unpacked).with_context(|| format!("removing {}", unpacked.display()))
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
    let mut extract = command("dpkg-deb", &["--extract"]);
    output(extract.arg(archive).arg(into)).with_context(|| format!("unpacking {}", archive.display()))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Writes a file under another name first, so that nobody sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("naming {}", path.display()))
}
