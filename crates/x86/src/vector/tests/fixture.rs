//! A vCPU in 64-bit mode with a little memory, and a way to execute one instruction on it.

use super::super::{HostFeatures, prepare};
use crate::decode::{self, Decoded};
use crate::fault::{Exception, Flow};
use crate::flags::LazyFlags;
use crate::memory::phys::OwnedMemory;
use crate::memory::tlb::Tlb;
use crate::model::CpuModel;
use crate::no_board::NoBoard;
use crate::op::Env;
use crate::segment::{ATTR_CODE, ATTR_L, ATTR_P, ATTR_RW, ATTR_S, Segment, TableRegister, seg};
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::{Activity, Mode, Shadow, Vcpu, cr};

/// The memory operand of most tests: a page with a page that is not present behind it.
pub const PAGE: u64 = 0x1_f000;
/// Not present.
pub const ABSENT: u64 = 0x2_0000;
/// Read-only.
pub const READ_ONLY: u64 = 0x2_1000;

/// True if the host executes AVX; what needs it is skipped, loudly, where it does not.
pub fn has_avx() -> bool {
    HostFeatures::detect().lacks(CpuModel::V3).is_empty()
}

/// A vCPU and its memory.
pub struct Fixture {
    pub cpu: Vcpu,
    pub ram: OwnedMemory,
}

/// A xorshift generator: tests need variety, not quality.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

impl Fixture {
    pub fn new() -> Fixture {
        prepare(CpuModel::V2).expect("a host with the extensions of x86-64-v2");
        let mut ram = OwnedMemory::new(1 << 20);
        let mut put = |at: u64, value: u64| assert!(ram.memory.write(GuestPhysAddr(at), &value.to_le_bytes()));
        put(0x1000, 0x2003);
        put(0x2000, 0x3003);
        put(0x3000, 0x4003);
        for page in 0..256 {
            let flags = match page << 12 {
                ABSENT => 0,
                READ_ONLY => 1,
                _ => 3,
            };
            put(0x4000 + 8 * page, page << 12 | flags);
        }
        Fixture { cpu: vcpu(), ram }
    }

    /// Executes one instruction, in the mode that the vCPU is in.
    pub fn execute(&mut self, bytes: &[u8]) -> Result<Flow, Exception> {
        let Decoded::Op { op, .. } = decode::decode(bytes, 0, self.cpu.mode.code, CpuModel::V3) else {
            panic!("{bytes:02x?} is cut off");
        };
        let mut bus = NoBoard;
        let mut env = Env {
            mem: &mut self.ram.memory,
            bus: &mut bus,
            leave: false,
            bus_touched: false,
            until: InsnCount(u64::MAX),
            extra_steps: 0,
            interrupt: false,
        };
        (op.exec)(&mut self.cpu, &mut env, &op).map_err(|_| self.cpu.fault)
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        assert!(self.ram.memory.write(GuestPhysAddr(at), data));
    }

    pub fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut out = [0; N];
        assert!(self.ram.memory.read(GuestPhysAddr(at), &mut out));
        out
    }
}

fn vcpu() -> Vcpu {
    let data = Segment { selector: 0x10, base: 0, limit: u32::MAX, attr: ATTR_P | ATTR_S | ATTR_RW };
    let mut cpu = Vcpu {
        gpr: [0; 32],
        lazy: LazyFlags::default(),
        rflags_system: 0,
        rip: 0x1000,
        mode: Mode::default(),
        count: InsnCount(0),
        fault: Exception::default(),
        seg: [data; 8],
        gdtr: TableRegister::default(),
        idtr: TableRegister::default(),
        cr0: cr::CR0_PE | cr::CR0_ET | cr::CR0_NE | cr::CR0_WP | cr::CR0_PG,
        cr2: 0,
        cr3: 0x1000,
        cr4: cr::CR4_PAE | cr::CR4_OSFXSR | cr::CR4_OSXMMEXCPT | cr::CR4_OSXSAVE,
        efer: cr::EFER_LME | cr::EFER_LMA,
        xcr0: 7,
        pdpte: [0; 4],
        msrs: Default::default(),
        debug: Default::default(),
        vector: Default::default(),
        x87: Default::default(),
        activity: Activity::Running,
        shadow: Shadow::None,
        nmi_pending: 0,
        nmi_blocked: false,
        debug_pending: 0,
        monitor: None,
        a20_mask: u64::MAX,
        tlb: Tlb::default(),
        model: CpuModel::V3,
        apic_id: 0,
        vcpus: 1,
    };
    cpu.seg[seg::CS].attr = ATTR_P | ATTR_S | ATTR_RW | ATTR_CODE | ATTR_L;
    cpu.gpr[14] = PAGE;
    cpu.update_mode();
    cpu
}

impl Fixture {
    /// A vCPU whose vector, MMX and general registers (but for R14) hold values of `value`.
    pub fn with_values(random: &mut Random, value: fn(&mut Random) -> u64) -> Fixture {
        let mut fixture = Fixture::new();
        let cpu = &mut fixture.cpu;
        cpu.vector.ymm = std::array::from_fn(|_| std::array::from_fn(|_| value(random)));
        cpu.x87.regs = std::array::from_fn(|_| u128::from(value(random)));
        (cpu.x87.status, cpu.x87.valid) = (0x2841, 0x12);
        for i in (0..16).filter(|&i| i != 14) {
            cpu.gpr[i] = value(random);
        }
        cpu.lazy = LazyFlags::from_bits(random.next());
        fixture
    }
}
