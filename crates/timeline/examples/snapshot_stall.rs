//! Measures how long a snapshot stops a guest that has written to all of its RAM and goes on writing:
//! `cargo run --profile fast -p timeline --example snapshot_stall -- [MIB]`.

use std::time::{Duration, Instant};

use machine::{BootSource, Idle, Machine, MachineConfig};
use timeline::Position;
use timeline::store::{Keeper, NewNode, SavedState, Store};
use x86::{CpuModel, InsnCount};

/// How long the guest runs between two looks outside, as in a session.
const SLICE: Duration = Duration::from_millis(5);

/// A multiboot kernel that writes to one word of each page from 2 MiB to EBX's end, again and again:
/// `mov edi, 0x200000; 1: imul eax, eax, 1103515245; add eax, 12345; stosd; add edi, 4092; cmp edi, END; jb 1b; jmp 0`.
fn kernel(ram_bytes: u32) -> Vec<u8> {
    let mut code = vec![0xbf, 0, 0, 0x20, 0];
    code.extend([
        0x69, 0xc0, 0x6d, 0x4e, 0xc6, 0x41, 0x05, 0x39, 0x30, 0, 0, 0xab, 0x81, 0xc7, 0xfc, 0x0f, 0, 0, 0x81, 0xff,
    ]);
    code.extend((ram_bytes - (1 << 20)).to_le_bytes());
    code.extend([0x72, 0xe7, 0xeb, 0xe0]);
    let mut image = Vec::new();
    let (magic, flags) = (0x1bad_b002_u32, 0x10000_u32);
    let end = 0x10_0020 + code.len() as u32;
    let words =
        [magic, flags, 0_u32.wrapping_sub(magic).wrapping_sub(flags), 0x10_0000, 0x10_0000, end, end, 0x10_0020];
    words.iter().for_each(|word| image.extend(word.to_le_bytes()));
    image.extend(code);
    image
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mib: u32 = std::env::args().nth(1).map_or(Ok(1024), |text| text.parse())?;
    let mut machine = Machine::new(MachineConfig {
        ram_bytes: u64::from(mib) << 20,
        vcpus: 1,
        cpu_model: CpuModel::V2,
        debug_exit: false,
        rtc_start_unix_seconds: 0,
        chaos_seed: None,
    })?;
    let kernel = kernel(mib << 20);
    machine.load(&BootSource { kernel: &kernel, kernel_name: "", initrd: None, initrd_name: "", command_line: "" })?;
    // Once through all pages.
    machine.run(InsnCount(u64::from(mib) * 256 * 7), Idle::Jump);
    let populated: u64 = machine.populated_pages()?.into_iter().map(|range| range.end - range.start).sum();
    println!("{mib} MiB of RAM, {populated} pages in use");
    let directory = std::env::temp_dir().join(format!("snapshot-stall-{}", std::process::id()));
    let mut keeper = Keeper::start(Store::create(&directory)?)?;
    let mut steps = 200_000;
    for round in 1..=3 {
        let start = Instant::now();
        let saved = SavedState::of(&machine, Position::default());
        let new = NewNode { name: format!("s{round}"), ..NewNode::default() };
        keeper.snapshot(&mut machine, saved, new)?;
        let first = start.elapsed();
        let (mut longest, mut stops, mut copied) = (first, first, None);
        while keeper.is_busy() {
            let slice = Instant::now();
            machine.run(InsnCount(machine.insn_count().0 + steps), Idle::Jump);
            let took = slice.elapsed();
            steps = if took > SLICE { steps * 9 / 10 } else { steps * 11 / 10 };
            let stop = Instant::now();
            keeper.poll(&mut machine);
            for added in keeper.take_added() {
                added.result?;
            }
            longest = longest.max(stop.elapsed());
            stops += stop.elapsed();
            if !keeper.is_copying() {
                copied.get_or_insert(start.elapsed());
            }
        }
        println!(
            "snapshot {round}: the longest stop {longest:.1?} (the first {first:.1?}), all stops {stops:.1?}, copied after {:.1?}, durable after {:.1?}",
            copied.unwrap_or_default(),
            start.elapsed()
        );
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
