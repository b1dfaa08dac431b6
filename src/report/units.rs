//! Durations, sizes and counts as people read them.

/// A duration given in microseconds: `840 µs`, `12.3 ms`, `4.21 s`, `3 min 07 s`.
#[must_use]
pub fn micros(value: u64) -> String {
    if value < 1_000 {
        return format!("{value} µs");
    }
    if value < 100_000 {
        return format!("{}.{} ms", value / 1_000, value % 1_000 / 100);
    }
    millis(value / 1_000)
}

/// A duration given in milliseconds: `840 ms`, `4.21 s`, `3 min 07 s`.
#[must_use]
pub fn millis(value: u64) -> String {
    if value < 1_000 {
        return format!("{value} ms");
    }
    let seconds = value / 1_000;
    if seconds < 60 {
        return format!("{seconds}.{:02} s", value % 1_000 / 10);
    }
    if seconds < 3_600 {
        return format!("{} min {:02} s", seconds / 60, seconds % 60);
    }
    format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60)
}

/// A size in bytes with binary units: `512 B`, `1.2 MiB`.
#[must_use]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1_024 {
        return format!("{value} B");
    }
    let mut tenths = u128::from(value) * 10 / 1_024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A number with its noun: `1 statement`, `2 statements`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_meaningful_digits_at_most() {
        assert_eq!(micros(7), "7 µs");
        assert_eq!(micros(12_345), "12.3 ms");
        assert_eq!(micros(345_678), "345 ms");
        assert_eq!(millis(4_219), "4.21 s");
        assert_eq!(millis(187_000), "3 min 07 s");
        assert_eq!(millis(7_260_000), "2 h 01 min");
    }

    #[test]
    fn sizes_use_binary_units() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
