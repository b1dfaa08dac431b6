//! Reading what a statement adds or validates.

use super::run::Run;
use super::{Checks, Definition, Demand, Found, Key, identifier};
use crate::rehearsal::sql::lexer::{LexSettings, Lexer, TokenKind};
use crate::rehearsal::sql::name::Name;

/// SQLSTATEs of violations.
const NOT_NULL: &str = "23502";
const FOREIGN_KEY: &str = "23503";
const UNIQUE: &str = "23505";
const CHECK: &str = "23514";
const EXCLUSION: &str = "23P01";

/// Operator classes for which two values are the same as for `=`.
const PATTERN_CLASSES: [&[u8]; 3] = [
    b"text_pattern_ops",
    b"varchar_pattern_ops",
    b"bpchar_pattern_ops",
];

/// The constraints that a statement has checked on the rows that are there; `None` for a statement
/// that is not known to check any.
#[must_use]
pub fn checks(text: &[u8], settings: LexSettings) -> Option<Checks> {
    // A reader of the query has a backslash read the other way.
    if !settings.standard_conforming_strings && text.contains(&b'\\') {
        return None;
    }
    let mut tokens: Vec<_> = Lexer::new(text, settings).collect();
    while tokens
        .last()
        .is_some_and(|last| last.kind == TokenKind::Semicolon)
    {
        tokens.pop();
    }
    let mut run = Run::new(text, &tokens);
    let checks = if run.eat("alter table") {
        alter_table(run)
    } else if run.eat("alter domain") {
        alter_domain(run)
    } else if run.eat("create unique index") {
        create_index(run)
    } else {
        None
    }?;
    (!checks.found.is_empty()).then_some(checks)
}

fn alter_table(mut run: Run<'_>) -> Option<Checks> {
    run.eat("if exists");
    let only = run.eat("only");
    let table = run.qualified_name()?;
    run.eat_kind(TokenKind::Other(b'*'));
    let mut checks = Checks {
        table: Some(table),
        only,
        found: Vec::new(),
        others: false,
    };
    for action in run.split() {
        match alteration(action) {
            Some(found) => checks.found.extend(found),
            None => checks.others = true,
        }
    }
    Some(checks)
}

/// The constraints of one action; `None` for one that may violate others.
fn alteration(mut run: Run<'_>) -> Option<Vec<Found>> {
    if run.eat("drop") {
        return Some(Vec::new());
    }
    if run.eat("validate constraint") {
        return existing(run.name()?);
    }
    if run.eat("alter") {
        run.eat("column");
        let column = run.any_name()?;
        if run.eat("set not null") {
            return Some(vec![not_null(column)?]);
        }
        let harmless = run.is("drop") || run.eat("set default");
        return harmless.then(Vec::new);
    }
    if !run.eat("add") {
        return None;
    }
    let mut ahead = run;
    let name = if ahead.eat("constraint") {
        Some(ahead.name()?)
    } else {
        None
    };
    if let Some(found) = table_constraint(ahead, name.as_ref()) {
        return found;
    }
    if name.is_some() {
        return None;
    }
    add_column(run)
}

fn add_column(mut run: Run<'_>) -> Option<Vec<Found>> {
    run.eat("column");
    run.eat("if not exists");
    let column = run.name()?;
    let fills = [
        "default",
        "generated",
        "primary",
        "serial",
        "bigserial",
        "smallserial",
    ];
    let more = ["constraint", "check", "unique", "references"];
    if more.iter().any(|word| run.has(word)) || fills.iter().any(|word| run.has(word)) {
        // A default that is no constant may be NULL as well.
        return None;
    }
    if !run.has("not null") {
        return Some(Vec::new());
    }
    Some(vec![Found {
        name: None,
        column: Some(column),
        code: NOT_NULL,
        demand: Demand::Defined(Definition::EveryRow),
    }])
}

