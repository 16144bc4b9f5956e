//! The machine-check registers (SDM Vol. 3B, 15.3). No machine check ever happens; the
//! registers hold what software may write: all ones or zeros in the control registers,
//! anything in the address and miscellaneous ones, and nothing in the status registers,
//! which software can only clear.

use super::msr::within;

/// Error-reporting banks.
pub const BANKS: usize = 4;

/// The registers that can change, as RDMSR shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCheck {
    /// IA32_MCG_STATUS.
    pub status: u64,
    /// IA32_MCG_CTL.
    pub control: u64,
    /// IA32_MC0_CTL and following.
    pub bank_control: [u64; BANKS],
    /// IA32_MC0_ADDR and following.
    pub bank_address: [u64; BANKS],
    /// IA32_MC0_MISC and following.
    pub bank_misc: [u64; BANKS],
}

const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MCG_CTL: u32 = 0x17b;
const FIRST_BANK: u32 = 0x400;
const LAST_BANK: u32 = FIRST_BANK + 4 * BANKS as u32 - 1;
/// IA32_MCG_CTL exists.
const MCG_CAP_VALUE: u64 = BANKS as u64 | 1 << 8;

impl MachineCheck {
    /// RDMSR; `None` if the register is none of these.
    pub(super) fn read(&self, index: u32) -> Option<u64> {
        match index {
            MCG_CAP => Some(MCG_CAP_VALUE),
            MCG_STATUS => Some(self.status),
            MCG_CTL => Some(self.control),
            FIRST_BANK..=LAST_BANK => {
                let bank = (index - FIRST_BANK) as usize / 4;
                Some(match index % 4 {
                    0 => self.bank_control[bank],
                    1 => 0,
                    2 => self.bank_address[bank],
                    _ => self.bank_misc[bank],
                })
            }
            _ => None,
        }
    }

    /// WRMSR; `None` if the register is none of these or the value is not allowed.
    pub(super) fn write(&mut self, index: u32, value: u64) -> Option<()> {
        match index {
            // RIPV, EIPV and MCIP.
            MCG_STATUS => self.status = within(value, 7)?,
            MCG_CTL => self.control = all_or_none(value)?,
            FIRST_BANK..=LAST_BANK => {
                let bank = (index - FIRST_BANK) as usize / 4;
                match index % 4 {
                    0 => self.bank_control[bank] = all_or_none(value)?,
                    1 => within(value, 0).map(|_| ())?,
                    2 => self.bank_address[bank] = value,
                    _ => self.bank_misc[bank] = value,
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// True if every register holds what WRMSR would let in.
    pub(crate) fn is_valid(&self) -> bool {
        self.status <= 7 && self.bank_control.into_iter().chain([self.control]).all(|c| all_or_none(c).is_some())
    }
}

/// The control registers take all ones or all zeros.
fn all_or_none(value: u64) -> Option<u64> {
    (value == 0 || value == u64::MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_take_what_they_should() {
        let mut mca = MachineCheck::default();
        assert!(mca.write(0x400, u64::MAX).is_some());
        assert!(mca.write(0x40c, 5).is_none());
        assert!(mca.write(0x401, 0).is_some());
        assert!(mca.write(0x401, 1).is_none());
        assert!(mca.write(0x402, 7).is_some());
        assert!(mca.write(0x410, 0).is_none());
        assert_eq!(mca.read(0x400), Some(u64::MAX));
        assert_eq!(mca.read(0x410), None);
    }
}
