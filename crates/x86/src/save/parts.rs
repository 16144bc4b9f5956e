//! The saved forms of the register files that a vCPU is made of.

use super::{InvalidState, check, exactly};
use crate::memory::access::is_canonical;
use crate::model::CpuModel;
use crate::segment::{Segment, TableRegister};
use crate::system::debug::DebugRegisters;
use crate::system::mca::MachineCheck;
use crate::system::msr::Msrs;
use crate::system::mtrr::Mtrrs;
use crate::vector::state::VectorState;
use crate::x87::state::{X87State, status};

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SegmentState {
    /// Selector.
    #[prost(uint32, tag = "1")]
    pub selector: u32,
    /// Base address.
    #[prost(uint64, tag = "2")]
    pub base: u64,
    /// Limit in bytes.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
    /// Access rights, laid out as [`Segment::attr`].
    #[prost(uint32, tag = "4")]
    pub attr: u32,
}

impl SegmentState {
    pub(super) fn save(from: &Segment) -> Self {
        let Segment { selector, base, limit, attr } = *from;
        SegmentState { selector: selector.into(), base, limit, attr }
    }

    pub(super) fn restore(&self) -> Result<Segment, InvalidState> {
        const ATTR: u32 = 0x1_f0ff;
        let selector = self.selector.try_into().map_err(|_| InvalidState("segment selector"))?;
        check(self.attr & !ATTR == 0, "segment access rights")?;
        check(is_canonical(self.base), "segment base")?;
        Ok(Segment { selector, base: self.base, limit: self.limit, attr: self.attr })
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct TableState {
    /// Linear base address.
    #[prost(uint64, tag = "1")]
    pub base: u64,
    /// Limit in bytes.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

impl TableState {
    pub(super) fn save(from: &TableRegister) -> Self {
        let TableRegister { base, limit } = *from;
        TableState { base, limit: limit.into() }
    }

    pub(super) fn restore(&self) -> Result<TableRegister, InvalidState> {
        let limit = self.limit.try_into().map_err(|_| InvalidState("table limit"))?;
        check(is_canonical(self.base), "table base")?;
        Ok(TableRegister { base: self.base, limit })
    }
}

/// The MSRs that belong to the CPU and are kept nowhere else.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MsrState {
    /// IA32_STAR.
    #[prost(uint64, tag = "1")]
    pub star: u64,
    /// IA32_LSTAR.
    #[prost(fixed64, tag = "2")]
    pub lstar: u64,
    /// IA32_CSTAR.
    #[prost(fixed64, tag = "3")]
    pub cstar: u64,
    /// IA32_FMASK.
    #[prost(uint64, tag = "4")]
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    #[prost(fixed64, tag = "5")]
    pub kernel_gs_base: u64,
    /// IA32_SYSENTER_CS.
    #[prost(uint64, tag = "6")]
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    #[prost(fixed64, tag = "7")]
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    #[prost(fixed64, tag = "8")]
    pub sysenter_eip: u64,
    /// IA32_TSC_AUX.
    #[prost(uint64, tag = "9")]
    pub tsc_aux: u64,
    /// IA32_TSC_ADJUST.
    #[prost(fixed64, tag = "10")]
    pub tsc_adjust: u64,
    /// IA32_MISC_ENABLE.
    #[prost(uint64, tag = "11")]
    pub misc_enable: u64,
    /// IA32_PAT.
    #[prost(fixed64, tag = "12")]
    pub pat: u64,
    /// IA32_MTRR_DEF_TYPE.
    #[prost(uint64, tag = "13")]
    pub mtrr_default: u64,
    /// The fixed ranges, in the order of addresses.
    #[prost(fixed64, repeated, tag = "14")]
    pub mtrr_fixed: Vec<u64>,
    /// IA32_MTRR_PHYSBASEn.
    #[prost(uint64, repeated, tag = "15")]
    pub mtrr_base: Vec<u64>,
    /// IA32_MTRR_PHYSMASKn.
    #[prost(uint64, repeated, tag = "16")]
    pub mtrr_mask: Vec<u64>,
    /// IA32_MCG_STATUS.
    #[prost(uint64, tag = "17")]
    pub mcg_status: u64,
    /// IA32_MCG_CTL.
    #[prost(uint64, tag = "18")]
    pub mcg_control: u64,
    /// IA32_MCn_CTL.
    #[prost(uint64, repeated, tag = "19")]
    pub bank_control: Vec<u64>,
    /// IA32_MCn_ADDR.
    #[prost(uint64, repeated, tag = "20")]
    pub bank_address: Vec<u64>,
    /// IA32_MCn_MISC.
    #[prost(uint64, repeated, tag = "21")]
    pub bank_misc: Vec<u64>,
}

impl MsrState {
    pub(super) fn save(from: &Msrs) -> Self {
        let Msrs {
            star,
            lstar,
            cstar,
            fmask,
            kernel_gs_base,
            sysenter_cs,
            sysenter_esp,
            sysenter_eip,
            tsc_aux,
            tsc_adjust,
            misc_enable,
            mtrrs: Mtrrs { pat, default, fixed, base, mask },
            machine_check: MachineCheck { status, control, bank_control, bank_address, bank_misc },
        } = *from;
        MsrState {
            star,
            lstar,
            cstar,
            fmask,
            kernel_gs_base,
            sysenter_cs,
            sysenter_esp,
            sysenter_eip,
            tsc_aux,
            tsc_adjust,
            misc_enable,
            pat,
            mtrr_default: default,
            mtrr_fixed: fixed.to_vec(),
            mtrr_base: base.to_vec(),
            mtrr_mask: mask.to_vec(),
            mcg_status: status,
            mcg_control: control,
            bank_control: bank_control.to_vec(),
            bank_address: bank_address.to_vec(),
            bank_misc: bank_misc.to_vec(),
        }
    }

    pub(super) fn restore(&self) -> Result<Msrs, InvalidState> {
        let msrs = Msrs {
            star: self.star,
            lstar: self.lstar,
            cstar: self.cstar,
            fmask: self.fmask,
            kernel_gs_base: self.kernel_gs_base,
            sysenter_cs: self.sysenter_cs,
            sysenter_esp: self.sysenter_esp,
            sysenter_eip: self.sysenter_eip,
            tsc_aux: self.tsc_aux,
            tsc_adjust: self.tsc_adjust,
            misc_enable: self.misc_enable,
            mtrrs: Mtrrs {
                pat: self.pat,
                default: self.mtrr_default,
                fixed: exactly(&self.mtrr_fixed, "fixed MTRRs")?,
                base: exactly(&self.mtrr_base, "MTRR bases")?,
                mask: exactly(&self.mtrr_mask, "MTRR masks")?,
            },
            machine_check: MachineCheck {
                status: self.mcg_status,
                control: self.mcg_control,
                bank_control: exactly(&self.bank_control, "machine-check banks")?,
                bank_address: exactly(&self.bank_address, "machine-check banks")?,
                bank_misc: exactly(&self.bank_misc, "machine-check banks")?,
            },
        };
        check(msrs.is_valid(), "model-specific registers")?;
        Ok(msrs)
    }
}

/// DR0 to DR3, DR6, DR7.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DebugState {
    /// DR0 to DR3.
    #[prost(fixed64, repeated, tag = "1")]
    pub address: Vec<u64>,
    /// DR6.
    #[prost(uint64, tag = "2")]
    pub dr6: u64,
    /// DR7.
    #[prost(uint64, tag = "3")]
    pub dr7: u64,
}

impl DebugState {
    pub(super) fn save(from: &DebugRegisters) -> Self {
        let DebugRegisters { address, dr6, dr7 } = *from;
        DebugState { address: address.to_vec(), dr6, dr7 }
    }

