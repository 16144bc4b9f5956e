//! What every program does: jumps, calls, loops, strings, flags.

use iced_x86::code_asm::*;

use super::{Writer, world};

impl Writer<'_> {
    /// A label some pieces ahead, if there is one.
    fn ahead(&mut self, i: usize) -> Option<CodeLabel> {
        let rest = (self.labels.len() - i - 1) as u64;
        (rest > 0).then(|| self.labels[i + 1 + self.rng.below(rest.min(6)) as usize])
    }

    pub(super) fn jump_ahead(&mut self, i: usize) -> Result<(), IcedError> {
        let Some(label) = self.ahead(i) else { return self.random() };
        let a = &mut self.a;
        match self.rng.below(9) {
            0 => a.jz(label),
            1 => a.jc(label),
            2 => a.jo(label),
            3 => a.js(label),
            4 => a.jp(label),
            5 => a.jle(label),
            6 => a.ja(label),
            7 if !self.world.compatibility => a.jrcxz(label),
            _ => a.jmp(label),
        }
    }

    pub(super) fn call(&mut self) -> Result<(), IcedError> {
        let new = self.subroutines.is_empty() || self.rng.one_in(3) && self.subroutines.len() < 5;
        if new {
            let label = self.a.create_label();
            self.subroutines.push(label);
        }
        let label = self.rng.pick(&self.subroutines);
        self.a.call(label)
    }

    pub(super) fn jump_by_register(&mut self, i: usize) -> Result<(), IcedError> {
        let Some(label) = self.ahead(i) else { return self.random() };
        if self.world.compatibility {
            return self.a.jmp(label);
        }
        self.a.lea(rax, ptr(label))?;
        if self.rng.one_in(2) {
            // The same code at another address, which may share its place in the TLB.
            let other = self.rng.pick(&[0, world::ALIAS, world::HIGH]);
            self.a.mov(r9, other.wrapping_sub(self.world.base))?;
            self.a.add(rax, r9)?;
        }
        match self.rng.below(3) {
            0 => self.a.jmp(rax),
            1 => {
                self.a.push(rax)?;
                self.a.ret()
            }
            _ => {
                self.a.mov(qword_ptr(r12 + 0x40), rax)?;
                self.a.jmp(qword_ptr(r12 + 0x40))
            }
        }
    }

    pub(super) fn short_loop(&mut self) -> Result<(), IcedError> {
        let mut label = self.a.create_label();
        let count = 1 + self.rng.below(20) as u32;
        self.a.mov(ecx, count)?;
        self.a.set_label(&mut label)?;
        // The count is kept on the stack, whatever the instructions do to it.
        self.push_count()?;
        for _ in 0..self.rng.below(3) {
            self.random()?;
        }
        self.pop_count()?;
        match self.rng.below(3) {
            0 => self.a.loop_(label),
            1 => {
                self.a.dec(ecx)?;
                self.a.jnz(label)
            }
            _ => {
                self.a.sub(ecx, 1)?;
                self.a.ja(label)
            }
        }
    }

    /// Several pushes or pops in a row, where a page ends, on the code, on a device or on the stack itself.
    pub(super) fn stack_run(&mut self, i: usize) -> Result<(), IcedError> {
        if self.world.compatibility {
            self.a.push(eax)?;
            self.a.push(ebx)?;
            self.a.pop(edx)?;
            return self.a.pop(ecx);
        }
        self.a.mov(r14, rsp)?;
        let distance = self.rng.below(64) as i32;
        match self.rng.below(6) {
            0 | 1 => {
                // In the middle of the run, aligned or not.
                let end = (self.data() & !0xfff) + 0x1000;
                self.a.mov(rsp, end + 24 - u64::from(distance as u8 & 0x33))?;
            }
            2 => {
                let label = self.labels[i];
                self.a.lea(rsp, ptr(label))?;
                self.a.lea(rsp, rsp + distance)?;
            }
            3 => self.a.mov(rsp, world::DEVICE + 0x800)?,
            4 => self.a.lea(rsp, rsp - distance)?,
            _ => {}
        }
        let registers = [rax, rcx, rdx, rsp, r8, r9, r10, r11, r15, rbx, r13];
        for _ in 0..2 + self.rng.below(7) {
            let register = self.rng.pick(&registers);
            match self.rng.below(8) {
                0 => self.a.push(self.rng.bits() as i32)?,
                1 => self.a.push(qword_ptr(rbx))?,
                2 => self.a.pushfq()?,
                3 => self.a.lea(rax, rsp + 8)?,
                4 => self.a.pop(self.rng.pick(&registers[4..9]))?,
                _ => self.a.push(register)?,
            }
        }
        for _ in 0..self.rng.below(6) {
            self.a.pop(self.rng.pick(&registers[4..9]))?;
        }
        self.a.mov(rsp, r14)
    }

    fn push_count(&mut self) -> Result<(), IcedError> {
        if self.world.compatibility { self.a.push(ecx) } else { self.a.push(rcx) }
    }

    fn pop_count(&mut self) -> Result<(), IcedError> {
        if self.world.compatibility {
            self.a.pop(ecx)?
        } else {
            self.a.pop(rcx)?
        }
        // If the stack was disturbed, not for ever.
        self.a.and(ecx, 0x3f)
    }

    /// Repeated string instructions of bounded length, between data and now and then over code.
    pub(super) fn strings(&mut self) -> Result<(), IcedError> {
        let count = self.rng.pick(&[0, 1, 3, 17, 64, 300]);
        self.a.mov(ecx, count)?;
        let (from, to) = (self.data(), self.data());
        if self.world.compatibility {
            self.a.mov(esi, from as u32)?;
            self.a.mov(edi, to as u32)?;
        } else {
            self.a.mov(rsi, from)?;
            self.a.mov(rdi, to)?;
        }
        if self.rng.one_in(4) {
            self.a.std()?;
        }
        let wide = !self.world.compatibility;
        let a = &mut self.a;
        match self.rng.below(9) {
            0 => a.rep().movsb()?,
            1 if wide => a.rep().movsq()?,
            2 => a.rep().stosb()?,
            3 if wide => a.rep().stosq()?,
            4 => a.repe().cmpsb()?,
            5 => a.repne().scasb()?,
            6 => a.rep().lodsb()?,
            7 => a.rep().movsw()?,
            _ => a.rep().stosd()?,
        }
        self.a.cld()
    }

    pub(super) fn flags_of_one_used_by_another(&mut self) -> Result<(), IcedError> {
        self.random()?;
        let a = &mut self.a;
        match self.rng.below(8) {
            0 => a.setb(al),
            1 => a.adc(eax, ecx),
            2 => a.cmovle(eax, edx),
            3 => a.lahf(),
            4 if !self.world.compatibility => {
                a.pushfq()?;
                a.pop(rax)
            }
            5 => a.sbb(edx, edx),
            6 => a.rcr(eax, 3),
            _ if self.world.compatibility => a.setp(byte_ptr(ebx)),
            _ => a.setp(byte_ptr(rbx)),
        }
    }
}
