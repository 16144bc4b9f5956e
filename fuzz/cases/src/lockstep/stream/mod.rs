//! Random streams of instructions that run round and round: what random programs do, and what only kernels and self-modifying code do.

use host_cpu::rng::Rng;
use iced_x86::code_asm::*;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use x86::CpuModel;
use x86::vcpu::cr;

use super::bus::FuzzBus;
use super::insn::Forms;
use super::run::{Event, Start};
use super::world::{self, World};

mod kernel;
mod pieces;
mod rewriting;

/// What a stream is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Pieces of code that change code, in 16.
    pub writes_code: u64,
    /// Pieces that edit page tables, in 16.
    pub edits_tables: u64,
    /// System instructions, in 16.
    pub system: u64,
    /// Single instructions that are drawn from all forms, most of which are vector forms, in 16.
    pub of_any: u64,
}

/// Draws streams for one CPU model and size of code.
pub struct Streams {
    model: CpuModel,
    bitness: u32,
    forms: Forms,
}

/// A stream under construction.
struct Writer<'a> {
    a: CodeAssembler,
    forms: &'a Forms,
    rng: Rng,
    world: World,
    mix: Mix,
    /// Labels of pieces: what jumps and stores aim at.
    labels: Vec<CodeLabel>,
    /// Subroutines that wait to be written behind the loop.
    subroutines: Vec<CodeLabel>,
}

impl Streams {
    /// Of code of `bitness` bits for `model`.
    pub fn new(model: CpuModel, bitness: u32) -> Self {
        Streams { model, bitness, forms: Forms::new(model, bitness) }
    }

    /// The stream number `index`.
    pub fn draw(&self, index: u64, mix: Mix) -> Start {
        let mut rng = Rng::new(0x57_0001, index);
        let world = self.world(&mut rng);
        let pieces = rng.pick(&[3, 8, 20, 60]);
        let mut writer = Writer {
            a: CodeAssembler::new(self.bitness).expect("a size of code that there is"),
            forms: &self.forms,
            rng,
            world,
            mix,
            labels: Vec::new(),
            subroutines: Vec::new(),
        };
        writer.stream(pieces).expect("instructions that can be encoded");
        let Writer { mut a, mut rng, .. } = writer;
        let code = a.assemble(world.base + world::CODE).expect("code that can be encoded");
        let starts = starts(&code, self.bitness);
        let mut ram = world.ram(&code, &starts);
        change_permissions(&mut ram, &mut rng);
        let cpu = world.cpu();
        let first = cpu.count.0;
        let period = rng.pick(&[u64::MAX / 2, u64::MAX / 2, 7, 33, 100, 401]);
        let bus = FuzzBus::with_timer(index, first + rng.below(200).min(period), period);
        let second = rng.one_in(4).then(|| (world.second_cpu(rng.one_in(2)), rng.pick(&[13, 60, 200])));
        Start { cpu, second, ram, bus, events: events(&mut rng, first), wakes: 20 }
    }

    fn world(&self, rng: &mut Rng) -> World {
        let wide = self.bitness == 64;
        let mut control = 0;
        for bit in [cr::CR4_SMEP, cr::CR4_SMAP, cr::CR4_PGE, cr::CR4_FSGSBASE, cr::CR4_UMIP, cr::CR4_TSD, cr::CR4_PCIDE]
        {
            if rng.one_in(3) {
                control |= bit;
            }
        }
        let user = rng.one_in(2) || !wide;
        if !user {
            // Code and data are the user's.
            control &= !cr::CR4_SMEP;
            if !rng.one_in(8) {
                control &= !cr::CR4_SMAP;
            }
        }
        World {
            model: self.model,
            user,
            compatibility: !wide,
            base: if wide { rng.pick(&[0, 0, world::ALIAS, world::HIGH]) } else { rng.pick(&[0, world::ALIAS]) },
            mends_pages: rng.one_in(2),
            flushes: rng.one_in(2),
            cr4: control,
            open_tables: rng.one_in(3),
        }
    }
}

/// Where the instructions of `code` start.
pub fn starts(code: &[u8], bitness: u32) -> Vec<usize> {
    let mut decoder = Decoder::new(bitness, code, DecoderOptions::NONE);
    let mut starts = Vec::new();
    let mut insn = Instruction::default();
    while decoder.can_decode() {
        starts.push(decoder.position());
        decoder.decode_out(&mut insn);
    }
    starts
}

