//! The machine: vCPUs, RAM, board and clock, and the loop that gives the vCPUs their turns.
#![allow(unsafe_code)]

use devices::PowerEvent;
use devices::guest_control::ControlRequest;
use devices::lapic::CpuSignal;
use x86::flags;
use x86::segment::{Segment, TableRegister, seg};
use x86::vcpu::Activity;
use x86::{CpuModel, Engine, Exit, GuestMemory, InsnCount, Interpreter, Vcpu, VirtualTime};

use crate::acpi;
use crate::board::cpu_bus::CpuBus;
use crate::board::{Board, BoardConfig};
use crate::boot::{self, BootError, BootRequest, BootState, Initrd};
use crate::clock::Clock;
use crate::input::Input;
use crate::memory_map::{LOW_RAM_END, MemoryLayout, RamSizeError};
use crate::ram::{RamError, RamMapping};
use crate::turns::Turns;

/// Clock jumps without an instruction between them after which [`Machine::run`] comes back, so
/// that a guest whose timers wake nobody cannot hang its host.
const MAX_IDLE_JUMPS: u32 = 10_000;

/// Bytes that a guest can send before somebody takes them; the last access to a device may add a few. A step sends a byte at
/// most, by OUT or OUTS.
pub const MAX_OUTPUT_BYTES: usize = 1 << 23;

/// What a machine is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// RAM in bytes: whole pages, 1 MiB to 64 GiB.
    pub ram_bytes: u64,
    /// Number of vCPUs, 1 to 8.
    pub vcpus: u8,
    /// Which CPU the guest sees.
    pub cpu_model: CpuModel,
    /// Whether QEMU's `isa-debug-exit` answers at port F4h, and its `pc-testdev` beside it.
    pub debug_exit: bool,
    /// The RTC's time at power-on, in seconds since 1970.
    pub rtc_start_unix_seconds: u64,
    /// The seed of a varied schedule of the vCPUs, to hunt race conditions; see [`crate::turns`].
    pub chaos_seed: Option<u64>,
}

impl MachineConfig {
    /// So much RAM and one vCPU of the model that runs on most hosts, without QEMU's devices for tests, switched on in 1970.
    pub fn new(ram_bytes: u64) -> Self {
        MachineConfig {
            ram_bytes,
            vcpus: 1,
            cpu_model: CpuModel::V2,
            debug_exit: false,
            rtc_start_unix_seconds: 0,
            chaos_seed: None,
        }
    }
}

/// Why a machine cannot be made or started.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The amount of RAM.
    #[error(transparent)]
    RamSize(#[from] RamSizeError),
    /// The host has no room for it.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The kernel.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The host's CPU.
    #[error(transparent)]
    Host(#[from] x86::vector::HostError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] jit::HostError),
    /// The number of vCPUs.
    #[error("a machine has 1 to 8 vCPUs, not {0}")]
    Vcpus(u8),
}

/// Why [`Machine::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The instruction count asked for was reached.
    Until,
    /// The guest switched the machine off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// A vCPU shut down after a triple fault.
    TripleFault,
    /// The guest asked to stop with this exit status (`isa-debug-exit`).
    DebugExit(u8),
    /// The guest asked something of the outside: [`Machine::take_requests`].
    Request,
    /// As much output waits as is kept: [`Machine::take_output`].
    Output,
    /// No vCPU has anything to do until this time, or until an input comes.
    Idle(VirtualTime),
    /// Every vCPU is halted and nothing inside the machine can wake one.
    Halted,
    /// A page of RAM that was elsewhere cannot be had ([`Machine::take_lost_page`]). What the machine did since it last came back
    /// is worth nothing.
    PageLost,
}

/// What the machine does when every vCPU waits for a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Jump to the timer at once (`virtual` clock, and replay).
    Jump,
    /// Come back with [`StopReason::Idle`] (`real` clock).
    Stop,
}

/// What the guest sent to the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Bytes of the serial port.
    pub serial: Vec<u8>,
    /// Bytes of the debug console at port E9h.
    pub debug_console: Vec<u8>,
}

/// A whole machine.
pub struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
    pub(crate) turns: Turns,
    pub(crate) memory: GuestMemory,
    pub(crate) ram: RamMapping,
    engine: Box<dyn Engine + Send>,
}

impl Machine {
    /// A machine at power-on with empty RAM, executed by the interpreter.
    ///
    /// # Errors
    /// If the configuration is impossible or the host has no memory for it.
    pub fn new(config: MachineConfig) -> Result<Self, MachineError> {
        Self::with_engine(config, Box::new(Interpreter::new()))
    }

