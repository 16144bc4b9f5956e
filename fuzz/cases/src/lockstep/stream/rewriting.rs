//! Code that writes over code: its own instruction, what comes next, what came before, by every kind of store and through
//! every mapping.

use iced_x86::code_asm::*;
use iced_x86::{Encoder, Instruction};

use super::{Writer, world};

/// Instructions of one byte that a program survives.
const SINGLE: [u8; 10] = [0x90, 0xf8, 0xf9, 0xf5, 0x98, 0xfc, 0x99, 0x9e, 0x9f, 0x9b];

impl Writer<'_> {
    /// Writes to the code of some piece, this one (number `i`) and its neighbours most often.
    pub(super) fn write_code(&mut self, i: usize) -> Result<(), IcedError> {
        let count = self.labels.len() as u64;
        let target = match self.rng.below(4) {
            0 => i,
            1 => (i + 1).min(self.labels.len() - 1),
            2 => i.saturating_sub(1),
            _ => self.rng.below(count) as usize,
        };
        let source = self.labels[self.rng.below(count) as usize];
        let target = self.labels[target];
        if self.world.compatibility {
            return self.write_narrow();
        }
        self.a.lea(rax, ptr(target))?;
        self.change_mapping()?;
        if self.rng.one_in(4) {
            let offset = self.rng.below(20) as i32;
            self.a.add(rax, offset)?;
        }
        match self.rng.below(11) {
            0 | 1 => {
                let byte = self.single();
                self.a.mov(byte_ptr(rax), byte)
            }
            2 | 3 => {
                let bytes = self.instruction();
                self.a.mov(r10, bytes)?;
                self.a.mov(qword_ptr(rax), r10)
            }
            4 => {
                let (offset, bit) = (self.rng.below(8) as i32, 1 << self.rng.below(8));
                self.a.xor(byte_ptr(rax + offset), bit)
            }
            5 => self.a.lock().inc(dword_ptr(rax + 2)),
            6 => {
                let length = self.rng.pick(&[1, 5, 16, 40, 200]);
                self.a.lea(rsi, ptr(source))?;
                self.a.mov(rdi, rax)?;
                self.a.mov(ecx, length)?;
                self.a.rep().movsb()
            }
            7 => {
                self.a.movups(xmm7, xmmword_ptr(source))?;
                self.a.movups(xmmword_ptr(rax), xmm7)
            }
            8 => {
                self.a.mov(r10, rsp)?;
                self.a.lea(rsp, rax + 8)?;
                self.a.push(r11)?;
                self.a.mov(rsp, r10)
            }
            9 => {
                let byte = self.single();
                self.a.mov(r11d, byte)?;
                self.a.xchg(byte_ptr(rax), r11b)
            }
            _ => {
                // Across the end of a page, wherever the code is.
                let byte = self.single();
                self.a.or(rax, 0xfff)?;
                self.a.mov(r10d, byte << 8 | 0x90)?;
                self.a.mov(word_ptr(rax), r10w)
            }
        }
    }

    /// The same in 32-bit code, around itself.
    fn write_narrow(&mut self) -> Result<(), IcedError> {
        let mut here = self.a.create_label();
        self.a.call(here)?;
        self.a.set_label(&mut here)?;
        self.a.pop(eax)?;
        let distance = self.rng.below(160) as i32 - 80;
        self.a.add(eax, distance)?;
        let byte = self.single();
        match self.rng.below(4) {
            0 => self.a.mov(byte_ptr(eax), byte),
            1 => {
                let bytes = self.instruction() as u32;
                self.a.mov(dword_ptr(eax), bytes)
            }
            2 => self.a.xor(byte_ptr(eax + 1), 1 << self.rng.below(8)),
            _ => {
                self.a.mov(edi, eax)?;
                self.a.mov(ecx, 3)?;
                self.a.mov(al, byte)?;
                self.a.rep().stosb()
            }
        }
    }

    /// Turns the address in RAX into that of the same byte in another mapping, now and then.
    fn change_mapping(&mut self) -> Result<(), IcedError> {
        let other = self.rng.pick(&[0, world::ALIAS, world::HIGH, world::LARGE]);
        if self.rng.one_in(2) {
            return Ok(());
        }
        self.a.mov(r9, other.wrapping_sub(self.world.base))?;
        self.a.add(rax, r9)
    }

    fn single(&mut self) -> u32 {
        if self.rng.one_in(4) { self.rng.below(256) as u32 } else { self.rng.pick(&SINGLE).into() }
    }

    /// Eight bytes that start with an instruction, and go on with others of one byte.
    fn instruction(&mut self) -> u64 {
        let bits = if self.world.compatibility { 32 } else { 64 };
        let insn: Instruction = self.forms.draw(self.mix.of_any, &mut self.rng);
        let mut bytes: Vec<u8> = (0..16).map(|_| self.single() as u8).collect();
        let mut encoder = Encoder::new(bits);
        if encoder.encode(&insn, world::CODE).is_ok() {
            let code = encoder.take_buffer();
            bytes[..code.len()].copy_from_slice(&code);
        }
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    }
}
