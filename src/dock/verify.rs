//! The independent look at the end, on connections that took no part in what they judge.

use std::time::{Duration, Instant};

use super::aftermath;
use super::before::{self, Before};
use super::decide::After;
use super::lease::{application_name, place};
use super::link::{Ended, How};
use super::record::DryRun;
use super::trouble::{chain, with_the_lock};
use crate::postgres::connect::{self, Client, ConnectError, StartupSettings, Trouble};
use crate::postgres::identity;
use crate::postgres::url::Target;
use crate::postgres::wait;
use crate::report::{Database, Ledger, RunId, Witnessed};
use crate::schema::{Difference, Scope, Span};
use crate::witness::{self, Facts};

/// How long a server that cannot be reached is tried again.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long reading after an upgrade may wait for a lock: who gives up knows nothing.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Has the witness look whether the rehearsal left nothing behind.
///
/// # Errors
/// Says why it could not look.
pub async fn rollback(
    target: &Target,
    run: &RunId,
    before: &Before,
    record: &DryRun,
) -> Result<(Witnessed, Ledger), String> {
    let mut client = connect(target, run, &before.database).await?;
    let major = client.major().unwrap_or(before.database.major);
    let facts = Facts {
        run: run.clone(),
        transactions: record.transactions(),
        gapless: record.gapless(),
        bypass: record.went_around(),
    };
    witness::verify(&mut client, major, &before.witness, &facts)
        .await
        .map_err(|error| chain(&error))
}

/// Reads the database after an upgrade, once nothing of its command is left at the server.
///
/// # Errors
/// Says why it could not be read.
pub async fn after(
    target: &Target,
    run: &RunId,
    before: &Before,
    ended: Option<&Ended>,
) -> Result<After, String> {
    let mut client = connect(target, run, &before.database).await?;
    if ended.is_none_or(|ended| ended.how != How::Exited { code: 0 }) {
        aftermath::settle(&mut client, before.witness.taken)
            .await
            .map_err(|error| chain(&error))?;
    }
    wait::bound(&mut client, LOCK_PATIENCE)
        .await
        .map_err(|error| chain(&error))?;
    let read = before::read(&mut client, before.database.major, &before.version_tables).await;
    let (snapshot, state) = match read {
        Ok(read) => read,
        Err(error) => return Err(with_the_lock(&mut client, chain(&error), &error).await),
    };
    let now = before::time(&mut client, "clock_timestamp()")
        .await
        .map_err(|error| chain(&error))?;
    Ok(After {
        during: now.map(|to| Span {
            from: before.witness.taken,
            to,
        }),
        before: before.state.clone(),
        state,
        difference: Difference::between(&before.snapshot, &snapshot),
        environment: snapshot.scoped(Scope::Environment),
    })
}

/// Connects to where the run took place, and nowhere else. What ended the run may still be going
/// on: a server that recovers from a crash takes nobody in.
async fn connect(target: &Target, run: &RunId, database: &Database) -> Result<Client, String> {
    let settings = StartupSettings::for_major(&application_name(run), database.major)
        .unbounded(database.major);
    let began = Instant::now();
    let mut client = loop {
        match connect::pin(target, &settings).await {
            Ok((_, client)) => break client,
            Err(error) if began.elapsed() < PATIENCE && may_pass(&error) => {
                tracing::debug!(%error, "the server takes nobody in; trying again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(error) => return Err(chain(&error)),
        }
    };
    let pid = client.backend_pid();
    identity::agree(&mut client, pid, &place(database))
        .await
        .map_err(|error| chain(&error))?;
    Ok(client)
}

fn may_pass(error: &ConnectError) -> bool {
    matches!(
        error.trouble(),
        Trouble::Unreachable | Trouble::NotAccepting
    )
}
