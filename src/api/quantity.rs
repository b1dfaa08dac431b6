//! Durations and sizes as people write them in YAML.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a duration.
    #[error("\"{0}\" is not a duration: write e.g. 300ms, 90s, 10m or 1h30m")]
    Duration(String),
    /// Not a size.
    #[error("\"{0}\" is not a size in bytes: write e.g. 512Ki, 64Mi or 1Gi")]
    Bytes(String),
}

/// A length of time, written with the units h, m, s and ms, greatest first: `1h30m`, `300ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(time::Duration);

/// A size, written in bytes or with Ki, Mi, Gi or Ti.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

/// What the API server takes. As many digits as can be read: the rest of the system must understand
/// whatever is stored.
pub(super) const DURATION_PATTERN: &str =
    "^([0-9]{1,8}h)?([0-9]{1,8}m)?([0-9]{1,8}s)?([0-9]{1,8}ms)?$";
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
pub(super) const BYTES_PATTERN: &str =
    "^([0-9]{1,19}|[0-9]{1,16}Ki|[0-9]{1,13}Mi|[0-9]{1,10}Gi|[0-9]{1,7}Ti)$";
const BYTES_UNITS: [(&str, u32); 4] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)];

impl Duration {
    /// `dryRun.budgets.blocking`, unless said otherwise.
    pub const DEFAULT_BLOCKING: Self = Self(time::Duration::from_millis(300));
    /// `dryRun.budgets.duration`, unless said otherwise.
    pub const DEFAULT_DURATION: Self = Self(time::Duration::from_secs(600));
    /// `dryRun.budgets.assertion`, unless said otherwise.
    pub const DEFAULT_ASSERTION: Self = Self(time::Duration::from_secs(5));
    /// `dryRun.budgets.check`, unless said otherwise.
    pub const DEFAULT_CHECK: Self = Self(time::Duration::from_secs(60));

    /// The length of time.
    #[must_use]
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl Bytes {
    /// `dryRun.concurrently.substituteBelow`, unless said otherwise.
    pub const DEFAULT_SUBSTITUTE_BELOW: Self = Self(64 << 20);

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || QuantityError::Duration(text.to_owned());
        let mut rest = text;
        let mut millis: u64 = 0;
        let mut next_unit = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let at = DURATION_UNITS
                .iter()
                .position(|(name, _)| *name == unit)
                .filter(|at| *at >= next_unit)
                .ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            millis = number
                .checked_mul(DURATION_UNITS[at].1)
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(wrong)?;
            next_unit = at + 1;
            rest = tail;
        }
        if text.is_empty() {
            return Err(wrong());
        }
        Ok(Self(time::Duration::from_millis(millis)))
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || QuantityError::Bytes(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match BYTES_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, shift)) => 1_u64 << shift,
            None if unit.is_empty() => 1,
            None => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in DURATION_UNITS {
            let count = left / millis;
            left %= millis;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in BYTES_UNITS.into_iter().rev() {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

macro_rules! written_as_text {
    ($name:ident, $pattern:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "pattern": $pattern, "minLength": 1, "maxLength": 32,
                })
            }
        }
    };
}

written_as_text!(Duration, DURATION_PATTERN);
written_as_text!(Bytes, BYTES_PATTERN);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Texts that a pattern of the schema takes.
    fn taken(pattern: &str) -> impl Strategy<Value = String> {
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        proptest::string::string_regex(inner)
            .unwrap()
            .prop_filter("minLength and maxLength", |text| {
                (1..=32).contains(&text.len())
            })
    }

    proptest! {
        #[test]
        fn whatever_duration_the_api_server_takes_can_be_read(text in taken(DURATION_PATTERN)) {
            prop_assert!(text.parse::<Duration>().is_ok(), "{text}");
        }

        #[test]
        fn whatever_size_the_api_server_takes_can_be_read(text in taken(BYTES_PATTERN)) {
            prop_assert!(text.parse::<Bytes>().is_ok(), "{text}");
        }
    }

    #[rstest]
    #[case("9999999999999999999")]
    #[case("9999999999999999Ki")]
    #[case("9999999999999Mi")]
    #[case("9999999999Gi")]
    #[case("9999999Ti")]
    fn the_greatest_size_that_the_api_server_takes_can_be_read(#[case] text: &str) {
        assert!(text.parse::<Bytes>().is_ok());
    }

    #[rstest]
    #[case("300ms", 300)]
    #[case("10m", 600_000)]
    #[case("1h30m", 5_400_000)]
    #[case("1m1s1ms", 61_001)]
    #[case("0s", 0)]
    fn a_duration_reads_as_written_and_is_written_as_read(#[case] text: &str, #[case] millis: u64) {
        let duration: Duration = text.parse().unwrap();
        assert_eq!(duration.get(), time::Duration::from_millis(millis));
        assert_eq!(duration.to_string(), text);
    }

    #[rstest]
    #[case("")]
    #[case("10")]
    #[case("10 m")]
    #[case("-1s")]
    #[case("1s1m")]
    #[case("1s1s")]
    #[case("1.5s")]
    #[case("99999999999999999999h")]
    fn what_is_no_duration_is_refused_with_an_example(#[case] text: &str) {
        let error = text.parse::<Duration>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("\"{text}\" is not a duration: write e.g. 300ms, 90s, 10m or 1h30m")
        );
    }

    #[rstest]
    #[case("0", 0)]
    #[case("1023", 1023)]
    #[case("512Ki", 512 << 10)]
    #[case("64Mi", 64 << 20)]
    #[case("1Gi", 1 << 30)]
    fn a_size_reads_as_written_and_is_written_as_read(#[case] text: &str, #[case] bytes: u64) {
        let size: Bytes = text.parse().unwrap();
        assert_eq!(size.get(), bytes);
        assert_eq!(size.to_string(), text);
    }

    #[rstest]
    #[case("")]
    #[case("Mi")]
    #[case("64MB")]
    #[case("1.5Gi")]
    #[case("99999999999Ti")]
    fn what_is_no_size_is_refused_with_an_example(#[case] text: &str) {
        let error = text.parse::<Bytes>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("\"{text}\" is not a size in bytes: write e.g. 512Ki, 64Mi or 1Gi")
        );
    }
}
