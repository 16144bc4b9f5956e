//! Hashes of many pages, on all processors.

use machine::page_hashes::PageHash;

/// Threads at most.
const MOST_THREADS: usize = 4;
/// So many pages are worth a thread of their own to hash them.
const PAGES_A_THREAD: usize = 512;

/// The hashes of `pages`, in their order; `hash` makes those of some in a row.
pub fn in_parallel(pages: &[u64], hash: impl Fn(&[u64]) -> Vec<PageHash> + Sync) -> Vec<PageHash> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let part = pages.len().div_ceil(threads).max(PAGES_A_THREAD);
    let hash = &hash;
    std::thread::scope(|scope| {
        let mut parts = pages.chunks(part);
        let first = parts.next().unwrap_or_default();
        let others: Vec<_> = parts.map(|pages| scope.spawn(move || hash(pages))).collect();
        let mut all = hash(first);
        for other in others {
            match other.join() {
                Ok(hashes) => all.extend(hashes),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
