//! What all translations are made with: the block's frame of code, sites, registers, addresses.

use super::cold::Miss;
use super::scratch::Held;
use super::spans::{Share, Shares};
use super::{Emitted, Item, Place, Untranslated};
use crate::asm::{Asm, Mem, R10, R11, R15, RCX};
use crate::block::Links;
use crate::far;
use crate::layout::{self, leave};
use crate::site::Site;
use iced_x86::{Encoder, Instruction, Mnemonic};
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
    /// The block uses the host's vector registers.
    vectors: bool,
    /// Offset of where the block's own jumps to its beginning lead.
    pub turn: u32,
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
    pub misses: Vec<Miss>,
    /// What scratch registers hold.
    pub held: Held,
    /// What the instruction's access shares, until it is translated.
    pub share: Option<Share>,
    pub encoder: Encoder,
}

impl<'a> Emitter<'a> {
    /// For the block of `items`, which are not none.
    pub fn new(at: &'a Place, items: &[Item], shares: Shares, sites: &'a mut Vec<Site>, links: &'a mut Links) -> Self {
        Emitter {
            asm: Asm::new(at.origin),
            at,
            len: items.len() as u16,
            vectors: false,
            turn: 0,
            expired: 0,
            item: items[0],
            idx: 0,
            live: 0,
            sites,
            links,
            side_exits: Vec::new(),
            failures: Vec::new(),
            shares,
            misses: Vec::new(),
            held: Held::default(),
            share: None,
            encoder: Encoder::new(64),
        }
    }

    /// The way out when the budget is too small, and the entry, which charges for the block.
    ///
    /// With `vectors` the entry first makes sure that the host's vector registers are the guest's. They stay that, so that
    /// jumps of the block to its own beginning do without.
    pub fn head(&mut self, vectors: bool) -> u32 {
        let word = u64::from(self.at.id) << leave::BITS | leave::EXPIRED;
        let charge = Mem::base(R15, -i32::from(self.len));
        self.vectors = vectors;
        self.expired = self.asm.here();
        self.leave(word);
        let mut entry = None;
        if vectors {
            let load = self.asm.here();
            // What leaves instead of loading them gives back what the block charged.
            self.asm.lea(R15, charge);
            self.asm.constant(R10, word);
            self.asm.call(self.at.thunks.vectors);
            self.asm.lea(R15, Mem::base(R15, self.len.into()));
            let loaded = self.asm.skip();
            entry = Some(self.asm.here());
            self.asm.load(RCX, layout::VECTORS);
            self.asm.jrcxz_back(load);
            self.asm.land(loaded);
        }
        self.turn = self.asm.here();
        self.asm.lea(R15, charge);
        self.asm.rorx(RCX, R15, 32);
        self.asm.jecxz_back(self.expired);
        entry.unwrap_or(self.turn)
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
        let misses = self.misses.len();
        // Behind code of the interpreter's, nothing is known of what a span checked.
        let open = self.shares.open[usize::from(self.idx)];
        let shares = self.share.is_some();
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
            self.misses.truncate(misses);
            self.call_interpreter();
        }
        if done.is_err() || !keeps_scratch(&self.item.insn) && !self.item.follows {
            self.forget_all();
        }
        // Behind a jump nothing goes on.
        if !open && !jumps(&self.item.insn) {
            self.resume_here(sites, misses);
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
            Cld | Std => self.direction_flag(),
            Stac | Clac => self.access_flag(),
            Mov if self.moves_from_system() => self.move_from_system(),
            Rdtsc => self.time_stamp(),
            Jmp | Call | Ret => self.jump(),
            _ if self.item.insn.is_jcc_short_or_near() => self.conditional_jump(),
            _ if self.item.insn.is_string_instruction() => self.string(),
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
        self.sites.push(Site { op: self.item.op, resume: 0, ahead, view: self.at.view, vectors: self.vectors });
        self.sites.len() as u32 - 1
    }

    /// Hands the instruction over.
    pub fn slow(&mut self, site: u32) {
        self.asm.constant(RCX, site.into());
        self.asm.jmp(self.at.thunks.slow);
    }

    /// The same unless RCX is zero.
    pub fn slow_unless_zero(&mut self, site: u32) {
        let zero = self.asm.jrcxz();
        self.slow(site);
        self.asm.land(zero);
    }

    fn call_interpreter(&mut self) {
        let site = self.site();
        self.slow(site);
    }
}

/// True for instructions that never go on behind themselves.
fn jumps(insn: &Instruction) -> bool {
    use iced_x86::FlowControl::*;
    !matches!(insn.flow_control(), Next | ConditionalBranch)
}

/// False for instructions whose host code does more to scratch registers than is kept account of.
fn keeps_scratch(insn: &Instruction) -> bool {
    use Mnemonic::*;
    let mnemonic = insn.mnemonic();
    !insn.is_string_instruction()
        && !matches!(mnemonic, Div | Idiv | Bsf | Bsr | Cli | Sti | Pushfq | Swapgs | Rdtsc | Jmp | Call | Ret)
}
