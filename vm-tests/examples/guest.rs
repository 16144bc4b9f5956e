//! Runs one bare-metal guest and prints what it says, for work on the guests themselves:
//! `cargo run -p vm-tests --example guest -- SOURCE [VCPUS] [NAME=VALUE]... [--kernel FILE]`.
//! `--kernel` writes the multiboot kernel to a file instead, for trying it elsewhere
//! (`qemu-system-x86_64 -kernel FILE -debugcon stdio -device isa-debug-exit`).

fn main() -> anyhow::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.iter().position(|arg| arg == "--kernel").map(|at| args.drain(at..).nth(1));
    let mut args = args.into_iter();
    let source: &'static str = args.next().expect("which guest?").leak();
    let mut guest = vm_tests::BareGuest::new(source);
    for arg in args {
        guest = match arg.split_once('=') {
            Some((name, value)) => guest.define(name.to_owned().leak(), value.parse()?),
            None => guest.vcpus(arg.parse()?),
        };
    }
    if let Some(file) = file {
        return Ok(std::fs::write(file.expect("--kernel wants a file"), guest.kernel()?)?);
    }
    let outcome = guest.run_once()?;
    print!("{}{}", outcome.serial, outcome.debug_console);
    println!("{:?} after {} steps, digest {}", outcome.stop, outcome.insns, outcome.digest);
    Ok(())
}
