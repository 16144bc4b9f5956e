//! What all translations are made with: the block's frame of code, sites, registers, addresses.

use super::spans::{Share, Shares};
use super::{Emitted, Item, Place, Untranslated};
use crate::asm::{Asm, Mem, R10, R11, R15, RCX};
use crate::block::Links;
use crate::far;
use crate::layout::{self, PLACES, leave};
use crate::site::Site;
use iced_x86::{Encoder, Instruction, Mnemonic, Register};
use x86::GuestPhysAddr;

/// A conditional jump out of the middle of the block, to be finished behind its end.
pub struct SideExit {
    /// Place of the jump's distance.
    pub place: u32,
    /// The jump, and its position in the block.
    pub item: Item,
    pub idx: u16,
}

/// A check of a span that failed, likewise.
pub struct Failure {
    /// Place of the jump's distance.
    pub place: u32,
    /// Offset in the page of the instruction that checks, and its position in the block.
    pub off: u16,
    pub idx: u16,
}

/// See the module's text.
pub struct Emitter<'a> {
    pub asm: Asm,
    pub at: &'a Place,
    /// Instructions in the block.
    pub len: u16,
    /// Offset of the block's entry.
    pub entry: u32,
    /// Offset of the code that leaves before the block's first instruction, having charged for it.
    expired: u32,
    /// The instruction being translated, and its position.
    pub item: Item,
    pub idx: u16,
    /// Flags that are live behind it.
    pub live: u32,
    pub sites: &'a mut Vec<Site>,
    pub links: &'a mut Links,
    pub side_exits: Vec<SideExit>,
    pub failures: Vec<Failure>,
    pub shares: Shares,
    /// The place whose value is in R11 as well.
    pub in_r11: Option<u8>,
    /// What the instruction's access shares, until it is translated.
    pub share: Option<Share>,
    encoder: Encoder,
}

const GPR64: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
const GPR32: [Register; 16] = [
    Register::EAX,
    Register::ECX,
    Register::EDX,
    Register::EBX,
    Register::ESP,
    Register::EBP,
    Register::ESI,
    Register::EDI,
    Register::R8D,
    Register::R9D,
    Register::R10D,
    Register::R11D,
    Register::R12D,
    Register::R13D,
    Register::R14D,
    Register::R15D,
];
const GPR16: [Register; 16] = [
    Register::AX,
    Register::CX,
    Register::DX,
    Register::BX,
    Register::SP,
    Register::BP,
    Register::SI,
    Register::DI,
    Register::R8W,
    Register::R9W,
    Register::R10W,
    Register::R11W,
    Register::R12W,
    Register::R13W,
    Register::R14W,
    Register::R15W,
];
const GPR8: [Register; 16] = [
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R9L,
    Register::R10L,
    Register::R11L,
    Register::R12L,
    Register::R13L,
    Register::R14L,
    Register::R15L,
];

/// iced's name of host register `number` with `bytes` bytes.
pub fn register(number: u8, bytes: usize) -> Register {
    let names = match bytes {
        1 => &GPR8,
        2 => &GPR16,
        4 => &GPR32,
        _ => &GPR64,
    };
    names[usize::from(number)]
}

impl<'a> Emitter<'a> {
    /// For the block of `items`, which are not none.
    pub fn new(at: &'a Place, items: &[Item], shares: Shares, sites: &'a mut Vec<Site>, links: &'a mut Links) -> Self {
        Emitter {
            asm: Asm::new(at.origin),
            at,
            len: items.len() as u16,
            entry: 0,
            expired: 0,
            item: items[0],
            idx: 0,
            live: 0,
            sites,
            links,
            side_exits: Vec::new(),
            failures: Vec::new(),
            shares,
            in_r11: None,
            share: None,
            encoder: Encoder::new(64),
        }
    }

    /// The way out when the budget is too small, and the entry, which charges for the block.
    ///
    /// With `vectors` the entry also makes sure that the host's vector registers are the guest's.
    pub fn head(&mut self, vectors: bool) -> u32 {
        let word = u64::from(self.at.id) << leave::BITS | leave::EXPIRED;
        let expired = self.asm.here();
        self.expired = expired;
        self.leave(word);
        let load = self.asm.here();
        let mut back = None;
        if vectors {
            self.asm.constant(R10, word);
            self.asm.call(self.at.thunks.vectors);
            back = Some(self.asm.jmp_later());
        }
        self.entry = self.asm.here();
        self.asm.lea(R15, Mem::base(R15, -i32::from(self.len)));
        self.asm.rorx(RCX, R15, 32);
        self.asm.jecxz_back(expired);
        if let Some(back) = back {
            self.asm.load(RCX, layout::VECTORS);
            self.asm.jrcxz_back(load);
            self.asm.land_long(back);
        }
        self.entry
    }

