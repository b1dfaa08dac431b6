//! Statements that go to the server in another form than the client's, and where an error in them
//! is in the client's own string.
//!
//! Manual: CREATE INDEX, DROP INDEX, REINDEX, ALTER TABLE (DETACH PARTITION) for CONCURRENTLY;
//! PREPARE, EXECUTE, DEALLOCATE; "Error and Notice Message Fields" for the position, which counts
//! characters from 1.

use super::classify::is_deallocate_prepare;
use super::encoding::ClientEncoding;
use super::lexer::{Token, TokenKind};
use super::name::Name;
use super::split::Statement;
use super::tokens::Tokens;
use std::ops::Range;

/// A piece of a client's string in the form in which it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// What is sent.
    pub text: Vec<u8>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a text that was sent stands in the client's string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Where the piece begins, in bytes.
    offset: usize,
    edit: Option<Edit>,
}

/// One replacement inside of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edit {
    /// In bytes from the piece's start.
    at: usize,
    /// Bytes of the client's text that are gone.
    removed: usize,
    /// Characters that are there instead.
    inserted: usize,
}

impl Origin {
    /// Of [`Statement::piece`], sent as it is.
    #[must_use]
    pub fn of_piece(statement: &Statement<'_>) -> Self {
        Self {
            offset: statement.piece_offset(),
            edit: None,
        }
    }

    /// Turns a position in the text that was sent into the position in the client's whole string.
    #[must_use]
    pub fn position(&self, client: &[u8], position: usize, encoding: ClientEncoding) -> usize {
        let characters =
            |range: Range<usize>| encoding.characters(client.get(range).unwrap_or_default());
        let before = characters(0..self.offset);
        let Some(edit) = self.edit else {
            return before + position;
        };
        let at = self.offset + edit.at;
        let unchanged = characters(self.offset..at);
        before
            + if position <= unchanged {
                position
            } else if position <= unchanged + edit.inserted {
                // Inside of what the client did not write: where it stands.
                unchanged + 1
            } else {
                position - edit.inserted + characters(at..at + edit.removed)
            }
    }
}

/// The plain form of a statement with CONCURRENTLY, as REINDEX's option too. The words are replaced
/// by spaces, so positions stay what they are. `None` if there is none.
#[must_use]
pub fn without_concurrently(statement: &Statement<'_>) -> Option<Rewritten> {
    let mut tokens = Tokens::new(statement.tokens());
    let mut blank: Vec<Range<usize>> = Vec::new();
    let reindex = tokens.eat("reindex");
    if reindex && tokens.is_kind(TokenKind::OpenParenthesis) {
        blank.extend(option_ranges(&mut tokens));
    }
    while let Some(token) = tokens.peek() {
        if tokens.is("concurrently") {
            blank.push(token.start..token.end);
            break;
        }
        if tokens.is_kind(TokenKind::OpenParenthesis) {
            // Columns and expressions: no key word of the statement's own from here on.
            break;
        }
        tokens.bump();
    }
    if blank.is_empty() {
        return None;
    }
    let mut text = statement.piece().to_vec();
    let shift = statement.offset() - statement.piece_offset();
    for range in blank {
        text[range.start + shift..range.end + shift].fill(b' ');
    }
    Some(Rewritten {
        text,
        origin: Origin::of_piece(statement),
    })
}

/// What to blank in `(CONCURRENTLY [value], …)`: the option with one comma, or all of it with the
/// parentheses when nothing else is in there.
fn option_ranges(tokens: &mut Tokens<'_>) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let open = tokens.bump();
    let mut options: Vec<(Range<usize>, bool)> = Vec::new();
    let mut commas = Vec::new();
    let mut close = None;
    let mut begins = true;
    while let Some(token) = tokens.peek() {
        match token.kind {
            TokenKind::CloseParenthesis => {
                close = tokens.bump();
                break;
            }
            TokenKind::Comma => {
                commas.push(token);
                begins = true;
            }
            _ if begins => {
                options.push((token.start..token.end, tokens.is("concurrently")));
                begins = false;
            }
            _ => {
                if let Some((range, _)) = options.last_mut() {
                    range.end = token.end;
                }
            }
        }
        tokens.bump();
    }
    let (Some(open), Some(close)) = (open, close) else {
        return ranges;
    };
    if !options.is_empty() && options.iter().all(|(_, concurrently)| *concurrently) {
        ranges.push(open.start..close.end);
        return ranges;
    }
    for (index, (range, concurrently)) in options.iter().enumerate() {
        if *concurrently {
            ranges.push(range.clone());
            // The first option takes the comma behind it along, every other the one before it.
            let comma: Option<&Token> = commas.get(index.saturating_sub(1));
            ranges.extend(comma.map(|comma| comma.start..comma.end));
        }
    }
    ranges
}

/// Gives the prepared statement that PREPARE, EXECUTE, DEALLOCATE, EXPLAIN EXECUTE or CREATE TABLE …
/// AS EXECUTE names another name. `None` if the statement names none.
#[must_use]
pub fn rename_prepared(
    statement: &Statement<'_>,
    rename: impl FnOnce(&Name) -> Name,
) -> Option<Rewritten> {
    let (token, name) = prepared_name(Tokens::new(statement.tokens()))?;
    let quoted = rename(&name).quoted();
    let piece = statement.piece();
    let shift = statement.offset() - statement.piece_offset();
    let (start, end) = (token.start + shift, token.end + shift);
    Some(Rewritten {
        text: [&piece[..start], &quoted, &piece[end..]].concat(),
        origin: Origin {
            offset: statement.piece_offset(),
            edit: Some(Edit {
                at: start,
                removed: end - start,
                inserted: ClientEncoding::Utf8.characters(&quoted),
            }),
        },
    })
}

