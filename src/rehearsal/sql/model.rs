//! A model of the server, and the property that no committing statement reaches it unseen.
//!
//! The model has a scanner of its own, written state by state after the manual's "Lexical
//! Structure" and sharing nothing with the lexer, and it reads every message under the
//! `standard_conforming_strings` that is in force in it at that moment.

use super::{Command, LexSettings, Script, classify};
use proptest::prelude::*;

const CONTROL: &[&str] = &[
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
];

/// A scanner that yields the source text of each token, or why it gives up.
fn scan(text: &str, conforming: bool) -> Result<Vec<String>, &'static str> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Initial,
        /// Escapes, doubled quotes, and whether the server would refuse it.
        Quoted {
            escapes: bool,
            doubling: bool,
        },
        /// Behind a closing quote that may not be the last.
        Closed {
            escapes: bool,
            doubling: bool,
            newline: bool,
        },
        Identifier,
        Comment(usize),
    }
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let starts = |i: usize, wanted: &str| wanted.chars().enumerate().all(|(k, c)| at(i + k) == c);
    let mut tokens = Vec::new();
    let mut state = State::Initial;
    // Start and end of the token that is being read.
    let (mut start, mut end, mut i) = (0, 0, 0);
    let cut = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
    loop {
        let c = at(i);
        let done = i >= chars.len();
        match state {
            State::Quoted { .. } if done => return Err("unterminated string"),
            State::Quoted { escapes, doubling } => {
                if c == '\\' && escapes {
                    i += 2;
                    if i > chars.len() {
                        return Err("unterminated string");
                    }
                } else if c == '\'' && doubling && at(i + 1) == '\'' {
                    i += 2;
                } else if c == '\'' {
                    i += 1;
                    end = i;
                    state = State::Closed {
                        escapes,
                        doubling,
                        newline: false,
                    };
                } else {
                    i += 1;
                }
            }
            State::Closed {
                escapes,
                doubling,
                newline,
            } => {
                if c == '\n' || c == '\r' {
                    state = State::Closed {
                        escapes,
                        doubling,
                        newline: true,
                    };
                    i += 1;
                } else if c == ' ' || c == '\t' {
                    i += 1;
                } else if starts(i, "--") {
                    while i < chars.len() && at(i) != '\n' && at(i) != '\r' {
                        i += 1;
                    }
                } else if c == '\'' && newline {
                    i += 1;
                    state = State::Quoted { escapes, doubling };
                } else {
                    tokens.push(cut(start, end));
                    i = end;
                    state = State::Initial;
                }
            }
            State::Identifier if done => return Err("unterminated identifier"),
            State::Identifier => {
                if starts(i, "\"\"") {
                    i += 2;
                } else {
                    i += 1;
                    if c == '"' {
                        tokens.push(cut(start, i));
                        state = State::Initial;
                    }
                }
            }
            State::Comment(_) if done => return Err("unterminated comment"),
            State::Comment(depth) => {
                if starts(i, "/*") {
                    state = State::Comment(depth + 1);
                    i += 2;
                } else if starts(i, "*/") {
                    state = if depth == 1 {
                        State::Initial
                    } else {
                        State::Comment(depth - 1)
                    };
                    i += 2;
                } else {
                    i += 1;
                }
            }
            State::Initial if done => return Ok(tokens),
            State::Initial => {
                start = i;
                let lower = c.to_ascii_lowercase();
                if c.is_ascii_whitespace() {
                    i += 1;
                } else if starts(i, "--") {
                    while i < chars.len() && at(i) != '\n' && at(i) != '\r' {
                        i += 1;
                    }
                } else if starts(i, "/*") {
                    state = State::Comment(1);
                    i += 2;
                } else if c == '\'' {
                    state = State::Quoted {
                        escapes: !conforming,
                        doubling: true,
                    };
                    i += 1;
                } else if lower == 'e' && at(i + 1) == '\'' {
                    state = State::Quoted {
                        escapes: true,
                        doubling: true,
                    };
                    i += 2;
                } else if (lower == 'b' || lower == 'x') && at(i + 1) == '\'' {
                    state = State::Quoted {
                        escapes: false,
                        doubling: false,
                    };
                    i += 2;
                } else if lower == 'u' && starts(i + 1, "&'") {
                    if !conforming {
                        return Err("unsafe use of string constant with Unicode escapes");
                    }
                    state = State::Quoted {
                        escapes: false,
                        doubling: true,
                    };
                    i += 3;
                } else if lower == 'u' && starts(i + 1, "&\"") {
                    state = State::Identifier;
                    i += 3;
                } else if c == '"' {
                    state = State::Identifier;
                    i += 1;
                } else if c.is_ascii_alphabetic() || c == '_' || !c.is_ascii() {
                    while at(i).is_ascii_alphanumeric() || "_$".contains(at(i)) || !at(i).is_ascii()
                    {
                        i += 1;
                    }
                    tokens.push(cut(start, i));
                } else if c == '$' {
                    let mut tag = i + 1;
                    if !at(tag).is_ascii_digit() {
                        while at(tag).is_ascii_alphanumeric()
                            || at(tag) == '_'
                            || !at(tag).is_ascii()
                        {
                            tag += 1;
                        }
                    }
                    if at(tag) == '$' {
                        let delimiter = cut(i, tag + 1);
                        let mut close = tag + 1;
                        while !starts(close, &delimiter) {
                            if close >= chars.len() {
                                return Err("unterminated dollar-quoted string");
                            }
                            close += 1;
                        }
                        i = close + delimiter.chars().count();
                    } else {
                        i += 1;
                    }
                    tokens.push(cut(start, i));
                } else {
                    i += 1;
                    tokens.push(cut(start, i));
                }
            }
        }
    }
}

