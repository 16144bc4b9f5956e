//! A guest that makes code all the time, as a translator of its own would: functions written, called, and written over.

use host_cpu::rng::Rng;
use iced_x86::code_asm::*;
use x86::CpuModel;

use super::bus::FuzzBus;
use super::run::Start;
use super::stream::starts;
use super::world::{self, World};

/// Where in the code pages the guest's own code goes, and how far.
const BUFFER: u64 = 0x1000;
const BUFFER_BYTES: u64 = world::CODE_BYTES - BUFFER;

/// The case number `index`: functions of a size and at a distance of its own.
pub fn forever(model: CpuModel, index: u64) -> Start {
    let mut rng = Rng::new(0x11_0005, index);
    let world = World {
        model,
        user: rng.one_in(2),
        compatibility: false,
        base: rng.pick(&[0, world::ALIAS, world::HIGH]),
        mends_pages: false,
        flushes: false,
        cr4: 0,
        open_tables: false,
    };
    let mut a = CodeAssembler::new(64).expect("a size of code that there is");
    write(&mut a, &world, &mut rng).expect("instructions that can be encoded");
    let mut code = a.assemble(world.base + world::CODE).expect("code that can be encoded");
    assert!(code.len() < BUFFER as usize, "the program lies before its buffer");
    let known = starts(&code, 64);
    code.resize(world::CODE_BYTES as usize, 0xc3);
    let (ram, cpu) = (world.ram(&code, &known), world.cpu());
    let first = cpu.count.0;
    let period = rng.pick(&[u64::MAX / 2, 501]);
    Start {
        cpu,
        second: None,
        ram,
        bus: FuzzBus::with_timer(index, first + period, period),
        events: Vec::new(),
        wakes: 3,
    }
}

/// R12 goes round the buffer; at each place a function of some additions and jumps, or of stores and loads, is written and called.
fn write(a: &mut CodeAssembler, world: &World, rng: &mut Rng) -> Result<(), IcedError> {
    let (mut top, mut more, mut inside) = (a.create_label(), a.create_label(), a.create_label());
    let buffer = world.base + world::CODE + BUFFER;
    // Through which mapping the functions are written.
    let written = if rng.one_in(2) { world.base } else { rng.pick(&[0, world::ALIAS, world::HIGH]) };
    let distance = rng.pick(&[16, 40, 100, 333, 4096 + 24]);
    let additions = rng.pick(&[1, 2, 7, 30]);
    a.mov(rsp, world.base + world::STACK_TOP - 0x100)?;
    a.mov(r12, buffer)?;
    a.set_label(&mut top)?;
    a.mov(rdi, r12)?;
    a.mov(rax, written.wrapping_sub(world.base))?;
    a.add(rdi, rax)?;
    a.mov(ecx, additions)?;
    a.set_label(&mut more)?;
    if rng.one_in(2) {
        // ADD EBX, imm32; JMP to the next.
        a.mov(word_ptr(rdi), 0xc381)?;
        a.mov(dword_ptr(rdi + 2), r15d)?;
        a.mov(word_ptr(rdi + 6), 0x00eb)?;
    } else {
        // MOV [R13 + 16], EBX; MOV R11D, [R13 + 8].
        a.mov(dword_ptr(rdi), 0x105d_8941)?;
        a.mov(dword_ptr(rdi + 4), 0x085d_8b45)?;
    }
    a.imul_3(r15d, r15d, 0x0001_9661)?;
    a.inc(r15d)?;
    a.add(rdi, 8)?;
    a.dec(ecx)?;
    a.jnz(more)?;
    a.mov(byte_ptr(rdi), 0xc3)?;
    let calls = 1 + rng.below(4);
    for _ in 0..calls {
        a.call(r12)?;
    }
    if rng.one_in(2) {
        // The last function's own constant changes while it stays.
        a.mov(byte_ptr(r12 + 3), r15b)?;
        a.call(r12)?;
    }
    a.add(r12, distance)?;
    a.mov(rax, buffer + BUFFER_BYTES - 0x400)?;
    a.cmp(r12, rax)?;
    a.jb(inside)?;
    a.mov(r12, buffer + rng.below(8))?;
    a.set_label(&mut inside)?;
    a.jmp(top)
}
