//! A guest in 64-bit mode with random code.

use x86::memory::phys::OwnedMemory;
use x86::segment::{ATTR_CODE, ATTR_L, ATTR_P, ATTR_RW, ATTR_S, Segment, TableRegister, seg};
use x86::vcpu::cr;
use x86::{CpuModel, GuestPhysAddr, Vcpu};

/// A fixed sequence of numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

const RAM: u64 = 1 << 20;
const TABLES: u64 = 0x1000;
const IDT: u64 = 0x6000;
const GDT: u64 = 0x6f00;
const HANDLER: u64 = 0x7000;
const COUNTER: u32 = 0x7800;
const STACK: u64 = 0x9000;
const CODE: u64 = 0x1_0000;
const CODE_BYTES: u64 = 0x4000;
/// Where the code is seen a second time.
const CODE_AGAIN: u64 = 0x11_0000;
const DATA: u64 = 0x2_0000;
/// The first page of the data is preceded by one that is not mapped, the fourth is read-only.
const DATA_PAGES: u64 = 6;
/// Physical space that is not RAM, mapped behind the data.
const DEVICE: u64 = 0x4000_0000;

/// A vCPU and its memory.
pub struct Guest {
    pub cpu: Vcpu,
    pub ram: OwnedMemory,
}

impl Guest {
    pub fn new(seed: u64) -> Guest {
        let mut random = Random(seed ^ 0x5555);
        let mut ram = OwnedMemory::new(RAM);
        let mut put = |at: u64, bytes: &[u8]| assert!(ram.memory.write(GuestPhysAddr(at), bytes));
        tables(&mut put);
        for vector in 0..256u64 {
            let low = HANDLER | 8 << 16 | 0x8e00 << 32;
            put(IDT + 16 * (vector % 0x60), &low.to_le_bytes());
        }
        put(GDT + 8, &0x00af_9b00_0000_ffffu64.to_le_bytes());
        put(HANDLER, &handler());
        let mut at = CODE;
        while at < CODE + CODE_BYTES {
            let piece = super::program::stream(&mut random);
            put(at, &piece[..piece.len().min((CODE + CODE_BYTES - at) as usize)]);
            at += 64;
        }
        for i in 0..DATA_PAGES * 512 {
            put(DATA + 8 * i, &random.next().to_le_bytes());
        }
        Guest { cpu: vcpu(&mut random), ram }
    }

    /// Puts code where the guest begins.
    pub fn begin_with(&mut self, code: &[u8]) {
        self.put(CODE, code);
    }

    /// Writes to RAM from outside, before the guest runs.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        assert!(self.ram.memory.write(GuestPhysAddr(at), bytes));
    }
}

fn tables(put: &mut impl FnMut(u64, &[u8])) {
    let user = 7u64;
    put(TABLES, &((TABLES + 0x1000) | user).to_le_bytes());
    put(TABLES + 0x1000, &((TABLES + 0x2000) | user).to_le_bytes());
    put(TABLES + 0x2000, &((TABLES + 0x3000) | user).to_le_bytes());
    let mut map = |linear: u64, physical: u64, bits: u64| {
        put(TABLES + 0x3000 + (linear >> 12) * 8, &(physical | bits).to_le_bytes());
    };
    for page in (0..0xa000).step_by(4096) {
        map(page, page, 3);
    }
    for page in (0..CODE_BYTES).step_by(4096) {
        map(CODE + page, CODE + page, 3);
        map(CODE_AGAIN + page, CODE + page, 3);
    }
    for page in 0..DATA_PAGES {
        map(DATA + 4096 * page, DATA + 4096 * page, if page == 3 { 1 } else { 3 });
    }
    map(DATA + 4096 * DATA_PAGES, DEVICE, 3);
}

