//! Emits host instructions: the few forms that translated code is made of beside the guest's own
//! instructions, which `iced-x86` encodes.

/// Host register numbers.
pub const RAX: u8 = 0;
pub const RCX: u8 = 1;
pub const RDX: u8 = 2;
pub const RBX: u8 = 3;
pub const RSP: u8 = 4;
pub const RBP: u8 = 5;
pub const RSI: u8 = 6;
pub const RDI: u8 = 7;
pub const R8: u8 = 8;
pub const R9: u8 = 9;
pub const R10: u8 = 10;
pub const R11: u8 = 11;
pub const R12: u8 = 12;
pub const R13: u8 = 13;
pub const R14: u8 = 14;
pub const R15: u8 = 15;

/// A memory operand of the host.
#[derive(Clone, Copy, Debug)]
pub struct Mem {
    /// Base register.
    pub base: Option<u8>,
    /// Index register and the shift it is scaled by.
    pub index: Option<(u8, u8)>,
    /// Displacement.
    pub disp: i32,
    /// Relative to the GS base, where the TLB's fast tables lie.
    pub gs: bool,
}

impl Mem {
    /// `[base + disp]`.
    pub const fn base(base: u8, disp: i32) -> Mem {
        Mem { base: Some(base), index: None, disp, gs: false }
    }

    /// `[base + index]`.
    pub const fn sum(base: u8, index: u8) -> Mem {
        Mem { base: Some(base), index: Some((index, 0)), disp: 0, gs: false }
    }

    /// `gs:[index * 8 + disp]`.
    pub const fn table(index: u8, disp: i32) -> Mem {
        Mem { base: None, index: Some((index, 3)), disp, gs: true }
    }
}

/// A short forward jump whose distance is not known yet.
#[must_use]
pub struct ShortJump(usize);

/// Code under construction, to be placed at a known offset of the code buffer.
pub struct Asm {
    /// The bytes so far.
    pub bytes: Vec<u8>,
    /// The offset in the code buffer that the first byte will have.
    pub origin: u32,
    /// The registers that were written since a bit was cleared here; all of them where ways join. (Raw bytes and
    /// instructions that iced-x86 encodes are the emitter's affair.)
    pub changed: u16,
}

/// Opcode maps and mandatory prefixes of VEX encodings.
const MAP_0F38: u8 = 2;
const MAP_0F3A: u8 = 3;
const PREFIX_66: u8 = 1;
const PREFIX_F3: u8 = 2;
const PREFIX_F2: u8 = 3;

impl Asm {
    /// Nothing, to lie at `origin`.
    pub fn new(origin: u32) -> Asm {
        Asm { bytes: Vec::with_capacity(4096), origin, changed: 0 }
    }

