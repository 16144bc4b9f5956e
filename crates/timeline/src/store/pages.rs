//! The pages of a store by their content.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::pack_file::{MAX_PAGES, PackFile};
use super::{Collected, StoreError, files, io};
use crate::format::{PAGE_BYTES, PAGES_PER_BLOCK};
use crate::page_map::Page;
use machine::page_hashes::PageHash;

/// All pages.
pub struct PageStore {
    directory: PathBuf,
    packs: Vec<PackFile>,
    /// Number of the pack and of the page in it.
    places: HashMap<PageHash, (usize, usize)>,
    next_name: u64,
}

impl PageStore {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut store =
            PageStore { directory: directory.into(), packs: Vec::new(), places: HashMap::new(), next_name: 0 };
        for path in files(directory)? {
            if path.extension().is_some_and(|extension| extension == "pack") {
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
                store.next_name = store.next_name.max(number.map_or(0, |number| number.saturating_add(1)));
                store.add_pack(PackFile::open(&path)?);
            }
        }
        Ok(store)
    }

    fn add_pack(&mut self, pack: PackFile) {
        let number = self.packs.len();
        for (page, hash) in pack.hashes.iter().enumerate() {
            self.places.entry(*hash).or_insert((number, page));
        }
        self.packs.push(pack);
    }

    /// Adds pages.
    pub(super) fn writer(&mut self) -> PageWriter<'_> {
        PageWriter { store: self, hashes: Vec::new(), bytes: Vec::new(), waiting: HashMap::new() }
    }

    /// Gives each of `pages` (index and content) to `take`, in any order.
    pub(super) fn read(
        &self,
        pages: &[(u64, PageHash)],
        mut take: impl FnMut(u64, &Page) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let missing = || StoreError::Damaged { path: self.directory.display().to_string(), what: "a page is missing" };
        let mut wanted = Vec::with_capacity(pages.len());
        for (index, hash) in pages {
            let (pack, page) = *self.places.get(hash).ok_or_else(missing)?;
            wanted.push((pack, page, *index));
        }
        wanted.sort_unstable();
        let mut current: Option<((usize, usize), Vec<u8>)> = None;
        for (pack, page, index) in wanted {
            let block = (pack, page / PAGES_PER_BLOCK);
            let bytes = match current.take() {
                Some((at, bytes)) if at == block => bytes,
                _ => self.packs[pack].block(block.1)?,
            };
            let start = page % PAGES_PER_BLOCK * PAGE_BYTES;
            take(index, bytes.get(start..).and_then(|rest| rest.first_chunk()).ok_or_else(missing)?)?;
            current = Some((block, bytes));
        }
        Ok(())
    }

    /// Removes all pages but `used` (sorted): packs with others are written anew without them.
    pub(super) fn collect(&mut self, used: &[PageHash]) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        let is_used = |hash: &PageHash| used.binary_search(hash).is_ok();
        let packs = std::mem::take(&mut self.packs);
        let (mut kept, mut old) = (Vec::new(), Vec::new());
        for (number, pack) in packs.into_iter().enumerate() {
            let wanted = pack.hashes.iter().enumerate();
            let wanted =
                wanted.filter(|(page, hash)| is_used(hash) && self.places.get(*hash) == Some(&(number, *page)));
            if wanted.count() == pack.hashes.len() { kept.push(pack) } else { old.push(pack) }
        }
        self.places.clear();
        for pack in kept {
            self.add_pack(pack);
        }
        for pack in old {
            let before = fs::metadata(&pack.path).map_err(io("read", &pack.path))?.len();
            let after = self.copy_used(&pack, is_used, &mut collected)?;
            fs::remove_file(&pack.path).map_err(io("remove", &pack.path))?;
            collected.bytes += before.saturating_sub(after);
        }
        Ok(collected)
    }

    /// Copies the pages of `pack` that are used and not here yet; gives the bytes written.
    fn copy_used(
        &mut self,
        pack: &PackFile,
        is_used: impl Fn(&PageHash) -> bool,
        collected: &mut Collected,
    ) -> Result<u64, StoreError> {
        let first = self.packs.len();
        let mut writer = self.writer();
        for (number, hashes) in pack.hashes.chunks(PAGES_PER_BLOCK).enumerate() {
            if !hashes.iter().any(&is_used) {
                collected.pages += hashes.len() as u64;
                continue;
            }
            let bytes = pack.block(number)?;
            for (hash, page) in hashes.iter().zip(bytes.as_chunks::<PAGE_BYTES>().0) {
                if is_used(hash) { writer.add(*hash, page)? } else { collected.pages += 1 }
            }
        }
        writer.finish()?;
        let mut bytes = 0;
        for pack in &self.packs[first..] {
            bytes += fs::metadata(&pack.path).map_err(io("read", &pack.path))?.len();
        }
        Ok(bytes)
    }
}

/// Pages on their way into a store.
pub(super) struct PageWriter<'a> {
    store: &'a mut PageStore,
    hashes: Vec<PageHash>,
    bytes: Vec<u8>,
    waiting: HashMap<PageHash, ()>,
}

impl PageWriter<'_> {
    /// Adds a page, if its content is new.
    pub(super) fn add(&mut self, hash: PageHash, page: &Page) -> Result<(), StoreError> {
        if self.store.places.contains_key(&hash) || self.waiting.insert(hash, ()).is_some() {
            return Ok(());
        }
        self.hashes.push(hash);
        self.bytes.extend_from_slice(page);
        if self.hashes.len() >= MAX_PAGES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let path = self.store.directory.join(format!("{:08}.pack", self.store.next_name));
        self.store.next_name += 1;
        PackFile::write(&path, &self.hashes, &self.bytes)?;
        self.hashes.clear();
        self.bytes.clear();
        self.waiting.clear();
        self.store.add_pack(PackFile::open(&path)?);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.write()
    }
}
