//! Tokens of SQL, as far as splitting and classifying need them (manual, "Lexical Structure").
//!
//! The rules are those of the server's scanner, of all supported versions at once: where versions
//! differ (underscores and hexadecimal in numbers, "trailing junk after numeric literal"), the
//! extents of strings and comments come out the same, and those are what matters here. Tokens are
//! made on demand, none of them allocates.

/// How the server would read a string now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexSettings {
    /// `standard_conforming_strings`: while it is off, a backslash escapes in `'…'` too.
    pub standard_conforming_strings: bool,
}

impl Default for LexSettings {
    fn default() -> Self {
        Self {
            standard_conforming_strings: true,
        }
    }
}

/// A token's kind and where it is, in bytes from the start of the lexed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
}

/// What a token is. White space and comments are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A key word or an unquoted identifier.
    Word,
    /// `"…"`, or with `U&` in front.
    QuotedIdentifier,
    /// A string constant, with its continuations on later lines.
    String(StringKind),
    /// A numeric constant.
    Number,
    /// `$1`.
    Parameter,
    /// `;`
    Semicolon,
    /// `(`
    OpenParenthesis,
    /// `)`
    CloseParenthesis,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// Any other character; operators come one character at a time.
    Other(u8),
    /// A construct that the text does not end.
    Unterminated(Unterminated),
}

/// The notations of string constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringKind {
    /// `'…'`: the only one whose reading depends on `standard_conforming_strings`.
    Plain,
    /// `E'…'`
    Escape,
    /// `U&'…'`: an error while `standard_conforming_strings` is off.
    Unicode,
    /// `B'…'` and `X'…'`
    Bits,
    /// `$tag$…$tag$`
    Dollar,
}

/// What the end of the text left open. The server refuses the whole text (42601).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unterminated {
    /// `'`
    String,
    /// `"`
    QuotedIdentifier,
    /// `$tag$`
    DollarQuote,
    /// `/*`
    Comment,
}

/// Iterator over the tokens of a text.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    settings: LexSettings,
}

impl<'a> Lexer<'a> {
    /// Lexes `text` from its start.
    #[must_use]
    pub fn new(text: &'a [u8], settings: LexSettings) -> Self {
        Self {
            text,
            at: 0,
            settings,
        }
    }

    /// The text that is being lexed.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Where the next token is looked for, in bytes from the start.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How the text is being read.
    #[must_use]
    pub fn settings(&self) -> LexSettings {
        self.settings
    }

    fn byte(&self, at: usize) -> u8 {
        // No text of the protocol contains a zero byte, so it can stand for the end.
        self.text.get(at).copied().unwrap_or(0)
    }

    fn token(&mut self, kind: TokenKind, start: usize, end: usize) -> Option<Token> {
        self.at = end;
        Some(Token { kind, start, end })
    }

    fn quoted(&mut self, kind: StringKind, start: usize, quote: usize) -> Option<Token> {
        let escapes = match kind {
            StringKind::Plain => !self.settings.standard_conforming_strings,
            StringKind::Escape => true,
            StringKind::Unicode | StringKind::Bits | StringKind::Dollar => false,
        };
        // A doubled quote belongs to every string but a bit string, which it ends and follows.
        let doubling = kind != StringKind::Bits;
        match self.end_of_string(quote + 1, escapes, doubling) {
            Some(end) => self.token(TokenKind::String(kind), start, end),
            None => self.unterminated(Unterminated::String, start),
        }
    }

    fn end_of_string(&self, mut at: usize, escapes: bool, doubling: bool) -> Option<usize> {
        loop {
            at += self
                .text
                .get(at..)?
                .iter()
                .position(|byte| *byte == b'\'' || (escapes && *byte == b'\\'))?;
            let escaped = self.byte(at) == b'\\';
            if escaped || (doubling && self.byte(at + 1) == b'\'') {
                at += 2;
            } else if let Some(next) = self.continuation(at + 1) {
                at = next;
            } else {
                return Some(at + 1);
            }
        }
    }

