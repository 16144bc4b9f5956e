//! Runs cases on both CPUs, counts them by form and reports what differs.

use crate::NewEngine;
use crate::case::{self, Case};
use crate::compare::{Outcome, differences};
use crate::guest::Guest;
use crate::layout::*;
use crate::native::Host;
use crate::state::{BREAKPOINT, State};
use crate::undefined;
use iced_x86::Code;
use std::collections::BTreeMap;
use std::fmt::Write;
use x86::CpuModel;

/// Differences shown in full before the campaign gives up counting them one by one.
const SHOWN: usize = 40;

/// Both CPUs and what they have done.
pub struct Campaign {
    host: Host,
    guest: Guest,
    pool: Vec<u8>,
    data: Vec<u8>,
    results: BTreeMap<Code, Tally>,
    reports: Vec<String>,
}

/// What became of the cases of one form.
#[derive(Default, Clone, Copy)]
struct Tally {
    completed: u64,
    faulted: u64,
    differed: u64,
}

impl Campaign {
    /// The host's CPU and one that an engine executes, with the same memory.
    pub fn new(engine: NewEngine) -> Self {
        let (mut host, mut guest, pool) = (Host::take(), Guest::new(CpuModel::V3, engine()), case::pool());
        host.code().fill(FILL);
        let read_only = (WRITABLE_BYTES, pool[..PAGE as usize].to_vec());
        let mut data = vec![0; WRITABLE_BYTES + PAGE as usize];
        data[read_only.0..].copy_from_slice(&read_only.1);
        host.data().copy_from_slice(&data);
        guest.write_data(&data);
        data.truncate(WRITABLE_BYTES);
        Campaign { host, guest, pool, data, results: BTreeMap::new(), reports: Vec::new() }
    }

    /// Runs a case on both; `label` reproduces it.
    pub fn run(&mut self, case: &Case, label: &str) {
        let report = self.compare(case, label);
        if let Some(report) = report {
            self.results.entry(case.code).or_default().differed += 1;
            if self.reports.len() < SHOWN && self.results[&case.code].differed <= 2 {
                self.reports.push(report);
            }
        }
    }

    /// The report of a case whose outcomes differ.
    pub fn compare(&mut self, case: &Case, label: &str) -> Option<String> {
        self.prepare(case);
        let mut host_state = State::default();
        let mut guest_state = State::default();
        let host_ending = self.host.run(&case.state, case.cs, &mut host_state);
        let guest_ending = self.guest.run(&case.state, case.cs, &mut guest_state);
        self.clean(case);
        let tally = self.results.entry(case.code).or_default();
        if host_ending.vector == BREAKPOINT {
            tally.completed += 1;
        } else {
            tally.faulted += 1;
        }
        let host = Outcome { ending: host_ending, state: &host_state, data: self.host.data() };
        let guest = Outcome { ending: guest_ending, state: &guest_state, data: self.guest.data() };
        let found = differences(case, &host, &guest);
        (!found.is_empty()).then(|| describe(case, label, &found))
    }

    fn prepare(&mut self, case: &Case) {
        self.data.copy_from_slice(&self.pool[case.pool_at..case.pool_at + WRITABLE_BYTES]);
        for (at, bytes) in &case.patches {
            self.data[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        self.host.data()[..WRITABLE_BYTES].copy_from_slice(&self.data);
        self.guest.write_data(&self.data);
        let bytes = code_that_fits(case);
        let at = (case.state.rip - CODE) as usize;
        self.host.code()[at..at + bytes.len()].copy_from_slice(bytes);
        self.guest.write_code(case.state.rip, bytes);
    }

    fn clean(&mut self, case: &Case) {
        let len = code_that_fits(case).len();
        let at = (case.state.rip - CODE) as usize;
        self.host.code()[at..at + len].fill(FILL);
        self.guest.write_code(case.state.rip, &[FILL; 16][..len]);
    }

    /// Says how many cases ran, and fails if any differed.
    pub fn finish(self, name: &str, selected: &[Code], skipped: u64) {
        let total: u64 = self.results.values().map(|t| t.completed + t.faulted).sum();
        let faulted: u64 = self.results.values().map(|t| t.faulted).sum();
        let differed: u64 = self.results.values().map(|t| t.differed).sum();
        println!(
            "{name}: {total} cases of {} forms, {faulted} ended in a fault, {skipped} skipped",
            self.results.len()
        );
        if std::env::var_os("CHRONOVISOR_COUNTS").is_some() {
            for (code, t) in &self.results {
                println!("  {code:?}: {} completed, {} faulted, {} differed", t.completed, t.faulted, t.differed);
            }
        }
        let missing: Vec<_> = selected.iter().filter(|code| !self.results.contains_key(code)).collect();
        let mut by_form = String::new();
        for (code, tally) in self.results.iter().filter(|(_, t)| t.differed > 0) {
            let _ = writeln!(by_form, "  {code:?}: {} of {}", tally.differed, tally.completed + tally.faulted);
        }
        assert!(differed == 0, "{}\n{differed} of {total} cases differ:\n{by_form}", self.reports.join("\n"));
        assert!(missing.is_empty(), "forms that no case exercised: {missing:?}");
    }
}

/// The bytes of the instruction that lie in the code pages.
fn code_that_fits(case: &Case) -> &[u8] {
    let room = (CODE + CODE_PAGES * PAGE - case.state.rip) as usize;
    &case.bytes[..case.bytes.len().min(room)]
}

fn describe(case: &Case, label: &str, found: &str) -> String {
    let s = &case.state;
    let mut out = format!(
        "CHRONOVISOR_CASE={label}  {:?}  bytes {:02x?}  rip {:#x} cs {:#x}\n{found}",
        case.code, case.bytes, s.rip, case.cs
    );
    let _ = writeln!(out, "  before: rflags {:#x} gpr {:x?} fs {:x} gs {:x}", s.rflags, s.gpr, s.fs_base, s.gs_base);
    out += &undefined::notes(case);
    let used = case.insn.op_count();
    for i in 0..used {
        let register = case.insn.op_register(i);
        if register.is_vector_register() {
            let _ = writeln!(out, "    {register:?}: {:016x?}", s.ymm[register.number()]);
        }
    }
    if case.insn.is_vector_or_x87() {
        let x = &s.x87;
        let _ = writeln!(
            out,
            "    mxcsr {:#x} fcw {:#x} fsw {:#x} valid {:#x} st {:x?}",
            s.mxcsr, x.control, x.status, x.valid, x.st
        );
    }
    out
}

/// What reports need to know of an instruction.
trait Kind {
    fn is_vector_or_x87(&self) -> bool;
}

impl Kind for iced_x86::Instruction {
    fn is_vector_or_x87(&self) -> bool {
        use iced_x86::CpuidFeature::{INTEL186, INTEL286, INTEL386, INTEL486, INTEL8086, X64};
        !self.cpuid_features().iter().any(|f| matches!(f, INTEL8086 | INTEL186 | INTEL286 | INTEL386 | INTEL486 | X64))
    }
}
