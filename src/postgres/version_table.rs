//! What migration tools have written down about themselves.

use std::collections::BTreeMap;

use super::ask::{Ask, AskError, literal};
use crate::schema::VersionTable;

/// Table and the columns that say which migrations are applied; times and durations are left out,
/// since they differ between a rehearsal and the upgrade.
const KNOWN: &[(&str, &[&str])] = &[
    ("alembic_version", &["version_num"]),
    ("django_migrations", &["app", "name"]),
    (
        "flyway_schema_history",
        &["version", "script", "checksum", "success"],
    ),
    ("schema_migrations", &["version", "dirty"]),
    ("knex_migrations", &["name"]),
    ("pgmigrations", &["name"]),
    (
        "_prisma_migrations",
        &["migration_name", "checksum", "rolled_back_at"],
    ),
    ("__EFMigrationsHistory", &["MigrationId"]),
    ("databasechangelog", &["id", "author", "filename", "md5sum"]),
    ("goose_db_version", &["version_id", "is_applied"]),
    ("SequelizeMeta", &["name"]),
    ("typeorm_migrations", &["name"]),
    ("sqlx_migrations", &["version", "success"]),
    ("_sqlx_migrations", &["version", "success"]),
    ("__diesel_schema_migrations", &["version"]),
    (
        "atlas_schema_revisions",
        &["version", "applied", "total", "error"],
    ),
    ("ar_internal_metadata", &["key", "value"]),
];

/// Alembic's table may have any name (`version_table`); it is known by its only column.
const OF_ALEMBIC: &[&str] = &["version_num"];

/// Reads the known version tables of all schemas and those that are named, by qualified or plain
/// name; of the latter, one that does not exist is in the answer too, without rows.
///
/// # Errors
/// When the server does not answer.
pub async fn read(
    asker: &mut impl Ask,
    named: &[String],
) -> Result<BTreeMap<String, VersionTable>, AskError> {
    let mut tables = BTreeMap::new();
    for found in find(asker, named).await? {
        let rows = asker.ask(&found.query()).await?;
        let mut rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
        rows.sort_unstable();
        let table = VersionTable {
            name: found.name.clone(),
            rows: Some(rows),
            alembic: found.columns == ["version_num"],
        };
        tables.insert(found.name, table);
    }
    for name in named {
        if !tables.keys().any(|found| is_called(found, name)) {
            let missing = VersionTable {
                name: name.clone(),
                rows: None,
                alembic: false,
            };
            tables.insert(name.clone(), missing);
        }
    }
    Ok(tables)
}

/// A version table that exists.
struct Found {
    name: String,
    columns: Vec<String>,
}

impl Found {
    fn query(&self) -> String {
        let row = if self.columns.is_empty() {
            "pg_catalog.to_jsonb(t)".to_owned()
        } else {
            format!("pg_catalog.jsonb_build_array({})", self.columns.join(", "))
        };
        format!("SELECT ({row})::text FROM {} t", self.name)
    }
}

/// Whether a qualified name is the one that somebody wrote, with or without its schema.
fn is_called(qualified: &str, written: &str) -> bool {
    let plain = |text: &str| text.replace('"', "");
    let (qualified, written) = (plain(qualified), plain(written));
    qualified == written
        || qualified
            .split_once('.')
            .is_some_and(|(_, table)| table == written)
}

async fn find(asker: &mut impl Ask, named: &[String]) -> Result<Vec<Found>, AskError> {
    let plain: Vec<&str> = named
        .iter()
        .map(|name| name.rsplit('.').next().unwrap_or(name).trim_matches('"'))
        .collect();
    let candidates: Vec<String> = KNOWN
        .iter()
        .map(|(name, _)| *name)
        .chain(plain)
        .map(literal)
        .collect();
    let rows = asker
        .ask(&format!(
            "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
                    c.relname, a.attname, pg_catalog.quote_ident(a.attname),
                    (c.relnatts = 1 AND a.attname = 'version_num'
                     AND a.atttypid = 'pg_catalog.varchar'::pg_catalog.regtype)::text
             FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_catalog.pg_attribute a
               ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
               AND (c.relname IN ({})
                    OR c.relnatts = 1 AND (
                        SELECT o.attname = 'version_num'
                           AND o.atttypid = 'pg_catalog.varchar'::pg_catalog.regtype
                        FROM pg_catalog.pg_attribute o
                        WHERE o.attrelid = c.oid AND o.attnum = 1))
               AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
             ORDER BY n.nspname, c.relname, a.attnum",
            candidates.join(", ")
        ))
        .await?;
    let mut tables: Vec<Found> = Vec::new();
    for row in rows {
        let Some(
            [
                Some(name),
                Some(table),
                Some(column),
                Some(quoted),
                Some(alembic),
            ],
        ) = <[_; 5]>::try_from(row).ok()
        else {
            return Err(AskError::Shape("the version tables"));
        };
        let columns = KNOWN
            .iter()
            .find(|(known, _)| *known == table)
            .map(|(_, columns)| *columns)
            .or_else(|| (alembic == "true").then_some(OF_ALEMBIC));
        if columns.is_none() && !named.iter().any(|written| is_called(&name, written)) {
            continue;
        }
        if tables.last().is_none_or(|last| last.name != name) {
            tables.push(Found {
                name,
                columns: Vec::new(),
            });
        }
        if let (Some(last), Some(columns)) = (tables.last_mut(), columns)
            && columns.contains(&column.as_str())
        {
            last.columns.push(quoted);
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::is_called;

    #[test]
    fn a_table_may_be_named_with_or_without_its_schema() {
        assert!(is_called("public.alembic_version", "alembic_version"));
        assert!(is_called("app.\"Versions\"", "app.Versions"));
        assert!(!is_called("app.alembic_version", "public.alembic_version"));
    }
}
