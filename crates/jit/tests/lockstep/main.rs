//! Interpreter and translator run the same code side by side: after each of many short runs the whole
//! vCPU (TLB model included), what the board saw, and in the end RAM must be equal.
//!
//! The code is random: streams of instructions of the kinds that are translated, mixed with any bytes. Whatever
//! faults goes to a handler that starts the next piece of code. The code is mapped twice and written to, and pages
//! border on what is not mapped.

mod board;
mod crossing;
mod links;
mod program;
mod strings;
mod ways;

use board::Board;
use jit::Translator;
use program::{Guest, Random};
use std::ops::Range;
use x86::{Engine, InsnCount, Interpreter};

/// How a guest is run, and for how long.
struct Runs {
    /// How many there are at most.
    most: usize,
    /// Steps of each, of which one is chosen at random and up to 49 more are added.
    steps: [u64; 4],
    /// Periods of the board's timer, one of which is chosen; 0 for none.
    periods: &'static [u64],
}

const SHORT_RUNS: Runs = Runs { most: 40, steps: [1, 7, 60, 700], periods: &[0, 0, 97, 1009] };

/// Runs the random guest `seed` on both; returns how many steps they made.
fn compare(seed: u64, translator: &mut Translator) -> u64 {
    side_by_side(seed, Random(seed), || Guest::new(seed), &SHORT_RUNS, translator)
}

/// Runs guest `seed`, which `make` makes, on both; returns how many steps they made.
fn side_by_side(
    seed: u64,
    mut random: Random,
    make: impl Fn() -> Guest,
    runs: &Runs,
    translator: &mut Translator,
) -> u64 {
    let period = runs.periods[random.below(runs.periods.len())];
    let (mut left, mut right) = (make(), make());
    let (mut left_board, mut right_board) = (Board::default(), Board::default());
    (left_board.period, right_board.period) = (period, period);
    let mut interpreter = Interpreter::new();
    translator.forget(&mut right.ram.memory);
    for stop in 0..runs.most {
        let steps = runs.steps[random.below(4)] + random.below(50) as u64;
        let until = InsnCount(left.cpu.count.0 + steps);
        let a = interpreter.run(&mut left.cpu, &mut left.ram.memory, &mut left_board, until);
        let b = translator.run(&mut right.cpu, &mut right.ram.memory, &mut right_board, until);
        assert_eq!(a, b, "seed {seed}, stop {stop}");
        let (a, b) = (left.cpu.save(), right.cpu.save());
        assert!(a == b, "seed {seed}, stop {stop} at {until:?}:\n{a:#?}\n{b:#?}");
        assert_eq!(left_board.written, right_board.written, "seed {seed}, stop {stop}");
        assert!(left.ram.memory.bytes() == right.ram.memory.bytes(), "seed {seed}, stop {stop}: RAM differs");
        if left.cpu.activity != x86::vcpu::Activity::Running {
            break;
        }
    }
    left.cpu.count.0
}

/// Compares all of `seeds` by `compare`; returns how many steps that made.
fn compare_seeds(seeds: Range<u64>, compare: impl Fn(u64, &mut Translator) -> u64) -> u64 {
    let mut translator = Translator::eager(64).expect("a host that can translate");
    seeds.map(|seed| compare(seed, &mut translator)).sum()
}

/// Code that once went wrong, ended by a jump to itself.
const ONCE_WRONG: &[(&str, &[u8])] = &[
    ("a register in the frame as both operands of a MOV", &[0x45, 0x89, 0xc9, 0x4d, 0x89, 0xd2, 0xeb, 0xfe]),
    (
        "NOP with a memory operand, then a store nearby: NOP makes no check for both",
        &[0x0f, 0x1f, 0x44, 0x24, 0x3c, 0x48, 0x89, 0x04, 0x24, 0xeb, 0xfe],
    ),
];

/// Runs `code` at the guest's beginning on both.
fn compare_code(what: &str, code: &[u8]) {
    let mut translator = Translator::eager(64).expect("a host that can translate");
    let (mut left, mut right) = (Guest::new(1), Guest::new(1));
    left.begin_with(code);
    right.begin_with(code);
    let until = InsnCount(20);
    Interpreter::new().run(&mut left.cpu, &mut left.ram.memory, &mut Board::default(), until);
    translator.run(&mut right.cpu, &mut right.ram.memory, &mut Board::default(), until);
    assert!(left.cpu.save() == right.cpu.save(), "{what}");
}

#[test]
fn what_once_went_wrong_does_the_same() {
    for (what, code) in ONCE_WRONG {
        compare_code(what, code);
    }
}

#[test]
fn the_time_stamp_counter_follows_what_is_added_to_it_and_who_may_read_it() {
    #[rustfmt::skip]
    let code = [
        0x0f, 0x31, 0x89, 0xc3, // RDTSC; MOV EBX, EAX
        0xb9, 0x3b, 0x00, 0x00, 0x00, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xba, 0xf0, 0xff, 0xff, 0xff, // IA32_TSC_ADJUST
        0x0f, 0x30, 0x0f, 0x31, // WRMSR; RDTSC
        0x89, 0xc6, 0x89, 0xd7, // MOV ESI, EAX; MOV EDI, EDX
        0x0f, 0x20, 0xe0, 0x48, 0x83, 0xc8, 0x04, 0x0f, 0x22, 0xe0, // MOV RAX, CR4; OR RAX, 4; MOV CR4, RAX
        0x0f, 0x31, 0xeb, 0xfe, // RDTSC; JMP to itself
    ];
    compare_code("RDTSC", &code);
}

#[test]
fn an_exception_that_ldmxcsr_unmasks_is_raised() {
    #[rustfmt::skip]
    let code = [
        0xc7, 0x44, 0x24, 0xf8, 0x00, 0x1f, 0x00, 0x00, // MOV DWORD [RSP - 8], 1F00h
        0x0f, 0xae, 0x54, 0x24, 0xf8, // LDMXCSR [RSP - 8]
        0x0f, 0x57, 0xc0, 0x0f, 0x5e, 0xc0, 0xeb, 0xfe, // XORPS XMM0, XMM0; DIVPS XMM0, XMM0; JMP to itself
    ];
    compare_code("LDMXCSR", &code);
}

#[test]
fn random_code_does_the_same() {
    let steps = compare_seeds(0..300, compare);
    assert!(steps > 500_000, "{steps} steps: the guests ended early");
}

#[test]
#[ignore = "takes minutes: cargo test -p jit --release -- --ignored"]
fn much_random_code_does_the_same() {
    compare_seeds(1000..100_000, compare);
}