    /// The offset of the next byte in the code buffer.
    pub fn here(&self) -> u32 {
        self.origin + self.bytes.len() as u32
    }

    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn dword(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// ModRM, SIB and displacement.
    fn modrm(&mut self, reg: u8, mem: &Mem) {
        let reg = (reg & 7) << 3;
        let Some(base) = mem.base else {
            let sib = match mem.index {
                Some((index, scale)) => scale << 6 | (index & 7) << 3 | 5,
                None => 0x25,
            };
            self.raw(&[reg | 4, sib]);
            return self.dword(mem.disp as u32);
        };
        let mode = match mem.disp {
            0 if base & 7 != RBP => 0x00,
            -128..=127 => 0x40,
            _ => 0x80,
        };
        match mem.index {
            Some((index, scale)) => self.raw(&[mode | reg | 4, scale << 6 | (index & 7) << 3 | base & 7]),
            None if base & 7 == RSP => self.raw(&[mode | reg | 4, 0x24]),
            None => self.byte(mode | reg | base & 7),
        }
        match mode {
            0x00 => {}
            0x40 => self.byte(mem.disp as u8),
            _ => self.dword(mem.disp as u32),
        }
    }

    fn writes(&mut self, register: u8) {
        self.changed |= 1 << register;
    }

    /// An instruction with a register, which it may write, and a memory operand.
    pub fn op_mem(&mut self, wide: bool, opcode: &[u8], reg: u8, mem: Mem) {
        self.writes(reg);
        self.form_mem(wide, opcode, reg, mem);
    }

    fn form_mem(&mut self, wide: bool, opcode: &[u8], reg: u8, mem: Mem) {
        if mem.gs {
            self.byte(0x65);
        }
        let index = mem.index.map_or(0, |(index, _)| index >> 3);
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | index << 1 | mem.base.unwrap_or(0) >> 3;
        if rex != 0x40 {
            self.byte(rex);
        }
        self.raw(opcode);
        self.modrm(reg, &mem);
    }

    /// An instruction with two register operands, either of which it may write.
    pub fn op_reg(&mut self, wide: bool, opcode: &[u8], reg: u8, rm: u8) {
        self.writes(reg);
        self.writes(rm);
        self.form_reg(wide, opcode, reg, rm);
    }

    fn form_reg(&mut self, wide: bool, opcode: &[u8], reg: u8, rm: u8) {
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | rm >> 3;
        if rex != 0x40 {
            self.byte(rex);
        }
        self.raw(opcode);
        self.byte(0xc0 | (reg & 7) << 3 | rm & 7);
    }

    pub fn load(&mut self, to: u8, from: Mem) {
        self.op_mem(true, &[0x8b], to, from);
    }

    pub fn store(&mut self, to: Mem, from: u8) {
        self.form_mem(true, &[0x89], from, to);
    }

    pub fn mov(&mut self, to: u8, from: u8) {
        if to != from {
            self.writes(to);
            self.form_reg(true, &[0x8b], to, from);
        }
    }

    /// MOV of a sign-extended constant.
    pub fn constant(&mut self, to: u8, value: u64) {
        self.writes(to);
        if let Ok(value) = u32::try_from(value) {
            if to >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | to & 7);
            self.dword(value);
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.op_reg(true, &[0xc7], 0, to);
            self.dword(value as u32);
        } else {
            self.raw(&[0x48 | to >> 3, 0xb8 | to & 7]);
            self.raw(&value.to_le_bytes());
        }
    }

    /// LEA of 64 bits.
    pub fn lea(&mut self, to: u8, address: Mem) {
        self.op_mem(true, &[0x8d], to, address);
    }

    /// LEA of 32 bits, which clears the upper half.
    pub fn lea32(&mut self, to: u8, address: Mem) {
        self.op_mem(false, &[0x8d], to, address);
    }

    fn vex(&mut self, map: u8, prefix: u8, vvvv: u8, reg: u8, index: u8, rm: u8) {
        let inverted = |register: u8| (register >> 3 ^ 1) & 1;
        self.raw(&[
            0xc4,
            inverted(reg) << 7 | inverted(index) << 6 | inverted(rm) << 5 | map,
            0x80 | (!vvvv & 15) << 3 | prefix,
        ]);
    }

    /// PEXT: the bits of `from` that the mask at `base + disp` has.
    pub fn pext(&mut self, to: u8, from: u8, mask: Mem) {
        self.writes(to);
        self.vex(MAP_0F38, PREFIX_F3, from, to, 0, mask.base.unwrap_or(0));
        self.byte(0xf5);
        self.modrm(to, &mask);
    }

    /// PDEP: the low bits of `from` to the places that the mask at `base + disp` has.
    pub fn pdep(&mut self, to: u8, from: u8, mask: Mem) {
        self.writes(to);
        self.vex(MAP_0F38, PREFIX_F2, from, to, 0, mask.base.unwrap_or(0));
        self.byte(0xf5);
        self.modrm(to, &mask);
    }

    /// NOT, which leaves the flags alone.
    pub fn not(&mut self, register: u8) {
        self.op_reg(true, &[0xf7], 2, register);
    }

    /// SHRX: a shift right by the low six bits of `count`, leaving the flags alone.
    pub fn shrx(&mut self, to: u8, from: u8, count: u8) {
        self.writes(to);
        self.vex(MAP_0F38, PREFIX_F2, count, to, 0, from);
        self.raw(&[0xf7, 0xc0 | (to & 7) << 3 | from & 7]);
    }

    /// SARX: a shift right of a signed number likewise.
    pub fn sarx(&mut self, to: u8, from: u8, count: u8) {
        self.writes(to);
        self.vex(MAP_0F38, PREFIX_F3, count, to, 0, from);
        self.raw(&[0xf7, 0xc0 | (to & 7) << 3 | from & 7]);
    }

