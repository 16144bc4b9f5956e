//! Programs as compilers make them: functions with loops, jump tables and recursion.

use host_cpu::rng::Rng;
use iced_x86::code_asm::*;
use x86::CpuModel;

use super::bus::FuzzBus;
use super::insn::Forms;
use super::run::Start;
use super::stream::starts;
use super::world::{self, World};

/// Functions of a program.
const FUNCTIONS: usize = 5;

/// The world of all programs, with another base each.
pub(super) fn world(model: CpuModel, rng: &mut Rng) -> World {
    World {
        model,
        user: rng.one_in(2),
        compatibility: false,
        base: rng.pick(&[0, world::ALIAS, world::HIGH]),
        mends_pages: false,
        flushes: false,
        cr4: 0,
        open_tables: false,
    }
}

/// A run of `assembler`'s code in `world`.
pub(super) fn start(mut assembler: CodeAssembler, world: World, seed: u64, rng: &mut Rng) -> Start {
    let code = assembler.assemble(world.base + world::CODE).expect("code that can be encoded");
    let ram = world.ram(&code, &starts(&code, 64));
    let cpu = world.cpu();
    let first = cpu.count.0;
    let period = rng.pick(&[u64::MAX / 2, 1000, 97]);
    Start {
        cpu,
        second: None,
        ram,
        bus: FuzzBus::with_timer(seed, first + period, period),
        events: Vec::new(),
        wakes: 3,
    }
}

/// Jcc by condition.
pub(super) fn jump(a: &mut CodeAssembler, condition: usize, to: CodeLabel) -> Result<(), IcedError> {
    match condition {
        0 => a.jo(to),
        1 => a.jno(to),
        2 => a.jb(to),
        3 => a.jae(to),
        4 => a.je(to),
        5 => a.jne(to),
        6 => a.jbe(to),
        7 => a.ja(to),
        8 => a.js(to),
        9 => a.jns(to),
        10 => a.jp(to),
        11 => a.jnp(to),
        12 => a.jl(to),
        13 => a.jge(to),
        14 => a.jle(to),
        _ => a.jg(to),
    }
}

/// The program number `index`: functions that call each other, with loops, jump tables and recursion.
pub fn functions(model: CpuModel, index: u64) -> Start {
    let mut rng = Rng::new(0xfa_0004, index);
    let world = world(model, &mut rng);
    let mut a = CodeAssembler::new(64).expect("a size of code that there is");
    let forms = Forms::new(model, 64);
    write_functions(&mut a, &world, &forms, &mut rng).expect("instructions that can be encoded");
    start(a, world, index, &mut rng)
}

fn write_functions(a: &mut CodeAssembler, world: &World, forms: &Forms, rng: &mut Rng) -> Result<(), IcedError> {
    let mut functions: Vec<CodeLabel> = (0..FUNCTIONS).map(|_| a.create_label()).collect();
    let mut top = a.create_label();
    a.set_label(&mut top)?;
    let data = world.base + world::DATA;
    a.mov(rsp, world.base + world::STACK_TOP - 0x100)?;
    a.mov(r12, data)?;
    for (place, function) in (0..).step_by(8).zip(&functions) {
        // By name, or by a pointer in memory.
        if rng.one_in(2) {
            a.call(*function)?;
        } else {
            a.lea(rax, ptr(*function))?;
            a.mov(qword_ptr(r12 + place), rax)?;
            a.call(qword_ptr(r12 + place))?;
        }
    }
    a.jmp(top)?;
    for i in 0..FUNCTIONS {
        let mut label = functions[i];
        a.set_label(&mut label)?;
        functions[i] = label;
        function(a, &functions[i + 1..], forms, data, rng)?;
    }
    Ok(())
}

/// One function, which calls those of `others`.
fn function(
    a: &mut CodeAssembler,
    others: &[CodeLabel],
    forms: &Forms,
    data: u64,
    rng: &mut Rng,
) -> Result<(), IcedError> {
    let (mut again, mut out) = (a.create_label(), a.create_label());
    for register in [rbx, rbp, rsi, rdi, r12, r13] {
        a.push(register)?;
    }
    for register in [rbx, rbp, rsi, rdi, r12] {
        a.mov(register, data + 0x400 + 64 * rng.below(0x180))?;
    }
    a.mov(r13d, rng.below(32) as u32)?;
    a.push(2 + rng.below(12) as i32)?;
    a.set_label(&mut again)?;
    a.nop()?;
    for _ in 0..2 + rng.below(4) {
        match rng.below(6) {
            0 if !others.is_empty() && rng.one_in(3) => a.call(rng.pick(others))?,
            1 => table(a, rng)?,
            2 => recursion(a, rng)?,
            3 => {
                let mut over = a.create_label();
                jump(a, rng.below(16) as usize, over)?;
                arithmetic(a, forms, rng)?;
                a.set_label(&mut over)?;
                a.nop()?;
            }
            _ => arithmetic(a, forms, rng)?,
        }
    }
    a.dec(dword_ptr(rsp))?;
    a.js(out)?;
    a.jnz(again)?;
    a.set_label(&mut out)?;
    a.pop(rax)?;
    for register in [r13, r12, rdi, rsi, rbp, rbx] {
        a.pop(register)?;
    }
    a.ret()
}

/// An instruction that leaves the stack alone.
fn arithmetic(a: &mut CodeAssembler, forms: &Forms, rng: &mut Rng) -> Result<(), IcedError> {
    let insn = loop {
        let insn = forms.draw(4, rng);
        if !insn.is_stack_instruction() && !insn.is_privileged() && insn.flow_control() == iced_x86::FlowControl::Next {
            break insn;
        }
    };
    a.add_instruction(insn)
}

/// A jump by a table of four targets.
fn table(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    let mut targets: Vec<CodeLabel> = (0..4).map(|_| a.create_label()).collect();
    let mut over = a.create_label();
    for (i, target) in (0..).zip(&targets) {
        a.lea(r8, ptr(*target))?;
        a.mov(qword_ptr(rsp - 0x80 + 8 * i), r8)?;
    }
    a.add(eax, rng.below(9) as i32)?;
    a.mov(ecx, eax)?;
    a.and(ecx, 3)?;
    a.jmp(qword_ptr(rsp + rcx * 8 - 0x80))?;
    for target in &mut targets {
        a.set_label(target)?;
        a.add(r14, rng.below(100) as i32)?;
        a.jmp(over)?;
    }
    a.set_label(&mut over)?;
    a.nop()
}

/// A function that calls itself some times.
fn recursion(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    let (mut own, mut back, mut over) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(ecx, 1 + rng.below(6) as u32)?;
    a.call(own)?;
    a.jmp(over)?;
    a.set_label(&mut own)?;
    a.sub(ecx, 1)?;
    a.jc(back)?;
    a.call(own)?;
    a.add(r15, rcx)?;
    a.set_label(&mut back)?;
    a.ret()?;
    a.set_label(&mut over)?;
    a.nop()
}
