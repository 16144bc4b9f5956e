//! Executes an instruction on the host between FXRSTOR and FXSAVE: an oracle that shares
//! nothing with `host`.
#![allow(unsafe_code)]

use crate::x87::state::X87State;
use std::sync::OnceLock;

/// The image of FXSAVE64, a memory operand, and RFLAGS.
#[repr(C, align(64))]
pub struct Machine {
    pub image: [u8; 512],
    pub memory: [u8; 128],
    pub rflags: u64,
}

const PAGE: usize = 4096;

unsafe extern "C" {
    fn mmap(addr: *mut u8, len: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(addr: *mut u8, len: usize) -> i32;
}

/// Machine code: the instruction with `[rsi]` as its memory operand, in its surroundings.
pub struct Native {
    page: *mut u8,
}

impl Native {
    pub fn new(instruction: &[u8]) -> Native {
        // fxrstor64 [rdi]; push [rdi + 640]; popfq
        let mut code = vec![0x48, 0x0f, 0xae, 0x0f, 0xff, 0xb7, 0x80, 0x02, 0, 0, 0x9d];
        code.extend(instruction);
        // pushfq; fxsave64 [rdi]; fninit; pop [rdi + 640]; cld; ret
        code.extend([0x9c, 0x48, 0x0f, 0xae, 0x07, 0xdb, 0xe3, 0x8f, 0x87, 0x80, 0x02, 0, 0, 0xfc, 0xc3]);
        const READ_WRITE_EXECUTE: i32 = 7;
        const PRIVATE_ANONYMOUS: i32 = 0x22;
        // SAFETY: a fresh mapping of a page, filled within its bounds.
        unsafe {
            let page = mmap(std::ptr::null_mut(), PAGE, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS, -1, 0);
            assert!(!page.is_null() && page as isize != -1, "the host gives a page for code");
            page.copy_from_nonoverlapping(code.as_ptr(), code.len());
            Native { page }
        }
    }

    pub fn run(&self, machine: &mut Machine) {
        let memory = machine.memory.as_mut_ptr();
        // SAFETY: the code is complete, uses only the machine and the stack, leaves the x87
        // unit as FNINIT does and MXCSR as in the image, which came from this host.
        unsafe {
            std::arch::asm!(
                "call {code}",
                code = in(reg) self.page,
                in("rdi") &raw mut *machine,
                in("rsi") memory,
                out("rax") _,
                clobber_abi("C"),
            );
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new` and nothing else knows it.
        assert_eq!(unsafe { munmap(self.page, PAGE) }, 0, "the page of code is unmapped");
    }
}

/// An image of this host's vector state.
fn host_image() -> [u8; 512] {
    static IMAGE: OnceLock<[u8; 512]> = OnceLock::new();
    #[repr(align(16))]
    struct Aligned([u8; 512]);
    *IMAGE.get_or_init(|| {
        let mut image = Aligned([0; 512]);
        // SAFETY: the image has the size and alignment that FXSAVE needs.
        unsafe { std::arch::asm!("fxsave64 [{}]", in(reg) &raw mut image) };
        image.0
    })
}

impl Machine {
    pub fn new(fpu: &X87State, memory: &[u8], rflags: u64) -> Machine {
        let mut machine = Machine { image: host_image(), memory: [0; 128], rflags };
        machine.memory[..memory.len()].copy_from_slice(memory);
        let image = &mut machine.image;
        image[0..2].copy_from_slice(&fpu.control.to_le_bytes());
        image[2..4].copy_from_slice(&fpu.status.to_le_bytes());
        image[4] = fpu.valid;
        image[5] = 0;
        image[6..8].copy_from_slice(&fpu.opcode.to_le_bytes());
        image[8..16].copy_from_slice(&fpu.ip.to_le_bytes());
        image[16..24].copy_from_slice(&fpu.dp.to_le_bytes());
        for i in 0..8 {
            image[32 + 16 * i..48 + 16 * i].copy_from_slice(&fpu.st(i).to_le_bytes());
        }
        machine
    }

    /// The state in the image; processors that deprecate FCS and FDS have none.
    pub fn state(&self) -> X87State {
        let word = |at: usize| u16::from_le_bytes([self.image[at], self.image[at + 1]]);
        let mut fpu = X87State { control: word(0), status: word(2), valid: self.image[4], ..X87State::default() };
        let quad = |at: usize| u64::from_le_bytes(self.image[at..at + 8].try_into().expect("eight bytes"));
        (fpu.opcode, fpu.ip, fpu.dp) = (word(6), quad(8), quad(16));
        for i in 0..8 {
            let bytes = self.image[32 + 16 * i..48 + 16 * i].try_into().expect("sixteen bytes");
            let slot = fpu.slot(i);
            fpu.regs[slot] = u128::from_le_bytes(bytes);
        }
        fpu
    }
}
