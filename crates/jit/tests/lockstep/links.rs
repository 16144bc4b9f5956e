//! Calls, jumps and returns between pages, while what they lead to is written to, or becomes another page: nothing that
//! translated code knows of a target may outlive what it was learnt from.

use crate::board::Board;
use crate::program::Guest;
use jit::Translator;
use x86::vcpu::cr;
use x86::{Engine, InsnCount, Interpreter};

/// The page that calls, seen a second time at `AGAIN`, and the page that is called.
const CALLER: u32 = 0x1_0000;
const CALLED: u32 = 0x1_1000;
const AGAIN: u32 = 0x11_0000;
/// What is between the addresses of a page and of the one that can take its place.
const OTHER_CALLED: u32 = 0x3000;
const OTHER_CALLER: u32 = 0x3000;
/// Offset in the called page of code that changes something.
const CHANGES: u32 = 0x100;
/// The page-table entries.
const CALLER_ENTRY: u32 = 0x4080;
const CALLED_ENTRY: u32 = 0x4088;
/// Second tables, for another PCID.
const TABLES: u64 = 0x1000;
const OTHER_TABLES: u64 = 0xa000;
/// Where SYSCALL leads.
const KERNEL: u64 = 0x7400;
const ROUNDS: u32 = 150;

/// Code under construction.
struct Code {
    at: u32,
    bytes: Vec<u8>,
}

impl Code {
    fn new(at: u32) -> Code {
        Code { at, bytes: Vec::new() }
    }

    fn here(&self) -> u32 {
        self.at + self.bytes.len() as u32
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// An instruction that ends in a distance to `target`.
    fn relative(&mut self, opcode: &[u8], target: u32) {
        self.raw(opcode);
        let distance = target.wrapping_sub(self.here() + 4);
        self.raw(&distance.to_le_bytes());
    }
}

/// Where the change is made.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    /// The calling page.
    Caller,
    /// The called page, which then returns.
    Called,
}

/// EBP rounds, each of which calls the called page directly and indirectly, jumps there and back, and lets `change` happen
/// each 16th time; each other round at the second place of the calling page.
fn caller(constant: u8, change: &[u8], within: Within) -> Vec<u8> {
    let mut code = Code::new(CALLER);
    code.raw(&[0xbd]);
    code.raw(&ROUNDS.to_le_bytes());
    let top = code.here();
    code.relative(&[0xe8], CALLED);
    // LEA RDX, the called page; CALL RDX
    code.relative(&[0x48, 0x8d, 0x15], CALLED);
    code.raw(&[0xff, 0xd2]);
    // ADD EBX, constant
    code.raw(&[0x83, 0xc3, constant]);
    code.relative(&[0xe9], CALLED + 0x40);
    assert!(code.here() <= CALLER + 0x40);
    code.bytes.resize(0x40, 0x90);
    // TEST BPL, 15; JNE over the change
    let mut changing = Code::new(code.here() + 6);
    match within {
        Within::Caller => changing.raw(change),
        Within::Called => changing.relative(&[0xe8], CALLED + CHANGES),
    }
    code.raw(&[0x40, 0xf6, 0xc5, 15, 0x75, changing.bytes.len() as u8]);
    code.raw(&changing.bytes);
    // DEC EBP; JE to the end; LEA RDX, top; TEST EBP, 1; JNE over XOR RDX, 100000h; JMP RDX
    code.raw(&[0xff, 0xcd, 0x74, 24]);
    code.relative(&[0x48, 0x8d, 0x15], top);
    code.raw(&[0xf7, 0xc5, 1, 0, 0, 0, 0x75, 7, 0x48, 0x81, 0xf2]);
    code.raw(&(CALLER ^ AGAIN).to_le_bytes());
    code.raw(&[0xff, 0xe2, 0xeb, 0xfe]);
    code.bytes
}

/// A function at 0, a way back at 40h, the change at 100h.
fn called(constant: u8, change: &[u8]) -> Vec<u8> {
    let mut code = Code::new(CALLED);
    // ADD EAX, constant; RET
    code.raw(&[0x05, constant, 0, 0, 0x01, 0xc3]);
    code.bytes.resize(0x40, 0x90);
    // ADD ESI, constant; JMP back
    code.raw(&[0x83, 0xc6, constant]);
    code.relative(&[0xe9], CALLER + 0x40);
    code.bytes.resize(CHANGES as usize, 0x90);
    code.raw(change);
    code.raw(&[0xc3]);
    code.bytes
}

