//! What the catalogue has to say about a violated constraint, and the query that comes of it.

use crate::rehearsal::sql::QualifiedName;
use crate::rehearsal::sql::constraint::{Definition, Demand, Key, Place, Reference};
use crate::rehearsal::transaction::control::literal;
use crate::rehearsal::transaction::conversation::Rows;

/// Whether any session waits for what this one has locked.
pub(super) const WAITED_FOR: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks w \
    WHERE NOT w.granted AND w.pid <> pg_catalog.pg_backend_pid() \
    AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(w.pid)))";

/// A constraint that is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sought {
    /// As `to_regclass` reads it.
    table: String,
    only: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// The column's type is to be looked at, if it is one column; the table, the columns that a
    /// foreign key refers to.
    Defined(Definition, Option<String>, Vec<String>),
    Existing(String),
}

/// What is read of a table: its name, its kind, whether something inherits from it, whether rows
/// are hidden from the role.
fn of_table(alias: &str) -> String {
    format!(
        "(SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident({alias}.relname) \
         FROM pg_catalog.pg_namespace n WHERE n.oid = {alias}.relnamespace), {alias}.relkind, \
         {alias}.relhassubclass, pg_catalog.row_security_active({alias}.oid)"
    )
}

impl Sought {
    /// One that exists under this name.
    pub(super) fn existing(table: &str, only: bool, constraint: &str) -> Self {
        Self {
            table: table.to_owned(),
            only,
            what: What::Existing(constraint.to_owned()),
        }
    }

    /// One that a statement adds to a table, or validates.
    pub(super) fn of(table: &QualifiedName, only: bool, demand: &Demand) -> Option<Self> {
        let quoted = |name: &QualifiedName| String::from_utf8(name.quoted()).ok();
        let what = match demand {
            Demand::Defined(definition) => What::Defined(definition.clone(), None, Vec::new()),
            Demand::Refers(definition, other, columns) => {
                What::Defined(definition.clone(), Some(quoted(other)?), columns.clone())
            }
            Demand::Existing(name) => {
                What::Existing(std::str::from_utf8(name.as_bytes()).ok()?.to_owned())
            }
            Demand::DomainNotNull | Demand::DomainCheck(_) => return None,
        };
        Some(Self {
            table: quoted(table)?,
            only,
            what,
        })
    }

    /// One of a domain, which a column of a table violates.
    pub(super) fn of_domain(table: &str, column: &str, demand: &Demand) -> Option<Self> {
        let column = format!("\"{}\"", column.replace('"', "\"\""));
        let definition = match demand {
            Demand::DomainNotNull => Definition::NotNull { column },
            Demand::DomainCheck(pieces) => Definition::Check {
                expression: pieces.join(&column),
            },
            _ => return None,
        };
        Some(Self {
            table: table.to_owned(),
            only: false,
            what: What::Defined(definition, None, Vec::new()),
        })
    }

    /// Whether it means the same in all encodings.
    pub(super) fn is_ascii(&self) -> bool {
        format!("{self:?}").is_ascii() && self.question().is_ascii()
    }

    /// Asks for it.
    pub(super) fn question(&self) -> String {
        match &self.what {
            What::Existing(name) => self.of_existing(name),
            What::Defined(definition, referenced, _) => {
                self.of_new(definition, referenced.as_deref())
            }
        }
    }

    /// One row for each column of a primary key that a foreign key refers to, or one row.
    fn of_new(&self, definition: &Definition, referenced: Option<&str>) -> String {
        let column = match definition {
            Definition::NotNull { column } => literal(column),
            _ => "NULL".to_owned(),
        };
        let referenced = referenced.map_or_else(|| "NULL".to_owned(), literal);
        format!(
            "SELECT {}, (SELECT t.typtype FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = c.oid \
             AND a.attname = (pg_catalog.parse_ident({column}))[1] AND NOT a.attisdropped), \
             {}, key.name \
             FROM pg_catalog.pg_class c \
             LEFT JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.to_regclass({referenced}) \
             LEFT JOIN LATERAL (SELECT pg_catalog.quote_ident(a.attname) AS name, k.place \
             FROM pg_catalog.pg_index i CROSS JOIN LATERAL \
             pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             WHERE i.indrelid = r.oid AND i.indisprimary AND k.place <= i.indnkeyatts) key ON true \
             WHERE c.oid = pg_catalog.to_regclass({}) ORDER BY key.place",
            of_table("c"),
            of_table("r"),
            literal(&self.table),
        )
    }

