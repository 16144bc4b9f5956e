//! Power-on, INIT and start-up IPI (SDM Vol. 3A, 9.1 and table 9-1).

use super::debug::DebugRegisters;
use super::msr::Msrs;
use crate::fault::Exception;
use crate::flags::LazyFlags;
use crate::memory::tlb::Tlb;
use crate::model::{CpuModel, XCR0_X87};
use crate::segment::{ATTR_P, Segment, TableRegister, seg};
use crate::system::cpuid::SIGNATURE;
use crate::units::InsnCount;
use crate::vcpu::{Activity, Mode, Shadow, Vcpu, cr};
use crate::vector::state::VectorState;
use crate::x87::state::X87State;

const RDX: usize = 2;
/// Descriptor type of an LDT.
const TYPE_LDT: u32 = 2;
/// Descriptor type of a busy 32-bit TSS.
const TYPE_BUSY_TSS: u32 = 11;

impl Vcpu {
    /// A vCPU in its power-on state. The one with `apic_id` 0 starts at the reset vector, the
    /// others wait for a start-up IPI, as after the multiprocessor initialization protocol.
    ///
    /// `vcpus` is the number of vCPUs of the machine, at least 1.
    pub fn new(model: CpuModel, apic_id: u32, vcpus: u32) -> Self {
        assert!(vcpus > 0 && apic_id < vcpus, "APIC ids are below the number of vCPUs");
        let mut cpu = Vcpu {
            gpr: [0; 32],
            lazy: LazyFlags::default(),
            rflags_system: 0,
            rip: 0,
            mode: Mode::default(),
            count: InsnCount(0),
            fault: Exception::default(),
            seg: [Segment::default(); 8],
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            cr0: cr::CR0_CD | cr::CR0_NW | cr::CR0_ET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: XCR0_X87,
            pdpte: [0; 4],
            msrs: Msrs::power_on(),
            debug: DebugRegisters::default(),
            vector: VectorState::default(),
            // All registers hold +0.0 and none is empty.
            x87: X87State { control: 0x40, valid: 0xff, ..X87State::default() },
            activity: Activity::Running,
            shadow: Shadow::None,
            nmi_pending: 0,
            nmi_blocked: false,
            debug_pending: 0,
            monitor: None,
            a20_mask: u64::MAX,
            tlb: Tlb::default(),
            model,
            apic_id,
            vcpus,
        };
        cpu.init();
        cpu
    }

    /// INIT: everything restarts but the x87 and vector registers, XCR0, the MSRs, the cache
    /// bits of CR0 and the A20 gate. EFER is cleared: paging is off, so LMA must be too.
    pub fn init(&mut self) {
        self.gpr = [0; 32];
        self.gpr[RDX] = u64::from(SIGNATURE);
        self.lazy = LazyFlags::from_bits(0);
        self.rflags_system = 0;
        self.rip = 0xfff0;
        self.seg = [Segment::real(0); 8];
        self.seg[seg::CS] = Segment { base: 0xffff_0000, ..Segment::real(0xf000) };
        self.seg[seg::LDTR].attr = ATTR_P | TYPE_LDT;
        self.seg[seg::TR].attr = ATTR_P | TYPE_BUSY_TSS;
        self.gdtr = TableRegister { base: 0, limit: 0xffff };
        self.idtr = self.gdtr;
        self.cr0 = self.cr0 & (cr::CR0_CD | cr::CR0_NW) | cr::CR0_ET;
        self.cr2 = 0;
        self.cr3 = 0;
        self.cr4 = 0;
        self.efer = 0;
        self.pdpte = [0; 4];
        self.debug = DebugRegisters::power_on();
        self.activity = if self.apic_id == 0 { Activity::Running } else { Activity::WaitForSipi };
        self.shadow = Shadow::None;
        self.nmi_pending = 0;
        self.nmi_blocked = false;
        self.debug_pending = 0;
        self.monitor = None;
        self.tlb.flush();
        self.update_mode();
    }

    /// A start-up IPI: execution begins at `vector` times 4096 in real mode. Ignored unless
    /// the vCPU waits for it (SDM Vol. 3A, 8.4.4.1).
    pub fn start_up(&mut self, vector: u8) {
        if self.activity != Activity::WaitForSipi {
            return;
        }
        self.seg[seg::CS] = Segment::real(u16::from(vector) << 8);
        self.rip = 0;
        self.activity = Activity::Running;
        self.tlb.leave_fetch_page();
        self.update_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::CodeSize;

    #[test]
    fn power_on_is_table_9_1() {
        let cpu = Vcpu::new(CpuModel::V2, 0, 1);
        assert_eq!(cpu.rflags(), 2);
        assert_eq!(cpu.cr0, 0x6000_0010);
        assert_eq!(cpu.seg[seg::CS].base + cpu.rip, 0xffff_fff0);
        assert_eq!(cpu.debug.dr6, 0xffff_0ff0);
        assert_eq!(cpu.debug.dr7, 0x400);
        assert_eq!(cpu.mode.code, CodeSize::B16);
        assert!(cpu.mode.real && cpu.activity == Activity::Running);
    }

    #[test]
    fn a_start_up_ipi_counts_only_after_init() {
        let mut cpu = Vcpu::new(CpuModel::V2, 1, 2);
        assert_eq!(cpu.activity, Activity::WaitForSipi);
        cpu.start_up(0x9a);
        assert_eq!((cpu.seg[seg::CS].base, cpu.rip), (0x9_a000, 0));
        cpu.start_up(0x10);
        assert_eq!(cpu.seg[seg::CS].selector, 0x9a00);
        cpu.msrs.star = 5;
        cpu.init();
        assert_eq!((cpu.activity, cpu.msrs.star), (Activity::WaitForSipi, 5));
    }
}
