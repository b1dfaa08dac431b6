//! URLs: libpq's own, and SQLAlchemy's with a driver in the scheme.

use std::collections::BTreeMap;

use super::{UrlError, keywords};
use crate::postgres::dialect::{Dialect, Driver};

/// What a URL says.
pub(super) struct Parsed {
    pub(super) keywords: BTreeMap<String, String>,
    pub(super) dialect: Dialect,
}

/// The scheme and what follows `://` (or `:` where other databases write that).
pub(super) fn scheme(text: &str) -> Option<(&str, &str)> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | ':' | '_'))
    };
    if let Some((scheme, rest)) = text.split_once("://").filter(|(s, _)| is_scheme(s)) {
        return Some((scheme, rest));
    }
    text.split_once(':')
        .filter(|(scheme, _)| matches!(*scheme, "sqlite" | "file" | "jdbc"))
}

/// Reads what follows the scheme.
pub(super) fn parse(scheme: &str, rest: &str) -> Result<Parsed, UrlError> {
    let driver = driver(scheme)?;
    let malformed = |what: &str| UrlError::Malformed(what.to_owned());
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, database) = match rest.split_once('/') {
        Some((authority, database)) => (authority, Some(database)),
        None => (rest, None),
    };
    if database.is_some_and(|database| database.contains('@')) {
        return Err(malformed(
            "there is an @ after the first /; write a / in the user or password as %2F",
        ));
    }
    let (login, hosts) = match authority.split_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    if hosts.contains('@') {
        return Err(malformed(
            "there is more than one @ before the host; write an @ in the user or password as %40",
        ));
    }

    let mut keywords = BTreeMap::new();
    if let Some(login) = login {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if !user.is_empty() {
            keywords.insert("user".to_owned(), decode(user, "user")?);
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            keywords.insert("password".to_owned(), decode(password, "password")?);
        }
    }
    if let Some((names, ports)) = host_list(hosts)? {
        if names.iter().any(|name| !name.is_empty()) {
            keywords.insert("host".to_owned(), names.join(","));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            keywords.insert("port".to_owned(), ports.join(","));
        }
    }
    if let Some(database) = database.filter(|database| !database.is_empty()) {
        keywords.insert("dbname".to_owned(), decode(database, "database name")?);
    }
    let kept = match query {
        Some(query) => read_query(query, driver, &mut keywords)?,
        None => Vec::new(),
    };
    let sslmode = keywords.get("sslmode").cloned();
    Ok(Parsed {
        keywords,
        dialect: Dialect::url(scheme, driver, kept, sslmode),
    })
}

