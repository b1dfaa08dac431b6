//! A run of tokens, read from its front.

use crate::rehearsal::sql::lexer::{Token, TokenKind};
use crate::rehearsal::sql::name::{Name, QualifiedName, is_reserved};

/// Tokens of one text. Copying it is how to look further.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    text: &'a [u8],
    tokens: &'a [Token],
}

impl<'a> Run<'a> {
    pub(super) fn new(text: &'a [u8], tokens: &'a [Token]) -> Self {
        Self { text, tokens }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.tokens.is_empty()
    }

    fn source(&self, token: Token) -> &'a [u8] {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn bump(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// Whether the next token is this key word, in lower case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.tokens.first().is_some_and(|token| {
            token.kind == TokenKind::Word
                && self.source(*token).eq_ignore_ascii_case(word.as_bytes())
        })
    }

    pub(super) fn is_kind(&self, kind: TokenKind) -> bool {
        self.tokens.first().is_some_and(|token| token.kind == kind)
    }

    pub(super) fn eat_kind(&mut self, kind: TokenKind) -> bool {
        let is = self.is_kind(kind);
        if is {
            self.bump();
        }
        is
    }

    /// Takes all of these key words or none.
    pub(super) fn eat(&mut self, words: &str) -> bool {
        let mut ahead = *self;
        for word in words.split(' ') {
            if !ahead.is(word) {
                return false;
            }
            ahead.bump();
        }
        *self = ahead;
        true
    }

    /// Whether these key words stand one behind the other anywhere outside of parentheses.
    pub(super) fn has(&self, words: &str) -> bool {
        let mut ahead = *self;
        while !ahead.is_at_end() {
            if ahead.eat(words) {
                return true;
            }
            ahead.skip();
        }
        false
    }

    /// Goes over one token, or over all between a parenthesis and its end.
    pub(super) fn skip(&mut self) {
        if self.parenthesized().is_none() {
            self.bump();
        }
    }

    /// An identifier where no reserved word may stand.
    pub(super) fn name(&mut self) -> Option<Name> {
        let token = *self.tokens.first()?;
        if token.kind == TokenKind::Word && is_reserved(self.source(token)) {
            return None;
        }
        self.any_name()
    }

    /// An identifier where any word may stand.
    pub(super) fn any_name(&mut self) -> Option<Name> {
        let name = Name::read(*self.tokens.first()?, self.text)?;
        self.bump();
        Some(name)
    }

    /// `name` or `schema.name`.
    pub(super) fn qualified_name(&mut self) -> Option<QualifiedName> {
        let name = self.name()?;
        if !self.eat_kind(TokenKind::Dot) {
            return Some(QualifiedName { schema: None, name });
        }
        let inner = self.any_name()?;
        let qualified = QualifiedName {
            schema: Some(name),
            name: inner,
        };
        (!self.is_kind(TokenKind::Dot)).then_some(qualified)
    }

    /// What stands in the parentheses that come next.
    pub(super) fn parenthesized(&mut self) -> Option<Self> {
        if !self.is_kind(TokenKind::OpenParenthesis) {
            return None;
        }
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate() {
            match token.kind {
                TokenKind::OpenParenthesis => depth += 1,
                TokenKind::CloseParenthesis => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let inner = Self::new(self.text, self.tokens.get(1..index)?);
                self.tokens = self.tokens.get(index + 1..)?;
                return Some(inner);
            }
        }
        None
    }

    /// Cut at the commas outside of parentheses and brackets.
    pub(super) fn split(mut self) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut begin = self.tokens;
        let mut brackets = 0_usize;
        while let Some(token) = self.tokens.first() {
            match token.kind {
                TokenKind::Other(b'[') => brackets += 1,
                TokenKind::Other(b']') => brackets = brackets.saturating_sub(1),
                TokenKind::Comma if brackets == 0 => {
                    pieces.push(Self::new(self.text, before(begin, self.tokens)));
                    self.bump();
                    begin = self.tokens;
                    continue;
                }
                _ => {}
            }
            self.skip();
        }
        pieces.push(Self::new(self.text, begin));
        pieces
    }

    /// Takes everything in front of the first of these key words that stands outside of
    /// parentheses.
    pub(super) fn until(&mut self, words: &[&str]) -> Self {
        let begin = self.tokens;
        while !self.is_at_end() && !words.iter().any(|word| self.is(word)) {
            self.skip();
        }
        Self::new(self.text, before(begin, self.tokens))
    }

    /// What a part of it took.
    pub(super) fn taken(&self, rest: Self) -> Self {
        Self::new(self.text, before(self.tokens, rest.tokens))
    }

    /// The key words and names in it that are this word, replaced; the text as [`Run::sql`].
    pub(super) fn sql_with(&self, word: &str, replacement: &str) -> Option<String> {
        let mut sql = String::new();
        let mut last: Option<Token> = None;
        for token in self.tokens {
            if matches!(
                token.kind,
                TokenKind::Unterminated(_) | TokenKind::Semicolon
            ) {
                return None;
            }
            if last.is_some_and(|last| last.end < token.start) {
                sql.push(' ');
            }
            let source = std::str::from_utf8(self.source(*token)).ok()?;
            let behind_dot = last.is_some_and(|last| last.kind == TokenKind::Dot);
            if token.kind == TokenKind::Word && !behind_dot && source.eq_ignore_ascii_case(word) {
                sql.push_str(replacement);
            } else {
                sql.push_str(source);
            }
            last = Some(*token);
        }
        (!sql.is_empty()).then_some(sql)
    }

    /// The text without its comments, in one line but for line ends inside of constants. `None` for
    /// nothing, and for what is no part of one statement.
    pub(super) fn sql(&self) -> Option<String> {
        self.sql_with("", "")
    }

    /// The next tokens as the operator that they are.
    pub(super) fn operator(&mut self) -> Option<String> {
        let begin = *self;
        if self.eat("operator") {
            self.parenthesized()?;
            return begin.taken(*self).sql();
        }
        while let Some(Token {
            kind: TokenKind::Other(byte),
            ..
        }) = self.tokens.first()
        {
            if !b"+-*/<>=~!@#%^&|`?".contains(byte) {
                return None;
            }
            self.bump();
        }
        begin.taken(*self).sql()
    }
}

/// The tokens of `all` in front of its end `rest`.
fn before<'a>(all: &'a [Token], rest: &[Token]) -> &'a [Token] {
    all.get(..all.len().saturating_sub(rest.len()))
        .unwrap_or_default()
}
