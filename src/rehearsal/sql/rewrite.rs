//! The plain forms of statements that no transaction can hold (manual: CREATE INDEX, DROP INDEX,
//! REINDEX, ALTER TABLE, "CONCURRENTLY").

use super::lexer::{LexSettings, Lexer, Token, TokenKind};
use super::split::Statement;
use super::tokens::Tokens;
use std::ops::Range;

/// The plain form of a statement with CONCURRENTLY, as REINDEX's option too. The words are replaced
/// by spaces, so positions stay what they are. `None` if there is none.
#[must_use]
pub fn without_concurrently(statement: &Statement<'_>) -> Option<Vec<u8>> {
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
    Some(text)
}

/// PREPARE, EXECUTE or DEALLOCATE with another name, as it is quoted, in the place of its own. `None`
/// for any other statement.
#[must_use]
pub fn with_prepared_name(text: &[u8], settings: LexSettings, name: &[u8]) -> Option<Vec<u8>> {
    let mut tokens = Lexer::new(text, settings).filter(|it| it.kind != TokenKind::Semicolon);
    let first = tokens.next()?;
    let word = text.get(first.start..first.end)?.to_ascii_lowercase();
    let named = match word.as_slice() {
        b"prepare" | b"execute" => tokens.next()?,
        b"deallocate" => tokens.last()?,
        _ => return None,
    };
    let mut renamed = text.get(..named.start)?.to_vec();
    renamed.extend_from_slice(name);
    renamed.extend_from_slice(text.get(named.end..)?);
    Some(renamed)
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
        let sent = String::from_utf8(rewritten).unwrap();
        assert_eq!(sent.len(), text.len());
        let squeezed = sent.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed, expected);
    }

    #[rstest]
    #[case(
        "prepare s (int) as select $1",
        Some("prepare \"2_s\" (int) as select $1")
    )]
    #[case("/* s */ EXECUTE  s(1, 's')", Some("/* s */ EXECUTE  \"2_s\"(1, 's')"))]
    #[case(
        "deallocate prepare \"s\" -- s",
        Some("deallocate prepare \"2_s\" -- s")
    )]
    #[case("deallocate s;", Some("deallocate \"2_s\";"))]
    #[case("select s", None)]
    fn a_prepared_statement_is_named_otherwise(#[case] text: &str, #[case] expected: Option<&str>) {
        let renamed = with_prepared_name(text.as_bytes(), LexSettings::default(), b"\"2_s\"");
        assert_eq!(
            renamed
                .map(|text| String::from_utf8(text).unwrap())
                .as_deref(),
            expected
        );
    }

    #[test]
    fn without_the_word_there_is_nothing_to_rewrite() {
        let script = script("create index i on t (concurrently)");
        assert_eq!(without_concurrently(script.single().unwrap()), None);
    }
}
