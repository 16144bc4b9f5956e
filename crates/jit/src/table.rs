//! The table of blocks by name, and how often names that are not in it were asked for.

/// Places; a power of two.
const PLACES: usize = 1 << 18;
/// Names entered at most before the table must be cleared.
const MAX_ENTERED: usize = PLACES / 2;
/// Counters of names; names may share one, which only makes them look hotter.
const HEATS: usize = 1 << 16;

/// In place of a name that was taken out.
const REMOVED: u64 = u64::MAX;

/// See the module's text.
pub struct Table {
    /// Name and value; names are not 0.
    places: Vec<(u64, u32)>,
    heat: Vec<u8>,
    entered: usize,
}

const fn hash(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

impl Table {
    /// Empty.
    pub fn new() -> Table {
        Table { places: vec![(0, 0); PLACES], heat: vec![0; HEATS], entered: 0 }
    }

    /// Takes everything out; what was hot stays hot.
    pub fn clear(&mut self) {
        self.places.fill((0, 0));
        self.entered = 0;
    }

    /// True if nothing more can be entered.
    pub fn is_full(&self) -> bool {
        self.entered >= MAX_ENTERED
    }

    fn place(&self, key: u64) -> Option<usize> {
        let mut i = hash(key) % PLACES;
        while self.places[i].0 != 0 {
            if self.places[i].0 == key {
                return Some(i);
            }
            i = (i + 1) % PLACES;
        }
        None
    }

    /// The value of a name.
    pub fn get(&self, key: u64) -> Option<u32> {
        self.place(key).map(|i| self.places[i].1)
    }

    /// Enters a name that is not there.
    pub fn enter(&mut self, key: u64, value: u32) {
        assert!(!self.is_full(), "ask first");
        let mut i = hash(key) % PLACES;
        while self.places[i].0 != 0 {
            i = (i + 1) % PLACES;
        }
        self.places[i] = (key, value);
        self.entered += 1;
    }

    /// Takes a name out.
    pub fn remove(&mut self, key: u64) {
        if let Some(i) = self.place(key) {
            self.places[i].0 = REMOVED;
        }
    }

    /// Counts that a name was asked for; returns how often that was so before.
    pub fn ask(&mut self, key: u64) -> u8 {
        let heat = &mut self.heat[hash(key) % HEATS];
        let before = *heat;
        *heat = heat.saturating_add(1);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_until_they_are_removed() {
        let mut table = Table::new();
        for key in 1..5000u64 {
            table.enter(key << 6, key as u32);
        }
        for key in (1..5000u64).step_by(2) {
            table.remove(key << 6);
        }
        for key in 1..5000u64 {
            assert_eq!(table.get(key << 6), (key % 2 == 0).then_some(key as u32));
        }
        table.clear();
        assert_eq!(table.get(64), None);
    }
}