    /// The same, executed by `engine`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_engine(config: MachineConfig, engine: Box<dyn Engine + Send>) -> Result<Self, MachineError> {
        if !(1..=8).contains(&config.vcpus) {
            return Err(MachineError::Vcpus(config.vcpus));
        }
        x86::vector::prepare(config.cpu_model)?;
        let layout = MemoryLayout::new(config.ram_bytes)?;
        let ram = RamMapping::new(config.ram_bytes)?;
        // SAFETY: the mapping has the layout's length and lives in the machine beside the memory;
        // only the machine writes to it, never while a vCPU runs.
        let memory = unsafe { GuestMemory::new(ram.as_ptr(), layout.cpu_layout()) };
        let count = u32::from(config.vcpus);
        let vcpus = (0..count).map(|id| Vcpu::new(config.cpu_model, id, count)).collect();
        let board = Board::new(BoardConfig {
            layout,
            vcpus: config.vcpus,
            debug_exit: config.debug_exit,
            rtc_start_unix_seconds: config.rtc_start_unix_seconds,
        });
        let mut machine = Machine {
            config,
            vcpus,
            board,
            clock: Clock::new(),
            turns: Turns::new(config.chaos_seed),
            memory,
            ram,
            engine,
        };
        for vcpu in &mut machine.vcpus[1..] {
            vcpu.activity = Activity::WaitForSipi;
        }
        Ok(machine)
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// Puts a kernel into RAM and the first vCPU at its entry, with the firmware tables it expects.
    ///
    /// # Errors
    /// If the kernel, the initrd or the command line cannot be used.
    pub fn load(&mut self, source: &BootSource<'_>) -> Result<(), MachineError> {
        let rsdp = acpi::load(&mut self.ram, self.config.vcpus)?;
        let initrd = source.initrd.map(|content| Initrd { name: source.initrd_name, content });
        let state = boot::load(
            &mut self.ram,
            &BootRequest {
                kernel_path: source.kernel_name,
                kernel: source.kernel,
                initrds: initrd.as_slice(),
                command_line: source.command_line,
                rsdp: Some(rsdp),
            },
        )?;
        enter(&mut self.vcpus[0], &state);
        for vcpu in &mut self.vcpus {
            vcpu.msrs.mtrrs.set_as_firmware(LOW_RAM_END as u32);
        }
        Ok(())
    }

    /// Runs until the whole machine has executed `until` steps, exactly, or something ends the run.
    ///
    /// Stops behind the instruction that asked for power-off, reset or exit. Wherever it stops, the
    /// devices have done all that was due: count and virtual time together name one state.
    ///
    /// What the guest sends waits for [`Self::take_output`]. When [`MAX_OUTPUT_BYTES`] of it wait, the run ends early, which the
    /// guest cannot tell, and none goes on before they are taken.
    pub fn run(&mut self, until: InsnCount, idle: Idle) -> StopReason {
        let reason = self.run_loop(until, idle);
        self.settle();
        if self.memory.has_lost_page() { StopReason::PageLost } else { reason }
    }

    /// Does what is due before anything else can happen: what devices asked of the vCPUs, and what the
    /// devices' own deadlines ask. The next [`Machine::run`] would begin with the same.
    pub fn settle(&mut self) {
        loop {
            self.attend_vcpus();
            let now = self.now();
            if !self.board.is_due(now) {
                break;
            }
            self.board.advance(now);
        }
        // A vCPU that waits has given its turn up, whether or not an engine has looked at it since.
        self.turns.over |= !self.can_run(self.turns.vcpu);
    }

    fn run_loop(&mut self, until: InsnCount, idle: Idle) -> StopReason {
        let mut idle_jumps = 0;
        loop {
            if self.memory.has_lost_page() {
                return StopReason::PageLost;
            }
            if let Some(reason) = self.attend() {
                return reason;
            }
            // Asked here too: the run can have been cut behind the fault, before the engine said so.
            if self.vcpus.iter().any(|vcpu| vcpu.activity == Activity::Shutdown) {
                return StopReason::TripleFault;
            }
            if self.insn_count() >= until {
                return StopReason::Until;
            }
            if self.board.has_much_output() {
                return StopReason::Output;
            }
            let now = self.now();
            if self.board.is_due(now) {
                self.board.advance(now);
                continue;
            }
            if self.turns.is_over(self.current().count) && !self.next_turn() {
                match self.wait(idle, &mut idle_jumps) {
                    Some(reason) => return reason,
                    None => continue,
                }
            }
            idle_jumps = 0;
            if let Some(reason) = self.run_turn(until) {
                return reason;
            }
        }
    }

