//! The engine's side: a bare machine with the same memory, ring 3, and exceptions that end
//! in a halt which tells their vector.

use crate::layout::*;
use crate::state::{Ending, PAGE_FAULT, State, X87};
use x86::flags::LazyFlags;
use x86::memory::phys::OwnedMemory;
use x86::segment::{Segment, TableRegister, seg};
use x86::vcpu::{Activity, Shadow, cr};
use x86::{CpuModel, Engine, Exit, GuestPhysAddr, NoBoard, Vcpu};

/// Guest-physical places.
const PML4: u64 = 0x1000;
const GDT: u64 = 0x2000;
const IDT: u64 = 0x3000;
const TSS: u64 = 0x4000;
const HANDLERS: u64 = 0x6000;
const KERNEL_STACK_TOP: u64 = 0x8000;
const FIRST_TABLE: u64 = 0x1_0000;
const CODE_AT: u64 = 0x4_0000;
const DATA_AT: u64 = 0x5_0000;
const RAM_BYTES: u64 = 1 << 20;
/// Where all of RAM appears to the supervisor.
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// Page-table entry bits.
const P: u64 = 1;
const RW: u64 = 2;
const US: u64 = 4;
const NX: u64 = 1 << 63;

const HLT: u8 = 0xf4;
const KERNEL_CS: u16 = 0x10;
const TSS_SELECTOR: u16 = 0x40;
/// Steps that a case may take: repeated string instructions take one an iteration.
const MAX_STEPS: u64 = 200_000;

/// A machine that runs one instruction at a time.
pub struct Guest {
    ram: OwnedMemory,
    cpu: Vcpu,
    template: Vcpu,
    engine: Box<dyn Engine>,
    next_table: u64,
}

impl Guest {
    /// A machine whose CPU is `model`, executed by `engine`.
    pub fn new(model: CpuModel, engine: Box<dyn Engine>) -> Self {
        let cpu = Vcpu::new(model, 0, 1);
        let ram = OwnedMemory::new(RAM_BYTES);
        let mut guest = Guest { ram, template: cpu.clone(), cpu, engine, next_table: FIRST_TABLE };
        guest.map_everything();
        guest.write_tables();
        guest.enter_long_mode();
        guest
    }

    fn write(&mut self, at: u64, data: &[u8]) {
        assert!(self.ram.memory.write(GuestPhysAddr(at), data), "{at:#x} is RAM");
    }

    fn read_u64(&self, at: u64) -> u64 {
        let at = at as usize;
        u64::from_le_bytes(self.ram.memory.bytes()[at..at + 8].try_into().expect("eight bytes"))
    }

    fn map_page(&mut self, linear: u64, physical: u64, bits: u64) {
        let mut table = PML4;
        for shift in [39, 30, 21] {
            let at = table + (linear >> shift & 511) * 8;
            if self.read_u64(at) & P == 0 {
                let entry = self.next_table | P | RW | US;
                self.next_table += PAGE;
                assert!(self.next_table <= CODE_AT, "room for page tables");
                self.write(at, &entry.to_le_bytes());
            }
            table = self.read_u64(at) & 0xf_ffff_f000;
        }
        self.write(table + (linear >> 12 & 511) * 8, &(physical | bits | P).to_le_bytes());
    }

    fn map_everything(&mut self) {
        for page in (0..CODE_AT).step_by(PAGE as usize) {
            self.map_page(KERNEL + page, page, RW);
        }
        for page in 0..CODE_PAGES {
            self.map_page(CODE + page * PAGE, CODE_AT + page * PAGE, US);
        }
        for data in [DATA, DATA_HIGH] {
            for page in 0..DATA_PAGES {
                let write = if page < WRITABLE_PAGES { RW } else { 0 };
                self.map_page(data + page * PAGE, DATA_AT + page * PAGE, US | NX | write);
            }
        }
    }

    fn write_tables(&mut self) {
        let descriptors = [
            (KERNEL_CS, 0x00af_9b00_0000_ffff_u64),
            (CS_32, 0x00cf_fb00_0000_ffff),
            (DATA_SELECTOR, 0x00cf_f300_0000_ffff),
            (CS_64, 0x00af_fb00_0000_ffff),
        ];
        for (selector, descriptor) in descriptors {
            self.write(GDT + u64::from(selector & !7), &descriptor.to_le_bytes());
        }
        self.write(TSS + 4, &(KERNEL + KERNEL_STACK_TOP).to_le_bytes());
        self.write(TSS + 0x66, &0x68u16.to_le_bytes());
        for vector in 0..32u64 {
            let target = KERNEL + HANDLERS + vector;
            // INT3 and INTO may be executed in ring 3.
            let dpl = if matches!(vector, 3 | 4) { 3 } else { 0 };
            let low = target & 0xffff
                | u64::from(KERNEL_CS) << 16
                | (0x8e00 | dpl << 13) << 32
                | (target >> 16 & 0xffff) << 48;
            self.write(IDT + vector * 16, &low.to_le_bytes());
            self.write(IDT + vector * 16 + 8, &(target >> 32).to_le_bytes());
        }
        self.write(HANDLERS, &[HLT; 64]);
        self.write(CODE_AT, &[FILL; (CODE_PAGES * PAGE) as usize]);
    }