/// A server: it knows its own setting, and complains when transaction control reaches it.
struct Server {
    conforming: bool,
}

#[derive(Debug, PartialEq)]
enum Reply {
    Done,
    Error,
    /// What must never happen.
    Control(String),
}

impl Server {
    /// A simple Query: every command in it is executed, one behind the other. The model does not
    /// know the grammar, so it takes every `;` for the end of a command.
    fn query(&mut self, text: &str) -> Reply {
        let Ok(tokens) = scan(text, self.conforming) else {
            return Reply::Error;
        };
        for command in tokens.split(|token| token == ";") {
            if let Reply::Control(word) = self.execute(command) {
                return Reply::Control(word);
            }
        }
        Reply::Done
    }

    /// Parse, Bind, Execute: one command, or an error. Where only a grammar could tell how many
    /// there are (a `;` in parentheses or in a body) the model takes them for one.
    fn extended(&mut self, text: &str) -> Reply {
        let Ok(tokens) = scan(text, self.conforming) else {
            return Reply::Error;
        };
        self.execute(&tokens)
    }

    fn execute(&mut self, command: &[String]) -> Reply {
        let lower: Vec<String> = command
            .iter()
            .map(|token| token.to_ascii_lowercase())
            .collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        match &lower[..] {
            [first, ..] if CONTROL.contains(first) => return Reply::Control((*first).to_owned()),
            ["prepare", "transaction", ..] => return Reply::Control("prepare".to_owned()),
            ["set", "standard_conforming_strings", "=", value] => self.conforming = *value == "on",
            ["reset", "standard_conforming_strings"] => self.conforming = true,
            [
                "select",
                "set_config",
                "(",
                "'standard_conforming_strings'",
                ",",
                value,
                ..,
            ] => {
                self.conforming = *value == "'on'";
            }
            _ => {}
        }
        Reply::Done
    }
}

