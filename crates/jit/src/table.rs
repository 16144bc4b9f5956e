//! The table of blocks by name, and how often names that are not in it were asked for.

/// Counters of names; names may share one, which only makes them look hotter.
const HEATS: usize = 1 << 16;

/// Places at first. A table that is nearly empty should not be spread over much memory: a program that runs
/// for a tenth of a second would spend a tenth of that on getting it from the host.
const FIRST_PLACES: usize = 1 << 12;

/// In place of a name that was taken out.
const REMOVED: u64 = u64::MAX;

/// See the module's text.
pub struct Table {
    /// Name and value; names are not 0. A power of two of them, at least twice as many as are entered.
    places: Vec<(u64, u32)>,
    heat: Vec<u8>,
    entered: usize,
    /// Names entered at most before the table must be cleared.
    most: usize,
}

/// A number for a name, of which any low bits can be used.
pub const fn hash(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

impl Table {
    /// Empty, for `most` names (at least 1).
    pub fn new(most: usize) -> Table {
        Table { places: vec![(0, 0); FIRST_PLACES], heat: vec![0; HEATS], entered: 0, most: most.max(1) }
    }

    /// Takes everything out; what was hot stays hot.
    pub fn clear(&mut self) {
        self.places.fill((0, 0));
        self.entered = 0;
    }

    /// True if nothing more can be entered.
    pub fn is_full(&self) -> bool {
        self.entered >= self.most
    }

    fn place(&self, key: u64) -> Option<usize> {
        let mask = self.places.len() - 1;
        let mut i = hash(key) & mask;
        while self.places[i].0 != 0 {
            if self.places[i].0 == key {
                return Some(i);
            }
            i = (i + 1) & mask;
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
        if 2 * self.entered >= self.places.len() {
            self.grow();
        }
        self.put(key, value);
        self.entered += 1;
    }

    fn put(&mut self, key: u64, value: u32) {
        let mask = self.places.len() - 1;
        let mut i = hash(key) & mask;
        while self.places[i].0 != 0 {
            i = (i + 1) & mask;
        }
        self.places[i] = (key, value);
    }

    fn grow(&mut self) {
        let places = vec![(0, 0); 2 * self.places.len()];
        for (key, value) in std::mem::replace(&mut self.places, places) {
            if key != 0 && key != REMOVED {
                self.put(key, value);
            }
        }
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
        let mut table = Table::new(5000);
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
