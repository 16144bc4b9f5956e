//! `seeks FILE COUNT SEED`: replays a recording once, which leaves checkpoints in memory, then goes to random positions
//! of it. Prints `full WALL CPU` and COUNT lines `seek WALL CPU`, in nanoseconds; CPU is the time of the thread that replays.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use bench::stats::Seeded;
use rustix::time::{ClockId, Timespec, clock_gettime};
use timeline::replayer::Control;
use timeline::{Recording, Replayer, Target};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, count, seed] = arguments.as_slice() else { anyhow::bail!("usage: seeks FILE COUNT SEED") };
    let count: u32 = count.parse().context("COUNT is no number")?;
    let mut random = Seeded(seed.parse().context("SEED is no number")?);

    let recording = Arc::new(Recording::open(Path::new(file))?);
    let mut replayer = Replayer::new(recording.clone())?;
    let start = Now::look();
    replayer.play(Target::End, &mut |_, _| Control::Continue)?;
    start.print("full");

    let (first, end) = (recording.start().insns, recording.end_position().insns);
    for _ in 0..count {
        let target = first + random.below(end - first);
        let start = Now::look();
        replayer.seek(Target::Insns(target))?;
        start.print("seek");
    }
    Ok(())
}

/// An instant by both clocks.
struct Now {
    wall: Instant,
    cpu: Timespec,
}

impl Now {
    fn look() -> Now {
        Now { wall: Instant::now(), cpu: clock_gettime(ClockId::ThreadCPUTime) }
    }

    /// What has passed since.
    fn print(&self, what: &str) {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu_ns = (cpu.tv_sec - self.cpu.tv_sec) * 1_000_000_000 + (cpu.tv_nsec - self.cpu.tv_nsec);
        println!("{what} {} {cpu_ns}", self.wall.elapsed().as_nanos());
    }
}
