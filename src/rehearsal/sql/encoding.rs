//! Client encodings (manual, "Character Set Support").
//!
//! The lexer looks for ASCII characters byte by byte. In every encoding that a server can have, a
//! byte below 128 is always that ASCII character; in some that only clients can have, it may be the
//! second byte of another one, a quote or a backslash among them.

/// What has to be known about `client_encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEncoding {
    /// UTF8, and SQL_ASCII, where the server converts nothing and is UTF8 itself as a rule.
    Utf8,
    /// One byte a character.
    SingleByte,
    /// The EUC family: two bytes a character, three behind 0x8f.
    Euc,
    /// Bytes of several meanings; not to be lexed.
    ClientOnly,
}

impl ClientEncoding {
    /// Reads the value of `client_encoding` as the server reports it. An encoding that nobody has
    /// heard of counts as [`ClientEncoding::ClientOnly`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let name: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase())
            .collect();
        match name.as_str() {
            "UTF8" | "UNICODE" | "SQLASCII" => Self::Utf8,
            "EUCJP" | "EUCCN" | "EUCKR" | "EUCJIS2004" => Self::Euc,
            _ if ["LATIN", "ISO8859", "WIN", "KOI8", "WINDOWS"]
                .iter()
                .any(|family| name.starts_with(family))
                && ![
                    "WIN932",
                    "WIN936",
                    "WIN949",
                    "WIN950",
                    "WINDOWS932",
                    "WINDOWS936",
                    "WINDOWS949",
                    "WINDOWS950",
                ]
                .contains(&name.as_str()) =>
            {
                Self::SingleByte
            }
            _ => Self::ClientOnly,
        }
    }

    /// Whether text in this encoding can be lexed.
    #[must_use]
    pub fn is_lexable(self) -> bool {
        self != Self::ClientOnly
    }

    /// How many characters a text has: error positions count them.
    #[must_use]
    pub fn characters(self, text: &[u8]) -> usize {
        match self {
            Self::Utf8 => text.iter().filter(|byte| **byte & 0xc0 != 0x80).count(),
            Self::SingleByte | Self::ClientOnly => text.len(),
            Self::Euc => {
                let (mut at, mut count) = (0, 0);
                while let Some(byte) = text.get(at) {
                    at += match byte {
                        0..=0x7f => 1,
                        0x8f => 3,
                        _ => 2,
                    };
                    count += 1;
                }
                count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("UTF8", ClientEncoding::Utf8)]
    #[case("utf-8", ClientEncoding::Utf8)]
    #[case("SQL_ASCII", ClientEncoding::Utf8)]
    #[case("LATIN1", ClientEncoding::SingleByte)]
    #[case("WIN1252", ClientEncoding::SingleByte)]
    #[case("KOI8R", ClientEncoding::SingleByte)]
    #[case("EUC_JP", ClientEncoding::Euc)]
    #[case("SJIS", ClientEncoding::ClientOnly)]
    #[case("WIN932", ClientEncoding::ClientOnly)]
    #[case("BIG5", ClientEncoding::ClientOnly)]
    #[case("GBK", ClientEncoding::ClientOnly)]
    #[case("GB18030", ClientEncoding::ClientOnly)]
    fn encodings_are_known_by_name(#[case] name: &str, #[case] expected: ClientEncoding) {
        assert_eq!(ClientEncoding::from_name(name), expected);
    }

    #[test]
    fn characters_are_counted_as_the_server_counts_them() {
        assert_eq!(ClientEncoding::Utf8.characters("aäß漢🙂".as_bytes()), 5);
        assert_eq!(ClientEncoding::SingleByte.characters(b"a\xe4\xdf"), 3);
        assert_eq!(ClientEncoding::Euc.characters(b"a\xa4\xa2\x8f\xb0\xa1b"), 4);
    }
}