    /// Runs the vCPU whose turn it is until its turn, the run or the way to the next deadline ends.
    fn run_turn(&mut self, until: InsnCount) -> Option<StopReason> {
        let left = until - self.insn_count();
        // Who is alone follows upon itself: nothing happens between its turns, and engines like long ways.
        let alone = self.vcpus.len() == 1 && self.turns.chaos.is_none() && self.clock.is_shared_by(1);
        let vcpu = &mut self.vcpus[self.turns.vcpu];
        let mut end = vcpu.count + left;
        if !alone {
            end = end.min(self.turns.end);
        }
        let mut bus = CpuBus { board: &mut self.board, clock: &self.clock, vcpu: self.turns.vcpu };
        let exit = self.engine.run(vcpu, &mut self.memory, &mut bus, end);
        if alone && let Some(began) = self.turns.pass(vcpu.count) {
            self.clock.begin_turn(self.clock.at(began), began, 1);
        }
        match exit {
            Exit::Until | Exit::Attention => {}
            Exit::Halted | Exit::Yield => self.turns.over = true,
            Exit::Shutdown => return Some(StopReason::TripleFault),
        }
        None
    }

    /// Begins the turn of the next vCPU that can run; `false` if none can.
    fn next_turn(&mut self) -> bool {
        let runnable: Vec<bool> = (0..self.vcpus.len()).map(|vcpu| self.can_run(vcpu)).collect();
        let Some((next, steps)) = self.turns.choose(&runnable) else { return false };
        let now = self.now();
        let sharers = runnable.iter().filter(|&&can_run| can_run).count() as u64;
        let count = self.vcpus[next].count;
        self.turns = Turns { vcpu: next, end: count + steps, over: false, ..self.turns };
        self.clock.begin_turn(now, count, sharers);
        true
    }

    fn can_run(&self, vcpu: usize) -> bool {
        let cpu = &self.vcpus[vcpu];
        match cpu.activity {
            Activity::Running => true,
            Activity::Halted => {
                (self.board.fabric.has_interrupt(vcpu) && cpu.rflags_system & flags::IF != 0)
                    || (cpu.nmi_pending > 0 && !cpu.nmi_blocked)
                    || cpu.debug_pending != 0
            }
            Activity::WaitForSipi | Activity::Shutdown => false,
        }
    }

    /// Nobody can run: waits for the next deadline, or says why that makes no sense.
    fn wait(&mut self, idle: Idle, jumps: &mut u32) -> Option<StopReason> {
        let wake = self.board.deadline();
        let unmaskable = self.board.fabric.may_send_unmaskable();
        let wakeable =
            |cpu: &Vcpu| cpu.activity == Activity::Halted && (cpu.rflags_system & flags::IF != 0 || unmaskable);
        if !self.vcpus.iter().any(wakeable) {
            return Some(StopReason::Halted);
        }
        *jumps += 1;
        if wake == VirtualTime::NEVER || idle == Idle::Stop || *jumps > MAX_IDLE_JUMPS {
            return Some(StopReason::Idle(wake));
        }
        let count = self.current().count;
        self.clock.skip_to(wake, count);
        None
    }

    /// Acts on what devices asked of the machine: power, A20, signals between vCPUs.
    fn attend(&mut self) -> Option<StopReason> {
        if !self.board.wants_attention() {
            return None;
        }
        self.attend_vcpus();
        if self.board.has_requests() {
            return Some(StopReason::Request);
        }
        Some(match self.board.take_power_event()? {
            PowerEvent::PowerOff => StopReason::PowerOff,
            PowerEvent::Reset => StopReason::Reset,
            PowerEvent::DebugExit(status) => StopReason::DebugExit(status),
        })
    }

