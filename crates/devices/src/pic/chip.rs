//! One 8259A: requests in, a priority decision, an interrupt output and a vector.
//!
//! Requests are recomputed from three things: the level of each input, whether an edge was
//! latched, and whether the input is level-triggered. As the data sheet says, a request whose
//! input falls before it is acknowledged is withdrawn; an acknowledge that finds none is spurious
//! and gives input 7 without marking it in service.

/// Which write to the data port comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// OCW1: the interrupt mask. The state of a programmed controller.
    #[default]
    Mask,
    /// ICW2: the vector base.
    VectorBase,
    /// ICW3: cascade wiring. It is fixed on a PC, so the value is not kept.
    Cascade,
    /// ICW4: modes.
    Modes,
}

/// One 8259A. All fields are its volatile state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    /// The level of each input.
    pub lines: u8,
    /// Inputs that rose and were not yet acknowledged.
    pub latched: u8,
    /// Level-triggered inputs (ELCR).
    pub level_triggered: u8,
    /// The interrupt mask register (IMR).
    pub mask: u8,
    /// The in-service register (ISR).
    pub in_service: u8,
    /// The vector of input 0; a multiple of 8.
    pub vector_base: u8,
    /// The input with the lowest priority, 0 to 7; the one after it has the highest.
    pub lowest: u8,
    /// Acknowledging ends the interrupt at once (AEOI).
    pub auto_eoi: bool,
    /// Each automatic end of interrupt gives its input the lowest priority.
    pub rotate_on_auto_eoi: bool,
    /// Masked inputs in service hold nothing up.
    pub special_mask: bool,
    /// A slave in service may ask again (SFNM); only for a master.
    pub special_fully_nested: bool,
    /// Reads of the command port give the ISR rather than the IRR.
    pub read_in_service: bool,
    /// The next read is a poll.
    pub poll: bool,
    /// Where initialisation stands.
    pub expect: Expect,
    /// ICW1 said that there is no ICW3 (single mode).
    pub single: bool,
    /// ICW1 said that ICW4 follows.
    pub wants_icw4: bool,
}

const ICW1: u8 = 0x10;
const ICW1_IC4: u8 = 0x01;
const ICW1_SINGLE: u8 = 0x02;
const OCW3: u8 = 0x08;

impl Chip {
    /// A controller at power-on, not yet initialised. Fixed priorities put input 7 last.
    pub fn new() -> Self {
        Chip { lowest: 7, ..Chip::default() }
    }

    /// Sets the level of input `input`.
    pub fn set_line(&mut self, input: u8, level: bool) {
        let bit = 1 << input;
        if !level {
            self.lines &= !bit;
            self.latched &= !bit;
        } else if self.lines & bit == 0 {
            self.lines |= bit;
            self.latched |= bit;
        }
    }

    /// The interrupt request register (IRR).
    pub fn requests(&self) -> u8 {
        self.lines & (self.level_triggered | self.latched)
    }

    /// How far `input` is from the highest priority, 0 to 7.
    fn rank(&self, input: u8) -> u8 {
        input.wrapping_sub(self.lowest).wrapping_sub(1) & 7
    }

    /// The input of `set` with the highest priority.
    fn highest(&self, set: u8) -> Option<u8> {
        (1..=8).map(|i| (self.lowest + i) & 7).find(|&input| set & 1 << input != 0)
    }

    /// The input that would be acknowledged now. `slave_inputs` are those that a slave drives.
    pub fn pending(&self, slave_inputs: u8) -> Option<u8> {
        let input = self.highest(self.requests() & !self.mask)?;
        let hidden = if self.special_mask { self.mask } else { 0 };
        let Some(busy) = self.highest(self.in_service & !hidden) else {
            return Some(input);
        };
        let nested = self.special_fully_nested && slave_inputs & 1 << input != 0;
        let (rank, limit) = (self.rank(input), self.rank(busy));
        (rank < limit || nested && rank == limit).then_some(input)
    }

    /// Takes `input` into service, as the second INTA cycle does.
    pub fn accept(&mut self, input: u8) {
        self.latched &= !(1 << input);
        if !self.auto_eoi {
            self.in_service |= 1 << input;
        } else if self.rotate_on_auto_eoi {
            self.lowest = input;
        }
    }

    /// Reads the command port (A0 = 0): a poll if one was asked for, else IRR or ISR.
    pub fn read_command(&mut self, slave_inputs: u8) -> u8 {
        if self.poll {
            return self.finish_poll(slave_inputs);
        }
        if self.read_in_service { self.in_service } else { self.requests() }
    }

    /// Reads the data port (A0 = 1): a poll if one was asked for, else the mask.
    pub fn read_data(&mut self, slave_inputs: u8) -> u8 {
        if self.poll { self.finish_poll(slave_inputs) } else { self.mask }
    }

    /// The read after a poll command acknowledges: bit 7 says whether there was a request.
    fn finish_poll(&mut self, slave_inputs: u8) -> u8 {
        self.poll = false;
        let Some(input) = self.pending(slave_inputs) else { return 0 };
        self.accept(input);
        0x80 | input
    }

    /// Writes the command port (A0 = 0): ICW1, OCW2 or OCW3.
    pub fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.begin_initialisation(value);
        } else if value & OCW3 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value >> 5, value & 7);
        }
    }

    /// ICW1. The trigger bit (LTIM) is without effect where there is an ELCR.
    fn begin_initialisation(&mut self, value: u8) {
        *self = Chip {
            lines: self.lines,
            level_triggered: self.level_triggered,
            vector_base: self.vector_base,
            expect: Expect::VectorBase,
            single: value & ICW1_SINGLE != 0,
            wants_icw4: value & ICW1_IC4 != 0,
            ..Chip::new()
        };
    }

    fn write_ocw3(&mut self, value: u8) {
        if value & 0x04 != 0 {
            self.poll = true;
        }
        if value & 0x02 != 0 {
            self.read_in_service = value & 0x01 != 0;
        }
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
    }

    /// OCW2: `command` is R, SL, EOI; `input` is meant only if SL is set.
    fn write_ocw2(&mut self, command: u8, input: u8) {
        let (rotate, specific, eoi) = (command & 4 != 0, command & 2 != 0, command & 1 != 0);
        if eoi {
            let hidden = if self.special_mask { self.mask } else { 0 };
            let ended = if specific { Some(input) } else { self.highest(self.in_service & !hidden) };
            if let Some(input) = ended {
                self.in_service &= !(1 << input);
                if rotate {
                    self.lowest = input;
                }
            }
        } else if !specific {
            self.rotate_on_auto_eoi = rotate;
        } else if rotate {
            self.lowest = input;
        }
    }

    /// Writes the data port (A0 = 1): the next ICW, or the mask.
    pub fn write_data(&mut self, value: u8) {
        self.expect = match self.expect {
            Expect::Mask => {
                self.mask = value;
                Expect::Mask
            }
            Expect::VectorBase => {
                self.vector_base = value & 0xf8;
                if self.single { self.after_cascade() } else { Expect::Cascade }
            }
            Expect::Cascade => self.after_cascade(),
            Expect::Modes => {
                self.auto_eoi = value & 0x02 != 0;
                self.special_fully_nested = value & 0x10 != 0;
                Expect::Mask
            }
        };
    }

    fn after_cascade(&self) -> Expect {
        if self.wants_icw4 { Expect::Modes } else { Expect::Mask }
    }
}
