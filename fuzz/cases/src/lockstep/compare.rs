//! Two engines from the same start: compared again and again on the way, and a difference led back to one step.

use std::fmt::Write;

use iced_x86::{Decoder, DecoderOptions};
use x86::vcpu::CodeSize;
use x86::{InsnCount, Vcpu};

use super::run::{Manner, NewEngine, Run, Start, Subject};

/// What is held against what.
pub struct Pair {
    reference: (NewEngine, Subject),
    other: (NewEngine, Subject),
    ram_bytes: usize,
    /// Comparisons made so far.
    pub compared: u64,
    /// Steps that the reference made so far.
    pub steps: u64,
}

impl Pair {
    /// Two engines, each with a memory of `ram_bytes`.
    pub fn new(reference: NewEngine, other: NewEngine, ram_bytes: usize) -> Self {
        let subject = |new: NewEngine| (new, Subject::new(new(), ram_bytes));
        Pair { reference: subject(reference), other: subject(other), ram_bytes, compared: 0, steps: 0 }
    }

    /// Runs both from `start`, the reference in one piece and the other one as `manner` says, and compares them at
    /// each of the `checks`, counted from the start's own count.
    ///
    /// # Panics
    /// If they differ; `label` is the first thing said then.
    pub fn same(&mut self, start: &Start, checks: &[u64], manner: Manner, label: &str) {
        let mut reference = Run::new(&mut self.reference.1, start, Manner::WHOLE);
        let mut other = Run::new(&mut self.other.1, start, manner);
        let first = start.cpu.count;
        for (i, &check) in checks.iter().enumerate() {
            reference.advance(first + check);
            other.advance(first + check);
            self.compared += 1;
            if let Some(found) = difference(&reference, &other) {
                let fresh = self.first_difference(start, &checks[..=i], manner);
                let fresh = fresh.unwrap_or_else(|| "only with what the engine knew from earlier cases".into());
                panic!("{label}: {manner:?}, at the check after {check} steps (reference | other):\n{found}\n{fresh}");
            }
            if reference.ended.is_some() {
                break;
            }
        }
        self.steps += reference.cpu.count.0 - first.0;
    }

    /// Finds in fresh engines the step between the last two of `checks` behind which the two differ first.
    fn first_difference(&self, start: &Start, checks: &[u64], manner: Manner) -> Option<String> {
        let (&last, before) = checks.split_last()?;
        let lowest = before.last().map_or(1, |check| check + 1);
        let subject = |new: NewEngine| Subject::new(new(), self.ram_bytes);
        for step in lowest..=last {
            let (mut a, mut b) = (subject(self.reference.0), subject(self.other.0));
            let mut reference = Run::new(&mut a, start, Manner::WHOLE);
            let mut other = Run::new(&mut b, start, manner);
            for &stop in before.iter().chain([&step]) {
                reference.advance(start.cpu.count + stop);
                other.advance(start.cpu.count + stop);
            }
            if let Some(found) = difference(&reference, &other) {
                let mut subject = subject(self.reference.0);
                let mut reference = Run::new(&mut subject, start, Manner::WHOLE);
                reference.advance(InsnCount(start.cpu.count.0 + step - 1));
                return Some(format!("first seen behind step {step}:\n{found}\nbefore it:\n{}", describe(&reference)));
            }
        }
        None
    }
}

/// What differs, a line each.
fn difference(reference: &Run<'_>, other: &Run<'_>) -> Option<String> {
    let save = |run: &Run<'_>| [Some(run.cpu.save()), run.second.as_ref().map(Vcpu::save)];
    let states = (save(reference), save(other));
    let ends = |run: &Run<'_>| format!("{:#?}\n{:#?}\n{:#?}", run.ended, run.exits, run.bus);
    let ram_same = reference.ram() == other.ram();
    let same_ends = reference.ended == other.ended && reference.exits == other.exits && reference.bus == other.bus;
    if states.0 == states.1 && ram_same && same_ends {
        return None;
    }
    let mut out = String::new();
    let texts = (format!("{:#?}\n{}", states.0, ends(reference)), format!("{:#?}\n{}", states.1, ends(other)));
    for (a, b) in texts.0.lines().zip(texts.1.lines()).filter(|(a, b)| a != b).take(40) {
        let _ = writeln!(out, "  {} | {}", a.trim(), b.trim());
    }
    let bytes = reference.ram().iter().zip(other.ram()).enumerate().filter(|(_, (a, b))| a != b);
    for (at, (a, b)) in bytes.take(16) {
        let _ = writeln!(out, "  RAM {at:#x}: {a:#04x} | {b:#04x}");
    }
    Some(out)
}

/// The state of a run in a few lines: what the next instruction is, and registers.
fn describe(run: &Run<'_>) -> String {
    let cpu = &run.cpu;
    let mut out = String::new();
    let linear = cpu.rip.wrapping_add(if cpu.is_64bit() { 0 } else { cpu.seg[1].base });
    // The worlds of this crate map code to where its low address bits say.
    let at = (linear as usize & 0x7_ffff) % run.ram().len();
    let code = &run.ram()[at..(at + 16).min(run.ram().len())];
    let bits = match cpu.mode.code {
        CodeSize::B16 => 16,
        CodeSize::B32 => 32,
        CodeSize::B64 => 64,
    };
    let insn = Decoder::with_ip(bits, code, linear, DecoderOptions::NONE).decode();
    let _ = writeln!(
        out,
        "  rip {linear:#x} cpl {} count {:?} code {code:02x?}: {:?}",
        cpu.mode.cpl,
        cpu.count,
        insn.code()
    );
    let _ = writeln!(out, "  rflags {:#x} shadow {:?} gpr {:x?}", cpu.rflags(), cpu.shadow, &cpu.gpr[..16]);
    let _ = writeln!(
        out,
        "  cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x}",
        cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer
    );
    let _ = writeln!(out, "  fs {:#x} gs {:#x} mxcsr {:#x}", cpu.seg[4].base, cpu.seg[5].base, cpu.vector.mxcsr);
    out
}