    /// Where a string goes on that was closed before `at`: behind the next quote, if only white
    /// space and `--` comments lie between and at least one of them ends a line. It goes on with
    /// the escapes with which it began.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut newline = false;
        loop {
            match self.byte(at) {
                b'\n' | b'\r' => {
                    newline = true;
                    at += 1;
                }
                b' ' | b'\t' | 0x0c | 0x0b => at += 1,
                b'-' if self.byte(at + 1) == b'-' => {
                    at = self.end_of_line(at);
                    if at == self.text.len() {
                        return None;
                    }
                }
                b'\'' if newline => return Some(at + 1),
                _ => return None,
            }
        }
    }

    fn end_of_line(&self, at: usize) -> usize {
        self.text[at..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .map_or(self.text.len(), |length| at + length)
    }

    fn quoted_identifier(&mut self, start: usize, quote: usize) -> Option<Token> {
        let mut at = quote + 1;
        loop {
            match self.text[at..].iter().position(|byte| *byte == b'"') {
                None => return self.unterminated(Unterminated::QuotedIdentifier, start),
                Some(length) if self.byte(at + length + 1) == b'"' => at += length + 2,
                Some(length) => {
                    return self.token(TokenKind::QuotedIdentifier, start, at + length + 1);
                }
            }
        }
    }

    /// A `$` opens a dollar quote only when a whole `$tag$` stands there.
    fn dollar(&mut self, start: usize) -> Option<Token> {
        if self.byte(start + 1).is_ascii_digit() {
            let end = self.while_class(start + 1, |byte| byte.is_ascii_digit());
            return self.token(TokenKind::Parameter, start, end);
        }
        let mut tag_end = start + 1;
        if is_identifier_start(self.byte(tag_end)) {
            tag_end = self.while_class(tag_end, |byte| {
                is_identifier_start(byte) || byte.is_ascii_digit()
            });
        }
        if self.byte(tag_end) != b'$' {
            return self.token(TokenKind::Other(b'$'), start, start + 1);
        }
        let delimiter = &self.text[start..=tag_end];
        let body = tag_end + 1;
        match find(&self.text[body..], delimiter) {
            Some(length) => self.token(
                TokenKind::String(StringKind::Dollar),
                start,
                body + length + delimiter.len(),
            ),
            None => self.unterminated(Unterminated::DollarQuote, start),
        }
    }

    fn unterminated(&mut self, what: Unterminated, start: usize) -> Option<Token> {
        self.token(TokenKind::Unterminated(what), start, self.text.len())
    }

    fn while_class(&self, at: usize, class: impl Fn(u8) -> bool) -> usize {
        self.text[at..]
            .iter()
            .position(|byte| !class(*byte))
            .map_or(self.text.len(), |length| at + length)
    }

    /// Digits, a fraction, an exponent that has digits. What directly follows is a token of its
    /// own, as up to PostgreSQL 14; from 15 on the server refuses it.
    fn number(&mut self, start: usize) -> Option<Token> {
        let digits = |at| self.while_class(at, |byte: u8| byte.is_ascii_digit());
        let mut end = digits(start);
        // "1..2" is a range of PL/pgSQL: two numbers.
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            end = digits(end + 1);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if self.byte(end + 1 + sign).is_ascii_digit() {
                end = digits(end + 1 + sign);
            }
        }
        self.token(TokenKind::Number, start, end)
    }

    fn word(&mut self, start: usize) -> Option<Token> {
        let next = self.byte(start + 1);
        match self.byte(start) {
            b'e' | b'E' if next == b'\'' => {
                return self.quoted(StringKind::Escape, start, start + 1);
            }
            b'b' | b'B' | b'x' | b'X' if next == b'\'' => {
                return self.quoted(StringKind::Bits, start, start + 1);
            }
            b'u' | b'U' if next == b'&' => match self.byte(start + 2) {
                b'\'' => return self.quoted(StringKind::Unicode, start, start + 2),
                b'"' => return self.quoted_identifier(start, start + 2),
                _ => {}
            },
            _ => {}
        }
        let end = self.while_class(start, is_identifier_part);
        self.token(TokenKind::Word, start, end)
    }

    /// Skips white space and comments; an unterminated comment is the error.
    fn skip(&mut self) -> Result<usize, usize> {
        loop {
            match self.byte(self.at) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b => self.at += 1,
                b'-' if self.byte(self.at + 1) == b'-' => self.at = self.end_of_line(self.at),
                b'/' if self.byte(self.at + 1) == b'*' => {
                    let start = self.at;
                    self.at = self.end_of_comment(start).ok_or(start)?;
                }
                _ => return Ok(self.at),
            }
        }
    }

    fn end_of_comment(&self, start: usize) -> Option<usize> {
        let mut depth = 1_usize;
        let mut at = start + 2;
        loop {
            at += self
                .text
                .get(at..)?
                .iter()
                .position(|byte| matches!(byte, b'*' | b'/'))?;
            match (self.byte(at), self.byte(at + 1)) {
                (b'/', b'*') => {
                    depth += 1;
                    at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => at += 1,
            }
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = match self.skip() {
            Ok(start) => start,
            Err(start) => return self.unterminated(Unterminated::Comment, start),
        };
        let byte = *self.text.get(start)?;
        let kind = match byte {
            b';' => TokenKind::Semicolon,
            b'(' => TokenKind::OpenParenthesis,
            b')' => TokenKind::CloseParenthesis,
            b',' => TokenKind::Comma,
            b'\'' => return self.quoted(StringKind::Plain, start, start),
            b'"' => return self.quoted_identifier(start, start),
            b'$' => return self.dollar(start),
            b'0'..=b'9' => return self.number(start),
            b'.' if self.byte(start + 1).is_ascii_digit() => return self.number(start),
            b'.' => TokenKind::Dot,
            _ if is_identifier_start(byte) => return self.word(start),
            _ => TokenKind::Other(byte),
        };
        self.token(kind, start, start + 1)
    }
}

/// Every byte above 127 is a letter to the server, in every server encoding.
fn is_identifier_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_identifier_part(byte: u8) -> bool {
    is_identifier_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text.get(at..)?.iter().position(|byte| *byte == b'$')?;
        if text[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const OFF: LexSettings = LexSettings {
        standard_conforming_strings: false,
    };

    fn tokens(text: &str, settings: LexSettings) -> Vec<&str> {
        Lexer::new(text.as_bytes(), settings)
            .map(|token| &text[token.start..token.end])
            .collect()
    }

    #[rstest]
    #[case("select 1", &["select", "1"])]
    #[case("select'a'';'", &["select", "'a'';'"])]
    #[case(r"select 'a\';'", &["select", r"'a\'", ";", "'"])]
    #[case(r"select e'a\';' ;", &["select", r"e'a\';'", ";"])]
    #[case("E'a'\n'\\';' x", &["E'a'\n'\\';'", "x"])]
    #[case("E'a' -- c\n\t-- d\n '\\';' x", &["E'a' -- c\n\t-- d\n '\\';'", "x"])]
    #[case("E'a' '\\';' x", &["E'a'", "'\\'", ";", "' x"])]
    #[case("E'a' /*\n*/ '\\' x", &["E'a'", "'\\'", "x"])]
    #[case("E'a' --", &["E'a'"])]
    #[case("b'0''1'", &["b'0'", "'1'"])]
    #[case("b'0'\n'1'", &["b'0'\n'1'"])]
    #[case("n'a' N'b'", &["n", "'a'", "N", "'b'"])]
    #[case("u&'a\\' U&\"b;\"\"\" u & 'c'", &["u&'a\\'", "U&\"b;\"\"\"", "u", "&", "'c'"])]
    #[case("nice'a\\'", &["nice", "'a\\'"])]
    #[case("$$a;$b$;$$ $1 $a$ $$ ' $a$", &["$$a;$b$;$$", "$1", "$a$ $$ ' $a$"])]
    #[case("$a$x$a$a$", &["$a$x$a$", "a$"])]
    #[case("a$b$c$b$ $1$x$;$x$", &["a$b$c$b$", "$1", "$x$;$x$"])]
    #[case("$é$;$é$ $ a $1a $b", &["$é$;$é$", "$", "a", "$1", "a", "$", "b"])]
    #[case("1$x$;$x$ 1e'\\'' 1e5 1.5.e'' .5 1..2", &[
        "1", "$x$;$x$", "1", "e'\\''", "1e5", "1.5", ".", "e''", ".5", "1", ".", ".2",
    ])]
    #[case("0x1e'a' 1_000 5.", &["0", "x1e", "'a'", "1", "_000", "5."])]
    #[case("a /* ; /* ' */ ; */ b --;\rc", &["a", "b", "c"])]
    #[case("a /*/ ; */ b /**/ c /***/ d", &["a", "b", "c", "d"])]
    #[case("a+/*;*/b *--;\n c", &["a", "+", "b", "*", "c"])]
    #[case("\"a;\"\"b\" ü_1.x", &["\"a;\"\"b\"", "ü_1", ".", "x"])]
    fn text_is_cut_as_the_server_cuts_it(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(tokens(text, LexSettings::default()), expected);
    }

    #[rstest]
    #[case(r"'a\';' x", &[r"'a\';'", "x"])]
    #[case("'a'\n'\\';' x", &["'a'\n'\\';'", "x"])]
    #[case("b'0''\\'' x", &["b'0'", "'\\''", "x"])]
    #[case(r#""a\" x"#, &[r#""a\""#, "x"])]
    fn backslashes_escape_while_standard_conforming_strings_is_off(
        #[case] text: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(tokens(text, OFF), expected);
    }

    #[rstest]
    #[case("select 'a", Unterminated::String)]
    #[case("select e'a\\", Unterminated::String)]
    #[case("select e'a\\'", Unterminated::String)]
    #[case("select x'", Unterminated::String)]
    #[case("select \"a", Unterminated::QuotedIdentifier)]
    #[case("select $a$ $b$", Unterminated::DollarQuote)]
    #[case("select /* /* */", Unterminated::Comment)]
    #[case("select /*/", Unterminated::Comment)]
    fn what_the_text_leaves_open_is_told(#[case] text: &str, #[case] expected: Unterminated) {
        let last = Lexer::new(text.as_bytes(), LexSettings::default()).last();
        let last = last.unwrap();
        assert_eq!(last.kind, TokenKind::Unterminated(expected));
        assert_eq!(last.end, text.len());
    }

    proptest! {
        #[test]
        fn tokens_follow_each_other_and_cover_all_but_space_and_comments(
            text in r#"([a-z;'"$\\() \n/*-]|E'|U&|--|/\*|\*/|\$\$){0,40}"#,
            standard_conforming_strings in any::<bool>(),
        ) {
            let settings = LexSettings { standard_conforming_strings };
            let mut at = 0;
            for token in Lexer::new(text.as_bytes(), settings) {
                prop_assert!(token.start >= at && token.end > token.start);
                let between = &text[at..token.start];
                prop_assert!(
                    between.trim().is_empty() || between.contains("--") || between.contains("/*")
                );
                at = token.end;
            }
            prop_assert!(at <= text.len());
        }

        #[test]
        fn no_bytes_make_the_lexer_panic(text in prop::collection::vec(any::<u8>(), 0..80)) {
            for settings in [OFF, LexSettings::default()] {
                prop_assert!(Lexer::new(&text, settings).count() <= text.len());
            }
        }
    }
}
