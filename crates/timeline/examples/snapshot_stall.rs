//! Measures how long snapshots stop a guest that has written to all of its RAM and goes on writing to some of it, into a tree and
//! to a file: `cargo run --profile fast -p timeline --example snapshot_stall -- [MIB [BUSY_MIB]]`.

use std::path::Path;
use std::time::{Duration, Instant};

use machine::{BootSource, Idle, Machine, MachineConfig};
use timeline::new_file::NewFile;
use timeline::snapshot_file::SnapshotFile;
use timeline::store::{Keeper, NewNode, SavedState, Store};
use timeline::{Position, RecorderOptions};
use x86::InsnCount;

/// How long the guest runs between two looks outside, as in a session.
const SLICE: Duration = Duration::from_millis(5);

/// A multiboot kernel that writes to one word of each page from 2 MiB to `ram_bytes` - 1 MiB, and then again and again to those
/// of the next `busy_bytes` from 2 MiB on: `mov edi, 0x200000; 1: imul eax, eax, 1103515245; add eax, 12345; stosd;
/// add edi, 4092; cmp edi, END; jb 1b`, once for each.
fn kernel(ram_bytes: u32, busy_bytes: u32) -> Vec<u8> {
    let pass = |end: u32| {
        let mut code = vec![0xbf, 0, 0, 0x20, 0];
        code.extend([
            0x69, 0xc0, 0x6d, 0x4e, 0xc6, 0x41, 0x05, 0x39, 0x30, 0, 0, 0xab, 0x81, 0xc7, 0xfc, 0x0f, 0, 0, 0x81, 0xff,
        ]);
        code.extend(end.to_le_bytes());
        code.extend([0x72, 0xe6]);
        code
    };
    let end = ram_bytes - (1 << 20);
    let busy = pass(end.min((2 << 20) + busy_bytes));
    let mut code = pass(end);
    let back = (busy.len() as u8 + 2).wrapping_neg();
    code.extend(busy);
    code.extend([0xeb, back]);
    let mut image = Vec::new();
    let (magic, flags) = (0x1bad_b002_u32, 0x10000_u32);
    let end = 0x10_0020 + code.len() as u32;
    let words =
        [magic, flags, 0_u32.wrapping_sub(magic).wrapping_sub(flags), 0x10_0000, 0x10_0000, end, end, 0x10_0020];
    words.iter().for_each(|word| image.extend(word.to_le_bytes()));
    image.extend(code);
    image
}

/// A guest that runs on while something is done a little at a time between its slices.
struct Runner {
    machine: Machine,
    steps: u64,
}

impl Runner {
    /// Calls `tend` between slices until it says that it is done, and tells how long that took, with the `first` stop.
    fn run(&mut self, what: &str, start: Instant, mut tend: impl FnMut(&mut Machine) -> bool) {
        let first = start.elapsed();
        let (mut longest, mut stops, mut done) = (first, first, false);
        while !done {
            let slice = Instant::now();
            self.machine.run(InsnCount(self.machine.insn_count().0 + self.steps), Idle::Jump);
            self.steps = if slice.elapsed() > SLICE { self.steps * 9 / 10 } else { self.steps * 11 / 10 };
            let stop = Instant::now();
            done = tend(&mut self.machine);
            longest = longest.max(stop.elapsed());
            stops += stop.elapsed();
        }
        println!(
            "{what}: the longest stop {longest:.1?} (the first {first:.1?}), all stops {stops:.1?}, durable after {:.1?}",
            start.elapsed()
        );
    }

    fn snapshot(&mut self, keeper: &mut Keeper, name: &str) -> Result<(), Box<dyn std::error::Error>> {
        let start = Instant::now();
        let saved = SavedState::of(&self.machine, Position::default());
        keeper.snapshot(&mut self.machine, saved, NewNode { name: name.into(), ..NewNode::default() })?;
        let mut failed = None;
        self.run(name, start, |machine| {
            keeper.poll(machine);
            failed = failed.take().or(keeper.take_added().into_iter().find_map(|added| added.result.err()));
            !keeper.is_busy()
        });
        failed.map_or(Ok(()), |sentence| Err(sentence.into()))
    }

    fn snapshot_to_file(&mut self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let start = Instant::now();
        let file = Box::new(NewFile::create(path)?);
        let mut snapshot = SnapshotFile::start(&mut self.machine, file, RecorderOptions::default())?;
        let mut outcome = None;
        self.run("to a file", start, |machine| {
            snapshot.poll(machine);
            outcome = snapshot.outcome();
            outcome.is_some()
        });
        Ok(outcome.unwrap_or(Ok(()))?)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |at, otherwise: u32| std::env::args().nth(at).map_or(Ok(otherwise), |text| text.parse::<u32>());
    let mib = number(1, 1024)?;
    let busy_mib = number(2, mib)?;
    let mut machine = Machine::new(MachineConfig::new(u64::from(mib) << 20))?;
    let kernel = kernel(mib << 20, busy_mib << 20);
    machine.load(&BootSource { kernel: &kernel, kernel_name: "", initrd: None, initrd_name: "", command_line: "" })?;
    // Once through all pages.
    machine.run(InsnCount(u64::from(mib) * 256 * 7), Idle::Jump);
    let populated: u64 = machine.populated_pages()?.into_iter().map(|range| range.end - range.start).sum();
    println!("{mib} MiB of RAM, {populated} pages in use; the guest goes on writing to {busy_mib} MiB");
    let directory = std::env::temp_dir().join(format!("snapshot-stall-{}", std::process::id()));
    let mut keeper = Keeper::start(Store::create(&directory)?)?;
    let mut runner = Runner { machine, steps: 200_000 };
    for name in ["snapshot 1", "snapshot 2", "snapshot 3"] {
        runner.snapshot(&mut keeper, name)?;
    }
    runner.snapshot_to_file(&directory.join("file.cvr"))?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
