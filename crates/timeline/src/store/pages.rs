//! The pages of a store by their content, over all its files of pages.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Collected;
use super::error::{StoreError, damaged};
use super::files::{files_with, len_bytes, remove};
use super::pack_file::{Contents, HEAD_BYTES, MAX_PAGES, PackFile};
use crate::format::PAGE_BYTES;
use crate::page_map::Page;
use machine::page_hashes::{self, PageHash};

/// Pages that one thread reads at a time.
const PAGES_AT_ONCE: usize = 512;
/// Stored bytes between two wanted pages that are read rather than sought over.
const GAP_BYTES: u64 = 16 << 10;
/// How often the directory is read again if another process changes it meanwhile.
const ATTEMPTS: u32 = 8;

/// Where a page is: number of the file, and of the page in it.
type Place = (u32, u32);

/// All pages.
pub(super) struct PageStore {
    directory: PathBuf,
    packs: Vec<PackFile>,
    places: HashMap<PageHash, Place>,
    /// Files of pages whose list cannot be read, and how they are damaged.
    damaged: Vec<(String, &'static str)>,
}

/// A page that is wanted: where it is, and its index in RAM.
type Wanted = (Place, u64);

/// Takes a run of pages: index of the first, and bytes.
pub(super) type TakeRun<'a> = dyn Fn(u64, &[u8]) -> Result<(), StoreError> + Sync + 'a;

impl PageStore {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut store =
            PageStore { directory: directory.into(), packs: Vec::new(), places: HashMap::new(), damaged: Vec::new() };
        store.refresh()?;
        Ok(store)
    }

    /// Takes over what other processes changed.
    pub(super) fn refresh(&mut self) -> Result<(), StoreError> {
        for attempt in 1.. {
            match self.read_directory() {
                // A file went away between the look at the directory and the look at it.
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {}
                result => return result,
            }
        }
        Ok(())
    }

