//! The few statistics that figures are made of.

/// The smallest of the values that at least `percent` of them do not exceed (nearest rank). With 50 it is the median: of an
/// even number of values the lower of the two in the middle.
///
/// # Panics
/// If there is none.
pub fn percentile(values: impl IntoIterator<Item = f64>, percent: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// The geometric mean, which is what ratios have.
///
/// # Panics
/// If there is no value.
pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    assert!(!values.is_empty(), "nothing was measured");
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// Positions that look random and are the same each time (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// A number below `limit`, which must not be zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_outliers() {
        assert_eq!(percentile([900.0, 1.0, 5.0], 50.0), 5.0);
        assert_eq!(percentile([4.0, 2.0], 50.0), 2.0);
        assert_eq!(percentile([7.0], 50.0), 7.0);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = || (1..=20).rev().map(f64::from);
        assert_eq!(percentile(values(), 95.0), 19.0);
        assert_eq!(percentile(values(), 100.0), 20.0);
        assert_eq!(percentile(values(), 0.0), 1.0);
        assert_eq!(percentile([3.0, 1.0], 95.0), 3.0);
    }

    #[test]
    fn the_mean_of_ratios_does_not_depend_on_which_way_round_they_are() {
        let there = geometric_mean([2.0, 8.0]);
        let back = geometric_mean([1.0 / 2.0, 1.0 / 8.0]);
        assert!((there - 4.0).abs() < 1e-12 && (there * back - 1.0).abs() < 1e-12);
    }

    #[test]
    fn positions_repeat_and_stay_below_their_limit() {
        let drawn = |seed| {
            let mut random = Seeded(seed);
            (0..100).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!((0..10).all(|value| drawn(1).contains(&value)));
    }
}
