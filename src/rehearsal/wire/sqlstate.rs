//! SQLSTATE codes (manual, appendix "PostgreSQL Error Codes").

use std::fmt;

/// Five upper-case letters or digits; the first two are the class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlState([u8; 5]);

macro_rules! states {
    ($($name:ident = $code:literal),* $(,)?) => {
        impl SqlState {
            $(
                #[doc = concat!("`", $code, "`")]
                pub const $name: Self = Self::constant($code);
            )*
        }
    };
}

// The condition names of the manual, for the codes that the rehearsal says or looks for.
states! {
    SUCCESSFUL_COMPLETION = "00000",
    WARNING = "01000",
    CONNECTION_FAILURE = "08006",
    PROTOCOL_VIOLATION = "08P01",
    FEATURE_NOT_SUPPORTED = "0A000",
    INVALID_PARAMETER_VALUE = "22023",
    UNIQUE_VIOLATION = "23505",
    EXCLUSION_VIOLATION = "23P01",
    INVALID_CURSOR_STATE = "24000",
    ACTIVE_SQL_TRANSACTION = "25001",
    READ_ONLY_SQL_TRANSACTION = "25006",
    NO_ACTIVE_SQL_TRANSACTION = "25P01",
    IN_FAILED_SQL_TRANSACTION = "25P02",
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03",
    TRANSACTION_TIMEOUT = "25P04",
    INVALID_SQL_STATEMENT_NAME = "26000",
    INVALID_AUTHORIZATION_SPECIFICATION = "28000",
    INVALID_PASSWORD = "28P01",
    INVALID_TRANSACTION_TERMINATION = "2D000",
    INVALID_CURSOR_NAME = "34000",
    INVALID_SAVEPOINT_SPECIFICATION = "3B001",
    INVALID_CATALOG_NAME = "3D000",
    SERIALIZATION_FAILURE = "40001",
    DEADLOCK_DETECTED = "40P01",
    INSUFFICIENT_PRIVILEGE = "42501",
    SYNTAX_ERROR = "42601",
    UNDEFINED_OBJECT = "42704",
    DUPLICATE_CURSOR = "42P03",
    DUPLICATE_PREPARED_STATEMENT = "42P05",
    UNDEFINED_TABLE = "42P01",
    UNDEFINED_PARAMETER = "42P02",
    INDETERMINATE_DATATYPE = "42P18",
    OUT_OF_MEMORY = "53200",
    TOO_MANY_CONNECTIONS = "53300",
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000",
    OBJECT_IN_USE = "55006",
    LOCK_NOT_AVAILABLE = "55P03",
    UNSAFE_NEW_ENUM_VALUE_USAGE = "55P04",
    QUERY_CANCELED = "57014",
    ADMIN_SHUTDOWN = "57P01",
    CANNOT_CONNECT_NOW = "57P03",
    INTERNAL_ERROR = "XX000",
}

impl SqlState {
    const fn constant(code: &str) -> Self {
        let [a, b, c, d, e] = code.as_bytes() else {
            // Only reached by a typing error in the table above, at compile time.
            return Self(*b"XX000");
        };
        Self([*a, *b, *c, *d, *e])
    }

    /// Reads a code; `None` unless it is five upper-case letters or digits.
    #[must_use]
    pub fn parse(code: &[u8]) -> Option<Self> {
        let code: [u8; 5] = code.try_into().ok()?;
        code.iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            .then_some(Self(code))
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both constructors admit ASCII only.
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_five_letters_or_digits() {
        assert_eq!(
            SqlState::parse(b"25P02"),
            Some(SqlState::IN_FAILED_SQL_TRANSACTION)
        );
        assert_eq!(SqlState::IN_FAILED_SQL_TRANSACTION.to_string(), "25P02");
        for bad in [&b"25p02"[..], b"25P0", b"25P021", b"25P\xff2"] {
            assert_eq!(SqlState::parse(bad), None);
        }
    }
}
