//! Which constraints a statement has checked on the rows that are there, and the query that finds
//! those that violate one.
//!
//! A constraint that a statement was to add is in no catalogue once it has failed, so what it says
//! is read from the statement (manual, ALTER TABLE, ALTER DOMAIN, CREATE INDEX). What is not
//! understood to its end has no query.

mod query;
mod read;
mod run;

use super::name::{Name, QualifiedName};

pub use query::{Place, Reference, identifier};
pub use read::checks;

/// What a constraint demands of rows. All parts are SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// NOT NULL.
    NotNull {
        /// The column.
        column: String,
    },
    /// A new column without a value: each row violates it.
    EveryRow,
    /// UNIQUE, PRIMARY KEY, a unique index.
    Unique {
        /// What is unique.
        keys: Vec<Key>,
        /// Whether rows with a NULL among their keys never are the same.
        nulls_distinct: bool,
        /// The rows that it is about.
        predicate: Option<String>,
    },
    /// CHECK.
    Check {
        /// What must not be false.
        expression: String,
    },
    /// FOREIGN KEY.
    ForeignKey {
        /// The referencing columns.
        columns: Vec<String>,
        /// MATCH FULL: either all are NULL or none is.
        full: bool,
    },
    /// EXCLUDE.
    Exclusion {
        /// What is compared, by which operator.
        keys: Vec<(Key, String)>,
        /// The rows that it is about.
        predicate: Option<String>,
    },
}

/// What an index holds of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The column, or the expression in parentheses, with its COLLATE.
    pub sql: String,
    /// Whether it is nothing but a column.
    pub column: bool,
}

/// The constraints that one statement has checked on rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// The table as the statement names it; `None` for a domain.
    pub table: Option<QualifiedName>,
    /// ONLY: no partition, no inheriting table.
    pub only: bool,
    found: Vec<Found>,
    /// The statement also does what may run into a constraint of which nothing is known here.
    others: bool,
}

/// One constraint of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name, where the statement gives one.
    name: Option<Name>,
    /// The column that it is about, as the server names it in an error.
    column: Option<Name>,
    /// SQLSTATE of its violation.
    code: &'static str,
    /// What it demands.
    pub demand: Demand,
}

/// What is known of a constraint by the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// The statement defines it.
    Defined(Definition),
    /// A foreign key, with the table that it refers to, and its columns; none is its primary key.
    Refers(Definition, QualifiedName, Vec<String>),
    /// Columns of a domain must not be NULL.
    DomainNotNull,
    /// Columns of a domain must fulfil it: the pieces are what is written around the column.
    DomainCheck(Vec<String>),
    /// It exists under this name.
    Existing(Name),
}

impl Checks {
    /// The one that an error is about, by SQLSTATE, constraint and column; `None` when it is not
    /// certain.
    #[must_use]
    pub fn violated(
        &self,
        code: &str,
        constraint: Option<&str>,
        column: Option<&str>,
    ) -> Option<&Found> {
        let is = |name: Option<&Name>, other: Option<&str>| {
            name.zip(other)
                .is_some_and(|(name, other)| name.as_bytes() == other.as_bytes())
        };
        let of_code: Vec<_> = self.found.iter().filter(|it| it.code == code).collect();
        let named = of_code
            .iter()
            .find(|it| is(it.name.as_ref(), constraint) || is(it.column.as_ref(), column));
        match (named, &of_code[..]) {
            (Some(named), _) => Some(named),
            // A partition has names of its own.
            (None, [only]) if !self.others && only.column.is_none() => Some(only),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