    /// One row for each key of the constraint. That of a partition belongs to its parent's, which
    /// is what the migration means.
    fn of_existing(&self, name: &str) -> String {
        format!(
            "WITH RECURSIVE up AS (SELECT k.oid, k.conparentid FROM pg_catalog.pg_constraint k \
             WHERE k.conrelid = pg_catalog.to_regclass({table}) AND k.conname = {name} \
             UNION ALL SELECT p.oid, p.conparentid FROM up \
             JOIN pg_catalog.pg_constraint p ON p.oid = up.conparentid) \
             SELECT {c}, k.contype, {r}, k.confmatchtype, \
             CASE WHEN k.contype = 'c' THEN pg_catalog.pg_get_expr(k.conbin, k.conrelid) END, \
             CASE WHEN k.contype IN ('u', 'x') THEN pg_catalog.pg_get_expr(i.indpred, i.indrelid) END, \
             pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct', \
             CASE WHEN k.contype = 'x' THEN pg_catalog.pg_get_indexdef(k.conindid, key.place, true) \
             ELSE pg_catalog.quote_ident(a.attname) END, a.attnum IS NOT NULL, \
             pg_catalog.quote_ident(ra.attname), \
             (SELECT 'OPERATOR(' || pg_catalog.quote_ident(n.nspname) || '.' || o.oprname || ')' \
             FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
             WHERE o.oid = k.conexclop[key.place]) \
             FROM up JOIN pg_catalog.pg_constraint k ON k.oid = up.oid AND up.conparentid = 0 \
             JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
             LEFT JOIN pg_catalog.pg_class r ON r.oid = k.confrelid \
             LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('u', 'x') \
             CROSS JOIN LATERAL pg_catalog.generate_series(1, \
             coalesce(pg_catalog.array_length(k.conkey, 1), 1)) AS key(place) \
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[key.place] \
             LEFT JOIN pg_catalog.pg_attribute ra ON ra.attrelid = r.oid AND ra.attnum = k.confkey[key.place] \
             ORDER BY key.place",
            table = literal(&self.table),
            name = literal(name),
            c = of_table("c"),
            r = of_table("r"),
        )
    }

    /// The query, by the answer.
    pub(super) fn query(&self, rows: &Rows) -> Result<String, String> {
        let first = rows
            .first()
            .ok_or("its table is not there in front of the statement")?;
        let cell = |row: &[Option<String>], index: usize| row.get(index).cloned().flatten();
        let truth = |index: usize| cell(first, index).as_deref() == Some("t");
        // A new table has four cells, then comes the type of a column or the kind of a constraint.
        let fourth = cell(first, 4);
        let referenced = cell(first, 5).map(|table| Reference {
            table,
            inherited: truth(7) && cell(first, 6).as_deref() != Some("p"),
            columns: Vec::new(),
        });
        if truth(3) || (referenced.is_some() && truth(8)) {
            return Err("row security hides rows from the role".to_owned());
        }
        let mut place = Place {
            table: cell(first, 0).unwrap_or_default(),
            partitioned: cell(first, 1).as_deref() == Some("p"),
            inherited: truth(2),
            only: self.only,
            composite: fourth.as_deref() == Some("c"),
            referenced,
        };
        let definition = match &self.what {
            What::Defined(definition, _, columns) => {
                if let Some(reference) = &mut place.referenced {
                    reference.columns = if columns.is_empty() {
                        rows.iter().filter_map(|row| cell(row, 9)).collect()
                    } else {
                        columns.clone()
                    };
                }
                Some(definition.clone())
            }
            What::Existing(_) => {
                place.composite = false;
                if let Some(reference) = &mut place.referenced {
                    reference.columns = rows.iter().filter_map(|row| cell(row, 15)).collect();
                }
                existing(fourth.as_deref(), rows)
            }
        };
        definition
            .and_then(|definition| definition.query(&place))
            .ok_or_else(|| "its definition is not one that is understood".to_owned())
    }
}

/// A constraint as the catalogue has it.
fn existing(kind: Option<&str>, rows: &Rows) -> Option<Definition> {
    let first = rows.first()?;
    let cell = |row: &[Option<String>], index: usize| row.get(index).cloned().flatten();
    let columns = || {
        rows.iter()
            .map(|row| cell(row, 13))
            .collect::<Option<Vec<String>>>()
    };
    match kind? {
        "n" => Some(Definition::NotNull {
            column: cell(first, 13)?,
        }),
        "c" => Some(Definition::Check {
            expression: cell(first, 10)?,
        }),
        "f" => Some(Definition::ForeignKey {
            columns: columns()?,
            full: cell(first, 9)? == "f",
        }),
        "u" | "p" => Some(Definition::Unique {
            keys: columns()?
                .into_iter()
                .map(|sql| Key { sql, column: true })
                .collect(),
            nulls_distinct: cell(first, 12).as_deref() != Some("true"),
            predicate: cell(first, 11),
        }),
        "x" => {
            let key = |row: &Vec<Option<String>>| {
                let column = cell(row, 14).as_deref() == Some("t");
                let sql = cell(row, 13)?;
                let sql = if column { sql } else { format!("({sql})") };
                Some((Key { sql, column }, cell(row, 16)?))
            };
            Some(Definition::Exclusion {
                keys: rows.iter().map(key).collect::<Option<_>>()?,
                predicate: cell(first, 11),
            })
        }
        _ => None,
    }
}
