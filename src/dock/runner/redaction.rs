//! What must not be kept of a command's output: passwords, rows and bind values.
//!
//! The user's own terminal or log shows the output as it is; this is for the copy in the report.
//! PostgreSQL quotes rows in an error's DETAIL and CONTEXT (manual, "Error Message Style Guide"),
//! psql quotes the statement in `LINE`, SQLAlchemy quotes statement and parameters.

use crate::rehearsal::sql::{LexSettings, Script, classify, redact};
use crate::report::ServerError;

/// What stands for everything that is taken away.
const HIDDEN: &str = "…";
/// What stands for a password.
const PASSWORD: &str = "***";

/// Shorter passwords are common words, and replacing every occurrence would destroy the text.
const NO_WORD: usize = 12;
/// Passwords from here on are replaced where they stand as a word of their own.
const NO_SYLLABLE: usize = 6;
/// How many lines a quoted value may go over.
const LONGEST_VALUE: usize = 40;
/// The longest statement that is kept.
const STATEMENT: usize = 4 << 10;

/// Takes away the passwords of URLs and of `password=…`, and `secrets` wherever they are too long
/// to be there by chance.
pub(super) fn without_passwords(text: &str, secrets: &[String]) -> String {
    let mut text = without_keyword_passwords(&without_url_passwords(text), secrets);
    let mut secrets: Vec<&String> = secrets.iter().collect();
    // Longest first, so that no secret is cut by a shorter one inside it.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        if secret.len() >= NO_WORD {
            text = text.replace(secret.as_str(), PASSWORD);
        } else if secret.len() >= NO_SYLLABLE {
            text = without_word(&text, secret);
        }
    }
    text
}

/// Takes away the rows, values and parameters that errors quote.
pub(super) fn without_rows(text: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let rest = lines.get(at..).unwrap_or_default();
        let (shown, used) = statement(rest)
            .or_else(|| parameters(rest))
            .or_else(|| syntax_error(rest))
            .or_else(|| quoted_row(rest))
            .or_else(|| detail(line))
            .or_else(|| context(line))
            .or_else(|| excerpt(line))
            .or_else(|| message(line))
            .unwrap_or_else(|| ((*line).to_owned(), 1));
        clean.push_str(&shown);
        if !shown.ends_with('\n') && lines.get(at + used - 1).is_some_and(|l| l.ends_with('\n')) {
            clean.push('\n');
        }
        at += used;
    }
    clean
}

/// What a line becomes, and of how many lines it was made.
type Shown = Option<(String, usize)>;

/// `Key (email)=(a@b.c) already exists.` and `Failing row contains (1, a@b.c).`, in any language
/// and wherever they stand: DETAIL, an exception's text, a driver's dictionary.
fn quoted_row(lines: &[&str]) -> Shown {
    let first = lines.first()?;
    let begin = [")=(", "row contains ("]
        .iter()
        .filter_map(|mark| first.find(mark).map(|at| at + mark.len()))
        .min()?;
    let head = first.get(..begin)?;
    // A value may hold parentheses and line ends: the last parenthesis with words that only the
    // server writes after it ends it.
    for (index, line) in lines.iter().take(LONGEST_VALUE).enumerate() {
        let from = if index == 0 { begin } else { 0 };
        if let Some(end) = known_end(line, from) {
            return Some((format!("{head}{HIDDEN}{}", line.get(end..)?), index + 1));
        }
    }
    let end = first.rfind(')').filter(|end| *end >= begin);
    Some((
        format!(
            "{head}{HIDDEN}{}",
            end.map_or(")", |end| first.get(end..).unwrap_or_default())
        ),
        1,
    ))
}

fn known_end(line: &str, from: usize) -> Option<usize> {
    const AFTER: &[&str] = &[
        ") already exists",
        ") is not present in table",
        ") is still referenced from table",
        ") conflicts with existing",
        ") is duplicated",
        ").",
    ];
    AFTER
        .iter()
        .filter_map(|after| line.get(from..)?.rfind(after))
        .max()
        .map(|end| from + end)
}

/// Any other DETAIL that quotes a row or a token.
fn detail(line: &str) -> Shown {
    let start = line.trim_start();
    if !["DETAIL:", "Detail:", "detail:"]
        .iter()
        .any(|label| start.starts_with(label))
    {
        return None;
    }
    if let (Some(open), Some(close)) = (line.find(" ("), line.rfind(')'))
        && open < close
    {
        let (head, tail) = (line.get(..open + 2)?, line.get(close..)?);
        return Some((format!("{head}{HIDDEN}{tail}"), 1));
    }
    let open = line.find("Token \"")? + "Token \"".len();
    let close = line.rfind('"').filter(|close| *close >= open)?;
    let (head, tail) = (line.get(..open)?, line.get(close..)?);
    Some((format!("{head}{HIDDEN}{tail}"), 1))
}

