//! What kernels do: page tables edited with and without telling the TLB, system instructions, changes of privilege, devices.

use iced_x86::code_asm::*;
use x86::flags;
use x86::vcpu::cr;

use super::{Writer, world};

impl Writer<'_> {
    /// Changes an entry of the page tables, and tells the TLB or not.
    pub(super) fn edit_tables(&mut self) -> Result<(), IcedError> {
        let page = match self.rng.below(4) {
            0 => 0x20 + self.rng.below(8),
            1 => 0x38 + self.rng.below(2),
            _ => 0x30 + self.rng.below(8),
        };
        let half = self.rng.below(2);
        self.a.mov(rax, self.world.base + world::TABLES + half * 0x1000 + 8 * page)?;
        match self.rng.below(6) {
            0 => {
                // Another page behind the same address.
                let physical =
                    self.rng.pick(&[world::SPARE, world::DATA, world::CODE, world::SPARE + 0x3000]) + (page & 7) * 4096;
                self.a.mov(r10, physical | 7)?;
                self.a.mov(qword_ptr(rax), r10)?;
            }
            1 => self.a.btc(qword_ptr(rax), 63)?,
            2 => self.a.and(qword_ptr(rax), !0x60)?,
            3 => {
                // Present for all, and sometimes global.
                let bits = self.rng.pick(&[7, 0x107]);
                self.a.or(qword_ptr(rax), bits)?;
            }
            _ => {
                let bit = self.rng.pick(&[1, 2, 2, 4, 0x20, 0x40, 0x60]);
                self.a.xor(qword_ptr(rax), bit)?;
            }
        }
        match self.rng.below(6) {
            0 => {
                let linear = self.rng.pick(&[0, world::ALIAS, world::HIGH]) + (page << 12);
                self.a.mov(r10, linear)?;
                self.a.invlpg(byte_ptr(r10))
            }
            1 => {
                self.a.mov(r10, cr3)?;
                self.a.mov(cr3, r10)
            }
            2 => {
                self.switch_context()?;
                self.touch(page)
            }
            3 => self.invalidate_context(page),
            _ => self.touch(page),
        }
    }

    /// Loads CR3 with a PCID, if the CPU has them on; with bit 63 or without.
    fn switch_context(&mut self) -> Result<(), IcedError> {
        let pcid = self.rng.below(4) as i32;
        self.a.mov(r10, cr3)?;
        self.a.and(r10, !0xfff)?;
        self.a.or(r10, pcid)?;
        if self.rng.one_in(2) {
            self.a.bts(r10, 63)?;
        }
        self.a.mov(cr3, r10)
    }

    /// INVPCID of some type, for the page just changed.
    fn invalidate_context(&mut self, page: u64) -> Result<(), IcedError> {
        let linear = self.rng.pick(&[0, world::ALIAS, world::HIGH]) + (page << 12);
        let (kind, pcid) = (self.rng.below(4) as u32, self.rng.below(4) as i32);
        self.a.mov(r10, linear)?;
        self.a.push(r10)?;
        self.a.push(pcid)?;
        self.a.mov(r10d, kind)?;
        self.a.invpcid(r10, xmmword_ptr(rsp))?;
        self.a.lea(rsp, rsp + 16)
    }

    /// Uses the page just changed, by the TLB's old entry if there is one.
    fn touch(&mut self, page: u64) -> Result<(), IcedError> {
        let base = self.rng.pick(&[0, world::ALIAS, self.world.base]);
        self.a.mov(r10, base + (page << 12) + 0x123)?;
        match self.rng.below(3) {
            0 => self.a.mov(r11d, dword_ptr(r10)),
            1 => self.a.inc(byte_ptr(r10)),
            _ => self.a.mov(word_ptr(r10), ax),
        }
    }

    /// A system instruction with operands that mean something.
    pub(super) fn system(&mut self) -> Result<(), IcedError> {
        if self.world.compatibility {
            return self.system_narrow();
        }
        let kind = self.rng.below(26);
        let a = &mut self.a;
        match kind {
            0 => a.cli(),
            1 => a.sti(),
            2 => self.flip_flags(),
            3 => a.swapgs(),
            4 => a.stac(),
            5 => a.clac(),
            6 => {
                a.mov(eax, self.rng.pick(&[0, 1, 7, 0xd, 0x8000_0001_u32, 0x16]))?;
                a.mov(ecx, self.rng.below(3) as u32)?;
                a.cpuid()
            }
            7 => a.rdtsc(),
            8 => a.pause(),
            9 => self.port(),
            10 => self.model_specific(),
            11 => a.int(world::INT_TO_KERNEL),
            12 => a.int(world::INT_TO_USER),
            13 => a.syscall(),
            14 => {
                a.mov(eax, ss)?;
                a.mov(ss, eax)
            }
            15 => self.control(),
            16 => self.breakpoints(),
            17 => a.clts(),
            18 | 19 => self.device(),
            20 => self.interrupt_return(),
            21 => self.vector_state(),
            22 => {
                a.sti()?;
                a.hlt()
            }
            23 => a.int3(),
            24 => a.int(0x30),
            _ => {
                a.xor(ecx, ecx)?;
                a.xgetbv()
            }
        }
    }

    fn system_narrow(&mut self) -> Result<(), IcedError> {
        let a = &mut self.a;
        match self.rng.below(9) {
            0 => a.cli(),
            1 => a.int(0x30),
            2 => {
                let bit = self.rng.pick(&FLAGS) as u32;
                a.pushfd()?;
                a.xor(dword_ptr(esp), bit)?;
                a.popfd()
            }
            3 => a.int3(),
            4 => a.pause(),
            5 => a.rdtsc(),
            6 => {
                a.mov(eax, ds)?;
                a.mov(ds, eax)
            }
            7 => {
                a.xor(eax, eax)?;
                a.cpuid()
            }
            _ => a.syscall(),
        }
    }

    fn flip_flags(&mut self) -> Result<(), IcedError> {
        let bit = self.rng.pick(&FLAGS) as i32;
        self.a.pushfq()?;
        self.a.xor(dword_ptr(rsp), bit)?;
        self.a.popfq()
    }

    fn port(&mut self) -> Result<(), IcedError> {
        let (port, read) = (self.rng.below(0x400) as u32, self.rng.one_in(2));
        self.a.mov(edx, port)?;
        match (read, self.rng.below(3)) {
            (true, 0) => self.a.in_(al, dx),
            (true, _) => self.a.in_(eax, dx),
            (false, 0) => self.a.out(dx, al),
            (false, 1) => {
                self.a.mov(ecx, 5)?;
                self.a.rep().outsb()
            }
            (false, _) => self.a.out(dx, eax),
        }
    }

    fn model_specific(&mut self) -> Result<(), IcedError> {
        let msr = self.rng.pick(&[0xc000_0100_u32, 0xc000_0101, 0xc000_0102, 0xc000_0103, 0x10, 0x3b, 0x1b]);
        self.a.mov(ecx, msr)?;
        if self.rng.one_in(3) {
            return self.a.rdmsr();
        }
        let value = self.rng.pick(&[0, 0x30, world::DATA + 0x100, 7]);
        self.a.mov(eax, value as u32)?;
        self.a.xor(edx, edx)?;
        self.a.wrmsr()
    }

    fn control(&mut self) -> Result<(), IcedError> {
        let a = &mut self.a;
        if self.rng.one_in(2) {
            let bit = self.rng.pick(&[
                cr::CR4_PGE,
                cr::CR4_SMAP,
                cr::CR4_TSD,
                cr::CR4_OSFXSR,
                cr::CR4_OSXSAVE,
                cr::CR4_FSGSBASE,
                cr::CR4_UMIP,
                cr::CR4_PCIDE,
                cr::CR4_DE,
            ]);
            a.mov(rax, cr4)?;
            a.xor(rax, bit as i32)?;
            return a.mov(cr4, rax);
        }
        let bit = self.rng.pick(&[cr::CR0_WP, cr::CR0_TS, cr::CR0_AM, cr::CR0_MP, cr::CR0_NE, cr::CR0_EM]);
        a.mov(rax, cr0)?;
        a.xor(rax, bit as i32)?;
        a.mov(cr0, rax)
    }

    fn breakpoints(&mut self) -> Result<(), IcedError> {
        let address =
            if self.rng.one_in(3) { self.world.base + world::CODE + self.rng.below(0x100) } else { self.data() & !7 };
        let kind = self.rng.pick(&[0, 0, 0x2, 0x000d_0002, 0x000f_0002, 0x0001_0002, 0x2202]);
        self.a.mov(rax, address)?;
        self.a.mov(dr0, rax)?;
        self.a.mov(eax, kind | 0x400)?;
        self.a.mov(dr7, rax)
    }

    fn device(&mut self) -> Result<(), IcedError> {
        let offset = self.rng.below(0xfe0);
        self.a.mov(r9, world::DEVICE + offset)?;
        let a = &mut self.a;
        match self.rng.below(6) {
            0 => a.mov(eax, dword_ptr(r9)),
            1 => a.mov(dword_ptr(r9), eax),
            2 => a.add(qword_ptr(r9), rcx),
            3 => a.movups(xmm3, xmmword_ptr(r9)),
            4 => {
                a.mov(rdi, r9)?;
                a.mov(ecx, 4)?;
                a.rep().stosb()
            }
            _ => a.movzx(edx, byte_ptr(r9)),
        }
    }

    /// A frame for IRETQ that leads to the next instruction.
    fn interrupt_return(&mut self) -> Result<(), IcedError> {
        let mut next = self.a.create_label();
        let a = &mut self.a;
        a.mov(eax, ss)?;
        a.mov(r10, rsp)?;
        a.push(rax)?;
        a.push(r10)?;
        a.pushfq()?;
        a.mov(eax, cs)?;
        a.push(rax)?;
        a.lea(rax, ptr(next))?;
        a.push(rax)?;
        a.iretq()?;
        a.set_label(&mut next)?;
        a.nop()
    }

    fn vector_state(&mut self) -> Result<(), IcedError> {
        let a = &mut self.a;
        a.mov(r9, self.world.base + world::DATA + 0x1000)?;
        a.mov(eax, self.rng.pick(&[7, 3, 1, 2]))?;
        a.xor(edx, edx)?;
        match self.rng.below(9) {
            0 => a.xsave(ptr(r9)),
            1 => a.xrstor(ptr(r9)),
            2 => a.fxsave(ptr(r9)),
            3 => a.fxrstor(ptr(r9)),
            4 => a.xsaveopt(ptr(r9)),
            5 => {
                // What XCR0 takes away cannot be used.
                a.xor(ecx, ecx)?;
                a.xsetbv()
            }
            _ => {
                a.mov(dword_ptr(r9), self.rng.pick(&MXCSRS))?;
                a.ldmxcsr(dword_ptr(r9))
            }
        }
    }
}

/// Rounding, flushing and unmasked exceptions in turn.
const MXCSRS: [u32; 7] = [0x1f80, 0x1f80, 0x9fc0, 0x7f80, 0x3fa5, 0x1f00, 0];

/// Flags that POPF is made to change.
const FLAGS: [u64; 7] = [flags::TF, flags::AC, flags::DF, flags::CF, flags::NT, 1 << 21, flags::IF];
