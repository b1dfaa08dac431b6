//! The query that finds the rows that violate a constraint.

use super::{Definition, Key};
use crate::rehearsal::sql::name::{Name, is_reserved};

/// The table of a constraint, as the catalogue knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Qualified and quoted.
    pub table: String,
    /// Its rows are in partitions.
    pub partitioned: bool,
    /// Other tables inherit from it.
    pub inherited: bool,
    /// The statement or the constraint says that only its own rows count.
    pub only: bool,
    /// The column that must not be NULL is of a composite type.
    pub composite: bool,
    /// What a foreign key refers to.
    pub referenced: Option<Reference>,
}

/// What a foreign key refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Qualified and quoted.
    pub table: String,
    /// Other tables inherit from it, whose rows do not count.
    pub inherited: bool,
    /// The columns, quoted, in the order of the referencing ones.
    pub columns: Vec<String>,
}

impl Place {
    /// For what is checked in all that inherits.
    fn all(&self) -> String {
        table(&self.table, self.only)
    }

    /// For what an index checks: in all partitions, but in no table that inherits.
    fn own(&self) -> String {
        table(
            &self.table,
            self.only || (self.inherited && !self.partitioned),
        )
    }

    /// What tells one row from another.
    fn row(&self, alias: &str) -> String {
        if self.partitioned && !self.only {
            format!("({alias}.tableoid, {alias}.ctid)")
        } else {
            format!("{alias}.ctid")
        }
    }
}

fn table(name: &str, only: bool) -> String {
    if only {
        format!("ONLY {name}")
    } else {
        name.to_owned()
    }
}

impl Definition {
    /// The query that finds the rows in a table that violate it. `None` when the place does not fit.
    #[must_use]
    pub fn query(&self, place: &Place) -> Option<String> {
        match self {
            Self::NotNull { column } if place.composite => Some(format!(
                "SELECT * FROM {} WHERE {column} IS NOT DISTINCT FROM NULL",
                place.all()
            )),
            Self::NotNull { column } => Some(format!(
                "SELECT * FROM {} WHERE {column} IS NULL",
                place.all()
            )),
            Self::EveryRow => Some(format!("SELECT * FROM {}", place.all())),
            Self::Check { expression } => Some(format!(
                "SELECT * FROM {} WHERE NOT ({expression})",
                place.all()
            )),
            Self::Unique {
                keys,
                nulls_distinct,
                predicate,
            } => duplicates(place, keys, *nulls_distinct, predicate.as_deref()),
            Self::ForeignKey { columns, full } => orphans(place, columns, *full),
            Self::Exclusion { keys, predicate } => conflicts(place, keys, predicate.as_deref()),
        }
    }
}

fn duplicates(
    place: &Place,
    keys: &[Key],
    nulls_distinct: bool,
    predicate: Option<&str>,
) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let table = place.own();
    let numbers = list((1..=keys.len()).map(|number| number.to_string()));
    let filter = predicate.map(|predicate| format!(" WHERE {predicate}"));
    let filter = filter.unwrap_or_default();
    let in_filter = predicate.map(|predicate| format!("({predicate}) AND "));
    let in_filter = in_filter.unwrap_or_default();
    if nulls_distinct {
        let all = list(keys.iter().map(|key| key.sql.clone()));
        let what = match keys {
            [_] => all.clone(),
            _ => format!("({all})"),
        };
        return Some(format!(
            "SELECT * FROM {table} WHERE {in_filter}{what} IN (SELECT {all} FROM {table}{filter} \
             GROUP BY {numbers} HAVING count(*) > 1)"
        ));
    }
    // `IN` finds no NULL. Names that no column has, since they stand beside the table's own.
    let named = |number: usize| format!("drydock_{}", number + 1);
    let columns = list(
        keys.iter()
            .enumerate()
            .map(|(n, key)| format!("{} AS {}", key.sql, named(n))),
    );
    let same: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| format!("{} IS NOT DISTINCT FROM {}", named(n), key.sql))
        .collect();
    Some(format!(
        "SELECT * FROM {table} WHERE {in_filter}EXISTS (SELECT FROM (SELECT {columns} FROM \
         {table}{filter} GROUP BY {numbers} HAVING count(*) > 1) repeated WHERE {})",
        same.join(" AND ")
    ))
}

fn orphans(place: &Place, columns: &[String], full: bool) -> Option<String> {
    let referenced = place.referenced.as_ref()?;
    if columns.is_empty() || columns.len() != referenced.columns.len() {
        return None;
    }
    let join = if full { " OR " } else { " AND " };
    let filled: Vec<_> = columns
        .iter()
        .map(|column| format!("child.{column} IS NOT NULL"))
        .collect();
    let filled = filled.join(join);
    let filled = if full && columns.len() > 1 {
        format!("({filled})")
    } else {
        filled
    };
    let same: Vec<_> = columns
        .iter()
        .zip(&referenced.columns)
        .map(|(column, key)| format!("parent.{key} = child.{column}"))
        .collect();
    Some(format!(
        "SELECT child.* FROM {} child WHERE {filled} AND NOT EXISTS (SELECT FROM {} parent WHERE {})",
        place.own(),
        table(&referenced.table, referenced.inherited),
        same.join(" AND ")
    ))
}

/// Behind the alias of the inner table its columns need no name in front; those of the outer one
/// are out of reach there, so expressions over them are made beside it.
fn conflicts(place: &Place, keys: &[(Key, String)], predicate: Option<&str>) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let table = place.own();
    let mut beside = Vec::new();
    let mut same = Vec::new();
    for (key, operator) in keys {
        if key.column {
            same.push(format!("other.{sql} {operator} one.{sql}", sql = key.sql));
        } else {
            let name = format!("drydock_{}", beside.len() + 1);
            same.push(format!("{} {operator} {name}", key.sql));
            beside.push(format!("{} AS {name}", key.sql));
        }
    }
    let beside = if beside.is_empty() {
        String::new()
    } else {
        format!(", LATERAL (SELECT {}) keys", beside.join(", "))
    };
    let filter = predicate.map(|predicate| format!("({predicate}) AND "));
    let filter = filter.unwrap_or_default();
    Some(format!(
        "SELECT one.* FROM {table} one{beside} WHERE {filter}EXISTS (SELECT FROM {table} other WHERE \
         {filter}{} <> {} AND {})",
        place.row("other"),
        place.row("one"),
        same.join(" AND ")
    ))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A name as it is written in a query; `None` for one that is not UTF-8.
#[must_use]
pub fn identifier(name: &Name) -> Option<String> {
    let text = std::str::from_utf8(name.as_bytes()).ok()?;
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && text
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit());
    if plain && !is_reserved(name.as_bytes()) && !TYPES_AND_CALLS.contains(&text) {
        return Some(text.to_owned());
    }
    String::from_utf8(name.quoted()).ok()
}

/// Key words that may name a column, but begin something else in an expression (manual, appendix
/// "SQL Key Words": "cannot be function or type").
const TYPES_AND_CALLS: &[&str] = &[
    "between",
    "bigint",
    "bit",
    "boolean",
    "char",
    "character",
    "coalesce",
    "dec",
    "decimal",
    "exists",
    "extract",
    "float",
    "greatest",
    "grouping",
    "inout",
    "int",
    "integer",
    "interval",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "least",
    "merge_action",
    "national",
    "nchar",
    "none",
    "normalize",
    "nullif",
    "numeric",
    "out",
    "overlay",
    "position",
    "precision",
    "real",
    "row",
    "setof",
    "smallint",
    "substring",
    "time",
    "timestamp",
    "treat",
    "trim",
    "values",
    "varchar",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];