    fn enter_long_mode(&mut self) {
        let cpu = &mut self.cpu;
        cpu.cr0 = cr::CR0_PE | cr::CR0_MP | cr::CR0_ET | cr::CR0_NE | cr::CR0_WP | cr::CR0_AM | cr::CR0_PG;
        cpu.cr3 = PML4;
        cpu.cr4 = cr::CR4_PAE | cr::CR4_OSFXSR | cr::CR4_OSXMMEXCPT | cr::CR4_OSXSAVE | cr::CR4_FSGSBASE;
        cpu.efer = cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE | cr::EFER_SCE;
        cpu.xcr0 = cpu.model.xcr0_supported();
        cpu.gdtr = TableRegister { base: KERNEL + GDT, limit: 0x4f };
        cpu.idtr = TableRegister { base: KERNEL + IDT, limit: 32 * 16 - 1 };
        cpu.seg[seg::TR] = Segment { selector: TSS_SELECTOR, base: KERNEL + TSS, limit: 0x67, attr: 0x8b };
        cpu.seg[seg::CS] = user_segment(CS_64);
        for data in [seg::ES, seg::SS, seg::DS] {
            cpu.seg[data] = user_segment(DATA_SELECTOR);
        }
        for null in [seg::FS, seg::GS, seg::LDTR] {
            cpu.seg[null] = Segment { attr: x86::segment::ATTR_UNUSABLE, ..Segment::default() };
        }
        cpu.tlb.flush();
        cpu.update_mode();
        self.template = cpu.clone();
    }

    /// Writes code at a linear address within the code pages.
    pub fn write_code(&mut self, linear: u64, bytes: &[u8]) {
        self.write(CODE_AT + (linear - CODE), bytes);
    }

    /// Writes the data pages from their start.
    pub fn write_data(&mut self, bytes: &[u8]) {
        self.write(DATA_AT, bytes);
    }

    /// The data pages.
    pub fn data(&self) -> &[u8] {
        &self.ram.memory.bytes()[DATA_AT as usize..][..(DATA_PAGES * PAGE) as usize]
    }

    /// Runs from `input` in the code segment `cs` until an exception ends it.
    pub fn run(&mut self, input: &State, cs: u16, output: &mut State) -> Ending {
        self.load(input, cs);
        let limit = self.cpu.count + MAX_STEPS;
        let mut bus = NoBoard;
        loop {
            match self.engine.run(&mut self.cpu, &mut self.ram.memory, &mut bus, limit) {
                Exit::Yield => {}
                Exit::Halted => break,
                other => panic!("the case did not come to an exception: {other:?}"),
            }
        }
        let vector = (self.cpu.rip - 1 - (KERNEL + HANDLERS)) as u8;
        self.store(vector, output)
    }

    fn load(&mut self, input: &State, cs: u16) {
        let cpu = &mut self.cpu;
        cpu.seg = self.template.seg;
        cpu.seg[seg::CS] = user_segment(cs);
        cpu.seg[seg::FS].base = input.fs_base;
        cpu.seg[seg::GS].base = input.gs_base;
        cpu.gpr[..16].copy_from_slice(&input.gpr);
        cpu.rip = input.rip;
        cpu.lazy = LazyFlags::from_bits(input.rflags);
        cpu.vector.ymm = input.ymm;
        cpu.vector.mxcsr = input.mxcsr;
        cpu.activity = Activity::Running;
        cpu.shadow = Shadow::None;
        let top = usize::from(input.x87.status >> 11 & 7);
        for i in 0..8 {
            cpu.x87.regs[(top + i) & 7] = input.x87.st[i];
        }
        cpu.x87.control = input.x87.control;
        cpu.x87.status = input.x87.status;
        cpu.x87.valid = input.x87.valid;
        cpu.x87.opcode = input.x87.opcode;
        cpu.x87.ip = input.x87.ip;
        cpu.x87.dp = input.x87.dp;
        (cpu.x87.cs, cpu.x87.ds) = (0, 0);
        cpu.cr2 = 0;
        cpu.set_rflags(input.rflags);
    }

    /// Reads back the state that the exception's delivery saved on the kernel's stack.
    fn store(&mut self, vector: u8, output: &mut State) -> Ending {
        let with_error = matches!(vector, 8 | 10..=14 | 17);
        let frame = KERNEL_STACK_TOP - 40;
        let error = if with_error { self.read_u64(frame - 8) as u32 } else { 0 };
        let cpu = &self.cpu;
        output.gpr.copy_from_slice(&cpu.gpr[..16]);
        output.rip = self.read_u64(frame);
        output.rflags = self.read_u64(frame + 16);
        output.gpr[4] = self.read_u64(frame + 24);
        output.fs_base = cpu.seg[seg::FS].base;
        output.gs_base = cpu.seg[seg::GS].base;
        output.ymm = cpu.vector.ymm;
        output.mxcsr = cpu.vector.mxcsr;
        let x87 = &cpu.x87;
        let top = usize::from(x87.status >> 11 & 7);
        output.x87 = X87 {
            control: x87.control,
            status: x87.status,
            valid: x87.valid,
            opcode: x87.opcode,
            ip: x87.ip,
            dp: x87.dp,
            st: std::array::from_fn(|i| x87.regs[(top + i) & 7]),
        };
        let cr2 = if vector == PAGE_FAULT { cpu.cr2 } else { 0 };
        Ending { vector, error, cr2 }
    }
}

/// The hidden part of a user segment, as loading its selector from the GDT gives it.
fn user_segment(selector: u16) -> Segment {
    let descriptor = match selector {
        CS_64 => 0x00af_fb00_0000_ffff,
        CS_32 => 0x00cf_fb00_0000_ffff,
        _ => 0x00cf_f300_0000_ffff,
    };
    Segment::from_descriptor(selector, descriptor)
}
