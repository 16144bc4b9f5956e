//! Holds the outcomes of the two CPUs against each other.

use crate::case::Case;
use crate::state::{BREAKPOINT, Ending, PAGE_FAULT, State};
use crate::undefined;
use std::fmt::Write;

/// What one CPU made of a case.
pub struct Outcome<'a> {
    /// The exception that ended it.
    pub ending: Ending,
    /// Registers then.
    pub state: &'a State,
    /// The data pages then.
    pub data: &'a [u8],
}

const GPR_NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
/// The end of what Linux gives a program.
const LINUX_TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// #XM.
const SIMD_FAULT: u8 = 19;
/// TOP in FSW.
const TOP: u16 = 7 << 11;
/// Bit 0 of a page fault's error code: the page was present.
const PROTECTION: u32 = 1;

/// Every difference, a line each, `host` against `guest`; empty if there is none.
pub fn differences(case: &Case, host: &Outcome<'_>, guest: &Outcome<'_>) -> String {
    let completed = |outcome: &Outcome<'_>| outcome.state.rip != case.state.rip;
    let host_alone = matches!(host.ending.vector, 12 | 13 | PAGE_FAULT) && !completed(host) && completed(guest);
    let guest_alone = guest.ending.vector == 13 && !completed(guest) && completed(host);
    if undefined::may_fault(case) && host_alone || undefined::stores_nothing(case) && guest_alone {
        return String::new();
    }
    let mut out = String::new();
    let (h, g) = (host.state, guest.state);
    let allowed = undefined::of(case, host.ending.vector != BREAKPOINT && h.rip == case.state.rip);
    let both_by_address =
        [host.ending, guest.ending].iter().all(|e| matches!(e.vector, 12 | 13 | PAGE_FAULT | SIMD_FAULT));
    if !(allowed.in_pieces && both_by_address) {
        ending(&mut out, host.ending, guest.ending);
    }
    line(&mut out, "rip", h.rip, g.rip);
    line(&mut out, "rflags", h.rflags & !allowed.flags, g.rflags & !allowed.flags);
    for (i, name) in GPR_NAMES.iter().enumerate() {
        if allowed.registers & 1 << i != 0 {
            continue;
        }
        let seen = if allowed.upper_halves & 1 << i != 0 { 0xffff_ffff } else { u64::MAX };
        line(&mut out, name, h.gpr[i] & seen, g.gpr[i] & seen);
    }
    line(&mut out, "fs base", h.fs_base, g.fs_base);
    line(&mut out, "gs base", h.gs_base, g.gs_base);
    line(&mut out, "mxcsr", u64::from(h.mxcsr & !allowed.mxcsr), u64::from(g.mxcsr & !allowed.mxcsr));
    for i in 0..16 {
        if h.ymm[i][..allowed.words] == g.ymm[i][..allowed.words] {
            continue;
        }
        if h.ymm[i] != g.ymm[i] && !undefined::close_enough(case, h.ymm[i], g.ymm[i]) {
            let _ = writeln!(out, "  ymm{i}: host {:016x?}\n        here {:016x?}", h.ymm[i], g.ymm[i]);
        }
    }
    x87(&mut out, case, h, g, &allowed);
    if !allowed.half_written {
        memory(&mut out, host.data, guest.data);
    }
    out
}

fn line(out: &mut String, name: &str, host: u64, guest: u64) {
    if host != guest {
        let _ = writeln!(out, "  {name}: host {host:#x}, here {guest:#x}, differing {:#x}", host ^ guest);
    }
}

fn ending(out: &mut String, mut host: Ending, guest: Ending) {
    let kernel_half = host.cr2 >= LINUX_TASK_SIZE;
    if host.vector == PAGE_FAULT && kernel_half && guest.error & PROTECTION == 0 {
        // Linux does not tell programs what is mapped in its own half.
        host.error &= !PROTECTION;
    }
    if host.vector != PAGE_FAULT {
        host.cr2 = 0;
    }
    if host.vector == BREAKPOINT || !matches!(host.vector, 8 | 10..=14 | 17) {
        host.error = 0;
    }
    if host != guest {
        let _ = writeln!(out, "  exception: host {host:x?}, here {guest:x?}");
    }
}

fn x87(out: &mut String, case: &Case, h: &State, g: &State, allowed: &undefined::Allowed) {
    let (h, g) = (&h.x87, &g.x87);
    line(out, "fcw", u64::from(h.control), u64::from(g.control));
    if allowed.mmx_switch && h.status & TOP == 0 {
        // The registers are shown from TOP on: only where they stand has changed.
        if (0..8).all(|i| h.st[i] as u64 == g.st[(i + 8 - usize::from(g.status >> 11 & 7)) & 7] as u64) {
            return;
        }
    }
    line(out, "fsw", u64::from(h.status & !allowed.fsw), u64::from(g.status & !allowed.fsw));
    line(out, "valid registers", u64::from(h.valid), u64::from(g.valid));
    line(out, "fip", h.ip & allowed.fip, g.ip & allowed.fip);
    for i in 0..8 {
        if h.st[i] != g.st[i] && !undefined::close_extended(case, h.st[i], g.st[i]) {
            let _ = writeln!(out, "  st{i}: host {:020x}, here {:020x}", h.st[i], g.st[i]);
        }
    }
}

fn memory(out: &mut String, host: &[u8], guest: &[u8]) {
    if host == guest {
        return;
    }
    let first = host.iter().zip(guest).position(|(h, g)| h != g).unwrap_or(0);
    let last = host.iter().zip(guest).rposition(|(h, g)| h != g).unwrap_or(0);
    let end = (last + 1).min(first + 64);
    let _ = writeln!(
        out,
        "  memory at data+{first:#x}..={last:#x}:\n    host {:02x?}\n    here {:02x?}",
        &host[first..end],
        &guest[first..end]
    );
}
