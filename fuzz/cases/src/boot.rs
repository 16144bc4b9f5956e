//! The boot loaders: sound kernels of each kind with some bytes changed, or any bytes, with initrds and
//! command lines. What is loaded is started and runs a little.

mod kernels;

use machine::boot::{self, BootRequest, Initrd};
use machine::memory_map::MemoryLayout;
use machine::ram::RamMapping;
use machine::{BootSource, Idle, Machine, MachineConfig};
use x86::GuestPhysAddr;

use crate::script::Script;

/// Steps that a kernel runs.
const STEPS: u64 = 200;

/// Loads the script's kernel with the loader alone and into a machine.
///
/// # Panics
/// If the two disagree on whether it can be loaded, or the machine misbehaves.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let ram_bytes = script.pick(&[4 << 20, 1 << 20, 64 << 20, (1 << 20) + 0x1000, 16 << 20]);
    let line_len = if script.one_in(8) { script.below(5000) } else { script.below(64) };
    let command_line = "a=1 ".repeat(line_len / 4);
    let name = script.pick(&["kernel", "", "x\0y", "boot/vmlinuz with a space"]);
    let (name, contents) = if !script.one_in(4) { ("kernel", initrds(&mut script)) } else { (name, Vec::new()) };
    let kernel = kernels::kernel(&mut script);

    let initrds: Vec<Initrd<'_>> = contents.iter().map(|content| Initrd { name: "initrd", content }).collect();
    let request = BootRequest {
        kernel_path: name,
        kernel: &kernel,
        initrds: &initrds,
        command_line: &command_line,
        rsdp: Some(GuestPhysAddr(0xe_0000)),
    };
    let mut ram = RamMapping::new(ram_bytes).expect("some RAM");
    let loaded = boot::load(&mut ram, &request);
    if let Ok(state) = &loaded {
        let inside = MemoryLayout::offset_of(ram.layout(), GuestPhysAddr(state.rip), 1);
        assert!(inside.is_some(), "the entry point {:#x} is not in RAM", state.rip);
    } else if let Err(error) = &loaded {
        assert!(!error.to_string().is_empty(), "an error says something");
    }
    if contents.len() < 2 {
        start(ram_bytes, &request, loaded.is_ok());
    }
}

/// Loads into a machine, and runs it.
fn start(ram_bytes: u64, request: &BootRequest<'_>, can_be_loaded: bool) {
    let config = MachineConfig::new(ram_bytes);
    let mut machine = Machine::new(config).expect("a small machine");
    let loaded = machine.load(&BootSource {
        kernel: request.kernel,
        kernel_name: request.kernel_path,
        initrd: request.initrds.first().map(|initrd| initrd.content),
        initrd_name: "initrd",
        command_line: request.command_line,
    });
    assert_eq!(loaded.is_ok(), can_be_loaded, "{loaded:?}");
    if can_be_loaded {
        let until = machine.insn_count() + STEPS;
        machine.run(until, Idle::Jump);
        assert!(machine.insn_count() <= until, "ran too far");
    }
}

fn initrds(script: &mut Script<'_>) -> Vec<Vec<u8>> {
    let count = script.pick(&[0, 1, 1, 2, 3]);
    (0..count)
        .map(|_| match script.u8() % 4 {
            0 => vec![7; script.below(16)],
            1 => vec![7; usize::from(script.u8()) << script.below(13)],
            _ => vec![7; 1000],
        })
        .collect()
}
