//! Every instruction form where it crosses from one page of code into the next, which may be missing, or change.

use host_cpu::rng::Rng;
use iced_x86::{Code, Encoder};
use x86::CpuModel;

use super::bus::FuzzBus;
use super::insn::Forms;
use super::run::{Event, Start};
use super::stream::starts;
use super::world::{self, World};

/// Branches, which have no form among the others: relative ones lead behind themselves.
const BRANCHES: [&[u8]; 9] = [
    &[0x0f, 0x84, 0, 0, 0, 0],
    &[0x0f, 0x8d, 0, 0, 0, 0],
    &[0x75, 0],
    &[0xe9, 0, 0, 0, 0],
    &[0xe8, 0, 0, 0, 0],
    &[0xeb, 0],
    &[0xe2, 0],
    &[0xe3, 0],
    &[0xff, 0x75, 0],
];

/// Draws such instructions for one CPU model and size of code.
pub struct Crossings {
    model: CpuModel,
    bitness: u32,
    forms: Forms,
}

impl Crossings {
    /// Of code of `bitness` bits for `model`.
    pub fn new(model: CpuModel, bitness: u32) -> Self {
        Crossings { model, bitness, forms: Forms::new(model, bitness) }
    }

    /// How many forms there are: as many numbers in a row have each of them once.
    pub fn forms(&self) -> u64 {
        (self.forms.all().len() + BRANCHES.len()) as u64
    }

    /// The case number `index`; `None` if this draw has no encoding of two bytes or more.
    pub fn draw(&self, index: u64) -> Option<Start> {
        let mut rng = Rng::new(0xc0_0002, index);
        let which = (index % self.forms()) as usize;
        let bytes = match self.forms.all().get(which) {
            Some(&code) => self.encode(code, &mut rng)?,
            None => BRANCHES[which - self.forms.all().len()].to_vec(),
        };
        if bytes.len() < 2 {
            return None;
        }
        let wide = self.bitness == 64;
        let base = if wide { rng.pick(&[0, world::ALIAS, world::HIGH]) } else { 0 };
        let world = World {
            model: self.model,
            user: !wide || rng.one_in(2),
            compatibility: !wide,
            base,
            mends_pages: rng.one_in(2),
            flushes: true,
            cr4: 0,
            open_tables: false,
        };
        let split = 1 + rng.below(bytes.len() as u64 - 1) as usize;
        let code = around(&bytes, split);
        let mut ram = world.ram(&code, &starts(&code, self.bitness));
        // What the registers point to as the code starts is all that there is: nothing sets them again.
        let mut cpu = world.cpu();
        for (i, gpr) in cpu.gpr[..16].iter_mut().enumerate().filter(|(i, _)| *i != 4) {
            *gpr = base + world::DATA + (rng.below(0x7000) & !0x3f) + 64 * (i as u64 & 1);
        }
        cpu.gpr[13] = rng.below(64);
        if rng.one_in(4) {
            // The second page is missing, or may not be executed.
            let at = (world::TABLES + (base >> 21 & 1) * 0x1000 + 8 * 0x21) as usize;
            if rng.one_in(2) {
                ram[at] &= !1;
            } else {
                ram[at + 7] |= 0x80;
            }
        }
        let first = cpu.count.0;
        // The second page's bytes change when the code has run a few times.
        let change = Event::Dma(world::CODE + 0x1000, vec![rng.bits() as u8]);
        let events = if rng.one_in(3) { vec![(first + 40, change)] } else { Vec::new() };
        let bus = FuzzBus::with_timer(index, first + rng.below(100), 57);
        Some(Start { cpu, second: None, ram, bus, events, wakes: 3 })
    }

    fn encode(&self, code: Code, rng: &mut Rng) -> Option<Vec<u8>> {
        let insn = (0..20).find_map(|_| self.forms.of_form(code, rng))?;
        let mut encoder = Encoder::new(self.bitness);
        encoder.encode(&insn, world::CODE + 0x1000).ok()?;
        Some(encoder.take_buffer())
    }
}

/// A jump from the start to `bytes`, of which `split` lie in the first page, and a jump back behind them.
fn around(bytes: &[u8], split: usize) -> Vec<u8> {
    let at = 0x1000 - split;
    let jump = |from: usize, to: usize| {
        let distance = (to as i64 - (from as i64 + 5)) as i32;
        [&[0xe9][..], &distance.to_le_bytes()].concat()
    };
    let mut code = jump(0, at - 3);
    code.resize(at - 3, 0x90);
    // A block before it, and one behind.
    code.extend([0xf8, 0x90, 0x90]);
    code.extend(bytes);
    code.extend([0x90, 0xf5]);
    code.extend(jump(code.len(), 0));
    code
}
