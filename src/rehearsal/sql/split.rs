//! Cutting a string into statements, where the server's grammar would cut it.
//!
//! A `;` ends a statement unless it stands in parentheses (CREATE RULE … DO (…; …)) or in the body
//! of a routine (CREATE FUNCTION, "BEGIN ATOMIC … END"). No other statement holds one.
//!
//! A server reads a whole string before it runs any of it, and runs nothing when it cannot read it.
//! Whoever sends the pieces one by one must find that out first. One message does: Parse with the
//! *whole* string answers either with the syntax error that the client must see, in its words and
//! with its position, or with 42601 from the routine `exec_parse_message` ("cannot insert multiple
//! commands into a prepared statement"), which says that the string can be read.

use super::calls::{self, Calls};
use super::lexer::{LexSettings, Lexer, StringKind, Token, TokenKind, Unterminated};

/// A string cut into its statements. The pieces, one behind the other, are the string.
#[derive(Debug, Clone)]
pub struct Script<'a> {
    text: &'a [u8],
    statements: Vec<Statement<'a>>,
    problem: Option<Problem>,
    settings: LexSettings,
}

/// Why no server would run any statement of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// Where, in bytes from the string's start.
    pub offset: usize,
}

/// The kinds of [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A string, an identifier or a comment without its end.
    Unterminated(Unterminated),
    /// `)` without `(`.
    UnexpectedParenthesis,
    /// `(` without `)`.
    OpenParenthesis,
    /// BEGIN ATOMIC without END.
    OpenBody,
    /// `U&'…'` while `standard_conforming_strings` is off.
    UnsafeUnicodeString,
}

/// One statement of a [`Script`].
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    script: &'a [u8],
    start: usize,
    first: usize,
    last: usize,
    semicolon: usize,
    end: usize,
    settings: LexSettings,
    calls: Calls,
    reads_settings: bool,
}

impl<'a> Script<'a> {
    /// Cuts `text`.
    #[must_use]
    pub fn new(text: &'a [u8], settings: LexSettings) -> Self {
        let mut splitter = Splitter::new(text, settings);
        let mut statements = Vec::with_capacity(1);
        while let Some(statement) = splitter.next_piece() {
            statements.push(statement);
        }
        Self {
            text,
            statements,
            problem: splitter.problem,
            settings,
        }
    }

    /// The whole string.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// How it was read.
    #[must_use]
    pub fn settings(&self) -> LexSettings {
        self.settings
    }

    /// The pieces, empty ones among them: the space behind the last `;` is one.
    #[must_use]
    pub fn pieces(&self) -> &[Statement<'a>] {
        &self.statements
    }

    /// The statements that do something. When there is none the server answers
    /// EmptyQueryResponse, once for the whole string.
    pub fn statements(&self) -> impl Iterator<Item = &Statement<'a>> {
        self.statements.iter().filter(|piece| !piece.is_empty())
    }

    /// The only statement, when there is exactly one.
    #[must_use]
    pub fn single(&self) -> Option<&Statement<'a>> {
        let mut statements = self.statements();
        let first = statements.next();
        if statements.next().is_some() {
            None
        } else {
            first
        }
    }

    /// Why no server would run any of it, if something is wrong that can be told without a grammar.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        self.problem
    }
}

impl<'a> Statement<'a> {
    /// The statement alone: as a Parse message carries it, without what is before its first and
    /// behind its last token.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        &self.script[self.first..self.last]
    }

    /// Where [`Statement::text`] begins, in bytes from the string's start.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.first
    }

    /// The statement with the space and the comments around it, without its `;`. This is what goes
    /// to the server in its stead: comments may be hints.
    #[must_use]
    pub fn piece(&self) -> &'a [u8] {
        &self.script[self.start..self.semicolon]
    }

    /// Where [`Statement::piece`] begins, in bytes from the string's start.
    #[must_use]
    pub fn piece_offset(&self) -> usize {
        self.start
    }

    /// The piece with its `;`.
    #[must_use]
    pub fn source(&self) -> &'a [u8] {
        &self.script[self.start..self.end]
    }

    /// Whether there is no token in it. The server skips such a piece without an answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first == self.last
    }

    /// The statement's tokens; their offsets count from the start of [`Statement::text`].
    #[must_use]
    pub fn tokens(&self) -> Lexer<'a> {
        Lexer::new(self.text(), self.settings)
    }

    /// What it calls or holds that matters to a rehearsal.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.calls
    }

    /// How it was read.
    #[must_use]
    pub fn settings(&self) -> LexSettings {
        self.settings
    }

    /// Whether a constant in it is read differently when `standard_conforming_strings` changes: a
    /// plain string with a backslash, or a Unicode string.
    #[must_use]
    pub fn depends_on_settings(&self) -> bool {
        self.reads_settings
    }
}

struct Splitter<'a> {
    lexer: Lexer<'a>,
    settings: LexSettings,
    done: bool,
    problem: Option<Problem>,
}

impl<'a> Splitter<'a> {
    fn new(text: &'a [u8], settings: LexSettings) -> Self {
        Self {
            lexer: Lexer::new(text, settings),
            settings,
            done: false,
            problem: None,
        }
    }

