//! Which checkpoints stay.

use std::collections::HashMap;

use super::Saved;
use crate::format::records::CheckpointKind;

/// What a thinning does to the checkpoints of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each checkpoint: whether it stays.
    pub stays: Vec<bool>,
    /// The checkpoints that stay, with all that changed since the one before that stays.
    pub saved: Vec<Saved>,
    /// Steps that checkpoints should stand apart from now on.
    pub interval: u64,
}

/// What is to be thinned out, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a page in the file, about.
    pub page_bytes: u64,
    /// Bytes of a checkpoint without its pages, about.
    pub state_bytes: u64,
    /// Bytes that checkpoints and pages behind the initial state should have at most afterwards.
    pub wanted_bytes: u64,
    /// Bytes above which it is not worth doing.
    pub most_bytes: u64,
}

/// Chooses from all checkpoints of a file, of which the first is the initial state; `None`: nothing helps.
///
/// The last one always stays, since later ones build on it.
pub fn choose(saved: &[Saved], limits: Limits) -> Option<Plan> {
    let gaps = saved.windows(2).map(|pair| pair[1].insns.saturating_sub(pair[0].insns));
    let mut interval = gaps.min()?.max(1);
    let length = saved.last()?.insns.saturating_sub(saved.first()?.insns);
    loop {
        // Steps of a quarter: a run whose checkpoints stand not quite evenly loses half of them soon after the double.
        interval = interval.saturating_add((interval / 4).max(1));
        let stays = thin(saved, interval);
        let bytes = bytes_of(saved, &stays, limits);
        let is_last = interval > length;
        if bytes <= limits.wanted_bytes || (is_last && bytes <= limits.most_bytes) {
            let saved = merge(saved, &stays);
            return Some(Plan { stays, saved, interval });
        }
        if is_last {
            return None;
        }
    }
}

/// Drops each checkpoint without which its neighbours are still at most `interval` apart.
fn thin(saved: &[Saved], interval: u64) -> Vec<bool> {
    let mut before = saved.first().map_or(0, |first| first.insns);
    let mut stays = vec![true; saved.len()];
    for i in 1..saved.len().saturating_sub(1) {
        let gap = saved[i + 1].insns.saturating_sub(before);
        if saved[i].kind == CheckpointKind::Seek && gap <= interval {
            stays[i] = false;
        } else {
            before = saved[i].insns;
        }
    }
    stays
}

/// About the bytes behind the initial state.
fn bytes_of(saved: &[Saved], stays: &[bool], limits: Limits) -> u64 {
    // A content goes if its page changes again before the next checkpoint that stays.
    let mut last_change: HashMap<u64, usize> = HashMap::new();
    let (mut pages, mut group) = (0_u64, 0);
    for (i, checkpoint) in saved.iter().enumerate() {
        for &(page, number) in &checkpoint.changes {
            let is_counted = i > 0 && number != 0;
            if last_change.insert(page, group) != Some(group) {
                pages += u64::from(is_counted);
            }
        }
        group += usize::from(stays[i]);
    }
    let states = stays.iter().skip(1).filter(|stays| **stays).count() as u64;
    pages.saturating_mul(limits.page_bytes).saturating_add(states.saturating_mul(limits.state_bytes))
}

/// The checkpoints that stay, each with the changes of those that go before it.
fn merge(saved: &[Saved], stays: &[bool]) -> Vec<Saved> {
    let mut merged: Vec<Saved> = Vec::new();
    let mut changes: Vec<(u64, u64)> = Vec::new();
    for (checkpoint, &stays) in saved.iter().zip(stays) {
        changes.extend(&checkpoint.changes);
        if stays {
            // The sort is stable, so the latest change of a page is the last of its run.
            changes.sort_by_key(|(page, _)| *page);
            let ends = changes.chunk_by(|a, b| a.0 == b.0).filter_map(|run| run.last().copied());
            merged.push(Saved { changes: ends.collect(), ..*checkpoint });
            changes.clear();
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 1000;

    fn limits(wanted_bytes: u64) -> Limits {
        Limits { page_bytes: PAGE, state_bytes: 100, wanted_bytes, most_bytes: wanted_bytes * 3 / 2 }
    }

    /// An initial state with pages 0 to 9, then checkpoints that change page 0 and a page of their own.
    fn run(gaps: impl IntoIterator<Item = u64>) -> Vec<Saved> {
        let start =
            Saved { insns: 0, kind: CheckpointKind::Initial, changes: (0..10).map(|page| (page, page + 1)).collect() };
        let mut saved = vec![start];
        for (i, gap) in (1..).zip(gaps) {
            let insns = saved[i as usize - 1].insns + gap;
            let changes = vec![(0, 100 + 2 * i), (1 + i % 9, 101 + 2 * i)];
            saved.push(Saved { insns, kind: CheckpointKind::Seek, changes });
        }
        saved
    }

    fn widest(saved: &[Saved]) -> u64 {
        saved.windows(2).map(|pair| pair[1].insns - pair[0].insns).max().unwrap_or(0)
    }

    #[test]
    fn every_second_goes_and_its_changes_go_to_the_next() {
        let saved = run([10; 8]);
        let plan = choose(&saved, limits(13 * PAGE)).expect("it can be thinned");
        assert_eq!(plan.stays, [true, false, true, false, true, false, true, false, true]);
        assert_eq!(plan.saved[1].changes, [(0, 104), (2, 103), (3, 105)]);
        assert_eq!(plan.saved[1].insns, 20);
        assert!((20..26).contains(&plan.interval), "{}", plan.interval);
    }

    #[test]
    fn uneven_checkpoints_become_even() {
        let saved = run((0..400).map(|i| 10 + i * 7 % 13));
        let plan = choose(&saved, limits(300 * PAGE)).expect("it can be thinned");
        let length = saved.last().map_or(0, |last| last.insns);
        let mean = length / (plan.saved.len() as u64 - 1);
        assert!(widest(&plan.saved) <= 2 * mean, "{} against {mean}", widest(&plan.saved));
        assert!(widest(&plan.saved) <= plan.interval);
    }

    #[test]
    fn restarts_stay_and_so_does_the_last() {
        let mut saved = run([10; 40]);
        saved[7].kind = CheckpointKind::Restart;
        let plan = choose(&saved, limits(30 * PAGE)).expect("it can be thinned");
        assert!(plan.stays[0] && plan.stays[7] && plan.stays[40]);
        assert!(plan.saved.len() < 20);
    }

    #[test]
    fn a_state_larger_than_the_budget_is_left_alone() {
        let mut saved = run([10; 8]);
        saved[8].changes.extend((10..100).map(|page| (page, 1000 + page)));
        assert_eq!(choose(&saved, limits(50 * PAGE)), None);
        assert_eq!(choose(&saved[..1], limits(50 * PAGE)), None);
    }
}