/// Counts, and goes on with the piece of code that the counter names.
fn handler() -> Vec<u8> {
    let mut code = vec![0xbc];
    code.extend((STACK as u32).to_le_bytes());
    code.extend([0xff, 0x04, 0x25]);
    code.extend(COUNTER.to_le_bytes());
    code.extend([0x8b, 0x04, 0x25]);
    code.extend(COUNTER.to_le_bytes());
    // AND EAX, FFh; SHL EAX, 6; ADD EAX, CODE; MOV EBX, DATA; STI; JMP RAX
    code.extend([0x25, 0xff, 0, 0, 0, 0xc1, 0xe0, 0x06, 0x05]);
    code.extend((CODE as u32).to_le_bytes());
    code.push(0xbb);
    code.extend((DATA as u32).to_le_bytes());
    code.extend([0xfb, 0xff, 0xe0]);
    code
}

fn vcpu(random: &mut Random) -> Vcpu {
    let model = if random.below(2) == 0 { CpuModel::V2 } else { CpuModel::V3 };
    let mut cpu = Vcpu::new(model, 0, 1);
    cpu.cr0 = cr::CR0_PE | cr::CR0_PG | cr::CR0_NE | cr::CR0_ET | cr::CR0_WP;
    cpu.cr4 = cr::CR4_PAE | cr::CR4_OSFXSR | cr::CR4_OSXMMEXCPT | cr::CR4_OSXSAVE;
    if random.below(2) == 0 {
        cpu.cr4 |= cr::CR4_SMAP;
    }
    cpu.cr3 = TABLES;
    cpu.efer = cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE;
    cpu.xcr0 = model.xcr0_supported();
    let data = ATTR_P | ATTR_S | ATTR_RW | 1;
    cpu.seg[seg::CS] = Segment { selector: 8, base: 0, limit: u32::MAX, attr: data | ATTR_CODE | ATTR_L };
    for segment in [seg::SS, seg::DS, seg::ES, seg::FS, seg::GS] {
        cpu.seg[segment] = Segment { selector: 0x10, base: 0, limit: u32::MAX, attr: data };
    }
    cpu.seg[seg::GS].base = DATA + 64;
    cpu.gdtr = TableRegister { base: GDT, limit: 0xff };
    cpu.idtr = TableRegister { base: IDT, limit: 16 * 0x60 - 1 };
    for register in &mut cpu.gpr[..16] {
        *register = match random.below(4) {
            0 => random.next(),
            1 => random.next() & 0xff,
            _ => DATA + random.next() % (4096 * DATA_PAGES),
        };
    }
    cpu.gpr[4] = STACK;
    cpu.set_rflags(random.next() & 0x8d5 | 0x202);
    cpu.rip = CODE;
    cpu
}

/// 64 bytes or some more of instructions.
pub fn stream(random: &mut Random) -> Vec<u8> {
    let mut code = Vec::new();
    while code.len() < 64 {
        instruction(random, &mut code);
    }
    code
}

/// Opcodes of the one-byte map with a ModRM byte, and the bytes of their immediate (`z`: 2 or 4).
const WITH_MODRM: &[(u8, &str)] = &[
    (0x00, ""),
    (0x01, ""),
    (0x02, ""),
    (0x03, ""),
    (0x08, ""),
    (0x09, ""),
    (0x0b, ""),
    (0x11, ""),
    (0x13, ""),
    (0x19, ""),
    (0x1b, ""),
    (0x21, ""),
    (0x23, ""),
    (0x28, ""),
    (0x29, ""),
    (0x2b, ""),
    (0x30, ""),
    (0x31, ""),
    (0x33, ""),
    (0x38, ""),
    (0x39, ""),
    (0x3b, ""),
    (0x63, ""),
    (0x69, "z"),
    (0x6b, "b"),
    (0x80, "b"),
    (0x81, "z"),
    (0x83, "b"),
    (0x84, ""),
    (0x85, ""),
    (0x86, ""),
    (0x87, ""),
    (0x88, ""),
    (0x89, ""),
    (0x8a, ""),
    (0x8b, ""),
    (0x8d, ""),
    (0xc0, "b"),
    (0xc1, "b"),
    (0xc6, "b"),
    (0xc7, "z"),
    (0xd0, ""),
    (0xd1, ""),
    (0xd2, ""),
    (0xd3, ""),
    (0xf6, "b"),
    (0xf7, "z"),
    (0xfe, ""),
    (0xff, ""),
];

