//! The value of a string constant (manual, "String Constants").

use super::lexer::{LexSettings, StringKind, Token, TokenKind};

/// The value of a string constant; `None` for another token, for bit strings and for Unicode
/// escapes, whose value nothing here asks for.
pub(super) fn string_value(token: Token, text: &[u8], settings: LexSettings) -> Option<Vec<u8>> {
    let TokenKind::String(kind) = token.kind else {
        return None;
    };
    let source = text.get(token.start..token.end)?;
    match kind {
        StringKind::Plain if settings.standard_conforming_strings => Some(segments(source, false)),
        StringKind::Plain => Some(segments(source, true)),
        StringKind::Escape => Some(segments(source.get(1..)?, true)),
        StringKind::Dollar => dollar_body(source).map(<[u8]>::to_vec),
        StringKind::Unicode if source.contains(&b'\\') => None,
        StringKind::Unicode => Some(segments(source.get(2..)?, false)),
        StringKind::Bits => None,
    }
}

/// What stands between the delimiters of a dollar-quoted string.
pub(super) fn dollar_body(source: &[u8]) -> Option<&[u8]> {
    let tag = source.get(1..)?.iter().position(|byte| *byte == b'$')? + 2;
    source.get(tag..source.len().checked_sub(tag)?)
}

/// Joins a string and its continuations: `'a'  'b'` with a line's end between is `ab`.
fn segments(source: &[u8], escapes: bool) -> Vec<u8> {
    if !escapes && source.iter().filter(|byte| **byte == b'\'').count() == 2 {
        return source[1..source.len() - 1].to_vec();
    }
    let mut value = Vec::with_capacity(source.len());
    let mut inside = false;
    let mut at = 0;
    while at < source.len() {
        let (byte, next) = (source[at], source.get(at + 1).copied());
        at += 1;
        match (inside, byte) {
            (true, b'\'') if next == Some(b'\'') => {
                value.push(b'\'');
                at += 1;
            }
            (true, b'\'') => inside = false,
            (true, b'\\') if escapes => at = escape(source, at, &mut value),
            (true, _) => value.push(byte),
            (false, b'\'') => inside = true,
            (false, b'-') => {
                // A comment may hold quotes.
                let length = source[at..].iter().position(|b| matches!(b, b'\n' | b'\r'));
                at = length.map_or(source.len(), |length| at + length);
            }
            (false, _) => {}
        }
    }
    value
}

/// Reads what follows a backslash and says where the text goes on.
fn escape(source: &[u8], at: usize, value: &mut Vec<u8>) -> usize {
    let digits = |from: usize, most: usize, radix: u32| {
        let count = source[from..]
            .iter()
            .take(most)
            .take_while(|byte| char::from(**byte).is_digit(radix))
            .count();
        let text = std::str::from_utf8(&source[from..from + count]).unwrap_or_default();
        (u32::from_str_radix(text, radix).ok(), from + count)
    };
    let simple = |byte: u8, value: &mut Vec<u8>| {
        value.push(byte);
        at + 1
    };
    match source.get(at) {
        Some(b'b') => simple(8, value),
        Some(b'f') => simple(12, value),
        Some(b'n') => simple(b'\n', value),
        Some(b'r') => simple(b'\r', value),
        Some(b't') => simple(b'\t', value),
        Some(b'v') => simple(11, value),
        Some(b'0'..=b'7') => {
            let (code, end) = digits(at, 3, 8);
            value.push(code.unwrap_or_default() as u8);
            end
        }
        Some(b'x') => match digits(at + 1, 2, 16) {
            (Some(code), end) => {
                value.push(code as u8);
                end
            }
            (None, _) => simple(b'x', value),
        },
        Some(kind @ (b'u' | b'U')) => {
            let (code, end) = digits(at + 1, if *kind == b'u' { 4 } else { 8 }, 16);
            match code.and_then(char::from_u32) {
                Some(character) => {
                    value.extend(character.encode_utf8(&mut [0; 4]).bytes());
                    end
                }
                None => simple(*kind, value),
            }
        }
        Some(byte) => simple(*byte, value),
        None => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::sql::lexer::Lexer;
    use rstest::rstest;

    fn value(text: &str, standard_conforming_strings: bool) -> Option<String> {
        let settings = LexSettings {
            standard_conforming_strings,
        };
        let token = Lexer::new(text.as_bytes(), settings).next().unwrap();
        string_value(token, text.as_bytes(), settings).map(|v| String::from_utf8(v).unwrap())
    }

    #[rstest]
    #[case("'off'", "off")]
    #[case("'it''s'", "it's")]
    #[case(r"'a\n'", r"a\n")]
    #[case(r"E'a\tb\'c\\\x41\101\u00e4\q'", "a\tb'c\\AAäq")]
    #[case("'a' -- it's\n  'b'", "ab")]
    #[case("E'a'\n'\\n'", "a\n")]
    #[case("$x$it's$x$", "it's")]
    #[case("$$$$", "")]
    #[case("U&'a'", "a")]
    fn constants_have_the_servers_value(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(value(text, true).as_deref(), Some(expected));
    }

    #[test]
    fn escapes_follow_the_setting() {
        assert_eq!(value(r"'\o\f\f'", false).as_deref(), Some("o\u{c}\u{c}"));
        assert_eq!(value("x'ff'", true), None);
        assert_eq!(value(r"U&'\0061'", true), None);
        assert_eq!(value("off", true), None);
    }
}
