//! Numbers and times as people read them.

use std::time::Duration;

/// Four significant digits, without zeros at the end.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..6).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.*}", (3 - magnitude).max(0) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

/// A time with three digits and its unit: `12.3 µs`, `1.23 ms`, `4.56 s`.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        ..1e-6 => (seconds * 1e9, "ns"),
        1e-6..1e-3 => (seconds * 1e6, "µs"),
        1e-3..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// How long something went on: `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO);
    match whole.as_secs() {
        0..60 => format!("{seconds:.1} s"),
        whole @ 60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        whole => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
    }
}

/// Bytes with three digits and their unit: `1.50 MiB`.
pub fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes.max(0.0);
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit])
}

/// Large counts with three digits: `12.3 k`, `4.56 M`, `7.89 G`.
pub fn count(value: f64) -> String {
    let units = ["", " k", " M", " G", " T", " P"];
    let mut value = value;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(number(0.000_123_456), "0.0001235");
        assert_eq!(number(1.5), "1.5");
        assert_eq!(number(-12_345.6), "-12346");
        assert_eq!(number(1e9), "1.000e9");
        assert_eq!(time(0.001_5), "1.50 ms");
        assert_eq!(duration(125.0), "2 min 5 s");
        assert_eq!(bytes(1_572_864.0), "1.50 MiB");
        assert_eq!(bytes(12.0), "12 B");
        assert_eq!(count(21_200_000.0), "21.2 M");
    }
}
