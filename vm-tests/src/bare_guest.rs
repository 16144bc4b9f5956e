//! A bare-metal guest: its source, the machine it runs on, and how it should end.

use machine::{BootSource, EngineKind, Input, Machine, MachineConfig, StopReason};
use x86::CpuModel;

use crate::runs::{self, Outcome, Scenario};
use crate::{Rng, assemble};

/// The exit status of a guest whose checks all passed: 0 written to the debug exit port.
const PASSED: StopReason = StopReason::DebugExit(1);
/// A guest that has not ended after this many steps hangs.
const MAX_INSNS: u64 = 60_000_000;
const RAM_BYTES: u64 = 8 << 20;
/// Random ways in which each guest is cut into pieces, and in which it is saved and restored.
const SEEDS: std::ops::Range<u64> = 1..4;

/// Steps in a row that are each executed in a fresh machine.
const WINDOW: u64 = 100;

/// A guest to be run; made by [`BareGuest::new`], changed by the methods that follow it.
#[derive(Clone, Debug)]
pub struct BareGuest {
    source: &'static str,
    defines: Vec<(&'static str, u64)>,
    config: MachineConfig,
    inputs: Vec<(u64, Input)>,
    end: StopReason,
}

impl BareGuest {
    /// The guest in `guests/SOURCE.S`, on one vCPU of the smaller model, ending with all checks passed.
    pub fn new(source: &'static str) -> Self {
        let config = MachineConfig {
            debug_exit: true,
            rtc_start_unix_seconds: 1_767_225_600, // 2026-01-01
            ..MachineConfig::new(RAM_BYTES)
        };
        BareGuest { source, defines: Vec::new(), config, inputs: Vec::new(), end: PASSED }
    }

    /// With another number of vCPUs; the source sees it as `VCPUS`.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u8) -> Self {
        self.config.vcpus = vcpus;
        self.defines.push(("VCPUS", vcpus.into()));
        self
    }

    /// With another CPU model.
    #[must_use]
    pub fn cpu_model(mut self, model: CpuModel) -> Self {
        self.config.cpu_model = model;
        self
    }

    /// With turns of the vCPUs that vary by a seed.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.config.chaos_seed = Some(seed);
        self
    }

    /// With a symbol that the source can look at.
    #[must_use]
    pub fn define(mut self, name: &'static str, value: u64) -> Self {
        self.defines.push((name, value));
        self
    }

    /// With something from outside before step `at`, or as soon as nothing else can wake the machine.
    #[must_use]
    pub fn input(mut self, at: u64, input: Input) -> Self {
        self.inputs.push((at, input));
        self
    }

    /// Ending otherwise than by the exit port.
    #[must_use]
    pub fn ends_with(mut self, end: StopReason) -> Self {
        self.end = end;
        self
    }

    /// Assembles it.
    ///
    /// # Errors
    /// As [`assemble::kernel`].
    pub fn kernel(&self) -> anyhow::Result<Vec<u8>> {
        assemble::kernel(self.source, &self.defines)
    }

    /// A machine with the guest loaded.
    pub fn machine(&self, kernel: &[u8], engine: EngineKind) -> Machine {
        let machine = Machine::executed_by(self.config, engine);
        let mut machine = machine.unwrap_or_else(|error| panic!("the guests' machine is a small one: {error}"));
        let source = BootSource { kernel, kernel_name: self.source, initrd: None, initrd_name: "", command_line: "" };
        machine.load(&source).expect("the guest is a multiboot kernel");
        machine
    }

    fn scenario<'a>(&'a self, make: &'a dyn Fn(EngineKind) -> Machine) -> Scenario<'a> {
        Scenario { make, engine: EngineKind::Interpreter, inputs: &self.inputs, max_insns: MAX_INSNS }
    }

    /// Runs it once, with nothing demanded.
    ///
    /// # Errors
    /// If it cannot be assembled.
    pub fn run_once(&self) -> anyhow::Result<Outcome> {
        let kernel = self.kernel()?;
        Ok(runs::straight(&self.scenario(&|engine| self.machine(&kernel, engine))))
    }

    /// Runs it in every way of [`runs`] and demands that it ends as it should, with the same bits each time.
    /// Returns the outcome, or `None` if there is no assembler.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) -> Option<Outcome> {
        if !assemble::available(self.source) {
            return None;
        }
        let kernel = self.kernel().unwrap_or_else(|error| panic!("{error:#}"));
        let make = |engine| self.machine(&kernel, engine);
        let scenario = self.scenario(&make);
        let first = runs::straight(&scenario);
        let name = self.source;
        assert_eq!(
            first.stop, self.end,
            "{name} ended otherwise, after {} steps:\n{}",
            first.insns, first.debug_console
        );
        assert_eq!(runs::straight(&scenario), first, "{name}: a second run differs");
        self.check_ways(&scenario, &first, SEEDS);
        let from = Rng::new(first.insns).below(first.insns);
        let steps = runs::each_step_in_a_fresh_machine(&scenario, from, from + WINDOW);
        assert_eq!(steps, first, "{name}: a run with fresh machines from step {from} on differs");
        let translated = Scenario { engine: EngineKind::Translator, ..scenario };
        assert_eq!(runs::straight(&translated), first, "{name}: a run by the translator differs");
        // One cutting, of pieces that are neither very short nor very long: the ways themselves have been held above.
        self.check_ways(&translated, &first, 2..3);
        Some(first)
    }

    /// Runs it in pieces and through saved state, once for each seed, and demands the outcome of a run in one go.
    fn check_ways(&self, scenario: &Scenario<'_>, first: &Outcome, seeds: std::ops::Range<u64>) {
        let (name, engine) = (self.source, scenario.engine);
        for seed in seeds {
            // Some cuttings are of very short pieces only, as many as a quick test can have.
            let longest = if first.insns < 400_000 { 1 << (4 * seed) } else { (first.insns / 20).max(1000) };
            let pieces = runs::in_pieces(scenario, longest, seed);
            assert_eq!(pieces, *first, "{name}, {engine:?}: a run in pieces differs (seed {seed})");
            let saved = runs::through_saved_state(scenario, first.insns, 6, seed);
            assert_eq!(saved, *first, "{name}, {engine:?}: a run through saved state differs (seed {seed})");
        }
    }

    /// Runs it with each step from `from` on in a fresh machine, and demands the outcome of a run in one go.
    ///
    /// # Panics
    /// If it differs, or the guest cannot be assembled.
    pub fn check_each_step(&self, from: u64) {
        let kernel = self.kernel().unwrap_or_else(|error| panic!("{error:#}"));
        let make = |engine| self.machine(&kernel, engine);
        let scenario = self.scenario(&make);
        let first = runs::straight(&scenario);
        let steps = runs::each_step_in_a_fresh_machine(&scenario, from, first.insns);
        assert_eq!(steps, first, "{}: a run with fresh machines differs", self.source);
    }
}
