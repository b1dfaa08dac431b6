//! Which statements belong to which of Alembic's revisions.
//!
//! Alembic says nowhere in SQL where a revision begins. It ends with what is written into the
//! version table: an INSERT or an UPDATE, and where branches meet one DELETE or more before it.

use std::ops::Range;

use super::{Statement, StatementOutcome};

/// The statements of each revision, in order; the last one may be of a revision that did not come to
/// its end. Empty where no version table of Alembic's is written: `tables` are the qualified names of
/// those that are known.
///
/// What Alembic does before its first revision belongs to none. The COMMIT behind a revision is the
/// revision's own: constraints that were deferred are checked there.
#[must_use]
pub fn boundaries(statements: &[Statement], tables: &[String]) -> Vec<Range<usize>> {
    let kinds: Vec<Kind> = statements
        .iter()
        .map(|statement| Kind::of(statement, tables))
        .collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    for (index, kind) in kinds.iter().enumerate() {
        let ends = match kind {
            Kind::Inserted | Kind::Updated => true,
            Kind::Deleted => !matches!(kinds.get(index + 1), Some(Kind::Deleted | Kind::Updated)),
            _ => false,
        };
        if ends {
            let commit = kinds.get(index + 1) == Some(&Kind::Commit);
            let to = index + 1 + usize::from(commit);
            found.push(begin(&kinds, from, index)..to);
            from = to;
        }
    }
    let begun = begin(&kinds, from, kinds.len());
    let unfinished = kinds
        .get(begun..)
        .is_some_and(|rest| rest.iter().any(|kind| matches!(kind, Kind::Work)))
        && (!found.is_empty() || kinds.contains(&Kind::Looked));
    if unfinished {
        found.push(begun..kinds.len());
    }
    found
}

/// Writes down to which revision each statement belongs.
pub fn number(statements: &mut [Statement], tables: &[String]) {
    for (number, range) in (1..).zip(boundaries(statements, tables)) {
        for statement in statements.get_mut(range).into_iter().flatten() {
            statement.revision = Some(number);
        }
    }
}

/// How long the server worked on these statements, in microseconds.
#[must_use]
pub fn spent(statements: &[Statement]) -> u64 {
    statements.iter().map(|statement| statement.micros).sum()
}

/// What Alembic makes ready and reads, up to its last look at the version table, and the BEGIN, are
/// no part of the revision.
fn begin(kinds: &[Kind], from: usize, to: usize) -> usize {
    let span = kinds.get(from..to).unwrap_or_default();
    let ready = span
        .iter()
        .rposition(|kind| *kind == Kind::Looked)
        .map_or(0, |at| at + 1);
    let control = span
        .iter()
        .skip(ready)
        .take_while(|kind| matches!(kind, Kind::Commit | Kind::Begin))
        .count();
    from + ready + control
}

/// What a statement is to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inserted,
    Updated,
    Deleted,
    /// The version table was read or made.
    Looked,
    Commit,
    Begin,
    /// Nothing is done by it.
    Idle,
    Work,
}

impl Kind {
    fn of(statement: &Statement, tables: &[String]) -> Self {
        let is_version_table = |name: &str| is_version_table(name, tables);
        let text = statement.text.to_ascii_lowercase();
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default().trim_end_matches(';');
        let failed = matches!(
            statement.outcome,
            StatementOutcome::Error(_) | StatementOutcome::Cut
        );
        let second = words.next().unwrap_or_default();
        let named = match (first, second) {
            ("insert", "into") | ("delete", "from") => words.next(),
            ("update", "only") => words.next(),
            ("update", name) => Some(name),
            _ => None,
        };
        let of_alembic =
            named.is_some_and(|name| name.split('(').next().is_some_and(is_version_table));
        match first {
            "insert" if of_alembic && !failed => Self::Inserted,
            "update" if of_alembic && !failed => Self::Updated,
            "delete" if of_alembic && !failed => Self::Deleted,
            "select" if read_from(&text).is_some_and(is_version_table) => Self::Looked,
            "create" if second == "table" && words.next().is_some_and(is_version_table) => {
                Self::Looked
            }
            "commit" | "end" => Self::Commit,
            "begin" | "start" => Self::Begin,
            _ if failed => Self::Work,
            "select" | "show" | "set" | "reset" | "rollback" | "savepoint" | "release"
            | "deallocate" | "discard" => Self::Idle,
            _ => Self::Work,
        }
    }
}

/// One that is known, or Alembic's own name for it, also with a schema, quotes, or something before or
/// after it, by which applications that share a database tell theirs apart.
fn is_version_table(name: &str, tables: &[String]) -> bool {
    let plain = |name: &str| name.replace('"', "").to_ascii_lowercase();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let name = plain(name);
    last(&name).contains("alembic_version")
        || tables
            .iter()
            .map(|table| plain(table))
            .any(|table| table == name || !name.contains('.') && last(&table) == name)
}

