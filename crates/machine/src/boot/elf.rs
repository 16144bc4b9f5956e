//! ELF kernels, 32- and 64-bit: reading the program headers and putting the segments into RAM.
//!
//! Source: System V ABI, chapters 4 and 5. Segments go to their physical addresses; sections are not looked at.

use x86::GuestPhysAddr;

use super::bytes::KernelFile;
use super::placement::Placement;
use super::{BootError, GuestRamWriter};

const FORMAT: &str = "an ELF kernel";
const FILE_HEADER: &str = "ELF header";
const PROGRAM_HEADERS: &str = "program headers";
const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const DATA_LITTLE_ENDIAN: u8 = 1;
/// `e_machine` of 32-bit x86.
const MACHINE_386: u16 = 3;
/// `e_machine` of x86-64.
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
/// Kernels have a handful of segments; the bound keeps a hostile file from costing time.
const MAX_SEGMENTS: u16 = 256;

/// A program header, its fields made 64 bits wide.
pub(super) struct Segment {
    kind: u32,
    flags: u32,
    file_offset: u64,
    virtual_start: u64,
    physical_start: u64,
    file_len: u64,
    memory_len: u64,
}

/// What the loaders need of an ELF file.
pub(super) struct Elf<'a> {
    kernel: KernelFile<'a>,
    /// True for x86-64 code (whatever the class of the file).
    pub is_x86_64: bool,
    entry: u64,
    segments: Vec<Segment>,
}

/// True if the file begins as ELF files do.
pub(super) fn recognises(kernel: &KernelFile) -> bool {
    kernel.bytes.starts_with(b"\x7fELF")
}

impl<'a> Elf<'a> {
    /// Reads file header and program headers.
    pub fn read(kernel: KernelFile<'a>) -> Result<Self, BootError> {
        let is_64 = match (kernel.u8(4, FILE_HEADER)?, kernel.u8(5, FILE_HEADER)?) {
            (CLASS_32, DATA_LITTLE_ENDIAN) => false,
            (CLASS_64, DATA_LITTLE_ENDIAN) => true,
            _ => return Err(kernel.bad(FORMAT, "it is not little-endian; give a kernel built for x86")),
        };
        let machine = kernel.u16(18, FILE_HEADER)?;
        if machine != MACHINE_386 && machine != MACHINE_X86_64 {
            let problem = format!("it is for another processor (ELF machine {machine}); give a kernel built for x86");
            return Err(kernel.bad(FORMAT, problem));
        }
        let (entry, table) = if is_64 {
            (kernel.u64(24, FILE_HEADER)?, kernel.u64(32, FILE_HEADER)?)
        } else {
            (kernel.u32(24, FILE_HEADER)?.into(), kernel.u32(28, FILE_HEADER)?.into())
        };
        let counts_at = if is_64 { 54 } else { 42 };
        let entry_len = u64::from(kernel.u16(counts_at, FILE_HEADER)?);
        let count = kernel.u16(counts_at + 2, FILE_HEADER)?;
        if count > MAX_SEGMENTS {
            return Err(
                kernel.bad(FORMAT, format!("it has {count} segments, but {MAX_SEGMENTS} is the most supported"))
            );
        }
        let at = |i: u16| table.saturating_add(u64::from(i) * entry_len);
        let read = if is_64 { Segment::read_64 } else { Segment::read_32 };
        let segments = (0..count).map(|i| read(&kernel, at(i))).collect::<Result<_, _>>()?;
        Ok(Self { kernel, is_x86_64: machine == MACHINE_X86_64, entry, segments })
    }