    /// Leaves the block to the interpreter unless the page behind this one is at `second`. Returns the place of the
    /// number that says so.
    pub fn guard(&mut self, second: GuestPhysAddr) -> u32 {
        self.asm.load(R10, layout::PAGE_RIP);
        self.asm.lea(R10, Mem::base(R10, 4096));
        let fetched = far::compare(&mut self.asm, self.at.view);
        self.asm.jmp(self.expired);
        self.asm.land(fetched);
        far::physical(&mut self.asm, self.at.view);
        self.asm.raw(&[0x48, 0xb8 | RCX]);
        let place = self.asm.here();
        self.asm.raw(&second.0.wrapping_neg().to_le_bytes());
        self.asm.lea(RCX, Mem::sum(RCX, R11));
        let same = self.asm.jrcxz();
        self.asm.jmp(self.expired);
        self.asm.land(same);
        place
    }

    /// Leaves translated code for the reason in `word`.
    pub fn leave(&mut self, word: u64) {
        self.asm.constant(RCX, word);
        self.asm.jmp(self.at.thunks.exit);
    }

    /// The next instruction.
    pub fn begin(&mut self, item: &Item, idx: u16, live: u32) {
        (self.item, self.idx, self.live) = (*item, idx, live);
        self.share = self.shares.of[usize::from(idx)];
    }

    /// Translates the instruction, or has the interpreter's code called.
    ///
    /// # Errors
    /// If liveness or a span counted on a translation and there is none.
    pub fn instruction(&mut self) -> Emitted {
        let (bytes, sites, links, exits) =
            (self.asm.bytes.len(), self.sites.len(), self.links.len(), self.side_exits.len());
        // Behind code of the interpreter's, nothing is known of what a span checked.
        let open = self.shares.open[usize::from(self.idx)];
        let shares = self.share.is_some();
        let keeps_r11 = super::spans::keeps_r11(&self.item, shares);
        if !keeps_r11 {
            self.in_r11 = None;
        }
        let done = self.translated();
        if shares && self.share.is_some() {
            return Err(Untranslated);
        }
        if done.is_err() {
            let counted_on = super::liveness::stays(&self.item) && self.live != super::liveness::ALL;
            if counted_on || open || shares {
                return Err(Untranslated);
            }
            self.asm.bytes.truncate(bytes);
            self.sites.truncate(sites);
            self.links.truncate(links);
            self.side_exits.truncate(exits);
            self.call_interpreter();
        }
        if !keeps_r11 || done.is_err() {
            self.in_r11 = None;
        }
        // Behind a jump nothing goes on.
        if !open && !jumps(&self.item.insn) {
            let here = self.asm.here();
            for site in &mut self.sites[sites..] {
                site.resume = here;
            }
        }
        Ok(())
    }

    fn translated(&mut self) -> Emitted {
        if !self.item.offered {
            return Err(Untranslated);
        }
        use Mnemonic::*;
        match self.item.insn.mnemonic() {
            Lea => self.lea(),
            Push | Pop | Leave => self.stack(),
            Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr => self.shift(),
            Imul | Mul => self.multiply(),
            Div | Idiv => self.divide(),
            Bsf | Bsr | Bt | Bts | Btr | Btc => self.bits(),
            Shld | Shrd => self.double_shift(),
            Cli | Sti | Pushfq => self.interrupt_flag(),
            Swapgs => self.swap_gs(),
            Jmp | Call | Ret => self.jump(),
            _ if self.item.insn.is_jcc_short_or_near() => self.conditional_jump(),
            _ if super::vector::is_native(&self.item) => self.vector(),
            _ => self.plain(),
        }
    }

    /// Notes the instruction as one that can be handed over.
    pub fn site(&mut self) -> u32 {
        self.site_with(self.len - self.idx)
    }

    /// The same, for code that runs when `ahead` steps of the block are charged but not done.
    pub fn site_with(&mut self, ahead: u16) -> u32 {
        self.sites.push(Site { op: self.item.op, resume: 0, ahead, view: self.at.view });
        self.sites.len() as u32 - 1
    }