    /// SHLX: a shift left likewise.
    pub fn shlx(&mut self, to: u8, from: u8, count: u8) {
        self.writes(to);
        self.vex(MAP_0F38, PREFIX_66, count, to, 0, from);
        self.raw(&[0xf7, 0xc0 | (to & 7) << 3 | from & 7]);
    }

    /// RORX: a rotation right by a constant, leaving the flags alone.
    pub fn rorx(&mut self, to: u8, from: u8, count: u8) {
        self.writes(to);
        self.vex(MAP_0F3A, PREFIX_F2, 0, to, 0, from);
        self.raw(&[0xf0, 0xc0 | (to & 7) << 3 | from & 7, count]);
    }

    /// MOVZX of the low 8 bits of a register whose low byte needs no REX prefix, or is above 7.
    pub fn low8(&mut self, to: u8, from: u8) {
        self.writes(to);
        self.form_reg(false, &[0x0f, 0xb6], to, from);
    }

    /// JRCXZ forward, to where [`Self::land`] says.
    pub fn jrcxz(&mut self) -> ShortJump {
        self.raw(&[0xe3, 0]);
        ShortJump(self.bytes.len())
    }

    /// JMP forward over less than 128 bytes.
    pub fn skip(&mut self) -> ShortJump {
        self.raw(&[0xeb, 0]);
        ShortJump(self.bytes.len())
    }

    /// Jcc forward over less than 128 bytes.
    pub fn skip_if(&mut self, condition: u8) -> ShortJump {
        self.raw(&[0x70 | condition, 0]);
        ShortJump(self.bytes.len())
    }

    /// The target of a short jump is here.
    pub fn land(&mut self, jump: ShortJump) {
        self.changed = u16::MAX;
        self.land_alone(jump);
    }

    /// The same where the jump is the only way to get here.
    pub fn land_alone(&mut self, jump: ShortJump) {
        let distance = self.bytes.len() - jump.0;
        self.bytes[jump.0 - 1] = i8::try_from(distance).expect("a short jump") as u8;
    }

    /// JECXZ to an offset of the code buffer close behind.
    pub fn jecxz_back(&mut self, target: u32) {
        let distance = i64::from(target) - i64::from(self.here() + 3);
        self.raw(&[0x67, 0xe3, i8::try_from(distance).expect("a short jump") as u8]);
    }

    /// JRCXZ likewise.
    pub fn jrcxz_back(&mut self, target: u32) {
        let distance = i64::from(target) - i64::from(self.here() + 2);
        self.raw(&[0xe3, i8::try_from(distance).expect("a short jump") as u8]);
    }

    /// CALL to an offset of the code buffer.
    pub fn call(&mut self, target: u32) {
        self.changed = u16::MAX;
        self.byte(0xe8);
        let distance = target.wrapping_sub(self.here() + 4);
        self.dword(distance);
    }

    /// JMP to an offset of the code buffer.
    pub fn jmp(&mut self, target: u32) {
        self.byte(0xe9);
        let distance = target.wrapping_sub(self.here() + 4);
        self.dword(distance);
    }

    /// JMP whose target [`Self::land_long`] sets; returns the place of its distance.
    pub fn jmp_later(&mut self) -> u32 {
        self.jmp(self.here() + 5);
        self.here() - 4
    }

    /// Jcc to an offset of the code buffer.
    pub fn jcc(&mut self, condition: u8, target: u32) {
        self.raw(&[0x0f, 0x80 | condition]);
        let distance = target.wrapping_sub(self.here() + 4);
        self.dword(distance);
    }

    /// Jcc whose target [`Self::land_long`] sets.
    pub fn jcc_later(&mut self, condition: u8) -> u32 {
        self.raw(&[0x0f, 0x80 | condition, 0, 0, 0, 0]);
        self.here() - 4
    }