/// Takes rights from some pages of code and data.
fn change_permissions(ram: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.pick(&[0, 0, 1, 3, 8]) {
        let page = if rng.one_in(3) { rng.below(16) + 0x20 } else { rng.below(8) + 0x30 };
        let half = rng.below(2) * 0x1000;
        let at = (world::TABLES + half + 8 * page) as usize;
        let entry = u64::from_le_bytes(ram[at..at + 8].try_into().expect("eight bytes"));
        let entry = entry ^ rng.pick(&[1, 2, 2, 4, 1 << 63, 0x20, 0x40, 0x1000]);
        ram[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }
}

/// Interrupts, NMIs and writes by devices, some of them to code.
fn events(rng: &mut Rng, first: u64) -> Vec<(u64, Event)> {
    let mut at = first;
    let count = rng.pick(&[0, 0, 0, 2, 6]);
    (0..count)
        .map(|_| {
            at += 1 + rng.below(300);
            let event = match rng.below(4) {
                0 => Event::Nmi,
                1 => Event::Interrupt(0x40 + rng.below(8) as u8),
                2 => Event::Dma(world::CODE + rng.below(0x400), vec![rng.bits() as u8; 1 + rng.below(4) as usize]),
                _ => Event::Dma(world::DATA + rng.below(0x7000), vec![rng.bits() as u8; 1 + rng.below(0x800) as usize]),
            };
            (at, event)
        })
        .collect()
}

impl Writer<'_> {
    fn stream(&mut self, pieces: u64) -> Result<(), IcedError> {
        let mut top = self.a.create_label();
        self.a.set_label(&mut top)?;
        self.set_pointers()?;
        self.labels = (0..pieces).map(|_| self.a.create_label()).collect();
        for i in 0..pieces as usize {
            let mut label = self.labels[i];
            // An instruction, so that a label is never on the place of another.
            self.a.set_label(&mut label)?;
            self.labels[i] = label;
            self.piece(i)?;
        }
        self.a.jmp(top)?;
        for i in 0..self.subroutines.len() {
            let mut label = self.subroutines[i];
            self.a.set_label(&mut label)?;
            for _ in 0..1 + self.rng.below(4) {
                self.random()?;
            }
            self.a.ret()?;
        }
        Ok(())
    }

    fn data(&mut self) -> u64 {
        let page = self.rng.below(world::DATA_BYTES >> 12) << 12;
        // Near the end of a page, so that accesses cross it, or anywhere.
        let offset = if self.rng.one_in(4) { 0xfc0 + self.rng.below(64) } else { self.rng.below(64) * 64 };
        self.world.base + world::DATA + page + offset
    }

    fn set_pointers(&mut self) -> Result<(), IcedError> {
        let values: Vec<u64> = (0..5).map(|_| self.data()).collect();
        let stack = self.world.base + world::STACK_TOP - 0x200 - self.rng.below(16);
        let small = self.rng.below(64) as u32;
        let a = &mut self.a;
        if self.world.compatibility {
            for (register, value) in [ebx, ebp, esi, edi].into_iter().zip(&values) {
                a.mov(register, *value as u32)?;
            }
            a.mov(esp, stack as u32)?;
            a.inc(dword_ptr(values[4] as u32 & !63))?;
            return a.add(ebx, dword_ptr(values[4] as u32 & !63));
        }
        for (register, value) in [rbx, rbp, rsi, rdi, r12].into_iter().zip(&values) {
            a.mov(register, *value)?;
        }
        a.mov(rsp, stack)?;
        a.mov(r13d, small)?;
        // Another address each time round.
        a.inc(dword_ptr(r12))?;
        a.add(ebx, dword_ptr(r12))?;
        a.mov(rbx, values[0])?;
        a.movzx(r13d, byte_ptr(r12))?;
        a.lea(rbx, rbx + r13 * 8)
    }

    fn random(&mut self) -> Result<(), IcedError> {
        let insn = self.forms.draw(self.mix.of_any, &mut self.rng);
        self.a.add_instruction(insn)
    }

    fn piece(&mut self, i: usize) -> Result<(), IcedError> {
        let kind = self.rng.below(16);
        let Mix { writes_code, edits_tables, system, .. } = self.mix;
        if kind < writes_code {
            return self.write_code(i);
        }
        if kind < writes_code + edits_tables && !self.world.compatibility {
            return self.edit_tables();
        }
        if kind < writes_code + edits_tables + system {
            return self.system();
        }
        match self.rng.below(14) {
            0 => self.jump_ahead(i),
            1 => self.call(),
            2 | 6 => self.jump_by_register(i),
            3 => self.short_loop(),
            7 | 8 => self.stack_run(i),
            4 => self.strings(),
            5 => self.flags_of_one_used_by_another(),
            _ => self.random(),
        }
    }
}
