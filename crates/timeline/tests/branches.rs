//! Random sequences of what a person does with a machine and its recordings (record, stop, type, mark, reset, seek, pause a
//! replay, go live, pack, verify), each state compared with what was seen when it was live.

mod support;

use std::sync::Arc;

use machine::{EngineKind, Machine};
use support::{Random, Session, config, guest_on};
use timeline::format::records::{CheckpointKind, EndReason};
use timeline::replayer::Control;
use timeline::sink::MemorySink;
use timeline::verify::{Engines, verify_with};
use timeline::{MachineMaker, Position, PositionSpec, Recording, Replayer, Target};

type Digest = [u8; 32];

/// A recording, and what was seen while it was made.
struct Path {
    recording: Arc<Recording>,
    seen: Vec<(Position, Digest)>,
    end: Digest,
    /// How the machine had ended there, if it had.
    ended: Option<(EndReason, u8)>,
}

/// A live machine, and every path so far.
struct World {
    random: Random,
    session: Session,
    /// What the session's recording is written to, if there is one.
    sink: Option<MemorySink>,
    paths: Vec<Path>,
    done: Done,
}

/// How often each thing was done, over all sequences.
#[derive(Debug, Default)]
struct Done {
    recorded: usize,
    sought: usize,
    compared: usize,
    paused: usize,
    gone_live: usize,
    packed: usize,
    verified: usize,
}

