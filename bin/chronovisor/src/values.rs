//! The values that options take: sizes, dates, counts.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A size in bytes from text such as `512M` or `2G`; the units are powers of 1024.
///
/// # Errors
/// A sentence on what is wrong.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit_bytes: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "" => return Err("a size needs its unit, as in 512M or 2G".into()),
        _ => return Err("a size is a whole number and one of the units K, M, G, as in 512M".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "a size is a whole number and its unit, as in 512M".to_owned())?;
    count.checked_mul(unit_bytes).ok_or_else(|| "that is more memory than 64 bits can count".into())
}

/// A point in time, in seconds since 1970, from such a number or from a date in UTC.
///
/// # Errors
/// A sentence on what is wrong.
pub fn unix_seconds(text: &str) -> Result<u64, String> {
    const FORMS: &str =
        "a start time is seconds since 1970, or a date in UTC such as 2024-02-29 or 2024-02-29T12:30:00";
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let civil: DateTime = text.parse().map_err(|_| FORMS.to_owned())?;
            civil.to_zoned(TimeZone::UTC).map_err(|_| FORMS.to_owned())?.timestamp()
        }
    };
    u64::try_from(timestamp.as_second()).map_err(|_| "the machine's clock starts in 1970 or later".into())
}

/// A count from text such as `1000000`, `1_000_000`, `200M` or `3G`; K, M and G are powers of 1000.
///
/// # Errors
/// A sentence on what is wrong.
pub fn count(text: &str) -> Result<u64, String> {
    const FORM: &str = "a count is a whole number, as in 5000000, 5_000_000 or 5M";
    let (digits, factor) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 1_000),
        Some('m' | 'M') => (&text[..text.len() - 1], 1_000_000),
        Some('g' | 'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1_u64),
    };
    let number: u64 = digits.replace('_', "").parse().map_err(|_| FORM.to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "that count does not fit into 64 bits".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size_bytes("512M"), Ok(512 << 20));
        assert_eq!(size_bytes("2g"), Ok(2 << 30));
        assert_eq!(size_bytes("64KiB"), Ok(64 << 10));
        for wrong in ["", "512", "M", "-1M", "1.5G", "12Q", "1 G", "99999999999999G", "é", "5é"] {
            assert!(size_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(unix_seconds("0"), Ok(0));
        assert_eq!(unix_seconds("1709210000"), Ok(1_709_210_000));
        assert_eq!(unix_seconds("2024-02-29"), Ok(1_709_164_800));
        assert_eq!(unix_seconds("2024-02-29T12:30:00"), Ok(1_709_209_800));
        assert_eq!(unix_seconds("2024-02-29T12:30:00Z"), Ok(1_709_209_800));
        assert_eq!(unix_seconds("2024-02-29T12:30:00+02:00"), Ok(1_709_202_600));
        for wrong in ["", "now", "2023-02-29", "1969-12-31", "-5"] {
            assert!(unix_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(count("5000000"), Ok(5_000_000));
        assert_eq!(count("1_000"), Ok(1_000));
        assert_eq!(count("200M"), Ok(200_000_000));
        for wrong in ["", "M", "-1", "1.5M", "99999999999G", "5é"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }
}