/// `None` when it is no constraint; then it is a column. `Some(None)` for one that is not understood.
fn table_constraint(mut run: Run<'_>, name: Option<&Name>) -> Option<Option<Vec<Found>>> {
    let unchecked = run.has("not valid") || run.has("not enforced");
    let found = if run.eat("check") {
        check(run, name)
    } else if run.eat("unique") {
        unique(run, name)
    } else if run.eat("primary key") {
        primary_key(run, name)
    } else if run.eat("foreign key") {
        foreign_key(run, name)
    } else if run.eat("not null") {
        run.name().and_then(not_null).map(|found| vec![found])
    } else {
        let mut ahead = run;
        let excludes = ahead.eat("exclude")
            && (ahead.is("using") || ahead.is_kind(TokenKind::OpenParenthesis));
        if !excludes {
            return None;
        }
        exclusion(ahead, name)
    };
    Some(if unchecked { Some(Vec::new()) } else { found })
}

fn existing(name: Name) -> Option<Vec<Found>> {
    let codes = [NOT_NULL, FOREIGN_KEY, CHECK];
    let found = codes.iter().map(|code| Found {
        name: (*code != NOT_NULL).then(|| name.clone()),
        column: None,
        code,
        demand: Demand::Existing(name.clone()),
    });
    Some(found.collect())
}

/// The server's error names the column, and the constraint only in some versions.
fn not_null(column: Name) -> Option<Found> {
    let sql = identifier(&column)?;
    Some(Found {
        name: None,
        column: Some(column),
        code: NOT_NULL,
        demand: Demand::Defined(Definition::NotNull { column: sql }),
    })
}

fn defined(name: Option<&Name>, code: &'static str, definition: Definition) -> Found {
    Found {
        name: name.cloned(),
        column: None,
        code,
        demand: Demand::Defined(definition),
    }
}

fn check(mut run: Run<'_>, name: Option<&Name>) -> Option<Vec<Found>> {
    let expression = run.parenthesized()?.sql()?;
    Some(vec![defined(name, CHECK, Definition::Check { expression })])
}

/// `NULLS NOT DISTINCT` and its opposite; true without.
fn nulls_distinct(run: &mut Run<'_>) -> bool {
    run.eat("nulls distinct");
    !run.eat("nulls not distinct")
}

fn unique(mut run: Run<'_>, name: Option<&Name>) -> Option<Vec<Found>> {
    if run.eat("using index") {
        return Some(Vec::new());
    }
    let nulls_distinct = nulls_distinct(&mut run);
    let keys = columns(run.parenthesized()?)?.1;
    Some(vec![defined(
        name,
        UNIQUE,
        Definition::Unique {
            keys: keys.into_iter().map(column_key).collect(),
            nulls_distinct,
            predicate: None,
        },
    )])
}

fn primary_key(mut run: Run<'_>, name: Option<&Name>) -> Option<Vec<Found>> {
    let (names, keys) = columns(run.parenthesized()?)?;
    let mut found = vec![defined(
        name,
        UNIQUE,
        Definition::Unique {
            keys: keys.into_iter().map(column_key).collect(),
            nulls_distinct: true,
            predicate: None,
        },
    )];
    found.extend(names.into_iter().filter_map(not_null));
    Some(found)
}

fn foreign_key(mut run: Run<'_>, name: Option<&Name>) -> Option<Vec<Found>> {
    let (_, columns_here) = columns(run.parenthesized()?)?;
    if !run.eat("references") {
        return None;
    }
    let table = run.qualified_name()?;
    let referenced = match run.parenthesized() {
        Some(list) => columns(list)?.1,
        None => Vec::new(),
    };
    let definition = Definition::ForeignKey {
        columns: columns_here,
        full: run.has("match full"),
    };
    Some(vec![Found {
        name: name.cloned(),
        column: None,
        code: FOREIGN_KEY,
        demand: Demand::Refers(definition, table, referenced),
    }])
}

fn exclusion(mut run: Run<'_>, name: Option<&Name>) -> Option<Vec<Found>> {
    if run.eat("using") {
        run.name()?;
    }
    let mut keys = Vec::new();
    for mut element in run.parenthesized()?.split() {
        let key = key(&mut element.until(&["with"]), true)?;
        if !element.eat("with") {
            return None;
        }
        let operator = element.operator()?;
        if !element.is_at_end() {
            return None;
        }
        keys.push((key, operator));
    }
    let predicate = predicate(run, true)?;
    Some(vec![defined(
        name,
        EXCLUSION,
        Definition::Exclusion { keys, predicate },
    )])
}

