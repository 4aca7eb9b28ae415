//! Lengths of time and numbers of bytes.

use std::time::Duration;

use super::{Invalid, Parsed, invalid};

/// A length of time: a number with `ms`, `s`, `m`, `h` or `d`, several joined largest first
/// (`1h30m`), or a bare number of seconds. Never zero.
///
/// # Errors
/// When it is none of these, or zero, or longer than a century.
pub fn duration(text: &str) -> Parsed<Duration> {
    const UNITS: &[(&str, u64)] = &[
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    const CENTURY: u64 = 36_525 * 86_400_000;
    let help = "write a length of time as 30s, 5m, 1h30m or 500ms";
    let seconds = format!("{text}s");
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut rest = if bare { seconds.as_str() } else { text };
    let mut total: u64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return invalid(help);
    }
    while !rest.is_empty() {
        let (number, after) = leading_digits(rest);
        let Ok(number) = number.parse::<u64>() else {
            return invalid(help);
        };
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Some(place) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return invalid(help);
        };
        if place < next_unit {
            return invalid(format!("{help}, largest unit first and each once"));
        }
        next_unit = place + 1;
        total = number
            .checked_mul(UNITS[place].1)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= CENTURY)
            .ok_or_else(|| Invalid("a length of time is a century at most".to_owned()))?;
        rest = after;
    }
    if total == 0 {
        return invalid("a length of time cannot be zero; leave it out for none");
    }
    Ok(Duration::from_millis(total))
}

/// A length of time as [`duration`] reads it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    text
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// A number of bytes: a number, with `K`, `M`, `G` or `T` for powers of 1024 (`512M`).
///
/// # Errors
/// When it is no such number or does not fit 64 bits.
pub fn size(text: &str) -> Parsed<u64> {
    let help = "write a size as a number of bytes, or with K, M, G or T (512M)";
    let (number, unit) = leading_digits(text);
    let factor: u64 = match unit.trim_end_matches("iB") {
        "" if unit.is_empty() => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return invalid(help),
    };
    let Ok(number) = number.parse::<u64>() else {
        return invalid(help);
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| Invalid("a size has to fit 64 bits".to_owned()))
}

/// A number of bytes as [`size`] reads it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (unit, factor) in [
        ("T", 1 << 40),
        ("G", 1 << 30),
        ("M", 1 << 20),
        ("K", 1 << 10),
    ] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn durations() {
        let help = "write a length of time as 30s, 5m, 1h30m or 500ms";
        let order =
            "write a length of time as 30s, 5m, 1h30m or 500ms, largest unit first and each once";
        let long = "a length of time is a century at most";
        check(
            duration,
            show_duration,
            &[
                ("30s", Ok("30s")),
                ("30", Ok("30s")),
                ("5m", Ok("5m")),
                ("1h30m", Ok("1h30m")),
                ("90m", Ok("1h30m")),
                ("1d", Ok("24h")),
                ("1s500ms", Ok("1s500ms")),
                ("", Err(help)),
                ("s", Err(help)),
                ("1x", Err(help)),
                ("1h30", Err(help)),
                ("-1s", Err(help)),
                ("1.5s", Err(help)),
                ("1 s", Err(help)),
                ("30m1h", Err(order)),
                ("1s1s", Err(order)),
                (
                    "0",
                    Err("a length of time cannot be zero; leave it out for none"),
                ),
                (
                    "0h0s",
                    Err("a length of time cannot be zero; leave it out for none"),
                ),
                ("40000d", Err(long)),
                ("18446744073709551615d", Err(long)),
                ("99999999999999999999s", Err(help)),
            ],
        );
    }

    #[test]
    fn sizes() {
        let help = "write a size as a number of bytes, or with K, M, G or T (512M)";
        check(
            size,
            show_size,
            &[
                ("0", Ok("0")),
                ("1000", Ok("1000")),
                ("1024", Ok("1K")),
                ("512M", Ok("512M")),
                ("512MiB", Ok("512M")),
                ("2T", Ok("2T")),
                ("18446744073709551615", Ok("18446744073709551615")),
                ("", Err(help)),
                ("M", Err(help)),
                ("1MB", Err(help)),
                ("1m", Err(help)),
                ("1iB", Err(help)),
                ("-1", Err(help)),
                ("18446744073709551616", Err(help)),
                ("18446744073709551615K", Err("a size has to fit 64 bits")),
            ],
        );
    }
}
