//! Questions under the same settings, whatever the session's own are.

use crate::postgres::ask::{Ask, AskError, Row, literal};

/// Settings that decide how the server writes a definition.
const PINNED: &[(&str, &str)] = &[
    ("search_path", ""),
    ("quote_all_identifiers", "off"),
    ("extra_float_digits", "3"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("xmloption", "content"),
    ("lc_monetary", "C"),
    ("jit", "off"),
    ("enable_seqscan", "on"),
    ("max_parallel_workers_per_gather", "0"),
];

/// An object that somebody else drops between the list and its definition is an error of these
/// kinds; then all is read again.
const CHANGED_MEANWHILE: &[&str] = &["XX000", "42P01", "42704", "42883", "3F000", "2200F"];
const ATTEMPTS: usize = 3;

/// Questions one after another. The session's own settings are read with the first of them and put
/// back once, behind the last: a rehearsal holds its locks meanwhile.
///
/// On a connection of our own the pinned ones end with each statement string's implicit transaction;
/// inside a rehearsal they would last to its end.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    own: Option<Row>,
}

impl Pinned {
    /// Asks under the pinned settings.
    pub(super) async fn ask(
        &mut self,
        asker: &mut impl Ask,
        sql: &str,
    ) -> Result<Vec<Row>, AskError> {
        let pin = set(PINNED
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())));
        if self.own.is_some() {
            return Ok(without_pin(asker.ask(&format!("{pin}; {sql}")).await?));
        }
        let current: Vec<String> = PINNED
            .iter()
            .map(|(name, _)| format!("pg_catalog.current_setting('{name}')"))
            .collect();
        // A string that fails changes no setting.
        let string = format!("SELECT {}; {pin}; {sql}", current.join(", "));
        let mut rows = asker.ask(&string).await?.into_iter();
        let own = rows.next().filter(|own| own.len() == PINNED.len());
        self.own = Some(own.ok_or(AskError::Shape("the session's settings"))?);
        Ok(without_pin(rows.collect()))
    }

    /// The same, and again when somebody else's DDL is in the way.
    pub(super) async fn read(
        &mut self,
        asker: &mut impl Ask,
        sql: &str,
    ) -> Result<Vec<Row>, AskError> {
        let mut attempt = 1;
        loop {
            match self.ask(asker, sql).await {
                Err(AskError::Server { code, .. })
                    if attempt < ATTEMPTS && CHANGED_MEANWHILE.contains(&code.as_str()) =>
                {
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Puts the session's own settings back, and gives what the questions came to.
    pub(super) async fn leave<T>(
        self,
        asker: &mut impl Ask,
        answer: Result<T, AskError>,
    ) -> Result<T, AskError> {
        if let Some(own) = self.own
            && !matches!(answer, Err(AskError::Lost(_)))
        {
            let own = own.into_iter().map(Option::unwrap_or_default);
            let restore = set(PINNED.iter().map(|(name, _)| *name).zip(own));
            asker.ask(&restore).await?;
        }
        answer
    }
}

/// The row of the pinning statement has one column.
fn without_pin(rows: Vec<Row>) -> Vec<Row> {
    rows.into_iter().filter(|row| row.len() > 1).collect()
}

fn set<'a>(settings: impl Iterator<Item = (&'a str, String)>) -> String {
    let calls: Vec<String> = settings
        .map(|(name, value)| format!("set_config('{name}', {}, true)", literal(&value)))
        .collect();
    format!("SELECT pg_catalog.concat({})", calls.join(", "))
}
