//! Which database, and which variables the command reads it from.

use anyhow::{Context, Result, bail};

use crate::postgres::dialect::Dialect;
use crate::postgres::url::{self, Environment, Target};

/// The variables that may hold the URL, the first that is set wins.
pub(super) const VARIABLES: [&str; 2] = ["DRYDOCK_DATABASE_URL", "DATABASE_URL"];

/// A database as it was given.
#[derive(Debug)]
pub(super) struct Given {
    /// Where and as whom.
    pub(super) target: Target,
    /// In which notation.
    pub(super) dialect: Dialect,
    /// The very text; `None` when the `PG*` variables gave it.
    pub(super) text: Option<String>,
}

/// Finds the database: flag, then variables, then libpq's own variables.
///
/// # Errors
/// When none is given or it is malformed.
pub(super) fn find(flag: Option<&str>, environment: &Environment) -> Result<Given> {
    let named = flag
        .map(|text| ("--database-url", text.to_owned()))
        .or_else(|| {
            VARIABLES.into_iter().find_map(|name| {
                environment
                    .get(name)
                    .filter(|value| !value.trim().is_empty())
                    .map(|value| (name, value.clone()))
            })
        });
    if let Some((name, text)) = named {
        let (target, dialect) = url::parse(&text, environment).with_context(|| name.to_owned())?;
        return Ok(Given {
            target,
            dialect,
            text: Some(text),
        });
    }
    let any_libpq = ["PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", "PGUSER"]
        .iter()
        .any(|name| environment.contains_key(*name));
    if !any_libpq {
        bail!(
            "no database given: use --database-url, or set DRYDOCK_DATABASE_URL, DATABASE_URL or \
             libpq's PGHOST, PGDATABASE, …"
        );
    }
    let (target, dialect) = url::from_environment(environment).context("the PG* variables")?;
    Ok(Given {
        target,
        dialect,
        text: None,
    })
}