    /// Hands the instruction over.
    pub fn slow(&mut self, site: u32) {
        self.asm.constant(RCX, site.into());
        self.asm.jmp(self.at.thunks.slow);
    }

    fn call_interpreter(&mut self) {
        let site = self.site();
        self.slow(site);
    }

    /// The host register that holds guest register `guest`; one that lies in the frame is loaded
    /// into `scratch`.
    pub fn gpr(&mut self, guest: u8, scratch: u8) -> u8 {
        match PLACES[usize::from(guest)] {
            layout::Place::Reg(host) => host,
            layout::Place::Slot(slot) => {
                self.asm.load(scratch, Mem::base(crate::asm::RSP, slot));
                scratch
            }
        }
    }

    /// Loads guest register `guest`, all 64 bits, from memory; `scratch` on the way if it lies in the frame.
    pub fn load_gpr(&mut self, guest: u8, from: Mem, scratch: u8) {
        match PLACES[usize::from(guest)] {
            layout::Place::Reg(to) => self.asm.load(to, from),
            layout::Place::Slot(slot) => {
                self.asm.load(scratch, from);
                self.asm.store(Mem::base(crate::asm::RSP, slot), scratch);
            }
        }
    }

    /// Stores host register `host` to guest register `guest`, all 64 bits.
    pub fn set_gpr(&mut self, guest: u8, host: u8) {
        match PLACES[usize::from(guest)] {
            layout::Place::Reg(to) => self.asm.mov(to, host),
            layout::Place::Slot(slot) => self.asm.store(Mem::base(crate::asm::RSP, slot), host),
        }
    }

    /// Emits a guest instruction whose operands were renamed.
    pub fn encode(&mut self, insn: &Instruction) -> Emitted {
        let before = self.asm.bytes.len();
        self.encoder.set_buffer(std::mem::take(&mut self.asm.bytes));
        let result = self.encoder.encode(insn, 0);
        self.asm.bytes = self.encoder.take_buffer();
        if result.is_err() {
            self.asm.bytes.truncate(before);
            return Err(Untranslated);
        }
        Ok(())
    }

    /// The linear address of the memory operand, in a host register: R10, or the guest's own. Uses R11.
    pub fn address(&mut self) -> Result<u8, Untranslated> {
        use x86::op::AddressMode::*;
        let op = self.item.op;
        let based = match op.amode {
            Flat64 => false,
            Based64 => true,
            Truncated64 if op.seg < x86::segment::seg::FS as u8 => false,
            _ => return Err(Untranslated),
        };
        let truncated = op.amode == Truncated64;
        let mut address = self.effective_address(R10, truncated)?;
        if based {
            self.asm.load(R11, layout::CPU);
            self.asm.load(R11, Mem::base(R11, layout::segment_base_offset(op.seg)));
            self.asm.lea(R10, Mem::sum(address, R11));
            address = R10;
        }
        Ok(address)
    }

    /// The effective address of the memory operand: in `to`, or in the guest's base register itself. Uses
    /// R10 and R11.
    pub fn effective_address(&mut self, to: u8, truncated: bool) -> Result<u8, Untranslated> {
        let mem = self.effective_operand()?;
        if let (Mem { base: Some(base), index: None, disp: 0, .. }, false) = (mem, truncated) {
            return Ok(base);
        }
        if truncated {
            self.asm.lea32(to, mem);
        } else {
            self.asm.lea(to, mem);
        }
        Ok(to)
    }

    /// The memory operand in terms of host registers, guest registers that lie in the frame loaded into R10
    /// and R11; a linear address if segments begin at 0.
    pub fn effective_operand(&mut self) -> Result<Mem, Untranslated> {
        use x86::vcpu::{GPR_PAGE_RIP, GPR_ZERO};
        let op = self.item.op;
        let Ok(disp) = i32::try_from(op.disp) else { return Err(Untranslated) };
        let base = match usize::from(op.base) {
            GPR_ZERO => None,
            GPR_PAGE_RIP => {
                self.asm.load(R10, layout::PAGE_RIP);
                Some(R10)
            }
            _ => Some(self.gpr(op.base, R10)),
        };
        let index = match usize::from(op.index) {
            GPR_ZERO => None,
            _ => Some((self.gpr(op.index, R11), op.scale)),
        };
        Ok(Mem { base, index, disp, gs: false })
    }
}

/// True for instructions that never go on behind themselves.
fn jumps(insn: &Instruction) -> bool {
    use iced_x86::FlowControl::*;
    !matches!(insn.flow_control(), Next | ConditionalBranch)
}
