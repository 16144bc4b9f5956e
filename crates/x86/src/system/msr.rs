//! Model-specific registers that belong to the CPU, RDMSR and WRMSR (SDM Vol. 4).
//!
//! The local APIC's registers and the TSC deadline belong to the board and go through the
//! bus; memory types and machine checks are in [`super::mtrr`] and [`super::mca`].

use super::mca::MachineCheck;
use super::mtrr::Mtrrs;
use crate::fault::{Flow, Trap};
use crate::memory::access::is_canonical;
use crate::op::{Env, Exec, Op};
use crate::segment::seg;
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction};

/// The registers, each as RDMSR shows it unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Msrs {
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// IA32_TSC_ADJUST: what is added to the board's time-stamp counter.
    pub tsc_adjust: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_PAT and the memory-type range registers.
    pub mtrrs: Mtrrs,
    /// The machine-check registers.
    pub machine_check: MachineCheck,
}

/// IA32_MISC_ENABLE: REP MOVS and STOS are fast.
const MISC_FAST_STRINGS: u64 = 1 << 0;
/// IA32_MISC_ENABLE: MONITOR and MWAIT exist.
pub(super) const MISC_MONITOR: u64 = 1 << 18;
/// IA32_MISC_ENABLE: CPUID shows no basic leaf above 3.
pub(super) const MISC_LIMIT_CPUID: u64 = 1 << 22;
/// IA32_MISC_ENABLE: CPUID does not show NX.
pub(super) const MISC_XD_DISABLE: u64 = 1 << 34;
/// IA32_MISC_ENABLE: no branch trace store, no precise event-based sampling.
const MISC_NO_BTS_PEBS: u64 = 3 << 11;
/// IA32_MISC_ENABLE: the bits that hold what is written. Besides those above these are TM1,
/// performance monitoring, SpeedStep and xTPR, which mean nothing here.
const MISC_WRITABLE: u64 = MISC_FAST_STRINGS
    | MISC_MONITOR
    | MISC_LIMIT_CPUID
    | MISC_XD_DISABLE
    | MISC_NO_BTS_PEBS
    | 1 << 3
    | 1 << 7
    | 1 << 16
    | 1 << 23;

/// IA32_APIC_BASE.
pub(super) const APIC_BASE: u32 = 0x1b;
/// IA32_APIC_BASE: the local APIC is on.
pub(super) const APIC_BASE_ENABLE: u64 = 1 << 11;
const TIME_STAMP_COUNTER: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const BIOS_SIGN_ID: u32 = 0x8b;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUGCTL: u32 = 0x1d9;
const TSC_DEADLINE: u32 = 0x6e0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

/// IA32_ARCH_CAPABILITIES: RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO,
/// TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
const ARCH_CAPABILITIES: u64 = 1 << 0
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 20
    | 1 << 24
    | 1 << 26
    | 1 << 27
    | 1 << 62;

/// Registers that can only be read, and always hold the same.
const CONSTANT: &[(u32, u64)] = &[
    // IA32_PLATFORM_ID.
    (0x17, 0),
    // EBL_CR_POWERON.
    (0x2a, 0),
    // IA32_FEATURE_CONTROL: locked, nothing enabled.
    (0x3a, 1),
    // FSB_FREQ: 100 MHz.
    (0xcd, 5),
    // PLATFORM_INFO: ten times 100 MHz.
    (0xce, 10 << 8),
    (0x10a, ARCH_CAPABILITIES),
    // IA32_PERF_STATUS and IA32_PERF_CTL: ten times 100 MHz.
    (0x198, 10 << 8),
    (0x199, 10 << 8),
];
/// IA32_BIOS_SIGN_ID: the revision of the microcode, in the upper half.
const MICROCODE_REVISION: u64 = 0x219 << 32;

impl Msrs {
    /// The registers at power-on.
    pub fn power_on() -> Self {
        Msrs {
            misc_enable: MISC_FAST_STRINGS | MISC_MONITOR | MISC_NO_BTS_PEBS,
            mtrrs: Mtrrs::power_on(),
            ..Msrs::default()
        }
    }

    /// True if every register holds what WRMSR would let in.
    pub(crate) fn is_valid(&self) -> bool {
        let addresses = [self.lstar, self.cstar, self.kernel_gs_base, self.sysenter_esp, self.sysenter_eip];
        let narrow = [self.fmask, self.sysenter_cs, self.tsc_aux];
        addresses.into_iter().all(is_canonical)
            && narrow.into_iter().all(|value| value >> 32 == 0)
            && within(self.misc_enable, MISC_WRITABLE).is_some()
            && self.mtrrs.is_valid()
            && self.machine_check.is_valid()
    }
}

/// True for the registers that belong to the board.
fn is_on_board(index: u32) -> bool {
    matches!(index, APIC_BASE | TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST)
}