    /// The target of the long jump whose distance lies at `place` is here.
    pub fn land_long(&mut self, place: u32) {
        self.changed = u16::MAX;
        let distance = self.here().wrapping_sub(place + 4);
        let at = (place - self.origin) as usize;
        self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// JMP to the address in memory.
    pub fn jmp_mem(&mut self, target: Mem) {
        self.op_mem(false, &[0xff], 4, target);
    }

    /// LEA of the address `offset` bytes from the start of the code buffer, which may be negative.
    pub fn lea_code(&mut self, to: u8, offset: i32) {
        self.writes(to);
        self.raw(&[0x48 | (to >> 3) << 2, 0x8d, (to & 7) << 3 | 5]);
        let distance = offset.wrapping_sub((self.here() + 4) as i32);
        self.dword(distance as u32);
    }
}

/// What is reached relative to the code, by offsets in the code buffer that may be negative.
impl Asm {
    /// Loads the word at `offset`.
    pub fn load_code(&mut self, to: u8, offset: i32) {
        self.writes(to);
        self.raw(&[0x48 | (to >> 3) << 2, 0x8b, (to & 7) << 3 | 5]);
        self.distance(offset);
    }

    /// JMP to the address in the word at `offset`.
    pub fn jmp_code(&mut self, offset: i32) {
        self.raw(&[0xff, 0x25]);
        self.distance(offset);
    }

    fn distance(&mut self, offset: i32) {
        let distance = offset.wrapping_sub((self.here() + 4) as i32);
        self.dword(distance as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

    fn text(emit: impl FnOnce(&mut Asm)) -> String {
        let mut asm = Asm::new(0);
        emit(&mut asm);
        let mut decoder = Decoder::new(64, &asm.bytes, DecoderOptions::NONE);
        let insn = decoder.decode();
        assert_eq!(decoder.position(), asm.bytes.len(), "one instruction");
        let mut text = String::new();
        IntelFormatter::new().format(&insn, &mut text);
        text
    }

    #[test]
    fn every_form_decodes_to_what_it_is_meant_to_be() {
        assert_eq!(text(|a| a.load(R10, Mem::base(RSP, 44))), "mov r10,[rsp+2Ch]");
        assert_eq!(text(|a| a.load(RCX, Mem::table(R11, 0x2040))), "mov rcx,gs:[r11*8+2040h]");
        assert_eq!(text(|a| a.store(Mem::base(R13, 0), R8)), "mov [r13],r8");
        assert_eq!(text(|a| a.lea(R10, Mem::sum(R12, R11))), "lea r10,[r12+r11]");
        assert_eq!(text(|a| a.lea32(R10, Mem::base(RBP, -8))), "lea r10d,[rbp-8]");
        assert_eq!(text(|a| a.pext(R11, R9, Mem::base(RSP, 60))), "pext r11,r9,[rsp+3Ch]");
        assert_eq!(text(|a| a.pdep(R10, R10, Mem::base(RSP, 156))), "pdep r10,r10,[rsp+9Ch]");
        assert_eq!(text(|a| a.not(R10)), "not r10");
        assert_eq!(text(|a| a.shrx(RCX, RCX, RSP)), "shrx rcx,rcx,rsp");
        assert_eq!(text(|a| a.sarx(R11, RCX, R11)), "sarx r11,rcx,r11");
        assert_eq!(text(|a| a.shlx(RCX, R10, RSP)), "shlx rcx,r10,rsp");
        assert_eq!(text(|a| a.rorx(RCX, R15, 32)), "rorx rcx,r15,20h");
        assert_eq!(text(|a| a.low8(RCX, R11)), "movzx ecx,r11b");
        assert_eq!(text(|a| a.constant(R10, 5)), "mov r10d,5");
        assert_eq!(text(|a| a.constant(R10, u64::MAX)), "mov r10,0FFFFFFFFFFFFFFFFh");
        assert_eq!(text(|a| a.constant(RCX, 1 << 40)), "mov rcx,10000000000h");
        assert_eq!(text(|a| a.jmp_mem(Mem::base(R10, 0x80000))), "jmp qword ptr [r10+80000h]");
        assert_eq!(text(|a| a.load_code(R10, 0x107)), "mov r10,[107h]");
        assert_eq!(text(|a| a.jmp_code(0x106)), "jmp qword ptr [106h]");
        assert_eq!(text(|a| a.lea_code(R10, 0x107)), "lea r10,[rip+100h]".replace("rip+100h", "107h"));
    }
}