    /// Passes on to the vCPUs what devices ask of them.
    fn attend_vcpus(&mut self) {
        if let Some(enabled) = self.board.take_a20() {
            for vcpu in &mut self.vcpus {
                vcpu.a20_mask = if enabled { u64::MAX } else { !(1 << 20) };
                vcpu.tlb.flush();
            }
        }
        if self.board.take_ignored_numeric_errors() {
            self.vcpus.iter_mut().for_each(Vcpu::ignore_numeric_error);
        }
        for (id, vcpu) in self.vcpus.iter_mut().enumerate() {
            while let Some(signal) = self.board.fabric.take_signal(id) {
                match signal {
                    CpuSignal::Nmi => vcpu.latch_nmi(),
                    CpuSignal::Init => {
                        vcpu.init();
                        // The bootstrap processor starts again at once; the others wait for a start-up IPI.
                        vcpu.activity = if id == 0 { Activity::Running } else { Activity::WaitForSipi };
                    }
                    CpuSignal::Sipi(vector) if vcpu.activity == Activity::WaitForSipi => vcpu.start_up(vector),
                    CpuSignal::Sipi(_) => {}
                }
            }
        }
    }

    /// Drops everything that the engine has made of the code in RAM.
    pub fn forget_code(&mut self) {
        self.engine.forget(&mut self.memory);
    }

    fn current(&self) -> &Vcpu {
        &self.vcpus[self.turns.vcpu]
    }

    /// Steps executed by all vCPUs together: the machine's position.
    pub fn insn_count(&self) -> InsnCount {
        InsnCount(self.vcpus.iter().map(|vcpu| vcpu.count.0).sum())
    }

    /// The virtual time.
    pub fn now(&self) -> VirtualTime {
        self.clock.at(self.current().count)
    }

    /// The one door: everything from outside comes in here, between two instructions.
    ///
    /// What is due at this moment happens before it, so that the same inputs at the same counts and
    /// times have the same effect however the run between them was cut.
    pub fn input(&mut self, input: Input) {
        self.settle();
        let now = self.now();
        if let Input::ClockTo(time) = input {
            let count = self.current().count;
            self.clock.skip_to(time, count);
            return;
        }
        self.board.input(&input, now);
    }

    /// Whether the serial port has room for a byte; one given without room is lost.
    pub fn serial_can_receive(&self) -> bool {
        self.board.serial_can_receive()
    }

    /// Whether the guest asks for bytes on its serial port, by the port's RTS line. A sender with
    /// hardware flow control waits for it; bytes given without it go in all the same.
    pub fn serial_requests_to_send(&self) -> bool {
        self.board.serial_requests_to_send()
    }

    /// Takes what the guest asked of the outside; [`Self::run`] does not go on before.
    pub fn take_requests(&mut self) -> Vec<ControlRequest> {
        self.board.take_requests()
    }

    /// Takes what the guest sent since the last call.
    pub fn take_output(&mut self) -> Output {
        let (serial, debug_console) = self.board.take_output();
        Output { serial, debug_console }
    }
}

/// A kernel to start, with its files in memory.
#[derive(Clone, Copy, Debug)]
pub struct BootSource<'a> {
    /// The kernel file.
    pub kernel: &'a [u8],
    /// Its name: errors and multiboot command lines use it.
    pub kernel_name: &'a str,
    /// The initial RAM disk.
    pub initrd: Option<&'a [u8]>,
    /// Its name.
    pub initrd_name: &'a str,
    /// The kernel command line.
    pub command_line: &'a str,
}

/// Puts the first vCPU into the state that a boot protocol wants.
fn enter(vcpu: &mut Vcpu, state: &BootState) {
    let segment = |s: &boot::BootSegment| Segment {
        selector: s.selector,
        base: s.base.into(),
        limit: s.limit,
        attr: s.attributes.into(),
    };
    vcpu.gpr[0] = state.rax;
    vcpu.gpr[3] = state.rbx;
    vcpu.gpr[4] = state.rsp;
    vcpu.gpr[6] = state.rsi;
    vcpu.rip = state.rip;
    vcpu.cr0 = state.cr0;
    vcpu.cr3 = state.cr3;
    vcpu.cr4 = state.cr4;
    vcpu.efer = state.efer;
    vcpu.gdtr = TableRegister { base: state.gdt.base, limit: state.gdt.limit };
    vcpu.idtr = TableRegister { base: state.idt.base, limit: state.idt.limit };
    vcpu.seg[seg::CS] = segment(&state.cs);
    for register in [seg::ES, seg::SS, seg::DS, seg::FS, seg::GS] {
        vcpu.seg[register] = segment(&state.data);
    }
    vcpu.seg[seg::TR] = segment(&state.tr);
    vcpu.set_rflags(state.rflags);
    vcpu.tlb.flush();
}

#[cfg(test)]
mod tests;
