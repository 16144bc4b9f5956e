//! Time and waiting: RDTSC, RDTSCP, RDPMC and HLT.

use crate::fault::{Flow, Trap};
use crate::op::{Env, Exec, Op};
use crate::vcpu::{Activity, Vcpu, cr};
use iced_x86::{Code, Instruction};

impl Vcpu {
    /// The time-stamp counter at the step of `op`, in ticks.
    pub fn tsc(&mut self, env: &mut Env<'_>, op: &Op) -> u64 {
        // Reading the clock changes nothing on the board, so its signals need not be read again.
        let at = env.count_at(self, op);
        env.bus.tsc(at).wrapping_add(self.msrs.tsc_adjust)
    }
}

/// The code of the instructions of this file.
pub(super) fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    Some(match insn.code() {
        Code::Rdtsc => rdtsc,
        Code::Rdtscp => rdtscp,
        Code::Rdpmc => rdpmc,
        Code::Hlt => hlt,
        _ => return None,
    })
}

fn rdtsc(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.cr4 & cr::CR4_TSD != 0 && cpu.mode.cpl != 0 {
        return Err(cpu.gp0());
    }
    let tsc = cpu.tsc(env, op);
    cpu.gpr[0] = tsc & 0xffff_ffff;
    cpu.gpr[2] = tsc >> 32;
    Ok(Flow::Next)
}

fn rdtscp(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let flow = rdtsc(cpu, env, op)?;
    cpu.gpr[1] = cpu.msrs.tsc_aux;
    Ok(flow)
}

/// No counter exists (CPUID leaf 0Ah is zero), so that every number is a wrong one.
fn rdpmc(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    Err(cpu.gp0())
}

fn hlt(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    cpu.activity = Activity::Halted;
    Ok(Flow::Stop)
}