fn create_index(mut run: Run<'_>) -> Option<Checks> {
    run.eat("concurrently");
    run.eat("if not exists");
    if !run.is("on") {
        run.name()?;
    }
    if !run.eat("on") {
        return None;
    }
    let only = run.eat("only");
    let table = run.qualified_name()?;
    if run.eat("using") {
        run.name()?;
    }
    let mut keys = Vec::new();
    for mut element in run.parenthesized()?.split() {
        keys.push(key(&mut element, false)?);
    }
    if run.eat("include") {
        run.parenthesized()?;
    }
    let nulls_distinct = nulls_distinct(&mut run);
    let predicate = predicate(run, false)?;
    let definition = Definition::Unique {
        keys,
        nulls_distinct,
        predicate,
    };
    Some(Checks {
        table: Some(table),
        only,
        found: vec![defined(None, UNIQUE, definition)],
        others: false,
    })
}

/// What stands behind WHERE. `None` when it cannot be said: only an index's WHERE goes on to the
/// end.
fn predicate(mut run: Run<'_>, parenthesized: bool) -> Option<Option<String>> {
    run.until(&["where"]);
    if !run.eat("where") {
        return Some(None);
    }
    let inner = if parenthesized {
        run.parenthesized()?
    } else {
        run
    };
    Some(Some(inner.sql()?))
}

/// One element of an index; `any_class`: the operator class says nothing about what is the same.
fn key(run: &mut Run<'_>, any_class: bool) -> Option<Key> {
    let begin = *run;
    let (mut sql, mut column) = if let Some(inner) = run.parenthesized() {
        (format!("({})", inner.sql()?), false)
    } else {
        let name = run.qualified_name()?;
        if run.parenthesized().is_some() {
            (format!("({})", begin.taken(*run).sql()?), false)
        } else if name.schema.is_none() {
            (identifier(&name.name)?, true)
        } else {
            return None;
        }
    };
    if run.eat("collate") {
        let here = *run;
        run.qualified_name()?;
        sql = format!("({sql} COLLATE {})", here.taken(*run).sql()?);
        column = false;
    }
    let ordered = |run: &Run<'_>| run.is("asc") || run.is("desc") || run.is("nulls");
    if !run.is_at_end() && !ordered(run) {
        let class = run.qualified_name()?;
        if run.parenthesized().is_some() && !any_class {
            return None;
        }
        if !any_class && !PATTERN_CLASSES.contains(&class.name.as_bytes()) {
            return None;
        }
    }
    if !run.eat("asc") {
        run.eat("desc");
    }
    if !run.eat("nulls first") {
        run.eat("nulls last");
    }
    run.is_at_end().then_some(Key { sql, column })
}

fn column_key(sql: String) -> Key {
    Key { sql, column: true }
}

/// A list of nothing but columns.
fn columns(list: Run<'_>) -> Option<(Vec<Name>, Vec<String>)> {
    let mut names = Vec::new();
    let mut quoted = Vec::new();
    for mut element in list.split() {
        let name = element.name()?;
        if !element.is_at_end() {
            return None;
        }
        quoted.push(identifier(&name)?);
        names.push(name);
    }
    Some((names, quoted))
}

fn alter_domain(mut run: Run<'_>) -> Option<Checks> {
    run.qualified_name()?;
    let adds = run.eat("add");
    if adds && run.eat("constraint") {
        run.name()?;
    }
    let (code, demand) = if adds && run.eat("check") {
        let expression = run.parenthesized()?;
        // No text of SQL has a zero byte.
        let marked = expression.sql_with("value", "\0")?;
        let pieces = marked.split('\0').map(str::to_owned).collect();
        (CHECK, Demand::DomainCheck(pieces))
    } else if (adds && run.eat("not null")) || run.eat("set not null") {
        (NOT_NULL, Demand::DomainNotNull)
    } else {
        return None;
    };
    if run.has("not valid") {
        return None;
    }
    Some(Checks {
        table: None,
        only: false,
        found: vec![Found {
            // The error names the column that it was found in, not the constraint.
            name: None,
            column: None,
            code,
            demand,
        }],
        others: false,
    })
}
