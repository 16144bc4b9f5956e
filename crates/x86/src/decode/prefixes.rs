//! The legacy and REX prefixes of an instruction, as far as they set sizes and repetition.

use crate::op::Repeat;
use crate::vcpu::CodeSize;

/// What the prefixes say.
pub struct Prefixes {
    /// 66h.
    operand_size: bool,
    /// REX.W.
    wide: bool,
    /// 67h.
    pub address_size: bool,
    /// F3h or F2h, the last one.
    pub repeat: Repeat,
}

impl Prefixes {
    /// Reads the prefixes at the start of `bytes`.
    pub fn scan(bytes: &[u8], code: CodeSize) -> Self {
        let mut found = Prefixes { operand_size: false, wide: false, address_size: false, repeat: Repeat::None };
        for &byte in bytes {
            match byte {
                0x66 => found.operand_size = true,
                0x67 => found.address_size = true,
                0xf3 => found.repeat = Repeat::WhileEqual,
                0xf2 => found.repeat = Repeat::WhileNotEqual,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 => {}
                0x40..=0x4f if code == CodeSize::B64 => {
                    // REX counts only directly before the opcode; a prefix behind it would undo it,
                    // and then this byte is not the last one looked at.
                    found.wide = byte & 8 != 0;
                    continue;
                }
                _ => break,
            }
            found.wide = false;
        }
        found
    }

    /// The effective operand size: 2, 4 or 8 bytes.
    pub fn operand_bytes(&self, code: CodeSize) -> u8 {
        match code {
            CodeSize::B64 if self.wide => 8,
            CodeSize::B16 => 2 << u8::from(self.operand_size),
            _ => 4 >> u8::from(self.operand_size),
        }
    }
}

/// True for a legacy prefix, and for REX in 64-bit code.
pub fn is_prefix(byte: u8, bitness: u32) -> bool {
    let legacy = matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    legacy || (bitness == 64 && byte & 0xf0 == 0x40)
}