    fn read_directory(&mut self) -> Result<(), StoreError> {
        let paths = files_with(&self.directory, "pack")?;
        if self.packs.iter().map(|pack| &pack.path).eq(&paths) {
            return Ok(());
        }
        let mut known: HashMap<PathBuf, PackFile> =
            self.packs.drain(..).map(|pack| (pack.path.clone(), pack)).collect();
        self.places.clear();
        self.damaged.clear();
        for path in paths {
            // A name belongs to one content, so a file that is open is the same as before.
            match known.remove(&path).map_or_else(|| PackFile::open(&path), Ok) {
                Ok(pack) => self.add_pack(pack),
                // Its pages are missing. Whoever needs one says so; written again, they get a new file.
                Err(StoreError::Damaged { path, what }) => self.damaged.push((path, what)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn add_pack(&mut self, pack: PackFile) {
        let number = self.packs.len() as u32;
        self.places.reserve(pack.entries.len());
        for (slot, entry) in pack.entries.iter().enumerate() {
            self.places.entry(entry.hash).or_insert((number, slot as u32));
        }
        self.packs.push(pack);
    }

    pub(super) fn has(&self, hash: &PageHash) -> bool {
        self.places.contains_key(hash)
    }

    /// Bytes that the pages among `hashes`, each named once, take; and whole files, if they leave none in them.
    /// All other pages are in use.
    pub(super) fn bytes_of<'a>(&self, hashes: impl Iterator<Item = &'a PageHash>) -> u64 {
        let mut pages_of_pack: HashMap<u32, usize> = HashMap::new();
        let mut bytes = 0;
        for (pack, slot) in hashes.filter_map(|hash| self.places.get(hash)) {
            bytes += self.packs[*pack as usize].page_bytes(*slot as usize);
            *pages_of_pack.entry(*pack).or_default() += 1;
        }
        let emptied = pages_of_pack.iter().filter(|(pack, pages)| self.packs[**pack as usize].entries.len() == **pages);
        bytes + emptied.count() as u64 * HEAD_BYTES
    }

    /// A page is not there.
    pub(super) fn missing(&self) -> StoreError {
        let (path, what) = match self.damaged.first() {
            Some((path, what)) => (path.clone(), *what),
            None => (self.directory.display().to_string(), "a page is missing"),
        };
        StoreError::Damaged { path, what }
    }

    fn wanted(&self, pages: &[(u64, PageHash)]) -> Result<Vec<Wanted>, StoreError> {
        let place = |(index, hash): &(u64, PageHash)| Some((*self.places.get(hash)?, *index));
        let mut wanted: Vec<Wanted> = pages.iter().map(place).collect::<Option<_>>().ok_or_else(|| self.missing())?;
        wanted.sort_unstable();
        Ok(wanted)
    }

    /// Reads each of `pages` (index and content), compares its content with its hash, and gives those that are not as they
    /// should be to `report`.
    pub(super) fn check(&self, pages: &[(u64, PageHash)], report: &mut dyn FnMut(u64, &StoreError)) {
        let mut wanted: Vec<(Option<Place>, u64, PageHash)> =
            pages.iter().map(|(index, hash)| (self.places.get(hash).copied(), *index, *hash)).collect();
        wanted.sort_unstable();
        for copies in wanted.chunk_by(|one, other| one.0 == other.0) {
            let (place, _, hash) = copies[0];
            let error = match place {
                Some(place) => self.check_page(place, &hash).err(),
                None => Some(self.missing()),
            };
            let Some(error) = error else { continue };
            copies.iter().for_each(|(_, index, _)| report(*index, &error));
        }
    }

    fn check_page(&self, (pack, slot): Place, hash: &PageHash) -> Result<(), StoreError> {
        let pack = &self.packs[pack as usize];
        let mut page = [0; PAGE_BYTES];
        pack.stored(slot as usize, slot as usize, |_, stored| pack.unpack(stored, &mut page))?;
        if page_hashes::hash(&page) == *hash {
            Ok(())
        } else {
            Err(damaged(&pack.path, "a page is not the one that its hash is of"))
        }
    }

    /// Gives each of `pages` (index and content) to `take`, in any order.
    pub(super) fn read<E: From<StoreError>>(
        &self,
        pages: &[(u64, PageHash)],
        mut take: impl FnMut(u64, &Page) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut run = Vec::new();
        for part in self.wanted(pages)?.chunks(PAGES_AT_ONCE) {
            let mut rest = part;
            while !rest.is_empty() {
                let (first, count) = self.read_run(rest, &mut run)?;
                for (i, page) in run.as_chunks::<PAGE_BYTES>().0.iter().enumerate() {
                    take(first + i as u64, page)?;
                }
                rest = &rest[count..];
            }
        }
        Ok(())
    }

    /// Gives runs of pages (index of the first, and bytes) to `take`, on several threads.
    pub(super) fn read_parallel(&self, pages: &[(u64, PageHash)], take: &TakeRun<'_>) -> Result<(), StoreError> {
        let wanted = self.wanted(pages)?;
        let parts: Vec<&[Wanted]> = wanted.chunks(PAGES_AT_ONCE).collect();
        let next = AtomicUsize::new(0);
        let result = Mutex::new(Ok(()));
        let work = || {
            let mut run = Vec::new();
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.read_part(part, &mut run, take) {
                    next.fetch_max(parts.len(), Ordering::Relaxed);
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(parts.len());
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_part(&self, mut part: &[Wanted], run: &mut Vec<u8>, take: &TakeRun<'_>) -> Result<(), StoreError> {
        while !part.is_empty() {
            let (first, count) = self.read_run(part, run)?;
            take(first, run)?;
            part = &part[count..];
        }
        Ok(())
    }

    /// Reads the pages at the beginning of `wanted` that follow each other in RAM and are the same, or lie near each other
    /// in one file; gives the index of the first and how many there are.
    fn read_run(&self, wanted: &[Wanted], run: &mut Vec<u8>) -> Result<(u64, usize), StoreError> {
        let ((pack_number, first_slot), first_index) = wanted[0];
        let pack = &self.packs[pack_number as usize];
        let same = |pair: &[Wanted]| pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1;
        let copies = 1 + wanted.windows(2).take_while(|pair| same(pair)).count();
        if copies > 1 {
            run.clear();
            run.resize(PAGE_BYTES, 0);
            let slot = first_slot as usize;
            pack.stored(slot, slot, |_, stored| pack.unpack(stored, run))?;
            let page = std::mem::take(run);
            *run = page.repeat(copies);
            return Ok((first_index, copies));
        }
        let near = |pair: &[Wanted]| {
            let [((pack_a, slot_a), index_a), ((pack_b, slot_b), index_b)] = pair else { return false };
            let gap = |from: u32, to: u32| pack.offset(to as usize) - pack.offset(from as usize + 1);
            pack_a == pack_b && slot_a < slot_b && index_a + 1 == *index_b && gap(*slot_a, *slot_b) <= GAP_BYTES
        };
        let count = 1 + wanted.windows(2).take_while(|pair| near(pair)).count();
        let last_slot = wanted[count - 1].0.1;
        run.clear();
        run.resize(count * PAGE_BYTES, 0);
        let mut slots = wanted[..count].iter().map(|((_, slot), _)| *slot as usize).zip(run.chunks_mut(PAGE_BYTES));
        let mut next = slots.next();
        pack.stored(first_slot as usize, last_slot as usize, |slot, stored| {
            if let Some((_, page)) = next.take_if(|(wanted, _)| *wanted == slot) {
                pack.unpack(stored, page)?;
                next = slots.next();
            }
            Ok(())
        })?;
        Ok((first_index, count))
    }

    /// Removes all pages but `used`: files with others are written anew without them.
    pub(super) fn collect(&mut self, used: &HashSet<PageHash>) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        let packs = std::mem::take(&mut self.packs);
        let places = std::mem::take(&mut self.places);
        let (mut kept, mut old) = (Vec::new(), Vec::new());
        for (number, pack) in packs.into_iter().enumerate() {
            let here = |slot: usize| (number as u32, slot as u32);
            let slots = pack.entries.iter().enumerate();
            let slots = slots.filter(|(slot, entry)| used.contains(&entry.hash) && places[&entry.hash] == here(*slot));
            let slots: Vec<usize> = slots.map(|(slot, _)| slot).collect();
            if !slots.is_empty() && slots.len() == pack.entries.len() {
                kept.push(pack)
            } else {
                old.push((pack, slots))
            }
        }
        for pack in kept {
            self.add_pack(pack);
        }
        let mut gone = Vec::new();
        for (pack, slots) in old {
            collected.pages += (pack.entries.len() - slots.len()) as u64;
            let mut contents = Contents::default();
            for slot in &slots {
                // As it is: one that is damaged is no reason to keep the others.
                contents.add_stored(pack.entries[*slot], &pack.raw(*slot)?);
            }
            if contents.len() > 0 {
                let pack = contents.write(&self.directory)?;
                collected.bytes_written += pack.offset(pack.entries.len());
                self.add_pack(pack);
            }
            gone.push(pack.path);
        }
        for path in gone {
            // A collection that was killed may have left the very file that was now written again: its name is a hash of what it
            // holds.
            let is_new = self.packs.iter().any(|pack| pack.path == path);
            collected.bytes_removed += if is_new { len_bytes(&path)? } else { remove(&path)? };
        }
        Ok(collected)
    }
}

/// Pages on their way into a store.
#[derive(Default)]
pub(super) struct PageWriter {
    contents: Contents,
    waiting: HashSet<PageHash>,
}

impl PageWriter {
    /// Adds a page, if its content is new.
    pub(super) fn add(&mut self, store: &mut PageStore, hash: PageHash, page: &Page) -> Result<(), StoreError> {
        if store.has(&hash) || !self.waiting.insert(hash) {
            return Ok(());
        }
        self.contents.add(hash, page);
        if self.contents.len() >= MAX_PAGES { self.write(store) } else { Ok(()) }
    }

    /// Whether a page with this content waits.
    pub(super) fn has(&self, hash: &PageHash) -> bool {
        self.waiting.contains(hash)
    }

    /// Writes what waits; if that fails, it can be tried again.
    pub(super) fn write(&mut self, store: &mut PageStore) -> Result<(), StoreError> {
        if self.contents.len() == 0 {
            return Ok(());
        }
        let pack = self.contents.write(&store.directory)?;
        self.contents = Contents::default();
        self.waiting.clear();
        store.add_pack(pack);
        Ok(())
    }
}
