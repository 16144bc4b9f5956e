//! The host's own CPU: runs one instruction from a given state and tells what became of it.
//!
//! Both directions go through a signal handler. An INT3 in [`Host::run`] makes the kernel save
//! this program's registers; the handler puts the case's registers in their place, and the
//! return from the signal loads them all at once. The case ends with an exception, at the latest with
//! the INT3s that fill the code pages behind it; the handler then takes the registers, the vector
//! and the error code, and puts the program's own registers back. FS and GS bases are no part of
//! a signal frame; the handler's assembly swaps them.

use crate::layout::*;
use crate::state::{Ending, State, X87};
use std::ptr::{addr_of, addr_of_mut, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Registers of a signal frame, as `gregs` orders them.
const GREG_OF_GPR: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Bytes of the XSAVE area that matter: legacy region, header, upper halves of YMM.
const XSAVE_BYTES: usize = 576 + 256;
/// XCR0 bits of those.
const X87_SSE_AVX: u64 = 7;
/// The offset of XSTATE_BV in the area.
const XSTATE_BV: usize = 512;

/// What the handler needs; filled before the INT3 of [`Host::run`].
struct Exchange {
    armed: bool,
    running: bool,
    selectors: u64,
    input: *const State,
    output: *mut State,
    ending: Ending,
    own_gregs: [i64; 23],
    own_xsave: [u8; XSAVE_BYTES],
}

static mut EXCHANGE: Exchange = Exchange {
    armed: false,
    running: false,
    selectors: 0,
    input: std::ptr::null(),
    output: null_mut(),
    ending: Ending { vector: 0, error: 0, cr2: 0 },
    own_gregs: [0; 23],
    own_xsave: [0; XSAVE_BYTES],
};

/// FS and GS base: the program's own, those to load, those seen.
#[unsafe(no_mangle)]
static mut HOST_CPU_BASES: [u64; 6] = [0; 6];

// Alignment checks, nested task and the like must not follow the case into the handler.
std::arch::global_asm!(
    ".globl host_cpu_signal",
    "host_cpu_signal:",
    "pushfq",
    "and dword ptr [rsp], 0xffdbbfff", // AC, ID, NT
    "popfq",
    "rdfsbase rax",
    "mov [rip + {bases} + 32], rax",
    "rdgsbase rax",
    "mov [rip + {bases} + 40], rax",
    "mov rax, [rip + {bases}]",
    "wrfsbase rax",
    "mov rax, [rip + {bases} + 8]",
    "wrgsbase rax",
    "sub rsp, 8",
    "call {handler}",
    "add rsp, 8",
    "mov rax, [rip + {bases} + 16]",
    "wrfsbase rax",
    "mov rax, [rip + {bases} + 24]",
    "wrgsbase rax",
    "ret",
    bases = sym HOST_CPU_BASES,
    handler = sym on_signal,
);

unsafe extern "C" {
    fn host_cpu_signal();
}

/// Called by the assembly above with what the kernel gives a `SA_SIGINFO` handler.
unsafe extern "C" fn on_signal(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes a valid frame; EXCHANGE is used by the one thread that holds the
    // lock of `Host`, which is in `run` while `armed` is set.
    unsafe {
        let exchange = &mut *addr_of_mut!(EXCHANGE);
        if !exchange.armed {
            // A crash of the test program itself: let it happen again without this handler.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        let gregs = &mut (*context).uc_mcontext.gregs;
        let xsave = (*context).uc_mcontext.fpregs.cast::<u8>();
        let bases = &mut *addr_of_mut!(HOST_CPU_BASES);
        if !exchange.running {
            exchange.running = true;
            exchange.own_gregs = *gregs;
            xsave.copy_to_nonoverlapping(exchange.own_xsave.as_mut_ptr(), XSAVE_BYTES);
            let input = &*exchange.input;
            load_gregs(gregs, input, exchange.selectors);
            load_xsave(xsave, input);
            (bases[2], bases[3]) = (input.fs_base, input.gs_base);
        } else {
            exchange.running = false;
            exchange.armed = false;
            let output = &mut *exchange.output;
            store_gregs(gregs, output);
            store_xsave(xsave, output);
            (output.fs_base, output.gs_base) = (bases[4], bases[5]);
            let vector = gregs[libc::REG_TRAPNO as usize] as u8;
            exchange.ending = Ending {
                vector,
                error: gregs[libc::REG_ERR as usize] as u32,
                cr2: gregs[libc::REG_CR2 as usize] as u64,
            };
            *gregs = exchange.own_gregs;
            exchange.own_xsave.as_ptr().copy_to_nonoverlapping(xsave, XSAVE_BYTES);
            (bases[2], bases[3]) = (bases[0], bases[1]);
        }
    }
}

fn load_gregs(gregs: &mut [i64; 23], state: &State, selectors: u64) {
    for (gpr, greg) in state.gpr.iter().zip(GREG_OF_GPR) {
        gregs[greg as usize] = *gpr as i64;
    }
    gregs[libc::REG_RIP as usize] = state.rip as i64;
    gregs[libc::REG_EFL as usize] = state.rflags as i64;
    gregs[libc::REG_CSGSFS as usize] = selectors as i64;
}

fn store_gregs(gregs: &[i64; 23], state: &mut State) {
    for (gpr, greg) in state.gpr.iter_mut().zip(GREG_OF_GPR) {
        *gpr = gregs[greg as usize] as u64;
    }
    state.rip = gregs[libc::REG_RIP as usize] as u64;
    state.rflags = gregs[libc::REG_EFL as usize] as u64;
}

/// # Safety
/// `area` points to an XSAVE area of at least [`XSAVE_BYTES`] bytes.
unsafe fn load_xsave(area: *mut u8, state: &State) {
    // SAFETY: all offsets are below XSAVE_BYTES.
    unsafe {
        let x87 = &state.x87;
        area.cast::<u16>().write(x87.control);
        area.add(2).cast::<u16>().write(x87.status);
        area.add(4).cast::<u16>().write(u16::from(x87.valid));
        area.add(6).cast::<u16>().write(x87.opcode);
        area.add(8).cast::<u64>().write(x87.ip);
        area.add(16).cast::<u64>().write(x87.dp);
        area.add(24).cast::<u32>().write(state.mxcsr);
        area.add(32).cast::<[u128; 8]>().write(x87.st);
        for (i, ymm) in state.ymm.iter().enumerate() {
            area.add(160 + 16 * i).cast::<[u64; 2]>().write([ymm[0], ymm[1]]);
            area.add(576 + 16 * i).cast::<[u64; 2]>().write([ymm[2], ymm[3]]);
        }
        area.add(XSTATE_BV).cast::<u64>().write(X87_SSE_AVX);
    }
}

/// # Safety
/// As [`load_xsave`].
unsafe fn store_xsave(area: *const u8, state: &mut State) {
    // SAFETY: all offsets are below XSAVE_BYTES.
    unsafe {
        state.x87 = X87 {
            control: area.cast::<u16>().read(),
            status: area.add(2).cast::<u16>().read(),
            valid: area.add(4).cast::<u8>().read(),
            opcode: area.add(6).cast::<u16>().read(),
            ip: area.add(8).cast::<u64>().read(),
            dp: area.add(16).cast::<u64>().read(),
            st: area.add(32).cast::<[u128; 8]>().read().map(|st| st & (u128::MAX >> 48)),
        };
        state.mxcsr = area.add(24).cast::<u32>().read();
        // A component in its initial configuration is told by the header alone.
        let upper = area.add(XSTATE_BV).cast::<u64>().read() & 4 != 0;
        for (i, ymm) in state.ymm.iter_mut().enumerate() {
            let low = area.add(160 + 16 * i).cast::<[u64; 2]>().read();
            let high = if upper { area.add(576 + 16 * i).cast::<[u64; 2]>().read() } else { [0; 2] };
            *ymm = [low[0], low[1], high[0], high[1]];
        }
    }
}

/// The memory of the cases, shared by their mappings.
struct Mapping {
    /// The code pages, writable, elsewhere.
    code: *mut u8,
    /// The data pages, writable, elsewhere.
    data: *mut u8,
}

// SAFETY: plain memory, used under the lock.
unsafe impl Send for Mapping {}

static MAPPING: Mutex<Option<Mapping>> = Mutex::new(None);

/// Exclusive use of the host CPU's test harness by one thread.
pub struct Host {
    mapping: MutexGuard<'static, Option<Mapping>>,
}

impl Host {
    /// Takes the harness, setting it up the first time.
    pub fn take() -> Self {
        let mut mapping = MAPPING.lock().unwrap_or_else(PoisonError::into_inner);
        if mapping.is_none() {
            *mapping = Some(map_everything());
            install_handlers();
        }
        prepare_thread();
        Host { mapping }
    }

    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("mapped when taken")
    }

    /// The code pages, to be written.
    pub fn code(&mut self) -> &mut [u8] {
        // SAFETY: mapped for the life of the process, and reached only through this exclusive borrow
        // outside `run`.
        unsafe { std::slice::from_raw_parts_mut(self.mapping().code, (CODE_PAGES * PAGE) as usize) }
    }

    /// The data pages, to be written, the read-only one too.
    pub fn data(&mut self) -> &mut [u8] {
        // SAFETY: as in `code`.
        unsafe { std::slice::from_raw_parts_mut(self.mapping().data, (DATA_PAGES * PAGE) as usize) }
    }

    /// Runs from `input` in the code segment `cs` until an exception ends it.
    pub fn run(&mut self, input: &State, cs: u16, output: &mut State) -> Ending {
        // SAFETY: the lock is held, so EXCHANGE is ours. The INT3 enters the handler, which saves every
        // register and gives all of them back when the case has ended, so that to the compiler the
        // assembly only reads and writes memory.
        unsafe {
            let exchange = &mut *addr_of_mut!(EXCHANGE);
            exchange.input = input;
            exchange.output = output;
            exchange.selectors = u64::from(cs) | u64::from(DATA_SELECTOR) << 48;
            let bases = &mut *addr_of_mut!(HOST_CPU_BASES);
            let (fs, gs): (u64, u64);
            std::arch::asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs);
            (bases[0], bases[1]) = (fs, gs);
            exchange.running = false;
            exchange.armed = true;
            std::arch::asm!("int3");
            (*addr_of!(EXCHANGE)).ending
        }
    }
}

