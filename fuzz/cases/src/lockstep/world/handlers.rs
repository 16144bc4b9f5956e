//! What the guest does on faults, interrupts and system calls.

use iced_x86::code_asm::*;
use x86::flags;

use super::{
    CALLS, CODE_BASE, CODE_BYTES, COMMON, DEBUG, FAULTS, HANDLERS, INTERRUPT, INTERRUPTS, KERNEL_CODE, KERNEL_DATA,
    NEXT, SYSCALL, TABLES, TO_KERNEL, TO_USER, USER_CODE, USER_DATA, VARIABLES, World,
};

impl World {
    pub(super) fn put_handlers(&self, ram: &mut [u8]) {
        for vector in 0..32 {
            let at = HANDLERS + 16 * vector;
            let has_error = matches!(vector, 8 | 10..=14 | 17);
            assemble(ram, at, |a| {
                if !has_error {
                    a.push(0)?;
                }
                a.jmp(COMMON)
            });
        }
        assemble(ram, COMMON, |a| self.go_on(a));
        assemble(ram, INTERRUPT, |a| {
            a.push(rax)?;
            a.mov(rax, qword_ptr(VARIABLES + INTERRUPTS))?;
            a.lea(rax, rax + 1)?;
            a.mov(qword_ptr(VARIABLES + INTERRUPTS), rax)?;
            a.pop(rax)?;
            a.iretq()
        });
        assemble(ram, SYSCALL, |a| {
            a.swapgs()?;
            a.inc(qword_ptr(VARIABLES + CALLS))?;
            a.swapgs()?;
            a.sysretq()
        });
        for (at, code, data) in [(TO_KERNEL, KERNEL_CODE, KERNEL_DATA), (TO_USER, USER_CODE, USER_DATA)] {
            assemble(ram, at, |a| {
                a.mov(qword_ptr(rsp + 8), i32::from(code))?;
                a.mov(qword_ptr(rsp + 32), i32::from(data))?;
                a.iretq()
            });
        }
        // #DB: single steps and breakpoints end, and the code goes on where it was.
        assemble(ram, DEBUG, |a| {
            a.and(qword_ptr(rsp + 16), !(flags::TF as i32))?;
            a.or(qword_ptr(rsp + 16), flags::RF as i32)?;
            a.inc(qword_ptr(VARIABLES + FAULTS))?;
            a.iretq()
        });
    }

    /// The handler of faults: frame at RSP with an error code.
    fn go_on(&self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        let (mut skip, mut lost, mut done) = (a.create_label(), a.create_label(), a.create_label());
        a.push(rax)?;
        a.push(rcx)?;
        // A task switch flag or a debug register that got in the way is taken away.
        a.clts()?;
        a.inc(qword_ptr(VARIABLES + FAULTS))?;
        if self.mends_pages {
            a.test(byte_ptr(VARIABLES + FAULTS), 1)?;
            a.jz(skip)?;
            a.mov(rax, cr2)?;
            a.shr(rax, 12)?;
            a.and(eax, 0x3ff)?;
            a.mov(ecx, eax)?;
            a.and(ecx, 0x1ff)?;
            a.sub(ecx, 0x20)?;
            a.cmp(ecx, 0x60)?;
            a.jae(skip)?;
            a.mov(rcx, qword_ptr(rax * 8 + TABLES))?;
            a.or(rcx, 7)?;
            a.btr(rcx, 63)?;
            a.mov(qword_ptr(rax * 8 + TABLES), rcx)?;
            if self.flushes {
                a.mov(rax, cr2)?;
                a.invlpg(byte_ptr(rax))?;
            }
            a.jmp(done)?;
        }
        a.set_label(&mut skip)?;
        a.mov(rax, qword_ptr(rsp + 24))?;
        a.sub(rax, qword_ptr(VARIABLES + CODE_BASE))?;
        a.cmp(rax, CODE_BYTES as i32)?;
        a.jae(lost)?;
        a.movzx(ecx, word_ptr(rax * 2 + NEXT))?;
        a.add(rcx, qword_ptr(VARIABLES + CODE_BASE))?;
        a.mov(qword_ptr(rsp + 24), rcx)?;
        a.jmp(done)?;
        a.set_label(&mut lost)?;
        a.mov(rax, qword_ptr(VARIABLES + CODE_BASE))?;
        a.mov(qword_ptr(rsp + 24), rax)?;
        a.set_label(&mut done)?;
        a.pop(rcx)?;
        a.pop(rax)?;
        a.lea(rsp, rsp + 8)?;
        a.iretq()
    }
}

fn assemble(ram: &mut [u8], at: u64, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
    let mut assembler = CodeAssembler::new(64).expect("a size of code that there is");
    write(&mut assembler).expect("handlers that can be encoded");
    let bytes = assembler.assemble(at).expect("handlers that can be encoded");
    ram[at as usize..][..bytes.len()].copy_from_slice(&bytes);
}
