//! Values as constants.

/// A value's type by its number in `pg_type`, and how a constant of it is written.
const TYPES: &[(u32, &str)] = &[
    (16, "boolean"),
    (17, "bytea"),
    (20, "bigint"),
    (21, "smallint"),
    (23, "integer"),
    (25, "text"),
    (114, "json"),
    (700, "real"),
    (701, "double precision"),
    (1042, "character"),
    (1043, "character varying"),
    (1082, "date"),
    (1083, "time"),
    (1114, "timestamp"),
    (1184, "timestamptz"),
    (1186, "interval"),
    (1700, "numeric"),
    (2950, "uuid"),
    (3802, "jsonb"),
    (1000, "boolean[]"),
    (1005, "smallint[]"),
    (1007, "integer[]"),
    (1009, "text[]"),
    (1015, "character varying[]"),
    (1016, "bigint[]"),
    (1022, "double precision[]"),
    (1115, "timestamp[]"),
    (1182, "date[]"),
    (1185, "timestamptz[]"),
    (1231, "numeric[]"),
    (2951, "uuid[]"),
    (3807, "jsonb[]"),
];

/// Numbers of types whose binary form is read here.
const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXTS: [u32; 3] = [25, 1042, 1043];
const FLOAT8: u32 = 701;
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;
/// Not yet known: as a constant without a type.
const UNKNOWN: [u32; 2] = [0, 705];

/// A value as a constant, cast to its type where that is named; `None` when it is in a form that only
/// its type knows. `kind` is the type by its number, 0 when it was not named.
#[must_use]
pub fn constant(value: Option<&[u8]>, binary_form: bool, kind: u32) -> Option<String> {
    let Some(value) = value else {
        return Some("NULL".to_owned());
    };
    if binary_form && let Some(moment) = moment(value, kind) {
        return Some(moment);
    }
    let text = if !binary_form {
        std::str::from_utf8(value).ok()?.to_owned()
    } else {
        binary(value, kind)?
    };
    let quoted = quoted(&text);
    if UNKNOWN.contains(&kind) {
        return Some(quoted);
    }
    let (_, name) = TYPES.iter().find(|(number, _)| *number == kind)?;
    Some(format!("{quoted}::{name}"))
}

/// Times are counted from the year 2000; the server is left to do the sum.
fn moment(value: &[u8], kind: u32) -> Option<String> {
    let epoch = match kind {
        DATE => {
            let days = i32::from_be_bytes(value.try_into().ok()?);
            let finite = days != i32::MIN && days != i32::MAX;
            return finite.then(|| format!("('2000-01-01'::date + ({days}))"));
        }
        TIMESTAMP => "'2000-01-01'::timestamp",
        TIMESTAMPTZ => "'2000-01-01 00:00:00+00'::timestamptz",
        _ => return None,
    };
    let micros = i64::from_be_bytes(value.try_into().ok()?);
    let finite = micros != i64::MIN && micros != i64::MAX;
    finite.then(|| format!("({epoch} + '{micros} microseconds'::interval)"))
}

fn binary(value: &[u8], kind: u32) -> Option<String> {
    let hex = || -> String { value.iter().map(|byte| format!("{byte:02x}")).collect() };
    match kind {
        BOOL => Some(if value == [0] { "false" } else { "true" }.to_owned()),
        INT2 => Some(i16::from_be_bytes(value.try_into().ok()?).to_string()),
        INT4 => Some(i32::from_be_bytes(value.try_into().ok()?).to_string()),
        INT8 => Some(i64::from_be_bytes(value.try_into().ok()?).to_string()),
        FLOAT8 => Some(f64::from_be_bytes(value.try_into().ok()?).to_string()),
        UUID if value.len() == 16 => Some(hex()),
        BYTEA => Some(format!("\\x{}", hex())),
        _ if TEXTS.contains(&kind) => std::str::from_utf8(value).map(str::to_owned).ok(),
        _ => None,
    }
}

/// Read alike whatever `standard_conforming_strings` is.
fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some(b"it's".as_slice()), false, 0, Some("'it''s'"))]
    #[case(Some(b"a\\b".as_slice()), false, 0, Some("E'a\\\\b'"))]
    #[case(Some(b"7".as_slice()), false, 20, Some("'7'::bigint"))]
    #[case(None, true, 0, Some("NULL"))]
    #[case(Some([0, 0, 0, 5].as_slice()), true, 23, Some("'5'::integer"))]
    #[case(Some([1].as_slice()), true, 16, Some("'true'::boolean"))]
    #[case(Some(b"x".as_slice()), true, 25, Some("'x'::text"))]
    #[case(Some([255].as_slice()), true, 17, Some("E'\\\\xff'::bytea"))]
    #[case(Some([0, 0, 0, 31].as_slice()), true, 1082, Some("('2000-01-01'::date + (31))"))]
    #[case(
        Some([255; 8].as_slice()),
        true,
        1114,
        Some("('2000-01-01'::timestamp + '-1 microseconds'::interval)")
    )]
    // Nothing is guessed.
    #[case(Some([0, 0, 0, 5].as_slice()), true, 0, None)]
    #[case(Some(b"1".as_slice()), false, 99_999, None)]
    #[case(Some([0, 5].as_slice()), true, 23, None)]
    fn a_value_is_written_as_the_server_would_read_it(
        #[case] value: Option<&[u8]>,
        #[case] binary_form: bool,
        #[case] kind: u32,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(constant(value, binary_form, kind).as_deref(), expected);
    }
}
