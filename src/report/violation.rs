//! A constraint that rows violate, and the query that finds them.

use serde::{Deserialize, Serialize};

/// What the server's error of a violated constraint leaves open. It holds no row: the query is made
/// of names and of the constraint's own definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// What kind of constraint.
    pub kind: ConstraintKind,
    /// The state in which the query finds the rows.
    pub before: Before,
    /// Finds the rows; the server has understood it. `None` when there is none, and `unknown` says
    /// why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How many it found, at most 10,000; `None` when they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// There were more than were counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Why there is no query, or no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// The kinds of constraints that rows can violate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConstraintKind {
    /// SQLSTATE 23502.
    NotNull,
    /// 23503.
    ForeignKey,
    /// 23505.
    Unique,
    /// 23514.
    Check,
    /// 23P01.
    Exclusion,
}

/// What a query is to be asked in front of, to find what was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// The statement that failed.
    Statement,
    /// The COMMIT, in the transaction that it was to end.
    Commit,
}

impl ConstraintKind {
    /// The kind that a SQLSTATE tells.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        Some(match code {
            "23502" => Self::NotNull,
            "23503" => Self::ForeignKey,
            "23505" => Self::Unique,
            "23514" => Self::Check,
            "23P01" => Self::Exclusion,
            _ => return None,
        })
    }
}

impl Violation {
    /// One of which nothing more is known, and why.
    #[must_use]
    pub fn unknown(kind: ConstraintKind, before: Before, why: impl Into<String>) -> Self {
        Self {
            kind,
            before,
            query: None,
            rows: None,
            more: false,
            unknown: Some(why.into()),
        }
    }

    /// The query and the number, in words, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(query) = &self.query {
            let place = match self.before {
                Before::Statement => "finds them, before this statement",
                Before::Commit => "finds them, in the transaction before its COMMIT",
            };
            lines.push(format!("{place}: {query}"));
        }
        match (self.rows, &self.unknown) {
            (Some(rows), _) if self.more => lines.push(format!("more than {rows} rows")),
            (Some(1), _) => lines.push("1 row".to_owned()),
            (Some(rows), _) => lines.push(format!("{rows} rows")),
            (None, Some(why)) if self.query.is_some() => lines.push(format!("not counted: {why}")),
            (None, Some(why)) => lines.push(format!("no query finds them: {why}")),
            (None, None) => {}
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: Option<u64>, more: bool, unknown: Option<&str>) -> Violation {
        Violation {
            query: Some("SELECT 1".to_owned()),
            rows,
            more,
            unknown: unknown.map(str::to_owned),
            ..Violation::unknown(ConstraintKind::Unique, Before::Commit, "")
        }
    }

    #[test]
    fn the_query_and_the_number_are_told_in_words() {
        let query = "finds them, in the transaction before its COMMIT: SELECT 1";
        assert_eq!(found(Some(1), false, None).lines(), [query, "1 row"]);
        assert_eq!(
            found(Some(10_000), true, None).lines(),
            [query, "more than 10000 rows"]
        );
        assert_eq!(
            found(None, false, Some("why")).lines(),
            [query, "not counted: why"]
        );
        let none = Violation::unknown(ConstraintKind::Check, Before::Statement, "why");
        assert_eq!(none.lines(), ["no query finds them: why"]);
    }

    #[test]
    fn what_is_not_known_is_not_in_the_document() {
        let none = Violation::unknown(ConstraintKind::NotNull, Before::Statement, "why");
        let json = serde_json::to_string(&none).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"notNull","before":"statement","unknown":"why"}"#
        );
        assert_eq!(serde_json::from_str::<Violation>(&json).unwrap(), none);
    }
}
