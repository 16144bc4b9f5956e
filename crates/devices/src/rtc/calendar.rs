//! The clock's bytes and the date that they mean: BCD or binary, 12 or 24 hours.

/// The time registers of the chip, in the order of their addresses (see [`super::chip::reg`]), and
/// the century that PC firmware keeps beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeBytes {
    pub second: u8,
    pub minute: u8,
    pub hour: u8,
    /// 1 is Sunday.
    pub weekday: u8,
    pub day: u8,
    pub month: u8,
    pub year: u8,
    pub century: u8,
}

/// How the bytes are written (register B, bits 2 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub binary: bool,
    pub hours_24: bool,
}

/// Bit 7 of the hour byte in 12-hour mode.
const PM: u8 = 0x80;
const SECONDS_PER_DAY: i64 = 86_400;

impl Format {
    /// A number below 100 as a byte.
    pub fn encode(self, value: u8) -> u8 {
        if self.binary { value } else { ((value / 10) << 4) | (value % 10) }
    }

    /// What a byte means. A byte that is not BCD means something, too.
    fn decode(self, byte: u8) -> i64 {
        i64::from(if self.binary { byte } else { (byte >> 4) * 10 + (byte & 0x0f) })
    }

    /// An hour of the day (0 to 23) as a byte.
    pub fn encode_hour(self, hour: u8) -> u8 {
        if self.hours_24 {
            return self.encode(hour);
        }
        let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.encode(twelve) | if hour >= 12 { PM } else { 0 }
    }

    fn decode_hour(self, byte: u8) -> i64 {
        if self.hours_24 {
            return self.decode(byte);
        }
        self.decode(byte & !PM) % 12 + if byte & PM != 0 { 12 } else { 0 }
    }

    /// Seconds since 1970 that the bytes mean; fields out of range carry over into the next.
    pub fn unix_seconds(self, time: &TimeBytes) -> i64 {
        let year = self.decode(time.century) * 100 + self.decode(time.year);
        let month = self.decode(time.month) - 1;
        let days = days_since_1970(year + month.div_euclid(12), month.rem_euclid(12)) + self.decode(time.day) - 1;
        let minutes = (days * 24 + self.decode_hour(time.hour)) * 60 + self.decode(time.minute);
        minutes * 60 + self.decode(time.second)
    }

    /// The bytes for a time; the day of the week is the true one.
    pub fn time_bytes(self, unix_seconds: i64) -> TimeBytes {
        let days = unix_seconds.div_euclid(SECONDS_PER_DAY);
        let second = unix_seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = date_of(days);
        TimeBytes {
            second: self.encode((second % 60) as u8),
            minute: self.encode((second / 60 % 60) as u8),
            hour: self.encode_hour((second / 3600) as u8),
            // 1 January 1970 was a Thursday.
            weekday: self.encode((days + 4).rem_euclid(7) as u8 + 1),
            day: self.encode(day as u8 + 1),
            month: self.encode(month as u8 + 1),
            year: self.encode(year.rem_euclid(100) as u8),
            century: self.encode(year.div_euclid(100).rem_euclid(100) as u8),
        }
    }

    /// The bytes `seconds` later. The day of the week counts on from what it was, as in the chip,
    /// where nothing ties it to the date.
    pub fn later(self, time: &TimeBytes, seconds: u64) -> TimeBytes {
        let before = self.unix_seconds(time);
        let after = before + seconds as i64;
        let days = after.div_euclid(SECONDS_PER_DAY) - before.div_euclid(SECONDS_PER_DAY);
        let weekday = (self.decode(time.weekday) - 1 + days).rem_euclid(7) as u8 + 1;
        TimeBytes { weekday: self.encode(weekday), ..self.time_bytes(after) }
    }
}

/// Days from 1 January 1970 to the first of a month (0 to 11) in the Gregorian calendar.
fn days_since_1970(year: i64, month: i64) -> i64 {
    // Counted in years that begin in March, so that the leap day comes last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Months from March on have 31, 30, 31, 30, 31 days, twice over and a bit: 153 in five.
    year * 365 + leap_days + (153 * month + 2) / 5 - 719_468
}

/// Year, month (0 to 11) and day (0 to 30) of a day counted from 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    // A close guess that is never too late, then forward.
    let mut year = 1970 + days.div_euclid(if days < 0 { 365 } else { 366 });
    while days_since_1970(year + 1, 0) <= days {
        year += 1;
    }
    let month = (1..12).take_while(|&month| days_since_1970(year, month) <= days).count() as i64;
    (year, month, days - days_since_1970(year, month))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCD_24: Format = Format { binary: false, hours_24: true };

    #[test]
    fn dates_go_to_bytes_and_back() {
        let t = BCD_24.time_bytes(1_709_251_199); // 2024-02-29 23:59:59, a Thursday
        let expected = TimeBytes {
            second: 0x59,
            minute: 0x59,
            hour: 0x23,
            weekday: 5,
            day: 0x29,
            month: 2,
            year: 0x24,
            century: 0x20,
        };
        assert_eq!(t, expected);
        let next = BCD_24.later(&t, 1);
        assert_eq!((next.day, next.month, next.hour, next.weekday), (1, 3, 0, 6));
        for binary in [false, true] {
            for hours_24 in [false, true] {
                let format = Format { binary, hours_24 };
                let (year_0, year_9999) = (-62_167_219_200, 253_402_300_799);
                for unix in (year_0..=year_9999).step_by(77_777_777) {
                    assert_eq!(format.unix_seconds(&format.time_bytes(unix)), unix);
                }
            }
        }
    }

    #[test]
    fn twelve_hour_mode_has_no_hour_zero() {
        let format = Format { binary: false, hours_24: false };
        let hours: Vec<u8> = [0, 1, 11, 12, 13, 23].map(|h| format.encode_hour(h)).to_vec();
        assert_eq!(hours, [0x12, 0x01, 0x11, 0x92, 0x81, 0x91]);
    }

    #[test]
    fn every_day_of_centuries_follows_the_one_before() {
        let mut last = (-1, 11, 30);
        for days in days_since_1970(0, 0)..days_since_1970(2500, 0) {
            let (year, month, day) = date_of(days);
            let follows = match last {
                (y, 11, 30) => (year, month, day) == (y + 1, 0, 0),
                (y, m, d) => (year, month, day) == (y, m, d + 1) || (year, month, day) == (y, m + 1, 0) && d >= 27,
            };
            assert!(follows, "{last:?} then {year} {month} {day}");
            assert_eq!(days_since_1970(year, month) + day, days);
            last = (year, month, day);
        }
    }

    #[test]
    fn any_bytes_mean_some_time() {
        for byte in 0..=255 {
            let t = TimeBytes {
                second: byte,
                minute: byte,
                hour: byte,
                weekday: byte,
                day: byte,
                month: byte,
                year: byte,
                century: byte,
            };
            for (binary, hours_24) in [(false, false), (false, true), (true, false), (true, true)] {
                let format = Format { binary, hours_24 };
                let later = format.later(&t, 1 << 32);
                assert!(format.unix_seconds(&later) % 60 < 60);
            }
        }
    }
}
