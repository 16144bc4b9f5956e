//! The fixed ACPI registers: PM1 event and control, PM timer (ACPI 6.5, section 4.8.3).

use x86::VirtualTime;

/// Frequency of the PM timer.
pub const PM_TIMER_HZ: u64 = 3_579_545;

pub(super) mod status {
    pub const TIMER: u16 = 1 << 0;
    pub const GLOBAL: u16 = 1 << 5;
    pub const POWER_BUTTON: u16 = 1 << 8;
    pub const SLEEP_BUTTON: u16 = 1 << 9;
    pub const RTC: u16 = 1 << 10;
    /// The enable bits that exist.
    pub const ENABLES: u16 = TIMER | GLOBAL | POWER_BUTTON | SLEEP_BUTTON | RTC;
}

pub(super) mod control {
    pub const SCI_ENABLE: u16 = 1 << 0;
    pub const BM_RELOAD: u16 = 1 << 1;
    pub const SLEEP_TYPE_SHIFT: u16 = 10;
    pub const SLEEP_TYPE: u16 = 7 << SLEEP_TYPE_SHIFT;
    pub const SLEEP_ENABLE: u16 = 1 << 13;
    /// What reads back as written. GBL_RLS and SLP_EN are write-only.
    pub const KEPT: u16 = SCI_ENABLE | BM_RELOAD | SLEEP_TYPE;
}

/// The registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    pub(super) status: u16,
    pub(super) enable: u16,
    pub(super) control: u16,
    /// How often the timer's top bit had changed when that was last looked at.
    pub(super) timer_halves: u64,
    /// The last SMI command, and the byte beside it that firmware and system share.
    pub(super) smi_command: u8,
    pub(super) smi_data: u8,
}

impl Chip {
    /// The byte at `offset` of the register block.
    pub fn read(&self, offset: u16, now: VirtualTime) -> u8 {
        let byte = |register: u32| (register >> (8 * (offset % 4))) as u8;
        match offset {
            0..4 => byte(u32::from(self.status) | u32::from(self.enable) << 16),
            4..6 => byte(u32::from(self.control)),
            8..12 => byte(now.ticks(PM_TIMER_HZ) as u32),
            _ => 0,
        }
    }

    /// Writes the byte at `offset`. Returns the sleep type if that asks for sleep.
    pub fn write(&mut self, offset: u16, value: u8) -> Option<u8> {
        let shift = 8 * (offset % 2);
        let (value, mask) = (u16::from(value) << shift, 0xff << shift);
        match offset {
            0..2 => self.status &= !value,
            2..4 => self.enable = self.enable & !mask | value & status::ENABLES,
            4..6 => {
                self.control = self.control & !mask | value & control::KEPT;
                if value & control::SLEEP_ENABLE != 0 {
                    return Some(((self.control & control::SLEEP_TYPE) >> control::SLEEP_TYPE_SHIFT) as u8);
                }
            }
            _ => {}
        }
        None
    }

    /// Takes over (or gives back) the power management interrupt: what the SMI handler does.
    pub fn set_acpi_mode(&mut self, on: bool) {
        self.control = self.control & !control::SCI_ENABLE | if on { control::SCI_ENABLE } else { 0 };
    }

    /// The power button is pressed.
    pub fn press_power_button(&mut self) {
        self.status |= status::POWER_BUTTON;
    }

    /// Whether the system control interrupt is asserted.
    pub fn sci(&self) -> bool {
        self.control & control::SCI_ENABLE != 0 && self.status & self.enable != 0
    }

    /// Notes the timer's top bit: each change of it sets the timer status.
    pub fn advance(&mut self, now: VirtualTime) {
        let halves = now.ticks(PM_TIMER_HZ) >> 31;
        if halves != self.timer_halves {
            self.timer_halves = halves;
            self.status |= status::TIMER;
        }
    }

    /// When the timer's top bit next changes, if that would be noticed.
    pub fn deadline(&self) -> VirtualTime {
        if self.enable & !self.status & status::TIMER == 0 {
            return VirtualTime::NEVER;
        }
        VirtualTime::at_tick((self.timer_halves + 1) << 31, PM_TIMER_HZ)
    }
}