    /// Puts all segments into RAM and zeroes what the file does not fill of them.
    pub fn load(&self, ram: &mut dyn GuestRamWriter, placement: &mut Placement) -> Result<(), BootError> {
        if self.segments.iter().any(|segment| segment.kind == PT_INTERP) {
            return Err(self.kernel.bad(FORMAT, "it is a program that wants a dynamic linker; give a kernel"));
        }
        let mut is_empty = true;
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_LOAD && segment.memory_len > 0) {
            segment.load(&self.kernel, ram, placement)?;
            is_empty = false;
        }
        if is_empty {
            return Err(self.kernel.bad(FORMAT, "it has nothing to load; give a linked kernel, not an object file"));
        }
        Ok(())
    }

    /// The physical address of the entry point.
    ///
    /// Kernels linked to high virtual addresses have either of the two in the header; it is virtual if it lies
    /// in the virtual range of a segment with code.
    pub fn physical_entry(&self) -> u64 {
        self.segments
            .iter()
            .filter(|segment| segment.kind == PT_LOAD && segment.flags & PF_X != 0)
            .find_map(|segment| {
                let offset = self.entry.checked_sub(segment.virtual_start)?;
                (offset < segment.memory_len).then(|| segment.physical_start.wrapping_add(offset))
            })
            .unwrap_or(self.entry)
    }

    /// The content of the first note of `kind` by `owner` (its NUL included).
    pub fn note(&self, owner: &[u8], kind: u32) -> Result<Option<&'a [u8]>, BootError> {
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_NOTE) {
            let notes = self.kernel.slice(segment.file_offset, segment.file_len, "notes")?;
            let notes = KernelFile { bytes: notes, ..self.kernel };
            if let Some(content) = find_note(&notes, owner, kind)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}

/// Notes are three words (length of the name, length of the content, kind), name and content, each filled up to
/// four bytes.
fn find_note<'a>(notes: &KernelFile<'a>, owner: &[u8], kind: u32) -> Result<Option<&'a [u8]>, BootError> {
    const NOTE: &str = "notes";
    let mut at = 0;
    while at + 12 <= notes.bytes.len() as u64 {
        let name_len = u64::from(notes.u32(at, NOTE)?);
        let content_len = u64::from(notes.u32(at + 4, NOTE)?);
        let content_at = at + 12 + name_len.next_multiple_of(4);
        if notes.u32(at + 8, NOTE)? == kind && notes.slice(at + 12, name_len, NOTE)? == owner {
            return notes.slice(content_at, content_len, NOTE).map(Some);
        }
        at = content_at + content_len.next_multiple_of(4);
    }
    Ok(None)
}

impl Segment {
    fn read_32(kernel: &KernelFile, at: u64) -> Result<Self, BootError> {
        let raw = KernelFile { bytes: kernel.slice(at, 32, PROGRAM_HEADERS)?, ..*kernel };
        let field = |offset| raw.u32(offset, PROGRAM_HEADERS);
        Ok(Self {
            kind: field(0)?,
            flags: field(24)?,
            file_offset: field(4)?.into(),
            virtual_start: field(8)?.into(),
            physical_start: field(12)?.into(),
            file_len: field(16)?.into(),
            memory_len: field(20)?.into(),
        })
    }

    fn read_64(kernel: &KernelFile, at: u64) -> Result<Self, BootError> {
        let raw = KernelFile { bytes: kernel.slice(at, 56, PROGRAM_HEADERS)?, ..*kernel };
        let field = |offset| raw.u64(offset, PROGRAM_HEADERS);
        Ok(Self {
            kind: raw.u32(0, PROGRAM_HEADERS)?,
            flags: raw.u32(4, PROGRAM_HEADERS)?,
            file_offset: field(8)?,
            virtual_start: field(16)?,
            physical_start: field(24)?,
            file_len: field(32)?,
            memory_len: field(40)?,
        })
    }

    fn load(
        &self,
        kernel: &KernelFile,
        ram: &mut dyn GuestRamWriter,
        placement: &mut Placement,
    ) -> Result<(), BootError> {
        const WHAT: &str = "segment";
        let Some(zeros) = self.memory_len.checked_sub(self.file_len) else {
            return Err(
                kernel.bad(FORMAT, "one of its segments is longer in the file than in memory; the file is damaged")
            );
        };
        let content = kernel.slice(self.file_offset, self.file_len, WHAT)?;
        if !placement.take(self.physical_start, self.memory_len) {
            return Err(BootError::NotRam {
                kernel: kernel.path.into(),
                what: WHAT,
                start: self.physical_start,
                end: self.physical_start.saturating_add(self.memory_len),
            });
        }
        ram.write(GuestPhysAddr(self.physical_start), content)?;
        ram.zero(GuestPhysAddr(self.physical_start + self.file_len), zeros)
    }
}