/// What a rehearsal does with a client's string, as the documentation of [`Script`] asks for.
fn rehearse(text: &str, server: &mut Server) -> Result<(), String> {
    let settings = LexSettings {
        standard_conforming_strings: server.conforming,
    };
    let script = Script::new(text.as_bytes(), settings);
    if script.problem().is_some() {
        // Parsed as a whole, never executed: the server must refuse it too, as far as its scanner
        // can tell.
        return Ok(());
    }
    let direct = scan(text, server.conforming).map_err(|error| format!("scanner: {error}"))?;
    let ours: Vec<String> = script
        .pieces()
        .iter()
        .flat_map(|piece| {
            let text = piece.text();
            piece
                .tokens()
                .map(move |t| String::from_utf8_lossy(&text[t.start..t.end]).into_owned())
        })
        .collect();
    let without_ends = |tokens: &[String]| -> String {
        tokens
            .iter()
            .filter(|token| *token != ";")
            .map(String::as_str)
            .collect()
    };
    if without_ends(&direct) != without_ends(&ours) {
        return Err(format!("read as {ours:?}, not as {direct:?}"));
    }

    for (index, piece) in script.pieces().iter().enumerate() {
        let command = classify(piece);
        if matches!(
            command,
            Command::Empty | Command::Control(_) | Command::MalformedControl
        ) {
            continue;
        }
        let before = server.conforming;
        let text = std::str::from_utf8(piece.piece()).map_err(|e| e.to_string())?;
        match server.extended(text) {
            Reply::Control(word) => return Err(format!("{word} in a piece")),
            Reply::Error => return Ok(()),
            Reply::Done => {}
        }
        let later = &script.pieces()[index + 1..];
        if server.conforming != before && later.iter().any(|piece| piece.depends_on_settings()) {
            // The server reports the change, and the rest is not rehearsed.
            return Ok(());
        }
        for later in later {
            let later = String::from_utf8_lossy(later.piece()).into_owned();
            if scan(&later, true) != scan(&later, false) && server.conforming != before {
                return Err("a piece is read differently behind a change".to_owned());
            }
        }
    }
    Ok(())
}

fn tricky() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "'",
        "'",
        "'",
        "\\",
        "\\'",
        "''",
        "E'",
        "U&'",
        "b'",
        "n'",
        "\"",
        "$$",
        "$a$",
        "$1",
        "a$b$",
        "--",
        "\n",
        "\n",
        "/*",
        "*/",
        "(",
        ")",
        ";",
        ";",
        ";",
        " ",
        "select ",
        "commit",
        "rollback",
        "commit and chain",
        "prepare transaction 'x'",
        "end",
        "begin",
        "begin atomic ",
        "x",
        "1",
        "create function f() ",
        "create rule r as do ",
        "savepoint s",
        "set standard_conforming_strings = off",
        "set standard_conforming_strings = on",
        "set standard_conforming_strings = off;",
        "reset standard_conforming_strings;",
        "select set_config('standard_conforming_strings', 'off', false);",
        "select '\\'",
        "'; --'",
        "; commit; --'",
        "e'\\'' '",
    ]);
    prop::collection::vec(fragment, 1..16).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_committing_statement_hides(
        strings in prop::collection::vec(tricky(), 1..4),
        conforming in any::<bool>(),
    ) {
        let mut server = Server { conforming };
        for text in &strings {
            if let Err(slip) = rehearse(text, &mut server) {
                return Err(TestCaseError::fail(format!("{slip}: {text:?}")));
            }
        }
    }
}

#[test]
fn the_model_finds_what_a_careless_rehearsal_would_let_through() {
    // The string that committed a table in a prototype: one constant under one value, three
    // commands under the other.
    let text = r"select '\''; rollback; create table t(); --'";
    assert_eq!(Server { conforming: true }.query(text), Reply::Done);
    let slipped = Server { conforming: false }.query(text);
    assert_eq!(slipped, Reply::Control("rollback".to_owned()));
    let text = r"select '\'; commit; --'";
    let slipped = Server { conforming: true }.query(text);
    assert_eq!(slipped, Reply::Control("commit".to_owned()));
    assert_eq!(Server { conforming: false }.query(text), Reply::Done);
}