    fn report(&mut self, kind: ProblemKind, offset: usize) {
        self.problem.get_or_insert(Problem { kind, offset });
    }

    fn next_piece(&mut self) -> Option<Statement<'a>> {
        if self.done {
            return None;
        }
        let script = self.lexer.text();
        let start = self.lexer.position();
        let mut piece = Statement {
            script,
            start,
            first: start,
            last: start,
            semicolon: script.len(),
            end: script.len(),
            settings: self.settings,
            calls: Calls::default(),
            reads_settings: false,
        };
        let mut scan = calls::Scan::new(script, self.settings);
        let mut nesting = Nesting::default();
        loop {
            let Some(token) = self.lexer.next() else {
                self.done = true;
                self.close(&nesting, piece.last);
                break;
            };
            if token.kind == TokenKind::Semicolon && nesting.is_outermost() {
                piece.semicolon = token.start;
                piece.end = token.end;
                break;
            }
            if piece.is_empty() {
                piece.first = token.start;
            }
            piece.last = token.end;
            if !nesting.take(token, script) {
                self.report(ProblemKind::UnexpectedParenthesis, token.start);
            }
            self.check(token, &mut piece);
            scan.take(token);
        }
        piece.calls = scan.finish();
        // The space behind the last `;` is a piece only if there is some.
        (piece.start < piece.end).then_some(piece)
    }

    fn check(&mut self, token: Token, piece: &mut Statement<'a>) {
        match token.kind {
            TokenKind::String(StringKind::Plain) => {
                piece.reads_settings |= piece.script[token.start..token.end].contains(&b'\\');
            }
            TokenKind::String(StringKind::Unicode) => {
                piece.reads_settings = true;
                if !self.settings.standard_conforming_strings {
                    self.report(ProblemKind::UnsafeUnicodeString, token.start);
                }
            }
            TokenKind::Unterminated(what) => {
                // An open string reaches to the end under one value and may not under the other.
                piece.reads_settings |= what == Unterminated::String;
                self.report(ProblemKind::Unterminated(what), token.start);
            }
            _ => {}
        }
    }

    fn close(&mut self, nesting: &Nesting, offset: usize) {
        if nesting.parentheses > 0 {
            self.report(ProblemKind::OpenParenthesis, offset);
        } else if nesting.bodies > 0 {
            self.report(ProblemKind::OpenBody, offset);
        }
    }
}

/// Where a `;` would not end the statement.
#[derive(Default)]
struct Nesting {
    parentheses: usize,
    bodies: usize,
    head: Head,
    before: Before,
}

/// How much of `CREATE [OR REPLACE] {FUNCTION | PROCEDURE}` has been seen.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Head {
    #[default]
    Start,
    Create,
    CreateOr,
    CreateOrReplace,
    Routine,
    Other,
}

/// The token before, as far as it decides about BEGIN ATOMIC and its END.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Before {
    #[default]
    Other,
    Begin,
    /// `;` in a body, or the ATOMIC that opened it: the only places where its END can stand.
    StatementEnd,
}

impl Nesting {
    fn is_outermost(&self) -> bool {
        self.parentheses == 0 && self.bodies == 0
    }

    /// Counts a token in; false if it closes what is not open.
    fn take(&mut self, token: Token, text: &[u8]) -> bool {
        let before = std::mem::take(&mut self.before);
        match token.kind {
            TokenKind::OpenParenthesis => self.parentheses += 1,
            TokenKind::CloseParenthesis => {
                let Some(parentheses) = self.parentheses.checked_sub(1) else {
                    return false;
                };
                self.parentheses = parentheses;
            }
            TokenKind::Semicolon if self.parentheses == 0 => {
                // Only reached in a body: the next statement of it begins.
                self.before = Before::StatementEnd;
                self.head = Head::Start;
                return true;
            }
            TokenKind::Word if self.head != Head::Other => {
                self.word(&text[token.start..token.end], before);
                return true;
            }
            _ => {}
        }
        if self.head != Head::Routine {
            self.head = Head::Other;
        }
        true
    }

    fn word(&mut self, word: &[u8], before: Before) {
        let is = |key: &str| word.eq_ignore_ascii_case(key.as_bytes());
        if before == Before::StatementEnd && is("end") {
            self.bodies -= 1;
            // Back in the statement around it, of which nothing can follow but its own end.
            self.head = Head::Routine;
            return;
        }
        self.head = match self.head {
            Head::Start if is("create") => Head::Create,
            Head::Create if is("or") => Head::CreateOr,
            Head::CreateOr if is("replace") => Head::CreateOrReplace,
            Head::Create | Head::CreateOrReplace if is("function") || is("procedure") => {
                Head::Routine
            }
            Head::Routine if self.parentheses > 0 => Head::Routine,
            Head::Routine if before == Before::Begin && is("atomic") => {
                self.bodies += 1;
                self.before = Before::StatementEnd;
                Head::Start
            }
            Head::Routine => {
                if is("begin") {
                    self.before = Before::Begin;
                }
                Head::Routine
            }
            _ => Head::Other,
        };
    }
}

#[cfg(test)]
mod tests;