fn map_everything() -> Mapping {
    let bytes = (CODE_PAGES + DATA_PAGES) * PAGE;
    let data_offset = CODE_PAGES * PAGE;
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh memory file; fixed mappings replace nothing, by their flag.
    unsafe {
        let file = libc::memfd_create(c"host-cpu-cases".as_ptr(), libc::MFD_CLOEXEC);
        assert!(file >= 0, "a memory file for the cases: {}", std::io::Error::last_os_error());
        assert_eq!(libc::ftruncate(file, bytes as i64), 0, "sizing the memory file");
        let all = map(file, None, bytes, read_write, 0);
        map(file, Some(CODE), CODE_PAGES * PAGE, libc::PROT_READ | libc::PROT_EXEC, 0);
        for data in [DATA, DATA_HIGH] {
            map(file, Some(data), WRITABLE_PAGES * PAGE, read_write, data_offset);
            let read_only = data + WRITABLE_PAGES * PAGE;
            map(file, Some(read_only), PAGE, libc::PROT_READ, data_offset + WRITABLE_PAGES * PAGE);
        }
        Mapping { code: all, data: all.add(data_offset as usize) }
    }
}

/// # Safety
/// As `mmap` of a file, which replaces no mapping here.
unsafe fn map(file: i32, at: Option<u64>, len: u64, protection: i32, offset: u64) -> *mut u8 {
    let fixed = if at.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE | fixed;
    let hint = at.unwrap_or(0) as *mut libc::c_void;
    // SAFETY: the caller's promise.
    let got = unsafe { libc::mmap(hint, len as usize, protection, flags, file, offset as i64) };
    assert!(got != libc::MAP_FAILED, "mapping the cases at {at:x?}: {}", std::io::Error::last_os_error());
    assert!(at.is_none_or(|at| at == got as u64), "mapped where asked");
    got.cast()
}

fn install_handlers() {
    for signal in [libc::SIGTRAP, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: the handler is the assembly above, which keeps to the kernel's convention.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = host_cpu_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(signal, &action, null_mut()), 0, "a handler for signal {signal}");
        }
    }
}

/// Gives the thread a stack of its own for signals, since a case's RSP can be anything, and the
/// data segments that 32-bit code needs.
fn prepare_thread() {
    const BYTES: usize = 256 << 10;
    let stack = Box::leak(vec![0u8; BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: BYTES };
    // SAFETY: the stack is never freed.
    assert_eq!(unsafe { libc::sigaltstack(&stack, null_mut()) }, 0, "a stack for signals");
    // SAFETY: 64-bit code does not use the bases and limits of DS and ES.
    unsafe { std::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) u32::from(DATA_SELECTOR)) };
}
