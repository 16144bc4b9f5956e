//! The lists of pages that checkpoints change, without the states: what tells RAM at a checkpoint from little of the file.
//!
//! A block is for [`STEP`] checkpoints that follow each other, or fewer at the end. It has the sum of all changes before them, and
//! the list of each. The blocks are written when a recording ends, and the index says for which checkpoints each is.

use prost::Message;

use super::records::ChangesRecord;

/// Checkpoints to a block: more make its lists longer to read, fewer make the sums be written more often.
pub const STEP: usize = 32;

/// What changed up to some checkpoints.
#[derive(Clone, PartialEq, Message)]
pub struct ListsRecord {
    /// All pages that were changed before the first of these checkpoints, by those before it, and their contents then.
    #[prost(message, optional, tag = "1")]
    pub before: Option<ChangesRecord>,
    /// The changes of each checkpoint.
    #[prost(message, repeated, tag = "2")]
    pub lists: Vec<ChangesRecord>,
}

/// The blocks for checkpoints with these changes (page and number of the content, pages ascending), one after the other.
pub fn blocks<'a>(changes: impl IntoIterator<Item = &'a [(u64, u64)]>) -> Vec<ListsRecord> {
    let mut sum: Vec<Option<u64>> = Vec::new();
    let mut blocks: Vec<ListsRecord> = Vec::new();
    for (number, changes) in changes.into_iter().enumerate() {
        if number.is_multiple_of(STEP) {
            let all = sum.iter().enumerate();
            let before = all.filter_map(|(page, content)| content.map(|content| (page as u64, content)));
            blocks.push(ListsRecord { before: Some(ChangesRecord::new(before)), lists: Vec::new() });
        }
        if let Some(block) = blocks.last_mut() {
            block.lists.push(ChangesRecord::new(changes.iter().copied()));
        }
        let pages = changes.last().map_or(0, |(page, _)| *page as usize + 1);
        sum.resize(sum.len().max(pages), None);
        for &(page, content) in changes {
            sum[page as usize] = Some(content);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_what_came_before_it_and_each_list() {
        let changes: Vec<Vec<(u64, u64)>> =
            (0..STEP as u64 + 2).map(|number| vec![(number % 3, number + 1), (100 + number, 0)]).collect();
        let blocks = blocks(changes.iter().map(Vec::as_slice));
        assert_eq!(blocks.iter().map(|block| block.lists.len()).collect::<Vec<_>>(), [STEP, 2]);
        let read = |record: &ChangesRecord| record.changes().unwrap().collect::<Vec<_>>();
        assert!(read(blocks[0].before.as_ref().unwrap()).is_empty());
        let before = read(blocks[1].before.as_ref().unwrap());
        assert_eq!(before[..3], [(0, 31), (1, 32), (2, 30)], "the last content of each");
        assert_eq!((before.len(), before[3], before[34]), (3 + STEP, (100, 0), (131, 0)));
        let lists = blocks.iter().flat_map(|block| block.lists.iter().map(read));
        assert!(lists.eq(changes));
    }
}
