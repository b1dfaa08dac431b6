//! A statement's text for a report: without bind values' textual cousins, the constants.
//!
//! Statements that work on rows lose every number and string. Statements that define objects keep
//! them, since a column's default is what a reader wants to see, but for those that hold
//! credentials: CREATE ROLE … PASSWORD, CREATE SUBSCRIPTION … CONNECTION, OPTIONS of servers and
//! user mappings. Comments are dropped, since they may say anything.

use super::command::{Command, Object, Verb};
use super::lexer::{Lexer, StringKind, Token, TokenKind};
use super::literal::dollar_body;
use super::split::Statement;
use super::tokens::Tokens;

/// A statement's text for a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redacted {
    /// In one line, but for line ends inside of constants that are shown.
    pub text: String,
    /// Nothing but comments and white space is missing.
    pub whole: bool,
}

/// The statement in at most `limit` characters, the last one an ellipsis if it was cut.
#[must_use]
pub fn redact(statement: &Statement<'_>, command: &Command, limit: usize) -> Redacted {
    let mut out = Line::new(limit);
    put(statement.tokens(), constants(statement, command), &mut out);
    out.finish()
}

/// What becomes of a statement's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Constants {
    /// All become `?`.
    Hide,
    /// All stay.
    Keep,
    /// Numbers stay, strings become `?`.
    HideStrings,
    /// All become `?`, and a dollar-quoted body is read as a program of its own.
    HideInBody,
}

fn constants(statement: &Statement<'_>, command: &Command) -> Constants {
    match command {
        Command::Do => Constants::HideInBody,
        // Settings of an application may be keys.
        Command::Ddl(ddl) if ddl.verb == Verb::Alter && ddl.object == Object::Database => {
            Constants::Hide
        }
        Command::Ddl(ddl) if ddl.verb == Verb::Alter && ddl.object == Object::Routine => {
            Constants::HideStrings
        }
        Command::Ddl(ddl) => match ddl.object {
            Object::Role | Object::UserMapping | Object::ForeignServer | Object::Subscription => {
                Constants::HideStrings
            }
            Object::ForeignTable | Object::Other => Constants::HideStrings,
            _ => Constants::Keep,
        },
        Command::CreateTable(table) if table.foreign => Constants::HideStrings,
        // CREATE TABLE … AS: rows, not a definition.
        Command::CreateTable(_) if Tokens::new(statement.tokens()).skip_to(&["as"]) => {
            Constants::Hide
        }
        Command::Server(_) => Constants::HideStrings,
        Command::CreateTable(_)
        | Command::CreateIndex(_)
        | Command::DropIndex(_)
        | Command::Reindex(_)
        | Command::DetachPartition(_)
        | Command::AlterSequence { .. }
        | Command::AddEnumValue(_) => Constants::Keep,
        _ => Constants::Hide,
    }
}

fn put(lexer: Lexer<'_>, constants: Constants, out: &mut Line) {
    let text = lexer.text();
    let mut before: Option<Token> = None;
    for token in lexer {
        if out.is_full() {
            return;
        }
        if before.is_some_and(|before| before.end < token.start) {
            out.push(" ");
        }
        before = Some(token);
        let source = &text[token.start..token.end];
        let hidden = match token.kind {
            TokenKind::String(_) => constants != Constants::Keep,
            TokenKind::Number => matches!(constants, Constants::Hide | Constants::HideInBody),
            // Whatever it is, it may be the first half of a secret.
            TokenKind::Unterminated(_) => true,
            _ => false,
        };
        if !hidden {
            out.put(&String::from_utf8_lossy(source), true);
            out.whole &= std::str::from_utf8(source).is_ok();
        } else if constants == Constants::HideInBody
            && token.kind == TokenKind::String(StringKind::Dollar)
            && let Some(body) = dollar_body(source)
        {
            let delimiter = String::from_utf8_lossy(&source[..(source.len() - body.len()) / 2]);
            out.whole = false;
            out.push(&delimiter);
            out.push(" ");
            put(Lexer::new(body, Default::default()), Constants::Hide, out);
            out.push(" ");
            out.push(&delimiter);
        } else {
            out.whole = false;
            out.push("?");
        }
    }
}

/// A line that stops growing at its limit.
struct Line {
    text: String,
    left: usize,
    cut: bool,
    whole: bool,
}

impl Line {
    fn new(limit: usize) -> Self {
        Self {
            text: String::new(),
            left: limit,
            cut: false,
            whole: true,
        }
    }

    fn is_full(&self) -> bool {
        self.cut
    }

    fn push(&mut self, text: &str) {
        self.put(text, false);
    }

    /// `lines`: the text goes on in other lines where it says so.
    fn put(&mut self, text: &str, lines: bool) {
        for character in text.chars() {
            if self.left == 0 {
                self.cut = true;
                return;
            }
            self.left -= 1;
            let stays = lines && matches!(character, '\n' | '\t') || !character.is_control();
            self.whole &= stays;
            self.text.push(if stays { character } else { ' ' });
        }
    }