fn prepared_name(mut tokens: Tokens<'_>) -> Option<(Token, Name)> {
    if tokens.eat("deallocate") {
        if is_deallocate_prepare(&tokens) {
            tokens.bump();
        }
    } else if tokens.eat("explain") {
        if !tokens.skip_to(&["execute"]) {
            return None;
        }
        tokens.bump();
    } else if tokens.eat("create") {
        while tokens.skip_to(&["as"]) {
            tokens.bump();
            if tokens.is("execute") {
                break;
            }
        }
        if !tokens.eat("execute") {
            return None;
        }
    } else if !tokens.eat_any(&["prepare", "execute"]) {
        return None;
    }
    let token = tokens.peek()?;
    Some((token, tokens.name()?))
}

#[cfg(test)]
mod tests {
    use super::super::{LexSettings, Script};
    use super::*;
    use rstest::rstest;

    fn script(text: &str) -> Script<'_> {
        Script::new(text.as_bytes(), LexSettings::default())
    }

    #[rstest]
    #[case(
        "create index concurrently i on t (concurrently)",
        "create index i on t (concurrently)"
    )]
    #[case("/* x */ DROP INDEX CONCURRENTLY a.b", "/* x */ DROP INDEX a.b")]
    #[case("reindex table concurrently t", "reindex table t")]
    #[case("reindex (concurrently) table t", "reindex table t")]
    #[case("reindex (concurrently true) table t", "reindex table t")]
    #[case(
        "reindex (concurrently on, verbose) table t",
        "reindex ( verbose) table t"
    )]
    #[case(
        "reindex (verbose, concurrently) table t",
        "reindex (verbose ) table t"
    )]
    #[case(
        "alter table a detach partition b concurrently",
        "alter table a detach partition b"
    )]
    fn concurrently_is_blanked_and_nothing_moves(#[case] text: &str, #[case] expected: &str) {
        let script = script(text);
        let rewritten = without_concurrently(script.single().unwrap()).unwrap();
        let sent = String::from_utf8(rewritten.text).unwrap();
        assert_eq!(sent.len(), text.len());
        let squeezed = sent.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed, expected);
    }

    #[test]
    fn without_the_word_there_is_nothing_to_rewrite() {
        let script = script("create index i on t (concurrently)");
        assert_eq!(without_concurrently(script.single().unwrap()), None);
    }

    #[rstest]
    #[case("prepare p (int) as select 1", "prepare \"c1_p\" (int) as select 1")]
    #[case("execute \"P\" (1)", "execute \"c1_P\" (1)")]
    #[case("deallocate prepare p", "deallocate prepare \"c1_p\"")]
    #[case("deallocate prepare", "deallocate \"c1_prepare\"")]
    #[case("explain (analyze) execute p", "explain (analyze) execute \"c1_p\"")]
    #[case(
        "create temp table t as execute p",
        "create temp table t as execute \"c1_p\""
    )]
    fn prepared_statements_get_another_name(#[case] text: &str, #[case] expected: &str) {
        let script = script(text);
        let rewritten = rename_prepared(script.single().unwrap(), |name| {
            Name::new(format!("c1_{name}"))
        });
        assert_eq!(rewritten.unwrap().text, expected.as_bytes());
    }

    #[rstest]
    #[case("deallocate all")]
    #[case("explain select 1")]
    #[case("create table t as select 1")]
    #[case("select execute from t")]
    fn other_statements_name_no_prepared_one(#[case] text: &str) {
        let script = script(text);
        assert_eq!(rename_prepared(script.single().unwrap(), Name::clone), None);
    }

    #[test]
    fn positions_lead_back_into_the_clients_string() {
        let text = "select 'ä'; execute p(x); select y";
        let script = script(text);
        let pieces = script.pieces();
        let place = |text: &str, wanted: &str| {
            let before = &text[..text.find(wanted).unwrap()];
            before.chars().count() + 1
        };
        let back = |origin: &Origin, sent: &[u8], wanted| {
            let position = place(std::str::from_utf8(sent).unwrap(), wanted);
            origin.position(text.as_bytes(), position, ClientEncoding::Utf8)
        };

        let rewritten = rename_prepared(&pieces[1], |_| Name::from("renämed")).unwrap();
        assert_eq!(rewritten.text, " execute \"renämed\"(x)".as_bytes());
        for (sent, written) in [
            ("execute", "execute"),
            ("\"ren", "p(x)"),
            ("med\"", "p(x)"),
            ("(x)", "(x)"),
            ("x)", "x)"),
        ] {
            let position = back(&rewritten.origin, &rewritten.text, sent);
            assert_eq!(position, place(text, written), "{sent}");
        }

        let origin = Origin::of_piece(&pieces[2]);
        assert_eq!(back(&origin, pieces[2].piece(), "y"), place(text, "y"));
    }
}