/// `CONTEXT:  COPY orders, line 3, column total: "…"`.
fn context(line: &str) -> Shown {
    let place = ["COPY ", "JSON data, line "]
        .iter()
        .find_map(|mark| line.find(mark))?;
    let number = place + line.get(place..)?.find("line ")?;
    let value = number + line.get(number..)?.find(": ")? + 2;
    Some((format!("{}{HIDDEN}", line.get(..value)?), 1))
}

/// psql's `LINE 1: INSERT INTO orders VALUES ('…')`.
fn excerpt(line: &str) -> Shown {
    let begin = line.find("LINE ")?;
    let digits = line.get(begin + "LINE ".len()..)?;
    let colon = digits.find(": ")?;
    if colon == 0
        || !digits
            .get(..colon)?
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let text = digits.get(colon + 2..)?;
    let head = line.get(..line.len() - text.len())?;
    Some((format!("{head}{}", without_constants(text)), 1))
}

/// `syntax error at or near "'…'"`, over as many lines as the constant has.
fn syntax_error(lines: &[&str]) -> Shown {
    const MARK: &str = " at or near \"";
    let first = lines.first()?;
    let begin = first.find(MARK)? + MARK.len();
    let closes = |line: &&str| line.contains('"');
    let used = if first.get(begin..)?.contains('"') {
        1
    } else if let Some(last) = lines.iter().take(LONGEST_VALUE).skip(1).position(closes) {
        last + 2
    } else {
        return Some((format!("{}{HIDDEN}", first.get(..begin)?), 1));
    };
    let whole: String = lines.iter().take(used).copied().collect();
    let (head, quoted) = whole.split_at(begin - 1);
    Some((
        format!("{head}{}", ServerError::without_constant(quoted)),
        used,
    ))
}

/// `invalid input syntax for type integer: "…"` and its like.
///
/// In other languages the value at fault has its quotes behind a colon, too, and a name has not.
fn message(line: &str) -> Shown {
    const ELSEWHERE: [&str; 4] = [": »", ": «", ": „", ": “"];
    if let Some(at) = ELSEWHERE.iter().filter_map(|mark| line.find(mark)).min() {
        let (head, quoted) = line.split_at(at);
        return Some((format!("{head}{}", ServerError::without_value(quoted)), 1));
    }
    const PHRASES: &[&str] = &[
        "invalid input syntax for type",
        "invalid input value for enum",
        "out of range for type",
        "out of range: \"",
        "malformed array literal",
        "malformed record literal",
        "malformed range literal",
    ];
    PHRASES
        .iter()
        .any(|phrase| line.contains(phrase))
        .then(|| (ServerError::without_value(line), 1))
}

/// SQLAlchemy's `[SQL: …]`, over as many lines as the statement has.
fn statement(lines: &[&str]) -> Shown {
    let first = lines.first()?;
    let begin = first.find("[SQL: ")? + "[SQL: ".len();
    let used = lines
        .iter()
        .take(LONGEST_VALUE)
        .position(|line| line.trim_end().ends_with(']'))
        .map_or(1, |last| last + 1);
    let whole: String = lines.iter().take(used).copied().collect();
    let text = whole.get(begin..)?.trim_end();
    let text = text.strip_suffix(']').unwrap_or(text);
    Some((
        format!("{}{}]", first.get(..begin)?, without_constants(text)),
        used,
    ))
}

/// SQLAlchemy's `[parameters: …]`: bind values.
fn parameters(lines: &[&str]) -> Shown {
    let first = lines.first()?;
    let begin = first.find("[parameters: ")? + "[parameters: ".len();
    let used = lines
        .iter()
        .take(LONGEST_VALUE)
        .position(|line| line.trim_end().ends_with(']'))
        .map_or(1, |last| last + 1);
    Some((format!("{}{HIDDEN}]", first.get(..begin)?), used))
}

/// SQL as the report shows statements: no constants where they are somebody's data.
fn without_constants(sql: &str) -> String {
    let script = Script::new(sql.as_bytes(), LexSettings::default());
    let statements: Vec<String> = script
        .statements()
        .map(|statement| redact(statement, &classify(statement), STATEMENT).text)
        .collect();
    statements.join("; ")
}

/// Replaces the password of every `scheme://user:password@`.
fn without_url_passwords(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find("://") {
        let (before, after) = rest.split_at(found + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '"' | '\''))
            .unwrap_or(after.len());
        let (authority, remainder) = after.split_at(end);
        match (authority.find(':'), authority.rfind('@')) {
            (Some(colon), Some(at)) if colon < at => {
                clean.push_str(authority.get(..=colon).unwrap_or_default());
                clean.push_str(PASSWORD);
                clean.push_str(authority.get(at..).unwrap_or_default());
            }
            _ => clean.push_str(authority),
        }
        rest = remainder;
    }
    clean.push_str(rest);
    clean
}

