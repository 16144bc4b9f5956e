//! A vCPU with tables built by hand and no paging, on which one instruction or event at a time
//! is tried.

mod events;
mod far;
mod iret;
mod segments;
mod syscall;
mod task;
mod v86;

use crate::decode::{Decoded, decode};
use crate::fault::{Exception, Flow, Trap, vector};
use crate::memory::phys::OwnedMemory;
use crate::model::CpuModel;
use crate::no_board::NoBoard;
use crate::op::{Env, Op};
use crate::segment::{Segment, TableRegister, seg};
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::{CodeSize, GPR_PAGE_RIP, Vcpu, cr};

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const TSS2: u64 = 0x4000;
const LDT: u64 = 0x5000;
/// Where the tried instruction is put, and the handlers.
const CODE: u64 = 0x8000;
const HANDLER: u64 = 0x9000;
/// Tops of the stacks of levels 0 and 3.
const STACK0: u64 = 0x1_0000;
const STACK3: u64 = 0x1_8000;

const CODE0: u16 = 0x08;
const DATA0: u16 = 0x10;
const CODE3: u16 = 0x1b;
const DATA3: u16 = 0x23;
const CONFORMING: u16 = 0x28;
const ABSENT: u16 = 0x30;
const LDT_SELECTOR: u16 = 0x38;
const GATE: u16 = 0x48;
const CODE64: u16 = 0x58;
const USER64: u16 = 0x63;
const TSS_SELECTOR: u16 = 0x80;
const TSS2_SELECTOR: u16 = 0x90;
const GDT_LIMIT: u16 = 0xff;

/// The eight bytes of a descriptor; `flags` are G, D/B, L, AVL.
fn descriptor(base: u64, limit: u64, access: u8, flags: u8) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | u64::from(access) << 40
        | (limit >> 16 & 15) << 48
        | u64::from(flags) << 52
        | (base >> 24 & 0xff) << 56
}

/// The eight bytes of a gate (the lower ones of a 64-bit gate).
fn gate(selector: u16, offset: u64, access: u8, count: u8) -> u64 {
    offset & 0xffff
        | u64::from(selector) << 16
        | u64::from(count) << 32
        | u64::from(access) << 40
        | (offset >> 16 & 0xffff) << 48
}

struct Pc {
    ram: OwnedMemory,
    bus: NoBoard,
    cpu: Vcpu,
}

impl Pc {
    /// Real mode at CODE, IVT at 0.
    fn real() -> Self {
        let mut pc = Pc { ram: OwnedMemory::new(1 << 20), bus: NoBoard, cpu: Vcpu::new(CpuModel::V2, 0, 1) };
        pc.cpu.seg[seg::CS] = Segment::real(0);
        pc.cpu.rip = CODE;
        pc.cpu.gpr[4] = 0x7000;
        pc.cpu.update_mode();
        pc
    }