/// What a SELECT reads from first.
fn read_from(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(" from ")?;
    rest.split_whitespace().next()
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use rstest::rstest;

    use super::super::ServerError;
    use super::*;

    fn statements(texts: &[&str]) -> Vec<Statement> {
        texts
            .iter()
            .map(|text| Statement {
                text: text.trim_start_matches('!').to_owned(),
                whole: true,
                sent: None,
                client: 1,
                transaction: Some(1),
                revision: None,
                violation: None,
                micros: 100,
                outcome: if text.starts_with('!') {
                    StatementOutcome::Error(ServerError {
                        code: "23503".to_owned(),
                        message: "no".to_owned(),
                        constraint: None,
                        table: None,
                        ..ServerError::default()
                    })
                } else {
                    StatementOutcome::Done { tag: String::new() }
                },
            })
            .collect()
    }

    const READY: [&str; 5] = [
        "select pg_catalog.version()",
        "BEGIN",
        "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class WHERE pg_class.relname = ?",
        "CREATE TABLE alembic_version ( version_num VARCHAR(32) NOT NULL )",
        "SELECT alembic_version.version_num FROM alembic_version",
    ];
    const FIRST: &str = "INSERT INTO alembic_version (version_num) VALUES (?) RETURNING alembic_version.version_num";
    const NEXT: &str =
        "UPDATE alembic_version SET version_num=? WHERE alembic_version.version_num = ?";
    const FEWER: &str = "DELETE FROM alembic_version WHERE alembic_version.version_num = ?";

    #[rstest]
    // One transaction for all revisions.
    #[case(&["CREATE TABLE a ()", FIRST, "ALTER TABLE a ADD b int", "UPDATE a SET b = ?", NEXT, "COMMIT"], &[5..7, 7..11])]
    // One for each.
    #[case(&["CREATE TABLE a ()", FIRST, "COMMIT", "BEGIN", "ALTER TABLE a ADD b int", NEXT, "COMMIT"], &[5..8, 9..12])]
    // A revision may be empty.
    #[case(&[FIRST, NEXT, NEXT, "COMMIT"], &[5..6, 6..7, 7..9])]
    // Two branches become one.
    #[case(&["CREATE TABLE a ()", FIRST, "CREATE TABLE b ()", FIRST, FEWER, NEXT, "COMMIT"], &[5..7, 7..9, 9..12])]
    // A downgrade to the base.
    #[case(&["DROP TABLE b", NEXT, "DROP TABLE a", FEWER, "COMMIT"], &[5..7, 7..10])]
    // The second one fails, or is cut short by its own code.
    #[case(&["CREATE TABLE a ()", FIRST, "!ALTER TABLE a ADD b int", "ROLLBACK"], &[5..7, 7..9])]
    #[case(&["CREATE TABLE a ()", FIRST, "ALTER TABLE a ADD b int", "ROLLBACK"], &[5..7, 7..9])]
    #[case(&["!CREATE TABLE a ()", "ROLLBACK"], &[5..7])]
    #[case(&["CREATE TABLE a ()", FIRST, "COMMIT", "!SELECT b FROM a"], &[5..8, 8..9])]
    // Nothing is pending.
    #[case(&["COMMIT"], &[])]
    fn statements_are_grouped_by_revision(
        #[case] texts: &[&str],
        #[case] expected: &[Range<usize>],
    ) {
        let texts: Vec<&str> = READY.iter().chain(texts).copied().collect();
        assert_eq!(boundaries(&statements(&texts), &[]), expected);
    }

    #[test]
    fn each_statement_is_told_its_revision() {
        let mut statements = statements(&["SELECT version_num FROM alembic_version", FIRST, NEXT]);
        number(&mut statements, &[]);
        let numbers: Vec<_> = statements.iter().map(|it| it.revision).collect();
        assert_eq!(numbers, [None, Some(1), Some(2)]);
    }

    #[rstest]
    #[case("UPDATE public.alembic_version SET version_num=?")]
    #[case("UPDATE \"Shop\".\"alembic_version_orders\" SET version_num=?")]
    #[case("INSERT INTO alembic_version(version_num) VALUES (?)")]
    fn the_version_table_is_known_with_a_schema_and_with_a_name_around_it(#[case] text: &str) {
        let statements = statements(&["CREATE TABLE a ()", text]);
        assert_eq!(boundaries(&statements, &[]), [0..2]);
    }

    #[rstest]
    #[case("UPDATE migrated SET version_num=?", 1)]
    #[case("UPDATE admin.\"Migrated\" SET version_num=?", 1)]
    #[case("UPDATE shop.migrated SET version_num=?", 0)]
    #[case("UPDATE orders SET version_num=?", 0)]
    fn a_version_table_that_is_known_may_have_any_name(#[case] text: &str, #[case] found: usize) {
        let statements = statements(&["CREATE TABLE a ()", text]);
        let tables = ["admin.\"Migrated\"".to_owned()];
        assert_eq!(boundaries(&statements, &tables).len(), found);
    }

    #[test]
    fn what_no_alembic_ran_has_no_revisions() {
        let texts = [
            "BEGIN",
            "CREATE TABLE a ()",
            "INSERT INTO versions VALUES (?)",
        ];
        assert!(boundaries(&statements(&texts), &[]).is_empty());
        assert_eq!(spent(&statements(&texts)), 300);
    }
}