fn guest(change: &[u8], within: Within) -> Guest {
    let mut guest = Guest::new(1);
    guest.begin_with(&caller(1, change, within));
    guest.put(u64::from(CALLER ^ OTHER_CALLER), &caller(7, change, within));
    guest.put(u64::from(CALLED), &called(3, change));
    guest.put(u64::from(CALLED ^ OTHER_CALLED), &called(5, change));
    guest
}

/// Runs what `make` makes on both engines, `steps` at a time. Gives EAX, EBX and ESI in the end.
fn compare(what: &str, make: impl Fn() -> Guest, steps: u64) -> [u64; 3] {
    let mut translator = Translator::eager(64).expect("a host that can translate");
    let (mut left, mut right) = (make(), make());
    let mut interpreter = Interpreter::new();
    for stop in 1..=4000 / steps {
        let until = InsnCount(stop * steps);
        let a = interpreter.run(&mut left.cpu, &mut left.ram.memory, &mut Board::default(), until);
        let b = translator.run(&mut right.cpu, &mut right.ram.memory, &mut Board::default(), until);
        assert_eq!(a, b, "{what}, until {until:?}");
        let (a, b) = (left.cpu.save(), right.cpu.save());
        assert!(a == b, "{what}, until {until:?}:\n{a:#?}\n{b:#?}");
    }
    assert_eq!(left.cpu.gpr[5], 0, "{what}: it came to its end");
    [left.cpu.gpr[0], left.cpu.gpr[3], left.cpu.gpr[6]]
}

fn compare_all(what: &str, make: impl Fn() -> Guest) -> [u64; 3] {
    let [first, second, third] = [1, 7, 1000].map(|steps| compare(what, &make, steps));
    assert!(first == second && second == third, "{what}");
    first
}

/// XOR of a page-table entry with a constant.
fn flip(entry: u32, bits: u32) -> Vec<u8> {
    [&[0x81, 0x34, 0x25][..], &entry.to_le_bytes(), &bits.to_le_bytes()].concat()
}

fn invlpg(page: u32) -> Vec<u8> {
    [&[0x0f, 0x01, 0x3c, 0x25][..], &page.to_le_bytes()].concat()
}

/// MOV RDX, CR3; MOV CR3, RDX.
const RELOAD: [u8; 6] = [0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda];

#[test]
fn pages_that_jumps_lead_to_may_change_in_every_way() {
    let byte = |at: u32| [&[0xfe, 0x04, 0x25][..], &at.to_le_bytes()].concat();
    let other_called = flip(CALLED_ENTRY, OTHER_CALLED);
    let other_caller = flip(CALLER_ENTRY, OTHER_CALLER);
    let changes = [
        ("nothing changes", vec![0x90]),
        ("the function changes", byte(AGAIN + 0x1001)),
        ("its page changes elsewhere", byte(AGAIN + 0x1800)),
        ("the caller changes behind a call", byte(AGAIN + 0x15)),
        ("another function, and nobody told", other_called.clone()),
        ("another function, and INVLPG", [&other_called[..], &invlpg(CALLED)].concat()),
        ("another function, and INVLPG of another page", [&other_called[..], &invlpg(CALLER)].concat()),
        ("another function, and CR3 is loaded", [&other_called[..], &RELOAD].concat()),
        ("another caller, and nobody told", other_caller.clone()),
        ("another caller, and INVLPG", [&other_caller[..], &invlpg(CALLER)].concat()),
        ("another caller, and CR3 is loaded", [&other_caller[..], &RELOAD].concat()),
        ("both, and INVLPG of both", [&other_caller[..], &other_called, &invlpg(CALLER), &invlpg(CALLED)].concat()),
    ];
    for within in [Within::Caller, Within::Called] {
        let still = compare_all("nothing", || guest(&[0x90], within));
        for (what, change) in &changes {
            let sums = compare_all(what, || guest(change, within));
            let same = matches!(
                *what,
                "nothing changes"
                    | "its page changes elsewhere"
                    | "another function, and nobody told"
                    | "another function, and INVLPG of another page"
                    | "another caller, and nobody told"
            );
            assert_eq!(sums == still, same, "{what}");
        }
    }
}

