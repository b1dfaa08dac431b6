//! Reading a statement's leading words one after the other.

use super::lexer::{Lexer, StringKind, Token, TokenKind};
use super::literal::string_value;
use super::name::{Name, QualifiedName, is_reserved};

/// A statement's tokens with one token of lookahead. Cloning it is how to look further.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    lexer: Lexer<'a>,
    next: Option<Token>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(mut lexer: Lexer<'a>) -> Self {
        let next = lexer.next();
        Self { lexer, next }
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.next
    }

    pub(super) fn bump(&mut self) -> Option<Token> {
        std::mem::replace(&mut self.next, self.lexer.next())
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.next.is_none()
    }

    /// The text of a token.
    pub(super) fn text(&self, token: Token) -> &'a [u8] {
        &self.lexer.text()[token.start..token.end]
    }

    /// The value of a string constant.
    pub(super) fn value(&self, token: Token) -> Option<Vec<u8>> {
        string_value(token, self.lexer.text(), self.lexer.settings())
    }

    /// Whether the next token is this key word, in lower case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.next.is_some_and(|token| {
            token.kind == TokenKind::Word && self.text(token).eq_ignore_ascii_case(word.as_bytes())
        })
    }

    pub(super) fn is_kind(&self, kind: TokenKind) -> bool {
        self.next.is_some_and(|token| token.kind == kind)
    }

    /// Takes the next token if it is this key word.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let is = self.is(word);
        if is {
            self.bump();
        }
        is
    }

    /// Takes the next token if it is one of these key words.
    pub(super) fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    /// Takes all of these key words or none.
    pub(super) fn eat_all(&mut self, words: &[&str]) -> bool {
        let mut ahead = self.clone();
        let all = words.iter().all(|word| ahead.eat(word));
        if all {
            *self = ahead;
        }
        all
    }

    pub(super) fn eat_kind(&mut self, kind: TokenKind) -> bool {
        let is = self.is_kind(kind);
        if is {
            self.bump();
        }
        is
    }

    /// A string constant; false if there is none.
    pub(super) fn eat_string(&mut self) -> bool {
        let is = matches!(
            self.next,
            Some(Token {
                kind: TokenKind::String(
                    StringKind::Plain
                        | StringKind::Escape
                        | StringKind::Unicode
                        | StringKind::Dollar
                ),
                ..
            })
        );
        if is {
            self.bump();
        }
        is
    }

    /// An identifier where no reserved word may stand.
    pub(super) fn name(&mut self) -> Option<Name> {
        let token = self.next?;
        if token.kind == TokenKind::Word && is_reserved(self.text(token)) {
            return None;
        }
        let name = Name::read(token, self.lexer.text())?;
        self.bump();
        Some(name)
    }

    /// `name`, `schema.name` or `database.schema.name`.
    pub(super) fn qualified_name(&mut self) -> Option<QualifiedName> {
        let mut name = self.name()?;
        let mut schema = None;
        while self.eat_kind(TokenKind::Dot) {
            // Behind a dot any key word is a name.
            let next = Name::read(self.next?, self.lexer.text())?;
            self.bump();
            schema = Some(std::mem::replace(&mut name, next));
        }
        Some(QualifiedName { schema, name })
    }

    /// Skips `(…)` if it comes next.
    pub(super) fn skip_parentheses(&mut self) {
        if !self.is_kind(TokenKind::OpenParenthesis) {
            return;
        }
        let mut depth = 0_usize;
        while let Some(token) = self.bump() {
            match token.kind {
                TokenKind::OpenParenthesis => depth += 1,
                TokenKind::CloseParenthesis => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    /// Goes on to the first of these key words that stands outside of parentheses; false, and at
    /// the end, if there is none.
    pub(super) fn skip_to(&mut self, words: &[&str]) -> bool {
        while !self.is_at_end() {
            if self.is_kind(TokenKind::OpenParenthesis) {
                self.skip_parentheses();
            } else if words.iter().any(|word| self.is(word)) {
                return true;
            } else {
                self.bump();
            }
        }
        false
    }
}
