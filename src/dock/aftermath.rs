//! Waiting until a command is over at the server as well.
//!
//! A process that is gone leaves a server process behind that does not know it: it finds out when it
//! next has something to say to its client, and until then it carries on, up to and including a
//! COMMIT (manual, `client_connection_check_interval`). Whoever looks at the database before that
//! sees a state that is not the last one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::postgres::ask::{Ask, AskError, Row, literal};

/// How often it is looked again.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a transaction may stand idle: a server process that waits for its client sees at once
/// that it is gone.
const IDLE: Duration = Duration::from_secs(2);

/// Waits for the end of every transaction that the command can have left open: those of the same
/// role, database and address in sessions that are younger than `since` by the server's clock.
/// For a statement there is no limit, because there is nothing else that could be done: to end it
/// is to decide over somebody's COMMIT.
///
/// # Errors
/// When the server does not answer.
pub async fn settle(asker: &mut impl Ask, since: Timestamp) -> Result<(), AskError> {
    let sql = question(since);
    let began = Instant::now();
    let mut left = open(asker.ask(&sql).await?);
    let mut told = false;
    // Transactions that begin later are somebody else's: the command's process is gone.
    while !left.is_empty() {
        if !std::mem::replace(&mut told, true) {
            tracing::info!(
                transactions = left.len(),
                "waiting for what the command left at the server"
            );
        }
        tokio::time::sleep(PAUSE).await;
        let now = open(asker.ask(&sql).await?);
        let patient = began.elapsed() < IDLE;
        left.retain(|transaction, _| now.get(transaction).is_some_and(|busy| *busy || patient));
    }
    Ok(())
}

/// Transactions by process and beginning, and whether they are executing something.
fn open(rows: Vec<Row>) -> BTreeMap<Row, bool> {
    rows.into_iter()
        .map(|mut row| {
            let busy = row.pop().flatten().as_deref() == Some("t");
            (row, busy)
        })
        .collect()
}

fn question(since: Timestamp) -> String {
    let since = literal(&since.to_string());
    format!(
        "SELECT a.pid, a.xact_start, a.state NOT LIKE 'idle%' FROM pg_catalog.pg_stat_activity a \
         JOIN pg_catalog.pg_stat_activity me ON me.pid = pg_catalog.pg_backend_pid() \
         WHERE a.datid = me.datid AND a.usesysid = me.usesysid \
         AND a.client_addr IS NOT DISTINCT FROM me.client_addr \
         AND a.application_name NOT LIKE 'drydock/%' \
         AND a.backend_start > {since}::timestamptz AND a.xact_start IS NOT NULL"
    )
}