    fn finish(mut self) -> Redacted {
        if self.cut {
            self.text.pop();
            self.text.push('…');
        }
        Redacted {
            text: self.text,
            whole: self.whole && !self.cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LexSettings, Script, classify};
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn of(text: &str, limit: usize) -> String {
        let script = Script::new(text.as_bytes(), LexSettings::default());
        let statement = script.statements().next().unwrap();
        redact(statement, &classify(statement), limit).text
    }

    #[rstest]
    #[case(
        "insert  into t\nvalues (1, 'secret', E'\\x', $1, -2.5) -- secret",
        "insert into t values (?, ?, ?, $1, -?)"
    )]
    #[case("select /* secret */ $$secret$$", "select ?")]
    #[case("select 'sec\n'\n'ret'", "select ?")]
    #[case("set app.key = 'secret'", "set app.key = ?")]
    #[case(
        "alter table t add c text default 'x'",
        "alter table t add c text default 'x'"
    )]
    #[case(
        "create table t (c numeric(10, 2))",
        "create table t (c numeric(10, 2))"
    )]
    #[case(
        "alter role r valid until 'x' password 'secret'",
        "alter role r valid until ? password ?"
    )]
    #[case(
        "create user u password 'secret' connection limit 5",
        "create user u password ? connection limit 5"
    )]
    #[case("create group u password 'secret'", "create group u password ?")]
    #[case(
        "create subscription s connection 'secret' publication p",
        "create subscription s connection ? publication p"
    )]
    #[case(
        "alter subscription s connection 'secret'",
        "alter subscription s connection ?"
    )]
    #[case(
        "create user mapping for u server s options (password 'secret')",
        "create user mapping for u server s options (password ?)"
    )]
    #[case(
        "alter server s options (set password 'secret')",
        "alter server s options (set password ?)"
    )]
    #[case(
        "create foreign table t (a int) server s options (key 'secret')",
        "create foreign table t (a int) server s options (key ?)"
    )]
    #[case("alter system set x = 'secret'", "alter system set x = ?")]
    #[case(
        "create table t as select 'secret', 7",
        "create table t as select ?, ?"
    )]
    #[case(
        "create temp table t (a) as values ('secret')",
        "create temp table t (a) as values (?)"
    )]
    #[case(
        "create table t (a int generated always as (b + 1) stored)",
        "create table t (a int generated always as (b + 1) stored)"
    )]
    #[case(
        "alter database d set app.jwt_secret = 'secret'",
        "alter database d set app.jwt_secret = ?"
    )]
    #[case(
        "alter function f(int) set app.key = 'secret'",
        "alter function f(int) set app.key = ?"
    )]
    #[case(
        "do $$begin insert into t values ('secret'); end$$",
        "do $$ begin insert into t values (?); end $$"
    )]
    #[case("frobnicate 'secret' 1", "frobnicate ? ?")]
    #[case("insert into t values ('secret", "insert into t values (?")]
    fn constants_that_may_be_secret_are_hidden(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(of(text, 1000), expected);
    }

    #[rstest]
    #[case("create  table t (a int default 7) -- why", true)]
    #[case("commit", true)]
    #[case(
        "create function f() returns int language sql as $$\n select 1 -- one\n$$",
        true
    )]
    #[case("insert into t values (1)", false)]
    #[case("do $$begin end$$", false)]
    #[case("create table t (a text default 'a\rb')", false)]
    #[case(
        "create table a_long_name_for_a_table (a int, b int, c int, d int, e int, f int)",
        false
    )]
    fn a_text_says_whether_it_is_whole(#[case] text: &str, #[case] whole: bool) {
        let script = Script::new(text.as_bytes(), LexSettings::default());
        let statement = script.statements().next().unwrap();
        assert_eq!(redact(statement, &classify(statement), 70).whole, whole);
    }

    #[test]
    fn long_statements_are_cut_between_characters() {
        assert_eq!(of("select ääääää", 10), "select ää…");
        assert_eq!(of("select 1", 8), "select ?");
    }

    proptest! {
        #[test]
        fn no_constant_of_a_statement_on_rows_is_shown(
            text in r#"(select|insert|update|with|copy|execute)( [a-z,();]| 'SECRET'| E'SECRET\\''| \$\$SECRET\$\$| \$x\$'SECRET'\$x\$|/\*SECRET\*/|--SECRET\n|\n){0,12}( 'SECRET)?"#,
        ) {
            let script = Script::new(text.as_bytes(), LexSettings::default());
            for statement in script.statements() {
                let line = redact(statement, &classify(statement), 500).text;
                prop_assert!(!line.contains("SECRET"), "{}", line);
            }
        }
    }
}
