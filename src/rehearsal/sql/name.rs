//! Names of objects (manual, "Identifiers and Key Words").

use super::lexer::{Token, TokenKind};
use std::fmt;

/// The server cuts identifiers to this many bytes (`NAMEDATALEN` minus one).
const LONGEST: usize = 63;

/// An identifier as the server stores it: unquoted ones in lower case, quotes and their doubling
/// removed, cut to 63 bytes. In the client's encoding.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// A name that is exactly `text`.
    #[must_use]
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        let mut end = text.len().min(LONGEST);
        // Not in the middle of a UTF-8 sequence.
        while end < text.len() && end > 0 && text[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        Self(text[..end].into())
    }

    /// Reads a word or a quoted identifier. `None` for another token, and for `U&"…"` with an
    /// escape in it, which would need the UESCAPE clause to be understood.
    #[must_use]
    pub(super) fn read(token: Token, text: &[u8]) -> Option<Self> {
        let source = text.get(token.start..token.end)?;
        match token.kind {
            TokenKind::Word => Some(Self::new(source.to_ascii_lowercase())),
            TokenKind::QuotedIdentifier => {
                let (unicode, quoted) = match source {
                    [b'u' | b'U', b'&', quoted @ ..] => (true, quoted),
                    quoted => (false, quoted),
                };
                let inner = quoted.get(1..quoted.len() - 1)?;
                if unicode && inner.contains(&b'\\') {
                    return None;
                }
                Some(Self::new(undouble(inner, b'"')))
            }
            _ => None,
        }
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name in double quotes, to be put into a statement.
    #[must_use]
    pub fn quoted(&self) -> Vec<u8> {
        let mut quoted = Vec::with_capacity(self.0.len() + 2);
        quoted.push(b'"');
        for byte in &self.0 {
            if *byte == b'"' {
                quoted.push(b'"');
            }
            quoted.push(*byte);
        }
        quoted.push(b'"');
        quoted
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// A name that may be qualified by a schema. A database in front of it is left out: it can only be
/// the current one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QualifiedName {
    /// The schema, if the statement names it.
    pub schema: Option<Name>,
    /// The object.
    pub name: Name,
}

impl QualifiedName {
    /// Whether the name itself says that the object is temporary.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.schema
            .as_ref()
            .is_some_and(|schema| schema.as_bytes().starts_with(b"pg_temp"))
    }

    /// The name with every part in double quotes, to be put into a statement.
    #[must_use]
    pub fn quoted(&self) -> Vec<u8> {
        let mut quoted = Vec::new();
        if let Some(schema) = &self.schema {
            quoted.extend(schema.quoted());
            quoted.push(b'.');
        }
        quoted.extend(self.name.quoted());
        quoted
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        self.name.fmt(f)
    }
}

impl From<&str> for QualifiedName {
    fn from(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => Self {
                schema: Some(schema.into()),
                name: name.into(),
            },
            None => Self {
                schema: None,
                name: text.into(),
            },
        }
    }
}

/// Replaces doubled quotes by single ones.
pub(super) fn undouble(text: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == quote && bytes.as_slice().first() == Some(&quote) {
            bytes.next();
        }
    }
    out
}

/// The inside of `U&"…"` (manual, "Identifiers and Key Words"); `None` for an escape that the server
/// refuses. In UTF-8, whatever the client's encoding: names that are looked for here are ASCII.
pub(super) fn unescape(inner: &[u8], escape: u8) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(byte) = inner.get(at).copied() {
        at += 1;
        if byte != escape {
            out.push(byte);
            continue;
        }
        if inner.get(at) == Some(&escape) {
            out.push(escape);
            at += 1;
            continue;
        }
        let (from, digits) = match inner.get(at) {
            Some(b'+') => (at + 1, 6),
            _ => (at, 4),
        };
        let text = std::str::from_utf8(inner.get(from..from + digits)?).ok()?;
        let character = char::from_u32(u32::from_str_radix(text, 16).ok()?)?;
        out.extend(character.encode_utf8(&mut [0; 4]).bytes());
        at = from + digits;
    }
    Some(undouble(&out, b'"'))
}

/// Whether a word may not stand where the grammar wants a ColId: the reserved key words and those
/// that are reserved except for functions and types (manual, appendix "SQL Key Words").
pub(super) fn is_reserved(word: &[u8]) -> bool {
    let mut lower = [0; 17];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return false;
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).is_ok_and(|word| RESERVED.binary_search(&word).is_ok())
}

const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::sql::lexer::{LexSettings, Lexer};
    use rstest::rstest;

    fn read(text: &str) -> Option<Name> {
        let token = Lexer::new(text.as_bytes(), LexSettings::default()).next();
        Name::read(token.unwrap(), text.as_bytes())
    }

    #[rstest]
    #[case("Orders", "orders")]
    #[case("\"Orders\"", "Orders")]
    #[case("\"a\"\"b\"", "a\"b")]
    #[case("U&\"a\"", "a")]
    #[case("ÄB", "Äb")]
    fn names_are_folded_as_the_server_folds_them(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(read(text), Some(Name::from(expected)));
    }

    #[test]
    fn unicode_escapes_are_read_as_the_server_reads_them() {
        let read = |text: &str, escape| unescape(text.as_bytes(), escape);
        assert_eq!(read("setv\\0061l", b'\\').as_deref(), Some(&b"setval"[..]));
        assert_eq!(
            read("s!+000065t!!\"\"", b'!').as_deref(),
            Some(&b"set!\""[..])
        );
        assert_eq!(read("a\\00", b'\\'), None);
        assert_eq!(read("a\\+00zz61", b'\\'), None);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = Name::new("ä".repeat(40));
        assert_eq!(name.as_bytes().len(), 62);
        assert_eq!(read("U&\"\\0061\""), None);
        assert_eq!(read("'a'"), None);
    }

    #[test]
    fn quoting_a_name_can_be_read_back() {
        let name = Name::from("we\"ird Name");
        let quoted = String::from_utf8(name.quoted()).unwrap();
        assert_eq!(quoted, "\"we\"\"ird Name\"");
        assert_eq!(read(&quoted), Some(name));
        let name = QualifiedName::from("pg_temp_3.T");
        assert!(name.is_temporary());
        assert_eq!(name.quoted(), b"\"pg_temp_3\".\"T\"");
        assert_eq!(name.to_string(), "pg_temp_3.T");
    }

    #[test]
    fn reserved_words_are_found_in_any_case() {
        assert!(RESERVED.is_sorted());
        assert!(is_reserved(b"SELECT") && is_reserved(b"current_timestamp"));
        assert!(!is_reserved(b"work") && !is_reserved(b"a_name_longer_than_any_key_word"));
    }
}