impl Vcpu {
    /// What RDMSR gives at the step of `op`; `None` is #GP(0).
    pub fn read_msr(&mut self, env: &mut Env<'_>, op: &Op, index: u32) -> Option<u64> {
        if is_on_board(index) {
            let at = env.count_at(self, op);
            env.touch_bus();
            return env.bus.msr_read(index, at);
        }
        Some(match index {
            TIME_STAMP_COUNTER => self.tsc(env, op),
            TSC_ADJUST => self.msrs.tsc_adjust,
            SYSENTER_CS => self.msrs.sysenter_cs,
            SYSENTER_ESP => self.msrs.sysenter_esp,
            SYSENTER_EIP => self.msrs.sysenter_eip,
            BIOS_SIGN_ID => MICROCODE_REVISION,
            MISC_ENABLE => self.msrs.misc_enable,
            DEBUGCTL => 0,
            EFER => self.efer,
            STAR => self.msrs.star,
            LSTAR => self.msrs.lstar,
            CSTAR => self.msrs.cstar,
            FMASK => self.msrs.fmask,
            FS_BASE => self.seg[seg::FS].base,
            GS_BASE => self.seg[seg::GS].base,
            KERNEL_GS_BASE => self.msrs.kernel_gs_base,
            TSC_AUX => self.msrs.tsc_aux,
            _ => {
                let constant = CONSTANT.iter().find(|(n, _)| *n == index).map(|(_, value)| *value);
                return constant
                    .or_else(|| self.msrs.mtrrs.read(index))
                    .or_else(|| self.msrs.machine_check.read(index));
            }
        })
    }

    /// WRMSR; `None` is #GP(0), and nothing has changed then.
    pub fn write_msr(&mut self, env: &mut Env<'_>, op: &Op, index: u32, value: u64) -> Option<()> {
        if is_on_board(index) {
            let at = env.count_at(self, op);
            env.touch_bus();
            return env.bus.msr_write(index, value, at);
        }
        match index {
            TIME_STAMP_COUNTER => {
                let change = value.wrapping_sub(self.tsc(env, op));
                self.set_tsc_adjust(env, op, self.msrs.tsc_adjust.wrapping_add(change));
            }
            TSC_ADJUST => self.set_tsc_adjust(env, op, value),
            // The register has 32 bits.
            SYSENTER_CS => self.msrs.sysenter_cs = value & 0xffff_ffff,
            SYSENTER_ESP => self.msrs.sysenter_esp = canonical(value)?,
            SYSENTER_EIP => self.msrs.sysenter_eip = canonical(value)?,
            // Cleared before CPUID loads the revision into it; here it is always loaded.
            BIOS_SIGN_ID => {}
            MISC_ENABLE => self.msrs.misc_enable = within(value, MISC_WRITABLE)?,
            // Neither branch records nor single steps by branches.
            DEBUGCTL => within(value, 0).map(|_| ())?,
            EFER => self.write_efer(value)?,
            STAR => self.msrs.star = value,
            LSTAR => self.msrs.lstar = canonical(value)?,
            CSTAR => self.msrs.cstar = canonical(value)?,
            FMASK => self.msrs.fmask = within(value, 0xffff_ffff)?,
            FS_BASE => self.seg[seg::FS].base = canonical(value)?,
            GS_BASE => self.seg[seg::GS].base = canonical(value)?,
            KERNEL_GS_BASE => self.msrs.kernel_gs_base = canonical(value)?,
            TSC_AUX => self.msrs.tsc_aux = within(value, 0xffff_ffff)?,
            _ => {
                let mtrrs = self.msrs.mtrrs.write(index, value);
                return mtrrs.or_else(|| self.msrs.machine_check.write(index, value));
            }
        }
        Some(())
    }

    fn set_tsc_adjust(&mut self, env: &mut Env<'_>, op: &Op, adjust: u64) {
        let at = env.count_at(self, op);
        self.msrs.tsc_adjust = adjust;
        env.touch_bus();
        env.bus.set_tsc_offset(adjust, at);
    }

    /// LMA cannot be written; LME cannot be changed while paging is on.
    fn write_efer(&mut self, value: u64) -> Option<()> {
        within(value, cr::EFER_SCE | cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE)?;
        let changed = value ^ self.efer;
        if changed & cr::EFER_LME != 0 && self.cr0 & cr::CR0_PG != 0 {
            return None;
        }
        self.efer = value & !cr::EFER_LMA | self.efer & cr::EFER_LMA;
        if changed & cr::EFER_NXE != 0 {
            self.tlb.flush();
        }
        self.update_mode();
        Some(())
    }
}

/// `value` if it is a canonical address.
fn canonical(value: u64) -> Option<u64> {
    is_canonical(value).then_some(value)
}

/// `value` if it has no bit outside `mask`.
pub(super) fn within(value: u64, mask: u64) -> Option<u64> {
    (value & !mask == 0).then_some(value)
}

/// The code of RDMSR and WRMSR.
pub(super) fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    match insn.code() {
        Code::Rdmsr => Some(rdmsr),
        Code::Wrmsr => Some(wrmsr),
        _ => None,
    }
}

fn rdmsr(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.mode.cpl != 0 {
        return Err(cpu.gp0());
    }
    let Some(value) = cpu.read_msr(env, op, cpu.gpr[1] as u32) else { return Err(cpu.gp0()) };
    cpu.gpr[0] = value & 0xffff_ffff;
    cpu.gpr[2] = value >> 32;
    Ok(Flow::Next)
}

fn wrmsr(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.mode.cpl != 0 {
        return Err(cpu.gp0());
    }
    let value = cpu.gpr[2] << 32 | cpu.gpr[0] & 0xffff_ffff;
    match cpu.write_msr(env, op, cpu.gpr[1] as u32, value) {
        Some(()) => Ok(Flow::Leave),
        None => Err(cpu.gp0()),
    }
}