/// The same for the two-byte map.
const TWO_BYTE: &[(u8, &str)] = &[
    (0x40, ""),
    (0x42, ""),
    (0x44, ""),
    (0x4f, ""),
    (0x94, ""),
    (0x92, ""),
    (0x9c, ""),
    (0xa3, ""),
    (0xab, ""),
    (0xa4, "b"),
    (0xa5, ""),
    (0xac, "b"),
    (0xaf, ""),
    (0xb0, ""),
    (0xb1, ""),
    (0xb3, ""),
    (0xb6, ""),
    (0xb7, ""),
    (0xba, "b"),
    (0xbb, ""),
    (0xbc, ""),
    (0xbd, ""),
    (0xbe, ""),
    (0xbf, ""),
    (0xc0, ""),
    (0xc1, ""),
    (0xc7, ""),
    (0x1f, ""),
    (0x10, ""),
    (0x11, ""),
    (0x28, ""),
    (0x29, ""),
    (0x58, ""),
    (0x59, ""),
    (0x6e, ""),
    (0x6f, ""),
    (0x7e, ""),
    (0x7f, ""),
    (0xd6, ""),
    (0xef, ""),
    (0xfe, ""),
    (0x54, ""),
    (0x5e, ""),
    (0x2a, ""),
    (0x2d, ""),
    (0x2e, ""),
    (0x14, ""),
    (0x70, "b"),
    (0xc6, "b"),
    (0xd7, ""),
    (0x74, ""),
    (0xeb, ""),
    (0x12, ""),
    (0x16, ""),
];

fn instruction(random: &mut Random, code: &mut Vec<u8>) {
    match random.below(42) {
        0 => {
            let n = random.below(6);
            code.extend((0..n).map(|_| random.byte()));
        }
        1..=3 => code.push(0x50 | random.byte() & 15),
        4 => {
            // As functions begin and end, with any registers.
            let kind = [0x50, 0x58][random.below(2)];
            for _ in 0..random.below(10) {
                if random.below(2) == 0 {
                    code.push(0x41);
                }
                code.push(kind | random.byte() & 7);
            }
        }
        5..=7 => code.extend([0x70 | random.byte() & 15, random.byte() & 0x3f]),
        8 => code.extend([0xeb, random.byte() & 0x7f]),
        9 => {
            code.push(0xe8 | random.byte() & 1);
            code.extend((random.below(0x3000) as u32).wrapping_sub(0x1000).to_le_bytes());
        }
        10 => code.push(0xc3),
        11 => {
            // To the second view of the code and back.
            let target = [CODE, CODE_AGAIN][random.below(2)] as u32 + random.below(CODE_BYTES as usize) as u32;
            code.push(0xb8);
            code.extend(target.to_le_bytes());
            code.extend([0xff, 0xe0]);
        }
        12 => {
            // A store into the code.
            code.push(0xba);
            code.extend((CODE as u32 + random.below(CODE_BYTES as usize) as u32).to_le_bytes());
            code.extend([0x89, 0x02]);
        }
        13 => code.extend([[0xf3, 0xf2][random.below(2)], 0xa4 | random.byte() & 0x0b]),
        14 => {
            code.push(0xb8 | random.byte() & 7);
            code.extend((DATA as u32 + random.below(0x6800) as u32).to_le_bytes());
        }
        15 => code.extend([0x98 | random.byte() & 1, 0x9c, 0x9d]),
        16 => code.push([0xf5, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0x9e, 0x9f, 0xcc, 0xc9, 0xe2, 0xe3][random.below(12)]),
        17 => {
            code.push(0x0f);
            code.push(0x80 | random.byte() & 15);
            code.extend((random.below(0x2000) as u32).wrapping_sub(0x800).to_le_bytes());
        }
        18..=23 => with_modrm(random, code, TWO_BYTE, true),
        24 => rare(random, code),
        25 => {
            // PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI
            code.push(0x66);
            code.push(0x40 | random.byte() & 13);
            code.extend([0x0f, 0x3a, 0x60 | random.byte() & 3]);
            modrm(random, code);
            code.push(random.byte() & 0x7f);
        }
        _ => with_modrm(random, code, WITH_MODRM, false),
    }
}