    pub(super) fn restore(&self) -> Result<DebugRegisters, InvalidState> {
        let mut debug = DebugRegisters { address: exactly(&self.address, "debug addresses")?, dr6: 0, dr7: 0 };
        debug.set_dr6(self.dr6);
        debug.set_dr7(self.dr7);
        check(debug.dr6 == self.dr6 && debug.dr7 == self.dr7, "debug registers")?;
        Ok(debug)
    }
}

/// YMM registers and MXCSR.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VectorRegisters {
    /// YMM0 to YMM15, four words each, the lowest first.
    #[prost(fixed64, repeated, tag = "1")]
    pub ymm: Vec<u64>,
    /// MXCSR.
    #[prost(uint32, tag = "2")]
    pub mxcsr: u32,
}

impl VectorRegisters {
    pub(super) fn save(from: &VectorState) -> Self {
        let VectorState { ymm, mxcsr } = *from;
        VectorRegisters { ymm: ymm.as_flattened().to_vec(), mxcsr }
    }

    /// MXCSR's reserved bits would fault on the host.
    pub(super) fn restore(&self, model: CpuModel) -> Result<VectorState, InvalidState> {
        let words: [u64; 64] = exactly(&self.ymm, "vector registers")?;
        let mut ymm = [[0; 4]; 16];
        ymm.as_flattened_mut().copy_from_slice(&words);
        let upper_halves = ymm.iter().any(|r| r[2] | r[3] != 0);
        check(model == CpuModel::V3 || !upper_halves, "vector registers")?;
        check(self.mxcsr >> 16 == 0, "mxcsr")?;
        Ok(VectorState { ymm, mxcsr: self.mxcsr })
    }
}