fn driver(scheme: &str) -> Result<Driver, UrlError> {
    let lower = scheme.to_ascii_lowercase();
    let refuse = |reason: &str| {
        Err(UrlError::Scheme {
            scheme: scheme.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let base = lower.split(['+', ':']).next().unwrap_or_default();
    match (base, lower.split_once('+').map(|(_, driver)| driver)) {
        ("postgresql" | "postgres", None) if !lower.contains(':') => Ok(Driver::Plain),
        (
            "postgresql" | "postgres",
            Some("psycopg" | "psycopg2" | "psycopg2cffi" | "psycopg_async"),
        ) => Ok(Driver::Psycopg),
        ("postgresql" | "postgres", Some("asyncpg")) => Ok(Driver::Asyncpg),
        ("postgresql" | "postgres", Some("pg8000")) => Ok(Driver::Pg8000),
        ("postgresql" | "postgres", _) => refuse(
            "unknown driver; write postgresql:// or one of postgresql+psycopg, +psycopg2, \
             +psycopg2cffi, +asyncpg, +pg8000",
        ),
        ("jdbc", _) => match other_database(lower.split(':').nth(1).unwrap_or_default()) {
            Some(reason) => refuse(reason),
            None => refuse(
                "JDBC URLs are not read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ),
        },
        _ => refuse(other_database(base).unwrap_or(
            "not a PostgreSQL URL; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        )),
    }
}

/// Why a migration of another database is not rehearsed, and what to do.
fn other_database(base: &str) -> Option<&'static str> {
    Some(match base {
        "mysql" | "mariadb" | "tidb" => {
            "MySQL commits before and after every DDL statement by itself, so a migration cannot be \
             rehearsed and rolled back there; run it on a restored copy instead; drydock speaks to \
             PostgreSQL only"
        }
        "oracle" => {
            "Oracle commits before and after every DDL statement by itself, so a migration cannot \
             be rehearsed and rolled back there; run it on a restored copy instead; drydock speaks \
             to PostgreSQL only"
        }
        "sqlite" | "file" => {
            "SQLite is a file without a server, and Python's driver begins no transaction before \
             DDL unless told to, so a rollback would not undo it; copy the file and run the \
             migration on the copy; drydock speaks to PostgreSQL only"
        }
        "cockroachdb" | "cockroach" | "redshift" | "yugabytedb" | "ysql" => {
            "it speaks PostgreSQL's protocol but not all of its schema changes are undone by \
             ROLLBACK, so they cannot be rehearsed; run them on a copy instead; drydock speaks to \
             PostgreSQL only"
        }
        "mssql" | "sqlserver" => {
            "SQL Server has a protocol of its own; run the migration on a restored copy instead; \
             drydock speaks to PostgreSQL only"
        }
        "snowflake" | "bigquery" | "clickhouse" | "databricks" | "duckdb" | "trino" | "presto"
        | "spanner" | "db2" | "ibm_db_sa" | "hana" | "firebird" | "mongodb" => {
            "it has no protocol of PostgreSQL's; run the migration on a copy instead; drydock speaks to PostgreSQL only"
        }
        _ => return None,
    })
}

type HostsAndPorts = (Vec<String>, Vec<String>);

fn host_list(text: &str) -> Result<Option<HostsAndPorts>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for entry in text.split(',') {
        let (name, port) = if let Some(rest) = entry.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or_else(|| {
                UrlError::Malformed("an IPv6 address lacks its closing ]".to_owned())
            })?;
            (address, after.strip_prefix(':').unwrap_or(after))
        } else {
            entry.split_once(':').unwrap_or((entry, ""))
        };
        names.push(decode(name, "host")?);
        ports.push(decode(port, "port")?);
    }
    Ok(Some((names, ports)))
}

/// Fills `keywords` and gives back what the command's client should see too.
fn read_query(
    query: &str,
    driver: Driver,
    keywords: &mut BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, UrlError> {
    let mut kept = Vec::new();
    let mut hosts = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(UrlError::Malformed(
                "\"=\" is missing after a parameter behind the ?".to_owned(),
            ));
        };
        // SQLAlchemy reads the query as a form, where + is a space; libpq does not.
        let form = |text: &str| match driver {
            Driver::Plain => text.to_owned(),
            _ => text.replace('+', " "),
        };
        let key = decode(&form(key), "name of a parameter")?;
        let value = decode(&form(value), "value of a parameter")?;
        match key.as_str() {
            "host" if driver != Driver::Plain => hosts.push(value),
            "ssl" => {
                keywords.insert("sslmode".to_owned(), ssl_word(&value));
            }
            _ if keywords::is_known(&key) => {
                if keywords::is_for_the_client(&key) {
                    kept.push((key.clone(), value.clone()));
                }
                keywords.insert(key, value);
            }
            // Drivers have parameters of their own. One that looks like a misspelt demand for
            // security must not be dropped silently.
            _ if key.starts_with("ssl") || key.starts_with("tls") || key.starts_with("channel") => {
                return Err(UrlError::UnknownKeyword(key));
            }
            _ => kept.push((key, value)),
        }
    }
    if !hosts.is_empty() {
        let entries: Vec<&str> = hosts.iter().flat_map(|list| list.split(',')).collect();
        let with_ports: Vec<(&str, &str)> = entries
            .iter()
            .map(|entry| match entry.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') && !entry.starts_with('/') => {
                    (name, port)
                }
                _ => (*entry, ""),
            })
            .collect();
        let list = |of: fn(&(&str, &str)) -> String| {
            with_ports.iter().map(of).collect::<Vec<_>>().join(",")
        };
        keywords.insert("host".to_owned(), list(|(name, _)| (*name).to_owned()));
        if with_ports.iter().any(|(_, port)| !port.is_empty()) {
            keywords.insert("port".to_owned(), list(|(_, port)| (*port).to_owned()));
        }
    }
    Ok(kept)
}

/// asyncpg's `ssl=require` and JDBC's `ssl=true` in libpq's words.
fn ssl_word(value: &str) -> String {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" => "require".to_owned(),
        "false" | "0" | "off" => "disable".to_owned(),
        other => other.to_owned(),
    }
}

fn decode(text: &str, what: &'static str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|b| (b as char).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(UrlError::Percent(what)),
        }
    }
    if bytes.contains(&0) {
        return Err(UrlError::Encoding(what));
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Encoding(what))
}

/// Percent-encodes everything that is not unreserved (RFC 3986, 2.3).
pub(in crate::postgres) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "[^\0]*") {
            prop_assert_eq!(decode(&encode(&text), "text").unwrap(), text);
        }
    }
}