/// What is mostly a kernel's: flags, control and segment registers; MXCSR, fences, prefetches; bits of a string of bits.
fn rare(random: &mut Random, code: &mut Vec<u8>) {
    match random.below(8) {
        0 => code.push(0xfc | random.byte() & 1),
        // CLAC, STAC
        1 => code.extend([0x0f, 0x01, 0xca | random.byte() & 1]),
        2 => code.extend([0x0f, 0x20, 0xc0 | [0, 2, 3, 4, 8][random.below(5)] << 3 | random.byte() & 7]),
        3 => {
            if random.below(2) == 0 {
                code.push(0x40 | random.byte() & 13);
            }
            code.push(0x8c);
            modrm(random, code);
        }
        4 => {
            // MOV DWORD [RBX + 8], a value; LDMXCSR or STMXCSR [RBX + 8]
            let value = [0x1f80, 0x9fc0, 0x7f80, 0x1f3f, 0x1_1f80, 0x1f00][random.below(6)] as u32;
            code.extend([0xc7, 0x43, 8]);
            code.extend(value.to_le_bytes());
            code.extend([0x0f, 0xae, 0x53 | (random.byte() & 1) << 3, 8]);
            // Masked again for what follows, mostly.
            if random.below(8) > 0 {
                code.extend([0xc7, 0x43, 8, 0x80, 0x1f, 0, 0, 0x0f, 0xae, 0x53, 8]);
            }
        }
        5 => code.extend([0x0f, 0xae, 0xe8 | (random.byte() & 3) << 3]),
        6 => {
            code.extend([0x0f, [0x0d, 0x18][random.below(2)]]);
            modrm(random, code);
        }
        _ => {
            // MOV ECX, a number; BT, BTS, BTR or BTC [RBX], ECX or RCX
            code.push(0xb9);
            code.extend((random.below(4000) as u32).wrapping_sub(1000).to_le_bytes());
            if random.below(2) == 0 {
                code.extend([0x48, 0x63, 0xc9]);
            }
            code.extend([0x40 | (random.byte() & 1) << 3, 0x0f, 0xa3 | (random.byte() & 3) << 3, 0x0b]);
        }
    }
}

fn with_modrm(random: &mut Random, code: &mut Vec<u8>, opcodes: &[(u8, &str)], two: bool) {
    let (opcode, immediate) = opcodes[random.below(opcodes.len())];
    let short = random.below(8) == 0;
    if short {
        code.push(0x66);
    }
    match random.below(20) {
        0 => code.push(0xf3),
        1 => code.push(0xf2),
        2 => code.push(0xf0),
        3 => code.push(0x65),
        4 => code.push(0x67),
        _ => {}
    }
    if random.below(3) > 0 {
        code.push(0x40 | random.byte() & 15);
    }
    if two {
        code.push(0x0f);
    }
    code.push(opcode);
    modrm(random, code);
    match immediate {
        "b" => code.push(random.byte()),
        "z" if short => code.extend((random.next() as u16).to_le_bytes()),
        "z" => code.extend((random.next() as u32).to_le_bytes()),
        _ => {}
    }
}

/// A register, or memory: through RBX mostly, which the handler points to the data.
fn modrm(random: &mut Random, code: &mut Vec<u8>) {
    let reg = random.byte() & 0x38;
    match random.below(8) {
        0..=2 => code.push(0xc0 | reg | random.byte() & 7),
        3 => code.push(reg | random.byte() & 7),
        4 => {
            code.extend([0x04 | reg, 0x25]);
            code.extend((DATA as u32 + random.below(0x7000) as u32).to_le_bytes());
        }
        5 => {
            code.push(0x80 | reg | 3);
            code.extend((random.below(0x6800) as u32).to_le_bytes());
        }
        6 => code.extend([0x44 | reg, random.byte(), random.byte()]),
        _ => code.extend([0x40 | reg | 3, random.byte()]),
    }
}