/// The x87 registers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct X87Registers {
    /// Significands of the physical registers.
    #[prost(fixed64, repeated, tag = "1")]
    pub significands: Vec<u64>,
    /// Their signs and exponents.
    #[prost(uint32, repeated, tag = "2")]
    pub exponents: Vec<u32>,
    /// FCW.
    #[prost(uint32, tag = "3")]
    pub control: u32,
    /// FSW.
    #[prost(uint32, tag = "4")]
    pub status: u32,
    /// One bit a physical register that is not empty.
    #[prost(uint32, tag = "5")]
    pub valid: u32,
    /// FOP.
    #[prost(uint32, tag = "6")]
    pub opcode: u32,
    /// FIP.
    #[prost(uint64, tag = "7")]
    pub ip: u64,
    /// FDP.
    #[prost(uint64, tag = "8")]
    pub dp: u64,
    /// FCS.
    #[prost(uint32, tag = "9")]
    pub cs: u32,
    /// FDS.
    #[prost(uint32, tag = "10")]
    pub ds: u32,
    /// Whether the board asserts IGNNE#.
    #[prost(bool, tag = "11")]
    pub is_ignored: bool,
}

impl X87Registers {
    pub(super) fn save(from: &X87State) -> Self {
        let X87State { regs, control, status, valid, opcode, ip, dp, cs, ds, is_ignored } = *from;
        X87Registers {
            significands: regs.iter().map(|r| *r as u64).collect(),
            exponents: regs.iter().map(|r| (*r >> 64) as u32).collect(),
            control: control.into(),
            status: status.into(),
            valid: valid.into(),
            opcode: opcode.into(),
            ip,
            dp,
            cs: cs.into(),
            ds: ds.into(),
            is_ignored,
        }
    }

    pub(super) fn restore(&self) -> Result<X87State, InvalidState> {
        let word = |value: u32| u16::try_from(value).map_err(|_| InvalidState("x87 state"));
        let significands: [u64; 8] = exactly(&self.significands, "x87 registers")?;
        let exponents: [u32; 8] = exactly(&self.exponents, "x87 registers")?;
        let mut regs = [0; 8];
        for (i, reg) in regs.iter_mut().enumerate() {
            *reg = u128::from(significands[i]) | u128::from(word(exponents[i])?) << 64;
        }
        check(self.opcode < 1 << 11 && self.valid < 1 << 8, "x87 state")?;
        check(!self.is_ignored || self.status & u32::from(status::SUMMARY) != 0, "x87 state")?;
        Ok(X87State {
            regs,
            control: word(self.control)?,
            status: word(self.status)?,
            valid: self.valid as u8,
            opcode: self.opcode as u16,
            ip: self.ip,
            dp: self.dp,
            cs: word(self.cs)?,
            ds: word(self.ds)?,
            is_ignored: self.is_ignored,
        })
    }
}
