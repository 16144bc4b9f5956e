//! `seeks FILE COUNT SEED`: replays a recording once, which leaves checkpoints in memory, then goes to random positions
//! of it. Prints `full SECONDS` and COUNT lines `seek SECONDS`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use bench::stats::Seeded;
use timeline::replayer::Control;
use timeline::{Recording, Replayer, Target};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, count, seed] = arguments.as_slice() else { anyhow::bail!("usage: seeks FILE COUNT SEED") };
    let count: u32 = count.parse().context("COUNT is no number")?;
    let mut random = Seeded(seed.parse().context("SEED is no number")?);

    let recording = Arc::new(Recording::open(Path::new(file))?);
    let mut replayer = Replayer::new(recording.clone())?;
    let start = Instant::now();
    replayer.play(Target::End, &mut |_, _| Control::Continue)?;
    println!("full {}", start.elapsed().as_secs_f64());

    let (first, end) = (recording.start().insns, recording.end_position().insns);
    for _ in 0..count {
        let target = first + random.below(end - first);
        let start = Instant::now();
        replayer.seek(Target::Insns(target))?;
        println!("seek {}", start.elapsed().as_secs_f64());
    }
    Ok(())
}