/// The engines that this host can run.
fn engine(random: &mut Random) -> EngineKind {
    let kinds: Vec<EngineKind> = EngineKind::ALL.into_iter().filter(|kind| kind.engine().is_ok()).collect();
    kinds[random.below(kinds.len() as u64) as usize]
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let vcpus = [1, 1, 2, 3][random.below(4) as usize];
        let chaos = (random.below(4) == 0).then(|| random.below(1000));
        let engine = engine(&mut random);
        let machine = Machine::executed_by(config(vcpus, chaos), engine).expect("a machine");
        let session = Session::new(guest_on(machine), Position::default());
        World { random, session, sink: None, paths: Vec::new(), done: Done::default() }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=8 => self.session.act(&mut self.random),
            9..=10 => self.record(),
            11 => self.stop(),
            12..=13 => self.seek(),
            14 => self.pause_a_replay(),
            15..=16 => self.go_live(),
            17 => self.pack(),
            18 => self.verify(),
            _ => self.session.idle_for(&mut self.random),
        }
    }

    fn record(&mut self) {
        if self.sink.is_some() || self.session.ended.is_some() {
            return;
        }
        let sink = MemorySink::default();
        self.session.seen.clear();
        self.session.record(&sink, 5_000 + self.random.below(50_000));
        self.sink = Some(sink);
    }

    fn stop(&mut self) {
        let Some(sink) = self.sink.take() else { return };
        self.session.finish();
        self.session.machine.settle();
        let recording = Recording::from_source(Box::new(sink.bytes())).expect("the recording opens");
        assert_eq!(recording.end_position(), self.session.position());
        self.paths.push(Path {
            recording: Arc::new(recording),
            seen: std::mem::take(&mut self.session.seen),
            end: self.session.machine.digest().0,
            ended: self.session.ended,
        });
        self.done.recorded += 1;
    }

    /// One of the paths.
    fn path(&mut self) -> Option<usize> {
        let count = self.paths.len() as u64;
        (count > 0).then(|| self.random.below(count) as usize)
    }

    fn replayer(&mut self, path: usize) -> Replayer {
        let maker = MachineMaker::from(engine(&mut self.random));
        let budget = [0, 1 << 16, 1 << 20][self.random.below(3) as usize];
        let recording = self.paths[path].recording.clone();
        Replayer::with_maker(recording, maker, budget, 1 + self.random.below(20_000)).expect("a replayer")
    }

    /// A position as someone might type it.
    fn target(&mut self, path: usize) -> Target {
        let recording = self.paths[path].recording.clone();
        let (start, end) = (recording.start(), recording.end_position());
        let insns = start.insns + self.random.below(end.insns - start.insns + 1);
        let text = match self.random.below(5) {
            0 => insns.to_string(),
            1 => format!("{}%", self.random.below(101)),
            2 if recording.marks().next().is_some() => "here".into(),
            3 => "end".into(),
            _ => format!("start+{}ns", self.random.below(end.time.as_ns() - start.time.as_ns() + 1)),
        };
        text.parse::<PositionSpec>().expect("a position").resolve(&recording).unwrap_or(Target::Insns(insns))
    }

    /// Goes to some places of a path in one replay, and compares those that were seen.
    fn seek(&mut self) {
        let Some(path) = self.path() else { return };
        let mut replayer = self.replayer(path);
        for _ in 0..1 + self.random.below(4) {
            let target = self.target(path);
            replayer.seek(target).expect("in the recording");
            self.done.sought += 1;
            self.compare_one(path, &mut replayer);
        }
    }

    /// Goes to an instant that was seen live.
    fn compare_one(&mut self, path: usize, replayer: &mut Replayer) {
        let Path { recording, seen, .. } = &self.paths[path];
        // What happened at this very instant is still to come there.
        let is_pending = |position: Position| {
            recording.events().iter().any(|event| event.position == position)
                || recording
                    .checkpoints()
                    .iter()
                    .any(|info| info.kind != CheckpointKind::Seek && info.position == position)
        };
        let seen: Vec<&(Position, Digest)> = seen.iter().filter(|(position, _)| !is_pending(*position)).collect();
        if let Some((position, digest)) = seen.get(self.random.below(seen.len().max(1) as u64) as usize) {
            replayer.seek(Target::At(*position)).expect("in the recording");
            assert_eq!(replayer.full_digest().0, *digest, "at {position}");
            self.done.compared += 1;
        }
    }

    /// Plays a path, pauses somewhere, and goes on to the end.
    fn pause_a_replay(&mut self) {
        let Some(path) = self.path() else { return };
        let mut replayer = self.replayer(path);
        let mut left = self.random.below(6);
        let watch = &mut |_, _| {
            left = left.saturating_sub(1);
            if left == 0 { Control::Pause } else { Control::Continue }
        };
        if replayer.play(Target::End, watch).expect("it replays") == Control::Pause {
            let here = replayer.position();
            let (given, digest) = (replayer.events_given(), replayer.digest().expect("a digest"));
            let mut other = self.replayer(path);
            other.seek(Target::At(here)).expect("in the recording");
            if other.events_given() == given {
                assert_eq!(other.digest().expect("a digest"), digest, "paused at {here}");
            }
            self.done.paused += 1;
        }
        replayer.play(Target::End, &mut |_, _| Control::Continue).expect("it replays");
        assert_eq!(replayer.full_digest().0, self.paths[path].end);
    }

    /// The live machine is left, and one from a path takes its place.
    fn go_live(&mut self) {
        self.stop();
        let Some(path) = self.path() else { return };
        let mut replayer = self.replayer(path);
        let target = self.target(path);
        replayer.seek(target).expect("in the recording");
        let at_end = target == Target::End;
        if at_end {
            assert_eq!(replayer.full_digest().0, self.paths[path].end);
        }
        let ended = self.paths[path].ended.filter(|_| at_end);
        let live = replayer.into_live().expect("its RAM is whole");
        self.session = Session::new(live.machine, live.base);
        self.session.ended = ended;
        self.done.gone_live += 1;
    }

    /// From now on the packed file is the path.
    fn pack(&mut self) {
        let Some(path) = self.path() else { return };
        let original = self.paths[path].recording.clone();
        let packed = MemorySink::default();
        let with_checkpoints = self.random.below(2) == 0;
        timeline::pack::pack(&original, Box::new(packed.clone()), with_checkpoints).expect("it can be packed");
        let recording = Recording::from_source(Box::new(packed.bytes())).expect("it opens");
        assert_eq!(recording.events(), original.events());
        self.paths[path].recording = Arc::new(recording);
        self.done.packed += 1;
    }

    fn verify(&mut self) {
        let Some(path) = self.path() else { return };
        let jobs = 1 + self.random.below(3) as usize;
        let engines = Engines { first: engine(&mut self.random).into(), others: Vec::new() };
        let recording = &self.paths[path].recording;
        let report = verify_with(recording, &engines, jobs, &|_| {}).expect("it replays");
        assert_eq!(report.difference, None);
        self.done.verified += 1;
    }

    /// All paths come again, however they were made.
    fn finish(&mut self) {
        self.stop();
        for path in 0..self.paths.len() {
            let mut replayer = self.replayer(path);
            replayer.seek(Target::End).expect("the end");
            assert_eq!(replayer.full_digest().0, self.paths[path].end);
            self.compare_one(path, &mut replayer);
        }
    }
}

fn sequences(seeds: std::ops::Range<u64>) {
    let mut total = Done::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..40 {
                world.step();
            }
            world.finish();
            world.done
        });
        let Done { recorded, sought, compared, paused, gone_live, packed, verified } =
            run.unwrap_or_else(|_| panic!("the sequence with seed {seed} failed"));
        total.recorded += recorded;
        total.sought += sought;
        total.compared += compared;
        total.paused += paused;
        total.gone_live += gone_live;
        total.packed += packed;
        total.verified += verified;
    }
    println!("{} sequences: {total:?}", seeds.end - seeds.start);
    let Done { recorded, sought, compared, paused, gone_live, packed, verified } = total;
    let least = [recorded, sought, compared, paused, gone_live, packed, verified].into_iter().min();
    assert!(least.is_some_and(|least| least > 0), "something was never done: {total:?}");
}

#[test]
fn paths_come_again_however_they_were_made() {
    sequences(0..200);
}

#[test]
#[ignore = "takes minutes: part of the long tests"]
fn paths_come_again_however_they_were_made_a_thousand_times() {
    sequences(0..1000);
}