/// With second tables, in which the called page is the other one, to be switched to by MOV to CR3.
fn with_pcids(keep: bool) -> Guest {
    let bits = (TABLES ^ OTHER_TABLES) as u32 | 1;
    // MOV RDX, CR3; XOR RDX, bits; BTS RDX, 63; MOV CR3, RDX
    let mut change = vec![0x0f, 0x20, 0xda, 0x48, 0x81, 0xf2];
    change.extend(bits.to_le_bytes());
    if keep {
        change.extend([0x48, 0x0f, 0xba, 0xea, 63]);
    }
    change.extend([0x0f, 0x22, 0xda]);
    let mut guest = guest(&change, Within::Caller);
    for level in 0..4 {
        let (from, to) = (TABLES + 4096 * level, OTHER_TABLES + 4096 * level);
        let mut table = guest.ram.memory.bytes()[from as usize..][..4096].to_vec();
        if level < 3 {
            table[..8].copy_from_slice(&((to + 4096) | 7).to_le_bytes());
        } else {
            let entry = (CALLED_ENTRY & 0xfff) as usize;
            table[entry + 1] ^= (OTHER_CALLED >> 8) as u8;
        }
        guest.put(to, &table);
    }
    guest.cpu.cr4 |= cr::CR4_PCIDE | cr::CR4_PGE;
    guest
}

#[test]
fn pcids_have_targets_of_their_own() {
    let still = compare_all("nothing", || guest(&[0x90], Within::Caller));
    for keep in [true, false] {
        assert_ne!(compare_all("PCIDs", || with_pcids(keep)), still);
    }
}

/// In ring 3, with a system call as the change, whose handler calls the same function and exchanges its page.
fn in_user_mode(tell: &[u8]) -> Guest {
    let mut guest = guest(&[0x0f, 0x05], Within::Caller);
    for entry in (0x4000..0x5000u64).step_by(8) {
        let low = guest.ram.memory.bytes()[entry as usize];
        guest.put(entry, &[low | if low == 0 { 0 } else { 4 }]);
    }
    let mut kernel = Code::new(KERNEL as u32);
    // MOV R12, RCX; MOV R13, R11
    kernel.raw(&[0x49, 0x89, 0xcc, 0x4d, 0x89, 0xdd]);
    kernel.relative(&[0xe8], CALLED);
    kernel.raw(&flip(CALLED_ENTRY, OTHER_CALLED));
    kernel.raw(tell);
    kernel.relative(&[0xe8], CALLED);
    // MOV RCX, R12; MOV R11, R13; SYSRETQ
    kernel.raw(&[0x4c, 0x89, 0xe1, 0x4d, 0x89, 0xeb, 0x48, 0x0f, 0x07]);
    guest.put(KERNEL, &kernel.bytes);
    guest.cpu.efer |= cr::EFER_SCE;
    guest.cpu.msrs.star = 0x10 << 48 | 8 << 32;
    guest.cpu.msrs.lstar = KERNEL;
    // SYSRETQ as the first instruction: into ring 3.
    guest.put(KERNEL + 0x80, &[0x48, 0x0f, 0x07]);
    guest.cpu.rip = KERNEL + 0x80;
    guest.cpu.gpr[1] = u64::from(CALLER);
    guest.cpu.gpr[11] = 2;
    guest
}

#[test]
fn privilege_levels_have_targets_of_their_own() {
    let quiet = compare_all("nobody told", || in_user_mode(&[]));
    let told = compare_all("INVLPG", || in_user_mode(&invlpg(CALLED)));
    assert_ne!(quiet, told);
}

#[test]
fn vcpus_have_targets_of_their_own() {
    let mut translator = Translator::eager(64).expect("a host that can translate");
    let mut interpreter = Interpreter::new();
    let make = || {
        // The second vCPU has the other page where the first has the one.
        let (mut first, second) = (with_pcids(true), with_pcids(true));
        let mut other = second.cpu;
        other.cr3 = OTHER_TABLES | 1;
        other.gpr[4] -= 0x100;
        first.cpu.gpr[4] -= 0x200;
        (first, other)
    };
    let (mut left, mut left_other) = make();
    let (mut right, mut right_other) = make();
    for stop in 1..=800 {
        let until = InsnCount(stop * 10);
        for (left_cpu, right_cpu) in [(&mut left.cpu, &mut right.cpu), (&mut left_other, &mut right_other)] {
            interpreter.run(left_cpu, &mut left.ram.memory, &mut Board::default(), until);
            translator.run(right_cpu, &mut right.ram.memory, &mut Board::default(), until);
            assert!(left_cpu.save() == right_cpu.save(), "until {until:?}");
        }
    }
    assert_eq!((left.cpu.gpr[5], left_other.gpr[5]), (0, 0), "both came to their end");
}