    /// 32-bit protected mode at level 0 with every table.
    fn protected() -> Self {
        let mut pc = Pc::real();
        let flat = 0xc;
        for (selector, raw) in [
            (CODE0, descriptor(0, 0xf_ffff, 0x9b, flat)),
            (DATA0, descriptor(0, 0xf_ffff, 0x93, flat)),
            (CODE3, descriptor(0, 0xf_ffff, 0xfb, flat)),
            (DATA3, descriptor(0, 0xf_ffff, 0xf3, flat)),
            (CONFORMING, descriptor(0, 0xf_ffff, 0x9f, flat)),
            (ABSENT, descriptor(0, 0xf_ffff, 0x13, flat)),
            (LDT_SELECTOR, descriptor(LDT, 0xff, 0x82, 0)),
            (CODE64, descriptor(0, 0xf_ffff, 0x9b, 0xa)),
            (USER64, descriptor(0, 0xf_ffff, 0xfb, 0xa)),
            (TSS_SELECTOR, descriptor(TSS, 0x2067, 0x8b, 0)),
            (TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x89, 0)),
        ] {
            pc.set_descriptor(selector, raw);
        }
        pc.cpu.gdtr = TableRegister { base: GDT, limit: GDT_LIMIT };
        pc.cpu.idtr = TableRegister { base: IDT, limit: 0x7ff };
        pc.cpu.seg[seg::TR] = pc.segment(TSS_SELECTOR);
        pc.put(TSS + 4, STACK0 as u32);
        pc.put(TSS + 8, u32::from(DATA0));
        pc.cpu.cr0 |= cr::CR0_PE;
        pc.set_level(0);
        pc
    }

    /// 64-bit mode at level 0.
    fn long() -> Self {
        let mut pc = Pc::protected();
        pc.cpu.efer = cr::EFER_LMA | cr::EFER_LME | cr::EFER_SCE;
        pc.cpu.idtr.limit = 0xfff;
        pc.put(TSS + 4, STACK0);
        pc.put(TSS + 8, 0u32);
        pc.set_level64(0);
        pc
    }

    fn segment(&self, selector: u16) -> Segment {
        Segment::from_descriptor(selector, self.get64(GDT + u64::from(selector & !7)))
    }

    /// Flat 32-bit segments of level 0 or 3, and that level's stack.
    fn set_level(&mut self, level: u8) {
        let (code, data, stack) = if level == 0 { (CODE0, DATA0, STACK0) } else { (CODE3, DATA3, STACK3) };
        for index in [seg::ES, seg::SS, seg::DS, seg::FS, seg::GS] {
            self.cpu.seg[index] = self.segment(data);
        }
        self.cpu.gpr[4] = stack;
        let code = self.segment(code);
        self.cpu.commit_cs(code, CODE);
    }

    fn set_level64(&mut self, level: u8) {
        self.set_level(level);
        let code = self.segment(if level == 0 { CODE64 } else { USER64 });
        self.cpu.commit_cs(code, CODE);
    }

    fn set_descriptor(&mut self, selector: u16, raw: u64) {
        self.put(GDT + u64::from(selector & !7), raw);
    }

    /// An interrupt table entry to HANDLER.
    fn set_gate(&mut self, vector: u8, selector: u16, access: u8) {
        let size = if self.cpu.long_mode() { 16 } else { 8 };
        self.put(IDT + size * u64::from(vector), gate(selector, HANDLER, access, 0));
    }

    fn put<T: bytemuck::Pod>(&mut self, addr: u64, value: T) {
        assert!(self.ram.memory.write(GuestPhysAddr(addr), bytemuck::bytes_of(&value)));
    }

    fn get32(&self, addr: u64) -> u32 {
        self.get64(addr) as u32
    }

    fn get64(&self, addr: u64) -> u64 {
        let mut raw = [0; 8];
        assert!(self.ram.memory.read(GuestPhysAddr(addr), &mut raw));
        u64::from_le_bytes(raw)
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Vcpu, &mut Env<'_>) -> R) -> R {
        let mut env = Env {
            mem: &mut self.ram.memory,
            bus: &mut self.bus,
            leave: false,
            bus_touched: false,
            until: InsnCount(u64::MAX),
            extra_steps: 0,
            interrupt: false,
        };
        act(&mut self.cpu, &mut env)
    }

    /// Executes one instruction at CS:RIP; on a fault RIP stays and the exception is returned.
    fn run(&mut self, code: &[u8]) -> Result<Flow, Exception> {
        let op = self.decode(code);
        let before = (self.cpu.gpr, self.cpu.seg, self.cpu.rflags());
        let rip = self.cpu.rip;
        match self.with(|cpu, env| (op.exec)(cpu, env, &op)) {
            Ok(flow) => {
                if flow != Flow::Jump {
                    self.cpu.rip = rip + u64::from(op.len);
                }
                Ok(flow)
            }
            Err(Trap(())) => {
                assert_eq!((self.cpu.gpr, self.cpu.seg, self.cpu.rflags()), before, "a fault changes nothing");
                assert_eq!(self.cpu.rip, rip);
                Err(self.cpu.fault)
            }
        }
    }

    fn decode(&mut self, code: &[u8]) -> Op {
        self.cpu.gpr[GPR_PAGE_RIP] = self.cpu.rip & !0xfff;
        let off = (self.cpu.rip & 0xfff) as u16;
        match decode(code, off, self.cpu.mode.code, self.cpu.model) {
            Decoded::Op { op, .. } if usize::from(op.len) == code.len() => op,
            _ => panic!("not one instruction: {code:02x?}"),
        }
    }

    /// Delivers an exception as the engine does.
    fn fault(&mut self, vector: u8, error_code: Option<u32>) {
        self.cpu.fault = Exception { vector, error_code, ..Exception::default() };
        self.with(|cpu, env| cpu.deliver_fault(env)).expect("no triple fault");
    }

    fn interrupt(&mut self, vector: u8) {
        self.with(|cpu, env| cpu.deliver_interrupt(env, vector)).expect("no triple fault");
    }

    /// The 32-bit values on the stack, from its top.
    fn stack32<const N: usize>(&self) -> [u32; N] {
        let base = self.cpu.seg[seg::SS].base + self.cpu.gpr[4];
        std::array::from_fn(|i| self.get32(base + 4 * i as u64))
    }

    fn stack64<const N: usize>(&self) -> [u64; N] {
        std::array::from_fn(|i| self.get64(self.cpu.gpr[4] + 8 * i as u64))
    }

    fn push32(&mut self, values: &[u32]) {
        for &value in values.iter().rev() {
            self.cpu.gpr[4] -= 4;
            let at = self.cpu.seg[seg::SS].base + self.cpu.gpr[4];
            self.put(at, value);
        }
    }

    fn push64(&mut self, values: &[u64]) {
        for &value in values.iter().rev() {
            self.cpu.gpr[4] -= 8;
            self.put(self.cpu.gpr[4], value);
        }
    }
}

/// An exception with an error code.
fn error(vector: u8, code: u32) -> Exception {
    Exception { vector, error_code: Some(code), ..Exception::default() }
}

/// #GP with an error code.
fn gp(code: impl Into<u32>) -> Exception {
    error(vector::GP, code.into())
}