/// Replaces what follows `password=`, `PGPASSWORD=`, `"password": ` and SQL's `PASSWORD '…'`.
fn without_keyword_passwords(text: &str, secrets: &[String]) -> String {
    const KEYWORDS: &[&str] = &["password", "passwd", "pwd"];
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    loop {
        let found = KEYWORDS
            .iter()
            .filter_map(|keyword| {
                let start = at + lower.get(at..)?.find(keyword)?;
                Some(start + keyword.len())
            })
            .min();
        let Some(end) = found else {
            break;
        };
        clean.push_str(text.get(at..end).unwrap_or_default());
        at = end;
        let after = text.get(end..).unwrap_or_default();
        if let Some((start, length)) = value(after, secrets) {
            clean.push_str(after.get(..start).unwrap_or_default());
            clean.push_str(PASSWORD);
            at = end + start + length;
        }
    }
    clean.push_str(text.get(at..).unwrap_or_default());
    clean
}

/// Where after a keyword its value begins, and how long it is.
fn value(after: &str, secrets: &[String]) -> Option<(usize, usize)> {
    let trimmed = after.trim_start_matches(['"', '\'']);
    let sign = trimmed.chars().next()?;
    let mut start = after.len() - trimmed.len();
    if matches!(sign, '=' | ':') {
        start += 1;
    }
    let rest = after.get(start..)?;
    let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let rest = rest.get(spaces..)?;
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let begin = start + spaces + usize::from(quote.is_some());
    let body = after.get(begin..)?;
    let length = match quote {
        Some(quote) => body.find(quote).unwrap_or(body.len()),
        None => body
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\'' | ')'))
            .unwrap_or(body.len()),
    };
    let is_one = match sign {
        '=' => spaces == 0 || quote.is_some(),
        ':' => {
            let word = body.get(..length)?;
            quote.is_some() || secrets.iter().any(|secret| secret == word)
        }
        _ => spaces > 0 && quote == Some('\''),
    };
    (is_one && length > 0).then_some((begin, length))
}

/// Replaces a word where no letter or digit is next to it.
fn without_word(text: &str, word: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(word)) {
        let (start, end) = (at + found, at + found + word.len());
        let before = text.get(..start).and_then(|text| text.chars().next_back());
        let after = text.get(end..).and_then(|text| text.chars().next());
        let alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        clean.push_str(text.get(at..start).unwrap_or_default());
        clean.push_str(if alone(before) && alone(after) {
            PASSWORD
        } else {
            word
        });
        at = end;
    }
    clean.push_str(text.get(at..).unwrap_or_default());
    clean
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::unique(
        "ERROR:  duplicate key value violates unique constraint \"u\"\nDETAIL:  Key (email)=(a@b.c) already exists.\n",
        "ERROR:  duplicate key value violates unique constraint \"u\"\nDETAIL:  Key (email)=(…) already exists.\n"
    )]
    #[case::two_columns(
        "DETAIL:  Key (a, b)=(1, x) already exists.",
        "DETAIL:  Key (a, b)=(…) already exists."
    )]
    #[case::foreign_key(
        "Key (customer)=(17) is not present in table \"customers\".",
        "Key (customer)=(…) is not present in table \"customers\"."
    )]
    #[case::exclusion(
        "DETAIL:  Key (a)=(x) conflicts with existing key (a)=(y).",
        "DETAIL:  Key (a)=(…)."
    )]
    #[case::value_with_parentheses_and_lines(
        "DETAIL:  Key (a)=(f(1)\nsecret)\nmore) already exists.\nHINT:  none\n",
        "DETAIL:  Key (a)=(…) already exists.\nHINT:  none\n"
    )]
    #[case::another_language(
        "DETAIL:  Schlüssel »(email)=(a@b.c)« existiert bereits.",
        "DETAIL:  Schlüssel »(email)=(…)« existiert bereits."
    )]
    #[case::not_null(
        "DETAIL:  Failing row contains (1, null, a@b.c).\n",
        "DETAIL:  Failing row contains (…).\n"
    )]
    #[case::failing_row_over_lines(
        "DETAIL:  Failing row contains (1, a\nsecret, null).\nCONTEXT:  x\n",
        "DETAIL:  Failing row contains (…).\nCONTEXT:  x\n"
    )]
    #[case::failing_row_in_another_language(
        "DETAIL:  La ligne en échec contient (1, secret).",
        "DETAIL:  La ligne en échec contient (…)."
    )]
    #[case::json_token(
        "DETAIL:  Token \"secret\" is invalid.",
        "DETAIL:  Token \"…\" is invalid."
    )]
    #[case::json_context(
        "CONTEXT:  JSON data, line 1: {\"a\":secret",
        "CONTEXT:  JSON data, line 1: …"
    )]
    #[case::copy_column(
        "CONTEXT:  COPY t, line 3, column total: \"secret\"\n",
        "CONTEXT:  COPY t, line 3, column total: …\n"
    )]
    #[case::copy_row(
        "CONTEXT:  COPY t, line 3: \"secret\"\n",
        "CONTEXT:  COPY t, line 3: …\n"
    )]
    #[case::a_message_with_a_value(
        "psql:x.sql:3: ERROR:  invalid input syntax for type integer: \"secret\"\n",
        "psql:x.sql:3: ERROR:  invalid input syntax for type integer: \"…\"\n"
    )]
    #[case::a_syntax_error_at_a_constant(
        "ERROR:  syntax error at or near \"'secret'\"\n",
        "ERROR:  syntax error at or near \"…\"\n"
    )]
    #[case::an_open_constant(
        "ERROR:  unterminated quoted string at or near \"'secret\"\n",
        "ERROR:  unterminated quoted string at or near \"…\"\n"
    )]
    #[case::a_constant_over_lines(
        "ERROR:  syntax error at or near \"'sec\nret'\"\nLINE 1: x\n",
        "ERROR:  syntax error at or near \"…\"\nLINE 1: x\n"
    )]
    #[case::a_message_in_another_language(
        "FEHLER:  ungültige Eingabesyntax für Typ integer: »secret«\n",
        "FEHLER:  ungültige Eingabesyntax für Typ integer: »…«\n"
    )]
    #[case::driver_dictionary(
        "{'C': '23505', 'D': 'Key (id)=(secret) already exists.', 't': 'a'}",
        "{'C': '23505', 'D': 'Key (id)=(…) already exists.', 't': 'a'}"
    )]
    #[case::psql_excerpt(
        "LINE 1: INSERT INTO t VALUES ('secret', 4711);\n                              ^\n",
        "LINE 1: INSERT INTO t VALUES (?, ?)\n                              ^\n"
    )]
    #[case::sqlalchemy(
        "[SQL: INSERT INTO t (a)\nVALUES ('secret')]\n[parameters: {'a': 'secret'}]\n(Background on this error at: https://sqlalche.me/e/20/gkpj)\n",
        "[SQL: INSERT INTO t (a) VALUES (?)]\n[parameters: …]\n(Background on this error at: https://sqlalche.me/e/20/gkpj)\n"
    )]
    fn rows_and_values_that_errors_quote_are_taken_away(
        #[case] output: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(without_rows(output), expected);
    }

    #[rstest]
    #[case("  File \"env.py\", line 12, in run (x)\n")]
    #[case("DETAIL:  view v depends on table t\nHINT:  Use DROP ... CASCADE.\n")]
    #[case("INFO  [alembic.runtime.migration] Running upgrade 0001 -> 0002, note (orders)\n")]
    #[case("no line end")]
    #[case("ERROR:  syntax error at or near \"frmo\"\n")]
    #[case("FEHLER:  Relation »orders« existiert nicht\n")]
    #[case("")]
    fn everything_else_stays_as_it_is(#[case] output: &str) {
        assert_eq!(without_rows(output), output);
    }

    #[rstest]
    #[case::url(
        "postgresql+psycopg://u:p%40ss@host:5432/db?x=1 ok://h/a:b@c",
        "postgresql+psycopg://u:***@host:5432/db?x=1 ok://h/a:b@c"
    )]
    #[case::keyword("host=h password=a user=b", "host=h password=*** user=b")]
    #[case::quoted("password='a b' user=b", "password='***' user=b")]
    #[case::variable("PGPASSWORD=a psql", "PGPASSWORD=*** psql")]
    #[case::query("?user=u&password=a&x=1", "?user=u&password=***&x=1")]
    #[case::json(
        "{\"password\": \"x\", \"user\": \"u\"}",
        "{\"password\": \"***\", \"user\": \"u\"}"
    )]
    #[case::sql("ALTER ROLE r PASSWORD 'x'", "ALTER ROLE r PASSWORD '***'")]
    #[case::a_known_one("password: a", "password: ***")]
    #[case::a_message(
        "password authentication failed for user \"a\"",
        "password authentication failed for user \"a\""
    )]
    #[case::short_ones_stay_elsewhere("a banana", "a banana")]
    #[case::words("geheim ungeheim geheimnis (geheim)", "*** ungeheim geheimnis (***)")]
    #[case::long_ones_anywhere("x0123456789abcy", "x***y")]
    fn passwords_are_taken_away_without_destroying_the_text(
        #[case] output: &str,
        #[case] expected: &str,
    ) {
        let secrets = ["a", "geheim", "0123456789abc", ""].map(str::to_owned);
        assert_eq!(without_passwords(output, &secrets), expected);
    }
}
